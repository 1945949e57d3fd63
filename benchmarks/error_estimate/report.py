"""The study in tables: means over folds and seeds, and how far these spread."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.error_estimate.stored import Arrays, run_file
from benchmarks.error_estimate.study import CriticStudy
from benchmarks.error_estimate.tables import Table, tables

__all__ = ["report"]

_MEMBERS = 2  # runs with other seeds that make an ensemble with a run


def report(study: CriticStudy, folder: Path, names: Sequence[str]) -> str:
    """Return all tables in Markdown."""
    parts = []
    for name in names:
        runs = _runs(study, folder, name)
        if runs:
            found = {run: _tables(folder, name, *run, [seed for fold, seed in runs if fold == run[0]]) for run in runs}
            parts += [f"## {name}", "fold and seed: " + ", ".join(f"{fold} {seed}" for fold, seed in runs)]
            for title in found[runs[0]]:
                parts += [title, mean_table(title, {run: found[run][title] for run in runs})]
    return "\n\n".join(parts)


def _runs(study: CriticStudy, folder: Path, name: str) -> list[tuple[int, int]]:
    """Fold and seed of the runs that are finished."""
    plan = study.hosts[name]
    wanted = [(fold, seed) for fold in plan.folds for seed in plan.seeds]
    return [run for run in wanted if run_file(folder, name, *run).exists()]


def _tables(folder: Path, name: str, fold: int, seed: int, seeds: Sequence[int]) -> dict[str, Table]:
    """The tables of a run, which are kept in a file until the ensemble is another."""
    path = run_file(folder, name, fold, seed)
    kept, others = path.with_suffix(".json"), [other for other in seeds if other != seed][:_MEMBERS]
    if kept.exists():
        content = json.loads(kept.read_text())
        if content["others"] == others:
            found: dict[str, Table] = content["tables"]
            return found
    found = tables(_read(path), [_read(run_file(folder, name, fold, other)) for other in others])
    kept.write_text(json.dumps({"others": others, "tables": found}))
    return found


def _read(path: Path) -> dict[str, Arrays]:
    sets: dict[str, Arrays] = {}
    with np.load(path) as file:
        for key in file.files:
            data, _, array = key.partition("/")
            sets.setdefault(data, {})[array] = file[key]
    return sets


def mean_table(title: str, found: dict[tuple[int, int], Table]) -> str:
    """Mean over the seeds, then over the folds; behind it the range of the folds, and how much seeds differ.

    Millimetres and percent have one digit, shares three. The last number is the standard deviation of the seeds of a
    fold, the root of its mean square over the folds. What is the worst of a run is shown for the worst of all runs.

    Args:
        title: What the table shows.
        found: The table of every run, by its fold and seed.
    """
    rows = list(dict.fromkeys(row for table in found.values() for row in table))
    columns = list(dict.fromkeys(column for table in found.values() for row in table.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = [_cell(_by_fold(found, row, column), title, column) for column in columns]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _by_fold(found: dict[tuple[int, int], Table], row: str, column: str) -> list[list[float]]:
    """The values of every fold, one a seed."""
    folds: dict[int, list[float]] = {}
    for (fold, _), table in found.items():
        if column in table.get(row, {}):
            folds.setdefault(fold, []).append(table[row][column])
    return list(folds.values())


def _cell(folds: Sequence[Sequence[float]], title: str, column: str) -> str:
    digits = 1 if "%" in column or "mm" in title + column else 3
    if not folds:
        return "-"
    if "worst" in column:
        return f"{min(min(seeds) for seeds in folds):.{digits}f}"
    means = [float(np.mean(seeds)) for seeds in folds]
    cell = f"{np.mean(means):.{digits}f}"
    if len(folds) > 1:
        cell += f" ({min(means):.{digits}f} to {max(means):.{digits}f})"
    variances = [float(np.var(seeds, ddof=1)) for seeds in folds if len(seeds) > 1]
    return cell + (f" ±{np.mean(variances) ** 0.5:.{digits}f}" if variances else "")
