"""Tests 1 and 5 on two real processes: at weight 0 they are the host's, and with the energy they stay equal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.promises.twins import same

SCRIPT = Path(__file__).with_name("ddp_twins_run.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    foreign = ("LOCAL_", "NODE_", "MASTER_", "WORLD_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("host", ["ForwardHost", "DirectHost", "ManualHost"])
def test_01_weight_zero_is_the_host_on_two_processes(ranks, host):
    for runs in ranks:
        plain, zero = runs[host]["plain"], runs[host]["zero"]
        assert same(plain["host"], zero["host"])
        assert same(plain["random"], zero["random"])
        assert plain["steps"] == zero["steps"]


@pytest.mark.parametrize("host", ["ForwardHost", "DirectHost", "ManualHost"])
def test_05_the_energy_acts_and_the_processes_stay_equal(ranks, host):
    first, second = (runs[host]["felt"] for runs in ranks)
    trained = [key for key in first["host"] if "running" not in key and "batches" not in key]
    assert len(trained) == 6
    for key in trained:
        assert torch.equal(first["host"][key], second["host"][key])
    assert same(first["seal"], second["seal"])
    assert not same(first["host"], ranks[0][host]["plain"]["host"])
    assert 0.05 < (first["ratio"] + second["ratio"]) / 2 < 0.15
