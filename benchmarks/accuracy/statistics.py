"""Averages over clips, skeletons and datasets, and how certain they are: a hierarchical bootstrap."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByClip", "ClipSums", "bootstrap", "geometric_mean", "holm", "interval", "p_value", "smallest_effect"]


Array = NDArray[np.float64]


@dataclass(frozen=True)
class ByClip(ABC):
    """Measurements that can be drawn anew by skeletons and clips.

    Clips are the unit that the bootstrap draws: neighbouring frames are far too alike to count as independent.

    Args:
        skeleton: Skeleton of each clip (clips,), as an index into ``names``.
        names: Names of the skeletons, in the form "dataset/skeleton".
    """

    skeleton: NDArray[np.int64]
    names: Sequence[str]

    @abstractmethod
    def measure(self, skeleton: int, times: Array) -> Array:
        """Return the measurements (replicates, ...) of one skeleton.

        Args:
            skeleton: Its index into ``names``.
            times: How often each of its clips counts in each replicate (replicates, clips).
        """

    def datasets(self) -> dict[str, list[int]]:
        """Return the skeletons that have clips, as indices into ``names``, by dataset."""
        found: dict[str, list[int]] = {}
        for skeleton in np.unique(self.skeleton).tolist():
            found.setdefault(self.names[skeleton].split("/")[0], []).append(skeleton)
        return found

    def mean(self) -> Array:
        """Return the measurement of every skeleton, averaged over skeletons and then over datasets, shape (...)."""
        mean: Array = np.mean(list(self.by_dataset().values()), axis=0)
        return mean

    def by_dataset(self) -> dict[str, Array]:
        """Return for every dataset the mean over its skeletons, shape (...)."""
        return {name: np.mean([self._of(one) for one in members], axis=0) for name, members in self.datasets().items()}

    def _of(self, skeleton: int) -> Array:
        once: Array = self.measure(skeleton, np.ones((1, int((self.skeleton == skeleton).sum()))))[0]
        return once

    def resampled(self, replicates: int, generator: np.random.Generator) -> Array:
        """Return means (replicates, ...) over skeletons drawn from each dataset, and clips drawn from each skeleton.

        Both are drawn with replacement. In a dataset with one skeleton there is nothing else to draw, so the interval
        does not cover how other skeletons would differ.
        """
        per_dataset = []
        for members in self.datasets().values():
            slots = [self._slot(members, replicates, generator) for _ in members]
            per_dataset.append(np.mean(slots, axis=0))
        means: Array = np.mean(per_dataset, axis=0)
        return means

    def _slot(self, members: Sequence[int], replicates: int, generator: np.random.Generator) -> Array:
        """Draw one skeleton for each replicate, and clips from it; return the measurements (replicates, ...)."""
        drawn = generator.integers(len(members), size=replicates)
        parts = []
        for place, skeleton in enumerate(members):
            clips = int((self.skeleton == skeleton).sum())
            # How many times each clip is drawn: one product with these replaces a loop over the replicates.
            times = generator.multinomial(clips, np.full(clips, 1 / clips), size=int((drawn == place).sum()))
            parts.append(self.measure(skeleton, times.astype(float)))
        result = np.empty((replicates, *parts[0].shape[1:]))
        for place, part in enumerate(parts):
            result[drawn == place] = part
        return result


@dataclass(frozen=True)
class ClipSums(ByClip):
    """Errors summed over the poses of each clip, which are measured by their mean over the poses.

    Args:
        skeleton: Skeleton of each clip (clips,), as an index into ``names``.
        names: Names of the skeletons, in the form "dataset/skeleton".
        total: Sums (..., clips) of errors over the poses of a clip.
        count: Number of poses of each clip (clips,).
    """

    total: Array
    count: Array

    @classmethod
    def of(cls, errors: Array, clip: NDArray[np.int64], group: NDArray[np.int64], names: Sequence[str]) -> ClipSums:
        """Sum errors (..., N) over the poses of each clip; `clip` and `group` (N,) are its clip and skeleton."""
        clips, first, place = np.unique(clip, return_index=True, return_inverse=True)
        total = np.zeros((*errors.shape[:-1], len(clips)))
        for index in np.ndindex(errors.shape[:-1]):
            total[index] = np.bincount(place, errors[index], len(clips))
        return cls(group[first], names, total, np.bincount(place).astype(float))

    def measure(self, skeleton: int, times: Array) -> Array:
        """Return means over the poses (replicates, ...)."""
        clips = self.skeleton == skeleton
        total = np.tensordot(times, self.total[..., clips], axes=(1, -1))
        count = times @ self.count[clips]
        return np.asarray(total / count.reshape(-1, *[1] * (total.ndim - 1)))


def bootstrap(sums: ByClip, replicates: int = 2000, seed: int = 0) -> Array:
    """Resample skeletons, clips and seeds of measurements (..., seeds), and return their means (replicates, ...).

    All leading axes get the same draws. A difference between two methods is thus paired by clip and by seed, and what
    makes a clip hard for both drops out.
    """
    generator = np.random.default_rng(seed)
    means = sums.resampled(replicates, generator)
    seeds = means.shape[-1]
    times = generator.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates) / seeds
    return np.einsum("r...s,rs->r...", means, times)


def interval(replicates: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that holds the share `level` of the replicates."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def p_value(replicates: Array) -> float:
    """Return the two-sided p-value: twice the share of replicates on the rarer side of zero.

    That share is taken to be at least one replicate, since a bootstrap cannot tell a smaller one from zero.
    """
    below = float(np.mean(replicates <= 0))
    return min(1.0, 2 * max(min(below, 1 - below), 1 / len(replicates)))


def smallest_effect(replicates: Array) -> float:
    """Return the effect that would have been found in four of five studies like this: 2.8 standard errors.

    That is the sum of the normal quantiles of 97.5 % (two-sided test at 5 %) and of 80 %.

    Example:
        >>> smallest_effect(np.array([-1.0, 1.0]))
        2.8
    """
    return round(2.8 * float(np.std(replicates)), 12)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjust p-values for their number with Holm's method (1979), so that one false alarm among all stays as rare.

    Example:
        >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
        {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, (name, value) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * value))
        adjusted[name] = largest
    return adjusted


def geometric_mean(ratios: Array) -> Array:
    """Return the geometric mean over the last axis."""
    return np.asarray(np.exp(np.log(ratios).mean(-1)))
