"""The report of a comparison: statistics over pairs of runs with the same seed, a table, and JSON and CSV files."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from seal_lightning._extras import require

__all__ = [
    "Paired",
    "Run",
    "Scopes",
    "compare_scores",
    "curves",
    "free_directory",
    "pair",
    "paired_difference",
    "rescaled_table",
    "summarise",
    "t_975",
    "table",
    "versions",
    "write_csv",
    "write_json",
]

Scores = dict[str, float]
Scopes = Mapping[str, Scores]

_ROWS = {
    "mpjpe": ("MPJPE", "mm"),
    "p_mpjpe": ("P-MPJPE", "mm"),
    "n_mpjpe": ("N-MPJPE", "mm"),
    "limb_symmetry_error": ("LSE", "%"),
    "truth_limb_symmetry_error": ("LSE of the truth itself", "%"),
    "asymmetry_error": ("asymmetry error", "mm"),
    "body_segment_length_error": ("BSLE", "%"),
    "scaled_body_segment_length_error": ("BSLE at the best scale", "%"),
    "limb_length_error": ("LLE", "%"),
    "mpjpe_p50": ("MPJPE, median", "mm"),
    "mpjpe_p90": ("MPJPE, 90th percentile", "mm"),
    "mpjpe_p95": ("MPJPE, 95th percentile", "mm"),
    "mpjpe_p99": ("MPJPE, 99th percentile", "mm"),
    "mpjpe_cvar95": ("MPJPE, mean of the worst 5 %", "mm"),
    "mpjve": ("MPJVE", "mm/frame"),
    "acceleration_error": ("acceleration error", "mm/frame²"),
    "mpsce": ("MPSCE", "mm"),
    "wall_time": ("training time", "s"),
}

_RESCALED_ROWS = ("mpjpe", "p_mpjpe", "limb_symmetry_error", "asymmetry_error", "body_segment_length_error")

_PANELS = {
    "seal/energy": "energy of the prediction",
    "seal/loss_net_loss": "loss of the loss-net",
    "seal/force_ratio": "force ratio",
    "seal/ranking_accuracy": "ranking accuracy",
}


@dataclass(frozen=True)
class Run:
    """One training and its scores.

    Args:
        method: ``"host"`` or ``"SEAL"``.
        seed: The seed of both the initial weights and the order of the data.
        steps: Number of optimizer steps taken.
        wall_time: Seconds of training, validation included.
        scores: The metrics by name for every scope (``"mean"``, a dataset, a group); lengths are in millimetres.
        curves: The points (step, value) of every quantity that was logged.
        rescaled: The same as ``scores``, after the bones of the predictions are rescaled.
    """

    method: str
    seed: int
    steps: int
    wall_time: float
    scores: dict[str, Scores]
    curves: dict[str, list[tuple[int, float]]]
    rescaled: dict[str, Scores] = field(default_factory=dict)


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


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan


def t_975(degrees: int) -> float:
    """Return the value that Student's t with so many degrees of freedom exceeds with a probability of 2.5 %."""
    return float(require("scipy.stats", "confidence intervals").t.ppf(0.975, degrees))


def pair(runs: Sequence[Run]) -> tuple[list[Run], list[Run]]:
    """Separate the runs of the host and of SEAL, both in the order of the host's seeds."""
    host = [run for run in runs if run.method == "host"]
    seal = {run.seed: run for run in runs if run.method == "SEAL"}
    return host, [seal[run.seed] for run in host]


def summarise(runs: Sequence[Run]) -> dict[str, dict[str, Paired]]:
    """Pair the runs by seed and compare them in every metric of every scope; the training time is under ``"mean"``."""
    host, seal = pair(runs)
    summary = compare_scores([run.scores for run in host], [run.scores for run in seal])
    summary["mean"]["wall_time"] = paired_difference([run.wall_time for run in host], [run.wall_time for run in seal])
    return summary


def compare_scores(host: Sequence[Scopes], seal: Sequence[Scopes]) -> dict[str, dict[str, Paired]]:
    """Compare the scores of two methods in every metric of every scope; both are in the same order of seeds."""
    return {
        scope: {
            metric: paired_difference([run[scope][metric] for run in host], [run[scope][metric] for run in seal])
            for metric in metrics
        }
        for scope, metrics in host[0].items()
    }


def table(
    summary: Mapping[str, Mapping[str, Paired]], datasets: Sequence[str], methods: tuple[str, str] = ("host", "SEAL")
) -> str:
    """Format the comparison as an aligned Markdown table.

    Args:
        summary: What `summarise` returned.
        datasets: Names of the datasets among its scopes. Several get a block of rows each, before that of the mean.
        methods: Titles of the columns of the two methods.

    Returns:
        The lines of the table.
    """
    blocks = [*datasets, "mean"] if len(datasets) > 1 else ["mean"]
    interval = "" if all(math.isnan(paired.low) for paired in summary["mean"].values()) else " [95 % interval]"
    rows: list[tuple[str, ...]] = [("", *methods, f"SEAL - host{interval}", "relative")]
    for block in blocks:
        if len(blocks) > 1:
            title = f"mean of {', '.join(datasets)}" if block == "mean" else block
            rows.append((f"**{title}**", "", "", "", ""))
        rows += [_row(metric, summary[block][metric]) for metric in _ROWS if metric in summary[block]]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rule = "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])])
    lines = [
        "| "
        + " | ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
        + " |"
        for row in rows
    ]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def rescaled_table(summary: Mapping[str, Mapping[str, Paired]]) -> str:
    """Format the comparison after rescaling, with the mean of the few errors that rescaling is meant to lower."""
    chosen = {metric: summary["mean"][metric] for metric in _RESCALED_ROWS if metric in summary["mean"]}
    return table({"mean": chosen}, [], ("host, rescaled", "SEAL, rescaled"))


def _row(metric: str, paired: Paired) -> tuple[str, str, str, str, str]:
    name, unit = _ROWS[metric]
    digits = 2 if unit == "%" else 1

    def spread(mean: float, std: float) -> str:
        return _number(mean, digits) + ("" if math.isnan(std) else f" ± {std:.{digits}f}")

    if metric == "truth_limb_symmetry_error":
        return f"{name} ({unit})", _number(paired.host_mean, digits), _number(paired.seal_mean, digits), "", ""
    difference = _number(paired.difference, digits, sign=True)
    if not math.isnan(paired.low):
        difference += f" [{paired.low:+.{digits}f}, {paired.high:+.{digits}f}]"
    # A mean that is printed as zero, such as the LSE after symmetrising, is rounding error: a percentage would mislead.
    nothing = math.isnan(paired.relative) or paired.host_mean < 0.5 / 10**digits
    relative = "-" if nothing else f"{paired.relative:+.1f} %"
    host, seal = spread(paired.host_mean, paired.host_std), spread(paired.seal_mean, paired.seal_std)
    return f"{name} ({unit})", host, seal, difference, relative


def _number(value: float, digits: int, *, sign: bool = False) -> str:
    return "-" if math.isnan(value) else f"{value:{'+' if sign else ''}.{digits}f}"


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


def write_json(path: Path, runs: Sequence[Run], summary: Mapping[str, Mapping[str, Paired]], **stamp: Any) -> None:
    """Write the stamp, every run with its curves, and the statistics as JSON, in which a missing value is null."""
    content = {**stamp, "runs": list(runs), "summary": summary}
    path.write_text(json.dumps(_finite(content), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    """Turn dataclasses into dicts, and NaN and infinity into None: JSON knows no name for either."""
    if is_dataclass(value) and not isinstance(value, type):
        return _finite(asdict(value))
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_csv(path: Path, runs: Sequence[Run], stamp: Mapping[str, str]) -> None:
    """Write one line per method, seed, scope and metric, which ends in the values of the stamp."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "seed", "scope", "metric", "value", *stamp])
        for run in runs:
            measured = {"wall_time": run.wall_time, "steps": run.steps}
            blocks = [(run.method, *item) for item in [*run.scores.items(), ("mean", measured)]]
            blocks += [(f"{run.method}, rescaled", *item) for item in run.rescaled.items()]
            for method, scope, scores in blocks:
                for name, value in scores.items():
                    writer.writerow([method, run.seed, scope, name, repr(value), *stamp.values()])


def curves(runs: Sequence[Run]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Arrange what SEAL logged in training for `plotting.plot_comparison`: a panel per quantity, a line per seed."""
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run in runs:
        for name, title in _PANELS.items():
            if name in run.curves:
                panels.setdefault(title, {})[f"seed {run.seed}"] = run.curves[name]
    return panels
