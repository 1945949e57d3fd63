"""Which share of a training waits for data: a real fit of the lifter with the default data and loss-net, profiled.

    python -m benchmarks.data_wait --data-dir DIR

Data are made in the training process, between two steps, unless the datamodule is given workers; so all of their making
is waiting.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning as L
from lightning.pytorch.profilers import SimpleProfiler

from examples.seal_lifter import SealLifter
from seal_lightning.data import DetectorNoise, MocapDataModule, SyntheticMocap

FILES = ("uiprmd_h36m17.npz", "cmu_h36m17.npz")


def main(arguments: list[str] | None = None) -> float:
    """Train, print and return the share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the motion-capture files; synthetic motion without")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the lifter")
    parser.add_argument("--steps", type=int, default=200, help="training steps")
    options = parser.parse_args(arguments)

    source = {"synthetic": SyntheticMocap()}
    if options.data_dir is not None:
        source = {"paths": [str(options.data_dir / name) for name in FILES]}
    L.seed_everything(0, verbose=False)
    profiler = SimpleProfiler()
    trainer = L.Trainer(
        max_steps=options.steps,
        limit_val_batches=0,
        profiler=profiler,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = MocapDataModule(**source, noise=DetectorNoise())
    trainer.fit(SealLifter(hidden=options.hidden), data)
    seconds = {name: sum(values) for name, values in profiler.recorded_durations.items()}
    waiting, training = seconds["[_TrainingEpochLoop].train_dataloader_next"], seconds["run_training_batch"]
    share = waiting / (waiting + training)
    print(f"{options.steps} steps: {waiting:.2f} s for data, {training:.2f} s of training; waiting {100 * share:.1f} %")
    return share


if __name__ == "__main__":
    main()
