"""Whether the values of a step are logged, or may be read by somebody else."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from seal_lightning.training.host import trainer_of

__all__ = ["logs_this_step"]

# Whose callbacks read none of the values but those that they monitor, and whose hooks of a host log none.
_KNOWN = ("lightning.pytorch.", "pytorch_lightning.", "seal_lightning.callbacks.", "seal_lightning.training.")
_PREFIX = "seal/"


def logs_this_step(module: Any) -> bool:
    """Whether to log SEAL's values in this training step.

    Logging takes longer than all else that SEAL does outside of the loss-nets, and a logger sees one step in
    ``log_every_n_steps``. So the values are logged in these steps, in the last step of an epoch, and in every step if
    anybody might look at ``trainer.callback_metrics`` in between: a callback that monitors one of the values or that is
    not part of Lightning, a learning-rate scheduler that monitors one, a host with a hook at the end of a batch or with
    a `log` of its own, which may take means over an epoch. All ranks have these in common.
    """
    trainer = trainer_of(module)
    if trainer is None or trainer.barebones:
        return False
    connector = trainer._logger_connector
    due = bool(connector.should_update_logs or trainer.fast_dev_run)
    return due or _is_last(trainer) or _is_read(module, trainer)


def _is_last(trainer: Any) -> bool:
    """Whether no step of this epoch, or none at all, comes after this one, as far as it is known."""
    if type(trainer.fit_loop._data_fetcher).__name__ == "_DataLoaderIterDataFetcher":
        return True  # the step itself draws its batch, so nobody knows
    steps = len(trainer.optimizers)
    return bool(trainer.is_last_batch) or 0 <= trainer.max_steps <= trainer.global_step + steps


def _is_read(module: Any, trainer: Any) -> bool:
    if any(not _is_known(getattr(type(module), name)) for name in ("log", "log_dict", "on_train_batch_end")):
        return True
    monitors = [config.monitor for config in trainer.lr_scheduler_configs]
    return _mentions(monitors) or any(_reads(callback) for callback in trainer.callbacks)


def _reads(callback: Any) -> bool:
    """Whether a callback may look at one of SEAL's values."""
    known = _is_known(type(callback)) and type(callback).__name__ != "LambdaCallback"
    return not known or _mentions(vars(callback).values())


def _is_known(value: Any) -> bool:
    return f"{getattr(inspect.unwrap(value), '__module__', '')}.".startswith(_KNOWN)


def _mentions(values: Iterable[Any]) -> bool:
    return any(isinstance(value, str) and _PREFIX in value for value in values)
