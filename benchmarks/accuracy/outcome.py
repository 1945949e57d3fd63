"""The outcome of one method of a study: its runs, its errors, and its best rescalings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmarks.accuracy.errors import Rescaling
from benchmarks.accuracy.statistics import Array, ClipSums

__all__ = ["Outcome", "Rescaled"]


class Rescaled(NamedTuple):
    """The rescaling with the best primary end point on validation, and the primary errors that are left after it."""

    how: Rescaling
    errors: ClipSums


@dataclass
class Outcome:
    """The outcome of one method.

    Args:
        runs: Lines of the results, one per seed.
        raw: Errors of the predictions as they are, (errors, seeds, clips).
        by_pose: The best rescaling that looks at single poses.
        by_clip: The best rescaling among those that first give every bone its mean length over the clip.
        frontier: Means of the primary errors after every rescaling of single poses, shape (rescalings, 3).
        tail: MPJPE of all poses of all seeds in ascending order, for the picture.
    """

    runs: list[Mapping[str, Any]]
    raw: ClipSums
    by_pose: Rescaled
    by_clip: Rescaled
    frontier: Array
    tail: Array

    @property
    def curve(self) -> tuple[Array, Array]:
        """Steps, and the mean validation MPJPE over the seeds at these steps, in metres.

        Runs may have been validated at different steps: all are interpolated at those of the run with the fewest.
        """
        curves = [np.transpose(run["curve"]) for run in self.runs]
        steps = min((steps for steps, _ in curves), key=len)
        return steps, np.mean([np.interp(steps, *curve) for curve in curves], axis=0)
