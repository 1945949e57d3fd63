"""How hard an energy pulls at a prediction, and how that is held to a share of the task's force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seal_lightning import _distributed as ranks
from seal_lightning._values import is_number

__all__ = ["ForceControl", "ForceRatio", "Pull", "felt", "row_norm"]

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

    Several energies are bounded one by one: together they pull with at most the sum of their ratios, and with less
    where they disagree. ``force_ratio`` in the statistics is the sum of the lengths of their pulls.

    Args:
        ratio: Length of the energy's pull as a share of the task's.
        amplification: Bound on how much more than an average pull a weak one is scaled up.

    Raises:
        ValueError: If ``ratio`` is negative or ``amplification`` is below 1.
    """

    ratio: float = 0.1
    amplification: float = 10.0

    def __post_init__(self) -> None:
        if not is_number(self.ratio) or not 0 <= self.ratio < float("inf"):
            raise ValueError(f"Expected `ratio` to be finite and not negative, but got {self.ratio!r}.")
        if not is_number(self.amplification) or not 1 <= self.amplification < float("inf"):
            raise ValueError(f"Expected `amplification` to be finite and at least 1, but got {self.amplification!r}.")


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

    def forward(self, index: int, pull: Tensor, task_force: Tensor, counted: Tensor | None = None) -> Tensor:
        """What each sample's energy is multiplied with.

        Args:
            index: Which energy.
            pull: Length of each sample's pull (B,).
            task_force: Mean length of the task's gradient at a sample, a scalar.
            counted: 1 for a sample that has a pull, else 0 (B,); the usual pull is that of these.

        Returns:
            Factors (B,); their sum is the weight of the mean energy. Zero where a pull or the task's force is not
            finite, which leaves the running state as it is, too.
        """
        weight = self.weights[index]
        if isinstance(weight, ForceRatio):
            mean = ranks.mean_over_ranks(pull, counted)
            before = self.usual_pull[index]
            usual = torch.where(before > 0, torch.lerp(before, mean, _MEMORY), mean)
            usual = torch.where(torch.isfinite(mean) & (mean > 0), usual, before)
            if self.training:
                self.usual_pull[index] = usual
            floor = usual / weight.amplification
            factor = weight.ratio * task_force / torch.maximum(pull, floor).clamp(min=TINY)
        else:
            factor = torch.full_like(pull, weight / max(1, pull.numel()))
        return torch.where(torch.isfinite(pull) & torch.isfinite(task_force), factor, 0.0)


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


def felt(factor: Tensor, value: Tensor) -> Tensor:
    """What the factor makes of the value: nothing where it is zero, even if the value is not finite."""
    return torch.where(factor > 0, factor * value, 0.0)


def row_norm(gradient: Tensor, rows: int) -> Tensor:
    """Length of the gradient of every sample (rows,)."""
    rowwise = gradient.detach().float().reshape(rows, gradient.numel() // max(1, rows))
    norm: Tensor = torch.linalg.vector_norm(rowwise, dim=1)
    return norm
