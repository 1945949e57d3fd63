"""The outcome of one method of a study: its runs, its errors, and what is best done to its predictions afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy.errors import (
    ERRORS,
    FRAME_RESCALINGS,
    RESCALINGS,
    EvaluationSet,
    Rescaling,
    pose_errors,
    rescale,
)
from benchmarks.accuracy.lengths import RescaledErrors
from benchmarks.accuracy.statistics import Array, ClipSums, geometric_mean
from benchmarks.accuracy.tail import PoseErrors

__all__ = ["PRIMARY", "Outcome", "Predictions", "Rescaled", "outcome", "sums"]

PRIMARY = ("MPJPE", "BSLE", "asymmetry")
"""The primary errors. The primary end point is the geometric mean of their ratios to those of the reference."""


class Rescaled(NamedTuple):
    """The rescaling with the best primary end point on validation, and what is left after it."""

    how: Rescaling
    errors: ClipSums
    """All errors (errors, seeds, clips)."""
    score: float
    """Geometric mean of the primary errors on validation, for choosing among methods."""

    def of(self, names: Sequence[str]) -> ClipSums:
        """Return these errors alone (names, seeds, clips)."""
        rows = [tuple(ERRORS).index(name) for name in names]
        return ClipSums(self.errors.skeleton, self.errors.names, self.errors.total[rows], self.errors.count)


@dataclass
class Outcome:
    """The outcome of one method.

    Args:
        runs: Lines of the results, one per seed.
        raw: Errors of the predictions as they are, (errors, seeds, clips).
        best: The best of all rescalings and filters.
        by_frame: The best rescaling that looks at single poses.
        tail: MPJPE of every pose as predicted and after the best rescaling, (2, seeds, N).
        flipped: Mean MPJPE with flip averaging alone; None where there are no such predictions.
    """

    runs: list[Mapping[str, Any]]
    raw: ClipSums
    best: Rescaled
    by_frame: Rescaled
    tail: PoseErrors
    flipped: float | None = None

    @property
    def curve(self) -> tuple[Array, Array]:
        """Steps, and the mean validation MPJPE over the seeds at these steps, in metres.

        Runs may have been validated at different steps: all are interpolated at those of the run with the fewest.
        """
        curves = [np.transpose(run["curve"]) for run in self.runs]
        steps = min((steps for steps, _ in curves), key=len)
        return steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)


class Predictions(NamedTuple):
    """The predictions of a method for a split, one tensor (N, J, 3) per seed."""

    single: list[Tensor]
    flipped: list[Tensor] | None
    """Averaged with the mirrored predictions of mirrored keypoints; None if a run has none, as old ones do."""

    @classmethod
    def read(cls, files: Sequence[Path], split: str) -> Predictions:
        """Read the predictions of the seeds from their files."""
        stored = [np.load(file) for file in files]
        single, flipped = (
            [torch.from_numpy(npz[name]).flatten(0, -3) for npz in stored if name in npz]
            for name in (split, f"{split}_flips")
        )
        return cls(single, flipped if len(flipped) == len(single) else None)

    def after(self, how: Rescaling, data: EvaluationSet) -> list[Tensor]:
        """Return the rescaled predictions."""
        chosen = self.flipped if how.flips else self.single
        if chosen is None:
            raise ValueError("Expected predictions that are averaged with mirrored ones, but got none: run them again.")
        return [rescale(pose, how, data) for pose in chosen]


def outcome(
    runs: list[Mapping[str, Any]], files: Sequence[Path], sets: Mapping[str, EvaluationSet], split: str
) -> Outcome:
    """Score the predictions of a method.

    Args:
        runs: Lines of the results, one per seed.
        files: The files of their predictions.
        sets: The true poses of "val", from which the rescaling is chosen, and of the split.
        split: "val" or "test".
    """
    validation, predictions = (Predictions.read(files, part) for part in ("val", split))
    # The rescaling is chosen on validation whatever the split: choosing it on the test split would flatter the method.
    scores = _scores(validation, sets["val"])
    chosen, data = [], sets[split]
    for choice in (RESCALINGS, FRAME_RESCALINGS):
        best = min((how for how in choice if how in scores), key=scores.__getitem__)
        chosen.append(Rescaled(best, sums(predictions.after(best, data), data), scores[best]))
    tail = [[_distances(pose, data) for pose in predictions.after(how, data)] for how in (Rescaling(), chosen[0].how)]
    flipped = None
    if predictions.flipped is not None:
        flipped = float(sums(predictions.flipped, data, ["MPJPE"]).mean().mean())
    return Outcome(
        runs,
        sums(predictions.single, data),
        *chosen,
        PoseErrors.of(np.array(tail), data.clip.numpy(), data.group.numpy(), data.names),
        flipped,
    )


def _distances(pose: Tensor, data: EvaluationSet) -> Array:
    distances: Array = pose_errors(pose, data, ["MPJPE"])["MPJPE"].double().numpy()
    return distances


def _scores(predictions: Predictions, data: EvaluationSet) -> dict[Rescaling, float]:
    """Geometric mean of the primary errors after each rescaling that there are predictions for."""
    seeds, scores = len(predictions.single), {}
    repeated = replace(data, target=data.target.repeat(seeds, 1, 1))
    for first in {how._replace(alpha=0.0, symmetrise=False) for how in RESCALINGS}:
        if first.flips and predictions.flipped is None:
            continue
        begun = RescaledErrors(torch.cat(predictions.after(first, data)), repeated)
        for how in RESCALINGS:
            if how._replace(alpha=0.0, symmetrise=False) == first:
                each = begun.of(how.alpha, how.symmetrise).double().numpy().reshape(len(PRIMARY), seeds, -1)
                scores[how] = float(geometric_mean(_by_clip(each, data).mean().mean(-1)))
    return scores


def _by_clip(errors: Array, data: EvaluationSet) -> ClipSums:
    return ClipSums.of(errors, data.clip.numpy(), data.group.numpy(), data.names)


def sums(poses: Sequence[Tensor], data: EvaluationSet, names: Sequence[str] = tuple(ERRORS)) -> ClipSums:
    """Sums over clips of the errors of poses, (errors, seeds, clips); `poses` holds those of each seed."""
    seeds = [pose_errors(pose, data, names) for pose in poses]
    return _by_clip(np.stack([np.stack([seed[name].double().numpy() for seed in seeds]) for name in names]), data)
