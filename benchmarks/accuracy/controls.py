"""The control of a pull that knows nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning.objectives import LogisticObjective

__all__ = ["ShuffledObjective"]


@dataclass(frozen=True)
class ShuffledObjective(LogisticObjective):
    """The logistic objective with truth and first negative swapped in every other sample.

    The order of a batch is random, so nothing can be learnt from it, while `ForceRatio` gives the pull its usual
    length: what such a training gains, it does not gain from what the loss-net knows.
    """

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses (N,)."""
        swapped = torch.arange(len(energy_true), device=energy_true.device) % 2 == 1
        first = torch.where(swapped, energy_true, energy_negative[0])
        truth = torch.where(swapped, energy_negative[0], energy_true)
        return super().loss(truth, torch.cat([first[None], energy_negative[1:]]), distance)
