"""Runs the study of the error estimate, or reports on it: ``python -m benchmarks.error_estimate run|report STUDY``."""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.hosts import fit, fit_critic_of
from benchmarks.error_estimate.report import report
from benchmarks.error_estimate.stored import H36M, Estimate, predict, run_file
from benchmarks.error_estimate.study import CLIPS, SETS, VIEWS, CriticStudy
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.error_estimate import ErrorCritic

__all__ = ["main"]


def run(study: CriticStudy, folder: Path, names: list[str], seeds: list[int] | None = None) -> None:
    """Make the runs that are not finished yet, host by host and seed by seed; each is one file, beside a checkpoint."""
    torch.set_num_threads(1)
    jobs = [
        (name, seed, fold) for name in names for seed in study.hosts[name].seeds for fold in study.hosts[name].folds
    ]
    for name, seed, fold in jobs:
        plan, path = study.hosts[name], run_file(folder, name, fold, seed)
        if path.exists() or (seeds is not None and seed not in seeds):
            continue
        # A heteroscedastic host says itself how far off it is.
        critic = None if name == "heteroscedastic" else ErrorCritic(H36M, seed=seed)
        beside = [] if critic is None else [ErrorEstimate(critic, unit="m", flip_averaged=True)]
        checkpoint = path.with_suffix(".ckpt")
        if plan.finished is None:
            host = fit(study, plan, fold, seed, beside, checkpoint)
        else:
            finished = run_file(folder, plan.finished, fold, seed).with_suffix(".ckpt")
            host = fit_critic_of(study, plan, fold, seed, beside, finished, checkpoint)
        sets = (*SETS, *(CLIPS + VIEWS if name == "plain lifter" else ()))
        content = {}
        for data in sets:
            loader, groups = study.loader(plan, fold, data)
            arrays = predict(host, loader, None if critic is None else _estimate(critic), plan.centre)
            content |= {f"{data}/{key}": values for key, values in arrays.items()}
            content[f"{data}/names"] = np.array(groups)
        part = path.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(part, **content)  # type: ignore[arg-type]
        part.rename(path)
        print(path.stem, flush=True)


def _estimate(critic: ErrorCritic) -> Estimate:
    def estimate(keypoints: Tensor, single: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        found = critic.eval().errors(
            keypoints=keypoints[..., :2],
            confidence=keypoints[..., 2],
            pose=(single + mirrored) / 2,
            flip=single - mirrored,
        )
        return found.pose, found.joints

    return estimate


def main(arguments: list[str] | None = None) -> None:
    """Run the study, or report on it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.error_estimate", description=__doc__)
    parser.add_argument("action", choices=("run", "report"), help="train what is missing, or print the tables")
    parser.add_argument("study", type=Path, help="YAML file of the study")
    parser.add_argument("--data-dir", help="folder of the motion-capture files that the study names")
    parser.add_argument("--output", type=Path, default=Path("runs/error_estimate"), help="folder of the runs")
    parser.add_argument("--hosts", nargs="+", help="run or report only these hosts")
    parser.add_argument("--seeds", nargs="+", type=int, help="run only these seeds")
    options = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", "The '.*_dataloader' does not have many workers")
    study = CriticStudy.read(options.study, options.data_dir)
    names = options.hosts or list(study.hosts)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.action == "run":
        run(study, options.output, names, options.seeds)
    else:
        print(report(study, options.output, names))


if __name__ == "__main__":
    main()
