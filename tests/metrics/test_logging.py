"""Metrics in a real Trainer: logged by `self.log` and `self.log_dict`, on one process and on two."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from seal_lightning.metrics import PoseMetrics
from tests.metrics.logging_ddp_run import Clips, Host, loader, poses_of


def values_of(batches, **options):
    """What the metrics say of all batches at once."""
    metrics = PoseMetrics("h36m17", unit="mm", temporal=True, **options)
    prediction, target = (torch.cat(poses) for poses in zip(*batches, strict=True))
    return {name: value.item() for name, value in metrics(prediction, target).items()}


@pytest.fixture
def validated(make_trainer):
    """A host after an epoch of training and validation, and what was logged."""
    host, trainer = Host(), make_trainer(max_epochs=1)
    trainer.fit(host, loader(batch_size=4), loader(batch_size=4, seed=1))
    return host, {name: value.item() for name, value in trainer.callback_metrics.items()}


def test_log_dict_of_a_collection_logs_the_epoch(validated):
    host, logged = validated
    expected = values_of(host.validated, prefix="val/")
    assert {name: logged[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert len(expected) == 18


def test_log_of_single_metrics_logs_the_epoch(validated):
    host, logged = validated
    expected = values_of(host.validated)
    for name in ("mpjpe", "pck", "mpjpe_p90", "mpjpe_cvar95", "limb_symmetry_error"):
        assert logged[f"single/{name}"] == pytest.approx(expected[name], rel=1e-5)
    assert logged["single/acceleration_error"] == pytest.approx(50**2 * expected["acceleration_error"], rel=1e-5)


def test_training_logs_the_last_step_and_the_epoch(validated):
    host, logged = validated
    whole, last = values_of(host.trained), values_of(host.trained[-1:])
    for name in ("mpjpe", "mpjpe_p90", "pck_auc"):
        assert logged[f"train/{name}_step"] == pytest.approx(last[name], rel=1e-5)
        assert logged[f"train/{name}_epoch"] == pytest.approx(whole[name], rel=1e-5)


def test_every_epoch_begins_anew(make_trainer):
    host, trainer = Host(), make_trainer(max_epochs=3)
    trainer.fit(host, loader(batch_size=4), loader(batch_size=4, seed=1))
    assert len(host.validated) == 3 * 3  # three batches an epoch
    last = values_of(host.validated[-3:])
    assert trainer.callback_metrics["val/mpjpe"].item() == pytest.approx(last["mpjpe"], rel=1e-5)


def test_two_processes_log_what_one_would(tmp_path, make_trainer):
    script = Path(__file__).with_name("logging_ddp_run.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(script), str(tmp_path)], env=environment, check=True, timeout=300)
    host = Host()
    trainer = make_trainer()
    trainer.validate(host, DataLoader(Clips(seed=1), batch_size=12), verbose=False)
    alone = {name: value.item() for name, value in trainer.callback_metrics.items()}
    assert alone["val/mpjpe"] == pytest.approx(values_of([poses_of(host, Clips(seed=1)[:])])["mpjpe"], rel=1e-5)
    for rank in (0, 1):
        logged = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert logged == pytest.approx(alone, rel=1e-5)
