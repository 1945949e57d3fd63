"""Scores the predictions that SEAL captures from a model's steps, whatever the model itself logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.evaluation.rescaling import rescale
from seal_lightning.functional import scale_align
from seal_lightning.metrics import BodySegmentLengthError, LimbSymmetryError, PoseMetrics
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch

__all__ = ["PoseScorer", "by_dataset", "macro_average"]

_MILLIMETRES = {"mm": 1.0, "m": 1000.0}


class PoseScorer(Callback):
    """Scores every captured validation or test batch, group by group, in millimetres and percent.

    The batch's entry ``"group"`` (B,) tells the group of each sample, as an index into ``group_names``. Without that
    entry, or without ``group_names``, all samples form one group named ``"all"``.

    Args:
        unit: Unit of the poses.
        group_names: Names of the groups, in the form "dataset/skeleton".
        samples: Number of poses to keep for a picture.
        lengths: Mean bone lengths (J - 1,) of the training data, in ``unit``. With these, predictions are scored a
            second time after their bones are rescaled.
    """

    def __init__(
        self,
        unit: Literal["m", "mm"],
        group_names: Sequence[str] | None = None,
        samples: int = 3,
        lengths: Tensor | None = None,
    ) -> None:
        self.group_names = group_names
        self.samples = samples
        self.factor = _MILLIMETRES[unit]
        self.lengths = None if lengths is None else lengths * self.factor
        self.metrics: dict[str, _GroupMetrics] = {}
        self.rescaled_metrics: dict[str, _GroupMetrics] = {}
        self._kept: list[tuple[Tensor, Tensor]] = []

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

    @property
    def poses(self) -> list[tuple[Tensor, Tensor]]:
        """True and predicted poses (J, 3), spread evenly over the scored data."""
        return [self._kept[index] for index in _spread(self.samples, len(self._kept))]

    def scores(self) -> dict[str, dict[str, float]]:
        """Return the metrics, by name, of every group that has data.

        Raises:
            ValueError: If nothing was scored.
        """
        return self._compute(self.metrics)

    def rescaled_scores(self) -> dict[str, dict[str, float]]:
        """Return the same metrics after the bones of the predictions are rescaled.

        Raises:
            ValueError: If nothing was scored, or no ``lengths`` were given.
        """
        return self._compute(self.rescaled_metrics)

    def _compute(self, metrics: Mapping[str, _GroupMetrics]) -> dict[str, dict[str, float]]:
        if not metrics:
            raise ValueError("Expected the loader to yield labelled poses to score, but got none.")
        order = {name: index for index, name in enumerate(self.group_names or ())}
        return {name: metrics[name].compute() for name in sorted(metrics, key=lambda n: order.get(n, 0))}

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
        for name, members in self.groups(batch, everything).items():
            rows = members & labelled
            if rows.any():
                visibility = None if captured.visibility is None else captured.visibility[rows]
                scored = prediction[rows], target[rows], visibility
                _update(self.metrics, name, skeleton, *scored)
                if self.lengths is not None:
                    lengths = self.lengths.to(prediction.device)
                    moved = rescale(prediction[rows], lengths, skeleton, visibility)
                    _update(self.rescaled_metrics, name, skeleton, moved, *scored[1:])
        for index in _spread(self.samples, len(target)):
            self._kept.append((_one_pose(target[index]), _one_pose(prediction[index])))

    def groups(self, batch: Any, everything: Tensor) -> dict[str, Tensor]:
        """Return a mask (B,) of the samples of each group, by name; ``everything`` is a mask (B,) of all samples."""
        if self.group_names is None or not isinstance(batch, Mapping) or "group" not in batch:
            return {"all": everything}
        group = batch["group"]
        if group.shape != everything.shape:
            raise ValueError(
                f"Expected the batch's `group` to have shape {tuple(everything.shape)}, but got {tuple(group.shape)}."
            )
        return {self.group_names[index]: group == index for index in group.unique().tolist()}


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


def _update(
    metrics: dict[str, _GroupMetrics],
    name: str,
    skeleton: Skeleton,
    prediction: Tensor,
    target: Tensor,
    visibility: Tensor | None,
) -> None:
    if name not in metrics:
        metrics[name] = _GroupMetrics(skeleton, prediction)
    metrics[name].update(prediction, target, visibility)


def _centred(pose: Tensor, visibility: Tensor | None) -> Tensor:
    """Move the mean of the visible joints to the origin: the best scale must not depend on where a pose stands."""
    if visibility is None:
        return pose - pose.mean(dim=-2, keepdim=True)
    seen = visibility.bool().unsqueeze(-1)
    count = seen.sum(dim=-2, keepdim=True).clamp(min=1)
    return pose - torch.where(seen, pose, 0.0).sum(dim=-2, keepdim=True) / count


def _spread(wanted: int, available: int) -> list[int]:
    """Return at most ``wanted`` different indices below ``available``, spread evenly."""
    count = min(wanted, available)
    return [(2 * i + 1) * available // (2 * count) for i in range(count)]  # the middle of each of `count` equal parts


def _one_pose(pose: Tensor) -> Tensor:
    """Return a pose (J, 3), or the middle frame of a window (T, J, 3), with its centre at the origin."""
    return _centred((pose if pose.dim() == 2 else pose[len(pose) // 2]).float().cpu(), None)


def macro_average(groups: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Average over the groups of each dataset, then over the datasets, so that every dataset counts the same.

    Args:
        groups: Scores of each group, by its name "dataset/skeleton"; groups without a slash form one unnamed dataset.

    Returns:
        The scores by scope (every group, every named dataset, and ``"mean"``), and the names of the datasets.

    Example:
        >>> scopes, datasets = macro_average({"a/1": {"x": 1.0}, "a/2": {"x": 3.0}, "b/1": {"x": 4.0}})
        >>> scopes["a"], scopes["mean"], datasets
        ({'x': 2.0}, {'x': 3.0}, ['a', 'b'])
    """
    datasets = by_dataset(groups)
    averages = {dataset: _average([groups[name] for name in members]) for dataset, members in datasets.items()}
    named = {dataset: scores for dataset, scores in averages.items() if dataset}
    scopes = {name: dict(scores) for name, scores in groups.items()} | named
    return scopes | {"mean": _average(list(averages.values()))}, list(named)


def by_dataset(groups: Iterable[str]) -> dict[str, list[str]]:
    """Collect the group names "dataset/skeleton" by dataset; names without a slash form a dataset named "".

    Example:
        >>> by_dataset(["a/1", "b/1", "a/2"])
        {'a': ['a/1', 'a/2'], 'b': ['b/1']}
    """
    datasets: dict[str, list[str]] = {}
    for name in groups:
        datasets.setdefault(name.split("/")[0] if "/" in name else "", []).append(name)
    return datasets


def _average(members: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {metric: fmean(member[metric] for member in members) for metric in members[0]}
