"""What a comparison tells the loggers: a run for every training, and one for the summary in Weights & Biases."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, WandbLogger

from seal_lightning.evaluation.runs import Run
from seal_lightning.evaluation.statistics import Paired

__all__ = ["close_runs", "log_scores", "log_summary", "name_run"]


def name_run(trainer: Any, label: str, seed: int | None, group: str) -> None:
    """Give the loggers in the parsed section ``trainer`` a run of their own for one training, or for the summary.

    Names, groups and tags that the user gives stay; the tags of the training come after the user's.

    Args:
        trainer: The section.
        label: The method, or ``"summary"``.
        seed: The seed of the training; None for the summary.
        group: The group of all runs of this comparison.
    """
    loggers = trainer.logger if isinstance(trainer.logger, list) else [trainer.logger]
    name = label.replace(" ", "-") if seed is None else f"{label.replace(' ', '-')}_seed-{seed}"
    for logger in loggers:
        options = getattr(logger, "init_args", None)
        if options is None:
            continue
        if "job_type" in options:  # the logger of Weights & Biases
            kind = "SEAL" if label.startswith("SEAL") else label
            options.group, options.job_type = options.group or group, "summary" if seed is None else "training"
            options.name = f"{options.name or group}/{name}"
            seeds = [] if seed is None else [f"seed {seed}"]
            options.tags = list(dict.fromkeys([*(options.tags or ()), "compare", kind, *seeds]))
        elif "version" in options and options.version is None:  # those that write to folders
            options.version = name


def log_scores(loggers: Iterable[Logger], run: Run) -> None:
    """Log the scores of a training to its run."""
    scores = {f"score/{name}": value for name, value in run.scores["mean"].items()}
    scores |= {f"score/own_best/{name}": value for name, value in run.own_best["mean"].items()}
    for logger in loggers:
        logger.log_hyperparams({"method": run.method, "seed": run.seed, "own_best": str(run.finish)})
        logger.log_metrics(scores, step=run.steps)
        logger.finalize("success")


def log_summary(
    trainer: Trainer, summary: Mapping[str, Paired], verdict: Mapping[str, Any], files: Sequence[Path]
) -> None:
    """Log table, verdict, picture and report of a comparison, in the loggers of Weights & Biases."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            _log_to_wandb(logger, summary, verdict, files)


def _log_to_wandb(
    logger: WandbLogger, summary: Mapping[str, Paired], verdict: Mapping[str, Any], files: Sequence[Path]
) -> None:
    import wandb

    columns = ["metric", "host", "SEAL", "difference", "low", "high", "relative (%)"]
    rows = [[name, p.host_mean, p.seal_mean, p.difference, p.low, p.high, p.relative] for name, p in summary.items()]
    logger.log_table("comparison", columns=columns, data=rows)
    run = logger.experiment
    run.summary.update(dict(verdict))
    for path in files:
        if path.suffix == ".png":
            run.log({"picture": wandb.Image(str(path))})
        elif path.suffix == ".html":
            run.log({"report": wandb.Html(path.read_text(encoding="utf-8"))})


def close_runs(*, failed: bool = False) -> None:
    """End the run of Weights & Biases that is open, or the next training would go on in it."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish(exit_code=int(failed))
