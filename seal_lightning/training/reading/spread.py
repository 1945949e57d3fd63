"""What a weight counts of a batch of poses, by the axes of what it weighs."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["mask_of", "spreads"]


def spreads(weight: Tensor, shape: tuple[int, ...]) -> bool:
    """Whether each number of a weight counts for some of what it weighs, and none of that twice, as in a product."""
    sizes = zip(reversed(weight.shape), reversed(shape), strict=False)
    return weight.dim() <= len(shape) and all(size in (1, whole) for size, whole in sizes)


def mask_of(
    weight: Tensor, left_out: bool, shape: tuple[int, ...], leading: tuple[int, ...], joints: int
) -> Tensor | None:
    """What a weight counts, (*leading, J or 1, 3 or 1); None where that cannot be told.

    Args:
        weight: Bool, or numbers of which zero stands for what does not count.
        left_out: Whether it names what does not count.
        shape: Of what is weighed.
        leading: Leading dimensions of the poses.
        joints: Number of joints.
    """
    if not shape or not spreads(weight, shape):
        return None
    counted = weight if weight.dtype == torch.bool else weight != 0
    counted = ~counted if left_out else counted
    counted = counted.reshape(*[1] * (len(shape) - counted.dim()), *counted.shape)
    frames = leading[0] * leading[-1] if len(leading) == 2 else leading[0]
    if len(leading) == 2 and shape[:1] == (frames,) and shape[:2] != leading:  # clips in one row
        if counted.shape[0] != frames:
            return None
        counted, shape = counted.reshape(*leading, *counted.shape[1:]), (*leading, *shape[1:])
    elif shape[:1] == (frames * joints,) and frames * joints != leading[0]:  # joints in one row
        if counted.shape[0] != frames * joints:
            return None
        counted, shape = counted.reshape(*leading, joints, *counted.shape[1:]), (*leading, joints, *shape[1:])
    if shape[0] != leading[0]:
        return None
    if counted.shape[1:].numel() == 1:
        return counted.reshape(-1, *[1] * (len(leading) + 1))
    if shape[: len(leading)] != leading:
        return None
    while len(shape) > len(leading) + 1 and shape[len(leading)] == 1:
        counted, shape = counted.squeeze(len(leading)), (*leading, *shape[len(leading) + 1 :])
    axes = shape[len(leading) :]
    if axes[:1] == (3 * joints,):
        counted = counted.expand(*counted.shape[: len(leading)], *axes).reshape(
            *counted.shape[: len(leading)], joints, 3
        )
    elif axes[:1] not in ((), (1,), (joints,)):
        return None
    counted = counted.reshape(*counted.shape[: len(leading) + 1], -1) if axes else counted[..., None, None]
    return counted if counted.shape[-1] == 3 else counted.any(-1, keepdim=True)
