"""Finished poses: the filter is scipy's, bones get the lengths that are asked for, and nobody stays nobody."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from seal_lightning import get_skeleton
from seal_lightning.callbacks import PoseWriter
from seal_lightning.callbacks._finishing import Finishing
from seal_lightning.functional import bone_lengths

H36M = get_skeleton("h36m17")


def clip(frames=40):
    return torch.randn(frames, 17, 3, generator=torch.Generator().manual_seed(0))


def everybody(poses):
    return torch.ones(len(poses), dtype=torch.bool)


def test_nothing_is_done_unless_asked_for():
    poses = clip()
    assert torch.equal(Finishing()(poses, everybody(poses), H36M), poses)


def test_the_filter_is_that_of_scipy_away_from_the_ends():
    poses = clip()
    smoothed = Finishing(sigma=1.5)(poses, everybody(poses), H36M)
    wanted = gaussian_filter1d(poses.double().numpy(), 1.5, axis=0)
    np.testing.assert_allclose(smoothed[6:-6], wanted[6:-6], atol=1e-5)


def test_bones_get_the_lengths_that_are_asked_for_after_the_filter():
    poses = clip()
    own = bone_lengths(Finishing(sigma=1.0)(poses, everybody(poses), H36M), H36M)

    def finished(rescale, lengths=None):
        return bone_lengths(Finishing(rescale, lengths, 1.0)(poses, everybody(poses), H36M), H36M)

    for left, right in H36M.paired_bones:
        torch.testing.assert_close(finished("symmetrise")[:, left], finished("symmetrise")[:, right])
    torch.testing.assert_close(finished("clip_mean"), own.mean(dim=0).expand_as(own))
    torch.testing.assert_close(finished("mean", [0.5] * 16), 0.75 * own + 0.25 * 0.5)


@pytest.mark.parametrize("rescale", [None, "clip_mean"])
def test_frames_without_a_person_say_nothing_and_stay_empty(rescale):
    poses, known = clip(), torch.ones(40, dtype=torch.bool)
    known[[0, 17, 18]] = False
    poses[~known] = torch.nan
    found = Finishing(rescale, sigma=2.0)(poses, known, H36M)
    assert found[known].isfinite().all()
    assert found[~known].isnan().all()
    poses[~known] = 1e6
    torch.testing.assert_close(Finishing(rescale, sigma=2.0)(poses, known, H36M)[known], found[known])
    nobody = torch.zeros(40, dtype=torch.bool)
    assert torch.equal(Finishing(rescale, sigma=2.0)(poses, nobody, H36M), poses)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rescale": "median"}, "Expected `rescale` to be 'mean', 'clip_mean', 'symmetrise' or None, but got 'median'"),
        ({"rescale": "mean"}, "Expected `lengths`, .* to go with `rescale='mean'`"),
        ({"rescale": "clip_mean", "lengths": [1.0]}, "Expected `lengths`, .* and with nothing else"),
        ({"smooth": 0}, "Expected `smooth` to be frames above zero, but got 0"),
    ],
)
def test_what_does_not_go_together_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        PoseWriter(**options)


def test_what_the_data_do_not_go_with_is_told_before_the_prediction():
    with pytest.raises(ValueError, match=r"^Expected the keypoints to be of a video to `smooth` their poses"):
        Finishing(sigma=1.0).check(H36M, None)
    with pytest.raises(ValueError, match=r"^Expected `lengths` of the 16 bones of the skeleton, but got 3"):
        Finishing("mean", [1.0, 2.0, 3.0]).check(H36M, 30.0)
