"""The errors of the worst poses: percentiles of the error per pose, and the mean beyond a percentile."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.functional.checks import Root
from seal_lightning.functional.poses import Poses, root_of
from seal_lightning.functional.terms import mpjpe_terms, pose_means
from seal_lightning.metrics.base import StreamingMetric, Unit, per_millimetre, state_name

__all__ = ["ErrorCVaR", "ErrorPercentile", "ErrorTail"]

LOWEST_MM = 1e-3
HIGHEST_MM = 1e5
BIN_RATIO = 1.005
NUM_BINS = math.ceil(math.log(HIGHEST_MM / LOWEST_MM) / math.log(BIN_RATIO)) + 2
PERCENTILES = (50, 90, 95, 99)
TAIL = 95


class _ErrorHistogram(StreamingMetric):
    """Counts and sums of the MPJPE per pose, in logarithmic bins."""

    is_differentiable = False
    counts: Tensor

    def __init__(self, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lowest = LOWEST_MM * per_millimetre(unit)
        self.root = root
        # The class is not in the name: what is read off one histogram may share it.
        self._sums = state_name("sums", unit, root)
        self._add_count("counts", (NUM_BINS,))
        self._add_sum(self._sums, (NUM_BINS,))

    @property
    def sums(self) -> Tensor:
        """Sum of the errors in every bin."""
        sums: Tensor = getattr(self, self._sums)
        return sums

    def update(
        self,
        prediction: Tensor,
        target: Tensor | None = None,
        visibility: Tensor | None = None,
        *,
        poses: Poses | None = None,
    ) -> None:
        """Add a batch of poses.

        Args:
            prediction: Predicted poses, shape (..., J, 3).
            target: True poses, same shape and unit.
            visibility: Mask (..., J), boolean or 0/1.
            poses: The three together, from a `PoseMetrics` whose metrics share what is computed of them.
        """
        poses = poses or Poses(prediction, target, visibility)
        counts, sums = poses.once(_histogram, self.lowest, root_of(poses, self.root))
        self.counts = self.counts + counts
        setattr(self, self._sums, self.sums + sums.to(self.sums.dtype))

    def _percentile(self, percent: float) -> Tensor:
        count, means = self.counts.sum(), self._means()
        rank = percent / 100 * (count - 1).clamp(min=0).to(means.dtype)
        ranks = torch.stack([rank.floor(), rank.ceil()]).long()
        places = torch.searchsorted(self.counts.cumsum(0), ranks, right=True).clamp(max=NUM_BINS - 1)
        lower, upper = means[places]
        part = rank - rank.floor()
        value = torch.where(part > 0, (1 - part) * lower + part * upper, lower)
        return torch.where(count > 0, value, torch.nan).float()

    def _mean_beyond(self, percent: float) -> Tensor:
        means = self._means()
        wanted = (1 - percent / 100) * self.counts.sum().to(means.dtype)
        worse = self.counts.sum() - self.counts.cumsum(0)
        taken = (wanted - worse).clamp(min=0).minimum(self.counts.to(means.dtype))
        return (torch.where(taken > 0, taken * means, 0.0).sum() / wanted).float()

    def _means(self) -> Tensor:
        return self.sums / self.counts.clamp(min=1)


def _histogram(poses: Poses, lowest: float, root: Root) -> tuple[Tensor, Tensor]:
    """Return the number of poses and the sum of their errors in every bin."""
    errors, counted = pose_means(mpjpe_terms(poses, root))
    errors, counted = errors.detach().flatten(), counted.flatten()
    place = torch.log(errors / lowest).div(math.log(BIN_RATIO)).floor() + 1
    bins = place.nan_to_num(nan=math.inf).clamp(0, NUM_BINS - 1).long()
    counts = torch.zeros(NUM_BINS, dtype=torch.int64, device=errors.device).index_add(0, bins, counted.long())
    exact = torch.float32 if errors.device.type == "mps" else torch.float64  # Apple's MPS has no float64
    sums = torch.zeros(NUM_BINS, dtype=exact, device=errors.device)
    return counts, sums.index_add(0, bins, torch.where(counted, errors, 0.0).to(exact))


class ErrorPercentile(_ErrorHistogram):
    r"""Percentile of the MPJPE per pose, with linear interpolation, in the unit of the input.

    The errors are kept as a histogram of counts and sums in logarithmic bins 0.5 % wide, from 0.001 mm to 100 m, with
    one more bin on either side: the size of the state does not depend on the number of poses, and the value is within
    0.5 % of the exact one in this range. An error of NaN counts as the worst there is.

    Args:
        percent: Percentage of the poses that have a lower error, from 0 to 100.
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the unit is another, or the percentage out of range.

    Example:
        >>> metric = ErrorPercentile(90, unit="mm")
        >>> metric.update(torch.arange(101.0).reshape(101, 1, 1) * torch.eye(3)[0], torch.zeros(101, 1, 3))
        >>> round(metric.compute().item())
        90
    """

    def __init__(self, percent: float, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        if not is_number(percent) or not 0 <= percent <= 100:
            raise ValueError(f"Expected `percent` to be from 0 to 100, but got {percent!r}.")
        super().__init__(unit=unit, root=root, **kwargs)
        self.percent = percent

    def compute(self) -> Tensor:
        """Return the percentile over all poses so far, float32; NaN if there are none."""
        return self._percentile(self.percent)


class ErrorCVaR(_ErrorHistogram):
    r"""Conditional value at risk of the MPJPE per pose: the mean error of the worst poses, in the unit of the input.

    With ``percent=95`` it is the mean over the worst 5 %. The errors are kept as in `ErrorPercentile`.

    Args:
        percent: Percentage of the poses that are left out because their error is lower, from 0 to below 100.
        unit: Unit of the poses, "mm" or "m".
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        kwargs: Options of every torchmetrics metric, e.g. ``dist_sync_on_step``.

    Raises:
        ValueError: If the unit is another, or the percentage out of range.

    Example:
        >>> metric = ErrorCVaR(50, unit="mm")  # of the errors 1, 2, 3 and 4 the mean of the last two
        >>> metric(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1) * torch.eye(3)[0], torch.zeros(4, 1, 3))
        tensor(3.5000)

    Reference:
        Rockafellar and Uryasev, Optimization of Conditional Value-at-Risk, 2000, https://doi.org/10.21314/JOR.2000.038
    """

    def __init__(self, percent: float = TAIL, *, unit: Unit, root: Root = None, **kwargs: Any) -> None:
        if not is_number(percent) or not 0 <= percent < 100:
            raise ValueError(f"Expected `percent` to be from 0 to below 100, but got {percent!r}.")
        super().__init__(unit=unit, root=root, **kwargs)
        self.percent = percent

    def compute(self) -> Tensor:
        """Return the mean error of the worst poses so far, float32; NaN if there are none."""
        return self._mean_beyond(self.percent)


class ErrorTail(_ErrorHistogram):
    """`ErrorPercentile` at 50, 90, 95 and 99 and `ErrorCVaR` at 95, as one dictionary.

    The values are called ``p50``, ``p90``, ``p95``, ``p99`` and ``cvar95``. A metric that ``self.log``
    can log has a single value: there use the two classes above, as `PoseMetrics` does.

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
    """

    def compute(self) -> dict[str, Tensor]:
        """Return ``p50``, ``p90``, ``p95``, ``p99`` and ``cvar95``, float32; NaN if there are no poses."""
        values = {f"p{percent}": self._percentile(percent) for percent in PERCENTILES}
        return values | {f"cvar{TAIL}": self._mean_beyond(TAIL)}
