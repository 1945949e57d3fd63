"""Rescaling the bones of finished predictions, which costs no training: one of the rivals of a comparison."""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from seal_lightning.functional import bone_lengths, clip_mean_bones, shrink_bones, symmetrise_bones
from seal_lightning.functional.checks import as_visible
from seal_lightning.functional.poses import both_ends
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch

__all__ = ["SHARE", "TrainingLengths", "clip_lengths", "rescale"]

SHARE = 0.25  # of the way from a bone's predicted length to its mean length in training


class TrainingLengths(Callback):
    """Averages the bone lengths of the true poses that SEAL sees in training, where they are labelled and visible.

    Its attribute ``seconds`` is the time that this took, so that a comparison can subtract it from the training time.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._mean = self._count = torch.zeros(0)
        self._last: Any = None

    @property
    def lengths(self) -> Tensor:
        """Mean length per bone (J - 1,), in the unit of the poses; NaN for a bone that was never seen."""
        return torch.where(self._count > 0, self._mean, torch.nan).cpu()

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Forget an earlier training."""
        bones = len(pl_module.seal.skeleton.bones)
        self._mean, self._count = torch.zeros(bones), torch.zeros(bones, dtype=torch.int64)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        """Add the true poses of this step."""
        start = time.perf_counter()
        read, self._last, before = pl_module._seal_last, pl_module._seal_last, self._last
        # Where a step was skipped, the model holds no batch, or still that of an older step, which is counted already.
        if isinstance(read, SealBatch) and read is not before and read.target is not None:
            self._add(read.target, read, pl_module.seal.skeleton)
        self.seconds += time.perf_counter() - start

    def _add(self, target: Tensor, read: SealBatch, skeleton: Skeleton) -> None:
        lengths = bone_lengths(target.detach(), skeleton)
        counted = _bones_seen(read.visibility, lengths, skeleton)
        if read.labelled is not None:
            counted = counted & read.labelled.reshape(-1, *[1] * (lengths.dim() - 1))
        lengths, counted = lengths.flatten(0, -2), counted.flatten(0, -2)
        count = counted.sum(dim=0)
        # A running mean: a float32 sum over a long training would lose digits.
        self._mean, self._count = self._mean.to(lengths.device), self._count.to(lengths.device) + count
        self._mean += (torch.where(counted, lengths, 0.0).sum(dim=0) - count * self._mean) / self._count.clamp(min=1)


def rescale(
    pose: Tensor,
    lengths: Tensor,
    skeleton: Skeleton,
    visibility: Tensor | None = None,
    *,
    mean: bool = True,
    symmetric: bool = True,
) -> Tensor:
    """Move every bone's length 25 % of the way to a mean length, then give left and right bones their common mean.

    A bone with an invisible end keeps its length, and a pair that has such a bone gets no common mean.

    Args:
        pose: Predicted poses, shape (..., J, 3).
        lengths: Mean length per bone (J - 1,), in the unit of the poses. A bone whose mean is NaN skips the first step.
        skeleton: The skeleton of the poses.
        visibility: Mask (..., J) of the visible joints; without it all are visible. The position of an invisible joint
            has no influence on the visible ones.
        mean: Whether to take the first of the two steps.
        symmetric: Whether to take the second.

    Returns:
        Rescaled poses (..., J, 3).
    """
    pose = _hidden_at_zero(pose, visibility)
    own = bone_lengths(pose, skeleton)
    seen = _bones_seen(visibility, own, skeleton)
    shrunk = shrink_bones(pose, torch.where(seen & lengths.isfinite(), lengths, own), skeleton, SHARE) if mean else pose
    if not symmetric:
        return shrunk
    symmetrised = symmetrise_bones(shrunk, skeleton)
    if visibility is None:
        return symmetrised
    # `symmetrise_bones` knows no mask. Take its lengths where both bones of a pair are seen, else those of before, and
    # let `shrink_bones` with alpha=1 set them.
    pair_seen = seen.clone()
    for left, right in skeleton.paired_bones:
        pair_seen[..., [left, right]] = (seen[..., left] & seen[..., right]).unsqueeze(-1)
    wanted = torch.where(pair_seen, bone_lengths(symmetrised, skeleton), bone_lengths(shrunk, skeleton))
    return shrink_bones(shrunk, wanted, skeleton, alpha=1.0)


def clip_lengths(clip: Tensor, skeleton: Skeleton, visibility: Tensor | None = None) -> Tensor:
    """Give every bone of a clip the mean of its lengths over the frames in which both its ends are visible.

    Args:
        clip: Predicted clips, shape (..., T, J, 3).
        skeleton: The skeleton of the poses.
        visibility: Mask (..., T, J) of the visible joints; without it all are visible.

    Returns:
        Clips of the same shape; a bone with an invisible end keeps its length in that frame.
    """
    if visibility is None:
        return clip_mean_bones(clip, skeleton)
    clip = _hidden_at_zero(clip, visibility)
    own = bone_lengths(clip, skeleton)
    seen = _bones_seen(visibility, own, skeleton)
    count = seen.sum(dim=-2, keepdim=True).clamp(min=1)
    mean = torch.where(seen, own, 0.0).sum(dim=-2, keepdim=True) / count
    return shrink_bones(clip, torch.where(seen, mean, own), skeleton, alpha=1.0)


def _hidden_at_zero(pose: Tensor, visibility: Tensor | None) -> Tensor:
    return pose if visibility is None else torch.where(as_visible(visibility, pose).unsqueeze(-1), pose, 0.0)


def _bones_seen(visibility: Tensor | None, lengths: Tensor, skeleton: Skeleton) -> Tensor:
    """Tell for each bone whether both its ends are visible, shape (..., J - 1)."""
    if visibility is None:
        return torch.ones_like(lengths, dtype=torch.bool)
    return both_ends(visibility.bool(), skeleton)
