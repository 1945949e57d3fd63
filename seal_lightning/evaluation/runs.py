"""The record of a comparison: one `Run` for every training, and how runs are paired by their seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from seal_lightning.evaluation.finishing import Finish
from seal_lightning.evaluation.statistics import Paired, Scores, compare_scores, paired_difference

__all__ = ["HOST", "Run", "curves", "paired_runs", "plain", "read_run", "summarise", "write_json"]

HOST = "host"

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
        method: ``"host"``, ``"SEAL"``, or ``"SEAL 0.1"`` where several weights are compared; or the name of a rival.
        seed: The seed of both the initial weights and the order of the data.
        steps: Number of optimizer steps taken.
        wall_time: Seconds of training, validation included.
        scores: The metrics by name for every scope (``"mean"``, a dataset, a group); lengths are in millimetres.
        curves: The points (step, value) of every quantity that was logged.
        own_best: The same as ``scores``, after the best finishing of this training's predictions.
        finish: That finishing.
        validation: The primary error on validation data of every finishing that was tried, by its description; empty
            where there was nothing to choose by.
        no_flip: Why predictions could not be flip-averaged; None where they could.
        joints: Mean error of each joint in millimetres, by name, over all scored poses.
        bones: Mean length error of each bone in percent, by the name of its outer joint.
        lengths: Mean bone lengths of the training data in millimetres; NaN for a bone that was never seen.
        weights: Digest of the trained weights of the host.
    """

    method: str
    seed: int
    steps: int
    wall_time: float
    scores: dict[str, Scores]
    curves: dict[str, list[tuple[int, float]]]
    own_best: dict[str, Scores] = field(default_factory=dict)
    finish: Finish = field(default_factory=Finish)
    validation: dict[str, float] = field(default_factory=dict)
    no_flip: str | None = None
    joints: dict[str, float] = field(default_factory=dict)
    bones: dict[str, float] = field(default_factory=dict)
    lengths: list[float] = field(default_factory=list)
    weights: str = ""


def paired_runs(runs: Sequence[Run], method: str = "SEAL", reference: str = HOST) -> tuple[list[Run], list[Run]]:
    """Separate the runs of the host and of another method: those seeds that both have, in the order of the host's."""
    other = {run.seed: run for run in runs if run.method == method}
    host = [run for run in runs if run.method == reference and run.seed in other]
    return host, [other[run.seed] for run in host]


def summarise(runs: Sequence[Run], method: str = "SEAL", reference: str = HOST) -> dict[str, dict[str, Paired]]:
    """Pair the runs by seed and compare them in every metric of every scope; the training time is under ``"mean"``."""
    host, seal = paired_runs(runs, method, reference)
    summary = compare_scores([run.scores for run in host], [run.scores for run in seal])
    summary["mean"]["wall_time"] = paired_difference([run.wall_time for run in host], [run.wall_time for run in seal])
    return summary


def curves(runs: Sequence[Run]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Arrange what SEAL logged in training for `plotting.plot_curves`: a panel per quantity, a line per run."""
    several = len({run.method for run in runs if run.curves}) > 1
    panels: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run in runs:
        label = f"{run.method}, seed {run.seed}" if several else f"seed {run.seed}"
        for name, title in _PANELS.items():
            if name in run.curves:
                panels.setdefault(title, {})[label] = run.curves[name]
    return panels


def read_run(path: Path) -> Run:
    """Read a `Run` that `write_json` has written: the same numbers bit for bit, with NaN where a value is missing."""
    content = _with_nan(json.loads(path.read_text()))
    content["finish"] = Finish(**content["finish"])
    content["curves"] = {name: [(step, value) for step, value in line] for name, line in content["curves"].items()}
    return Run(**content)


def write_json(path: Path, content: Any) -> None:
    """Write dataclasses and plain data as JSON, in which a number that is not finite is null."""
    path.write_text(json.dumps(plain(content), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Turn dataclasses into dicts, and NaN and infinity into None: JSON knows no name for either."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_nan(content: dict[str, Any]) -> dict[str, Any]:
    """Put NaN where a number was not finite: in scores, errors and curves, but not in `no_flip`, which may be None."""

    def nan(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: nan(item) for key, item in value.items()}
        if isinstance(value, list):
            return [nan(item) for item in value]
        return math.nan if value is None else value

    return {name: value if name == "no_flip" else nan(value) for name, value in content.items()}
