"""`ClipLossNet`: what it sees, and what it must not."""

from functools import partial

import pytest
import torch

from seal_lightning.loss_nets import ClipLossNet
from seal_lightning.skeleton import Skeleton, get_skeleton

SMALL = partial(ClipLossNet, hidden=8)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return SMALL("h36m17").double()


def clips(batch=3, frames=6, joints=17, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pose = torch.randn(batch, 1, joints, 3, generator=generator, dtype=torch.float64)
    pose = pose + 0.1 * torch.randn(batch, frames, joints, 3, generator=generator, dtype=torch.float64)
    return torch.randn(batch, frames, joints, 2, generator=generator, dtype=torch.float64), pose


def test_one_energy_a_frame_that_depends_on_its_own_clip_alone(net):
    keypoints_2d, pose = clips()
    energy = net(keypoints_2d, pose)
    assert energy.shape == (3, 6)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(net(keypoints_2d[order], pose[order]), energy[order])
    torch.testing.assert_close(net(keypoints_2d[:1], pose[:1]), energy[:1])
    nested = net(keypoints_2d[None], pose[None])
    assert torch.equal(nested, energy[None])
    assert net(keypoints_2d[:0], pose[:0]).shape == (0, 6)


def test_where_the_body_is_makes_no_difference(net):
    keypoints_2d, pose = clips()
    path = torch.randn(3, 6, 1, 3, dtype=torch.float64)
    torch.testing.assert_close(net(keypoints_2d, pose + path), net(keypoints_2d, pose))


def test_the_order_of_the_frames_makes_one(net):
    keypoints_2d, pose = clips()
    still = keypoints_2d[:, :1].expand_as(keypoints_2d)
    energy = net(still, pose).sum(1)
    for order in ([0, 2, 1, 3, 4, 5], [5, 4, 3, 2, 1, 0]):
        assert not torch.allclose(net(still, pose[:, order]).sum(1), energy, rtol=1e-6)


def test_it_sees_one_bone_change_its_length_though_each_frame_is_a_possible_pose():
    """With all else at zero, what is left is the log length against the clip's mean."""
    skeleton = Skeleton.from_parents([-1, 0])
    net = SMALL(skeleton).double()
    keypoints_2d = torch.zeros(1, 4, 2, 2, dtype=torch.float64)
    clip = torch.zeros(1, 4, 2, 3, dtype=torch.float64)
    clip[..., 1, 0] = torch.tensor([1.0, 2.0, 4.0, 2.0])
    seen = []
    net.embed.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    net(keypoints_2d, clip)
    stretch, velocity, acceleration = seen[0][:, -7], seen[0][:, -6], seen[0][:, -3]
    log = torch.log(torch.tensor(2.0, dtype=torch.float64))
    torch.testing.assert_close(stretch, 10 * log * torch.tensor([-1, 0, 1, 0]))
    assert velocity.tolist() == [0, 20, 40, -40]
    assert acceleration.tolist() == [0, 30, -120, 0]


def test_a_frame_that_is_not_seen_is_the_end_of_the_clip(net):
    keypoints_2d, pose = clips()
    seen = torch.ones(3, 6, 17, dtype=torch.float64)
    torch.testing.assert_close(net(keypoints_2d, pose, seen), net(keypoints_2d, pose))
    seen[:, 4:] = 0
    whole, cut = net(keypoints_2d, pose, seen), net(keypoints_2d[:, :4], pose[:, :4])
    torch.testing.assert_close(whole[:, :4], cut)
    assert not torch.allclose(whole[:, 2:4], net(keypoints_2d, pose)[:, 2:4], rtol=1e-4)


def test_what_an_unseen_joint_holds_makes_no_difference(net):
    keypoints_2d, pose = clips()
    seen = (torch.rand(3, 6, 17, generator=torch.Generator().manual_seed(1)) < 0.7).double()
    energy = net(keypoints_2d, pose, seen)
    hidden = seen[..., None] == 0
    other = net(torch.where(hidden, 5.0, keypoints_2d), torch.where(hidden, -7.0, pose), seen)
    torch.testing.assert_close(other, energy)
    assert not torch.allclose(energy, net(keypoints_2d, pose), rtol=1e-3)


def test_a_frame_reaches_as_far_as_the_convolutions(net):
    """Two convolutions and a second difference: three frames. The mean length alone reaches farther."""
    keypoints_2d, pose = clips(frames=9)
    turned = pose.clone()
    turned[:, 0] = turned[:, 0].flip(-1)  # other coordinates in another order: all lengths stay
    changed = (net(keypoints_2d, turned) - net(keypoints_2d, pose)).abs() > 1e-9
    assert changed[:, :4].all()
    assert not changed[:, 4:].any()


def test_gradients_are_right_once_and_twice(net):
    keypoints_2d, pose = clips(batch=1, frames=3)
    seen = torch.ones(1, 3, 17, dtype=torch.float64)
    seen[0, 1, 5] = 0
    call = lambda pose: net(keypoints_2d, pose, seen)  # noqa: E731
    assert torch.autograd.gradcheck(call, pose.requires_grad_())
    assert torch.autograd.gradgradcheck(call, pose, fast_mode=True)


@pytest.mark.parametrize("skeleton", ["h36m17", "coco17", Skeleton.from_parents([-1, 0])], ids=["h36m", "coco", "bone"])
def test_every_parameter_learns(skeleton):
    net = SMALL(skeleton).double()
    keypoints_2d, pose = clips(joints=net.skeleton.num_joints)
    net(torch.cat([keypoints_2d, torch.rand_like(pose[..., :1])], -1), pose).square().sum().backward()
    assert all(parameter.grad.ne(0).all() for parameter in net.parameters())


def test_joints_permuted_with_the_skeleton_keep_the_energy(net):
    skeleton = get_skeleton("h36m17")
    order = torch.randperm(17, generator=torch.Generator().manual_seed(3)).tolist()
    place = {joint: i for i, joint in enumerate(order)}
    parents = [-1 if skeleton.parents[joint] < 0 else place[skeleton.parents[joint]] for joint in order]
    sides = [[place[joint] for joint in side] for side in (skeleton.left, skeleton.right)]
    other = SMALL(Skeleton([skeleton.names[joint] for joint in order], parents, *sides)).double()
    other.load_state_dict(net.state_dict())
    keypoints_2d, pose = clips()
    torch.testing.assert_close(other(keypoints_2d[:, :, order], pose[:, :, order]), net(keypoints_2d, pose))


def test_single_poses_are_refused(net):
    keypoints_2d, pose = clips()
    for one in (0, slice(0, 1)):
        with pytest.raises(ValueError, match=r"`pose` to be clips \(\.\.\., T, J, 3\) of at least two frames, but got"):
            net(keypoints_2d[:, one], pose[:, one])
    with pytest.raises(ValueError, match="`depth`"):
        ClipLossNet("h36m17", depth=0)
