"""How hard an energy pulls at a prediction, and how that is held to a share of the task's force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seal_lightning import _distributed as ranks

__all__ = ["ForceControl", "ForceRatio", "Pull", "mean_over_ranks", "row_norm"]

_MEMORY = 0.01  # share of a new step in the running mean of the pull
TINY = 1e-20


@dataclass(frozen=True)
class ForceRatio:
    r"""Weight that holds the energy's pull at a fixed share of the task's.

    The pull of a sample is :math:`\partial E / \partial \hat y`. A fixed weight leaves its size to the loss-net, whose
    gradients grow and shrink by orders of magnitude while it trains. Here every sample's pull is normalised and given
    the length ``ratio`` times the mean length of the task's gradient at the prediction, so that the pose-net always
    listens to the task first. Where the task's gradient is zero, so is the pull. A pull much shorter than usual says
    that the loss-net has no opinion: it is amplified at most as far as ``amplification`` times the usual factor.

    Args:
        ratio: Length of the energy's pull as a share of the task's.
        amplification: Bound on how much more than an average pull a weak one is scaled up.

    Raises:
        ValueError: If ``ratio`` is negative or ``amplification`` is below 1.
    """

    ratio: float = 0.1
    amplification: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < float("inf"):
            raise ValueError(f"Expected `ratio` to be finite and not negative, but got {self.ratio}.")
        if not 1 <= self.amplification < float("inf"):
            raise ValueError(f"Expected `amplification` to be finite and at least 1, but got {self.amplification}.")


class ForceControl(nn.Module):
    """Running state of the weights of several energies.

    Args:
        weights: One weight an energy.
    """

    usual_pull: Tensor
    weight: Tensor

    def __init__(self, weights: Sequence[float | ForceRatio]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.register_buffer("usual_pull", torch.zeros(len(self.weights)))
        self.register_buffer("weight", torch.zeros(len(self.weights)))

    def forward(self, index: int, pull: Tensor, task_force: Tensor) -> Tensor:
        """What each sample's energy is multiplied with.

        Args:
            index: Which energy.
            pull: Length of each sample's pull (B,).
            task_force: Mean length of the task's gradient at a sample, a scalar.

        Returns:
            Factors (B,); their sum is the weight of the mean energy.
        """
        weight = self.weights[index]
        if isinstance(weight, ForceRatio):
            mean = mean_over_ranks(pull)
            before = self.usual_pull[index]
            self.usual_pull[index] = torch.where(before > 0, torch.lerp(before, mean, _MEMORY), mean)
            floor = self.usual_pull[index] / weight.amplification
            factor = weight.ratio * task_force / torch.maximum(pull, floor).clamp(min=TINY)
        else:
            factor = torch.full_like(pull, weight / pull.numel())
        self.weight[index] = ranks.sum_over_ranks(factor.sum()) / ranks.world_size()
        return factor


class Pull(torch.autograd.Function):
    """Zero, with a given gradient: `Pull.apply(prediction, pull)`."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, pull: Tensor) -> Tensor:
        """Return zero."""
        ctx.save_for_backward(pull)
        ctx.dtype = prediction.dtype
        return pull.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the pull, times the gradient that came."""
        (pull,) = ctx.saved_tensors
        return (gradients[0] * pull).to(ctx.dtype), None


def row_norm(gradient: Tensor, rows: int) -> Tensor:
    """Length of the gradient of every sample (rows,)."""
    norm: Tensor = torch.linalg.vector_norm(gradient.detach().float().reshape(rows, -1), dim=1)
    return norm


def mean_over_ranks(value: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean of the values, or of those that are counted, over all processes."""
    if counted is None and ranks.world_size() == 1:
        return value.detach().mean()
    counted = torch.ones_like(value) if counted is None else counted
    total = ranks.sum_over_ranks(torch.stack([(value * counted).sum(), counted.sum()]))
    return total[0] / total[1].clamp(min=1)
