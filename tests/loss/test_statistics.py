"""What is logged of a step costs nothing until somebody reads it."""

import copy
import pickle

import pytest
import torch

from benchmarks.measure import metered
from seal_lightning import EnergyTerm, ForceRatio, SealLoss
from seal_lightning import _distributed as ranks
from tests.loss.energies import Height


def make(**term):
    return SealLoss("h36m17", [EnergyTerm(Height, **term)])


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(6, 17, 3, generator=generator), torch.randn(6, 17, 3, generator=generator)
    return prediction.requires_grad_(), target, torch.randn(6, 17, 2, generator=generator)


def step(criterion, seed=0):
    prediction, target, keypoints = batch(seed)
    criterion.ranking_loss(prediction, target, keypoints)
    criterion(prediction, target, keypoints)


def test_the_values_are_those_of_the_last_step():
    often, once = make(), make()
    for seed in range(3):
        step(often, seed)
        assert len(often.stats) == 5
        step(once, seed)
    assert once.stats == often.stats
    step(often, 7)
    assert once.stats != often.stats


def test_they_are_right():
    criterion = make(weight=ForceRatio(0.3))
    prediction, target, keypoints = batch()
    total = criterion.ranking_loss(prediction, target, keypoints)
    true, predicted = (criterion.energy(pose, keypoints)["energy_0"] for pose in (target, prediction))
    criterion(prediction, target, keypoints)
    stats = criterion.stats
    assert stats["loss_net_loss"] == total
    assert stats["ranking_accuracy"] == (true < predicted).float().mean()
    torch.testing.assert_close(stats["energy"], predicted.mean())
    assert stats["force_ratio"].item() == pytest.approx(0.3, rel=1e-5)
    assert stats["weight"] == criterion.forces.weight.mean() > 0
    assert not any(value.requires_grad for value in stats.values())


def test_a_step_that_nobody_reads_computes_less():
    criterion = make()
    for seed in range(2):
        step(criterion, seed)
    unread = metered(lambda: step(criterion)).operations
    read = metered(lambda: (step(criterion), criterion.stats)).operations
    again = metered(lambda: criterion.stats).operations
    assert unread < read - 15
    assert again == 0


def test_a_step_that_is_not_felt_has_its_energy():
    criterion = make()
    prediction, target, keypoints = batch()
    criterion.ranking_loss(prediction, target, keypoints)
    criterion.observe(prediction, keypoints)
    stats = criterion.stats
    torch.testing.assert_close(stats["energy"], criterion.energy(prediction, keypoints)["energy_0"].mean().detach())
    assert stats["weight"] == stats["force_ratio"] == 0


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda criterion: pickle.loads(pickle.dumps(criterion))])
def test_a_copy_has_them_too(copied):
    criterion = make()
    step(criterion)
    assert copied(criterion).stats == criterion.stats


def test_among_several_ranks_they_are_computed_where_all_ranks_are(monkeypatch):
    """One rank that reads them alone would wait for the others for ever."""
    calls = []
    monkeypatch.setattr(ranks, "several", lambda: True)
    monkeypatch.setattr(ranks, "sum_over_ranks", lambda value: calls.append(len(calls)) or value.detach())
    criterion = make()
    step(criterion)
    assert calls
    calls.clear()
    assert len(criterion.stats) == 5
    assert not calls
