"""The high tail of the errors of single poses: percentiles, and the mean of the worst."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.statistics import Array, ByClip

__all__ = ["TAIL", "PoseErrors"]

TAIL = ("mean", "95th percentile", "99th percentile", "worst 5 %")
"""What `PoseErrors` measures, beside the mean for comparison."""


@dataclass(frozen=True)
class PoseErrors(ByClip):
    """The error of every pose, measured by its mean and its high tail.

    Percentiles are those of the poses of a skeleton, and are averaged over skeletons, datasets and seeds as means are.

    Args:
        skeleton: Skeleton of each clip (clips,), as an index into ``names``.
        names: Names of the skeletons, in the form "dataset/skeleton".
        errors: Errors of the poses (..., seeds, N).
        place: Clip of every pose (N,), as an index into ``skeleton``.
    """

    errors: Array
    place: NDArray[np.int64]

    @classmethod
    def of(cls, errors: Array, clip: NDArray[np.int64], group: NDArray[np.int64], names: Sequence[str]) -> PoseErrors:
        """Keep errors (..., seeds, N); `clip` and `group` (N,) are the clip and the skeleton of every pose."""
        _, first, place = np.unique(clip, return_index=True, return_inverse=True)
        return cls(group[first], names, errors, place)

    def measure(self, skeleton: int, times: Array) -> Array:
        """Return the measurements in `TAIL` (replicates, ..., 4, seeds)."""
        clips = np.flatnonzero(self.skeleton == skeleton)
        members = np.isin(self.place, clips)
        column = np.searchsorted(clips, self.place[members])
        *leading, seeds, _ = self.errors.shape
        result = np.empty((len(times), *leading, len(TAIL), seeds))
        for *index, seed in np.ndindex(*leading, seeds):
            errors = self.errors[(*index, seed)][members]
            order = np.argsort(errors)
            result[(slice(None), *index, slice(None), seed)] = _tail(errors[order], times[:, column[order]])
        return result


def _tail(errors: Array, times: Array) -> Array:
    """Measure ascending errors (N,), each of which counts `times` (replicates, N); return (replicates, 4)."""
    reached = times.cumsum(1)
    whole = reached[:, -1:]
    percentiles = [errors[(reached < share * whole - 1e-9).sum(1)] for share in (0.95, 0.99)]
    # What each error adds to the worst 5 %: all of it, or of the last one a part.
    worst = np.clip(reached - 0.95 * whole, 0, times)
    return np.stack([times @ errors / whole[:, 0], *percentiles, worst @ errors / worst.sum(1)], axis=1)
