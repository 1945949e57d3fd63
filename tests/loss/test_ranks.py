"""`SealLoss` on two real processes that know of each other before it is made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seal_lightning import SealLoss
from seal_lightning import _distributed as ranks
from tests.loss.ranks_run import run

SCRIPT = Path(__file__).with_name("ranks_run.py")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    env = {**os.environ, "PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(SCRIPT), str(folder)]
    started = [
        subprocess.Popen(command, env=env | {"RANK": str(rank)}, stderr=subprocess.PIPE, text=True) for rank in range(2)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_loss_nets_start_alike(both):
    alone = [parameter.detach() for parameter in SealLoss("h36m17", seed=3).parameters()]
    for rank in both:
        assert all(torch.equal(a, b) for a, b in zip(rank[False]["fresh"], alone, strict=True))


@pytest.mark.parametrize("masked", [False, True])
def test_two_ranks_bound_outliers_as_one_with_both_batches(both, masked):
    one = run(slice(None), masked)
    first, second = (rank[masked]["lengths"] for rank in both)
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one["lengths"], rtol=1e-6, atol=0)
    assert first.max() / first.min() < 1.25


def test_what_is_drawn_later_differs_between_ranks(monkeypatch):
    """Or the samples of all ranks would meet the same noise."""
    prediction, target, keypoints = torch.randn(4, 17, 3), torch.randn(4, 17, 3), torch.randn(4, 17, 2)
    values = []
    for rank in (0, 1):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        criterion = SealLoss("h36m17", seed=3)
        values.append((next(criterion.parameters()).detach(), criterion.ranking_loss(prediction, target, keypoints)))
    assert torch.equal(values[0][0], values[1][0])
    assert values[0][1] != values[1][1]
