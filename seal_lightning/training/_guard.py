"""Optimizer steps that are skipped where a number is not finite, without waiting for the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from seal_lightning.training._fused import skips_by_itself, step_unless

__all__ = ["Guard", "finite_with"]


def finite_with(value: Tensor, *others: Tensor) -> Tensor:
    """The value itself; NaN where one of the others holds a number that is not finite."""
    for other in others:
        # Zero times infinity is NaN. In half precision, the sum of finite numbers could be infinite.
        number = other.detach() if other.dim() == 0 else other.detach().float().sum()
        value = torch.add(value, number, alpha=0)
    return value


class Guard:
    """Lets an optimizer take the steps whose numbers are finite, and counts the others.

    Args:
        limit: Steps in a row that may be skipped before training stops; None for no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.skipped = self.in_row = torch.zeros((), dtype=torch.long)
        self._until_look = limit or 0

    def step(self, optimizer: Optimizer, finite: Tensor, wanted: Tensor | None = None) -> None:
        """Take a step if ``finite``, a bool scalar, is true.

        Where ``wanted`` is given and false, no step is due, and none counts as skipped.

        Raises:
            RuntimeError: If as many steps in a row as the limit says were skipped.
        """
        missed = ~finite if wanted is None else ~finite & wanted
        take = finite if wanted is None else finite & wanted
        leave = missed if wanted is None else ~take
        if _on_the_host(take):
            if take.numpy():
                optimizer.step()
        elif skips_by_itself(optimizer):
            step_unless(optimizer, leave)
        else:
            _step_or_undo(optimizer, take, leave)
        self.skipped = self.skipped.to(finite.device) + missed
        # A step that was taken ends the row; one that was not due leaves it as it is.
        goes_on = missed if wanted is None else missed | ~wanted
        self.in_row = (self.in_row.to(finite.device) + missed) * goes_on
        if self.limit is not None:
            self._look(self.limit)

    def state_dict(self) -> dict[str, Tensor]:
        """The counts of skipped steps."""
        return {"skipped": self.skipped, "in_row": self.in_row}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the counts."""
        self.skipped, self.in_row = state["skipped"], state["in_row"]
        self._until_look = 1

    def _look(self, limit: int) -> None:
        """Read the count no sooner than it can have reached the limit: once in so many steps where all is well."""
        self._until_look -= 1
        if self._until_look > 0:
            return
        in_row = int(self.in_row)
        if in_row >= limit:
            raise RuntimeError(
                f"Expected finite numbers, but {in_row} updates of the loss-nets in a row were skipped because the "
                "loss or the gradient of the host or of a loss-net was NaN or infinite. Likely causes: the host has "
                "diverged (lower its learning rate, set the trainer's `gradient_clip_val`); keypoints or targets hold "
                "NaN (mark them in `visibility` or `labelled` of SealBatch); half precision overflows (use bfloat16 "
                "or float32); the loss-nets have diverged or were so when they were loaded (lower the learning rate "
                "of their optimizer, set `gradient_clip_val` in SealConfig). `max_skipped_updates` in SealConfig says "
                "after how many training stops."
            )
        self._until_look = limit - in_row


def _on_the_host(finite: Tensor) -> bool:
    """Whether a value can be read without waiting."""
    return finite.device.type == "cpu"


def _step_or_undo(optimizer: Optimizer, take: Tensor, leave: Tensor) -> None:
    """Take a step and, where ``leave`` is true and ``take`` false, undo it on the device.

    The host does not know which of the two it is, so every step is taken, from a gradient of zero where it is to be
    undone, and every tensor becomes ``take`` times its new plus ``leave`` times its old value. Parameters and optimizer
    state are then what they were. The exception is what an optimizer counts on the host, as an Adam that is not fused
    does its steps: there a skipped step counts as one whose gradient was zero.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    with torch.no_grad():
        for gradient in (parameter.grad for parameter in parameters if parameter.grad is not None):
            gradient.masked_fill_(leave, 0.0)
        states = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
        states = [value for value in states if value.is_floating_point() and value.device == take.device]
        before = torch._foreach_mul([*parameters, *states], leave.float())
    optimizer.step()
    with torch.no_grad():
        torch._foreach_mul_([*parameters, *states], take.float())
        torch._foreach_add_([*parameters, *states], before)
