import numpy as np
import pytest
import torch

from seal_lightning.functional import (
    bone_lengths,
    clip_mean_bones,
    limb_symmetry_error,
    mpsce,
    rescale_bones,
    root_align,
    shrink_bones,
    symmetrise_bones,
)
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M, COCO = get_skeleton("h36m17"), get_skeleton("coco17")
TARGET = torch.rand(16, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.5
CONTROLS = {
    "shrink": lambda pose, skeleton: shrink_bones(pose, TARGET.to(pose), skeleton, alpha=0.4),
    "symmetrise": symmetrise_bones,
    "clip_mean": clip_mean_bones,
}


def random_poses(*shape):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(*shape, 17, 3)))


def loop_lengths(pose, skeleton):
    return {child: np.sqrt(((pose[child] - pose[parent]) ** 2).sum()) for child, parent in skeleton.bones}


def loop_place(pose, length_of, skeleton):
    """Recursion up to the tree root, then a shift that puts the root back."""

    def place(joint):
        parent = skeleton.parents[joint]
        if parent < 0:
            return pose[joint]
        bone = pose[joint] - pose[parent]
        return place(parent) + length_of[joint] * bone / np.sqrt((bone**2).sum())

    moved = np.stack([place(joint) for joint in range(len(pose))])
    root = list(skeleton.root_joints)
    return moved + pose[root].mean(0) - moved[root].mean(0)


@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_shrink_against_loops(skeleton):
    poses = random_poses(4)
    moved = shrink_bones(poses, TARGET, skeleton, alpha=0.3)
    for pose, result in zip(poses.numpy(), moved.numpy(), strict=True):
        own = loop_lengths(pose, skeleton)
        goal = {child: TARGET[bone].item() for bone, (child, _) in enumerate(skeleton.bones)}
        wanted = {child: 0.7 * length + 0.3 * goal[child] for child, length in own.items()}
        np.testing.assert_allclose(result, loop_place(pose, wanted, skeleton), atol=1e-12)


@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_symmetrise_against_loops(skeleton):
    poses = random_poses(4)
    for pose, result in zip(poses.numpy(), symmetrise_bones(poses, skeleton).numpy(), strict=True):
        own = loop_lengths(pose, skeleton)
        wanted = dict(own)
        for left, right in zip(skeleton.left, skeleton.right, strict=True):
            wanted[left] = wanted[right] = (own[left] + own[right]) / 2
        np.testing.assert_allclose(result, loop_place(pose, wanted, skeleton), atol=1e-12)


@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_clip_mean_against_loops(skeleton):
    clips = random_poses(2, 5)
    for clip, result in zip(clips.numpy(), clip_mean_bones(clips, skeleton).numpy(), strict=True):
        frames = [loop_lengths(pose, skeleton) for pose in clip]
        wanted = {child: np.mean([frame[child] for frame in frames]) for child in frames[0]}
        for pose, moved in zip(clip, result, strict=True):
            np.testing.assert_allclose(moved, loop_place(pose, wanted, skeleton), atol=1e-12)


def test_ends_of_the_way():
    poses = random_poses(3)
    torch.testing.assert_close(shrink_bones(poses, TARGET, H36M, alpha=0), poses)
    torch.testing.assert_close(shrink_bones(poses, TARGET, H36M, alpha=1), rescale_bones(poses, TARGET, H36M))
    torch.testing.assert_close(bone_lengths(shrink_bones(poses, TARGET, COCO, alpha=1), COCO), TARGET.expand(3, -1))


def test_what_they_are_for():
    clips = random_poses(2, 6)
    assert limb_symmetry_error(clips, H36M) > 5
    assert limb_symmetry_error(symmetrise_bones(clips, H36M), H36M) < 1e-10
    assert mpsce(clips, H36M) > 0.1
    steady = clip_mean_bones(clips, H36M)
    assert mpsce(steady, H36M) < 1e-10
    torch.testing.assert_close(bone_lengths(steady, H36M).mean(1), bone_lengths(clips, H36M).mean(1))


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_directions_and_the_root_stay(control, skeleton):
    poses = root_align(random_poses(2, 4), skeleton.root_joints)
    moved = CONTROLS[control](poses, skeleton)
    assert not torch.allclose(moved, poses, atol=1e-2)
    torch.testing.assert_close(root_align(moved, skeleton.root_joints), moved)
    child, parent = (list(ends) for ends in zip(*skeleton.bones, strict=True))
    before, after = (pose[..., child, :] - pose[..., parent, :] for pose in (poses, moved))
    torch.testing.assert_close(torch.cosine_similarity(before, after, dim=-1), torch.ones(2, 4, 16).double())


@pytest.mark.parametrize("control", ["symmetrise", "clip_mean"])
def test_any_unit_and_place(control):
    clip, shift = random_poses(1, 4), torch.randn(1, 1, 1, 3).double()
    moved = CONTROLS[control](clip, H36M)
    torch.testing.assert_close(CONTROLS[control](1000 * clip + shift, H36M), 1000 * moved + shift)


def test_lengths_may_differ_between_poses():
    poses = random_poses(2, 3)
    lengths = torch.stack([TARGET, 2 * TARGET])[:, None]
    moved = shrink_bones(poses, lengths, H36M)
    for i in range(2):
        torch.testing.assert_close(moved[i], shrink_bones(poses[i], lengths[i, 0], H36M))


@pytest.mark.parametrize("control", CONTROLS)
def test_collapsed_poses_stay_and_half_precision_is_lifted(control):
    point = torch.ones(2, 17, 3).half()
    moved = CONTROLS[control](point, H36M)
    assert moved.dtype == torch.float32
    assert torch.equal(moved, torch.ones(2, 17, 3))


def test_no_pairs_no_change():
    chain, pose = Skeleton.from_parents([-1, 0, 1]), torch.randn(3, 3)
    torch.testing.assert_close(symmetrise_bones(pose, chain), pose)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda pose: shrink_bones(pose, TARGET, H36M, alpha=1.5),
            ValueError,
            "`alpha` to be from 0 to 1, but got 1.5",
        ),
        (lambda pose: shrink_bones(pose, TARGET, H36M, alpha=float("nan")), ValueError, "`alpha` .* but got nan"),
        (lambda pose: shrink_bones(pose, TARGET[:15], H36M), ValueError, r"`lengths` to have .* but got \(15,\)"),
        (lambda pose: shrink_bones(pose, TARGET.expand(3, 16), H36M), ValueError, r"broadcast against \(2,\), but got"),
        (lambda pose: shrink_bones(pose, TARGET.long(), H36M), TypeError, "`lengths` to be a floating-point tensor"),
        (lambda pose: shrink_bones(pose, [1.0] * 16, H36M), TypeError, "`lengths` to be a tensor, but got list"),
        (lambda pose: symmetrise_bones(pose[:, 1:], H36M), ValueError, "`pose` to have 17 joints"),
        (lambda pose: clip_mean_bones(pose[0], H36M), ValueError, r"shape \(\.\.\., T, J, 3\), but got \(17, 3\)"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(random_poses(2))
