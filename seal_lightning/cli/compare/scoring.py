"""Scoring one training: its own best finishing on validation data, then its scores with and without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning.pytorch import Callback, seed_everything
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from seal_lightning.cli.compare.methods import Method
from seal_lightning.evaluation.choosing import FinishChooser
from seal_lightning.evaluation.comparison import ComparisonScorer
from seal_lightning.evaluation.finishing import STANDARD, Finish, Finisher
from seal_lightning.evaluation.runs import Run
from seal_lightning.evaluation.scoring import MILLIMETRES
from seal_lightning.training.host import defines_step

if TYPE_CHECKING:
    from seal_lightning.cli.compare.command import CompareCLI

__all__ = ["score"]

Split = Literal["test", "val"]


def score(
    cli: CompareCLI, method: Method, run: Run, weights: Mapping[str, Tensor], lengths: Sequence[float]
) -> tuple[Run, Tensor]:
    """Score trained weights, on data that are made anew from the seed.

    The weights of every method are loaded into a SEAL model: it captures the predictions, whatever the host logs.

    Args:
        cli: Makes model, data and trainer.
        method: A SEAL method.
        run: The training.
        weights: Its weights.
        lengths: Mean bone lengths of the training data.

    Returns:
        The run with its scores, and some true and predicted poses (N, 2, J, 3).
    """
    cli.build(method, run.seed, logger=False)
    cli.model.load_state_dict(weights)
    finisher = Finisher(torch.tensor(lengths))
    errors = _validation_errors(cli, finisher)
    finish = min(errors, key=errors.__getitem__) if errors else STANDARD
    names = getattr(cli.datamodule, "group_names", None)
    scorer = ComparisonScorer(cli.unit(), names, finisher, finish)
    _run(cli, cli.config.split, scorer)
    joints, bones = scorer.anatomy()
    scored = replace(
        run,
        scores=scorer.scores(),
        own_best=scorer.own_best(),
        finish=finish,
        validation={str(finish): error for finish, error in errors.items()},
        no_flip=finisher.no_flip,
        joints=joints,
        bones=bones,
    )
    return scored, scorer.poses()


def _validation_errors(cli: CompareCLI, finisher: Finisher) -> dict[Finish, float]:
    """The primary error of every finishing on validation data; empty where there are none."""
    if not is_overridden("val_dataloader", cli.datamodule):
        return {}
    chooser = FinishChooser(finisher, MILLIMETRES[cli.unit()], getattr(cli.datamodule, "group_names", None))
    _run(cli, "val", chooser)
    return chooser.errors()


def _run(cli: CompareCLI, split: Split, callback: Callback) -> None:
    """Run the model over the data of a split, in the step that the host has for it, or else in the other one."""
    data: Any = cli.datamodule
    trainer: Any = cli.instantiate_trainer(callbacks=[callback], logger=False, enable_checkpointing=False)
    seed_everything(cli.seed, workers=True, verbose=False)
    steps = {"val": "validation_step", "test": "test_step"}
    own = defines_step(cli.host, steps[split])
    run = trainer.validate if own == (split == "val") else trainer.test
    if own:
        run(cli.model, datamodule=data, verbose=False)
        return
    data.trainer = trainer
    data.prepare_data()
    data.setup("test" if split == "test" else "fit")
    run(cli.model, dataloaders=getattr(data, f"{split}_dataloader")(), verbose=False)
