"""``seal-lightning fit-critic``: an error estimate for a host that is trained already and stays as it is."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser

from seal_lightning.callbacks.error_estimate import ErrorEstimate, error_estimate_of
from seal_lightning.cli.command import SealCLI

__all__ = ["FitCriticCLI", "fit_critic", "main"]

_DESCRIPTION = """Fit the critic of an ErrorEstimate among the trainer's callbacks to the trained host at `ckpt_path`.

Takes the config of a `fit`. The critic learns for `trainer.max_epochs` or `trainer.max_steps`; the host stays as it
is."""
_OUTPUT = "Checkpoint to write: that at `ckpt_path` with the critic in it. Default: NAME-critic.ckpt beside it."


def fit_critic(
    trainer: Trainer,
    model: LightningModule,
    datamodule: LightningDataModule,
    checkpoint: str | Path,
    output: str | Path | None = None,
    *,
    verbose: bool = True,
) -> Path:
    """Fit the critic of a trainer's `ErrorEstimate` to a finished host, and write the host's checkpoint with it.

    The critic learns from the host's `validation_step` on the training data, for the trainer's ``max_epochs`` epochs or
    ``max_steps`` steps, and is calibrated on the validation data, unless ``limit_val_batches`` is 0. The
    host is run in evaluation mode and never trained.

    Args:
        trainer: A trainer with an `ErrorEstimate` among its callbacks.
        model: The host.
        datamodule: Training and validation data.
        checkpoint: The host's checkpoint. If there is a critic in it, that one is fitted further.
        output: File to write; None is ``NAME-critic.ckpt`` beside ``NAME.ckpt``.
        verbose: Whether the trainer prints what the last validation measured.

    Returns:
        The file.

    Raises:
        ValueError: If there is no `ErrorEstimate`, or nothing says how long to fit.
        FileExistsError: If there is a file at ``output``.
    """
    path = Path(checkpoint)
    target = path.with_name(f"{path.stem}-critic{path.suffix}") if output is None else Path(output)
    if target.exists():
        raise FileExistsError(f"Expected no file at {target}, but there is one. Give another `output`.")
    estimate = error_estimate_of(trainer)
    if estimate is None:
        raise ValueError("Expected an ErrorEstimate among `trainer.callbacks`, but there is none.")
    if (trainer.max_epochs or -1) < 0 and trainer.max_steps < 0:
        raise ValueError(
            "Expected `trainer.max_epochs` or `trainer.max_steps` to say how long to fit, but got neither."
        )
    content = torch.load(path, map_location="cpu", weights_only=True)
    if (before := content.get("callbacks", {}).get(estimate.state_key)) is not None:
        estimate.load_state_dict(before)  # as the trainer is about to: its steps are not of this fit
    datamodule.prepare_data()
    datamodule.setup("fit")
    with _training_data_in_validation(trainer, datamodule), estimate.learning_in_validation():
        _learn(trainer, model, datamodule, estimate, str(path))
    if trainer.limit_val_batches:
        trainer.validate(model, datamodule=datamodule, verbose=verbose)
    if trainer.is_global_zero:
        content["callbacks"] = {**content.get("callbacks", {}), estimate.state_key: estimate.state_dict()}
        torch.save(content, target)
    return target


def _learn(
    trainer: Trainer, model: LightningModule, datamodule: LightningDataModule, estimate: ErrorEstimate, path: str
) -> None:
    progress: Any = trainer.fit_loop.epoch_progress.current
    epochs = count() if trainer.max_epochs is None or trainer.max_epochs < 0 else range(trainer.max_epochs)
    left = trainer.max_steps if trainer.max_steps >= 0 else None
    for epoch in epochs:
        limit = trainer.limit_train_batches
        if left is not None:
            limit = min(left, limit) if isinstance(limit, int) else left
        if limit == 0:
            return
        trainer.limit_val_batches = limit
        progress.processed = epoch  # what a sampler draws depends on it
        before = estimate.steps
        trainer.validate(model, datamodule=datamodule, ckpt_path=path if epoch == 0 else None, verbose=False)
        left = None if left is None else left - (estimate.steps - before)


@contextmanager
def _training_data_in_validation(trainer: Trainer, datamodule: LightningDataModule) -> Iterator[None]:
    """Let the trainer validate on the training data, as much of it as it would train on."""
    limit = trainer.limit_val_batches
    vars(datamodule)["val_dataloader"] = datamodule.train_dataloader
    try:
        with warnings.catch_warnings():
            # Lightning takes the training data, which are in another order every epoch, for validation data here.
            warnings.filterwarnings("ignore", message=".*sampler has shuffling enabled")
            yield
    finally:
        del vars(datamodule)["val_dataloader"]
        trainer.limit_val_batches = limit


class FitCriticCLI(SealCLI):
    """The command line of ``fit-critic``: takes the config of a ``fit``, and fits the critic alone.

    Args:
        args: Command line arguments after ``fit-critic``.
    """

    def __init__(self, args: Sequence[str]) -> None:
        super().__init__(["validate", *args])  # its options, and how it reads what is in the checkpoint

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add where to write."""
        parser.description = _DESCRIPTION
        parser.add_argument("--output", type=str | None, default=None, help=_OUTPUT)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments; help and errors show the command that was typed."""
        self._subcommand_parsers["validate"].prog = "seal-lightning fit-critic"
        super().parse_arguments(parser, args)

    def _run_subcommand(self, subcommand: str) -> None:
        config: Any = self.config_init[subcommand]
        if config["ckpt_path"] is None:
            self._subcommand_parsers["validate"].error(
                "Expected `ckpt_path` to be the checkpoint of a trained host, but got none."
            )
        if self.datamodule is None:
            self._subcommand_parsers["validate"].error("Expected `data` to be a LightningDataModule, but got none.")
        try:
            target = fit_critic(
                self.trainer, self.model, self.datamodule, config["ckpt_path"], config["output"], verbose=False
            )
        except (ValueError, OSError) as error:
            self._subcommand_parsers["validate"].error(str(error))
        measured = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        self._print_scores([measured], verbose=True)
        print(f"Written to {target}: the host as it was, and the critic.")


def main(args: Sequence[str]) -> None:
    """Run ``seal-lightning fit-critic``.

    Args:
        args: Command line arguments after ``fit-critic``.
    """
    FitCriticCLI(args)
