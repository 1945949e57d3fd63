"""Which shapes are batches of poses or of keypoints, for a skeleton of so many joints."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Fitting", "PoseShapes", "centre_frame", "fitting"]


class Fitting(NamedTuple):
    """Leading dimensions (B,) or (B, T) of a batch of poses; None for one of keypoints."""

    leading: tuple[int, ...] | None


class PoseShapes:
    """Tells poses and keypoints by their shape.

    A batch of poses is ``(B, J, 3)`` or ``(B, T, J, 3)``, the last two axes flattened to ``3J`` or followed by an axis
    of length one; keypoints likewise, with two channels.

    Args:
        joints: Number of joints J.
    """

    def __init__(self, joints: int) -> None:
        self.joints = joints

    def flat(self, tensor: Tensor) -> bool:
        """Whether what fits has joints and coordinates in one axis."""
        return tensor.shape[-1] > 3

    def by_axis(self, tensor: Tensor) -> bool:
        """Whether it has poses or keypoints of which the joints are the last axis, as (B, 3, J)."""
        shape = tensor.shape
        return len(shape) > 2 and shape[-1] == self.joints > 3 >= shape[-2] > 1

    def leading(self, tensor: Tensor, channels: int = 3) -> tuple[int, ...] | None:
        """Leading dimensions (B,) or (B, T) of a batch with so many channels; None where it is none."""
        return _leading(tensor.shape, channels, self.joints)

    def batch(self, tensor: Tensor, channels: int = 3) -> Tensor:
        """The same values as (..., J, channels)."""
        leading = self.leading(tensor, channels)
        shape = (*(leading or ()), self.joints, channels)
        return tensor if tensor.shape == shape else tensor.reshape(shape)


@functools.lru_cache(maxsize=4096)  # few shapes, and they are asked for at every operation of a step
def fitting(shape: torch.Size, joints: int) -> Fitting | None:
    """How a shape fits so many joints; None where it is neither one of poses nor of keypoints."""
    leading = _leading(shape, 3, joints)
    return Fitting(leading) if leading is not None or _leading(shape, 2, joints) is not None else None


@functools.lru_cache(maxsize=4096)
def _leading(shape: torch.Size, channels: int, joints: int) -> tuple[int, ...] | None:
    dims = len(shape)
    if dims > 2 and shape[-1] == channels and shape[-2] == joints:
        leading = shape[:-2]
    elif dims > 1 and shape[-1] == channels * joints:
        leading = shape[:-1]
    elif dims > 3 and shape[-1] == 1 and shape[-2] == channels and shape[-3] == joints:
        leading = shape[:-3]
    else:
        return None
    return tuple(leading) if len(leading) < 3 else None


def centre_frame(window: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """The centre frame of windows (B, T, ...) in the shape (B, ...) or (B, 1, ...); None where there is none."""
    centred = window.dim() > 2 and window.shape[1] % 2 == 1
    wanted = (window.shape[0], *window.shape[2:]), (window.shape[0], 1, *window.shape[2:])
    if not centred or shape not in wanted:
        return None
    return window[:, window.shape[1] // 2].reshape(shape)
