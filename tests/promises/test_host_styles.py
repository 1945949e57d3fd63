"""Promises 1, 4 and 5 on hosts in the styles of the wild, each trained by a real Trainer."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import pytest
import torch

from tests import host_styles
from tests.hosts import Resumable
from tests.promises.twins import assert_energy_acts, assert_same_training, config, same, seal, train

SCRIPT = Path(__file__).with_name("style_ranks_run.py")
ROOT = Path(__file__).resolve().parents[2]
SITS_OUT = "no energy joined it"

each_style = pytest.mark.parametrize("host", host_styles.STYLES, ids=lambda host: host.__name__)


class Held(L.Callback):
    """Holds what was read of each step against what the host's loss compared."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.used is None:
            return
        keypoints_2d, prediction, truth = module.used
        read = module.seal_captured
        assert torch.equal(read.prediction.detach(), prediction)
        assert torch.equal(read.target, truth)
        none = torch.zeros_like(read.keypoints_2d)
        assert torch.equal(read.keypoints_2d, none if keypoints_2d is None else keypoints_2d)
        self.steps += 1


@each_style
def test_a_style_is_itself_at_weight_zero_and_read_right_above(make_trainer, host):
    held = Held()
    plain = train(make_trainer, host)
    zero = train(make_trainer, seal(host), seal=config(weight=0.0, skeleton=host.skeleton))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        felt = train(
            make_trainer, seal(host), trainer=lambda: {"callbacks": [held]}, seal=config(skeleton=host.skeleton)
        )
    sat_out = [warning for warning in caught if SITS_OUT in str(warning.message)]
    assert_same_training(plain, zero)
    if host.reads:
        assert held.steps == host.read_steps
        assert_energy_acts(plain, felt)
        assert len(sat_out) == (host.read_steps < 12)  # said once of the steps that train no pose
        assert felt.model.seal_reading.startswith("SEAL reads: keypoints = ")
    else:
        assert len(sat_out) == 1
        assert felt.model.seal_reading is None
        assert same(plain.model.state_dict(), felt.model.state_dict())


class Halfway(L.Callback):
    """Draws the same random numbers in each step, whenever it is taken, and saves a checkpoint after the fourth."""

    def __init__(self, path):
        self.path = path

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        torch.manual_seed(batch_idx)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if batch_idx == 3:
            trainer.save_checkpoint(self.path)


@each_style
def test_a_style_resumes_exactly(make_trainer, tmp_path, host):
    """In mid-epoch, and for a GAN between the two batches of one step or turn."""
    batches = list(host.loader(count=16 * 7, shuffle=False))
    path = tmp_path / "half.ckpt"
    L.seed_everything(0, verbose=False)
    whole = seal(host)(seal=config(skeleton=host.skeleton))
    make_trainer(max_epochs=1, callbacks=[Halfway(path)]).fit(whole, Resumable(batches))
    resumed = seal(host)(seal=config(skeleton=host.skeleton))
    make_trainer(max_epochs=1, callbacks=[Halfway(tmp_path / "none.ckpt")]).fit(
        resumed, Resumable(batches), ckpt_path=path, weights_only=True
    )
    assert not (tmp_path / "none.ckpt").exists()
    assert same(whole.state_dict(), resumed.state_dict())
    for state in ("parameters", "buffers"):
        assert same(list(getattr(whole.seal, state)()), list(getattr(resumed.seal, state)()))
    assert whole.seal.draws == resumed.seal.draws == 1 + host.reads * 7 * host.read_steps // 12


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What the one process wrote, then each of the two."""
    folder = tmp_path_factory.mktemp("styles")
    foreign = ("LOCAL_", "NODE_", "MASTER_", "WORLD_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, SCRIPT, folder], env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in ("alone", 0, 1)]


@each_style
def test_processes_equal_each_other_and_one_on_the_whole_batch(runs, host):
    alone, first, second = (run[host.__name__] for run in runs)
    assert same(first["host"], second["host"])
    assert same(first["seal"], second["seal"])
    assert (first["reading"] is not None) == (second["reading"] is not None) == host.reads
    if host.reads:
        assert first["ratio"] == pytest.approx(0.1, abs=0.02)
    if not host.draws:
        assert first["ratio"] == pytest.approx(alone["ratio"], rel=1e-4)
        for part in ("host", "seal"):
            torch.testing.assert_close(first[part], alone[part], rtol=1e-4, atol=1e-6)


def test_one_process_replays_its_network_outside_of_the_wrapper(runs):
    """In the midst of a step, without the other one, nothing of the training changes."""
    _, first, second = runs
    for run in (first, second):
        assert same(run["replayed"]["host"], run["not replayed"]["host"])
        assert same(run["replayed"]["seal"], run["not replayed"]["seal"])
    assert same(first["replayed"]["seal"], second["replayed"]["seal"])
    assert first["replayed"]["replays"] == 4
    assert second["replayed"]["replays"] == 0
