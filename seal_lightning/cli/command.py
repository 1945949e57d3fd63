"""``seal-lightning fit``, ``validate``, ``test`` and ``predict``: what LightningCLI offers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from pydoc import locate
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import WandbLogger

from seal_lightning._version import __version__
from seal_lightning.callbacks import MetricDirections, SealSummary
from seal_lightning.cli._errors import ReadableParser
from seal_lightning.cli._scores import scores_table
from seal_lightning.training import reload
from seal_lightning.training.config import SealConfig
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.signature import accepted
from seal_lightning.training.stored import UNREADABLE, settings_in

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
        """Write the configuration to the first name that is free; SEAL settings left to a default are written out."""
        settings = pl_module._seal_config.plain() if isinstance(pl_module, SealMixin) else None
        if isinstance(settings, dict) and "seal" in self.config.model.get("init_args", {}):
            config = self.config.clone()
            config.model.init_args.seal = None  # or else what is left out would stay
            model = {"class_path": config.model.class_path, "init_args": {"seal": settings}}
            self.config = self.parser.parse_object({"model": model}, config)
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

    _restoring: AbstractContextManager[None] = nullcontext()

    def __init__(self, args: Sequence[str] | None = None) -> None:
        super().__init__(
            save_config_callback=SaveRunConfig,
            save_config_kwargs={"save_to_log_dir": False},
            seed_everything_default=0,
            parser_kwargs={"prog": "seal-lightning", "description": _DESCRIPTION},
            parser_class=ReadableParser,
            args=None if args is None else list(args),
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser whose saved configs say which versions wrote them."""
        parser = super().init_parser(**kwargs)
        parser.dump_header = [*(parser.dump_header or []), f"seal_lightning=={__version__}"]
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments."""
        self.config = parser.parse_args(args)
        self._args = args

    def _parse_ckpt_path(self) -> None:
        """Lightning's hook: take from the file at `ckpt_path` what was not asked for.

        The model is of the class that was asked for. Of its arguments, those that were given stay; the others are those
        in the file, once they are checked. So it is with `seal`, whose section is one argument.
        """
        path = reload.asked_checkpoint(self)
        if path is None:
            return
        subcommand = self.config.subcommand
        asked = self.parser.parse_args(self._args, defaults=False)[subcommand].model.as_dict()
        given = {**asked.get("init_args", {}), **asked.get("dict_kwargs", {})}
        if given.get("seal", ...) is None:  # as in a printed config that says nothing of SEAL
            del given["seal"]
        made: Any = locate(asked["class_path"])
        try:
            checkpoint = reload.stored_checkpoint(path, weights_only=True)
        except UNREADABLE as error:
            self.parser.error(f"Expected `ckpt_path` to be a file of tensors and plain data, but got {path!r}: {error}")
        stored = reload.host_settings(checkpoint, skip=("hparams", "module_arguments"))
        try:
            settings = None
            if "seal" not in given and isinstance(made, type) and issubclass(made, SealMixin):
                settings = settings_in(checkpoint, stored)
            self._restoring = reload.restoring(None if settings is None else SealConfig.of(settings))
            arguments = {name: value for name, value in accepted(made, stored).items() if name not in given}
            reload.check_parsed(arguments, made)
        except (ValueError, TypeError) as error:
            self.parser.error(f"{error} The settings are those in {path!r}.")
        if arguments:
            more = {**asked.get("dict_kwargs", {}), **arguments}  # jsonargparse tells apart those that it knows
            model = {"class_path": asked["class_path"], "dict_kwargs": more}
            self.config = self.parser.parse_object({subcommand: {"model": model}}, self.config)

    def instantiate_classes(self) -> None:
        """Make trainer, model and data; loss-nets of a model that is restored come with its checkpoint."""
        with self._restoring:
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer; `fit` sums SEAL up, and Weights & Biases is told which way each metric is better."""
        trainer = super().instantiate_trainer(**kwargs)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        wanted: list[type[Callback]] = [SealSummary] if self.config.get("subcommand") == "fit" else []
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            wanted.append(MetricDirections)
        for kind in wanted:
            if not any(isinstance(callback, kind) for callback in callbacks):
                callbacks.insert(0, kind())
        return trainer

    def test(self, *, verbose: bool = True, **options: Any) -> None:
        """Run the test, and print what it measured.

        Args:
            verbose: Whether to print.
            **options: The other arguments of `Trainer.test`.
        """
        self._print_scores(self.trainer.test(verbose=False, **options), verbose)

    def validate(self, *, verbose: bool = True, **options: Any) -> None:
        """Run the validation, and print what it measured.

        Args:
            verbose: Whether to print.
            **options: The other arguments of `Trainer.validate`.
        """
        self._print_scores(self.trainer.validate(verbose=False, **options), verbose)

    def predict(self, **options: Any) -> None:
        """Run the prediction, and say so where no callback writes what it predicts.

        Args:
            **options: The arguments of `Trainer.predict`.
        """
        self.trainer.predict(**options)
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        written = any(isinstance(callback, BasePredictionWriter) for callback in callbacks)
        if not written and self.trainer.is_global_zero:
            print(
                "Unless the model writes by itself, nothing was written: none of the callbacks is a prediction writer. "
                "--trainer.callbacks PoseWriter writes the poses of a detector's keypoints; in Python, "
                "`trainer.predict(model, datamodule)` returns those of any data."
            )

    def _print_scores(self, results: Any, verbose: bool) -> None:
        table = scores_table(results, getattr(self.datamodule, "unit", None))
        if verbose and table and self.trainer.is_global_zero:
            print(table)
