"""Processes that disagree whether a step trains a pose: none waits for ever, and all loss-nets stay equal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.promises.ranks_disagree_run import CASES

SCRIPT = Path(__file__).with_name("ranks_disagree_run.py")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("disagree")
    foreign = ("LOCAL_", "NODE_", "MASTER_", "WORLD_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(SCRIPT), str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{name}.pt", weights_only=True) for name in (0, 1, "alone")]


@pytest.mark.parametrize("name", CASES)
def test_loss_nets_stay_equal_and_learn(runs, name):
    first, second, alone = runs
    assert all(torch.equal(a, b) for a, b in zip(first[name]["seal"], second[name]["seal"], strict=True))
    assert all(tensor.isfinite().all() for tensor in first[name]["seal"])
    assert any(not torch.equal(a, b) for a, b in zip(first[name]["seal"], alone["fresh"], strict=True))


@pytest.mark.parametrize(
    "name", ["one_without_a_meeting", "one_returns_none", "manual_one_without_a_meeting", "manual_one_returns_none"]
)
def test_a_process_that_sits_out_has_no_weight(runs, name):
    """The loss-nets learn what they would from the batches of the other process alone."""
    first, _, alone = runs
    for together, single in zip(first[name]["seal"], alone["seal"], strict=True):
        torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-6)
    assert float(first[name]["ratio"]) == pytest.approx(float(alone["ratio"]), rel=1e-4)
    assert float(first[name]["ratio"]) == pytest.approx(0.1, rel=1e-3)


def test_the_loss_nets_take_no_step_while_nobody_reads(runs):
    """Adam would go on along its moments; what was learned in two steps is not what was learned in five."""
    first, _, _ = runs
    assert any(
        not torch.equal(a, b)
        for a, b in zip(first["nobody_at_first"]["seal"], first["one_without_a_meeting"]["seal"], strict=True)
    )
