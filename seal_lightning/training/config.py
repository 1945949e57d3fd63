"""`SealConfig`: everything that a host's SEAL training is told, as plain data and factories."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seal_lightning._values import is_number, is_whole
from seal_lightning.loss.checks import check_options, energies_by_name
from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import DEFAULT_WEIGHT, EnergyTerm, OptimizerCallable, default_energies
from seal_lightning.loss_nets import LossNet
from seal_lightning.negatives import Negatives
from seal_lightning.objectives import Objective
from seal_lightning.objectives.penalties import GradientPenalty
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training._plain import from_plain, to_plain

__all__ = ["SealConfig"]

LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class SealConfig:
    """Configuration of SEAL training.

    The fields from `loss_net` to `optimizer` are a short way to write one `EnergyTerm`, whose
    documentation says what they are. Without a `loss_net` that one is the project's default energy, with the other
    fields in place of its own.

    Args:
        skeleton: Name of a built-in skeleton, or a `Skeleton`.
        energies: The learned energies, as EnergyTerms; not together with the fields of a single one.
        loss_net: Makes the loss-net of the one energy: a class, or ``class_path`` with ``init_args`` in YAML.
        objective: What the loss-net of the one energy minimises.
        negatives: Where the implausible poses of the one energy come from.
        weight: How hard the one energy pulls: `ForceRatio`, or a float as in the paper.
        gradient_penalty: What the loss-net of the one energy pays for its slope: a `GradientPenalty`, or the weight of
            `R1`.
        optimizer: Makes the optimizer of the one energy's loss-net.
        warmup_steps: Steps in which the loss-nets train and the pose-net does not feel them yet. A few hundred keep the
            pulls of a loss-net that knows nothing yet out of the training.
        lr_scheduler: Learning-rate scheduler of the loss-nets, stepped after each of their updates. One that waits for
            a plateau has nothing to wait for.
        gradient_clip_val: Largest norm of the loss-nets' gradient.
        max_skipped_updates: Training stops when this many updates of the loss-nets in a row were skipped because a
            number was NaN or infinite; never where not given.
        update: ``"alternating"``: a loss-net takes its step and the pose-net feels the new one; ``"simultaneous"``: one
            pass through the loss-net serves both nets, which costs less.
        mode: ``"dynamic"`` trains the loss-nets beside the pose-net; ``"static"`` leaves them frozen.
        checkpoint: Checkpoint of a SEAL run, or a saved ``SealLoss.state_dict()``, to take the loss-nets from.
        precision: ``"bfloat16"`` runs the loss-nets, and them alone, under bfloat16 autocast.
        frames_per_clip: Score this many random frames of a clip; all of them where not given. For a loss-net that sees
            clips they are frames in a row.
        seed: Seed of the loss-nets' initialisation, of the negatives and of the choice of frames.
        every_n_steps: Let loss-nets and energies act in every n-th update of the host only, and leave it alone in the
            others; with gradient accumulation in all batches of that update, in manual optimization in every n-th
            training step. A `ForceRatio` is that of the acting steps, and `warmup_steps` counts them.
        cuda_graph: Capture SEAL's work of a step as CUDA graphs, and replay them where the shapes repeat, which saves a
            GPU the launches of some hundred small operations. Where it cannot be done, one warning says why, and steps
            run as without it. Not tried on a GPU yet.

    Raises:
        TypeError: If a field is of the wrong kind.
        ValueError: If fields contradict each other or are out of range.

    Example:
        >>> SealConfig(weight=0.001).terms()[0].weight
        0.001
    """

    skeleton: str | Skeleton = "h36m17"
    energies: list[EnergyTerm] | None = None
    loss_net: Callable[[Skeleton], LossNet] | None = None
    objective: Objective | None = None
    negatives: Sequence[Negatives] | None = None
    weight: float | ForceRatio = DEFAULT_WEIGHT
    gradient_penalty: float | GradientPenalty | None = None
    optimizer: OptimizerCallable | None = None
    warmup_steps: int = 0
    lr_scheduler: LRSchedulerCallable | None = None
    gradient_clip_val: float | None = None
    max_skipped_updates: int | None = 100
    update: Literal["alternating", "simultaneous"] = "alternating"
    mode: Literal["dynamic", "static"] = "dynamic"
    checkpoint: str | Path | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    frames_per_clip: int | None = None
    seed: int = 0
    every_n_steps: int = 1
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        get_skeleton(self.skeleton)
        if self.energies is not None and (shorthand := [*self._shorthand()]):
            raise ValueError(
                f"Expected either `energies` or the fields of a single one, but got `energies` and {shorthand}."
            )
        if self.energies is not None and not self.energies:
            raise ValueError("Expected `energies` to hold at least one term, but got none.")
        if self.energies is not None:
            energies_by_name(self.energies)
        if self.checkpoint is not None:
            self._check_checkpoint()
        for name in ("optimizer", "lr_scheduler"):
            factory = getattr(self, name)
            if factory is not None and (not callable(factory) or isinstance(factory, Optimizer)):
                raise TypeError(f"Expected `{name}` to be a class or a function that makes it, but got {factory!r}.")
        if self.mode not in ("dynamic", "static"):
            raise ValueError(f"Expected `mode` to be 'dynamic' or 'static', but got {self.mode!r}.")
        if not isinstance(self.cuda_graph, bool):
            raise TypeError(f"Expected `cuda_graph` to be True or False, but got {self.cuda_graph!r}.")
        check_options(self.update, self.precision, self.seed)
        if self.mode == "static" and self.checkpoint is None:
            raise ValueError("Expected a `checkpoint` to take the loss-nets from in static mode, but got None.")
        if self.mode == "static" and self.warmup_steps:
            raise ValueError(f"Expected no `warmup_steps` in static mode, but got {self.warmup_steps}.")
        for name, least in (
            ("warmup_steps", 0),
            ("gradient_clip_val", 0),
            ("frames_per_clip", 1),
            ("every_n_steps", 1),
            ("max_skipped_updates", 1),
        ):
            value = getattr(self, name)
            if value is None and name not in ("warmup_steps", "every_n_steps"):
                continue
            if not (is_number if least == 0 else is_whole)(value):
                kind = "a number" if least == 0 else "an integer"
                raise TypeError(f"Expected `{name}` to be {kind}, but got {value!r}.")
            if not value >= least:
                raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")
        if self.gradient_clip_val == 0:
            warnings.warn("`gradient_clip_val=0` leaves the loss-nets no gradient; None clips nothing.", stacklevel=3)
        self.terms()  # whose own checks find what is wrong with the fields of a single energy

    def terms(self) -> list[EnergyTerm]:
        """The energies in use."""
        if self.energies is not None:
            return list(self.energies)
        given = self._shorthand()
        if "loss_net" in given:
            return [EnergyTerm(**given)]
        (default,) = default_energies()
        return [replace(default, **given)]

    @classmethod
    def of(cls, value: Any) -> SealConfig:
        """The configuration itself, what `plain` made of it, or the defaults for None.

        What `plain` made may come from a checkpoint that somebody else wrote, so it is read as such: a class path names
        a class or an annotated function of the kind that its field is for, from a module that is imported already.

        Raises:
            ValueError: If `plain` could not write the configuration down, or what it wrote cannot be read.
            TypeError: If the value is of another kind.
        """
        if value is None:
            return cls()
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and " " not in value:  # not the reason that `plain` gives, but somebody's short way
            raise TypeError(f"Expected `seal` to be a SealConfig, but got {value!r}: SealConfig(skeleton={value!r})?")
        if isinstance(value, str):
            raise ValueError(f"Expected `seal` to be given anew, since the checkpoint could not hold it. {value}")
        if not isinstance(value, Mapping):
            raise TypeError(f"Expected `seal` to be a SealConfig, but got {type(value).__name__}.")
        fields_given = {name: item for name, item in value.items() if name != "version"}  # which `hparams` has
        try:
            config: SealConfig = from_plain(cls, fields_given)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"Expected `seal` to be given anew, since it cannot be read as it is. {error}") from error
        return config

    def plain(self) -> dict[str, Any] | str:
        """Plain data, fit for a checkpoint: classes and factories become ``class_path`` and ``init_args``.

        What was left to a default is written out, so that it stays what it is when a later version has other defaults:
        the energies in use are there either as `energies` or as the fields of a single one.

        Where a factory cannot be imported by name (a lambda, a local class), this is the reason, as a string.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.energies is None:
            (term,) = self.terms()
            values |= {name: getattr(term, name) for name in _SHORTHAND}
            del values["energies"]
        else:
            values = {name: value for name, value in values.items() if name not in _SHORTHAND}
        try:
            return {name: to_plain(value, name) for name, value in values.items()}
        except ValueError as error:
            return str(error)

    def _check_checkpoint(self) -> None:
        checkpoint: Any = self.checkpoint
        if not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(f"Expected `checkpoint` to be the path of a file, but got {checkpoint!r}.")
        if not os.fspath(checkpoint):
            raise ValueError("Expected `checkpoint` to be the path of a file, but got an empty string.")
        object.__setattr__(self, "checkpoint", os.fspath(checkpoint))

    def _shorthand(self) -> dict[str, Any]:
        """Those fields of the one energy that are not left to its default."""
        given = {name: getattr(self, name) for name in _SHORTHAND}
        return {name: value for name, value in given.items() if not _same(value, getattr(type(self), name))}


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


_SHORTHAND = tuple(field.name for field in fields(EnergyTerm) if hasattr(SealConfig, field.name))
