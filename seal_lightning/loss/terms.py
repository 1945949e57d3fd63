"""`EnergyTerm`: the parts of one learned energy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from seal_lightning._values import is_number
from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss_nets import LossNet, StructureLossNet
from seal_lightning.loss_nets.frame import FramedPoses
from seal_lightning.negatives import Negatives, PredictionNegatives
from seal_lightning.objectives import LogisticObjective, NoObjective, Objective, WassersteinObjective
from seal_lightning.objectives.penalties import R1, DenoisingScore, GradientPenalty, InterpolatedPenalty, Probe
from seal_lightning.skeleton import Skeleton

__all__ = ["DEFAULT_WEIGHT", "EnergyTerm", "OptimizerCallable", "default_energies"]

OptimizerCallable = Callable[[Iterable[Tensor]], Optimizer]
"""A function of parameters that returns an optimizer, as in `lightning.pytorch.cli`, without importing Lightning."""
DEFAULT_WEIGHT = ForceRatio(0.1)


@dataclass(frozen=True)
class EnergyTerm:
    """One learned energy: its loss-net, what the loss-net minimises and learns from, and how hard the energy pulls.

    Args:
        loss_net: Called once per model with the skeleton; returns the loss-net. A class, a partial of one, or
            ``class_path`` with ``init_args`` in YAML.
        objective: The loss that the loss-net minimises.
        negatives: Sources of implausible poses. The loss-net meets the negatives of all of them. By default the
            predictions of the pose-net.
        weight: `ForceRatio`, or a float as in the paper: the energy is added times this. In manual optimization the
            energy joins the loss that is handed to `manual_backward`. A host that divides its loss there, by the number
            of batches that it accumulates for example, has to divide a float weight likewise; a `ForceRatio` follows
            the loss by itself.
        gradient_penalty: A loss on the slope of the energy that is added to the objective: a `GradientPenalty`, or a
            number as the weight of `R1`; 0 for none.
        optimizer: Called with the loss-net's parameters; returns its optimizer.
        name: Key of this term's energies; by default ``energy_0``, ``energy_1``, ...

    Raises:
        TypeError: If a part is of the wrong kind, for example an instance of a loss-net, or the class of an objective.
        ValueError: If there are no negatives, if the weight or the gradient penalty is negative, or if the objective
            needs a gradient penalty and has none, or one of another kind.
    """

    loss_net: Callable[[Skeleton], LossNet]
    objective: Objective = field(default_factory=LogisticObjective)
    negatives: Sequence[Negatives] | None = None  # a default instance in a tuple could not be written as YAML
    weight: float | ForceRatio = DEFAULT_WEIGHT
    gradient_penalty: float | GradientPenalty = 0.0
    optimizer: OptimizerCallable = torch.optim.Adam
    name: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.negatives, Negatives):
            raise TypeError(f"Expected `negatives` to be a sequence of Negatives, but got {self.negatives}.")
        negatives = (PredictionNegatives(),) if self.negatives is None else tuple(self.negatives)
        object.__setattr__(self, "negatives", negatives)
        self._check_kinds(negatives)
        if not self.negatives:
            raise ValueError("Expected `negatives` to hold at least one source of negatives, but got none.")
        penalty = self.gradient_penalty
        for name, kind in (("weight", ForceRatio), ("gradient_penalty", GradientPenalty)):
            value = getattr(self, name)
            if not isinstance(value, kind) and not (is_number(value) and 0 <= value < float("inf")):
                raise ValueError(f"Expected `{name}` to be finite and not negative, but got {value!r}.")
        if isinstance(self.objective, WassersteinObjective) and not isinstance(penalty, InterpolatedPenalty):
            raise ValueError(
                "Expected `gradient_penalty` to be an InterpolatedPenalty to go with WassersteinObjective, "
                f"which is unbounded without it, but got {penalty}."
            )
        if isinstance(self.objective, NoObjective) and not penalty:
            raise ValueError(
                f"Expected a `gradient_penalty` for the loss-net to learn from with NoObjective, but got {penalty}."
            )

    def _check_kinds(self, negatives: tuple[Any, ...]) -> None:
        for name, factory in (("loss_net", self.loss_net), ("optimizer", self.optimizer)):
            if not callable(factory) or isinstance(factory, nn.Module):
                raise TypeError(f"Expected `{name}` to be a class or a function that makes it, but got {factory!r}.")
        for name, value in (("objective", self.objective), *(("negatives", source) for source in negatives)):
            if isinstance(value, type):
                raise TypeError(f"Expected `{name}` to be an instance, not a class: write `{value.__name__}()`.")
            if not callable(value):
                raise TypeError(f"Expected `{name}` to be an instance of {name.title()}, but got {value!r}.")
        if self.name is not None and not isinstance(self.name, str):
            raise TypeError(f"Expected `name` to be a string, but got {self.name!r}.")

    @property
    def row_of_prediction(self) -> int | None:
        """Index of the prediction of the step among the negatives; None where it is not one of them."""
        row = 0
        for source in self.negatives or ():
            if isinstance(source, PredictionNegatives) and not source.eval:
                return row
            row += source.count
        return None

    @property
    def needs_eval_prediction(self) -> bool:
        """Whether some negatives are what the pose-net predicts in evaluation mode."""
        return any(_from_evaluation_mode(source) for source in self.negatives or ())

    @property
    def pulls(self) -> bool:
        """Whether the pose-net feels this energy at all."""
        return (self.weight.ratio if isinstance(self.weight, ForceRatio) else self.weight) > 0

    def draw(
        self,
        truth: FramedPoses,
        predicted: Tensor,
        evaluated: Tensor | None,
        skeleton: Skeleton,
        generator: torch.Generator,
    ) -> Tensor:
        """The negatives (K, N, J, 3) of all sources, zero at invisible joints.

        Args:
            truth: The true poses.
            predicted: The predictions of the step (N, J, 3).
            evaluated: What the pose-net predicts in evaluation mode, (N, J, 3), where some negatives need it.
            skeleton: Skeleton of the poses.
            generator: Source of all random numbers.
        """
        made = []
        for source in self.negatives or ():
            prediction = evaluated if evaluated is not None and _from_evaluation_mode(source) else predicted
            made.append(source(truth.pose, prediction, skeleton, generator))
        negatives = torch.cat(made) if len(made) > 1 else made[0]
        return negatives * truth.seen[..., None] if truth.masked else negatives

    def loss(self, energy_true: Tensor, energy_negative: Tensor, truth: FramedPoses, negatives: Tensor) -> Tensor:
        """What the loss-net minimises beside the gradient penalty, (N,).

        Args:
            energy_true: Energies of the true poses (N,).
            energy_negative: Energies of their negatives (K, N).
            truth: The true poses.
            negatives: The negatives (K, N, J, 3).
        """
        # An objective that needs no distances gets NaN instead: if it did use one, that would not go unnoticed.
        needed = getattr(self.objective, "needs_distance", True)
        distance = truth.distance_to(negatives) if needed else torch.full_like(energy_negative, torch.nan)
        return self.objective(energy_true, energy_negative, distance)

    def probe(
        self, truth: FramedPoses, negatives: Tensor, skeleton: Skeleton, generator: torch.Generator
    ) -> Probe | None:
        """The poses at which the slope of this energy is taken, given truths and negatives (K, N, J, 3), if any."""
        penalty = self.gradient_penalty
        if not isinstance(penalty, GradientPenalty):
            if penalty == 0:
                return None
            penalty = R1(penalty)
        return penalty.draw(truth, negatives[0], skeleton, generator)


def default_energies() -> list[EnergyTerm]:
    """The energies that are used by default.

    A small loss-net that sees the structure of a pose learns to tell true poses from predictions and, by denoising
    score matching, in which direction the truth lies from a noised true pose.
    """
    optimizer = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9))
    return [EnergyTerm(loss_net=StructureLossNet, gradient_penalty=DenoisingScore(), optimizer=optimizer)]


def _from_evaluation_mode(source: Any) -> bool:
    """Whether a source of negatives takes the prediction that the pose-net makes in evaluation mode."""
    return isinstance(source, PredictionNegatives) and source.eval
