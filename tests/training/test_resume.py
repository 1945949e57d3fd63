"""A training that is killed resumes bit for bit, and no checkpoint is ever half-written."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringModel

from benchmarks.kill_and_resume import ResumableLoader, differences
from seal_lightning.training import checkpoint_io
from seal_lightning.training.checkpoint_io import AtomicCheckpointIO

ROOT = Path(__file__).resolve().parents[2]


def test_a_training_that_is_killed_ends_where_an_unbroken_one_does(tmp_path):
    options = ["--rounds", "3", "--steps", "45", "--hidden", "64", "--output", str(tmp_path / "result.json")]
    command = [sys.executable, "-m", "benchmarks.kill_and_resume", *options]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1].startswith("3 rounds, seed 0, checkpoint IO atomic: ")
    assert " and left 0 half-written checkpoints. 0 of " in done.stdout


def test_a_loader_resumes_in_the_middle_of_an_epoch():
    whole, first, second = ResumableLoader(), ResumableLoader(), ResumableLoader()
    expected = [batch for _ in range(2) for batch in whole]
    iterator = iter(first)
    found = [next(iterator) for _ in range(7)]
    second.load_state_dict(first.state_dict())
    found += [*second, *second]
    assert len(found) == len(expected) == 2 * len(whole)
    assert not differences(found, expected)[0]
    assert differences(expected[: len(whole)], expected[len(whole) :])[0]


def test_differences_are_found_and_named():
    state = {"a": [torch.zeros(2), 1.0], "b": (torch.ones(1), None)}
    other = {"a": [torch.zeros(2), 2.0], "b": (torch.full((1,), 3.0), None)}
    assert differences(state, state) == ([], 4)
    assert differences(state, other) == (["/a/1", "/b/0"], 4)
    assert differences(state, {"a": state["a"]})[0] == [""]
    assert differences([1], [1, 2])[0] == [""]
    assert differences(1, 1.0)[0] == [""]


def test_a_checkpoint_is_what_lightning_would_have_written(tmp_path):
    checkpoint = {"state_dict": {"weight": torch.randn(3)}, "epoch": 4}
    io = AtomicCheckpointIO()
    for path in (tmp_path / "new" / "some.ckpt", str(tmp_path / "other.ckpt"), f"file://{tmp_path}/third.ckpt"):
        io.save_checkpoint(checkpoint, path)
        loaded = io.load_checkpoint(path, weights_only=True)
        assert not differences(loaded, checkpoint)[0]
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file())
    assert names == ["other.ckpt", "some.ckpt", "third.ckpt"]


def test_a_save_that_fails_leaves_the_checkpoint_before_it(tmp_path):
    io, path = AtomicCheckpointIO(), tmp_path / "some.ckpt"
    io.save_checkpoint({"epoch": 1}, path)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        io.save_checkpoint({"epoch": 2, "weight": torch.zeros(1000), "bad": lambda: None}, path)
    assert io.load_checkpoint(path, weights_only=True) == {"epoch": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.ckpt"]


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    io, target, link = AtomicCheckpointIO(), tmp_path / "epoch=1.ckpt", tmp_path / "last.ckpt"
    io.save_checkpoint({"epoch": 1}, target)
    link.symlink_to(target.name)
    io.save_checkpoint({"epoch": 2}, link)
    assert io.load_checkpoint(target, weights_only=True) == {"epoch": 1}
    assert io.load_checkpoint(link, weights_only=True) == {"epoch": 2}


def save_and_die(path, moment):
    """In a process of its own: one checkpoint, and another one that SIGKILL ends at a moment."""

    def cut(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def write_some(checkpoint, file):
        file.write(b"PK" * 1000)
        file.flush()
        cut()

    io = AtomicCheckpointIO()
    io.save_checkpoint({"epoch": 1}, path)
    if moment == "writing":
        torch.save = write_some
    elif moment == "written":
        os.replace = cut
    else:
        checkpoint_io._sync = cut
    io.save_checkpoint({"epoch": 2}, path)


@pytest.mark.parametrize(("moment", "epoch"), [("writing", 1), ("written", 1), ("moved", 2)])
def test_killed_in_the_middle_there_is_the_old_checkpoint_or_the_new_one(tmp_path, moment, epoch):
    path = tmp_path / "some.ckpt"
    process = multiprocessing.get_context("fork").Process(target=save_and_die, args=(path, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    io = AtomicCheckpointIO()
    assert io.load_checkpoint(path, weights_only=True) == {"epoch": epoch}
    assert (tmp_path / ".some.ckpt.part").exists() == (epoch == 1)
    io.save_checkpoint({"epoch": 3}, path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["some.ckpt"]


def test_places_that_are_not_local_are_left_to_lightning():
    io = AtomicCheckpointIO()
    io.save_checkpoint({"epoch": 5}, "memory://folder/some.ckpt")
    assert io.load_checkpoint("memory://folder/some.ckpt", weights_only=True) == {"epoch": 5}
    with pytest.raises(TypeError, match="storage_options"):
        io.save_checkpoint({}, "some.ckpt", storage_options={})


def test_a_system_that_opens_no_folders(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "O_DIRECTORY")
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / "some.ckpt")
    assert (tmp_path / "some.ckpt").exists()


def test_a_trainer_and_the_command_line_take_it(tmp_path):
    saving = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_last=True)
    model = BoringModel()
    options = {"logger": False, "enable_progress_bar": False, "limit_val_batches": 0, "accelerator": "cpu"}
    trainer = L.Trainer(max_steps=2, plugins=[AtomicCheckpointIO()], callbacks=[saving], **options)
    trainer.fit(model)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.ckpt", "step=2.ckpt"]
    arguments = [
        "--trainer.plugins=[{class_path: seal_lightning.training.checkpoint_io.AtomicCheckpointIO}]",
        "--trainer.accelerator=cpu",
    ]
    cli = LightningCLI(BoringModel, run=False, args=arguments)
    assert isinstance(cli.trainer.strategy.checkpoint_io, AtomicCheckpointIO)
