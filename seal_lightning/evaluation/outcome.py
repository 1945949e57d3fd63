"""The outcome of a comparison: which weight is judged, and all that is said of it against the host."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from seal_lightning.evaluation.finishing import describe_finishing
from seal_lightning.evaluation.groups import by_dataset
from seal_lightning.evaluation.runs import HOST, Run, paired_runs, summarise
from seal_lightning.evaluation.statistics import Paired, compare_scores
from seal_lightning.evaluation.verdict import Verdict, judge

__all__ = ["Outcome", "Rivals", "best_method", "finishes_of", "outcome_of", "rivals_of", "tried"]

Summary = dict[str, dict[str, Paired]]


@dataclass(frozen=True)
class Outcome:
    """SEAL with one weight against the host; or any other two methods, of which the second one stands for the host.

    Args:
        method: The method, as in `Run`.
        seeds: The seeds that both have.
        datasets: Names of the datasets among the scopes.
        summary: Every metric of every scope, as predicted, with the training time.
        summary_own_best: The same after each training's own best finishing.
        own_best: The verdict on the primary end point, the errors after each method's own best.
        as_predicted: The verdict on the errors of the predictions as they are.
    """

    method: str
    seeds: tuple[int, ...]
    datasets: tuple[str, ...]
    summary: Summary
    summary_own_best: Summary
    own_best: Verdict
    as_predicted: Verdict


def outcome_of(runs: Sequence[Run], method: str, reference: str = HOST) -> Outcome | None:
    """Compare a method with the host, or another one, over the seeds that both have; None where there are none."""
    host, seal = paired_runs(runs, method, reference)
    if not host:
        return None
    groups = _groups(host[0])
    datasets = tuple(name for name in by_dataset(groups) if name)
    acted = any(a.weights != b.weights for a, b in zip(host, seal, strict=True))
    predicted = [run.scores for run in host], [run.scores for run in seal]
    finished = [run.own_best for run in host], [run.own_best for run in seal]
    return Outcome(
        method,
        tuple(run.seed for run in host),
        datasets,
        summarise(runs, method, reference),
        compare_scores(*finished),
        judge(*finished, groups, acted=acted),
        judge(*predicted, groups, acted=acted),
    )


def best_method(runs: Sequence[Run], among: Sequence[str] | None = None) -> str | None:
    """The method with the lowest primary error on validation data after its own best, over its seeds.

    Args:
        runs: All runs.
        among: The methods to choose from; None for all but the host.

    Returns:
        Its name; the only one there is; None where there are several and no validation data to choose by.
    """
    named = [run.method for run in runs if (run.method != HOST if among is None else run.method in among)]
    methods = list(dict.fromkeys(named))
    if len(methods) < 2:
        return methods[0] if methods else None
    errors = {
        method: [min(run.validation.values(), default=math.nan) for run in runs if run.method == method]
        for method in methods
    }
    if not all(math.isfinite(error) for found in errors.values() for error in found):
        return None
    return min(methods, key=lambda method: fmean(map(math.log, errors[method])))


@dataclass(frozen=True)
class Rivals:
    """What the host was trained with instead of SEAL.

    Args:
        outcomes: Every rival against the host, by name.
        strongest: The best on validation data of the rivals and the host; None where there are none to choose by.
        against: The judged SEAL method against the strongest; None where that is the host.
    """

    outcomes: dict[str, Outcome]
    strongest: str | None
    against: Outcome | None


def rivals_of(runs: Sequence[Run], names: Sequence[str], judged: str) -> Rivals | None:
    """Compare rivals with the host, and a SEAL method with the strongest of them; None where no rival is finished.

    Args:
        runs: All runs.
        names: The methods that are rivals.
        judged: The SEAL method.
    """
    found = {name: outcome_of(runs, name) for name in names}
    outcomes = {name: outcome for name, outcome in found.items() if outcome is not None}
    if not outcomes:
        return None
    strongest = best_method(runs, [HOST, *outcomes])
    against = None if strongest in (None, HOST) else outcome_of(runs, judged, strongest or HOST)
    return Rivals(outcomes, strongest, against)


def finishes_of(runs: Sequence[Run], method: str) -> str:
    """Say what was best for a method, and with how many of its seeds."""
    counts = Counter(str(run.finish) for run in runs if run.method == method)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{finish} ({count} of {counts.total()} seeds)" for finish, count in counts.most_common())


def tried(runs: Sequence[Run]) -> str:
    """Say what was tried on the predictions, and what could not be."""
    if not runs[0].validation:
        return f"Own best: there are no validation data to choose by, so it is the same for all: {runs[0].finish}."
    names = [name for run in runs for name in run.validation]
    no_flip = next((run.no_flip for run in runs if run.no_flip is not None), None)
    return describe_finishing(
        flips=any("flip" in name for name in names), clips=any("clip" in name for name in names), no_flip=no_flip
    )


def _groups(run: Run) -> list[str]:
    """The groups among the scopes of a run; the others are their datasets and the mean."""
    datasets = {name.split("/")[0] for name in run.scores if "/" in name}
    return [name for name in run.scores if name != "mean" and name not in datasets]
