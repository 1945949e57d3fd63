"""What is scored of one training in a comparison: its predictions as they are, and after their own best finishing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning.evaluation.anatomy import JointErrors, PoseSample
from seal_lightning.evaluation.finishing import Finish, Finisher
from seal_lightning.evaluation.groups import macro_average
from seal_lightning.evaluation.scoring import PoseScorer
from seal_lightning.evaluation.statistics import Scores

__all__ = ["ComparisonScorer"]


class ComparisonScorer(Callback):
    """Scores validation or test batches of a SEAL model twice: as predicted, and finished.

    Args:
        unit: Unit of the poses.
        group_names: Names of the groups, in the form "dataset/skeleton".
        finisher: Applies the finishing.
        finish: The finishing.
    """

    def __init__(
        self, unit: Literal["m", "mm"], group_names: Sequence[str] | None, finisher: Finisher, finish: Finish
    ) -> None:
        self.finisher, self.finish = finisher, finish
        self._predicted, self._finished = PoseScorer(unit, group_names), PoseScorer(unit, group_names)
        self._errors: JointErrors | None = None
        self._sample: PoseSample | None = None

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

    def _score(self, module: Any, batch: Any) -> None:
        read, skeleton, factor = module.seal_captured, module.seal.skeleton, self._predicted.factor
        flipped = self.finisher.flipped(self.finisher.observe(module)) if self.finish.flip else None
        finished = replace(read, prediction=self.finisher(self.finish, read, flipped, skeleton))
        self._predicted.score(read, skeleton, batch)
        self._finished.score(finished, skeleton, batch)
        if self._errors is None or self._sample is None:
            self._errors, self._sample = JointErrors(skeleton), PoseSample(skeleton)
        rows = slice(None) if read.labelled is None else read.labelled
        visibility = None if read.visibility is None else read.visibility[rows]
        self._errors.update(read.prediction[rows] * factor, read.target[rows] * factor, visibility)
        self._sample.add(read, factor)

    def scores(self) -> dict[str, Scores]:
        """The scores as predicted, in every scope."""
        return macro_average(self._predicted.scores())[0]

    def own_best(self) -> dict[str, Scores]:
        """The scores after finishing, in every scope."""
        return macro_average(self._finished.scores())[0]

    def groups(self) -> list[str]:
        """The names of the groups that have data."""
        return list(self._predicted.scores())

    def anatomy(self) -> tuple[dict[str, float], dict[str, float]]:
        """The mean error of each joint in millimetres, and of each bone in percent, as predicted.

        Raises:
            ValueError: If nothing was scored.
        """
        if self._errors is None:
            raise ValueError("Expected the loader to yield labelled poses to score, but got none.")
        return self._errors.joints(), self._errors.bones()

    def poses(self) -> Tensor:
        """Some true and predicted poses (N, 2, J, 3) in millimetres, with their roots at the origin.

        Raises:
            ValueError: If nothing was scored.
        """
        if self._sample is None:
            raise ValueError("Expected the loader to yield labelled poses to score, but got none.")
        return self._sample.poses()
