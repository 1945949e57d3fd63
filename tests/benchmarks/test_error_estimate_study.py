"""The study of the error estimate: its damage, its folds, and a tiny one from training to tables."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.error_estimate.damage import MIXED, UNSEEN, Mixture, Truncation, TurnedLimb
from benchmarks.error_estimate.hosts import fit, fit_critic_of
from benchmarks.error_estimate.report import mean_table
from benchmarks.error_estimate.rivals import errors, scores
from benchmarks.error_estimate.score_net import ScoreNet
from benchmarks.error_estimate.stored import predict
from benchmarks.error_estimate.study import CriticStudy, HostPlan
from benchmarks.error_estimate.use import smoothing
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.data import SyntheticMocap
from seal_lightning.data.views.draws import Draws
from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.evaluation import TrainingPoses
from seal_lightning.skeleton import get_skeleton

STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "critic.yaml"
H36M = get_skeleton("h36m17")


@pytest.fixture
def keypoints():
    return torch.rand(400, 3, 17, 3, generator=torch.Generator().manual_seed(0))


def test_a_mixture_damages_the_shares_it_names(keypoints):
    draws = Draws(0, torch.arange(400))
    for mixture, share in ((MIXED, 0.4), (UNSEEN, 0.5), (Mixture(), 0.0)):
        changed = (mixture(keypoints, H36M, draws) != keypoints).flatten(1).any(dim=1)
        assert changed.float().mean() == pytest.approx(share, abs=0.08)


def test_a_truncated_person_ends_at_a_border(keypoints):
    seen = Truncation()(keypoints, H36M, Draws(0, torch.arange(400)))
    moved = (seen[..., :2] != keypoints[..., :2]).any(dim=-1)
    assert 0.05 < moved.float().mean() < 0.5
    torch.testing.assert_close(seen[..., 2], torch.where(moved, 0.5 * keypoints[..., 2], keypoints[..., 2]))
    both = (seen[..., :2] != keypoints[..., :2]).any(dim=(1, 2))
    assert (both.sum(dim=1) == 1).all()  # one coordinate alone
    size = [(part.amax(dim=(1, 2)) - part.amin(dim=(1, 2)))[both] for part in (seen[..., :2], keypoints[..., :2])]
    assert ((size[0] / size[1] > 0.55) & (size[0] / size[1] < 0.95)).all()


def test_a_turned_limb_keeps_its_lengths_and_its_confidence(keypoints):
    seen = TurnedLimb()(keypoints, H36M, Draws(0, torch.arange(400)))
    assert torch.equal(seen[..., 2], keypoints[..., 2])
    moved = (seen != keypoints).any(dim=-1).any(dim=1)
    assert set(moved.sum(dim=1).tolist()) == {2}
    for limb in H36M.limbs:
        rows = moved[:, limb[1]]
        assert rows.any()
        before, after = (part[rows][:, :, list(limb), :2].diff(dim=2) for part in (keypoints, seen))
        torch.testing.assert_close(after.norm(dim=-1), before.norm(dim=-1), atol=1e-5, rtol=1e-4)


def test_every_skeleton_is_a_test_skeleton_once_and_never_on_two_sides():
    study = CriticStudy.read(STUDY)
    tests = [name for fold in range(len(study.folds)) for name in study.split(fold)["test"]]
    assert len(tests) == len(set(tests)) == 20
    for fold in range(len(study.folds)):
        everyone = [name for names in study.split(fold).values() for name in names]
        assert len(everyone) == len(set(everyone)) == 20


def test_a_tiny_study_runs(tmp_path):
    motion = SyntheticMocap(subjects=3, clips_per_subject=2, frames=60).generate()
    fields = ("positions", "clip_start", "clip_length", "skeleton_id", "fps")
    np.savez(tmp_path / "y_h36m17.npz", **{name: getattr(motion, name) for name in fields})
    people = sorted(set(motion.skeleton_id.tolist()))
    plans = {
        "plain": HostPlan({"name": "plain", "hidden": 8}, steps=2, batch_size=16),
        "head": HostPlan({"name": "heteroscedastic", "hidden": 8}, steps=2, batch_size=16),
    }
    study = CriticStudy(["y_h36m17.npz"], "", [[name] for name in people], plans, str(tmp_path))
    stored = {}
    for name, plan in plans.items():
        host = fit(study, plan, 0, 0, [])
        sets = ("train", "test mixed", "clips val", "clips clean", "clips mixed")
        stored[name] = {data: predict(host, study.loader(plan, 0, data)[0], None, False) for data in sets}
    arrays = stored["head"]["test mixed"]
    assert arrays["head"].shape == arrays["dropout"].shape == arrays["keypoints"].shape[:2]
    np.testing.assert_allclose(arrays["pose"], (arrays["single"] + arrays["mirrored"]) / 2, atol=1e-6)
    run, other = stored["plain"], stored["head"]
    training = TrainingPoses.of(torch.from_numpy(run["train"]["target"]), H36M)
    whole, joint = scores(run["test mixed"], training, [other["test mixed"]])
    assert {"flip", "reprojection", "confidence", "Mahalanobis", "dropout", "ensemble"} < whole.keys() == joint.keys()
    error, joint_error = errors(run["test mixed"]["pose"], run["test mixed"])
    torch.testing.assert_close(error, joint_error.mean(dim=1))
    weights = {
        data: {"truth": 1 / errors(run[data]["pose"], run[data])[1].clamp(min=1)} for data in run if "clips" in data
    }
    table = smoothing(run, weights)
    assert table["truth"]["clips mixed"] <= table["as predicted"]["clips mixed"]


def test_a_critic_for_a_finished_host(tmp_path):
    motion = SyntheticMocap(subjects=3, clips_per_subject=1, frames=60).generate()
    fields = ("positions", "clip_start", "clip_length", "skeleton_id", "fps")
    np.savez(tmp_path / "y_h36m17.npz", **{name: getattr(motion, name) for name in fields})
    people = sorted(set(motion.skeleton_id.tolist()))
    plan = HostPlan({"name": "plain", "hidden": 8}, steps=2, batch_size=16)
    study = CriticStudy(["y_h36m17.npz"], "", [[name] for name in people], {"plain": plan}, str(tmp_path))
    beside, after = (ErrorEstimate(ErrorCritic("h36m17", hidden=8), unit="m", flip_averaged=True) for _ in range(2))
    host = fit(study, plan, 0, 0, [beside], tmp_path / "host.ckpt")
    again = fit_critic_of(study, plan, 0, 0, [after], tmp_path / "host.ckpt", tmp_path / "critic.ckpt")
    assert after.steps == 2
    assert all(torch.equal(a, b) for a, b in zip(host.parameters(), again.parameters(), strict=True))
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["critic.ckpt", "host.ckpt"]


def test_a_small_net_learns_the_mean_error_that_scores_tell():
    scores = torch.rand(3000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    noise = torch.rand(3000, generator=torch.Generator().manual_seed(1)) + 0.5  # of mean 1
    expected = 20 + 200 * scores[:, 0]
    found = ScoreNet(scores, expected * noise)(scores)
    assert (found / expected - 1).abs().mean() < 0.05
    assert found.mean() == pytest.approx(expected.mean().item(), rel=0.02)


def test_tables_show_means_over_seeds_and_folds_and_their_spread():
    found = {
        (0, 0): {"a": {"x": 0.5, "y %": 20.0, "worst": 0.4}},
        (0, 1): {"a": {"x": 0.7, "worst": 0.3}},
        (1, 0): {"a": {"x": 1.0, "worst": 0.9}, "b": {"x": -0.25}},
    }
    assert mean_table("", found).splitlines()[2:] == [
        "| a | 0.800 (0.600 to 1.000) ±0.141 | 20.0 | 0.300 |",
        "| b | -0.250 | - | - |",
    ]
