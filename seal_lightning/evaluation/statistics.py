"""Statistics of a comparison: what differs between two methods that were run with the same seeds, and how certainly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from seal_lightning._extras import require

__all__ = ["Paired", "Scopes", "Scores", "compare_scores", "paired_difference", "t_975"]

Scores = dict[str, float]
Scopes = Mapping[str, Scores]


@dataclass(frozen=True)
class Paired:
    """How two methods compare in one metric, over seeds.

    Args:
        host_mean: Mean of the host over its seeds.
        host_std: Standard deviation of the host over its seeds; NaN for one seed.
        seal_mean: Mean of SEAL.
        seal_std: Standard deviation of SEAL.
        difference: Mean difference SEAL - host between runs with the same seed.
        low: Lower end of the 95 % interval of that difference; NaN for one seed.
        high: Upper end of the interval.
        relative: The difference in percent of the host's mean.
    """

    host_mean: float
    host_std: float
    seal_mean: float
    seal_std: float
    difference: float
    low: float
    high: float
    relative: float


def paired_difference(host: Sequence[float], seal: Sequence[float]) -> Paired:
    r"""Compare two methods that were run with the same seeds.

    With :math:`d_s` the difference SEAL - host of seed s and S the number of seeds, the interval is that of the paired
    t-test, :math:`\bar d \pm t_{0.975, S-1}\, \mathrm{std}(d) / \sqrt{S}`. For a single seed, standard deviations and
    interval are NaN.

    Args:
        host: One value per seed.
        seal: One value per seed, in the same order.

    Returns:
        Means, standard deviations, and the difference with its interval.

    Raises:
        ValueError: If there are no values, or the two methods do not have the same number of them.
        ModuleNotFoundError: If there are several seeds and SciPy is not installed.

    Example:
        >>> result = paired_difference([10.0, 12.0], [9.0, 10.0])
        >>> result.difference, round(result.low, 3), round(result.high, 3)
        (-1.5, -7.853, 4.853)
    """
    if not host or len(host) != len(seal):
        raise ValueError(f"Expected one value per seed of both methods, but got {len(host)} and {len(seal)}.")
    differences = [b - a for a, b in zip(host, seal, strict=True)]
    mean = fmean(differences)
    half = t_975(len(host) - 1) * _spread(differences) / math.sqrt(len(host)) if len(host) > 1 else math.nan
    host_mean = fmean(host)
    relative = 100 * mean / host_mean if host_mean else math.nan
    return Paired(host_mean, _spread(host), fmean(seal), _spread(seal), mean, mean - half, mean + half, relative)


def compare_scores(host: Sequence[Scopes], seal: Sequence[Scopes]) -> dict[str, dict[str, Paired]]:
    """Compare the scores of two methods in every metric of every scope; both are in the same order of seeds."""
    return {
        scope: {
            metric: paired_difference([run[scope][metric] for run in host], [run[scope][metric] for run in seal])
            for metric in metrics
        }
        for scope, metrics in host[0].items()
    }


def t_975(degrees: int) -> float:
    """Return the value that Student's t with so many degrees of freedom exceeds with a probability of 2.5 %."""
    return float(require("scipy.stats", "confidence intervals").t.ppf(0.975, degrees))


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan
