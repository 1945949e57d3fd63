"""MixSTE: transformer blocks over space and time in turn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.backbones.layers import TransformerBlock, check_keypoints

__all__ = ["MixSTE"]


class MixSTE(nn.Module):
    r"""The mixed spatio-temporal encoder of Zhang et al., 2022: a window of frames in, the pose of every frame out.

    Every joint of every frame is a token. Blocks in which the joints of a frame attend to each other alternate with
    blocks in which a joint attends to itself in the other frames. All spatial blocks share one closing layer norm, and
    so do all temporal ones. The paper trains it with a weighted joint distance, a velocity and a smoothness term, see
    `examples.backbones.losses`.

    33,783,811 parameters at 17 joints and 243 frames; published: 33.67 M.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        frames: Number of frames T of a window.
        dim: Width of a token.
        depth: Number of pairs of a spatial and a temporal block.
        heads: Number of attention heads.
        drop_path: Probability of stochastic depth in the last pair of blocks; it grows from 0 in the first.
        position_std: Standard deviation of the initial values of the learned positions. The authors start at zero, from
            which a network trained for a few thousand steps is slow to tell joints apart.

    Reference:
        Zhang, Tu, Yang, Chen, Yuan, "MixSTE: Seq2seq mixed spatio-temporal encoder for 3D human pose estimation in
        video", CVPR 2022, https://arxiv.org/abs/2203.00859.
    """

    def __init__(
        self,
        num_joints: int = 17,
        channels: int = 2,
        frames: int = 243,
        dim: int = 512,
        depth: int = 8,
        heads: int = 8,
        drop_path: float = 0.1,
        position_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.num_joints, self.channels, self.frames = num_joints, channels, frames
        self.embedding = nn.Linear(channels, dim)
        self.joint_position = nn.Parameter(torch.randn(num_joints, dim) * position_std)
        self.frame_position = nn.Parameter(torch.randn(frames, dim) * position_std)
        rates = [drop_path * pair / max(depth - 1, 1) for pair in range(depth)]
        self.space = nn.ModuleList(TransformerBlock(dim, heads, drop_path=rate) for rate in rates)
        self.time = nn.ModuleList(TransformerBlock(dim, heads, drop_path=rate) for rate in rates)
        self.space_norm = nn.LayerNorm(dim, eps=1e-6)
        self.time_norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 3))

    @classmethod
    def tiny(cls, num_joints: int = 17, channels: int = 2, frames: int = 27) -> MixSTE:
        """A size for the CPU: 0.20 M parameters at 27 frames."""
        return cls(num_joints, channels, frames, dim=64, depth=3, heads=4, drop_path=0.0, position_std=0.5)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of all their frames (B, frames, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        tokens = self.embedding(keypoints_2d) + self.joint_position
        for pair, (space, time) in enumerate(zip(self.space, self.time, strict=True)):
            tokens = self.space_norm(space(tokens)).transpose(1, 2)
            if pair == 0:
                tokens = tokens + self.frame_position
            tokens = self.time_norm(time(tokens)).transpose(1, 2)
        return self.head(tokens)
