"""Kills a training again and again, resumes it from its newest checkpoint, and compares it with one that ran through.

    python -m benchmarks.kill_and_resume
    python -m benchmarks.kill_and_resume --rounds 100 --seed 1
    TMPDIR=/dev/shm python -m benchmarks.kill_and_resume --checkpoint-io lightning

Each round starts a process that trains on from the newest checkpoint and writes one every few steps; SIGKILL ends it
at a random moment, in two rounds of three while a checkpoint is being written. Then every file under a checkpoint's
name is read. When all rounds are over, the training runs to its end, and its state is compared bit for bit with that of
the unbroken run: weights, optimizer and schedule of the host, loss-nets with their running statistics, optimizer,
schedule and draws.

The host makes no use of the global random state, which a checkpoint of Lightning's does not hold, and the loader knows
its place.
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
    """Batches in an order that the epoch decides; Lightning saves and restores the place in it.

    It has a length, without which Lightning would fetch a batch ahead, and `state_dict` would tell the place after it.
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
            self.position += 1
            if self.position == len(order):
                self.epoch, self.position = self.epoch + 1, 0
            yield self.keypoints_2d[rows], self.target[rows]

    def state_dict(self) -> dict[str, int]:
        """The place."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go to a place."""
        self.epoch, self.position = state["epoch"], state["position"]


class Host(L.LightningModule):
    """A lifter with batch normalisation and a schedule of its own."""

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
        """Mean joint distance."""
        keypoints_2d, target = batch
        distance: Tensor = (self.net(keypoints_2d) - target).norm(dim=-1)
        return distance.mean()

    def configure_optimizers(self) -> Any:
        """AdamW with a schedule that is advanced every step."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3)
        schedule = OneCycleLR(optimizer, max_lr=1e-2, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class SealHost(SealMixin, Host):
    """The host under SEAL."""


def seal_config() -> SealConfig:
    """The default energy beside one that draws random negatives and has dropout."""
    (default,) = default_energies()
    other = EnergyTerm(
        partial(MLPLossNet, hidden=32, stages=1, dropout=0.2),
        negatives=(PredictionNegatives(), GaussianNegatives()),
        optimizer=default.optimizer,
    )
    schedule = partial(StepLR, step_size=20, gamma=0.9)
    return SealConfig(energies=[default, other], lr_scheduler=schedule, gradient_clip_val=1.0, warmup_steps=5)


def train(folder: Path, options: argparse.Namespace, tell: Connection) -> None:
    """Train from the newest checkpoint to the end, tell of every step and every checkpoint, write the final state."""

    class Told(CHECKPOINT_IO[options.checkpoint_io]):  # type: ignore[misc]
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            tell.send("saving")
            super().save_checkpoint(*args, **kwargs)
            tell.send("saved")

    class Telling(Callback):
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
        plugins=[Told()],
        callbacks=[Telling(), saving],
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
    """The checkpoint of the most steps that can be read."""
    found = sorted(folder.glob("*.ckpt"), key=lambda path: int(path.stem.removeprefix("step=").split("-")[0]))
    return next((path for path in reversed(found) if is_whole(path)), None)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read to its end."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError):
        return False
    return True


def run(folder: Path, options: argparse.Namespace, kill: tuple[int, str, float] | None) -> dict[str, Any]:
    """One process: to the end, or until it is killed so many steps on, at a step or at a write, after a delay.

    Returns:
        The first and last step, whether a write was cut off, and the seconds that writes took.
    """
    context = multiprocessing.get_context("fork")  # all is imported already, and nothing was computed yet
    ear, mouth = context.Pipe(duplex=False)
    process = context.Process(target=train, args=(folder, options, mouth))
    process.start()
    mouth.close()
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
        raise RuntimeError(f"Expected the training to end well, but it ended with {process.exitcode}.")
    if killed:
        killed = process.exitcode != 0
    return {"steps": steps, "killed": killed, "cut": killed and since is not None, "writes": writes}


def differences(left: Any, right: Any, name: str = "") -> tuple[list[str], int]:
    """Names of what differs in two nested states, and how many values were compared."""
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
    """Run, print and return what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24, help="kills")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments at which is killed")
    parser.add_argument("--steps", type=int, default=400, help="length of the training")
    parser.add_argument("--every-n-steps", type=int, default=3, help="steps from one checkpoint to the next")
    parser.add_argument("--hidden", type=int, default=512, help="width of the host")
    parser.add_argument("--checkpoint-io", choices=CHECKPOINT_IO, default="atomic", help="who writes the checkpoints")
    parser.add_argument("--folder", type=Path, help="where to put the runs; a temporary one where not given")
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
                raise RuntimeError("Expected more steps than the rounds need, but the training came to its end.")
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
        f"{len(rounds)} rounds, seed {options.seed}, checkpoints by {options.checkpoint_io}: {result['cut']} kills hit "
        f"a checkpoint being written ({1e3 * write:.0f} ms); {result['half_written']} half-written checkpoints; "
        f"{len(different)} of {compared} values of the final state differ from the unbroken run's"
    )
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
