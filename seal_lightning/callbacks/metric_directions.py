"""Tells Weights & Biases for every logged metric whether higher or lower is better."""

from __future__ import annotations

from itertools import product
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger
from torchmetrics import Metric, MetricCollection

from seal_lightning.callbacks.structure_metrics import STRUCTURE_UNITS, StructureMetrics
from seal_lightning.training.mixin import SealMixin

__all__ = ["MetricDirections"]

_OURS = {
    "seal/ranking_accuracy": "max,last",
    "seal/loss_net_loss": "min,last",
    "seal/energy": "min,last",
    "seal/force_ratio": "last",  # a setting rather than a score: neither direction is better
    "seal/weight": "last",
}


class MetricDirections(Callback):
    """Makes the summary of a Weights & Biases run hold the best value of a metric beside its last one.

    Without this callback the summary holds the last value alone, and a sweep, or a table of runs, compares the last
    epochs. With it ``val/lse`` has ``val/lse.min`` and ``val/lse.last``, by ``define_metric`` of W&B. It does so for
    every metric of which it is known whether higher or lower is better: what `StructureMetrics` and SEAL log, what a
    callback monitors with a ``mode``, and a torchmetrics metric with ``higher_is_better``, logged by itself or as part
    of a collection. All other metrics are left as they are.

    ``seal-lightning`` adds it wherever there is a `WandbLogger`; in a script of your own, or in the `LightningCLI` that
    an agent of a sweep starts, it is one of the trainer's ``callbacks``. Other loggers are left alone.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[MetricDirections()], logger=False, enable_checkpointing=False)
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Define the metrics whose names and directions are known before anything is logged."""
        self._summaries, self._seen = dict(_OURS) if isinstance(pl_module, SealMixin) else {}, set[str]()
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        if any(isinstance(callback, StructureMetrics) for callback in callbacks):
            names = product(("val", "test"), STRUCTURE_UNITS)
            self._summaries |= {f"{stage}/{name}": "min,last" for stage, name in names}
        for collection in (module for module in pl_module.modules() if isinstance(module, MetricCollection)):
            metrics = zip(collection.keys(), collection.children(), strict=True)
            self._summaries |= {str(name): summary for name, metric in metrics if (summary := _summary(metric))}
        for callback in callbacks:
            if getattr(callback, "monitor", None) is not None and getattr(callback, "mode", None) in ("min", "max"):
                self._summaries[callback.monitor] = f"{callback.mode},last"
        # Now, not when a value is logged: those of the end of an epoch come after the hooks of all callbacks, and W&B
        # counts no value that came before its metric was defined.
        for name, summary in self._summaries.items():
            self._define(trainer, name, summary)

    def _look(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Define what has been logged under a name that nobody knew: a metric, or one with `_step` or `_epoch`."""
        # Lightning has no public way to ask under which names a torchmetrics metric is logged.
        results: Any = trainer._results
        for item, on_step in product(results.values(), (True, False)):
            name, logged = results._forked_name(item, on_step)
            if logged not in self._seen and item.meta.logger:
                summary = self._summaries.get(name) or _summary(item.value)
                if summary:
                    self._define(trainer, logged, summary)
                self._seen.add(logged)

    on_train_batch_end = on_validation_batch_end = on_test_batch_end = _look
    on_train_epoch_end = on_validation_epoch_end = on_test_epoch_end = _look

    def _define(self, trainer: Trainer, name: str, summary: str) -> None:
        self._seen.add(name)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.experiment.define_metric(name, "trainer/global_step", step_sync=True, summary=summary)


def _summary(value: Any) -> str | None:
    better = value.higher_is_better if isinstance(value, Metric) else None
    return None if better is None else "max,last" if better else "min,last"
