"""Measures how long a training takes and records the values that SEAL logs during it."""

from __future__ import annotations

import math
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

__all__ = ["TrainingWatch"]

_CURVES = ("seal/energy", "seal/loss_net_loss", "seal/weight", "seal/force_ratio", "seal/ranking_accuracy")
_POINTS = 200


class TrainingWatch(Callback):
    """Measures the time of a training and keeps the values that SEAL logs at about 200 of its steps, without a logger.

    ``seal-lightning compare`` draws its curves from this.

    Attributes:
        seconds: Time of the training, validation included; NaN before it has ended.
        steps: Number of optimizer steps.

    Example:
        >>> import lightning as L
        >>> watch = TrainingWatch()
        >>> trainer = L.Trainer(callbacks=[watch], logger=False, enable_checkpointing=False)
        >>> watch.steps, watch.curves
        (0, {})
    """

    def __init__(self) -> None:
        self.seconds = math.nan
        self.steps = 0
        self._points: dict[str, list[tuple[int, Tensor]]] = {}

    @property
    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """For each logged quantity, its points (step, value)."""
        return {name: [(step, float(value)) for step, value in points] for name, points in self._points.items()}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        # The number of steps is infinite where nothing but time ends the training.
        self._every = max(1, int(min(trainer.estimated_stepping_batches, 1e9)) // _POINTS)
        self._start = time.perf_counter()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Keep the values of this step."""
        if trainer.global_step % self._every == 0:
            logged = trainer.callback_metrics
            for name in _CURVES:
                if name in logged:
                    self._points.setdefault(name, []).append((trainer.global_step, logged[name].detach().clone()))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self.seconds, self.steps = time.perf_counter() - self._start, trainer.global_step
