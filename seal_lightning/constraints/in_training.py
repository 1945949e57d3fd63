"""`constrain`: an explicit constraint joins the loss of a model that is not to be edited."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from seal_lightning._values import is_number
from seal_lightning.constraints.losses import Constraint
from seal_lightning.skeleton import get_skeleton
from seal_lightning.training.batch import infer_batch
from seal_lightning.training.capture import record_calls

__all__ = ["constrain"]


def constrain(model: Any, constraint: Constraint, weight: float) -> None:
    """Add ``weight * constraint(prediction, target).mean()`` to the loss of every training step of a model.

    The class of the model is left alone, and so are its parameters and checkpoints; prediction and target are found in
    its step as `SealMixin` finds them. Several constraints are added one after the other.

    Args:
        model: A LightningModule that leaves optimization to Lightning.
        constraint: The constraint.
        weight: What it is multiplied with, in the unit of the loss.

    Raises:
        TypeError: If the model is no LightningModule, or the constraint is no `Constraint`.
        ValueError: If the weight is negative, or the model steps its optimizers itself; in a step, if prediction and
            target cannot be found.

    Example:
        >>> import lightning as L
        >>> import torch
        >>> from seal_lightning.constraints import BoneLengthConstraint
        >>> class LitLifter(L.LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.net = torch.nn.Linear(34, 51)
        ...     def training_step(self, batch, batch_idx):
        ...         x, y = batch
        ...         return 0 * self.net(x).sum()
        >>> model, batch = LitLifter(), (torch.zeros(4, 34), torch.zeros(4, 51))
        >>> constrain(model, BoneLengthConstraint("h36m17"), weight=0.1)
        >>> bool(model.training_step(batch, 0) > 0)
        True
    """
    if not hasattr(model, "automatic_optimization") or not hasattr(model, "training_step"):
        raise TypeError(f"Expected `model` to be a LightningModule, but got {type(model).__name__}.")
    if not isinstance(constraint, Constraint):
        raise TypeError(f"Expected `constraint` to be a Constraint, but got {constraint!r}.")
    if not is_number(weight) or not 0 <= weight < float("inf"):
        raise ValueError(f"Expected `weight` to be finite and not negative, but got {weight!r}.")
    if not model.automatic_optimization:
        raise ValueError("Expected a model with `automatic_optimization`; add the constraint to its own loss instead.")
    step, joints = model.training_step, get_skeleton(constraint.skeleton).num_joints

    @functools.wraps(step)
    def constrained(batch: Any, *args: Any, **kwargs: Any) -> Any:
        with record_calls(model) as calls:
            output = step(batch, *args, **kwargs)
        if output is None:  # the model skips this step
            return None
        read = infer_batch(batch, calls, joints)
        added = weight * constraint(read.prediction, read.target).mean()  # type: ignore[arg-type]
        return {**output, "loss": output["loss"] + added} if isinstance(output, Mapping) else output + added

    model.training_step = constrained
