"""The tables of one run of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.rivals import Learned, errors, scores
from benchmarks.error_estimate.stored import H36M, Arrays
from benchmarks.error_estimate.use import fusion, smoothing
from seal_lightning.evaluation import TrainingPoses, assess, conformal_factor

__all__ = ["ESTIMATES", "TESTS", "Scored", "ScoredRun", "Table", "tables"]

TESTS = ("test clean", "test mixed", "test unseen", "kinect test")
ESTIMATES = ("boosting", "small net", "critic", "head")  # in millimetres
Table: TypeAlias = dict[str, dict[str, float]]


class Scored(NamedTuple):
    """A data set of a run: errors and scores of its poses (N,) and joints (N, J), and the numbers of their groups."""

    group: Tensor
    error: Tensor
    joint_error: Tensor
    whole: dict[str, Tensor]
    joint: dict[str, Tensor]


class ScoredRun:
    """Data sets of a run with the scores of all rivals; each is scored when it is first asked for.

    Args:
        run: What is stored of a host.
        others: The same of hosts with other seeds, for the spread of an ensemble.
    """

    def __init__(self, run: Mapping[str, Arrays], others: Sequence[Mapping[str, Arrays]]) -> None:
        self.run, self.others = run, others
        self._training = TrainingPoses.of(torch.from_numpy(run["train"]["target"]), H36M)
        train, labels = self._free("train"), errors(run["train"]["pose"], run["train"])
        self._learned = [Learned.fit(kind, *train, *labels) for kind in ("boosting", "small net")]
        self._scored: dict[str, Scored] = {}

    def __getitem__(self, data: str) -> Scored:
        if data not in self._scored:
            self._scored[data] = self._score(data)
        return self._scored[data]

    def _free(self, data: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        return scores(self.run[data], self._training, [other[data] for other in self.others])

    def _score(self, data: str) -> Scored:
        arrays = self.run[data]
        whole, joint = free = self._free(data)
        for learned in self._learned:
            of_pose, of_joint = learned.estimate(*free)
            whole, joint = whole | {learned.kind: of_pose}, joint | {learned.kind: of_joint}
        if "critic" in arrays:
            whole["critic"], joint["critic"] = (torch.from_numpy(arrays[key]) for key in ("critic", "critic_joint"))
        if "head" in arrays:
            joint["head"] = 1e3 * torch.from_numpy(arrays["head"])
            whole["head"] = joint["head"].mean(dim=1)
        error, joint_error = errors(arrays["pose"], arrays)
        return Scored(torch.from_numpy(arrays["group"]), error, joint_error, whole, joint)


def tables(run: Mapping[str, Arrays], others: Sequence[Mapping[str, Arrays]]) -> dict[str, Table]:
    """All tables of a run by their titles; ``others`` are runs with other seeds, for the ensemble."""
    scored = ScoredRun(run, others)
    sets = {data: _without_root(scored[data]) for data in ("val", *TESTS)}
    found = {
        "MPJPE in mm": {"one view": _error(run, "single"), "mean with the mirror image": _error(run, "pose")},
        "AUROC of the worst tenth, poses": _pose_quality(sets),
        "AUROC of the worst tenth, joints": _joint_quality(sets),
        "Estimates, off by mm": _millimetres(sets),
        "Bounds for 90 %": _bounds(sets),
    }
    if "clips val" in run:
        weights = {data: _weights(run[data], scored[data]) for data in run if data.startswith(("clips", "views"))}
        found |= {"Smoothing, MPJPE in mm": smoothing(run, weights), "Two views, MPJPE in mm": fusion(run, weights)}
    return found


def _weights(arrays: Arrays, scored: Scored) -> dict[str, Tensor]:
    """Weights of joints (N, J): one over an estimated error, or the confidence."""
    found = {
        "equal": torch.ones_like(scored.joint_error),
        "confidence": torch.from_numpy(arrays["keypoints"][..., 2]).clamp(min=0.01),
    }
    estimates = {name: scored.joint[name] for name in ESTIMATES if name in scored.joint}
    for name, estimate in (estimates | {"truth": scored.joint_error}).items():
        found[name] = 1.0 / estimate.clamp(min=1.0)
    if "critic" in found:
        found["critic and confidence"] = found["critic"] * found["confidence"].sqrt()
    return {name: weight.float() for name, weight in found.items()}


def _without_root(scored: Scored) -> Scored:
    """The root is what poses are aligned to: it has no error."""
    joint = {name: values[:, 1:].double().nan_to_num(0.0) for name, values in scored.joint.items()}
    return scored._replace(joint_error=scored.joint_error[:, 1:], joint=joint)


def _error(run: Mapping[str, Arrays], pose: str) -> dict[str, float]:
    """Mean error of poses that are stored under some name."""
    return {data: _macro(errors(run[data][pose], run[data])[0], torch.from_numpy(run[data]["group"])) for data in TESTS}


def _pose_quality(sets: Mapping[str, Scored]) -> Table:
    """How well each score tells the worst tenth of the poses."""

    def of(data: str, name: str) -> float:
        return assess(sets[data].whole[name].nan_to_num(0.0), sets[data].error, sets[data].group).auroc

    return {name: {data: of(data, name) for data in TESTS} for name in sets[TESTS[0]].whole}


def _joint_quality(sets: Mapping[str, Scored]) -> Table:
    """Of each joint by itself, then the mean over the joints: a wrist is further off than a hip in every pose."""

    def mean(data: str, name: str) -> float:
        part = sets[data]
        columns = zip(part.joint[name].unbind(1), part.joint_error.unbind(1), strict=True)
        return float(np.mean([assess(score, error, part.group).auroc for score, error in columns]))

    return {name: {data: mean(data, name) for data in TESTS} for name in sets[TESTS[0]].joint}


def _millimetres(sets: Mapping[str, Scored]) -> Table:
    """Bias and mean difference of estimates, as they come and times the scale that takes the validation's bias out."""
    rows: Table = {}
    for level in ("poses", "joints"):
        for name in (name for name in ESTIMATES if name in sets["val"].whole):
            scale = 1.0 / (1.0 + assess(*_flat(sets["val"], level, name)).bias)
            for row, factor in ((f"{name}, {level}", 1.0), (f"{name}, {level}, scaled", scale)):
                rows[row] = {}
                for data in TESTS:
                    estimate, error, group = _flat(sets[data], level, name)
                    found = assess(factor * estimate, error, group)
                    rows[row] |= {f"{data} bias %": 100 * found.bias, f"{data} off by": found.deviation}
    return rows


def _bounds(sets: Mapping[str, Scored]) -> Table:
    """Coverage and width of bounds that are calibrated on the validation skeletons."""
    rows: Table = {}
    for level in ("poses", "joints"):
        constant: dict[str, float] = {}
        for name in ("constant", *(name for name in ESTIMATES if name in sets["val"].whole)):
            usual = {"poses": sets["val"].error.mean(), "joints": sets["val"].joint_error.mean(dim=0)}[level]
            for by in ("person", "all"):
                estimate, error, group = _flat(sets["val"], level, name, usual)
                factor = conformal_factor(estimate, error, group if by == "person" else None)
                row = rows.setdefault(f"{name}, {level}, by {by}", {})
                for data in TESTS:
                    estimate, error, group = _flat(sets[data], level, name, usual)
                    inside = (error <= factor * estimate).double()
                    groups = [float(inside[group == one].mean()) for one in group.unique()]
                    width = factor * _macro(estimate, group)
                    constant.setdefault(f"{data}{by}", width)
                    row[f"{data} covered %"], row[f"{data} worst %"] = 100 * float(np.mean(groups)), 100 * min(groups)
                    row[f"{data} width"] = width / constant[f"{data}{by}"]
    return rows


def _flat(part: Scored, level: str, name: str, usual: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Estimate, error and group of every pose or joint; of ``constant`` the estimate is what is usual."""
    error, found = (part.error, part.whole) if level == "poses" else (part.joint_error, part.joint)
    estimate = found[name] if usual is None or name != "constant" else usual.expand_as(error)
    group = part.group if level == "poses" else part.group[:, None].expand_as(error)
    return estimate.double().flatten(), error.double().flatten(), group.flatten()


def _macro(values: Tensor, group: Tensor) -> float:
    return float(np.mean([float(values[group == one].double().mean()) for one in group.unique()]))
