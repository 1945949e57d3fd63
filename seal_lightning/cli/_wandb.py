"""Tells Weights & Biases for every logged metric whether higher or lower is better."""

from __future__ import annotations

from itertools import product
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torchmetrics import Metric, MetricCollection

__all__ = ["MetricDirections"]

_OURS = {
    "seal/ranking_accuracy": "max,last",
    "seal/loss_net_loss": "min,last",
    "seal/energy": "min,last",
    "seal/force_ratio": "last",  # a setting rather than a score: neither direction is better
    "seal/weight": "last",
}


class MetricDirections(Callback):
    """Calls ``define_metric`` for every logged metric of which it is known whether higher or lower is better.

    That is known of the values that SEAL logs, of what a callback monitors with a ``mode``, and of a torchmetrics
    metric with ``higher_is_better``, logged by itself or as part of a collection. All other metrics are left as they
    are. The run's summary then shows the best value and the last one.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Collect the directions that are known before anything is logged."""
        self._summaries, self._seen = dict(_OURS), set[str]()
        for collection in (module for module in pl_module.modules() if isinstance(module, MetricCollection)):
            metrics = zip(collection.keys(), collection.children(), strict=True)
            self._summaries |= {str(name): summary for name, metric in metrics if (summary := _summary(metric))}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if getattr(callback, "monitor", None) is not None and getattr(callback, "mode", None) in ("min", "max"):
                self._summaries[callback.monitor] = f"{callback.mode},last"

    def _define(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        # Lightning has no public way to ask under which names a torchmetrics metric is logged.
        results: Any = trainer._results
        for item, on_step in product(results.values(), (True, False)):
            name, logged = results._forked_name(item, on_step)
            if logged in self._seen or not item.meta.logger:
                continue
            self._seen.add(logged)
            summary = self._summaries.get(logged) or self._summaries.get(name) or _summary(item.value)
            for logger in trainer.loggers if summary else ():
                if isinstance(logger, WandbLogger):
                    logger.experiment.define_metric(logged, "trainer/global_step", step_sync=True, summary=summary)

    on_train_batch_end = on_validation_batch_end = on_test_batch_end = _define
    on_train_epoch_end = on_validation_epoch_end = on_test_epoch_end = _define


def _summary(value: Any) -> str | None:
    better = value.higher_is_better if isinstance(value, Metric) else None
    return None if better is None else "max,last" if better else "min,last"
