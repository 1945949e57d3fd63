"""Fused optimizers: one operation a step, which the device itself can leave out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

__all__ = ["as_made", "fuse", "skips_by_itself", "step_unless"]

_KINDS = (Adam, AdamW, SGD)  # these exactly: a subclass may step in another way
_DEVICES = ("cpu", "cuda")
_FUSED = {"fused": True, "foreach": False}
_UNDECIDED = {"fused": None, "foreach": None}


def fuse(optimizer: Optimizer) -> bool:
    """Let an optimizer run fused, if it can and its maker left open how it runs; return whether that changed it.

    A fused step computes the same formula with other rounding errors.
    """
    if type(optimizer) not in _KINDS or not all(_fits(group) for group in optimizer.param_groups):
        return False
    for group in optimizer.param_groups:
        group.update(_FUSED)
        for parameter in group["params"]:
            state = optimizer.state[parameter] if group.get("momentum") else optimizer.state.get(parameter, {})
            if "step" in state:  # counted by an optimizer that was not fused, which does that on the host
                state["step"] = state["step"].to(parameter.device, torch.float32)
            if group.get("momentum") and state.get("momentum_buffer") is None:
                # PyTorch makes these at the first step. A fused one that is left out would not write into their memory.
                state["momentum_buffer"] = torch.zeros_like(parameter)
    return True


def skips_by_itself(optimizer: Optimizer) -> bool:
    """Whether `step_unless` works with this optimizer."""
    if type(optimizer) not in _KINDS or not all(group["fused"] for group in optimizer.param_groups):
        return False
    heavy = [parameter for group in optimizer.param_groups if group.get("momentum") for parameter in group["params"]]
    return all(optimizer.state[parameter].get("momentum_buffer") is not None for parameter in heavy)


def step_unless(optimizer: Optimizer, leave: Tensor) -> None:
    """Take a step unless ``leave``, a bool scalar, is true, which the device decides.

    It is what a gradient scaler tells an optimizer. Weights, moments and counted steps stay what they were otherwise.
    """
    optimizer.found_inf = leave.float()  # type: ignore[attr-defined]
    try:
        optimizer.step()
    finally:
        del optimizer.found_inf  # type: ignore[attr-defined]


def as_made(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an optimizer that `fuse` changed, as its maker would have saved it."""
    return {**state, "param_groups": [{**group, **_UNDECIDED} for group in state["param_groups"]]}


def _fits(group: Mapping[str, Any]) -> bool:
    parameters = group["params"]
    return (
        _is_open(group)
        and not group.get("differentiable")
        and not group.get("capturable")
        and not group.get("dampening")
        and all(parameter.is_floating_point() and parameter.device.type in _DEVICES for parameter in parameters)
    )


def _is_open(group: Mapping[str, Any]) -> bool:
    return group.get("fused") is None and group.get("foreach") is None
