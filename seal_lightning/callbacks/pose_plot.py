"""Pictures of predicted poses while training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

from seal_lightning._extras import require
from seal_lightning._values import is_whole
from seal_lightning.plotting import plot_poses

__all__ = ["PosePlot"]


class PosePlot(Callback):
    """Draws predictions beside the truth after validation, for every logger the trainer has.

    TensorBoard and Weights & Biases get the picture ``poses``; other loggers with a directory get a PNG in it. Poses
    come from the first validation batch, as SEAL reads it, so the model has to be a `SealMixin`. Needs matplotlib.

    Args:
        every_n_epochs: Epochs from one picture to the next.
        poses: Number of poses in a picture.

    Raises:
        ValueError: If a number is not positive.
    """

    def __init__(self, every_n_epochs: int = 1, poses: int = 4) -> None:
        for name, value in (("every_n_epochs", every_n_epochs), ("poses", poses)):
            if not is_whole(value) or value < 1:
                raise ValueError(f"Expected `{name}` to be 1 or more, but got {value!r}.")
        self.every_n_epochs = every_n_epochs
        self.poses = poses

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Ask for matplotlib now rather than at the first picture.

        Raises:
            ModuleNotFoundError: If matplotlib is not installed.
        """
        if stage in ("fit", "validate"):
            require("matplotlib", "the pictures of PosePlot")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw the first batch of every `every_n_epochs`-th epoch."""
        first = batch_idx == 0 and dataloader_idx == 0 and trainer.is_global_zero and not trainer.sanity_checking
        if not first or trainer.current_epoch % self.every_n_epochs:
            return
        model: Any = pl_module
        captured = model.seal_captured
        joints = captured.prediction.shape[-2:]
        poses = {"truth": captured.target, "prediction": captured.prediction}
        shown = {name: pose.reshape(-1, *joints)[: self.poses] for name, pose in poses.items()}
        figure = plot_poses(shown, model.seal.skeleton, reference="truth")
        for logger in trainer.loggers:
            _log(logger, figure, trainer.global_step)


def _log(logger: Logger, figure: Any, step: int) -> None:
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure("poses", figure, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image("poses", [figure], step=step)
    elif logger.log_dir is not None:
        path = Path(logger.log_dir) / f"poses-{step}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
