"""One training of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lightning.pytorch import Callback, Trainer, seed_everything

from seal_lightning.callbacks import TrainingWatch
from seal_lightning.cli.compare.manifest import digest
from seal_lightning.cli.compare.methods import Method
from seal_lightning.cli.compare.rivals import PoseCollector, add_loss
from seal_lightning.cli.compare.store import Store
from seal_lightning.evaluation.rescaling import TrainingLengths
from seal_lightning.evaluation.runs import Run
from seal_lightning.training.warmup import lasting_warmup

if TYPE_CHECKING:
    from seal_lightning.cli.compare.command import CompareCLI

__all__ = ["train"]


def train(cli: CompareCLI, store: Store, method: Method, seed: int) -> Run:
    """Train one method from one seed, and keep its weights in the store.

    Args:
        cli: Makes model, data and trainer.
        store: Where the training is kept.
        method: The method.
        seed: The seed.

    Returns:
        The run, without scores.
    """
    cli.build(method, seed)
    add_loss(cli, store, method, seed)
    watch, lengths, poses = TrainingWatch(), TrainingLengths(), PoseCollector()
    trainer = cast(Any, cli.trainer)
    trainer.callbacks.extend([watch, *([lengths, _RefuseLastingWarmup()] if method.is_seal else [])])
    if keeps_poses := method == cli.methods[0] and "pose_pca" in cli.asked.rivals:
        trainer.callbacks.append(poses)
    seed_everything(seed, workers=True, verbose=False)
    trainer.fit(cli.model, datamodule=cli.datamodule, **cli.fit_options)
    run = Run(
        method.label,
        seed,
        watch.steps,
        watch.seconds - lengths.seconds,  # measuring the bones is no part of a training
        scores={},
        curves=watch.curves,
        lengths=lengths.lengths.tolist() if method.is_seal else [],
        weights=digest(cli.model.state_dict()),
    )
    if keeps_poses:
        store.save_true_poses(method, seed, poses.poses)
    store.save_training(method, run, lambda path: trainer.save_checkpoint(path, weights_only=True))
    return run


class _RefuseLastingWarmup(Callback):
    """Stops a training before its first step where SEAL would never act in it: there would be nothing to compare."""

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Look at the number of updates that are planned."""
        wrong = lasting_warmup(trainer, pl_module._seal_config, automatic=pl_module.automatic_optimization)
        if wrong is not None:
            raise ValueError(wrong)
