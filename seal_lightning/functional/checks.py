"""Checks and conversions of inputs that all functions share."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from seal_lightning._values import is_number, is_whole

__all__ = [
    "Reduction",
    "Root",
    "as_pair",
    "as_pose",
    "as_visible",
    "check_clip",
    "check_count",
    "check_joints",
    "check_positive",
    "check_reduction",
    "check_segments",
    "index_on",
    "root_indices",
]

Root: TypeAlias = int | Sequence[int] | None
Reduction: TypeAlias = Literal["mean", "none"]


def as_pose(pose: Tensor | None, name: str = "prediction", joints: int | None = None) -> Tensor:
    """Check that `pose` is a floating tensor (..., J, 3) and upcast half precision to float32."""
    if not isinstance(pose, Tensor):
        raise TypeError(f"Expected `{name}` to be a tensor, but got {type(pose).__name__}.")
    if not pose.is_floating_point():
        raise TypeError(f"Expected `{name}` to be a floating-point tensor, but got {pose.dtype}.")
    if pose.ndim < 2 or pose.shape[-1] != 3:
        raise ValueError(f"Expected `{name}` to have shape (..., J, 3), but got {tuple(pose.shape)}.")
    if pose.shape[-2] == 0:
        raise ValueError(f"Expected `{name}` to have at least one joint, but got shape {tuple(pose.shape)}.")
    if joints is not None:
        check_joints(pose, name, joints)
    return pose.to(torch.promote_types(pose.dtype, torch.float32))


def check_joints(pose: Tensor, name: str, joints: int) -> None:
    """Check that a pose (..., J, 3) has as many joints as its skeleton."""
    if pose.shape[-2] != joints:
        raise ValueError(
            f"Expected `{name}` to have {joints} joints like the skeleton, but got shape {tuple(pose.shape)}."
        )


def as_pair(prediction: Tensor, target: Tensor | None, joints: int | None = None) -> tuple[Tensor, Tensor]:
    """Check two poses of one shape and bring them to one dtype, at least float32."""
    prediction, target = as_pose(prediction, "prediction", joints), as_pose(target, "target")
    if prediction.shape != target.shape:
        raise ValueError(
            "Expected `prediction` and `target` to have the same shape, "
            f"but got {tuple(prediction.shape)} and {tuple(target.shape)}."
        )
    if prediction.device != target.device:
        raise ValueError(
            f"Expected `prediction` and `target` to be on one device, but got {prediction.device} and {target.device}."
        )
    dtype = torch.promote_types(prediction.dtype, target.dtype)
    return prediction.to(dtype), target.to(dtype)


def check_clip(pose: Tensor, frames: int = 2) -> None:
    """Check that predictions have a frame axis, (..., T, J, 3), with at least so many frames."""
    if pose.ndim < 3 or pose.shape[-3] < frames:
        raise ValueError(
            f"Expected `prediction` to have shape (..., T, J, 3) with at least {frames} frames, "
            f"but got {tuple(pose.shape)}."
        )


def as_visible(visibility: Tensor | None, pose: Tensor) -> Tensor:
    """Return a boolean mask (..., J); without `visibility` every joint is visible."""
    shape = pose.shape[:-1]
    if visibility is None:
        return torch.ones(shape, dtype=torch.bool, device=pose.device)  # an expanded one is slow to sum
    if not isinstance(visibility, Tensor):
        raise TypeError(f"Expected `visibility` to be a tensor, but got {type(visibility).__name__}.")
    if visibility.shape != shape:
        raise ValueError(
            f"Expected `visibility` to have one entry per joint, shape {tuple(shape)}, "
            f"but got {tuple(visibility.shape)}."
        )
    if visibility.is_complex() or visibility.device != pose.device:
        raise ValueError(
            f"Expected `visibility` to be boolean or 0/1 on {pose.device} like the poses, "
            f"but got {visibility.dtype} on {visibility.device}."
        )
    return visibility if visibility.dtype == torch.bool else visibility > 0


def root_indices(root: int | Sequence[int], joints: int) -> tuple[int, ...]:
    """Return the root joints as a tuple of indices below `joints`."""
    indices = tuple(root) if isinstance(root, Sequence) else (root,)
    if not indices or any(not is_whole(index) or not 0 <= index < joints for index in indices):
        raise ValueError(f"Expected `root` to be None or joint indices from 0 to {joints - 1}, but got {root!r}.")
    return indices


def check_reduction(reduction: str) -> None:
    """Check that `reduction` is known."""
    if reduction not in ("mean", "none"):
        raise ValueError(f"Expected `reduction` to be 'mean' or 'none', but got {reduction!r}.")


def check_segments(reduction: str, segments: tuple[object, ...], name: str) -> None:
    """Check `reduction`, and warn if the skeleton has no such segments: the mean over none is NaN."""
    check_reduction(reduction)
    # Three levels up is the line of the user who called a public function.
    if not segments and reduction == "mean":
        warnings.warn(f"The skeleton has no {name}: the error is NaN.", UserWarning, stacklevel=3)


def check_positive(name: str, value: float) -> None:
    """Check that a number is above zero."""
    if not is_number(value) or not value > 0:
        raise ValueError(f"Expected `{name}` to be above zero, but got {value!r}.")


def check_count(name: str, value: int) -> None:
    """Check that a number is an integer above zero."""
    check_positive(name, value)
    if not is_whole(value):
        raise ValueError(f"Expected `{name}` to be an integer, but got {value!r}.")


def index_on(indices: tuple[int, ...], device: torch.device) -> Tensor:
    """Return the indices as a tensor on `device`.

    The tensor is cached, because copying a list to a GPU synchronises with it.
    """
    if torch.compiler.is_compiling():  # the compiler keeps the tensor as a constant, and would warn about the cache
        return torch.tensor(indices, dtype=torch.long, device=device)
    return _kept_index(indices, device)


@lru_cache(maxsize=256)
def _kept_index(indices: tuple[int, ...], device: torch.device) -> Tensor:
    # A tensor made under inference mode cannot be saved for a backward pass, and this one outlives the call.
    with torch.inference_mode(False):
        return torch.tensor(indices, dtype=torch.long, device=device)
