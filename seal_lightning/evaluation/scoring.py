"""Scores the predictions that SEAL captures from a model's steps, whatever the model itself logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.evaluation.groups import group_masks
from seal_lightning.functional import scale_align
from seal_lightning.metrics import BodySegmentLengthError, LimbSymmetryError, PoseMetrics
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch

__all__ = ["MILLIMETRES", "PoseScorer"]

MILLIMETRES = {"mm": 1.0, "m": 1000.0}


class PoseScorer(Callback):
    """Scores every captured validation or test batch, group by group, in millimetres and percent.

    The batch's entry ``"group"`` (B,) tells the group of each sample, as an index into ``group_names``. Without that
    entry, or without ``group_names``, all samples form one group named ``"all"``.

    Args:
        unit: Unit of the poses.
        group_names: Names of the groups, in the form "dataset/skeleton".
    """

    def __init__(self, unit: Literal["m", "mm"], group_names: Sequence[str] | None = None) -> None:
        self.group_names = group_names
        self.factor = MILLIMETRES[unit]
        self.metrics: dict[str, _GroupMetrics] = {}

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score a test batch."""
        self._score(pl_module, batch)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Score a validation batch."""
        self._score(pl_module, batch)

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the metrics, by name, of every group that has data.

        Raises:
            ValueError: If nothing was scored.
        """
        if not self.metrics:
            raise ValueError("Expected the loader to yield labelled poses to score, but got none.")
        order = {name: index for index, name in enumerate(self.group_names or ())}
        return {name: self.metrics[name].compute() for name in sorted(self.metrics, key=lambda n: order.get(n, 0))}

    def _score(self, module: Any, batch: Any) -> None:
        self.score(module.seal_captured, module.seal.skeleton, batch)

    def score(self, captured: SealBatch, skeleton: Skeleton, batch: Any) -> None:
        """Score the labelled poses of one batch.

        Raises:
            ValueError: If there is no target, or the batch's ``"group"`` does not have one entry per sample.
        """
        if captured.target is None:
            raise ValueError("Expected a `target` to score predictions against, but got None.")
        prediction, target = captured.prediction.detach() * self.factor, captured.target * self.factor
        everything = torch.ones(len(prediction), dtype=torch.bool, device=prediction.device)
        labelled = everything if captured.labelled is None else captured.labelled
        for name, members in group_masks(batch, self.group_names, everything).items():
            rows = members & labelled
            if rows.any():
                visibility = None if captured.visibility is None else captured.visibility[rows]
                if name not in self.metrics:
                    self.metrics[name] = _GroupMetrics(skeleton, prediction)
                self.metrics[name].update(prediction[rows], target[rows], visibility)


class _GroupMetrics:
    """The metrics of one group; its poses are in millimetres."""

    def __init__(self, skeleton: Skeleton, like: Tensor) -> None:
        # An acceleration takes three frames.
        self.pose = PoseMetrics(skeleton, unit="mm", temporal=like.dim() == 4 and like.shape[1] > 2).to(like.device)
        self.truth = LimbSymmetryError(skeleton).to(like.device)
        self.scaled = BodySegmentLengthError(skeleton).to(like.device)

    def update(self, prediction: Tensor, target: Tensor, visibility: Tensor | None) -> None:
        self.pose.update(prediction, target, visibility)
        self.truth.update(target, None, visibility)
        centred = _centred(prediction, visibility), _centred(target, visibility)
        self.scaled.update(scale_align(*centred, visibility=visibility), target, visibility)

    def compute(self) -> dict[str, float]:
        scores = {name: float(value) for name, value in self.pose.compute().items()}
        return scores | {
            "truth_limb_symmetry_error": float(self.truth.compute()),
            "scaled_body_segment_length_error": float(self.scaled.compute()),
        }


def _centred(pose: Tensor, visibility: Tensor | None) -> Tensor:
    """Move the mean of the visible joints to the origin: the best scale must not depend on where a pose stands."""
    if visibility is None:
        return pose - pose.mean(dim=-2, keepdim=True)
    seen = visibility.bool().unsqueeze(-1)
    count = seen.sum(dim=-2, keepdim=True).clamp(min=1)
    return pose - torch.where(seen, pose, 0.0).sum(dim=-2, keepdim=True) / count
