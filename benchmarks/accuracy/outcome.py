"""What became of a method of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accuracy.errors import Rescaling
from benchmarks.accuracy.statistics import Array, ClipSums

__all__ = ["Outcome", "Rescaled"]


class Rescaled(NamedTuple):
    """The rescaling with the best primary end point on validation, and the primary errors after it."""

    how: Rescaling
    errors: ClipSums


@dataclass
class Outcome:
    """What became of a method.

    Args:
        runs: Lines of the results, a seed each.
        raw: Errors of the predictions: (errors, seeds, clips).
        by_pose: After the best rescaling of single poses.
        by_clip: After the best rescaling of those that first give every clip its mean lengths.
        frontier: Means of the primary errors after every rescaling (rescalings, 3).
        tail: Sorted MPJPE of all poses and seeds, for the picture.
    """

    runs: list[Mapping[str, Any]]
    raw: ClipSums
    by_pose: Rescaled
    by_clip: Rescaled
    frontier: Array
    tail: Array

    @property
    def curve(self) -> tuple[Array, Array]:
        """Steps, and the mean validation MPJPE (m) there; runs that were validated more often are interpolated."""
        curves = [np.transpose(run["curve"]) for run in self.runs]
        steps = min((steps for steps, _ in curves), key=len)
        return steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)
