"""VideoPose3D: dilated convolutions over time."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from examples.backbones.layers import check_keypoints, odd_prime_factors

__all__ = ["VideoPose3D"]


class VideoPose3D(nn.Module):
    r"""The temporal convolution model of Pavllo et al., 2019: a window of frames in, the pose of its centre frame out.

    A first convolution widens the flattened keypoints; each residual block then merges groups of frames, until one is
    left. The filter widths are the prime factors of the number of frames: 27 = 3 x 3 x 3. Within a window of exactly
    that many frames a convolution with dilation and one with a stride give the same pose; `forward` uses strides, as
    the authors do in training, and `lift_clip` dilation, as they do on whole clips. The authors also shrink the
    momentum of the batch norms during training; here it stays what PyTorch takes.

    8,555,571 parameters at 17 joints and 27 frames, 16,952,371 at 243: the published 8.56 M and 16.95 M.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        frames: Number of frames T of a window; odd, at least 3.
        hidden: Number of feature channels.
        dropout: Dropout probability after every hidden layer.

    Raises:
        ValueError: If `frames` is even or below 3.

    Reference:
        Pavllo, Feichtenhofer, Grangier, Auli, "3D human pose estimation in video with temporal convolutions and
        semi-supervised training", CVPR 2019, https://arxiv.org/abs/1811.11742.
    """

    centre_frame_only = True

    def __init__(
        self, num_joints: int = 17, channels: int = 2, frames: int = 27, hidden: int = 1024, dropout: float = 0.25
    ) -> None:
        super().__init__()
        self.num_joints, self.channels, self.frames = num_joints, channels, frames
        first, *others = odd_prime_factors(frames)
        self.expand = nn.Conv1d(num_joints * channels, hidden, first, stride=first, bias=False)
        self.expand_tail = _tail(hidden, dropout)
        self.blocks = nn.ModuleList(_Block(hidden, width, dropout) for width in others)
        self.shrink = nn.Conv1d(hidden, num_joints * 3, 1)

    @classmethod
    def tiny(cls, num_joints: int = 17, channels: int = 2, frames: int = 27) -> VideoPose3D:
        """A size for the CPU: 41 times fewer multiplications, 0.23 M parameters at 27 frames."""
        return cls(num_joints, channels, frames, hidden=160, dropout=0.1)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, frames, J, channels) to the poses of their centre frames (B, J, 3)."""
        check_keypoints(keypoints_2d, self.frames, self.num_joints, self.channels)
        features = self.expand_tail(self.expand(keypoints_2d.flatten(2).transpose(1, 2)))
        for block in self.blocks:
            features = block(features)
        return self.shrink(features).squeeze(2).unflatten(1, (self.num_joints, 3))

    def lift_clip(self, keypoints_2d: Tensor) -> Tensor:
        """Lift all frames of a clip that have a whole window around them, with dilated convolutions.

        Args:
            keypoints_2d: Keypoints (B, T, J, channels), T at least `frames`.

        Returns:
            Poses (B, T - frames + 1, J, 3).

        Raises:
            ValueError: If the clip is shorter than a window, or J or the channels are others.
        """
        check_keypoints(keypoints_2d, max(keypoints_2d.shape[1], self.frames), self.num_joints, self.channels)
        features = self.expand_tail(F.conv1d(keypoints_2d.flatten(2).transpose(1, 2), self.expand.weight))
        dilation = self.expand.kernel_size[0]
        for block in self.blocks:
            features = block(features, dilation)
            dilation *= block.width
        return self.shrink(features).transpose(1, 2).unflatten(2, (self.num_joints, 3))


class _Block(nn.Module):
    """Merges `width` frames into one; the middle one of them is added to what comes out."""

    def __init__(self, hidden: int, width: int, dropout: float) -> None:
        super().__init__()
        self.width = width
        self.merge = nn.Conv1d(hidden, hidden, width, stride=width, bias=False)
        self.merge_tail = _tail(hidden, dropout)
        self.mix = nn.Conv1d(hidden, hidden, 1, bias=False)
        self.mix_tail = _tail(hidden, dropout)

    def forward(self, features: Tensor, dilation: int | None = None) -> Tensor:
        """Merge features (B, hidden, T): every `width` neighbours, or with a dilation all frames `dilation` apart."""
        if dilation is None:
            middle, merged = features[..., self.width // 2 :: self.width], self.merge(features)
        else:
            margin = dilation * (self.width // 2)
            middle = features[..., margin : features.shape[-1] - margin]
            merged = F.conv1d(features, self.merge.weight, dilation=dilation)
        return middle + self.mix_tail(self.mix(self.merge_tail(merged)))


def _tail(hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout))
