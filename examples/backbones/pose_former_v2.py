"""PoseFormerV2: a transformer on a few frames and the low frequencies of many."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from examples.backbones.layers import DropPath, SelfAttention, TransformerBlock, check_keypoints, mlp

__all__ = ["PoseFormerV2", "dct_matrix"]


class PoseFormerV2(nn.Module):
    r"""The model of Zhao et al., 2023: a window of frames in, the pose of its centre frame out.

    The few frames in the middle pass through a spatial transformer. The whole window enters as its lowest DCT
    coefficients. Frames and coefficients are tokens of one transformer, whose MLPs work on the frames' own DCT
    (`FreqMLP`) and on the coefficients as they are. The DCT is orthonormal here; the authors' code leaves out the
    factors, which scales the input of a linear layer.

    14,355,739 parameters at 17 joints, 27 frames, 3 of them kept and 3 coefficients; published: 14.36 M.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        frames: Number of frames T of a window; odd.
        kept_frames: Number of frames in the middle that are seen as they are; odd.
        kept_coefficients: Number of low DCT coefficients of the window.
        dim: Width per joint; a frame or coefficient has J times that.
        depth: Number of spatial and of temporal blocks.
        heads: Number of attention heads.
        drop_path: Probability of stochastic depth in the last block; it grows from 0 in the first.

    Raises:
        ValueError: If the frames or the kept ones are even, or more is kept than there is.

    Reference:
        Zhao, Zheng, Liu, Wang, Chen, "PoseFormerV2: Exploring frequency domain for efficient and robust 3D human pose
        estimation", CVPR 2023, https://arxiv.org/abs/2303.17472.
    """

    centre_frame_only = True

    def __init__(
        self,
        num_joints: int = 17,
        channels: int = 2,
        frames: int = 27,
        kept_frames: int = 3,
        kept_coefficients: int = 3,
        dim: int = 32,
        depth: int = 4,
        heads: int = 8,
        drop_path: float = 0.1,
    ) -> None:
        super().__init__()
        for name, count in (("frames", frames), ("kept_frames", kept_frames)):
            if not 1 <= count <= frames or count % 2 == 0:
                raise ValueError(f"Expected `{name}` to be odd and from 1 to {frames}, but got {count}.")
        if not 1 <= kept_coefficients <= frames:
            raise ValueError(f"Expected `kept_coefficients` to be from 1 to {frames}, but got {kept_coefficients}.")
        self.num_joints, self.channels, self.frames = num_joints, channels, frames
        self.kept_frames, self.kept_coefficients = kept_frames, kept_coefficients
        width = num_joints * dim
        rates = [drop_path * block / max(depth - 1, 1) for block in range(depth)]
        self.joint_embedding = nn.Linear(channels, dim)
        self.joint_position = nn.Parameter(torch.zeros(num_joints, dim))
        self.space = nn.Sequential(*(TransformerBlock(dim, heads, drop_path=rate) for rate in rates))
        self.space_norm = nn.LayerNorm(dim, eps=1e-6)
        self.register_buffer("low_frequencies", dct_matrix(frames)[:kept_coefficients], persistent=False)
        self.frequency_embedding = nn.Linear(num_joints * channels, width)
        self.token_position = nn.Parameter(torch.zeros(kept_coefficients + kept_frames, width))
        self.mixed = nn.Sequential(*(_MixedBlock(kept_coefficients, kept_frames, width, heads, rate) for rate in rates))
        self.mixed_norm = nn.LayerNorm(width, eps=1e-6)
        self.coefficient_mean = nn.Linear(kept_coefficients, 1)
        self.frame_mean = nn.Linear(kept_frames, 1)
        self.head = nn.Sequential(nn.LayerNorm(2 * width), nn.Linear(2 * width, 3 * num_joints))

    @classmethod
    def tiny(cls, num_joints: int = 17, channels: int = 2, frames: int = 27) -> PoseFormerV2:
        """A size for the CPU: 0.47 M parameters."""
        kept = min(3, frames)
        return cls(num_joints, channels, frames, kept, kept, dim=8, depth=2, heads=4, drop_path=0.0)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of their centre frames (B, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        first = (self.frames - self.kept_frames) // 2
        joints = self.joint_embedding(keypoints_2d[:, first : first + self.kept_frames]) + self.joint_position
        frames = self.space_norm(self.space(joints)).flatten(2)
        coefficients = self.frequency_embedding(self.coefficients(keypoints_2d).flatten(2))
        tokens = self.mixed_norm(self.mixed(torch.cat((coefficients, frames), dim=1) + self.token_position))
        coefficients, frames = tokens.transpose(1, 2).split((self.kept_coefficients, self.kept_frames), dim=2)
        features = torch.cat((self.coefficient_mean(coefficients), self.frame_mean(frames)), dim=1)
        return self.head(features.flatten(1)).unflatten(1, (self.num_joints, 3))

    def coefficients(self, keypoints_2d: Tensor) -> Tensor:
        """The lowest DCT coefficients (B, kept_coefficients, J, channels) of windows (B, frames, J, channels)."""
        return torch.einsum("kt,btjc->bkjc", self.low_frequencies, keypoints_2d)


def dct_matrix(length: int) -> Tensor:
    r"""The orthonormal DCT-II of sequences of a length, shape (length, length); a row is one frequency.

    .. math:: D_{kt} = \sqrt{(2 - [k = 0]) / T}\, \cos\big(\pi k (2 t + 1) / (2 T)\big)

    Example:
        >>> (dct_matrix(2) * 2**0.5).round(decimals=6).tolist()
        [[1.0, 1.0], [1.0, -1.0]]
    """
    frequency, time = torch.arange(length).double()[:, None], torch.arange(length).double()
    matrix = (math.pi / (2 * length) * frequency * (2 * time + 1)).cos() * (2 / length) ** 0.5
    matrix[0] /= 2**0.5
    return matrix.float()


class _MixedBlock(nn.Module):
    """Attention among all tokens, then one MLP for the coefficients and one for the DCT of the frames."""

    def __init__(self, coefficients: int, frames: int, width: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.sizes = (coefficients, frames)
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, heads)
        self.coefficient_norm = nn.LayerNorm(width, eps=1e-6)
        self.coefficient_mlp = mlp(width, 2 * width)
        self.frame_norm = nn.LayerNorm(width, eps=1e-6)
        self.frame_mlp = mlp(width, 2 * width)
        self.register_buffer("dct", dct_matrix(frames), persistent=False)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, coefficients + frames, width)."""
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        coefficients, frames = tokens.split(self.sizes, dim=1)
        frequencies = self.frame_mlp(self.dct @ self.frame_norm(frames))
        return torch.cat(
            (
                coefficients + self.drop_path(self.coefficient_mlp(self.coefficient_norm(coefficients))),
                frames + self.drop_path(self.dct.T @ frequencies),
            ),
            dim=1,
        )
