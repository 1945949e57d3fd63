"""Why the work of a step cannot be captured and replayed, if it cannot."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

import torch
from torch import nn

from seal_lightning import _distributed as ranks
from seal_lightning.loss.criterion import SealLoss
from seal_lightning.training.batch import SealBatch

__all__ = ["reason_against"]

# What is in these does the same in every step. A class of somebody else's may count, in Python, and a graph would
# repeat the first number for ever.
_REPEATABLE = ("seal_lightning.", "torch.nn.modules.")
_MIXIN = "seal_lightning.training.mixin"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_GLOBAL_HOOKS = tuple(f"_global{name}" for name in _HOOKS)  # of all modules, in `torch.nn.modules.module`


def reason_against(model: Any, used: SealBatch, moved: bool, devices: Container[str]) -> str | None:
    """Say why a graph cannot take the place of a step, or None where it can.

    Args:
        model: The host with its mixin.
        used: What is scored.
        moved: Whether forces are compared elsewhere than at the prediction.
        devices: Types of the devices that have graphs.
    """
    device = used.prediction.device.type
    if device not in devices:
        return f"it runs on the device {device!r}, which has none"
    if ranks.several():
        return "several processes train together"
    if not model._seal_optimization.trains:
        return "the loss-nets are frozen"
    if used.target is None:
        return "a batch has no `target`"
    if used.visibility is not None or used.labelled is not None:
        return "a batch has `visibility` or `labelled`"
    if used.eval_prediction is not None:
        return "negatives are what the pose-net predicts in evaluation mode"
    if moved:
        return "`seal_batch` returns a prediction that is made from what the loss compares"
    if torch.is_anomaly_enabled():
        return "PyTorch detects anomalies"
    if type(model).seal_step.__module__ != _MIXIN or "seal_step" in vars(model):
        return "`seal_step` is overridden"
    return _stranger(model.seal)


def _stranger(seal: SealLoss) -> str | None:
    if {"ranking_loss", "energy_loss"} & vars(seal).keys():
        return "a method of `SealLoss` was replaced"
    for part in _parts(seal):
        if not f"{type(part).__module__}.".startswith(_REPEATABLE):
            return f"{type(part).__name__} is not a class of this library, and may change from step to step"
    for module in seal.modules():
        if "forward" in vars(module):
            return f"`forward` of a {type(module).__name__} was replaced"
        if any(getattr(module, hooks) for hooks in _HOOKS):
            return f"a {type(module).__name__} has hooks"
    of_all = any(getattr(nn.modules.module, hooks) for hooks in _GLOBAL_HOOKS)
    if of_all or any(map(_has_hooks, seal.parameters())):
        return "there are hooks on all modules or on a parameter"
    return None


def _parts(seal: SealLoss) -> Iterator[Any]:
    yield from seal.modules()
    for term in seal.energies.values():
        given = term, term.objective, *(term.negatives or ()), term.gradient_penalty, term.weight
        yield from (part for part in given if not isinstance(part, int | float | None))


def _has_hooks(parameter: nn.Parameter) -> bool:
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)
