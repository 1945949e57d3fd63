"""The tables of a report, in Markdown. Every method is compared with its reference, which the study names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.energies import KEYPOINTS
from benchmarks.accuracy.errors import ERRORS, EvaluationSet
from benchmarks.accuracy.nearest import BINS
from benchmarks.accuracy.outcome import PRIMARY, Outcome, Rescaled, sums
from benchmarks.accuracy.statistics import (
    Array,
    ByClip,
    ClipSums,
    bootstrap,
    geometric_mean,
    holm,
    interval,
    p_value,
    smallest_effect,
)
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.tail import TAIL, PoseErrors

__all__ = ["Comparisons", "half", "strongest_rival", "tables"]

Outcomes = Mapping[str, Outcome]


def tables(study: Study, outcomes: Outcomes, data: EvaluationSet, bins: NDArray[np.int64]) -> list[str]:
    """Format all tables, each with a sentence above it that says what it shows.

    Args:
        study: The study.
        outcomes: The outcomes of its methods, by name.
        data: The true poses of the split.
        bins: For every pose how near it is to the nearest training pose, as an index into `BINS`.
    """
    compared = [name for name in outcomes if study.reference(name) != name]
    against_host = {name: study.reference(name) for name in compared}
    learned = [name for name in compared if study.methods[name].seal is not None and _family(study, name) != "control"]
    against_rival = {name: strongest_rival(study, outcomes, name) for name in learned}
    rows = Comparisons(study, outcomes)
    errors = tuple(ERRORS)
    lengthy = [name for name in errors if not name.startswith("LSE")]  # symmetrising brings these to zero
    return [
        _truth(data),
        "Primary end point: change in percent against the reference, each after what is best for it of flip "
        "averaging, filter, mean lengths and symmetrising. Negative is better. An effect of the size in the last "
        "column would have been found in four of five studies like this.\n\n"
        + rows.primary(against_host, lambda outcome: outcome.best),
        "The same against the strongest rival: of all methods without a learned loss, the best one on validation.\n\n"
        + rows.primary(against_rival, lambda outcome: outcome.best),
        "The same against the reference where only single poses may be rescaled, without the clip around them.\n\n"
        + rows.primary(against_host, lambda outcome: outcome.by_frame),
        "Errors after what is best for each: the change in percent against the reference [95 % interval].\n\n"
        + rows.changes(against_host, lengthy, lambda outcome: outcome.best.of(lengthy)),
        "Errors as predicted: the change in percent against the reference [95 % interval].\n\n"
        + rows.changes(against_host, errors, lambda outcome: outcome.raw),
        "MPJPE and its high tail as predicted: the change in percent against the reference [95 % interval].\n\n"
        + rows.changes(against_host, TAIL, lambda outcome: half(outcome.tail, 0)),
        "The same after what is best for each.\n\n"
        + rows.changes(against_host, TAIL, lambda outcome: half(outcome.tail, 1)),
        "MPJPE as predicted, by how near a pose is to the nearest training pose.\n\n"
        + rows.changes(against_host, BINS, lambda outcome: [_part(outcome.tail, bins == i) for i in range(3)]),
        "Errors as predicted for each dataset alone, without intervals.\n\n" + rows.apart(against_host),
        "Errors as predicted: mean ± standard deviation over seeds (mm, percent, degrees). The column *last fifth* is "
        "the change of the validation MPJPE over the last fifth of the steps, in percent; *flips* the MPJPE "
        "of predictions averaged with mirrored ones.\n\n" + rows.absolute(),
        _knowledge(outcomes),
        _keypoints(outcomes),
    ]


def strongest_rival(study: Study, outcomes: Outcomes, name: str) -> str:
    """Return the method without a learned loss that has the best primary end point on validation.

    It has the steps of the method `name` and at least its seeds. The reference of that method is among them.
    """
    fields = study.methods[name]
    rivals = [
        other
        for other, result in outcomes.items()
        if study.methods[other].seal is None
        and study.methods[other].steps == fields.steps
        and _family(study, other) != "control"
        and {run["seed"] for run in outcomes[name].runs} <= {run["seed"] for run in result.runs}
    ]
    return min([*rivals, study.reference(name)], key=lambda other: outcomes[other].best.score)


def _family(study: Study, name: str) -> str:
    return study.methods[name].family


class Comparisons:
    """The rows of tables in which each method is compared with another one."""

    def __init__(self, study: Study, outcomes: Outcomes) -> None:
        self.study, self.outcomes = study, outcomes

    def label(self, name: str) -> str:
        """Return the first cells of the row of a method."""
        return f"| {name} | {_family(self.study, name)} | {len(self.outcomes[name].runs)}"

    def pair(self, name: str, other: str, measured: Callable[[Outcome], ByClip]) -> tuple[Array, Array]:
        """Return the measurements of a method and of another (2, ..., seeds averaged), and 2,000 replicates of them."""
        mine, theirs = self.outcomes[name], self.outcomes[other]
        both = _stacked(measured(theirs), measured(mine), _shared_seeds(theirs, mine))
        return both.mean().mean(-1), bootstrap(both)

    def primary(self, pairs: Mapping[str, str], rescaled: Callable[[Outcome], Rescaled]) -> str:
        """Tabulate the change of the primary end point in percent, with p-values adjusted for the number of rows."""
        rows, p_values = {}, {}
        for name, other in pairs.items():
            mean, drawn = self.pair(name, other, lambda outcome: rescaled(outcome).of(PRIMARY))
            point = 100 * (float(geometric_mean(mean[1] / mean[0])) - 1)
            replicates = 100 * (geometric_mean(drawn[:, 1] / drawn[:, 0]) - 1)
            p_values[name] = p_value(replicates)
            mine, theirs = rescaled(self.outcomes[name]).how, rescaled(self.outcomes[other]).how
            cells = [self.label(name), other, f"{mine} / {theirs}", _percent(point, replicates)]
            rows[name] = " | ".join(cells), f"{smallest_effect(replicates):.1f} |"
        adjusted = holm(p_values)
        head = "| method | family | seeds | against | best for each | change [95 % interval] | p (Holm) | seen from |"
        return _table(head, [f"{row} | {adjusted[name]:.3f} | {last}" for name, (row, last) in rows.items()])

    def changes(
        self,
        pairs: Mapping[str, str],
        columns: Sequence[str],
        measured: Callable[[Outcome], ByClip | Sequence[ByClip]],
    ) -> str:
        """Tabulate changes in percent with their intervals.

        What is measured is one object with an entry a column (columns, seeds), or one object (seeds,) for each column.
        """
        rows = []
        for name, other in pairs.items():
            if isinstance(measured(self.outcomes[name]), ByClip):
                mean, drawn = self.pair(name, other, measured)  # type: ignore[arg-type]
            else:
                each = [
                    self.pair(name, other, lambda outcome, i=i: measured(outcome)[i])  # type: ignore[index, misc]
                    for i in range(len(columns))
                ]
                mean, drawn = (np.stack(part, axis=-1) for part in zip(*each, strict=True))
            cells = [
                _percent(100 * (mean[1, i] / mean[0, i] - 1), 100 * (drawn[:, 1, i] / drawn[:, 0, i] - 1))
                for i in range(len(columns))
            ]
            rows.append(" | ".join([self.label(name), *cells]) + " |")
        return _table(" | ".join(["| method | family | seeds", *columns]) + " |", rows)

    def apart(self, pairs: Mapping[str, str]) -> str:
        """Tabulate the changes of the errors as predicted in each dataset."""
        rows = []
        for name, other in pairs.items():
            mine, theirs = self.outcomes[name], self.outcomes[other]
            both = _stacked(theirs.raw, mine.raw, _shared_seeds(theirs, mine))
            for dataset, values in both.by_dataset().items():
                before, after = values.mean(-1)
                cells = [f"{100 * (ratio - 1):+.1f}" for ratio in after / before]
                rows.append(" | ".join([self.label(name), dataset, *cells]) + " |")
        return _table(" | ".join(["| method | family | seeds | dataset", *ERRORS]) + " |", rows)

    def absolute(self) -> str:
        """Tabulate the errors of every method as predicted."""
        rows = []
        for name, outcome in self.outcomes.items():
            values = [*outcome.raw.mean(), *outcome.tail.mean()[0, 1:]]
            cells = [f"{row.mean():.2f} ± {row.std(ddof=1):.2f}" if len(row) > 1 else f"{row[0]:.2f}" for row in values]
            flipped = "-" if outcome.flipped is None else f"{outcome.flipped:.2f}"
            rows.append(" | ".join([self.label(name), *cells, f"{_last_fifth(outcome):+.1f}", flipped]) + " |")
        head = ["| method | family | seeds", *ERRORS, *TAIL[1:], "last fifth", "flips"]
        return _table(" | ".join(head) + " |", rows)


def half(tail: PoseErrors, half: int) -> PoseErrors:
    """The errors as predicted (0) or after what is best (1)."""
    return PoseErrors(tail.skeleton, tail.names, tail.errors[half], tail.place)


def _part(tail: PoseErrors, members: NDArray[np.bool_]) -> ClipSums:
    """The errors as predicted of some of the poses."""
    clip = tail.place[members]
    return ClipSums.of(tail.errors[0][..., members], clip, tail.skeleton[clip], tail.names)


def _truth(data: EvaluationSet) -> str:
    """Say how the true poses themselves score, since no person is perfectly symmetric or rigid in a recording."""
    names = ("LSE", "LSE, no hips", "LSE, no hips, no shoulders", "BSLE, subject's median")
    scored = sums([data.target], data, names)
    values = "; ".join(f"{name} {value:.2f} %" for name, value in zip(names, scored.mean()[:, 0], strict=True))
    return f"{len(data.target)} poses of {len(set(data.group.tolist()))} skeletons. The truth itself scores {values}."


def _last_fifth(outcome: Outcome) -> float:
    """Change of the validation MPJPE over the last fifth of the steps, in percent; near 0 where it has converged."""
    steps, values = outcome.curve
    return float(100 * (values[-1] / np.interp(0.8 * steps[-1], steps, values) - 1))


def _knowledge(outcomes: Outcomes) -> str:
    """Tabulate what each energy knows.

    The columns are how hard it pulls and how far predictions lie above truths, the AUROC of `energy_report` at the
    largest severity of every kind of damage, and four values of `EnergyMonitor`: the alignment of the pull with the way
    to the truth, and rank correlations with errors.
    """
    measured = _with_energies(outcomes)
    if not measured:
        return "No method has an energy."
    kinds = list(next(iter(next(iter(measured.values()))[0]["knowledge"].values())))
    monitored = ("alignment", "spearman_mpjpe", "spearman_body_segment_length_error", "spearman_asymmetry_error")
    rows = []
    for name, runs in measured.items():
        for energy in runs[0]["knowledge"]:
            scores = [[run["knowledge"][energy][kind]["auroc"][-1] for kind in kinds] for run in runs]
            logs = [[run["logged"][f"seal/monitor/{energy}/{key}"] for key in monitored] for run in runs]
            ratios = [run.get("force_ratio") for run in runs]
            ratio = np.nan if None in ratios else np.mean(ratios)
            prefix = f"seal/monitor/{energy}/energy_"
            gaps = [run["logged"][prefix + "prediction"] - run["logged"][prefix + "true"] for run in runs]
            cells = " | ".join(f"{value:.2f}" for value in np.hstack([scores, logs]).mean(0))
            rows.append(f"| {name} | {ratio:.1e} | {np.mean(gaps):.3g} | {cells} |")
    return (
        "What the energies know: the mean force ratio over the steps in which they pull (nan: not recorded), the "
        "energy of predictions minus that of truths at the end, how well they tell true poses from those with the "
        "worst damage of each kind (AUROC), the alignment of their pull with the way to the truth, and their rank "
        "correlation with the errors.\n\n"
        + _table(" | ".join(["| method", "force ratio", "gap", *kinds, *monitored]) + " |", rows)
    )


def _keypoints(outcomes: Outcomes) -> str:
    """Tabulate what is left of that knowledge when an energy is shown other keypoints than those of the pose."""
    rows = []
    for name, runs in _with_energies(outcomes).items():
        for energy in runs[0].get("keypoints") or ():
            cells: Iterable[float] = (
                np.mean([run["keypoints"][energy][shown][key] for run in runs])
                for key in ("auroc", "spearman_mpjpe")
                for shown in KEYPOINTS
            )
            rows.append(f"| {name} | {len(runs)} | " + " | ".join(f"{value:.2f}" for value in cells) + " |")
    head = [f"{measure}, {shown}" for measure in ("AUROC", "rank correlation") for shown in KEYPOINTS]
    return (
        "What the energies take from the 2D keypoints: the mean AUROC over the kinds of damage, and the rank "
        "correlation of the energy of predictions with their MPJPE, when the keypoints that go with a pose are its "
        "own, zero, or those of another pose (validation).\n\n"
        + _table(" | ".join(["| method | seeds", *head]) + " |", rows)
    )


def _with_energies(outcomes: Outcomes) -> dict[str, list[Mapping[str, object]]]:
    by_method = {name: [run for run in outcome.runs if run.get("knowledge")] for name, outcome in outcomes.items()}
    return {name: runs for name, runs in by_method.items() if runs}


def _shared_seeds(reference: Outcome, outcome: Outcome) -> list[int]:
    """Return the positions of a method's seeds among those of its reference."""
    seeds = [run["seed"] for run in outcome.runs]
    return [place for place, run in enumerate(reference.runs) if run["seed"] in seeds]


def _stacked(reference: ByClip, mine: ByClip, shared: Sequence[int]) -> ByClip:
    """Stack what is measured of the reference and of a method, (2, ..., seeds), over the seeds that both have."""
    if isinstance(reference, ClipSums) and isinstance(mine, ClipSums):
        total = np.stack([reference.total[..., list(shared), :], mine.total])
        return ClipSums(mine.skeleton, mine.names, total, mine.count)
    if isinstance(reference, PoseErrors) and isinstance(mine, PoseErrors):
        errors = np.stack([reference.errors[..., list(shared), :], mine.errors])
        return PoseErrors(mine.skeleton, mine.names, errors, mine.place)
    raise TypeError(f"Expected two measurements of one kind, but got {type(reference)} and {type(mine)}.")


def _percent(point: float, replicates: Array) -> str:
    low, high = interval(replicates)
    return f"{point:+.1f} [{low:+.1f}, {high:+.1f}]"


def _table(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])
