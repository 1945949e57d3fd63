"""What the values of the first batch tell: poses that are none, and views that are no frames."""

import math
import warnings

import pytest
import torch

from seal_lightning import SealBatch, get_skeleton
from seal_lightning.training._first_look import FirstLook
from tests.training.reading.styles import J, bodies

B = 16
GENERATOR = torch.Generator().manual_seed(3)
BODIES = bodies(B)
HAND = torch.randn(21, 3, generator=GENERATOR)


@pytest.fixture(autouse=True)
def the_same_numbers_in_any_order():
    GENERATOR.manual_seed(4)


def said(truth, keypoints_2d=None, given=None, skeleton="h36m17", **masks):
    """What a first look at these says."""
    keypoints_2d = truth[..., :2] / 10 if keypoints_2d is None else keypoints_2d
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        FirstLook(get_skeleton(skeleton))(SealBatch(keypoints_2d, truth.clone(), truth, **masks), given)
    return " ".join(str(warning.message) for warning in caught)


def draw(*shape):
    return torch.randn(*shape, generator=GENERATOR)


NO_BODIES = {
    "rotations": 0.4 * draw(B, J, 3),
    "velocities": 0.02 * draw(B, 4, J, 3),
    "standardised": (BODIES - BODIES.mean(0)) / BODIES.std(0),
    "points with a score": torch.rand(B, J, 3, generator=GENERATOR),
}


@pytest.mark.parametrize("name", NO_BODIES)
def test_poses_that_are_no_bodies_are_told_with_the_remedies(name):
    words = said(NO_BODIES[name])
    assert "`SealBatch(keypoints_2d, prediction * std + mean, target * std + mean)`" in words
    assert "if they are rotations, velocities or image points with a score, return the poses" in words


def test_a_skeleton_without_sides_is_looked_at_as_well():
    hands = HAND + 0.02 * draw(B, 21, 3)
    assert not said(hands, skeleton="hand21")
    words = said((hands - hands.mean(0)) / hands.std(0), skeleton="hand21")
    assert "The true poses' bones change their lengths by" in words


@pytest.mark.parametrize("hidden", [False, True])
def test_bodies_of_every_size_in_every_place_are_bodies(hidden):
    sizes = torch.rand(B, 1, 1, generator=GENERATOR) + 0.5
    seen = torch.rand(B, J, generator=GENERATOR) > 0.2
    seen[:, 0] = True
    truth = bodies(B) * sizes + draw(B, 1, 3)
    if hidden:
        assert not said(torch.where(seen[..., None], truth, 0.0), visibility=seen)
    else:
        assert not said(truth)


def test_joints_in_another_order_are_no_rotations():
    words = said(BODIES[:, torch.randperm(J, generator=torch.Generator().manual_seed(1))])
    assert "set `skeleton` in SealConfig" in words
    assert "rotations" not in words


@pytest.mark.parametrize("flags", [2, 3])
def test_a_third_coordinate_that_is_a_flag_is_no_depth(flags):
    third = torch.randint(0, flags, (B, J, 1), generator=GENERATOR).float()
    with pytest.raises(ValueError, match=r"coordinate is 0, 1 or 2, as the flag beside image points\. Override"):
        said(torch.cat([BODIES[..., :2], third], -1))


TURNS = torch.linalg.qr(draw(B, 3, 3))[0]
DEPTHS = (BODIES[..., 2] - BODIES[..., 2].amin()) / (BODIES[..., 2].amax() - BODIES[..., 2].amin())
CONFIDENCES = {
    "any": torch.rand(B, J, generator=GENERATOR),
    "one": torch.ones(B, J),
    "of each joint": torch.rand(J, generator=GENERATOR).expand(B, J),
    "hidden on the far side": 0.9 - 0.5 * (DEPTHS > 0.5).float() + 0.05 * torch.rand(B, J, generator=GENERATOR),
    "of a joint or two": (torch.arange(J) > 1).float().expand(B, J),
}


def with_third(third, **masks):
    keypoints_2d = torch.cat([BODIES[..., :2] / 10, third[..., None]], -1)
    return said(BODIES @ TURNS, keypoints_2d, **masks)  # the truth may stand in another frame


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_depth_between_zero_and_one_is_no_confidence(noise):
    depths = (DEPTHS + noise * torch.randn(B, J, generator=GENERATOR)).clamp(0, 1)
    assert "third channel of the keypoints follows the place of the true joints" in with_third(depths)
    hidden = torch.ones(B, J, dtype=torch.bool)
    hidden[:4, 3] = False
    assert "follows the place" in with_third(torch.where(hidden, depths, 0.0), visibility=hidden)


@pytest.mark.parametrize("name", CONFIDENCES)
def test_confidences_are_no_depths(name):
    assert "third channel" not in with_third(CONFIDENCES[name])


def images(poses, degrees):
    """Keypoints of poses (..., J, 3) that turn by so much, in a camera five metres away."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned = poses @ torch.tensor([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return turned[..., :2] / (turned[..., 2:] + 12)


TURNED = BODIES @ TURNS


@pytest.mark.parametrize("degrees", [3, 8, 15, 30, 90])
def test_views_of_cameras_however_near_are_told(degrees):
    views = torch.stack([images(TURNED, turn) for turn in (-degrees, 0, degrees)], 1)
    assert "If they are the views of 3 cameras, override `seal_batch" in said(TURNED, views[:, 1], views)


def test_frames_of_people_who_turn_each_in_its_own_way_are_frames():
    speeds = 20 * draw(B)
    frames = [torch.stack([images(pose, t * s) for pose, s in zip(TURNED, speeds, strict=True)]) for t in (-1, 0, 1)]
    window = torch.stack(frames, 1)
    assert not said(TURNED, window[:, 1], window)
    assert not said(TURNED[:4], window[:4, 1], window[:4])
