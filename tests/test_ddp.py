"""Two real gloo processes with the plain `ddp` strategy against one process with the whole batch."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).with_name("ddp_run.py")


def run(folder, world, kind):
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("LOCAL_", "NODE_", "MASTER_", "WORLD_"))
    }
    command = [sys.executable, str(SCRIPT), str(folder), str(world), kind]
    done = subprocess.run(command, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{kind}_{world}_{rank}.pt", weights_only=True) for rank in range(world)]


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors(item)]
    return []


def assert_close(left, right, **tolerance):
    pairs = list(zip(tensors(left), tensors(right), strict=True))
    assert len(pairs) > 15
    for a, b in pairs:
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("kind", ["all", "partly"])
def test_two_processes_equal_each_other_and_one_at_the_summed_batch(tmp_path, kind):
    first, second = run(tmp_path, 2, kind)
    assert_close(first, second, rtol=0, atol=0)
    if kind == "all":
        (one,) = run(tmp_path, 1, kind)
        assert_close(first, one, rtol=1e-4, atol=1e-6)


def test_random_negatives_differ_between_processes_that_stay_equal(tmp_path):
    first, second = run(tmp_path, 2, "random")
    assert_close(first, second, rtol=0, atol=0)
