"""Tiny comparisons: hosts, data and configs, and what `seal-lightning compare` makes of them."""

import json
import sys

import pytest
import yaml

from seal_lightning.cli import main
from seal_lightning.cli.compare import results as compare_results

HOSTS = '''
import os

import lightning as L
import torch
from torch.utils.data import DataLoader

from seal_lightning import SealBatch, SealMixin

CALLS = []


class BlindLifter(L.LightningModule):
    """A host with random numbers of its own (dropout), and no step in which it could be scored."""

    def __init__(self, hidden: int = 8, lr: float = 0.01):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(34, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.2),
            torch.nn.Linear(hidden, 51), torch.nn.Unflatten(1, (17, 3)),
        )

    def error(self, batch):
        return (self.net(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def training_step(self, batch, batch_idx):
        return self.error(batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class ClipLifter(BlindLifter):
    """Every frame of a clip for itself; it can be validated and tested."""

    def error(self, batch):
        x = batch["keypoints_2d"]
        return (self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]) - batch["target"]).norm(dim=-1).mean()

    def validation_step(self, batch, batch_idx):
        self.error(batch)

    test_step = validation_step


class Lifter(BlindLifter):
    def test_step(self, batch, batch_idx):
        self.log("whatever", self.error(batch))


class ValLifter(BlindLifter):
    def validation_step(self, batch, batch_idx):
        self.error(batch)


class TupleLifter(Lifter):
    """Two predictions meet the truth: nobody can tell which one is meant."""

    def error(self, batch):
        x, y = batch
        self.prediction, other = self.net(x), self.net(x + 1)
        return (self.prediction - y).abs().mean() + 0 * (other - y).abs().mean()


class NamedTupleLifter(SealMixin, TupleLifter):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], self.prediction, batch[1])


class ReadyLifter(SealMixin, Lifter):
    pass


class Poses(L.LightningDataModule):
    """Somebody's data: tuples, no unit, no groups."""

    def dataset(self):
        generator = torch.Generator().manual_seed(0)
        return list(zip(torch.randn(6, 17, 2, generator=generator), torch.randn(6, 17, 3, generator=generator)))

    def train_dataloader(self):
        return DataLoader(self.dataset(), batch_size=3, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.dataset(), batch_size=4)


class FilePoses(Poses):
    """Data that lie in a file."""

    def dataset(self):
        return torch.load("poses.pt")


class ShiftingLifter(Lifter):
    """Does something to the poses after the network, which nobody can repeat from outside."""

    def error(self, batch):
        return (1.5 * self.net(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()


class StopSeal(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, *_):
        trainer.should_stop = hasattr(pl_module, "seal")


def count(hook):
    """End the process, or raise what Ctrl-C raises, where and at the call that the environment names."""
    where, call, how = os.environ.get("INTERRUPT", "none 0 none").split()
    if hook == where:
        CALLS.append(hook)
        if len(CALLS) == int(call):
            if how == "kill":
                os._exit(9)
            raise KeyboardInterrupt


class StoppedLifter(Lifter):
    def on_train_start(self):
        count("train")

    def training_step(self, batch, batch_idx):
        count("step")
        return super().training_step(batch, batch_idx)

    def test_step(self, batch, batch_idx):
        count("test")
        return super().test_step(batch, batch_idx)

'''
NET = {"class_path": "seal_lightning.loss_nets.MLPLossNet", "init_args": {"hidden": 8, "stages": 1}}
MOCAP = {
    "class_path": "seal_lightning.data.MocapDataModule",
    "init_args": {
        "synthetic": {"subjects": 4, "clips_per_subject": 1, "frames": 12},
        "split": {"train": ["y01"], "val": ["y02"], "test": ["y03", "y04"]},
        "batch_size": 5,
        "eval_frame_step": 3,
    },
}


@pytest.fixture
def drawn():
    """Has picture and page of a comparison made; they take two thirds of the time of a tiny one."""


@pytest.fixture
def config(tmp_path, monkeypatch, request):
    """Writes a config of a tiny comparison to the current directory, which holds the hosts' module."""
    monkeypatch.chdir(tmp_path)
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(compare_results, "draw", lambda path, *_: path.write_bytes(b"a picture"))
        monkeypatch.setattr(compare_results, "comparison_page", lambda *_, tables: f"a page with {list(tables)}")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "some_lifters", raising=False)
    (tmp_path / "some_lifters.py").write_text(HOSTS)

    def write(host="Lifter", data=MOCAP, **extra):
        trainer = {"max_steps": 3, "accelerator": "cpu", "enable_progress_bar": False, **extra.pop("trainer", {})}
        content = {
            "model": {"class_path": f"some_lifters.{host}"},
            "data": data,
            "trainer": trainer,
            "seal": {"loss_net": NET, **extra.pop("seal", {})},
            "seeds": [3, 4],
            "output": "out",
            **extra,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        return "config.yaml"

    return write


def run(*args):
    main(["compare", "--config", *args])


def results(directory="out"):
    with open(f"{directory}/results.json") as file:
        return json.load(file)


def scores(content, method):
    return {run["seed"]: run["scores"] for run in content["runs"] if run["method"] == method}
