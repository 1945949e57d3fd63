"""`SealConfig`: everything that a host's SEAL training is told, as plain data and factories."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from seal_lightning._values import is_number, is_whole
from seal_lightning.loss._checks import check_options, energies_by_name
from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import DEFAULT_WEIGHT, EnergyTerm, OptimizerCallable, default_energies
from seal_lightning.loss_nets import LossNet
from seal_lightning.negatives import Negatives
from seal_lightning.objectives import Objective
from seal_lightning.objectives.penalties import GradientPenalty
from seal_lightning.objectives.temporal import TemporalPairs
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training._plain import from_plain, to_plain

__all__ = ["SealConfig"]

LRSchedulerCallable = Callable[[Optimizer], LRScheduler]


@dataclass(frozen=True)
class SealConfig:
    """Configuration of SEAL training.

    Args:
        skeleton: Name of a built-in skeleton, or a `Skeleton`.
        energies: The learned energies. Where not given, one energy made of the six fields that follow and `temporal`.
        loss_net: Loss-net factory of the one energy. Where not given, the one energy is the project's default, of which
            the other fields override what they name.
        objective: Objective of the one energy.
        negatives: Negatives of the one energy.
        weight: Weight of the one energy: `ForceRatio`, or a float as in the paper.
        gradient_penalty: Gradient penalty of the one energy: a `GradientPenalty`, or the weight of `R1`.
        optimizer: Optimizer of the one energy's loss-net.
        warmup_steps: Steps in which the loss-nets train and the pose-net does not feel them yet. A few hundred keep the
            pulls of a loss-net that knows nothing yet out of the training.
        lr_scheduler: Learning-rate scheduler of the loss-nets, stepped after each of their updates.
        gradient_clip_val: Largest norm of the loss-nets' gradient.
        max_skipped_updates: Training stops when this many updates of the loss-nets in a row were skipped because a
            number was NaN or infinite; never where not given.
        update: ``"alternating"``: a loss-net takes its step and the pose-net feels the new one; ``"simultaneous"``: one
            pass through the loss-net serves both nets, which costs less.
        mode: ``"dynamic"`` trains the loss-nets beside the pose-net; ``"static"`` leaves them frozen.
        checkpoint: Checkpoint of a SEAL run, or a saved ``SealLoss.state_dict()``, to take the loss-nets from.
        precision: ``"bfloat16"`` runs the loss-nets, and them alone, under bfloat16 autocast.
        frames_per_clip: Score this many random frames of a clip; all of them where not given.
        seed: Seed of the loss-nets' initialisation, of the negatives and of the choice of frames.
        temporal: Temporal pair term of the one energy, for hosts that predict clips.

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
    negatives: list[Negatives] | None = None
    weight: float | ForceRatio = DEFAULT_WEIGHT
    gradient_penalty: float | GradientPenalty | None = None
    optimizer: OptimizerCallable | None = None
    warmup_steps: int = 0
    lr_scheduler: LRSchedulerCallable | None = None
    gradient_clip_val: float | None = None
    max_skipped_updates: int | None = 100
    update: Literal["alternating", "simultaneous"] = "alternating"
    mode: Literal["dynamic", "static"] = "dynamic"
    checkpoint: str | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    frames_per_clip: int | None = None
    seed: int = 0
    temporal: TemporalPairs | None = None

    def __post_init__(self) -> None:
        get_skeleton(self.skeleton)
        if self.energies is not None and (self._shorthand() or self.weight != DEFAULT_WEIGHT):
            raise ValueError(
                "Expected either `energies` or the fields of a single one, but got `energies` and "
                f"{[*self._shorthand(), *(['weight'] if self.weight != DEFAULT_WEIGHT else [])]}."
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
        check_options(self.update, self.precision, self.seed)
        if self.mode == "static" and self.checkpoint is None:
            raise ValueError("Expected a `checkpoint` to take the loss-nets from in static mode, but got None.")
        if self.mode == "static" and self.warmup_steps:
            raise ValueError(f"Expected no `warmup_steps` in static mode, but got {self.warmup_steps}.")
        for name, least in (
            ("warmup_steps", 0),
            ("gradient_clip_val", 0),
            ("frames_per_clip", 1),
            ("max_skipped_updates", 1),
        ):
            value = getattr(self, name)
            if value is None and name != "warmup_steps":
                continue
            if not (is_number if least == 0 else is_whole)(value):
                kind = "a number" if least == 0 else "an integer"
                raise TypeError(f"Expected `{name}` to be {kind}, but got {value!r}.")
            if not value >= least:
                raise ValueError(f"Expected `{name}` to be at least {least}, but got {value}.")
        if self.gradient_clip_val == 0:
            warnings.warn("`gradient_clip_val=0` leaves the loss-nets no gradient; None clips nothing.", stacklevel=3)
        terms = self.terms()  # whose own checks find what is wrong with the fields of a single energy
        if self.frames_per_clip == 1 and any(term.temporal for term in terms):
            raise ValueError("Expected `frames_per_clip` to be at least 2 to go with `temporal`, but got 1.")

    def terms(self) -> list[EnergyTerm]:
        """The energies in use."""
        if self.energies is not None:
            return list(self.energies)
        given = {"weight": self.weight, **self._shorthand()}
        if self.loss_net is not None:
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
        if isinstance(value, str):
            raise ValueError(f"Expected `seal` to be given anew, since the checkpoint could not hold it. {value}")
        if not isinstance(value, Mapping):
            raise TypeError(f"Expected `seal` to be a SealConfig, but got {type(value).__name__}.")
        try:
            config: SealConfig = from_plain(cls, value)
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"Expected `seal` to be given anew, since it cannot be read as it is. {error}") from error
        return config

    def plain(self) -> dict[str, Any] | str:
        """Plain data, fit for a checkpoint: classes and factories become ``class_path`` and ``init_args``.

        Where a factory cannot be imported by name (a lambda, a local class), this is the reason, as a string.
        """
        try:
            return {field.name: to_plain(getattr(self, field.name), field.name) for field in fields(self)}
        except ValueError as error:
            return str(error)

    def _check_checkpoint(self) -> None:
        checkpoint: Any = self.checkpoint
        if not isinstance(checkpoint, str | os.PathLike):
            raise TypeError(f"Expected `checkpoint` to be the path of a file, but got {checkpoint!r}.")
        if not os.fspath(checkpoint):
            raise ValueError("Expected `checkpoint` to be the path of a file, but got an empty text.")
        object.__setattr__(self, "checkpoint", os.fspath(checkpoint))

    def _shorthand(self) -> dict[str, Any]:
        names = ("loss_net", "objective", "negatives", "gradient_penalty", "optimizer", "temporal")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}
