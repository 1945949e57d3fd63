"""The study of clips: its filters and scores against references, and a whole toy study."""

import json
import math

import numpy as np
import pytest
import torch
import yaml

from benchmarks.accuracy.clips import AccelerationLoss, AllFrames
from benchmarks.accuracy.filters import LearnedFilter, kalman, one_euro
from benchmarks.accuracy.treatments import ALIKE, LIVE, MODES, OFFLINE, Treatment
from benchmarks.clips import ERRORS, Windows, choose, errors, main, treat
from seal_lightning import get_skeleton


def clip(frames=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, frames, 17, 3, generator=generator)


def windows(target):
    count = torch.arange(len(target))
    learned = {causal: LearnedFilter(reach=1, causal=causal) for causal in (False, True)}
    return Windows(target, count, count, count >= 0, ["a/1", "b/1"], torch.ones(16), get_skeleton("h36m17"), learned)


def test_the_one_euro_filter_against_a_loop():
    given, cutoff, beta, rate = clip(), 0.7, 2.0, 25.0
    share = lambda hertz: (r := 2 * math.pi * hertz / rate) / (r + 1)  # noqa: E731
    expected = given.double().numpy().copy()
    for window in expected:
        raw = window.copy()
        for joint in range(17):
            value, speed = raw[0, joint], np.zeros(3)
            for frame in range(1, 6):
                speed = share(1.0) * (raw[frame, joint] - raw[frame - 1, joint]) * rate + (1 - share(1.0)) * speed
                weight = share(cutoff + beta * np.linalg.norm(speed))
                value = window[frame, joint] = weight * raw[frame, joint] + (1 - weight) * value
    np.testing.assert_allclose(one_euro(given, cutoff, beta, rate).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_live_needs_no_later_frame_and_what_is_offline_may():
    data, given = windows(clip()), clip()
    later = given.clone()
    later[:, 4:] += 1.0
    for how in dict.fromkeys(how._replace(alpha=0.3, symmetrise=True) for how in LIVE):
        torch.testing.assert_close(treat(later, how, data)[:, :4], treat(given, how, data)[:, :4])
    for how in (Treatment("gaussian", 2.0), Treatment("kalman", 10.0), Treatment("learned")):
        assert how in OFFLINE
        assert not torch.allclose(treat(later, how, data)[:, :4], treat(given, how, data)[:, :4], atol=1e-3)


def kalman_loop(observed, stiffness):
    """Filtered and smoothed paths (T,) of a random walk of the velocity, by the recursions of the textbooks."""
    move, noise = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 1 / stiffness]])
    state, spread = np.zeros(2), 1e7 * np.eye(2)  # next to nothing is known of the beginning
    states, spreads, before, wider = [], [], [], []
    for frame, value in enumerate(observed):
        if frame:
            state, spread = move @ state, move @ spread @ move.T + noise
        before.append(state)
        wider.append(spread)
        gain = spread[:, 0] / (spread[0, 0] + 1)
        state, spread = state + gain * (value - state[0]), spread - np.outer(gain, spread[0])
        states.append(state)
        spreads.append(spread)
    smoothed = [states[-1]]
    for frame in reversed(range(len(observed) - 1)):
        back = spreads[frame] @ move.T @ np.linalg.inv(wider[frame + 1])
        smoothed.insert(0, states[frame] + back @ (smoothed[0] - before[frame + 1]))
    return np.array(states)[:, 0], np.array(smoothed)[:, 0]


def test_the_kalman_filter_and_smoother_against_their_recursions():
    given = clip(frames=9)
    paths = given.double().numpy().transpose(0, 2, 3, 1).reshape(-1, 9)[:7]
    loops = [kalman_loop(path, 3.0) for path in paths]
    for causal in (True, False):
        found = kalman(given.double(), 3.0, causal).numpy().transpose(0, 2, 3, 1).reshape(-1, 9)[:7]
        np.testing.assert_allclose(found, [loop[not causal] for loop in loops], atol=1e-4)


def test_the_learned_filter_learns_to_take_noise_away_and_knows_no_place():
    generator = torch.Generator().manual_seed(0)
    true = torch.linspace(0, 0.3, 12)[:, None, None].expand(16, 12, 3, 3)
    noisy = true + 0.02 * torch.randn(true.shape, generator=generator)
    torch.manual_seed(0)
    learned = LearnedFilter(reach=2, hidden=8)
    learned.fit(noisy, true, steps=200)
    with torch.no_grad():
        left = (learned(noisy) - true).norm() / (noisy - true).norm()
        assert left < 0.8
        torch.testing.assert_close(learned(noisy + 5.0), learned(noisy) + 5.0, atol=1e-4, rtol=0)


def test_one_treatment_for_all_is_best_for_the_mean_of_those_with_one_host():
    rest = dict.fromkeys(OFFLINE, 9.0)
    one, other = Treatment("learned"), Treatment(alpha=1.0)
    scores = {"host": {**rest, one: 1.0, other: 3.0}, "SEAL": {**rest, one: 8.0, other: 2.0}}
    hosts = {"host": "host", "SEAL": "host", "live": "live"}
    assert choose("host", "offline", scores, hosts) == one
    assert choose("host", ALIKE[0], scores, hosts) == choose("SEAL", ALIKE[0], scores, hosts) == other  # 6 < 8
    assert choose("host", ALIKE[0], scores | {"live": scores["host"]}, hosts) == other


def test_errors_are_millimetres_per_window():
    target = clip()
    moved = target.clone()
    moved[1, :, 1] += torch.tensor([0.017, 0.0, 0.0])  # 17 mm at one of 17 joints, and at all times
    found = dict(zip(ERRORS, errors(moved, windows(target)), strict=True))
    np.testing.assert_allclose(found["MPJPE"], [0, 1], atol=1e-3)
    np.testing.assert_allclose(found["acceleration"], 0, atol=1e-3)


def test_the_host_gives_a_pose_for_every_frame_and_live_it_sees_none_to_come():
    for causal in (False, True):
        net = AllFrames(12, field=9, causal=causal).eval()
        keypoints = torch.randn(2, 12, 17, 2)
        later = keypoints.clone()
        later[:, 6:] += 1.0
        same = (net(keypoints) - net(later)).abs().amax((0, 2, 3)) < 1e-5
        assert same.tolist() == ([True] * 6 + [False] * 6 if causal else [True] * 2 + [False] * 10)
    still = torch.zeros(1, 3, 1, 3)
    shaken = still.clone()
    shaken[0, 1, 0, 2] = 2.0
    assert AccelerationLoss()(shaken, still) == pytest.approx(4.0)


def test_a_toy_study_is_run_and_reported(tmp_path, capsys, monkeypatch):
    few = {mode: choices[::120] for mode, choices in MODES.items()}
    monkeypatch.setattr("benchmarks.clips.MODES", few)
    monkeypatch.setattr("benchmarks.clips.OFFLINE", OFFLINE[::40])
    monkeypatch.setattr("benchmarks.clips.LIVE", LIVE[::60])
    monkeypatch.setattr("benchmarks.clips.LEARNED_FROM", ("host", "clips"))
    monkeypatch.setattr("benchmarks.clips.LEARNED_STEPS", 2)
    data = {"synthetic": {"subjects": 3, "clips_per_subject": 2, "frames": 14}, "frames": 9, "batch_size": 2}
    net = {"class_path": "benchmarks.accuracy.clips.AllFrames", "init_args": {"frames": 9, "field": 3}}
    seal = {"loss_net": {"class_path": "seal_lightning.loss_nets.ClipLossNet"}, "warmup_steps": 1}
    plain = {
        "data": {"class_path": "seal_lightning.data.MocapDataModule", "init_args": data},
        "host": {"class_path": "examples.backbones.LitLifter", "init_args": {"net": net}},
        "steps": 2,
        "seeds": [0, 1],
        "methods": {"host": None, "clips": {"family": "learned-informed", "seal": seal}},
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    arguments = ["--study", str(path), "--output", str(tmp_path / "runs")]
    main(["run", *arguments, "--seeds", "0"])
    records = [json.loads(line) for line in (tmp_path / "runs" / "results.jsonl").read_text().splitlines()]
    assert [(record["method"], record["knowledge"]) for record in records] == [("host", None), ("clips", None)]
    main(["filters", *arguments])
    capsys.readouterr()
    main(["report", *arguments, "--split", "test"])
    tables = capsys.readouterr().out
    assert tables.startswith("4 windows of 2 clips are scored, of 4 windows.")
    assert tables.count("| clips | 1 | host |") == 17
