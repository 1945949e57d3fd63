"""How hard an energy pulls at a prediction: fixed weights, and weights that keep to a share of the task's force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seal_lightning import _distributed as ranks
from seal_lightning._values import is_number

__all__ = ["ForceControl", "ForceRatio", "Pull", "felt", "row_norm"]

_MEMORY = 0.01  # share of a new step in the running mean of the pull
_FASTEST = 1.1  # most that the running mean may grow in a step
TINY = 1e-20


@dataclass(frozen=True)
class ForceRatio:
    r"""A weight that keeps the energy's pull at a fixed share of the task's.

    The pull of a sample is :math:`\partial E / \partial \hat y`. With a fixed weight its length is up to the loss-net,
    whose gradients grow and shrink by orders of magnitude during training. Here the pull of every sample is scaled to
    ``ratio`` times the mean length of the task's gradient at the prediction, so that the task always comes first. If
    the task's gradient is zero, so is the pull. A pull much shorter than usual means that the loss-net has no opinion
    on this pose: it is scaled up by at most ``amplification`` times the usual factor.

    Several energies are bounded one by one: together they pull with at most the sum of their ratios, and with less
    where they disagree. ``force_ratio`` in the statistics is the sum of the lengths of their pulls.

    Args:
        ratio: Length of the energy's pull as a share of the task's.
        amplification: How many times as much as a usual pull a weak one may be scaled up.

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
    """The weights of several energies, with the running means that `ForceRatio` needs.

    Args:
        weights: One weight per energy.
    """

    usual_pull: Tensor
    weight: Tensor

    def __init__(self, weights: Sequence[float | ForceRatio]) -> None:
        super().__init__()
        self.weights = tuple(weights)
        self.register_buffer("usual_pull", torch.zeros(len(self.weights)))
        self.register_buffer("weight", torch.zeros(len(self.weights)))

    def forward(self, index: int, pull: Tensor, task_force: Tensor, counted: Tensor | None = None) -> Tensor:
        """Return the factors by which the energies of the samples are multiplied.

        Args:
            index: Which energy.
            pull: Length of each sample's pull (B,).
            task_force: Mean length of the task's gradient at a sample, a scalar.
            counted: 1 for a sample that has a pull, else 0 (B,); the usual pull is the mean over the former.

        Returns:
            Factors (B,), whose sum is the weight of the mean energy. Zero where the pull or the task's force is not
            finite; such a step leaves the running means as they are.
        """
        weight = self.weights[index]
        if isinstance(weight, ForceRatio):
            floor = self._usual(index, ranks.mean_over_ranks(pull, counted)) / weight.amplification
            # An energy that pulls nowhere has no weight: divided by zero, it would have an enormous one, with which
            # its value would go into the loss.
            factor = weight.ratio * task_force / F.threshold(torch.maximum(pull, floor), TINY, torch.inf)
        else:
            factor = torch.full_like(pull, weight / max(1, pull.numel()))
            factor = factor + 0.0 * (pull + task_force)
        # Where the pull or the task's force is NaN, so is the factor; where the task's force is infinite, so is the
        # factor. An infinite pull makes it zero.
        return factor.nan_to_num(0.0, 0.0, 0.0)

    def _usual(self, index: int, mean: Tensor) -> Tensor:
        """The usual pull of an energy, after the mean pull of this step.

        It grows by no more than a tenth a step: a single extreme prediction would otherwise hold down weak pulls for
        hundreds of steps.
        """
        before = self.usual_pull[index]
        after = torch.minimum(torch.lerp(before, mean, _MEMORY), _FASTEST * before)
        usual = torch.where(before > 0, after, mean)
        usual = torch.where(mean < torch.inf, usual, before)  # neither for NaN nor for infinity
        if self.training:
            before.copy_(usual)
        return usual


class Pull(torch.autograd.Function):
    """A value with a given gradient at the prediction: `Pull.apply(prediction, value, pull)`."""

    @staticmethod
    def forward(ctx: Any, prediction: Tensor, value: Tensor, pull: Tensor) -> Tensor:
        """Return the value."""
        ctx.save_for_backward(pull)
        ctx.dtype = prediction.dtype
        return value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """Return the pull, times the gradient that came."""
        (pull,) = ctx.saved_tensors
        return (gradients[0] * pull).to(ctx.dtype), None, None


def felt(factor: Tensor, value: Tensor) -> Tensor:
    """What the factor makes of the value: nothing where the value is not finite, where the factor is zero, too."""
    return (factor * value).nan_to_num(0.0, 0.0, 0.0)


def row_norm(gradient: Tensor, rows: int) -> Tensor:
    """Length of the gradient of every sample (rows,)."""
    rowwise = gradient.detach().float().reshape(rows, gradient.numel() // max(1, rows))
    norm: Tensor = torch.linalg.vector_norm(rowwise, dim=1)
    return norm
