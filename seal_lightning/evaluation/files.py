"""Files of results: a directory that is free, a CSV table, and the versions on which a number may depend."""

from __future__ import annotations

import csv
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from seal_lightning.evaluation.runs import Run

__all__ = ["free_directory", "versions", "write_csv"]


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages on which a number may depend."""
    found = {"python": platform.python_version()}
    for package in ("seal_lightning", "torch", "lightning", "torchmetrics", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def free_directory(path: str | Path) -> Path:
    """Make and return the directory ``path``, or ``path-2``, ``path-3``, ... where an older result is in the way."""
    path = Path(path)
    candidate, number = path, 1
    while candidate.exists() and not (candidate.is_dir() and not any(candidate.iterdir())):
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    candidate.mkdir(parents=True, exist_ok=True)
    return candidate


def write_csv(path: Path, runs: Sequence[Run], stamp: Mapping[str, str]) -> None:
    """Write one line per method, seed, scope and metric, which ends in the values of the stamp."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "scope", "metric", "value", *stamp])
        for run in runs:
            measured = {"wall_time": run.wall_time, "steps": run.steps}
            blocks = [(run.method, *item) for item in [*run.scores.items(), ("mean", measured)]]
            blocks += [(f"{run.method}, own best", *item) for item in run.own_best.items()]
            for method, scope, scores in blocks:
                for name, value in scores.items():
                    writer.writerow([method, run.seed, scope, name, repr(value), *stamp.values()])
