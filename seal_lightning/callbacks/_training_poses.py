"""What poses and bodies of a training look like, measured while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from seal_lightning.error_estimate.training import View
from seal_lightning.evaluation.free_scores import TrainingPoses
from seal_lightning.functional import bone_lengths, root_align
from seal_lightning.skeleton import Skeleton

__all__ = ["TrainingPoseMoments"]


class TrainingPoseMoments:
    """Mean and covariance of the true poses of one process, and their mean bone lengths, batch by batch.

    Poses with a joint that does not count are left out. Nothing waits for the device.

    Args:
        skeleton: The joints.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        numbers = 3 * skeleton.num_joints
        self._count, self._mean = torch.zeros(()), torch.zeros(numbers)
        self._spread = torch.zeros(numbers, numbers)  # sum of the outer products of differences from the mean
        self._lengths = torch.zeros(len(skeleton.bones))  # mean

    @torch.no_grad()
    def update(self, view: View) -> None:
        """Take the true poses of a step."""
        target = view.target.float()
        counts = target.isfinite().all(-1).all(-1)
        if view.visibility is not None:
            counts = counts & view.visibility.bool().all(-1)
        if view.labelled is not None:
            counts = counts & view.labelled.bool().view(-1, *[1] * (counts.dim() - 1))
        weight = counts.flatten().float()[:, None]
        # Zero where it does not count, for NaN times zero is NaN.
        poses = target.flatten(0, -3).where(counts.flatten()[:, None, None], 0.0)
        rows = root_align(poses, self.skeleton.root_joints).flatten(1)
        self._to(rows.device)
        number = weight.sum()
        total = (self._count + number).clamp(min=1.0)
        # Chan, Golub and LeVeque: the sums of both parts about their own means, and what the two means lie apart.
        mean = (weight * rows).sum(0) / number.clamp(min=1.0)
        about = weight * (rows - mean)
        apart = mean - self._mean
        between = self._count * number / total * torch.outer(apart, apart)
        self._spread = self._spread + about.T @ about + between
        self._mean = self._mean + apart * number / total
        lengths = (weight * bone_lengths(poses, self.skeleton)).sum(0) / number.clamp(min=1.0)
        self._lengths = self._lengths + (lengths - self._lengths) * number / total
        self._count = self._count + number

    def poses(self) -> TrainingPoses | None:
        """What was measured, in the unit of the poses; None where there were fewer than two."""
        if self._count < 2:
            return None
        mean, spread, lengths, count = (
            part.cpu().double() for part in (self._mean, self._spread, self._lengths, self._count)
        )
        return TrainingPoses(self.skeleton, mean.view(-1, 3), spread / (count - 1), lengths)

    def state_dict(self) -> dict[str, Tensor]:
        """All that was measured."""
        return {"count": self._count, "mean": self._mean, "spread": self._spread, "lengths": self._lengths}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` returned."""
        self._count, self._mean, self._spread, self._lengths = (
            state[name] for name in ("count", "mean", "spread", "lengths")
        )

    def _to(self, device: torch.device) -> None:
        self._count, self._mean, self._spread, self._lengths = (
            part.to(device) for part in (self._count, self._mean, self._spread, self._lengths)
        )
