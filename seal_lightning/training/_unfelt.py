"""What is taken to count in the host's loss, but feels no force of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seal_lightning.training.batch import SealBatch

__all__ = ["why_unfelt"]


def why_unfelt(read: SealBatch, counted: Tensor, gradient: Tensor, names: Sequence[str]) -> str | None:
    """What of a prediction the host's loss does not pull at all, in words; None where it pulls what counts.

    An error of zero feels no force, and neither does a small one where a loss takes so many of the largest of each
    pose. What else feels none, a mask may have left out that was not seen. A joint has to feel one along each axis:
    where the depth of some samples is not known, their joints are not.

    Args:
        read: What was read of a step.
        counted: Joints ``(..., J)`` that are taken to count.
        gradient: The gradient of the host's loss at the prediction, of its shape.
        names: Names of the joints.
    """
    if read.target is None:
        return None
    differences = (read.prediction.detach().float() - read.target.float()).flatten(0, -3)
    errors, gradient = differences.norm(dim=-1), gradient.flatten(0, -3)
    counted = counted.flatten(0, -2) & (errors > 0)
    pulled = ((gradient != 0) | (differences == 0)).all(-1)
    unfelt = counted & ~pulled
    if not bool(unfelt.any()) or not bool(pulled.any()):
        return None
    joints = unfelt.any(0) & ~(counted & pulled).any(0)
    if bool(joints.any()) and bool((unfelt == (unfelt & joints)).all()):
        return f"{_listed([name for name, none in zip(names, joints.tolist(), strict=True) if none])} of all samples"
    rows = unfelt.any(1) & ~(counted & pulled).any(1)
    if bool((unfelt == (unfelt & rows[:, None])).all()):
        return f"all joints of {int(rows.sum())} of {len(rows)} poses"
    if _largest_taken(errors, unfelt, counted & pulled):
        return None
    return f"{int(unfelt.sum())} of {int(counted.sum())} joints"


def _largest_taken(errors: Tensor, unfelt: Tensor, felt: Tensor) -> bool:
    """Whether in each pose so many errors feel a force, and none that feels none is larger."""
    numbers = felt.sum(1)
    largest = torch.where(unfelt, errors, -torch.inf).amax(1)
    least = torch.where(felt, errors, torch.inf).amin(1)
    return bool((numbers == numbers[:1]).all() & (largest <= least).all())


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
