"""What makes VideoPose3D, PoseFormerV2 and P-STMO the networks of their papers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from examples.backbones import PSTMO, PoseFormerV2, VideoPose3D
from tests.backbones.probes import changed, empty, randomise_batch_norms


@pytest.mark.parametrize("frames", [9, 15])
def test_video_pose_strides_and_dilation_agree(frames):
    net = VideoPose3D.tiny(num_joints=5, frames=frames).eval()
    randomise_batch_norms(net)
    clip = torch.randn(2, frames + 4, 5, 2)
    poses = net.lift_clip(clip)
    windows = torch.stack([net(clip[:, start : start + frames]) for start in range(5)], dim=1)
    torch.testing.assert_close(poses, windows, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("frame", range(13))
def test_video_pose_sees_exactly_its_window(frame):
    net = VideoPose3D.tiny(num_joints=5, frames=9).eval()
    randomise_batch_norms(net)
    clip = torch.randn(1, 13, 5, 2)
    assert changed(net.lift_clip, clip, frame, dim=1) == {start for start in range(5) if start <= frame < start + 9}


def test_video_pose_refuses_a_clip_shorter_than_its_window():
    with pytest.raises(ValueError, match=r"shape \(B, 9, 5, 2\), but got \(1, 8, 5, 2\)"):
        VideoPose3D.tiny(num_joints=5, frames=9).lift_clip(torch.zeros(1, 8, 5, 2))


@pytest.mark.parametrize("frames", [9, 27])
def test_pose_former_keeps_the_lowest_frequencies(frames):
    net = PoseFormerV2(num_joints=4, frames=frames, kept_coefficients=5)
    keypoints = torch.randn(2, frames, 4, 2)
    expected = np.zeros((2, 5, 4, 2))
    for k in range(5):
        for t in range(frames):
            scale = math.sqrt((1 if k == 0 else 2) / frames)
            expected[:, k] += scale * math.cos(math.pi * k * (2 * t + 1) / (2 * frames)) * keypoints[:, t].numpy()
    np.testing.assert_allclose(net.coefficients(keypoints).numpy(), expected, atol=1e-5)


def test_pose_former_sees_no_high_frequency_outside_the_middle_frames():
    net = PoseFormerV2(num_joints=4, frames=27, dim=8, depth=2, heads=2).eval()
    time = np.arange(27)
    low = [np.cos(np.pi * k * (2 * time + 1) / 54) for k in range(3)]
    middle = list(np.eye(27)[12:15])
    unseen = torch.tensor(np.linalg.svd(np.stack(low + middle))[2][6:], dtype=torch.float32)  # orthogonal to all of it
    keypoints = torch.randn(1, 27, 4, 2)
    motion = torch.einsum("nt,njc->tjc", unseen, torch.randn(21, 4, 2))
    torch.testing.assert_close(net(keypoints + motion), net(keypoints), atol=1e-5, rtol=1e-4)
    for seen in (low[2], middle[0], middle[2]):
        shift = torch.tensor(seen, dtype=torch.float32)[:, None, None]
        assert (net(keypoints + shift) - net(keypoints)).abs().max() > 1e-3


def test_pose_former_transforms_the_frames_in_the_frequency_domain():
    block = PoseFormerV2(num_joints=4, kept_frames=5, kept_coefficients=2, dim=8, depth=1, heads=2).mixed[0]
    empty(block.attention.output)
    tokens = torch.randn(3, 7, 32)
    coefficients, frames = tokens[:, :2], block.frame_norm(tokens[:, 2:])

    block.frame_mlp = nn.Identity()
    torch.testing.assert_close(block(tokens)[:, 2:], tokens[:, 2:] + frames)
    torch.testing.assert_close(
        block(tokens)[:, :2], coefficients + block.coefficient_mlp(block.coefficient_norm(coefficients))
    )

    class LowestAlone(nn.Module):
        def forward(self, frequencies):
            return frequencies * torch.tensor([1.0, 0, 0, 0, 0])[:, None]

    block.frame_mlp = LowestAlone()
    torch.testing.assert_close(block(tokens)[:, 2:], tokens[:, 2:] + frames.mean(dim=1, keepdim=True))


def test_pstmo_merges_a_window_group_by_group():
    net = PSTMO.tiny(frames=45)
    lengths = []
    for layer in net.strided_layers:
        layer.register_forward_hook(lambda _, inputs, output: lengths.append((inputs[0].shape[1], output.shape[1])))
    net(torch.zeros(2, 45, 17, 2))
    assert lengths == [(45, 15), (15, 5), (5, 1)]


def test_a_strided_layer_merges_the_frames_of_its_group():
    layer = PSTMO.tiny(frames=9).eval().strided_layers[0]
    layer.attention = nn.Identity()
    tokens = torch.randn(1, 9, 64)
    for frame in range(9):
        assert changed(layer, tokens, frame, dim=1) == {frame // 3}
    empty(layer.merge)
    for frame in range(9):  # the middle of each group is carried over
        assert changed(layer, tokens, frame, dim=1) == ({frame // 3} if frame % 3 == 1 else set())


def test_pstmo_gives_the_sequence_in_training_only_and_once():
    net, keypoints = PSTMO.tiny(frames=9), torch.randn(2, 9, 17, 2)
    net.eval()(keypoints)
    assert net.pop_sequence() is None
    net.train()(keypoints)
    sequence = net.pop_sequence()
    assert sequence.shape == (2, 9, 17, 3)
    assert net.pop_sequence() is None
    PSTMO.tiny(frames=9, sequence_head=False).train()(keypoints)
    assert net.pop_sequence() is None


@pytest.mark.parametrize("backbone", [VideoPose3D, PoseFormerV2, PSTMO])
def test_every_frame_of_a_window_counts(backbone):
    net = backbone.tiny(num_joints=5, frames=9).eval()
    keypoints = torch.randn(1, 9, 5, 2, requires_grad=True)
    net(keypoints).square().sum().backward()
    assert (keypoints.grad.abs().amax(dim=(0, 2, 3)) > 0).all()
