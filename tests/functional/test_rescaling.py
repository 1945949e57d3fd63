import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seal_lightning.functional import bone_lengths, rescale_bones
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")


def loop_rescale(pose, lengths, skeleton):
    """Recursion from every joint up to the tree root."""
    number = {child: i for i, (child, _) in enumerate(skeleton.bones)}

    def place(joint):
        parent = skeleton.parents[joint]
        if parent < 0:
            return pose[joint]
        bone = pose[joint] - pose[parent]
        norm = np.sqrt((bone**2).sum())
        return place(parent) + (lengths[number[joint]] / norm * bone if norm > 0 else 0.0)

    return np.stack([place(joint) for joint in range(len(pose))])


@st.composite
def trees(draw):
    """A tree of 1 to 12 joints in arbitrary order."""
    count = draw(st.integers(1, 12))
    parents = [-1] + [draw(st.integers(0, i - 1)) for i in range(1, count)]
    order = draw(st.permutations(range(count)))
    place = {old: new for new, old in enumerate(order)}
    return Skeleton.from_parents([-1 if parents[old] < 0 else place[parents[old]] for old in order])


@given(st.data())
def test_any_tree_against_recursion(data):
    skeleton = data.draw(trees())
    bones = skeleton.num_joints - 1
    grid = st.integers(-3, 3).map(float)  # coarse on purpose: joints coincide often
    pose = data.draw(arrays(np.float64, (skeleton.num_joints, 3), elements=grid))
    lengths = data.draw(arrays(np.float64, (bones,), elements=st.floats(0, 1e3)))
    moved = rescale_bones(torch.from_numpy(pose), torch.from_numpy(lengths), skeleton)
    np.testing.assert_allclose(moved.numpy(), loop_rescale(pose, lengths, skeleton), atol=1e-9)
    before = bone_lengths(torch.from_numpy(pose), skeleton).numpy()
    after = bone_lengths(moved, skeleton).numpy()
    np.testing.assert_allclose(after, np.where(before > 0, lengths, 0.0), atol=1e-9)


@given(st.integers(0, 2**31))
def test_own_lengths_change_nothing(seed):
    pose = torch.from_numpy(np.random.default_rng(seed).normal(size=(3, 17, 3)) * 300)
    torch.testing.assert_close(rescale_bones(pose, bone_lengths(pose, H36M), H36M), pose)


def test_lengths_and_poses_broadcast():
    pose = torch.rand(4, 1, 17, 3, generator=torch.Generator().manual_seed(0))
    lengths = torch.rand(5, 16, generator=torch.Generator().manual_seed(1))
    moved = rescale_bones(pose, lengths, "h36m17")
    assert moved.shape == (4, 5, 17, 3)
    for i in range(4):
        for k in range(5):
            torch.testing.assert_close(moved[i, k], rescale_bones(pose[i, 0], lengths[k], H36M))
    assert rescale_bones(pose[0, 0], lengths, H36M).shape == (5, 17, 3)


def test_dtype():
    pose, lengths = torch.rand(17, 3, generator=torch.Generator().manual_seed(0)), torch.ones(16)
    assert rescale_bones(pose.half(), lengths.half(), H36M).dtype == torch.float32
    assert rescale_bones(pose, lengths.double(), H36M).dtype == torch.float64


def test_gradient():
    pose = torch.rand(2, 17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    lengths = torch.rand(16, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, y: rescale_bones(x, y, H36M), (pose, lengths))
    point = torch.zeros(17, 3, requires_grad=True)
    rescale_bones(point, torch.ones(16), H36M).sum().backward()
    assert point.grad.isfinite().all()


@pytest.mark.parametrize(
    ("pose", "lengths", "error", "message"),
    [
        (torch.ones(16, 3), torch.ones(16), ValueError, r"`pose` to have 17 joints .* got shape \(16, 3\)"),
        (torch.ones(17, 3), torch.ones(17), ValueError, r"shape \(\.\.\., 16\), .* but got \(17,\)"),
        (torch.ones(17, 3), torch.tensor(1.0), ValueError, r"`lengths` to have one entry per bone, .* but got \(\)"),
        (torch.ones(3, 17, 3), torch.ones(2, 16), ValueError, r"broadcast against \(3,\), but got \(2, 16\)"),
        (torch.ones(17, 3), [1.0] * 16, TypeError, "`lengths` to be a tensor, but got list"),
        (torch.ones(17, 3), torch.ones(16).long(), TypeError, r"`lengths` to be a floating-point .* got torch\.int64"),
        ("pose", torch.ones(16), TypeError, "`pose` to be a tensor, but got str"),
    ],
)
def test_bad_input(pose, lengths, error, message):
    with pytest.raises(error, match=message):
        rescale_bones(pose, lengths, H36M)
