"""The study of clips: its filters and scores against references, and a whole toy study."""

import json
import math

import numpy as np
import pytest
import torch
import yaml

from benchmarks.accuracy.clips import AccelerationLoss, AllFrames
from benchmarks.clips import ERRORS, LIVE, OFFLINE, Treatment, Windows, errors, main, one_euro, treat
from seal_lightning import get_skeleton


def clip(frames=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, frames, 17, 3, generator=generator)


def windows(target):
    count = torch.arange(len(target))
    return Windows(target, count, count, count >= 0, ["a/1", "b/1"], torch.ones(16), get_skeleton("h36m17"))


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
    np.testing.assert_allclose(one_euro(given, cutoff, beta).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_is_live_needs_no_later_frame_and_what_is_offline_may():
    data, given = windows(clip()), clip()
    later = given.clone()
    later[:, 4:] += 1.0
    for how in LIVE[::3]:
        torch.testing.assert_close(treat(later, how, data)[:, :4], treat(given, how, data)[:, :4])
    centred = Treatment("centred", 2.0)
    assert centred in OFFLINE
    assert not torch.allclose(treat(later, centred, data)[:, :4], treat(given, centred, data)[:, :4], atol=1e-3)


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
    monkeypatch.setattr("benchmarks.clips.OFFLINE", OFFLINE[::40])
    monkeypatch.setattr("benchmarks.clips.LIVE", LIVE[::60])
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
    capsys.readouterr()
    main(["report", *arguments, "--split", "test"])
    tables = capsys.readouterr().out
    assert tables.startswith("4 windows of 2 clips are scored, of 4 windows.")
    assert tables.count("| clips | 1 | host |") == 17
