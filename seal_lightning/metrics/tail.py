"""The high-error tail: percentiles of the error per pose."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seal_lightning.functional._checks import Root
from seal_lightning.functional._terms import mpjpe_terms, pose_means
from seal_lightning.metrics._base import StreamingMetric, Unit, per_millimetre

__all__ = ["ErrorTail"]

LOWEST_MM = 1e-3
HIGHEST_MM = 1e5
BIN_RATIO = 1.005
NUM_BINS = math.ceil(math.log(HIGHEST_MM / LOWEST_MM) / math.log(BIN_RATIO)) + 2
PERCENTILES = (50, 90, 95, 99)
TAIL_SHARE = 0.05


class ErrorTail(StreamingMetric):
    r"""Percentiles and conditional value at risk of the MPJPE per pose, in the unit of the input.

    ``p50``, ``p90``, ``p95`` and ``p99`` are percentiles with linear interpolation, ``cvar95`` is the mean of the
    worst 5 % of the poses. The errors are kept as a histogram of counts and sums in logarithmic bins 0.5 % wide, from
    0.001 mm to 100 m, with one more bin on either side: the size of the state does not depend on the number of poses,
    and every value is within 0.5 % of the exact one in this range. An error of NaN counts as the worst there is.

    Args:
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the unit is another.

    Example:
        >>> metric = ErrorTail(unit="mm")
        >>> metric.update(torch.arange(101.0).reshape(101, 1, 1) * torch.eye(3)[0], torch.zeros(101, 1, 3))
        >>> {name: round(value.item()) for name, value in metric.compute().items()}
        {'p50': 50, 'p90': 90, 'p95': 95, 'p99': 99, 'cvar95': 98}

    Reference:
        Rockafellar and Uryasev, Optimization of Conditional Value-at-Risk, 2000, https://doi.org/10.21314/JOR.2000.038
    """

    is_differentiable = False
    counts: Tensor
    sums: Tensor

    def __init__(self, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lowest = LOWEST_MM * per_millimetre(unit)
        self.root = root
        self._add_count("counts", (NUM_BINS,))
        self._add_sum("sums", (NUM_BINS,))

    def update(self, prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> None:
        """Add a batch of poses.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J), boolean or 0/1.
        """
        errors, counted = pose_means(mpjpe_terms(prediction, target, self.root, visibility))
        errors, counted = errors.flatten(), counted.flatten()
        place = torch.log(errors / self.lowest).div(math.log(BIN_RATIO)).floor() + 1
        bins = place.nan_to_num(nan=math.inf).clamp(0, NUM_BINS - 1).long()
        self.counts = self.counts.index_add(0, bins, counted.long())
        self.sums = self.sums.index_add(0, bins, torch.where(counted, errors, 0.0).to(self.sums.dtype))

    def compute(self) -> dict[str, Tensor]:
        """Return ``p50``, ``p90``, ``p95``, ``p99`` and ``cvar95``, float32; NaN if there are no poses."""
        values = {f"p{percent}": self._percentile(percent / 100) for percent in PERCENTILES}
        values["cvar95"] = self._worst_mean(TAIL_SHARE)
        return {name: value.float() for name, value in values.items()}

    def _percentile(self, share: float) -> Tensor:
        count, means = self.counts.sum(), self._means()
        rank = share * (count - 1).clamp(min=0).to(means.dtype)
        ranks = torch.stack([rank.floor(), rank.ceil()]).long()
        places = torch.searchsorted(self.counts.cumsum(0), ranks, right=True).clamp(max=NUM_BINS - 1)
        lower, upper = means[places]
        part = rank - rank.floor()
        value = torch.where(part > 0, (1 - part) * lower + part * upper, lower)
        return torch.where(count > 0, value, torch.nan)

    def _worst_mean(self, share: float) -> Tensor:
        means = self._means()
        wanted = share * self.counts.sum().to(means.dtype)
        worse = self.counts.sum() - self.counts.cumsum(0)
        taken = (wanted - worse).clamp(min=0).minimum(self.counts.to(means.dtype))
        return torch.where(taken > 0, taken * means, 0.0).sum() / wanted

    def _means(self) -> Tensor:
        return self.sums / self.counts.clamp(min=1)
