"""Does a training that is killed again and again end where an unbroken one ends?

    python -m benchmarks.kill_and_resume
    python -m benchmarks.kill_and_resume --rounds 100 --seed 1
    TMPDIR=/dev/shm python -m benchmarks.kill_and_resume --checkpoint-io lightning

Each round starts a process that resumes the training from its newest readable checkpoint and writes a new one every few
steps. SIGKILL ends the process at a random moment; in two rounds of three, that moment is while a checkpoint is being
written. Then every checkpoint is read, to count those that are half-written. After the last round the training runs to
its end, and its state is compared bit for bit with that of an unbroken training: the host's weights, optimizer and
learning-rate schedule; the loss-nets with their running statistics, their optimizer and schedule, and SEAL's random
numbers.

Two things that a checkpoint of Lightning cannot restore are kept out of the question: the host draws nothing from the
global random state, and the data loader saves its own position.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import random
import tempfile
import time
import warnings
from collections.abc import Iterator
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from seal_lightning import EnergyTerm, SealConfig, SealMixin
from seal_lightning.loss.terms import default_energies
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives
from seal_lightning.training.checkpoint_io import AtomicCheckpointIO

JOINTS, BATCH, BATCHES = 17, 16, 25
CHECKPOINT_IO = {"atomic": AtomicCheckpointIO, "lightning": TorchCheckpointIO}


class ResumableLoader:
    """Yields batches in an order that the number of the epoch decides; Lightning saves and restores its position.

    It has a length because Lightning fetches one batch ahead from a loader without one. The position that `state_dict`
    returns would then be one batch ahead of the training.
    """

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.keypoints_2d = torch.randn(BATCHES * BATCH, JOINTS, 2, generator=generator)
        self.target = torch.randn(BATCHES * BATCH, JOINTS, 3, generator=generator)
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return BATCHES

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(self.target), generator=torch.Generator().manual_seed(self.epoch)).split(BATCH)
        for rows in order[self.position :]:
            # Before the `yield`: a checkpoint that is written during this batch's step has to name the next batch.
            self.position += 1
            if self.position == len(order):
                self.epoch, self.position = self.epoch + 1, 0
            yield self.keypoints_2d[rows], self.target[rows]

    def state_dict(self) -> dict[str, int]:
        """Return the position in the data."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a saved position."""
        self.epoch, self.position = state["epoch"], state["position"]


class Host(L.LightningModule):
    """A plain lifter with what a resumed run could lose: batch statistics, and a schedule that moves every step."""

    def __init__(self, steps: int, hidden: int) -> None:
        super().__init__()
        self.steps = steps
        self.net = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2 * JOINTS, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 3 * JOINTS),
            nn.Unflatten(1, (JOINTS, 3)),
        )

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean distance of the joints from their true places."""
        keypoints_2d, target = batch
        distance: Tensor = (self.net(keypoints_2d) - target).norm(dim=-1)
        return distance.mean()

    def configure_optimizers(self) -> Any:
        """Use AdamW, with a schedule that is advanced every step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        schedule = OneCycleLR(optimizer, max_lr=1e-2, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SealHost(SealMixin, Host):
    """The host, trained with SEAL."""


def seal_config() -> SealConfig:
    """Combine the default energy with one that draws random numbers: Gaussian negatives and dropout."""
    (default,) = default_energies()
    other = EnergyTerm(
        partial(MLPLossNet, hidden=32, stages=1, dropout=0.2),
        negatives=(PredictionNegatives(), GaussianNegatives()),
        optimizer=default.optimizer,
    )
    schedule = partial(StepLR, step_size=20, gamma=0.9)
    return SealConfig(energies=[default, other], lr_scheduler=schedule, gradient_clip_val=1.0, warmup_steps=5)


def train(folder: Path, options: argparse.Namespace, tell: Connection) -> None:
    """Train from the newest checkpoint to the end, report every step and every write, and save the final state."""

    class ReportedIO(CHECKPOINT_IO[options.checkpoint_io]):  # type: ignore[misc]
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            tell.send("saving")
            super().save_checkpoint(*args, **kwargs)
            tell.send("saved")

    class ReportedSteps(Callback):
        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            tell.send(trainer.global_step)

    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    L.seed_everything(0, verbose=False)
    model = SealHost(steps=options.steps, hidden=options.hidden, seal=seal_config())
    saving = ModelCheckpoint(
        folder, "{step}", monitor="step", mode="max", save_top_k=2, every_n_train_steps=options.every_n_steps
    )
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=options.steps,
        gradient_clip_val=1.0,
        plugins=[ReportedIO()],
        callbacks=[ReportedSteps(), saving],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, ResumableLoader(), ckpt_path=newest(folder), weights_only=True)
    final = {"steps": trainer.global_step, "host": model.state_dict(), "seal": model._seal_optimization.state_dict()}
    final["optimizers"] = [optimizer.state_dict() for optimizer in trainer.optimizers]
    final["schedules"] = [entry.scheduler.state_dict() for entry in trainer.lr_scheduler_configs]
    torch.save(final, folder / "final.pt")


def newest(folder: Path) -> Path | None:
    """Return the checkpoint with the most steps among those that can be read, or None."""
    found = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=").split("-")[0]))
    return next((path for path in reversed(found) if is_whole(path)), None)


def is_whole(path: Path) -> bool:
    """Tell whether a checkpoint can be read to its end."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError):
        return False
    return True


def run(folder: Path, options: argparse.Namespace, kill: tuple[int, str, float] | None) -> dict[str, Any]:
    """Train in a process of its own, to the end or until it is killed.

    Args:
        folder: Where its checkpoints are.
        options: The command line.
        kill: After how many steps to kill it, whether at a "step" or at a "write" of a checkpoint, and how many seconds
            after that begins; None lets it come to its end.

    Returns:
        The steps that it took, whether it was killed, whether the kill cut off a write, and the seconds of every
        complete write.
    """
    # A fork has everything imported. It is safe because this process has computed nothing and has no other threads.
    context = multiprocessing.get_context("fork")
    ear, mouth = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(folder, options, mouth))
    process.start()
    mouth.close()  # or the pipe would have a writer left when the process is gone, and `recv` would wait for ever
    steps: list[int] = []
    writes: list[float] = []
    since = None
    killed = False
    while True:
        try:
            news = ear.recv()
        except EOFError:
            break
        if news == "saving":
            since = time.perf_counter()
        elif news == "saved":
            writes.append(time.perf_counter() - (since or 0.0))
            since = None
        else:
            steps.append(news)
        far_enough = kill is not None and len(steps) >= kill[0]
        if kill is not None and not killed and far_enough and (kill[1] == "step" or news == "saving"):
            time.sleep(kill[2])
            process.kill()
            killed = True
    process.join()
    if not killed and process.exitcode:
        raise RuntimeError(f"Expected the training to end with exit code 0, but got {process.exitcode}.")
    if killed:
        killed = process.exitcode != 0  # the training may have come to its end just before the kill
    return {"steps": steps, "killed": killed, "cut": killed and since is not None, "writes": writes}


def differences(left: Any, right: Any, name: str = "") -> tuple[list[str], int]:
    """Return the paths at which two nested states differ, and how many values were compared."""
    if type(left) is not type(right):
        return [name], 1
    if isinstance(left, dict | list | tuple):
        keys = list(left) if isinstance(left, dict) else list(range(len(left)))
        if (list(right) if isinstance(right, dict) else list(range(len(right)))) != keys:
            return [name], 1
        parts = [differences(left[key], right[key], f"{name}/{key}") for key in keys]
        return [path for paths, _ in parts for path in paths], sum(count for _, count in parts)
    same = torch.equal(left, right) if isinstance(left, Tensor) else left == right
    return [] if same else [name], 1


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, and print and return what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24, help="number of kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random moments of the kills")
    parser.add_argument("--steps", type=int, default=400, help="length of the training in steps")
    parser.add_argument("--every-n-steps", type=int, default=3, help="steps from one checkpoint to the next")
    parser.add_argument("--hidden", type=int, default=512, help="width of the host's hidden layers")
    parser.add_argument("--checkpoint-io", choices=CHECKPOINT_IO, default="atomic", help="what writes the checkpoints")
    parser.add_argument("--folder", type=Path, help="folder for the runs; by default a temporary one")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        whole, broken = folder / "unbroken", folder / "killed"
        whole.mkdir(parents=True)
        broken.mkdir()
        moments = random.Random(options.seed)
        unbroken = run(whole, options, None)
        write = median(unbroken["writes"])
        rounds = []
        while len(rounds) < options.rounds:
            aim = ("write", "write", "step")[len(rounds) % 3]
            start = newest(broken)
            ahead = moments.randint(1, max(1, options.steps // options.rounds - options.every_n_steps))
            done = run(broken, options, (ahead, aim, moments.uniform(0, 1.1 * write)))
            if not done["killed"]:
                raise RuntimeError(
                    f"Expected `--steps` to be enough for {options.rounds} rounds, but the training came to its end in "
                    f"round {len(rounds) + 1}: raise `--steps` or lower `--rounds`."
                )
            half = [path.name for path in broken.glob("*.ckpt") if not is_whole(path)]
            rounds.append({"from": start and start.stem, "step": max(done["steps"], default=0), "half": half})
            rounds[-1] |= {"aim": aim, "cut": done["cut"]}
            print(f"round {len(rounds)}: {rounds[-1]}", flush=True)
        run(broken, options, None)
        states = [torch.load(path / "final.pt", weights_only=True) for path in (whole, broken)]
    different, compared = differences(*states)
    result = {
        "rounds": rounds,
        "seed": options.seed,
        "cut": sum(entry["cut"] for entry in rounds),
        "half_written": len({name for entry in rounds for name in entry["half"]}),
        "compared": compared,
        "different": different,
    }
    print(
        f"{len(rounds)} rounds, seed {options.seed}, checkpoint IO {options.checkpoint_io}: {result['cut']} kills came "
        f"while a checkpoint was being written, which takes {1e3 * write:.0f} ms, and left {result['half_written']} "
        f"half-written checkpoints. {len(different)} of {compared} values of the final state differ from the unbroken "
        "training."
    )
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
