"""P-STMO: an MLP over space, a transformer over time, and a strided one that ends in the centre frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from examples.backbones.layers import SelfAttention, check_keypoints, odd_prime_factors

__all__ = ["PSTMO"]


class PSTMO(nn.Module):
    r"""The model of Shan et al., 2022, without its pre-training: a window of frames in, its centre frame's pose out.

    An MLP makes one token of the joints of a frame, a transformer lets the frames attend to each other, and strided
    transformer layers merge groups of frames, the prime factors of their number, until one is left. The paper also
    trains a head that gives the poses of all frames after the first transformer. It is used in training alone:
    `pop_sequence` returns what it gave in the last training forward, and its 13,619 parameters are counted here as in
    the published figure. Self-supervised pre-training by masking is left out. A strided layer merges exactly the
    frames of its group around their middle, where the authors' merges 3 frames whatever the stride, around the first.

    4,670,822 parameters at 17 joints and 27 frames; published: 4.68 M, the smaller of the two models of the paper.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        frames: Number of frames T of a window; odd, at least 3.
        dim: Width of a token.
        hidden: Width of the hidden layers, in the MLP of a frame and in the transformers.
        depth: Number of transformer layers before the strided ones: 3 for the smaller model, 4 for the larger.
        heads: Number of attention heads.
        dropout: Dropout probability in all layers.
        sequence_head: Whether there is the head for the poses of all frames; it needs the truth of all frames.

    Raises:
        ValueError: If `frames` is even or below 3.

    Reference:
        Shan, Liu, Zhang, Wang, Ma, Gao, "P-STMO: Pre-trained spatial temporal many-to-one model for 3D human pose
        estimation", ECCV 2022, https://arxiv.org/abs/2203.07628.
    """

    centre_frame_only = True

    def __init__(
        self,
        num_joints: int = 17,
        channels: int = 2,
        frames: int = 27,
        dim: int = 256,
        hidden: int = 512,
        depth: int = 3,
        heads: int = 8,
        dropout: float = 0.1,
        sequence_head: bool = True,
    ) -> None:
        super().__init__()
        self.num_joints, self.channels, self.frames = num_joints, channels, frames
        groups = odd_prime_factors(frames)
        self.frame_mlp = _FrameMLP(num_joints * channels, hidden, dim, dropout)
        self.frame_position = nn.Parameter(torch.randn(frames, dim))
        self.layers = nn.Sequential(*(_Layer(dim, hidden, heads, 1, dropout) for _ in range(depth)))
        self.strided_positions = nn.ParameterList()
        length = frames
        for group in groups:
            self.strided_positions.append(torch.randn(length, dim))
            length //= group
        self.strided_layers = nn.ModuleList(_Layer(dim, hidden, heads, group, dropout) for group in groups)
        self.head = _Head(dim, num_joints)
        self.sequence_head = _Head(dim, num_joints) if sequence_head else None
        self._sequence: Tensor | None = None

    @classmethod
    def tiny(cls, num_joints: int = 17, channels: int = 2, frames: int = 27, sequence_head: bool = True) -> PSTMO:
        """A size for the CPU: 0.27 M parameters at 27 frames."""
        return cls(num_joints, channels, frames, dim=64, hidden=128, depth=2, heads=4, sequence_head=sequence_head)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of their centre frames (B, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        tokens = self.layers(self.frame_mlp(keypoints_2d.flatten(2)) + self.frame_position)
        if self.training and self.sequence_head is not None:
            self._sequence = self.sequence_head(tokens)
        for position, layer in zip(self.strided_positions, self.strided_layers, strict=True):
            tokens = layer(tokens + position)
        return self.head(tokens).squeeze(1)

    def pop_sequence(self) -> Tensor | None:
        """The poses of all frames (B, frames, J, 3) from the last forward in training; None where there are none."""
        sequence, self._sequence = self._sequence, None
        return sequence


class _FrameMLP(nn.Module):
    """The spatial encoder: linear layers with batch norm on the flattened keypoints of every frame."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()

        def layer(size: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(0.2), nn.Dropout(dropout)
            )

        self.widen = layer(inputs)
        self.residual = nn.Sequential(layer(hidden), layer(hidden))
        self.output = nn.Linear(hidden, outputs)

    def forward(self, frames: Tensor) -> Tensor:
        """Encode frames (B, T, inputs) as (B, T, outputs)."""
        features = self.widen(frames.flatten(0, 1))
        return self.output(features + self.residual(features)).unflatten(0, frames.shape[:2])


class _Layer(nn.Module):
    """A transformer layer whose feed-forward part merges every `group` frames into one; 1 merges none."""

    def __init__(self, dim: int, hidden: int, heads: int, group: int, dropout: float) -> None:
        super().__init__()
        self.group = group
        self.attention_norm = nn.LayerNorm(dim, eps=1e-6)
        self.attention = SelfAttention(dim, heads, dropout=dropout)
        self.merge_norm = nn.LayerNorm(dim, eps=1e-6)
        self.widen = nn.Linear(dim, hidden)
        self.merge = nn.Conv1d(hidden, dim, group, stride=group)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens (B, T, dim) to (B, T / group, dim)."""
        tokens = tokens + self.dropout(self.attention(self.attention_norm(tokens)))
        hidden = self.dropout(self.widen(self.merge_norm(tokens)).relu())
        merged = self.merge(hidden.transpose(1, 2)).transpose(1, 2)
        return tokens[:, self.group // 2 :: self.group] + self.dropout(merged)


class _Head(nn.Module):
    """Batch norm and a linear layer: a pose from every token."""

    def __init__(self, dim: int, num_joints: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(dim)
        self.output = nn.Linear(dim, 3 * num_joints)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, T, dim) to poses (B, T, J, 3)."""
        return self.output(self.norm(tokens.transpose(1, 2)).transpose(1, 2)).unflatten(2, (-1, 3))
