"""Whether a training ends before its warm-up does, so that the pose-net never feels an energy."""

from __future__ import annotations

import math
from typing import Any

from seal_lightning.training import host
from seal_lightning.training.config import SealConfig

__all__ = ["lasting_warmup", "never_felt", "planned_updates"]


def planned_updates(trainer: Any, config: SealConfig, *, automatic: bool = True) -> float:
    """How many updates the loss-nets take at the most from here to the end of the training.

    A loss-net takes an update in every batch, in every n-th update of the host where ``every_n_steps`` is n.

    Args:
        trainer: A trainer whose fit has begun.
        config: The SEAL training.
        automatic: Whether the host is in automatic optimization, in which several batches may make one update of it.

    Returns:
        The number; infinity where nothing but time, or nobody knows what, ends the training.
    """
    batches, an_epoch = math.inf, trainer.num_training_batches
    if trainer.max_epochs not in (None, -1) and not math.isinf(an_epoch):
        batches = (trainer.max_epochs - trainer.current_epoch) * an_epoch - max(0, trainer.fit_loop.batch_idx)
    together = trainer.accumulate_grad_batches if automatic else 1
    if trainer.max_steps != -1:
        batches = min(batches, (trainer.max_steps - trainer.global_step) * together)
    if math.isinf(batches) or config.every_n_steps == 1:
        return batches
    return math.ceil(batches / (config.every_n_steps * together)) * together


def lasting_warmup(trainer: Any, config: SealConfig, *, automatic: bool = True, done: int = 0) -> str | None:
    """Say in a sentence that the warm-up outlasts the training; None where it ends before.

    Args:
        trainer: A trainer whose fit has begun.
        config: The SEAL training.
        automatic: Whether the host is in automatic optimization.
        done: Updates that the loss-nets have taken already, as after a resume.

    Returns:
        A sentence that names both numbers and what to do. None in a ``fast_dev_run``, which is no training.
    """
    if trainer.fast_dev_run or done >= config.warmup_steps:
        return None
    updates = done + planned_updates(trainer, config, automatic=automatic)
    if updates > config.warmup_steps:
        return None
    return (
        f"Expected `warmup_steps` to end within the training, but got {config.warmup_steps:g}, and the loss-nets take "
        f"at most {updates:g} updates: the model never feels an energy and trains as it would without SEAL. Set "
        f"`warmup_steps` to a tenth of the updates, {int(updates) // 10}, or train longer."
    )


def never_felt(module: Any) -> str | None:
    """The same of a SEAL model in its training step; None without a trainer."""
    trainer = host.trainer_of(module)
    if trainer is None or trainer.state.fn != "fit":
        return None
    done = module.seal.draws - 1  # the first draw was the loss-nets' initialisation
    return lasting_warmup(trainer, module._seal_config, automatic=module.automatic_optimization, done=done)
