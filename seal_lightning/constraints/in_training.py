"""`constrain`: an explicit constraint joins the loss of a model that is not to be edited."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.constraints.losses import Constraint
from seal_lightning.skeleton import get_skeleton
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.reading.step import WatchedStep

__all__ = ["constrain"]


def constrain(model: Any, constraint: Constraint, weight: float) -> None:
    """Add ``weight * constraint(prediction, target).mean()`` to the loss of every training step of a model.

    The code of the model is left alone, and so are its parameters and checkpoints: from then on it is of a subclass of
    its class, and copies and pickles of it are, too. Prediction, target, visible joints and labelled samples are read
    in its step as `SealMixin` reads them; those of a SEAL model are what its `seal_batch` says. A step that trains no
    pose is left alone. Several constraints are added one after the other.

    Args:
        model: A LightningModule that leaves optimization to Lightning.
        constraint: The constraint.
        weight: What it is multiplied with, in the unit of the loss.

    Raises:
        TypeError: If the model is no LightningModule, or the constraint is no `Constraint`.
        ValueError: If the weight is negative, or the model steps its optimizers itself; in a step, if there
            is more than one way to read prediction and target.

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
        ...         return 0 * (self.net(x) - y).abs().mean()
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
    if not hasattr(model, "_constraints"):
        model.__class__ = _constrained(type(model))  # type: ignore[arg-type]
        model._constraints = []
    model._constraints.append((constraint, float(weight)))


@functools.cache
def _constrained(host: Any) -> type:
    """The subclass of a model's class whose training step adds the constraints of the model."""
    step: Callable[..., Any] = host.training_step

    @functools.wraps(step)
    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        run = functools.partial(step, self, *args, **kwargs)
        if isinstance(self, SealMixin):  # its own watch is on
            return _added(self, run(), self._seal_step)
        joints = get_skeleton(self._constraints[0][0].skeleton).num_joints
        watched = WatchedStep(self, joints, (*args, *kwargs.values())[0], trusted=lambda keypoints: True)
        with watched.recorded():
            output = run()
        return _added(self, output, watched)

    def reduced(self: Any, protocol: Any) -> Any:
        """Name the model's own class, since this one is in no module."""
        reduced_host: Any = host.__reduce_ex__(self, max(2, protocol))
        _, (_, *arguments), *state = reduced_host
        return _make, (host, *arguments), *state

    vars(training_step).pop("_seal_wrapped", None)  # the mark of the step within: this one is to be watched, too
    body = {
        "training_step": training_step,
        "__reduce_ex__": reduced,
        "__module__": host.__module__,
        "__doc__": host.__doc__,
    }
    return type(host.__name__, (host,), body)


def _make(host: type, *arguments: Any) -> Any:
    made = _constrained(host)
    return made.__new__(made, *arguments)


def _added(model: Any, output: Any, watched: WatchedStep | None) -> Any:
    """What the step returned, with the constraints in its loss."""
    loss = output["loss"] if isinstance(output, Mapping) else output
    if watched is None or not isinstance(loss, Tensor) or not loss.requires_grad:  # the model skips this step
        return output
    with watched.unseen():
        read = _read(model, watched, loss)
        if read is None:
            return output
        added = sum(weight * _mean(constraint, read) for constraint, weight in model._constraints)
    total = loss + added
    return {**output, "loss": total} if isinstance(output, Mapping) else total


def _read(model: Any, watched: WatchedStep, loss: Tensor) -> SealBatch | None:
    found = watched.find(loss)
    if isinstance(model, SealMixin):
        read = model._seal_read(watched, found, loss) if found or model._seal_overridden else None
    else:
        watched.current = found
        read = watched.read() if found else None
    return None if read is None else read.complete()


def _mean(constraint: Constraint, read: SealBatch) -> Tensor:
    """The mean loss of the labelled poses; what stands for the truth of the others is not read."""
    if read.target is None:
        raise ValueError("Expected a `target` to constrain the prediction with, but got None.")
    if read.labelled is None:
        return constraint(read.prediction, read.target, read.visibility).mean()
    labelled = read.labelled.view(-1, *[1] * (read.prediction.dim() - 1))
    target = torch.where(labelled, read.target, read.prediction.detach().to(read.target))
    losses = constraint(read.prediction, target, read.visibility)
    counted = labelled[..., 0, 0].expand_as(losses).to(losses)
    return (losses * counted).sum() / counted.sum().clamp(min=1)
