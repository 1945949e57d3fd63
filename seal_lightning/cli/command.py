"""``seal-lightning fit``, ``validate``, ``test`` and ``predict``: what LightningCLI offers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from seal_lightning.cli._wandb import MetricDirections
from seal_lightning.training import _host as host
from seal_lightning.training._settings import check_parsed, checked_seal
from seal_lightning.training._trust import find_factory

__all__ = ["SaveRunConfig", "SealCLI"]

_DESCRIPTION = "Train and run any LightningModule on any LightningDataModule, both given by class path."


class SaveRunConfig(SaveConfigCallback):
    """Saves the configuration of a run beside its logs, without overwriting that of another run.

    The file is ``config.yaml`` in the logger's directory of the run, or in the trainer's root directory where there is
    no logger. If that name is taken, it is ``config-2.yaml``, ``config-3.yaml``, and so on. A logger that has files of
    the run but no ``log_dir``, such as the one of Weights & Biases, gets ``cli_config.yaml`` among these files, and the
    configuration as hyperparameters.
    """

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write the configuration to the first name that is free."""
        directory, name = trainer.default_root_dir, self.config_filename
        if trainer.logger is not None:
            logs = getattr(trainer.logger, "log_dir", None)
            files = getattr(getattr(trainer.logger, "experiment", None), "dir", None)
            directory = logs or files or directory
            if logs is None:
                name = f"cli_{name}"
                trainer.logger.log_hyperparams(
                    json.loads(self.parser.dump(self.config, skip_none=False, format="json"))
                )
        path, number = Path(directory, name), 1
        stem = path.stem
        while path.exists():
            number += 1
            path = path.with_stem(f"{stem}-{number}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self.parser.save(self.config, path, skip_none=False, multifile=self.multifile)


class SealCLI(LightningCLI):
    """``fit``, ``validate``, ``test`` and ``predict`` with any LightningModule and LightningDataModule.

    Args:
        args: Command line arguments; those of the process where not given.
    """

    _restores = False

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            parser_kwargs={"prog": "seal-lightning", "description": _DESCRIPTION},
            args=None if args is None else list(args),
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments."""
        self.config = parser.parse_args(args)

    def _parse_ckpt_path(self) -> None:
        """Lightning's hook: let the settings in the file at `ckpt_path` go over those given, once they are checked."""
        path = host.asked_checkpoint(self)
        if path is None:
            return
        settings = host.stored_settings(path, weights_only=True, skip=("hparams", "module_arguments"))
        settings.pop("_instantiator", None)
        if not settings:
            return
        subcommand = self.config.subcommand
        try:
            check_parsed(settings, self._asked_class(self.config[subcommand].get("model")), LightningModule)
            seal = checked_seal(settings)
        except ValueError as error:
            self.parser.error(f"{error} The settings are those in {path!r}.")
        if seal is not None:
            settings["seal"] = seal.plain()
        if "_class_path" in settings:
            settings = {"class_path": settings.pop("_class_path"), "dict_kwargs": settings}
        self._restores = True
        self.config = self.parser.parse_object({subcommand: {"model": settings}}, self.config)

    def _asked_class(self, model: Any) -> type | None:
        path = getattr(model, "class_path", None)
        try:
            found: Any = None if path is None else find_factory(path, (LightningModule,), "model")
        except ValueError:  # a function, say, whose parameters are then not known
            return None
        return found if isinstance(found, type) else None

    def instantiate_classes(self) -> None:
        """Make trainer, model and data; loss-nets of a model that is restored come with its checkpoint."""
        with host.restoring() if self._restores else nullcontext():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer; one that logs to Weights & Biases tells it which way each metric is better."""
        trainer = super().instantiate_trainer(**kwargs)
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            trainer.callbacks.insert(0, MetricDirections())  # type: ignore[attr-defined]
        return trainer
