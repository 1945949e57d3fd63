"""A control: an energy that pulls on the poses as hard as any other, but cannot learn anything."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning.objectives import LogisticObjective

__all__ = ["ShuffledObjective"]


@dataclass(frozen=True)
class ShuffledObjective(LogisticObjective):
    """The logistic objective, with the truth and the first negative swapped in every other sample.

    The order of a batch is random, so the loss-net is told the wrong half of the time which pose is true and cannot
    learn anything from it. `ForceRatio` still gives its pull the usual strength. So whatever this training gains over
    the plain host does not come from knowledge of the loss-net.
    """

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return the losses (N,) after the swap; arguments as for `LogisticObjective`."""
        swapped = torch.arange(len(energy_true), device=energy_true.device) % 2 == 1
        first = torch.where(swapped, energy_true, energy_negative[0])
        truth = torch.where(swapped, energy_negative[0], energy_true)
        return super().loss(truth, torch.cat([first[None], energy_negative[1:]]), distance)
