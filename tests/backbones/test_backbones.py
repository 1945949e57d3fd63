"""What all backbones promise, each at its CPU size, and the sizes that were published."""

import functools
import inspect

import pytest
import torch
from torch import nn

from examples.backbones import (
    PSTMO,
    KTPFormer,
    MixSTE,
    MotionAGFormer,
    PoseFormerV2,
    SemGCN,
    SimpleBaseline,
    VideoPose3D,
)
from examples.backbones.skeletons import H36M_PARENTS

FRAME = (SimpleBaseline, SemGCN)
CENTRE = (VideoPose3D, PoseFormerV2, PSTMO)
SEQUENCE = (MixSTE, KTPFormer, MotionAGFormer)
CHAIN = (-1, 0, 1, 2, 3)
STAR = (1, -1, 1, 1)

everyone = pytest.mark.parametrize("backbone", FRAME + CENTRE + SEQUENCE)
temporal = pytest.mark.parametrize("backbone", CENTRE + SEQUENCE)


def tiny(backbone, parents=H36M_PARENTS, channels=2, frames=9, **options):
    """The CPU size, its joints and frames given in the way that this backbone takes them."""
    takes = inspect.signature(backbone.tiny).parameters
    joints = {"parents": parents} if "parents" in takes else {"num_joints": len(parents)}
    window = {"frames": frames} if "frames" in takes else {}
    return backbone.tiny(**joints, **window, channels=channels, **options)


def keypoints_for(net, batch=2):
    window = (net.frames,) if hasattr(net, "frames") else ()
    return torch.randn(batch, *window, net.num_joints, net.channels)


def count(make):
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in make().parameters())


@everyone
@pytest.mark.parametrize("parents", [H36M_PARENTS, CHAIN, STAR], ids=["h36m", "chain", "star"])
@pytest.mark.parametrize("channels", [2, 3])
def test_gives_a_pose_per_sample_or_frame(backbone, parents, channels):
    net = tiny(backbone, parents, channels)
    pose = net(keypoints_for(net))
    leading = (2, 9) if backbone in SEQUENCE else (2,)
    assert pose.shape == (*leading, len(parents), 3)
    assert pose.isfinite().all()


@temporal
@pytest.mark.parametrize("frames", [3, 15, 27])
def test_takes_other_numbers_of_frames(backbone, frames):
    net = tiny(backbone, CHAIN, frames=frames)
    assert net(keypoints_for(net)).shape == ((2, frames, 5, 3) if backbone in SEQUENCE else (2, 5, 3))


@pytest.mark.parametrize("backbone", SEQUENCE)
def test_a_sequence_network_takes_an_even_number_of_frames(backbone):
    net = tiny(backbone, CHAIN, frames=4)
    assert net(keypoints_for(net)).shape == (2, 4, 5, 3)


@everyone
def test_tells_whether_it_predicts_the_centre_frame_only(backbone):
    assert getattr(backbone, "centre_frame_only", False) == (backbone in CENTRE)


MAKERS = {backbone.__name__: functools.partial(tiny, backbone) for backbone in FRAME + CENTRE + SEQUENCE}
MAKERS["SemGCN non-local"] = functools.partial(SemGCN, non_local=True)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_parameter_learns(make):
    net = make()
    net.eval()  # a bias before a batch norm of the batch's own mean cannot learn
    net.training = True  # but the head that is used in training alone is
    keypoints = keypoints_for(net, batch=4)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    learning = set()
    for _ in range(3):  # what starts at zero shuts off what lies behind it in the first step
        optimizer.zero_grad()
        outputs = [net(keypoints)]
        outputs += [net.pop_sequence()] if hasattr(net, "pop_sequence") else []
        sum((output - torch.randn_like(output)).norm(dim=-1).mean() for output in outputs).backward()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            if parameter.grad.any():
                learning.add(name)
        optimizer.step()
    assert learning == {name for name, _ in net.named_parameters()}


@everyone
def test_overfits_one_batch(backbone):
    net = tiny(backbone, CHAIN, frames=3)
    keypoints = keypoints_for(net, batch=4)
    target = torch.randn_like(net(keypoints))
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    losses = []
    for _ in range(100):
        loss = (net(keypoints) - target).norm(dim=-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if loss < losses[0] / 10:
            break
    assert losses[-1] < losses[0] / 10


@everyone
def test_is_deterministic_and_sees_samples_alone_outside_training(backbone):
    net = tiny(backbone).eval()
    keypoints = keypoints_for(net, batch=3)
    assert torch.equal(net(keypoints), net(keypoints))
    torch.testing.assert_close(net(keypoints)[1:2], net(keypoints[1:2]), atol=1e-5, rtol=1e-4)


@everyone
def test_the_same_weights_give_the_same_poses(backbone):
    net, other = tiny(backbone).eval(), tiny(backbone).eval()
    keypoints = keypoints_for(net)
    assert not torch.equal(net(keypoints), other(keypoints))
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(keypoints), other(keypoints))


@pytest.mark.parametrize(
    ("make", "published"),
    [
        (SimpleBaseline, 4.29e6),
        (SemGCN, 0.27e6),
        (lambda: SemGCN(non_local=True), 0.43e6),
        (VideoPose3D, 8.56e6),
        (lambda: VideoPose3D(frames=81), 12.75e6),
        (lambda: VideoPose3D(frames=243), 16.95e6),
        (PoseFormerV2, 14.36e6),
        (MixSTE, 33.67e6),
        (KTPFormer, 34.8e6),
        (PSTMO, 4.68e6),
        (MotionAGFormer, 2.24e6),
    ],
    ids=lambda value: None if isinstance(value, float) else getattr(value, "__name__", None),
)
def test_published_size(make, published):
    assert count(make) == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize("backbone", FRAME + CENTRE + SEQUENCE)
def test_docstring_tells_the_size(backbone):
    assert f"{count(backbone):,}" in backbone.__doc__


def test_docstrings_tell_the_other_sizes():
    assert f"{count(lambda: SimpleBaseline(hidden=2048, stages=3)):,}" in SimpleBaseline.__doc__
    assert f"{count(lambda: SemGCN(non_local=True)):,}" in SemGCN.__doc__
    assert f"{count(lambda: VideoPose3D(frames=243)):,}" in VideoPose3D.__doc__
    head = count(PSTMO) - count(lambda: PSTMO(sequence_head=False))
    assert f"{head:,}" in PSTMO.__doc__


@everyone
def test_tiny_is_not_too_small(backbone):
    assert 0.2e6 <= count(lambda: tiny(backbone, frames=27)) <= 0.5e6


@everyone
@pytest.mark.parametrize("axis", ["joints", "channels", "dimensions"])
def test_wrong_keypoints_are_refused(backbone, axis):
    net = tiny(backbone)
    keypoints = keypoints_for(net)
    wrong = {"joints": keypoints[..., :-1, :], "channels": keypoints[..., :1], "dimensions": keypoints[0]}[axis]
    expected = ", ".join(map(str, keypoints.shape[1:]))
    message = (
        rf"Expected `keypoints_2d` to have shape \(B, {expected}\), but got \({', '.join(map(str, wrong.shape))}\)"
    )
    with pytest.raises(ValueError, match=message):
        net(wrong)


@temporal
def test_a_wrong_number_of_frames_is_refused(backbone):
    with pytest.raises(ValueError, match=r"shape \(B, 9, 17, 2\), but got \(2, 8, 17, 2\)"):
        tiny(backbone)(torch.zeros(2, 8, 17, 2))


@pytest.mark.parametrize("backbone", CENTRE)
def test_a_window_needs_a_centre_frame(backbone):
    with pytest.raises(ValueError, match=r"Expected `frames` to be odd and .* but got 8"):
        tiny(backbone, frames=8)


@pytest.mark.parametrize("backbone", [SemGCN, KTPFormer, MotionAGFormer])
@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((-1, 5, 1), r"Expected `parents` to be joints below 3 or -1, but got \(-1, 5, 1\)"),
        ((-1, -2, 1), "Expected `parents` to be joints below 3 or -1"),
        ((-1, 1, 1), "Expected `parents` to have no cycle, but joint 1 is its own ancestor"),
        ((1, 2, 1), "Expected `parents` to have no cycle"),
    ],
)
def test_a_skeleton_must_be_a_tree_of_its_own_joints(backbone, parents, message):
    with pytest.raises(ValueError, match=message):
        tiny(backbone, parents)


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer, MotionAGFormer, PoseFormerV2, PSTMO])
def test_heads_must_divide_the_width(backbone):
    with pytest.raises(ValueError, match=r"Expected `heads` to divide the width .* but got 7"):
        backbone(dim=64, heads=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kept_frames": 2}, "Expected `kept_frames` to be odd and from 1 to 27, but got 2"),
        ({"kept_frames": 29}, "Expected `kept_frames` to be odd and from 1 to 27, but got 29"),
        ({"kept_coefficients": 28}, "Expected `kept_coefficients` to be from 1 to 27, but got 28"),
    ],
)
def test_pose_former_keeps_no_more_than_there_is(options, message):
    with pytest.raises(ValueError, match=message):
        PoseFormerV2(**options)


def test_motion_ag_former_has_no_more_neighbours_than_frames():
    with pytest.raises(ValueError, match="Expected `neighbours` to be from 1 to the 9 frames, but got 10"):
        MotionAGFormer(frames=9, neighbours=10)
