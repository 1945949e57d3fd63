"""How well an estimated error, or any score of trust, tells the true error of poses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "Assessment",
    "Bin",
    "assess",
    "auroc",
    "calibration_by_bin",
    "conformal_factor",
    "risk_coverage",
    "worst_tenth_auroc",
]


class Bin(NamedTuple):
    """Poses with similar estimates."""

    estimate: float
    """Their mean estimated error."""
    error: float
    """Their mean true error, in the same unit."""
    poses: int
    """How many there are."""


@dataclass(frozen=True)
class Assessment:
    """What a score says of the errors of poses; each number is the mean over the groups.

    Args:
        auroc: How well it tells the worst tenth, see `worst_tenth_auroc`.
        spearman: Rank correlation of score and error.
        bias: Mean score over mean error, less one: -0.1 for errors that are estimated a tenth too low. It says nothing
            of a score that is no error.
        deviation: Mean absolute difference of score and error.
        risk: Mean error of the half of the poses that the score trusts most.
    """

    auroc: float
    spearman: float
    bias: float
    deviation: float
    risk: float


def assess(score: Tensor, error: Tensor, group: Tensor | None = None) -> Assessment:
    """Compare a score of poses or joints, higher for worse ones, with their true errors, group by group.

    Args:
        score: An estimated error or any other score, shape (N,).
        error: True errors, shape (N,).
        group: Number of the group, such as the person, of each, shape (N,). Every group counts the same. None is one.

    Raises:
        ValueError: If the shapes do not fit, or a number is not finite.

    Example:
        >>> error = torch.arange(1.0, 21.0)
        >>> result = assess(0.5 * error, error)
        >>> result.auroc, round(result.spearman, 6), result.bias, result.risk
        (1.0, 1.0, -0.5, 5.5)
    """
    score, error, members = _checked(score, error, group)
    rows = []
    for own in members:
        s, e = score[own], error[own]
        order = torch.stack((_ranks(s), _ranks(e)))
        spearman = float(torch.corrcoef(order)[0, 1]) if len(s) > 1 else math.nan
        (risk,) = risk_coverage(s, e, kept=(0.5,))
        bias = float(s.mean() / e.mean()) - 1.0
        rows.append((worst_tenth_auroc(s, e), spearman, bias, float((s - e).abs().mean()), risk))
    return Assessment(*torch.tensor(rows, dtype=torch.double).mean(dim=0).tolist())


def auroc(high: Tensor, low: Tensor) -> float:
    """The chance that a number drawn from `high` is above one drawn from `low`; equal ones count half.

    It is the area under the ROC curve (the Mann-Whitney statistic): 0.5 for a score that knows nothing.

    Args:
        high: Scores, shape (N,).
        low: Scores, shape (M,).

    Returns:
        The chance, or NaN if either is empty.

    Example:
        >>> auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    # Counting by binary search takes N log N comparisons, where the pairs themselves would be N squared.
    low = low.sort().values
    below, at_most = (torch.searchsorted(low, high, right=right) for right in (False, True))
    return float((below + at_most).double().mean()) / (2 * len(low)) if len(high) and len(low) else math.nan


def worst_tenth_auroc(score: Tensor, error: Tensor) -> float:
    """How well a score tells the tenth of the poses with the largest errors from all others, see `auroc`.

    Args:
        score: The score, higher for worse poses, shape (N,).
        error: True errors, shape (N,).

    Example:
        >>> error = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.0, 6.0, 5.0, 3.5, 8.0])
        >>> worst_tenth_auroc(error.square(), error), worst_tenth_auroc(-error, error)
        (1.0, 0.0)
    """
    worst = torch.zeros(len(error), dtype=torch.bool)
    worst[error.topk(max(len(error) // 10, 1)).indices] = True
    return auroc(score[worst], score[~worst])


def risk_coverage(score: Tensor, error: Tensor, kept: tuple[float, ...] = (1.0, 0.95, 0.9, 0.8, 0.5)) -> list[float]:
    """Mean error of what is left if the poses with the highest scores are turned away.

    Args:
        score: The score, higher for worse poses, shape (N,).
        error: True errors, shape (N,).
        kept: Shares of the poses that are kept.

    Returns:
        The mean error of the kept poses for every share.

    Example:
        >>> risk_coverage(torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([10.0, 30.0, 20.0, 80.0]), kept=(1.0, 0.5))
        [35.0, 20.0]
    """
    ordered = error[score.argsort(stable=True)]
    return [float(ordered[: max(round(share * len(ordered)), 1)].mean()) for share in kept]


def calibration_by_bin(estimate: Tensor, error: Tensor, bins: int = 10) -> list[Bin]:
    """Mean true error beside the mean estimate, for poses sorted by their estimates into bins of equal counts.

    Args:
        estimate: Estimated errors, shape (N,).
        error: True errors in the same unit, shape (N,).
        bins: Number of bins; no more than there are poses.

    Example:
        >>> calibration_by_bin(torch.tensor([1.0, 3.0, 10.0, 12.0]), torch.tensor([2.0, 2.0, 9.0, 13.0]), bins=2)
        [Bin(estimate=2.0, error=2.0, poses=2), Bin(estimate=11.0, error=11.0, poses=2)]
    """
    parts = torch.tensor_split(estimate.argsort(stable=True), min(bins, len(estimate)))
    return [Bin(float(estimate[part].mean()), float(error[part].mean()), len(part)) for part in parts]


def conformal_factor(estimate: Tensor, error: Tensor, group: Tensor | None = None, coverage: float = 0.9) -> float:
    r"""The factor that makes estimated errors bounds, which hold for a share of the poses of a person never seen.

    Split conformal prediction over people: for each group of the calibration data, the factor is the
    :math:`\lceil (n + 1)\, c \rceil`-th smallest of the n ratios of error to estimate, and of these the largest is
    taken. If the new person is drawn like the K of the calibration data, theirs is above it with a probability of
    :math:`1 / (K + 1)` only. One factor for the ratios of all people together would hold for their mean, and leave
    single people far below.

    Args:
        estimate: Estimated errors, above zero, of poses or joints of data that trained neither host nor critic (N,).
        error: True errors in the same unit, shape (N,).
        group: Number of the person (skeleton) of each, shape (N,). None means that all are of one.
        coverage: Share c of the errors that should stay below the bound ``factor * estimate``.

    Returns:
        The factor, infinite where a group is too small to tell.

    Raises:
        ValueError: If the shapes do not fit, a number is not finite, or an estimate is not above zero.

    Example:
        >>> error = torch.arange(1.0, 10.0)
        >>> conformal_factor(torch.ones(9), error, coverage=0.5)  # the fifth of nine
        5.0
        >>> conformal_factor(torch.ones(9), error, torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 1]), coverage=0.5)
        7.0

    References:
        Lei, G'Sell, Rinaldo, Tibshirani, Wasserman, Distribution-Free Predictive Inference for Regression, 2018,
        https://arxiv.org/abs/1604.04173. New groups: Dunn, Wasserman, Ramdas, Distribution-Free Prediction Sets for
        Two-Layer Hierarchical Models, 2023, https://arxiv.org/abs/1809.07441
    """
    if not 0.0 < coverage < 1.0:
        raise ValueError(f"Expected `coverage` to be between 0 and 1, but got {coverage!r}.")
    estimate, error, members = _checked(estimate, error, group)
    if not bool((estimate > 0).all()):
        raise ValueError("Expected `estimate` to be above zero, but at least one is not.")
    factors = []
    for own in members:
        ratios = (error[own] / estimate[own]).sort().values
        # The 1e-9 keeps a product such as 10 * 0.9 from being rounded up to the next rank.
        rank = math.ceil((len(ratios) + 1) * coverage - 1e-9)
        factors.append(float(ratios[rank - 1]) if rank <= len(ratios) else math.inf)
    return max(factors)


def _checked(score: Tensor, error: Tensor, group: Tensor | None) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Scores and errors in float64, and a mask for every group."""
    group = torch.zeros(len(error), dtype=torch.long) if group is None else group
    if score.ndim != 1 or not score.shape == error.shape == group.shape or len(score) == 0:
        shapes = ", ".join(str(tuple(values.shape)) for values in (score, error, group))
        raise ValueError(f"Expected one score, error and group for each of some poses, but got the shapes {shapes}.")
    score, error = score.double(), error.double()
    if not bool((score.isfinite() & error.isfinite()).all()):
        raise ValueError("Expected scores and errors to be finite, but at least one is not: leave those poses out.")
    return score, error, [group == name for name in torch.unique(group)]


def _ranks(values: Tensor) -> Tensor:
    """Ranks from 1, equal values sharing their mean rank."""
    ordered = values.sort().values
    low, high = torch.searchsorted(ordered, values), torch.searchsorted(ordered, values, right=True)
    return (low + high + 1).double() / 2
