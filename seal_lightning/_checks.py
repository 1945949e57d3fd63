"""Checks of what users hand in."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.skeleton import Skeleton

__all__ = ["check_poses"]


def check_poses(
    skeleton: Skeleton,
    prediction: Tensor,
    keypoints_2d: Tensor,
    target: Tensor | None,
    visibility: Tensor | None,
    labelled: Tensor | None,
) -> None:
    """Raise a `ValueError` that names the argument unless the shapes fit the skeleton and each other."""
    joints = skeleton.num_joints
    shape = tuple(prediction.shape)
    if len(shape) not in (3, 4) or shape[-2:] != (joints, 3) or not prediction.is_floating_point():
        raise ValueError(
            f"Expected `prediction` to be floating, (B, {joints}, 3) or (B, T, {joints}, 3), "
            f"but got {prediction.dtype} {shape}."
        )
    if target is not None and target.shape != prediction.shape:
        raise ValueError(
            f"Expected `prediction` and `target` to have the same shape, but got {shape} and {tuple(target.shape)}."
        )
    if keypoints_2d.shape[:-1] != prediction.shape[:-1] or keypoints_2d.shape[-1] not in (2, 3):
        raise ValueError(
            f"Expected `keypoints_2d` to be {(*shape[:-1], 2)} or {(*shape[:-1], 3)} to go with `prediction`, "
            f"but got {tuple(keypoints_2d.shape)}."
        )
    if visibility is not None and visibility.shape != prediction.shape[:-1]:
        raise ValueError(f"Expected `visibility` to be {shape[:-1]}, but got {tuple(visibility.shape)}.")
    if labelled is not None and (labelled.shape != prediction.shape[:1] or labelled.dtype != torch.bool):
        raise ValueError(
            f"Expected `labelled` to be bool of shape {shape[:1]}, but got {labelled.dtype} {tuple(labelled.shape)}."
        )
