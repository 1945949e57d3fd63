"""The values of a step that are logged, computed only if they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from seal_lightning import _distributed as ranks
from seal_lightning.loss.forces import TINY, felt
from seal_lightning.loss_nets.frame import weighted_mean

__all__ = ["Statistics", "energy_statistics", "ranking_statistics"]


class Statistics:
    """Values of the last step, which take operations that train nothing: most steps are not logged.

    What is noted is computed when it is read. Among several ranks it takes a collective operation, so it is computed at
    once there: all ranks are at the same place now, and need not be when one of them reads.
    """

    def __init__(self) -> None:
        self._values: dict[str, Tensor] = {}
        self._noted: dict[Callable[..., dict[str, Tensor]], Callable[[], dict[str, Tensor]]] = {}

    def note(self, compute: Callable[..., dict[str, Tensor]], *given: object) -> None:
        """Replace what the same function was to compute before."""
        self._noted[compute] = partial(compute, *given)
        if ranks.several():
            self.read()

    def pending(self) -> dict[Callable[..., dict[str, Tensor]], Callable[[], dict[str, Tensor]]]:
        """What is noted and was not read yet, for `put_back`."""
        return dict(self._noted)

    def put_back(self, pending: Mapping[Callable[..., dict[str, Tensor]], Callable[[], dict[str, Tensor]]]) -> None:
        """Note once more what was noted before, of tensors whose memory holds other values by now."""
        self._noted |= pending

    @torch.no_grad()
    def read(self) -> dict[str, Tensor]:
        """The values by name."""
        noted, self._noted = self._noted, {}
        for compute in noted.values():
            self._values |= compute()
        return self._values


def energy_statistics(
    factors: Sequence[Tensor], pulls: Sequence[Tensor], energies: Sequence[Tensor], weight: Tensor, task_force: Tensor
) -> dict[str, Tensor]:
    """Mean energy, mean weight, and the length of the felt pulls as a share of the task's force.

    Args:
        factors: What the energy of each sample is multiplied with (B,), one an energy.
        pulls: Length of the pull on each sample (B,), one an energy.
        energies: Energy of each sample (B,), one an energy.
        weight: Weight of each mean energy (K,), over all ranks.
        task_force: Mean length of the task's gradient at a sample.
    """
    rows = [
        torch.stack([felt(factor, pull), energy, torch.ones_like(energy)]).sum(1)
        for factor, pull, energy in zip(factors, pulls, energies, strict=True)
    ]
    force, total, samples = ranks.sum_over_ranks(torch.stack(rows)).unbind(1)
    samples = samples.clamp(min=1)
    share = (force / samples).sum() / task_force.clamp(min=TINY)
    return {
        "energy": (total / samples).mean(),
        "weight": weight.mean(),
        "force_ratio": torch.where(task_force > 0, share, 0.0),
    }


def ranking_statistics(
    total: Tensor, energies: Sequence[tuple[Tensor, Tensor]], weights: Tensor | None
) -> dict[str, Tensor]:
    """Loss of the loss-nets, and the share of negatives with a higher energy than their truth.

    Args:
        total: The ranking loss.
        energies: Energies of the truths (N,) and of their negatives (K, N), a pair an energy.
        weights: Weights of the poses (N,), as `FramedPoses.weights` returns them.
    """
    accuracies = [weighted_mean((true < negative).float().mean(0), weights) for true, negative in energies]
    values = torch.stack([total, torch.stack(accuracies).mean()])
    loss, accuracy = ranks.sum_over_ranks(values) / ranks.world_size()
    return {"loss_net_loss": loss, "ranking_accuracy": accuracy}
