"""Scores that need no true poses, accumulated over batches for each group."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from seal_lightning.functional import bone_lengths, limb_symmetry_error
from seal_lightning.functional.label_free import reprojection_error
from seal_lightning.functional.poses import both_ends
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch

__all__ = ["LabelFreeScores"]


class LabelFreeScores:
    """Limb symmetry error, bone length variation and reprojection error of predictions, and of true poses if known.

    Args:
        skeleton: The joints.
        focal: Focal length for `reprojection_error`.
    """

    def __init__(self, skeleton: Skeleton, focal: float | None) -> None:
        self.skeleton, self.focal = skeleton, focal
        self._sums: dict[str, dict[str, _Sums]] = {}

    def update(self, group: str, captured: SealBatch, members: Tensor) -> None:
        """Add those samples of a batch that `members`, bool (B,), assigns to the group."""
        self._add(group, "", captured, members)
        if captured.target is not None:
            labelled = members if captured.labelled is None else members & captured.labelled
            self._add(group, "truth_", replace(captured, prediction=captured.target), labelled)

    def compute(self) -> dict[str, dict[str, float]]:
        """Percentages by group and name; NaN for the scores of true poses in a group that has none.

        Raises:
            ValueError: If no pose was added.
        """
        if not self._sums:
            raise ValueError("Expected at least one pose to score, but got none.")
        scores = {
            group: {name: value for prefix, sums in kinds.items() for name, value in sums.scores(prefix).items()}
            for group, kinds in self._sums.items()
        }
        unknown = {name: math.nan for values in scores.values() for name in values}
        return {group: unknown | values for group, values in scores.items()}

    def _add(self, group: str, prefix: str, captured: SealBatch, members: Tensor) -> None:
        if not members.any():
            return
        pose, keypoints = captured.prediction[members].float().flatten(0, -3), captured.keypoints[members]
        visibility = None if captured.visibility is None else captured.visibility[members].flatten(0, -2).bool()
        sums = self._sums.setdefault(group, {}).setdefault(prefix, _Sums(len(self.skeleton.bones)))
        sums.add(pose, keypoints.float().flatten(0, -3), visibility, self.skeleton, self.focal)


class _Sums:
    """Sums over the poses of a group, in float64 on the CPU."""

    def __init__(self, bones: int) -> None:
        self.means = {
            name: torch.zeros(2, dtype=torch.double) for name in ("limb_symmetry_error", "reprojection_error")
        }
        # Number, mean and sum of squared deviations of every bone's length. A plain sum of squares would lose the small
        # differences between lengths to rounding.
        self.count, self.mean, self.squares = torch.zeros(3, bones, dtype=torch.double).unbind()

    def add(
        self, pose: Tensor, keypoints: Tensor, visibility: Tensor | None, skeleton: Skeleton, focal: float | None
    ) -> None:
        symmetry = limb_symmetry_error(pose, skeleton, reduction="none", visibility=visibility)
        away = reprojection_error(pose, keypoints, focal=focal, reduction="none", visibility=visibility)
        for name, values in (("limb_symmetry_error", symmetry), ("reprojection_error", away)):
            known = ~values.isnan()
            sums = torch.stack((values.masked_fill(~known, 0.0).double().sum(), known.double().sum()))
            self.means[name] = self.means[name] + sums.cpu()

        lengths = bone_lengths(pose, skeleton).double()
        seen = torch.ones_like(lengths, dtype=torch.bool)
        if visibility is not None:
            seen = both_ends(visibility, skeleton)
        count = seen.sum(dim=0).double()
        mean = torch.where(seen, lengths, 0.0).sum(dim=0) / count.clamp(min=1)
        squares = torch.where(seen, lengths - mean, 0.0).square().sum(dim=0)
        count, mean, squares = count.cpu(), mean.cpu(), squares.cpu()
        # Deviations of two sets are joined by the update of Chan, Golub and LeVeque (1983).
        total = (self.count + count).clamp(min=1)
        difference = mean - self.mean
        self.squares = self.squares + squares + difference.square() * self.count * count / total
        self.mean = self.mean + difference * count / total
        self.count = self.count + count

    def scores(self, prefix: str) -> dict[str, float]:
        counted = (self.count > 1) & (self.mean > 0)
        variation = 100.0 * (self.squares[counted] / self.count[counted]).sqrt() / self.mean[counted]
        means = {name: float(total / count) for name, (total, count) in self.means.items()}
        scores = means | {"bone_length_variation": float(variation.mean())}
        return {f"{prefix}{name}": value for name, value in scores.items()}
