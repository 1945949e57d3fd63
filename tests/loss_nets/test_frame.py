"""The unit of the loss-nets: a running mean of bone lengths that a wrong number in the data does not move."""

import math

import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.loss_nets.frame import BodyFrame

SKELETON = get_skeleton("h36m17")


def batches(steps=30, size=8, seed=0):
    """Bodies whose mean bone length is one and varies by a third."""
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(17, 3, generator=generator)
    pose = pose / length(pose)
    for _ in range(steps):
        yield pose * (1 + (torch.rand(size, 1, 1, generator=generator) - 0.5) / 1.5)


def length(pose):
    child, parent = zip(*SKELETON.bones, strict=True)
    return (pose[..., child, :] - pose[..., parent, :]).norm(dim=-1).mean()


def unit(poses, **masks):
    frame = BodyFrame(SKELETON)
    for pose in poses:
        frame.update(pose, **{name: mask(pose) for name, mask in masks.items()})
    return frame.bone_length.item()


def everything(pose):
    return torch.ones(pose.shape[:-1], dtype=torch.bool)


def test_without_outliers_it_is_the_mean():
    poses = list(batches())
    assert unit(poses) == pytest.approx(length(torch.cat(poses)).item(), rel=1e-5)
    assert unit(poses, visibility=everything) == pytest.approx(unit(poses), rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [1e2, 1e6, 1e15])
@pytest.mark.parametrize("at", [0, 1, 12])
def test_one_outlier_hardly_moves_it(at, size, masked):
    """What it moves is bounded: the pose counts as four times as long, and among 8 * (at + 1) poses."""
    poses = list(batches())
    good = unit(poses[: at + 1])
    poses[at] = poses[at].clone()
    poses[at][3, 5, 1] = size
    masks = {"visibility": everything} if masked else {}
    bad = unit(poses[: at + 1], **masks)
    bound = 0.05 if at == 0 else 4 / (8 * (at + 1))  # in the first batch it is left out
    assert abs(bad / good - 1) < bound
    assert unit(poses, **masks) == pytest.approx(unit(batches()), rel=4 / (8 * 30))


@pytest.mark.parametrize("masked", [False, True])
def test_half_a_first_batch_may_be_wrong(masked):
    (pose,) = batches(steps=1)
    broken = pose.clone()
    broken[4:7] *= 1e5
    masks = {"visibility": everything} if masked else {}
    assert unit([broken], **masks) == pytest.approx(length(pose[[0, 1, 2, 3, 7]]).item(), rel=1e-5)


def test_poses_without_length_do_not_say_what_is_usual():
    """Zeros stand for missing truth in some data: five of eight here."""
    (pose,) = batches(steps=1)
    pose[:5] = 0
    assert unit([pose]) == pytest.approx(3 / 8 * length(pose[5:]).item(), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-3, 39.37, 1000.0])
def test_the_unit_of_the_poses_does_not_matter(factor):
    poses = list(batches())
    poses[0] = poses[0].clone()
    poses[0][1] *= 50
    poses[7] = poses[7].clone()
    poses[7][2] *= 1e4
    assert unit([factor * pose for pose in poses]) == pytest.approx(factor * unit(poses), rel=1e-5)


def test_what_is_not_seen_or_not_labelled_is_no_outlier():
    (pose, other) = batches(steps=2)
    broken = pose.clone()
    broken[0, 5], broken[6] = 1e9, 1e9
    seen = everything(pose)
    seen[0, 5] = False
    labelled = torch.arange(8) != 6
    frame, twin = BodyFrame(SKELETON), BodyFrame(SKELETON)
    for first, masks in ((broken, (seen, labelled)), (other, (None, None))):
        frame.update(first, *masks)
    for first, masks in ((pose, (seen, labelled)), (other, (None, None))):
        twin.update(first, *masks)
    assert torch.equal(frame.bone_length, twin.bone_length)


def test_a_number_that_is_not_finite_is_no_outlier_either():
    first, second, third = batches(steps=3)
    broken = second.clone()
    broken[2, 4, 0] = math.inf
    assert unit([first, broken, third]) == unit([first, third])
    assert unit([broken, first]) == pytest.approx(unit([first]), rel=1e-6)


def test_bodies_that_grow_take_the_unit_along():
    """A running mean that was set by the wrong poses is left behind in a few tens of steps, not never."""
    small, large = batches(steps=1), batches(steps=80)
    poses = [1e-3 * pose for pose in small] + list(large)
    assert unit(poses) > 0.8


def test_a_skeleton_without_bones_has_a_frame():
    frame = BodyFrame(get_skeleton("h36m17").from_parents([-1]))
    pose = torch.randn(4, 1, 3)
    frame.update(pose)
    assert torch.equal(frame(pose, pose[..., :2]).pose, torch.zeros(4, 1, 3))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("skeleton", ["h36m17", "coco17"])
def test_the_pull_is_the_gradient_through_the_frame(skeleton, masked):
    """One root joint, and two of which some are not seen."""
    skeleton = get_skeleton(skeleton)
    frame = BodyFrame(skeleton)
    frame.update(torch.randn(5, 17, 3))
    pose, keypoints, slope = torch.randn(6, 3, 17, 3), torch.randn(6, 3, 17, 2), torch.randn(18, 17, 3)
    visibility = torch.rand(6, 3, 17) > 0.3 if masked else None
    leaf = pose.clone().requires_grad_()
    framed = frame(leaf, keypoints, visibility)
    (expected,) = torch.autograd.grad(framed.pose, leaf, slope)
    with torch.no_grad():
        pull = frame.pull(slope, frame(pose, keypoints, visibility))
    torch.testing.assert_close(pull.view_as(pose), expected)


def test_the_pull_asks_for_poses_with_a_unit():
    frame = BodyFrame(SKELETON)
    poses = frame(torch.randn(2, 17, 3), torch.randn(2, 17, 2))._replace(unit=None)
    with pytest.raises(ValueError, match="Expected `poses` to be what `BodyFrame` returned"):
        frame.pull(torch.randn(2, 17, 3), poses)
