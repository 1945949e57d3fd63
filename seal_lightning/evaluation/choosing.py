"""Choosing, on validation data, what is best done to the finished predictions of a training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.evaluation.finishing import Finish, Finisher, candidates
from seal_lightning.evaluation.groups import group_masks, macro_average
from seal_lightning.functional import asymmetry_error, body_segment_length_error, mpjpe
from seal_lightning.skeleton import Skeleton

__all__ = ["PRIMARY", "ROUNDING", "FinishChooser"]

PRIMARY = ("mpjpe", "body_segment_length_error", "asymmetry_error")  # whose geometric mean is the primary error
ROUNDING = 0.01  # millimetres or percent; smaller errors are rounding errors, and so is the ratio of two of them

Means = dict[str, list[float]]  # sum and count of every error


class FinishChooser(Callback):
    """Scores every finishing on validation batches by the primary error, the geometric mean of three.

    Args:
        finisher: Applies the finishings.
        factor: Millimetres in a unit of the poses.
        group_names: Names of the groups, in the form "dataset/skeleton".
    """

    def __init__(self, finisher: Finisher, factor: float, group_names: Sequence[str] | None) -> None:
        self.finisher, self.factor, self.group_names = finisher, factor, group_names
        self._sums: dict[Finish, dict[str, Means]] = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Add the errors of a batch."""
        self._add(pl_module, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Add the errors of a batch of validation data that the host can only test on."""
        self._add(pl_module, batch)

    def errors(self) -> dict[Finish, float]:
        """The primary error of every finishing that could be applied to all batches, from the plainest on."""
        sums = {finish: groups for finish, groups in self._sums.items() if not (finish.flip and self.finisher.no_flip)}
        return {finish: error for finish, groups in sums.items() if math.isfinite(error := _geometric_mean(groups))}

    def _add(self, module: Any, batch: Any) -> None:
        read, skeleton = module.seal_captured, module.seal.skeleton
        if read.target is None:
            return
        flipped = self.finisher.flipped(self.finisher.observe(module))
        everything = torch.ones(len(read.prediction), dtype=torch.bool, device=read.prediction.device)
        labelled = everything if read.labelled is None else read.labelled
        groups = {name: rows & labelled for name, rows in group_masks(batch, self.group_names, everything).items()}
        clips = read.prediction.dim() == 4 and read.prediction.shape[1] > 2
        for finish in candidates(flips=flipped is not None, clips=clips, paired=bool(skeleton.paired_bones)):
            pose = self.finisher(finish, read, flipped, skeleton) * self.factor
            errors = _errors(pose, read.target * self.factor, read.visibility, skeleton)
            for group, rows in groups.items():
                _add_up(self._sums.setdefault(finish, {}).setdefault(group, {}), errors, rows)


def _errors(prediction: Tensor, target: Tensor, visibility: Tensor | None, skeleton: Skeleton) -> dict[str, Tensor]:
    """The three errors of every pose; two where nothing is left or right."""
    rest: Any = {"visibility": visibility, "reduction": "none"}
    errors = (
        mpjpe(prediction, target, root=skeleton.root_joints, **rest),
        body_segment_length_error(prediction, target, skeleton, **rest),
        *([asymmetry_error(prediction, target, skeleton, **rest)] if skeleton.paired_bones else []),
    )
    return dict(zip(PRIMARY, errors, strict=False))


def _add_up(means: Means, errors: Mapping[str, Tensor], rows: Tensor) -> None:
    for name, values in errors.items():
        found = values[rows]
        found = found[found.isfinite()]
        total, count = means.get(name, (0.0, 0))
        means[name] = [total + float(found.double().sum()), count + found.numel()]


def _geometric_mean(groups: Mapping[str, Means]) -> float:
    means = {
        group: {name: total / count for name, (total, count) in errors.items()}
        for group, errors in groups.items()
        if all(count for _, count in errors.values())
    }
    if not means:
        return math.nan
    mean = macro_average(means)[0]["mean"].values()
    return math.exp(sum(math.log(max(value, ROUNDING)) for value in mean) / len(mean))
