"""What a learned loss is made of: `EnergyTerm`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from seal_lightning.forces import ForceRatio
from seal_lightning.frame import FramedPoses
from seal_lightning.gradient_penalties import R1, DenoisingScore, GradientPenalty, InterpolatedPenalty, Probe
from seal_lightning.loss_nets import LossNet, StructureLossNet
from seal_lightning.negatives import Negatives, PredictionNegatives
from seal_lightning.objectives import LogisticObjective, NoObjective, Objective, WassersteinObjective
from seal_lightning.skeleton import Skeleton

__all__ = ["DEFAULT_WEIGHT", "EnergyTerm", "default_energies"]

DEFAULT_WEIGHT = ForceRatio(0.1)


@dataclass(frozen=True)
class EnergyTerm:
    """One learned energy: a loss-net, what it minimises, what it learns from, and how hard it pulls.

    Args:
        loss_net: Called once a model with the skeleton; returns the loss-net. A class, a partial of one, or
            ``class_path`` with ``init_args`` in YAML.
        objective: What the loss-net minimises.
        negatives: Where implausible poses come from; all of them together are the negatives of a sample. The
            predictions where not given.
        weight: `ForceRatio`, or a float as in the paper: the energy is added times this.
        gradient_penalty: What the loss-net pays for the slope of its energy: a `GradientPenalty`, or the weight of `R1`
            as a number; 0 for nothing.
        optimizer: Called with the loss-net's parameters; returns its optimizer.
        name: Key of this term's energies; ``energy_0``, ``energy_1``, ... where not given.

    Raises:
        ValueError: If there are no negatives, the weight or the gradient penalty is negative, or the gradient penalty
            is not what the objective cannot do without.
    """

    loss_net: Callable[[Skeleton], LossNet]
    objective: Objective = field(default_factory=LogisticObjective)
    negatives: tuple[Negatives, ...] | None = None  # a default instance in a tuple could not be written as YAML
    weight: float | ForceRatio = DEFAULT_WEIGHT
    gradient_penalty: float | GradientPenalty = 0.0
    optimizer: OptimizerCallable = torch.optim.Adam
    name: str | None = None

    def __post_init__(self) -> None:
        negatives = (PredictionNegatives(),) if self.negatives is None else tuple(self.negatives)
        object.__setattr__(self, "negatives", negatives)
        if not self.negatives:
            raise ValueError("Expected `negatives` to hold at least one source of negatives, but got none.")
        if not isinstance(self.weight, ForceRatio) and not 0 <= self.weight < float("inf"):
            raise ValueError(f"Expected `weight` to be finite and not negative, but got {self.weight}.")
        penalty = self.gradient_penalty
        if not isinstance(penalty, GradientPenalty) and not 0 <= penalty < float("inf"):
            raise ValueError(f"Expected `gradient_penalty` to be finite and not negative, but got {penalty}.")
        if isinstance(self.objective, WassersteinObjective) and not isinstance(penalty, InterpolatedPenalty):
            raise ValueError(
                "Expected `gradient_penalty` to be an InterpolatedPenalty to go with WassersteinObjective, "
                f"which is unbounded without it, but got {penalty}."
            )
        if isinstance(self.objective, NoObjective) and not penalty:
            raise ValueError(
                f"Expected a `gradient_penalty` for the loss-net to learn from with NoObjective, but got {penalty}."
            )

    @property
    def row_of_prediction(self) -> int | None:
        """Which of the negatives is the prediction itself, if any."""
        row = 0
        for source in self.negatives or ():
            if isinstance(source, PredictionNegatives):
                return row
            row += source.count
        return None

    @property
    def pulls(self) -> bool:
        """Whether the pose-net is to feel this energy at all."""
        return (self.weight.ratio if isinstance(self.weight, ForceRatio) else self.weight) > 0

    def probe(
        self, truth: FramedPoses, negatives: Tensor, skeleton: Skeleton, generator: torch.Generator
    ) -> Probe | None:
        """Where the slope of this energy is taken, if anywhere, given truths and negatives (K, N, J, 3)."""
        penalty = self.gradient_penalty
        if not isinstance(penalty, GradientPenalty):
            if penalty == 0:
                return None
            penalty = R1(penalty)
        return penalty.draw(truth, negatives[0], skeleton, generator)


def default_energies() -> list[EnergyTerm]:
    """The energies in use where none are named.

    A small loss-net that is shown the structure of a pose learns to tell truths from predictions, and, by denoising
    score matching, where a disturbed truth came from.
    """
    optimizer = partial(torch.optim.Adam, lr=1e-3, betas=(0.5, 0.9))
    return [EnergyTerm(loss_net=StructureLossNet, gradient_penalty=DenoisingScore(), optimizer=optimizer)]
