"""Errors of joints and bones against NumPy loops, and poses to look at."""

import math

import numpy as np
import pytest
import torch

from seal_lightning import SealBatch, get_skeleton
from seal_lightning.evaluation.anatomy import JointErrors, PoseSample, pick

H36M = get_skeleton("h36m17")


def test_joints_and_bones_are_means_over_what_is_visible():
    errors, batches = JointErrors(H36M), []
    for shape in ((4,), (3, 5)):
        pose, true = torch.randn(*shape, 17, 3), torch.randn(*shape, 17, 3)
        seen = torch.rand(*shape, 17) > 0.2
        seen[..., 0] = True  # the root, which the others are measured from
        seen[..., 16] = False
        errors.update(pose, true, seen)
        batches.append([part.reshape(-1, *part.shape[len(shape) :]).numpy() for part in (pose, true, seen)])
    rows = list(zip(*(np.concatenate(part) for part in zip(*batches, strict=True)), strict=True))
    joints, bones = errors.joints(), errors.bones()
    assert list(joints) == list(H36M.names)
    for joint, name in enumerate(H36M.names[:16]):
        found = [np.linalg.norm((p[joint] - p[0]) - (t[joint] - t[0])) for p, t, s in rows if s[joint]]
        assert joints[name] == pytest.approx(np.mean(found), rel=1e-5)
    for child, parent in H36M.bones:
        both = [(p, t) for p, t, s in rows if s[child] and s[parent]]
        found = [abs(np.linalg.norm(p[child] - p[parent]) / np.linalg.norm(t[child] - t[parent]) - 1) for p, t in both]
        if found:
            assert bones[H36M.names[child]] == pytest.approx(100 * np.mean(found), rel=1e-4)
    assert math.isnan(joints[H36M.names[16]])
    assert math.isnan(bones[H36M.names[16]])


def test_sample_is_spread_evenly_and_has_its_root_at_the_origin():
    sample, truths = PoseSample(H36M), []
    for _ in range(3):
        pose, true = torch.randn(200, 17, 3), torch.randn(200, 17, 3)
        sample.add(SealBatch(torch.zeros(200, 17, 2), pose, true), 1000.0)
        truths.append(1000 * (true - true[:, :1]))
    poses = sample.poses()
    assert poses.shape == (3 * 64, 2, 17, 3)
    assert torch.allclose(poses[:64, 0], truths[0][[(2 * i + 1) * 200 // 128 for i in range(64)]], atol=1e-2)
    assert (poses[:, :, 0] == 0).all()


def test_sample_keeps_no_pose_that_is_not_whole():
    pose, true = torch.randn(5, 3, 17, 3), torch.randn(5, 3, 17, 3)
    seen, labelled = torch.ones(5, 3, 17, dtype=torch.bool), torch.tensor([True, False, True, True, True])
    seen[2, 1, 7] = False  # in the middle frame
    seen[3, 0, 7] = False  # in another one
    pose[4, 1, 0, 0] = math.nan
    sample = PoseSample(H36M)
    sample.add(SealBatch(torch.zeros(5, 3, 17, 2), pose, true, seen, labelled), 1.0)
    sample.add(SealBatch(torch.zeros(5, 3, 17, 2), pose), 1.0)  # no truth
    expected = torch.stack([true[[0, 3], 1], pose[[0, 3], 1]], dim=1)
    assert torch.allclose(sample.poses(), expected - expected[:, :, :1])
    assert len(PoseSample(H36M).poses()) == 0


def test_best_and_worst_favour_neither_method():
    host, seal = torch.tensor([5.0, 1.0, 9.0, 4.0]), torch.tensor([5.0, 8.0, 0.0, 4.0])
    assert pick([host, seal]) == pick([seal, host]) == {"best": 3, "median": 1, "worst": 0}
