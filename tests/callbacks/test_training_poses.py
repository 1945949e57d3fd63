"""Moments of the poses of a training, batch by batch, against those of all poses at once."""

import pytest
import torch

from seal_lightning.callbacks._training_poses import TrainingPoseMoments
from seal_lightning.error_estimate.training import View
from seal_lightning.evaluation import TrainingPoses
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


def test_batches_give_what_all_poses_give_and_what_does_not_count_is_left_out():
    generator = torch.Generator().manual_seed(0)
    target = 5.0 + torch.randn(60, 2, 17, 3, generator=generator)
    visibility = torch.rand(60, 2, 17, generator=generator) > 0.02
    labelled = torch.rand(60, generator=generator) > 0.3
    target[3, 1, 4] = torch.nan
    moments, resumed = TrainingPoseMoments(H36M), TrainingPoseMoments(H36M)
    assert moments.poses() is None
    for rows in (slice(0, 1), slice(1, 1), slice(1, 41)):
        moments.update(View({}, target[rows], visibility[rows], labelled[rows]))
    resumed.load_state_dict(moments.state_dict())
    resumed.update(View({}, target[41:], visibility[41:], labelled[41:]))

    counted = visibility.all(-1) & labelled[:, None] & target.isfinite().all(-1).all(-1)
    assert 30 < counted.sum() < 100
    found, wanted = resumed.poses(), TrainingPoses.of(target[counted], H36M)
    for name in ("mean", "covariance", "lengths"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-4, atol=1e-5)
    assert found.lengths.dtype == torch.float64


def test_one_pose_has_no_covariance():
    moments = TrainingPoseMoments(H36M)
    moments.update(View({}, torch.ones(1, 17, 3)))
    assert moments.poses() is None
    moments.update(View({}, torch.zeros(1, 17, 3)))
    assert moments.poses().covariance.abs().max() == pytest.approx(0.0)  # both are at the root
