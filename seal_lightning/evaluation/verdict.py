"""Does SEAL help? The verdict of a comparison: one number, the primary end point, and how certain it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from seal_lightning.evaluation.choosing import PRIMARY, ROUNDING
from seal_lightning.evaluation.groups import by_dataset
from seal_lightning.evaluation.statistics import Scopes, t_975

__all__ = ["NEVER_ACTED", "Verdict", "describe_side", "describe_verdicts", "judge"]

_ERRORS = dict(zip(PRIMARY, ("MPJPE", "BSLE", "asymmetry error"), strict=True))

NEVER_ACTED = (
    "SEAL NEVER ACTED: with every seed the weights of host and SEAL are the same bit for bit. Look at `seal.weight`, "
    "`seal.warmup_steps` and the learning rate of the host."
)

_REPLICATES = 2000  # draws of the bootstrap

Array = NDArray[np.float64]
Side = Literal["helps", "no evidence", "harms", "no verdict", "never acted"]


@dataclass(frozen=True)
class Verdict:
    """The verdict of a comparison, and what it rests on.

    Args:
        verdict: ``"helps"`` where the whole interval is below zero, ``"harms"`` where it is above, else
            ``"no evidence"``. ``"no verdict"`` where there is one seed, or no dataset with two groups: then no interval
            covers what counts. ``"never acted"`` where SEAL left the host's weights bit for bit what they were.
        change: Change of the primary end point by SEAL, in percent; negative is better.
        low: Lower end of the 95 % interval of the change; NaN where there is none.
        high: Upper end of the interval.
        errors: Names of the errors that took part.
        seeds: Number of seeds.
        groups: Number of groups in each dataset.
        remark: What the interval does not cover, or why there is no verdict.
    """

    verdict: Side
    change: float
    low: float
    high: float
    errors: tuple[str, ...]
    seeds: int
    groups: dict[str, int]
    remark: str


def judge(host: Sequence[Scopes], seal: Sequence[Scopes], groups: Sequence[str], *, acted: bool = True) -> Verdict:
    r"""Judge the change that SEAL makes to the geometric mean of three errors.

    .. math:: 100 \Big(\prod_e (\bar e_{\text{SEAL}} / \bar e_{\text{host}})^{1/3} - 1\Big)

    The errors are the mean per joint position error (MPJPE), the body segment length error (BSLE) and the asymmetry
    error, each averaged over seeds, then over the groups of a dataset, then over the datasets. An error that is not
    finite, or as small as a rounding error, is left out.

    The interval is that of the mean log ratio of the errors. Its standard error has several sources: the seeds, and the
    groups of every dataset. Each source with n units is bootstrapped by drawing n - 1 of them, the same for both
    methods, which makes the variance unbiased (McCarthy and Snowden, 1985). Each standard error is multiplied by
    Student's t for n - 1 degrees of freedom; the root of the sum of the squares is half the width of the interval.
    Percentiles of the bootstrap would not do: for three seeds they are the smallest and the largest of the three, and
    the true value lies outside of these one time in four.

    Args:
        host: The scores of the host, by scope, for each seed.
        seal: The scores of SEAL, in the same order of seeds.
        groups: The scopes that are groups, named "dataset/skeleton".
        acted: Whether SEAL changed the host's weights in any training.

    Returns:
        The verdict.
    """
    datasets = by_dataset(groups)
    counts = {name or "all": len(members) for name, members in datasets.items()}
    table = {e: np.array([[[run[g][e] for g in groups] for run in method] for method in (host, seal)]) for e in _ERRORS}
    usable = {e: values for e, values in table.items() if np.all(np.isfinite(values) & (values > ROUNDING))}
    point, half = math.nan, math.nan
    if usable:
        places = [[groups.index(member) for member in members] for members in datasets.values()]
        point, half = _interval(np.stack(list(usable.values())), places)
    low, high = point - half, point + half
    side: Side = "helps" if high < 0 else "harms" if low > 0 else "no evidence"
    known = max(counts.values()) > 1 and len(host) > 1 and bool(usable)
    verdict: Side = "never acted" if not acted else side if known else "no verdict"
    # exp overflows above 709: a training that diverged must get its verdict too, not end the comparison with an error.
    change, low, high = (100 * math.expm1(min(value, 700.0)) for value in (point, low, high))
    errors, remark = tuple(_ERRORS[e] for e in usable), _remark(len(host), counts)
    return Verdict(verdict, change, low, high, errors, len(host), counts, remark)


def _interval(values: Array, datasets: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Return the mean log ratio of values (errors, 2, seeds, groups) and half the width of its interval.

    The second axis holds the two methods. The half width is NaN for one seed.
    """
    generator = np.random.default_rng(0)
    seeds = values.shape[2]
    seed_weights, group_weights = np.full((1, seeds), 1 / seeds), np.zeros((1, values.shape[3]))
    for places in datasets:
        group_weights[:, places] = 1 / (len(places) * len(datasets))
    point = float(_log_ratio(values, seed_weights, group_weights)[0])
    if seeds == 1:
        return point, math.nan
    halves = [_half(_log_ratio(values, _draws(seeds, generator), group_weights), seeds)]
    for places in datasets:
        if len(places) > 1:
            weights = np.repeat(group_weights, _REPLICATES, axis=0)
            weights[:, places] = _draws(len(places), generator) / len(datasets)
            halves.append(_half(_log_ratio(values, seed_weights, weights), len(places)))
    return point, math.hypot(*halves)


def _draws(units: int, generator: np.random.Generator) -> Array:
    """Draw one unit less than there are, with replacement; return weights (replicates, units) that sum to 1."""
    return generator.multinomial(units - 1, np.full(units, 1 / units), size=_REPLICATES) / (units - 1)


def _log_ratio(values: Array, seed_weights: Array, group_weights: Array) -> Array:
    """Return the mean over the errors of log(SEAL / host), one number for each row of weights.

    Where one of the two has a single row, it is used with every row of the other.

    Args:
        values: Errors (errors, 2, seeds, groups); the second axis holds host and SEAL.
        seed_weights: Weights (replicates or 1, seeds).
        group_weights: Weights (replicates or 1, groups).
    """
    over_seeds = np.tensordot(seed_weights, values, axes=(1, 2))
    means = (over_seeds * group_weights[:, None, None]).sum(-1)
    return np.asarray(np.log(means[..., 1] / means[..., 0]).mean(-1))


def _half(replicates: Array, units: int) -> float:
    return t_975(units - 1) * float(replicates.std())


def _remark(seeds: int, counts: Mapping[str, int]) -> str:
    if seeds == 1:
        return "Another seed may turn out otherwise: `--seeds 0 1 2`, or more, give an interval and a verdict."
    single = [name for name, count in counts.items() if count == 1]
    if len(single) == len(counts):
        return (
            "No dataset names two skeletons or more, so the interval covers differences between seeds but not between "
            "skeletons, and there is no verdict. Batches with an entry `group` and a datamodule with `group_names`, "
            "such as 'mine/person 1', have one."
        )
    return " ".join(
        f"{name} has a single skeleton, so the interval does not cover how its other skeletons would differ."
        for name in single
    )


def describe_verdicts(own_best: Verdict, predicted: Verdict) -> str:
    """Say the verdict on the primary end point in one line, the other one beside it, and what they are about."""
    sides = {"after each method's own best": own_best, "as predicted": predicted}
    unknown = "One seed, no verdict" if own_best.seeds == 1 else "No verdict"
    lead = unknown if own_best.verdict == "no verdict" else "Verdict"
    lines = [f"{lead}: {'; '.join(f'{describe_side(verdict)} {name}' for name, verdict in sides.items())}."]
    if own_best.verdict == "never acted":
        lines.insert(0, NEVER_ACTED)
    about = f"This is the change by SEAL in the geometric mean of {', '.join(_ERRORS.values())}"
    if own_best.seeds > 1:
        skeletons = [f"{count} skeletons of {name}" for name, count in own_best.groups.items() if count > 1]
        about += f"; the 95 % intervals are over {', '.join([f'{own_best.seeds} seeds', *skeletons])}"
    left_out = [f"{e} {name}" for name, verdict in sides.items() for e in _ERRORS.values() if e not in verdict.errors]
    missing = f"Left out, for want of a value above rounding error: {', '.join(left_out)}." if left_out else ""
    return "\n".join([*lines, " ".join(filter(None, [f"{about}.", own_best.remark, missing]))])


def describe_side(verdict: Verdict) -> str:
    """Say a verdict with its change; where there is none, the change alone."""
    change = "" if math.isnan(verdict.change) else f"{verdict.change:+.1f} %"
    interval = "" if math.isnan(verdict.low) else f" [{verdict.low:+.1f}, {verdict.high:+.1f}]"
    words = {"never acted": "SEAL never acted", "no verdict": "" if change else "nothing to compare"}
    word = words.get(verdict.verdict, verdict.verdict)
    return ", ".join(filter(None, [word, change + interval]))
