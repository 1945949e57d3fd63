"""What is chosen in the study of wrong labels, and its tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import t

from benchmarks.accuracy.errors import EvaluationSet, pose_errors
from benchmarks.accuracy.report import evaluation_sets
from benchmarks.accuracy.statistics import Array, ClipSums, bootstrap, interval, smallest_effect
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import make_data
from benchmarks.label_scores import KINDS

__all__ = ["ALL", "FAMILIES", "SHARES", "TRUTH", "Choice", "choices", "ways", "write_report"]

FAMILIES = {
    "small loss": ("small loss",),
    "cheap": (
        *("small loss", "worst joint", "PCA residual", "worst bone"),
        *("small loss + PCA residual", "small loss + worst bone", "worst joint + worst bone"),
    ),
    "energy alone": ("energy", "energy above the prediction's"),
    "with an energy": ("energy", "energy above the prediction's", "small loss + energy", "worst bone + energy"),
    "error estimate": (
        *("loss over its estimate", "worst joint over its estimate"),
        *("loss over its estimate + worst bone", "worst joint over its estimate + worst bone"),
        *("estimate above the prediction's", "estimate above the prediction's + worst bone"),
    ),
    "estimate and energy": ("estimate above the prediction's + energy",),
}
"""The families of scores. Each family is represented by the score that is best on other kinds of wrong labels."""

SHARES = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1)  # of the labels that may be flagged
ERRORS = ("MPJPE", "P-MPJPE", "BSLE", "asymmetry")

Records = Sequence[Mapping[str, Any]]


class Choice(NamedTuple):
    """A score, and the share of the labels that it flags."""

    score: str
    share: float

    def __str__(self) -> str:
        return f"{self.score}, {100 * self.share:g} %"


ALL, TRUTH = Choice("nothing", 0.0), Choice("truth", 0.05)


def ways(chosen: Mapping[str, Choice]) -> dict[str, Choice]:
    """Return the ways in which labels are cleaned: of the energy alone one hears enough by its AUROC."""
    return {family: how for family, how in chosen.items() if family != "energy alone"} | {"truth": TRUTH}


def choices(records: Records) -> dict[str, dict[str, Choice]]:
    """Choose what the labels of every kind are cleaned with, looking at the two other kinds alone.

    Of each family of scores it is the one with the highest AUROC, averaged over the other kinds and the seeds; of the
    shares, the one with the highest F1 there.
    """
    chosen = {}
    for kind in KINDS:
        others = [record for record in records if record["kind"] != kind]

        def best(scores: Sequence[str], others: Records = others) -> Choice:
            score = max(scores, key=lambda name: float(np.mean([record["auroc"][name] for record in others])))
            return Choice(score, SHARES[int(np.mean([record["f1"][score] for record in others], axis=0).argmax())])

        chosen[kind] = {family: best(scores) for family, scores in FAMILIES.items()}
    return chosen


def write_report(study: Study, records: Records, folder: Path, split: str) -> str:
    """Return the tables, in Markdown; cleaning is reported of the seeds for which all ways are finished."""
    chosen = choices(records)
    data = make_data(study, next(iter(study.methods)), seed=0)
    truth = evaluation_sets(data)[split]
    cleaned = {kind: _cleaned(study.seeds, kind, chosen[kind], folder, split, truth) for kind in KINDS}
    return "\n\n".join(
        [
            "AUROC of every score, mean ± standard deviation over the seeds.\n\n" + _aurocs(records),
            "What is chosen on the other kinds, and its AUROC on this one; the difference with its 95 % interval over "
            "the seeds (Student's t).\n\n" + _held_out(records, chosen),
            "Errors after cleaning: the change in percent against training on all labels [95 % interval].\n\n"
            + _changes(cleaned, chosen, "all labels"),
            "The same against cleaning by small loss; the last column is the change of MPJPE that would have been "
            "found in four of five studies like this.\n\n" + _changes(cleaned, chosen, "small loss"),
            "MPJPE in mm, mean ± standard deviation over the seeds.\n\n" + _absolute(cleaned),
        ]
    )


def _aurocs(records: Records) -> str:
    rows = []
    for name in dict.fromkeys(name for scores in FAMILIES.values() for name in scores):
        values = [np.array([record["auroc"][name] for record in records if record["kind"] == kind]) for kind in KINDS]
        cells = [f"{value.mean():.3f} ± {value.std(ddof=1):.3f}" for value in values]
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    return _table("| score | " + " | ".join(KINDS) + " |", rows)


def _held_out(records: Records, chosen: Mapping[str, Mapping[str, Choice]]) -> str:
    rows = []
    for kind in KINDS:
        of = [record for record in records if record["kind"] == kind]
        cheap = np.array([record["auroc"][chosen[kind]["cheap"].score] for record in of])
        for family in FAMILIES:
            how = chosen[kind][family]
            mine = np.array([record["auroc"][how.score] for record in of])
            f1 = np.mean([record["f1"][how.score][SHARES.index(how.share)] for record in of])
            against = "" if family == "cheap" else _difference(mine - cheap)
            rows.append(f"| {kind} | {family} | {how} | {mine.mean():.3f} | {against} | {f1:.2f} |")
    return _table("| kind | family | score, flags | AUROC | against cheap | F1 |", rows)


def _difference(values: Array) -> str:
    half = float(t.ppf(0.975, len(values) - 1)) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+.3f} [{values.mean() - half:+.3f}, {values.mean() + half:+.3f}]"


def _cleaned(
    seeds: Sequence[int], kind: str, chosen: Mapping[str, Choice], folder: Path, split: str, truth: EvaluationSet
) -> dict[str, ClipSums]:
    """Errors (errors, seeds, clips) of the trainings on labels of one kind, by the way in which these were cleaned."""
    named = {"all labels": ALL, **ways(chosen)}
    files = {way: [folder / f"{kind}, seed {seed}, {how}.npz" for seed in seeds] for way, how in named.items()}
    finished = [place for place in range(len(seeds)) if all(of_way[place].exists() for of_way in files.values())]
    found = {}
    for way, of_way in files.items():
        errors = [_errors(of_way[place], split, truth) for place in finished]
        found[way] = ClipSums.of(np.stack(errors, axis=1), truth.clip.numpy(), truth.group.numpy(), truth.names)
    return found


def _errors(file: Path, split: str, truth: EvaluationSet) -> Array:
    with np.load(file) as poses:
        errors = pose_errors(torch.from_numpy(poses[split]), truth, ERRORS)
    return np.stack([errors[name].double().numpy() for name in ERRORS])


def _changes(
    cleaned: Mapping[str, Mapping[str, ClipSums]], chosen: Mapping[str, Mapping[str, Choice]], reference: str
) -> str:
    rows = []
    for kind, of_kind in cleaned.items():
        for way, mine in of_kind.items():
            if way == reference:
                continue
            theirs = of_kind[reference]
            both = ClipSums(mine.skeleton, mine.names, np.stack([theirs.total, mine.total]), mine.count)
            mean, drawn = both.mean().mean(-1), bootstrap(both)
            replicates = 100 * (drawn[:, 1] / drawn[:, 0] - 1)
            points = 100 * (mean[1] / mean[0] - 1)
            cells = [_percent(point, replicates[:, e]) for e, point in enumerate(points)]
            how = ways(chosen[kind]).get(way, ALL)
            rows.append(
                f"| {kind} | {way} | {how} | " + " | ".join(cells) + f" | {smallest_effect(replicates[:, 0]):.1f} |"
            )
    return _table("| kind | cleaned by | what is left out | " + " | ".join(ERRORS) + " | visible |", rows)


def _absolute(cleaned: Mapping[str, Mapping[str, ClipSums]]) -> str:
    rows = []
    for way in next(iter(cleaned.values())):
        values = [of_kind[way].mean()[0] for of_kind in cleaned.values()]
        rows.append(f"| {way} | " + " | ".join(f"{v.mean():.2f} ± {v.std(ddof=1):.2f}" for v in values) + " |")
    return _table("| cleaned by | " + " | ".join(cleaned) + " |", rows)


def _percent(point: float, replicates: Array) -> str:
    low, high = interval(replicates)
    return f"{point:+.1f} [{low:+.1f}, {high:+.1f}]"


def _table(head: str, rows: Sequence[str]) -> str:
    return "\n".join([head, "|---" * (head.count("|") - 1) + "|", *rows])
