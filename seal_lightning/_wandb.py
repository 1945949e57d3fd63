"""Weights & Biases runs know which way each of their metrics is better."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torchmetrics import Metric, MetricCollection

__all__ = ["MetricDirections"]

_SEAL = {"ranking_accuracy": "max", "loss_net_loss": "min", "energy": "min", "weight": None, "force_ratio": None}


class MetricDirections(Callback):
    """Calls ``define_metric`` for each logged metric whose better direction is known; nothing is guessed.

    Known are the values of the mixin, what a callback monitors with a ``mode``, and a torchmetrics metric that says
    ``higher_is_better``, logged itself or under its name in a collection. The run's summary then holds the best and the
    last value; of ``seal/weight`` and ``seal/force_ratio``, which have no better direction, the last one.
    """

    def __init__(self) -> None:
        self._summaries: dict[str, str | None] = {}
        self._seen: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Collect what is known before anything is logged."""
        best = {f"seal/{name}": direction for name, direction in _SEAL.items()}
        for collection in (module for module in pl_module.modules() if isinstance(module, MetricCollection)):
            best |= {key: _best(metric) for key, metric in zip(collection.keys(), collection.children(), strict=True)}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(callback, "monitor", None) and getattr(callback, "mode", None) in ("min", "max"):
                best[callback.monitor] = callback.mode
        self._summaries = {name: f"{value},last" if value else "last" for name, value in best.items()}

    def _define(self, trainer: Trainer, *_: Any) -> None:
        results = trainer._results  # the one place that maps a torchmetrics metric to the names it is logged under
        for item in results.values() if results is not None else ():
            for on_step in {item.meta.on_step, not item.meta.on_epoch}:
                name, logged = results._forked_name(item, on_step)
