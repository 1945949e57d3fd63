"""A host that predicts all frames of a clip: VideoPose3D slid over the window, whose ends are repeated."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from examples.backbones import VideoPose3D

__all__ = ["AccelerationLoss", "AllFrames"]


class AllFrames(nn.Module):
    """`VideoPose3D` in its small size as a network that gives the pose of every frame of a window.

    Args:
        frames: Frames T of a window.
        field: Frames that a pose is made from; odd.
        causal: Whether these are the frame itself and those before it, as in a live system, or half of them lie behind.
    """

    def __init__(self, frames: int = 45, field: int = 27, causal: bool = False) -> None:
        super().__init__()
        self.frames, self.channels = frames, 2
        self.net = VideoPose3D.tiny(frames=field)
        self.margins = (field - 1, 0) if causal else (field // 2, field // 2)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift windows (B, T, J, 2) to poses (B, T, J, 3)."""
        rows = keypoints_2d.flatten(2).transpose(1, 2)
        longer = pad(rows, self.margins, mode="replicate").transpose(1, 2)
        poses: Tensor = self.net.lift_clip(longer.unflatten(2, keypoints_2d.shape[2:]))
        return poses


class AccelerationLoss(nn.Module):
    """Mean distance between the second differences of predicted and true clips (B, T, J, 3)."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean over frames and joints."""
        distance: Tensor = torch.linalg.vector_norm((prediction - target).diff(n=2, dim=1), dim=-1)
        return distance.mean()
