"""The tables of the study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.rivals import Boosting, errors, scores
from benchmarks.error_estimate.stored import H36M, Arrays
from benchmarks.error_estimate.study import CriticStudy
from benchmarks.error_estimate.use import fusion, smoothing
from seal_lightning.evaluation import TrainingPoses, assess, conformal_factor

__all__ = ["report"]

TESTS = ("test clean", "test mixed", "test unseen", "kinect test")
Table: TypeAlias = dict[str, dict[str, float]]

ESTIMATES = ("boosting", "critic", "head")  # in millimetres


class Scored(NamedTuple):
    """A data set of a run: errors and scores of its poses (N,) and joints (N, J), and the numbers of their groups."""

    group: Tensor
    error: Tensor
    joint_error: Tensor
    whole: dict[str, Tensor]
    joint: dict[str, Tensor]


def report(study: CriticStudy, folder: Path, names: Sequence[str]) -> str:
    """Return all tables in Markdown: the mean over the folds and, behind it, their range."""
    parts = []
    for name in names:
        folds = [fold for fold in study.hosts[name].folds if _runs(folder, study, name, fold)]
        tables = [_fold(study, folder, name, fold) for fold in folds]
        if tables:
            parts += [f"## {name}", f"folds {', '.join(map(str, folds))}; seeds {tables[0]['seeds']}"]
            titles = [title for title in tables[0] if title != "seeds"]
            for title in titles:
                parts += [title, _mean_table([table[title] for table in tables])]
    return "\n\n".join(parts)


def _fold(study: CriticStudy, folder: Path, name: str, fold: int) -> dict[str, Any]:
    """The tables of a fold, which are kept in a file until there is another seed."""
    paths = _runs(folder, study, name, fold)
    kept = folder / f"tables-{name.replace(' ', '_')}-{fold}.json"
    if kept.exists():
        tables: dict[str, Any] = json.loads(kept.read_text())
        if tables["seeds"] == list(paths):
            return tables
    run, *others = (_read(path) for path in paths.values())
    estimate = _boosting(run, others)
    sets = _scored(run, estimate)
    tables = {
        "seeds": list(paths),
        "MPJPE in mm": {"flip-averaged": {data: _macro(sets[data].error, sets[data].group) for data in TESTS}},
        "AUROC of the worst tenth, poses": _pose_quality(sets),
        "AUROC of the worst tenth, joints": _joint_quality(sets),
        "Estimates in mm": _millimetres(sets),
        "Bounds for 90 %": _bounds(sets),
    }
    if "clips val" in run:
        tables |= {"Smoothing, MPJPE in mm": smoothing(run, estimate), "Two views, MPJPE in mm": fusion(run, estimate)}
    kept.write_text(json.dumps(tables))
    return tables


def _runs(folder: Path, study: CriticStudy, name: str, fold: int) -> dict[int, Path]:
    """The files of the seeds that are finished; that of the first seed has to be."""
    seeds = study.hosts[name].seeds
    paths = {seed: folder / f"{name.replace(' ', '_')}-{fold}-{seed}.npz" for seed in seeds}
    return {seed: path for seed, path in paths.items() if path.exists()} if paths[seeds[0]].exists() else {}


def _read(path: Path) -> dict[str, Arrays]:
    sets: dict[str, Arrays] = {}
    with np.load(path) as file:
        for key in file.files:
            data, _, array = key.partition("/")
            sets.setdefault(data, {})[array] = file[key]
    return sets


def _boosting(run: Mapping[str, Arrays], others: Sequence[Mapping[str, Arrays]]) -> Callable[[str], Any]:
    """From the name of a data set to its free scores and the estimates of the trees."""
    training = TrainingPoses.of(torch.from_numpy(run["train"]["target"]), H36M)

    def found(data: str) -> Any:
        return scores(run[data], training, [other[data] for other in others])

    trees = Boosting.fit(*found("train"), *errors(run["train"]["pose"], run["train"]))

    def estimate(data: str) -> Any:
        whole, joint = found(data)
        return whole, joint, trees.estimate(whole, joint)

    return estimate


def _scored(run: Mapping[str, Arrays], estimate: Callable[[str], Any]) -> dict[str, Scored]:
    result = {}
    for data in ("val", *TESTS):
        arrays = run[data]
        whole, joint, (boosted, joint_boosted) = estimate(data)
        whole, joint = whole | {"boosting": boosted}, joint | {"boosting": joint_boosted}
        if "critic" in arrays:
            whole["critic"], joint["critic"] = (torch.from_numpy(arrays[key]) for key in ("critic", "critic_joint"))
        if "head" in arrays:
            joint["head"] = 1e3 * torch.from_numpy(arrays["head"])
            whole["head"] = joint["head"].mean(dim=1)
        # The root is what poses are aligned to: it has no error.
        joint = {name: values[:, 1:].double().nan_to_num(0.0) for name, values in joint.items()}
        error, joint_error = errors(arrays["pose"], arrays)
        result[data] = Scored(torch.from_numpy(arrays["group"]), error, joint_error[:, 1:], whole, joint)
    return result


def _pose_quality(sets: Mapping[str, Scored]) -> Table:
    names = sets[TESTS[0]].whole
    return {
        name: {data: assess(sets[data].whole[name], sets[data].error, sets[data].group).auroc for data in TESTS}
        for name in names
    }


def _joint_quality(sets: Mapping[str, Scored]) -> Table:
    """Of each joint by itself, then the mean over the joints: a wrist is further off than a hip in every pose."""

    def mean(data: str, name: str) -> float:
        part = sets[data]
        columns = zip(part.joint[name].unbind(1), part.joint_error.unbind(1), strict=True)
        return float(np.mean([assess(score, error, part.group).auroc for score, error in columns]))

    return {name: {data: mean(data, name) for data in TESTS} for name in sets[TESTS[0]].joint}


def _millimetres(sets: Mapping[str, Scored]) -> Table:
    rows: Table = {}
    for data in TESTS:
        part = sets[data]
        for name in (name for name in ESTIMATES if name in part.whole):
            joint_group = part.group[:, None].expand_as(part.joint_error).flatten()
            pose = assess(part.whole[name], part.error, part.group)
            joints = assess(part.joint[name].flatten(), part.joint_error.flatten(), joint_group)
            for level, found in (("poses", pose), ("joints", joints)):
                row = rows.setdefault(f"{name}, {level}", {})
                row[f"{data}: bias %"], row[f"off, mm ({data})"] = 100 * found.bias, found.deviation
    return rows


def _bounds(sets: Mapping[str, Scored]) -> Table:
    """Coverage and width of bounds that are calibrated on the validation skeletons."""
    rows: Table = {}
    val = sets["val"]
    usual = {"pose": val.error.mean(), "joints": val.joint_error.mean(dim=0)}
    for level in ("pose", "joints"):
        constant: dict[str, float] = {}
        for name in ("constant", *ESTIMATES):
            if name != "constant" and name not in val.whole:
                continue
            for by in ("person", "all"):
                factor = conformal_factor(*_flat(val, level, name, usual, by))
                row = rows.setdefault(f"{name}, {level}, by {by}", {})
                for data in TESTS:
                    estimate, error, group = _flat(sets[data], level, name, usual, "person")
                    inside = (error <= factor * estimate).double()
                    groups = [float(inside[group == one].mean()) for one in group.unique()]
                    width = factor * _macro(estimate, group)
                    constant.setdefault(f"{data}{by}", width)
                    row[f"{data} covered %"], row[f"{data} worst %"] = 100 * float(np.mean(groups)), 100 * min(groups)
                    row[f"{data} width"] = width / constant[f"{data}{by}"]
    return rows


def _flat(part: Scored, level: str, name: str, usual: Mapping[str, Tensor], by: str) -> tuple[Tensor, Tensor, Tensor]:
    error = part.error if level == "pose" else part.joint_error
    found = part.whole if level == "pose" else part.joint
    estimate = usual[level].expand_as(error) if name == "constant" else found[name]
    group = part.group if level == "pose" else part.group[:, None].expand_as(error)
    group = group if by == "person" else torch.zeros_like(group)
    return estimate.double().flatten(), error.double().flatten(), group.flatten()


def _macro(values: Tensor, group: Tensor) -> float:
    return float(np.mean([float(values[group == one].double().mean()) for one in group.unique()]))


def _mean_table(tables: Sequence[Table]) -> str:
    """Mean over the folds and, behind it, their range: millimetres and percent with one digit, shares with three."""
    rows = list(dict.fromkeys(row for table in tables for row in table))
    columns = list(dict.fromkeys(column for table in tables for row in table.values() for column in row))
    lines = ["| | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for row in rows:
        cells = []
        for column in columns:
            values = [table[row][column] for table in tables if column in table.get(row, {})]
            digits = (
                1 if any(mark in column for mark in ("%", "mm", "clips", "views")) or max(values, default=0) > 2 else 3
            )
            spread = f" ({min(values):.{digits}f}-{max(values):.{digits}f})" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.{digits}f}{spread}" if values else "-")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
