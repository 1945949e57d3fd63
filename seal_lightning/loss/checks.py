"""Checks of the arguments of `SealLoss` and its methods."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seal_lightning._values import is_whole, kind_of
from seal_lightning.loss.terms import EnergyTerm
from seal_lightning.skeleton import Skeleton

__all__ = [
    "check_eval_prediction",
    "check_gradient",
    "check_options",
    "check_poses",
    "energies_by_name",
]


def check_options(update: str, precision: str, seed: int, task_loss: Any = None) -> None:
    """Raise a `ValueError` or `TypeError` unless these are valid options of a `SealLoss`."""
    if update not in ("alternating", "simultaneous"):
        raise ValueError(f"Expected `update` to be 'alternating' or 'simultaneous', but got {update!r}.")
    if precision not in ("float32", "bfloat16"):
        raise ValueError(f"Expected `precision` to be 'float32' or 'bfloat16', but got {precision!r}.")
    if not is_whole(seed):
        raise TypeError(f"Expected `seed` to be an integer, but got {seed!r}.")
    if seed < 0:
        raise ValueError(f"Expected `seed` to be at least 0, but got {seed}.")
    if task_loss is not None and not callable(task_loss):
        raise TypeError(f"Expected `task_loss` to be a function of prediction and target, but got {task_loss!r}.")


def energies_by_name(energies: Any) -> dict[str, EnergyTerm]:
    """The energies by name; an energy without a name is called ``energy_0``, ``energy_1``, ... by its position."""
    if isinstance(energies, str) or not isinstance(energies, Sequence):
        raise TypeError(f"Expected `energies` to be a sequence of EnergyTerm, but got {type(energies).__name__}.")
    if wrong := [term for term in energies if not isinstance(term, EnergyTerm)]:
        raise TypeError(f"Expected `energies` to hold EnergyTerm alone, but got {wrong[0]!r}.")
    names = [term.name or f"energy_{i}" for i, term in enumerate(energies)]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"Expected `energies` to be one or more terms with different names, but got {names}.")
    return dict(zip(names, energies, strict=True))


def check_poses(
    skeleton: Skeleton,
    prediction: Tensor,
    keypoints_2d: Tensor,
    visibility: Tensor | None,
    labelled: Tensor | None,
    *targets: Tensor,
) -> None:
    """Raise unless all arguments are tensors on one device whose shapes fit the skeleton and each other.

    Args:
        skeleton: Skeleton of the poses.
        prediction: Predicted poses.
        keypoints_2d: Their keypoints.
        visibility: Mask of the joints, if there is one.
        labelled: Mask of the samples, if there is one.
        targets: The true poses, for a call that is given any.

    Raises:
        TypeError: If an argument is not a tensor of real numbers.
        ValueError: If shapes or devices do not fit.
    """
    given = {"prediction": prediction, "keypoints_2d": keypoints_2d, **dict(zip(["target"], targets, strict=False))}
    given |= {name: mask for name, mask in (("visibility", visibility), ("labelled", labelled)) if mask is not None}
    for name, value in given.items():
        if not isinstance(value, Tensor) or value.is_complex() or (name == "target" and value.dtype == torch.bool):
            raise TypeError(f"Expected `{name}` to be a tensor of real numbers, but got {kind_of(value)}.")
    joints = skeleton.num_joints
    shape = tuple(prediction.shape)
    if len(shape) not in (3, 4) or shape[-2:] != (joints, 3) or not prediction.is_floating_point():
        raise ValueError(
            f"Expected `prediction` to be floating, (B, {joints}, 3) or (B, T, {joints}, 3), "
            f"but got {prediction.dtype} {shape}."
        )
    for target in targets:
        if target.shape != prediction.shape:
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
    for name, value in given.items():
        if value.device != prediction.device:
            raise ValueError(
                f"Expected `{name}` to be on {prediction.device} like `prediction`, but got {value.device}."
            )


def check_eval_prediction(needed: bool, eval_prediction: Tensor | None, prediction: Tensor) -> None:
    """Raise unless the prediction in evaluation mode is there, if it is needed, with the shape of the prediction."""
    if not needed or (isinstance(eval_prediction, Tensor) and eval_prediction.shape == prediction.shape):
        return
    got = tuple(eval_prediction.shape) if isinstance(eval_prediction, Tensor) else kind_of(eval_prediction)
    raise ValueError(
        f"Expected `eval_prediction` to have the shape {tuple(prediction.shape)} of `prediction`, but got {got}. It is "
        "what the pose-net predicts in evaluation mode, which `PredictionNegatives(eval=True)` needs."
    )


def check_gradient(task_gradient: Tensor, prediction: Tensor) -> None:
    """Raise unless the gradient has one row per sample, as one at the prediction or at a tensor before it has."""
    if not isinstance(task_gradient, Tensor) or not task_gradient.is_floating_point():
        raise TypeError(f"Expected `task_gradient` to be a floating-point tensor, but got {kind_of(task_gradient)}.")
    if torch.is_grad_enabled() and not prediction.requires_grad:
        warnings.warn("`prediction` requires no gradient: the energies will not pull at it.", stacklevel=3)
    samples = len(prediction)
    if samples and (not task_gradient.numel() or task_gradient.numel() % samples):
        raise ValueError(
            f"Expected `task_gradient` to have a row for each of the {samples} samples of `prediction`, "
            f"but got {tuple(task_gradient.shape)}."
        )
