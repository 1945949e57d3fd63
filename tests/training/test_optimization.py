"""The loss-nets' own optimization, without a trainer."""

import copy
from functools import partial

import pytest
import torch

from seal_lightning import SealConfig, SealLoss
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.training.optimization import LossNetOptimization

SMALL = partial(MLPLossNet, hidden=8, stages=1)


def make(**kwargs):
    config = SealConfig(**({"loss_net": SMALL, "optimizer": partial(torch.optim.SGD, lr=1.0)} | kwargs))
    criterion = SealLoss(config.skeleton, config.terms())
    return criterion, LossNetOptimization(criterion, config)


def ranking_loss(criterion, scale=1.0):
    generator = torch.Generator().manual_seed(0)
    x, y, prediction = (torch.randn(8, 17, channels, generator=generator) for channels in (2, 3, 3))
    return scale * criterion.ranking_loss(prediction, y, x)


def learned(criterion):
    return torch.cat([parameter.detach().flatten() for parameter in criterion.parameters()])


def test_a_step_is_a_gradient_step_and_leaves_no_gradient():
    criterion, optimization = make()
    twin = copy.deepcopy(criterion)
    gradient = torch.autograd.grad(ranking_loss(twin), list(twin.parameters()))
    before = learned(criterion)
    optimization.step(ranking_loss(criterion))
    torch.testing.assert_close(learned(criterion), before - torch.cat([part.flatten() for part in gradient]))
    assert all(parameter.grad is None for parameter in criterion.parameters())


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_gradient_is_clipped_to_its_norm(scale):
    criterion, optimization = make(gradient_clip_val=0.01)
    before = learned(criterion)
    optimization.step(ranking_loss(criterion, scale))
    assert (learned(criterion) - before).norm().item() == pytest.approx(0.01, rel=1e-3)


def test_the_schedule_advances_when_told():
    _, optimization = make(lr_scheduler=partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5))
    optimization.schedule()  # nothing to advance yet
    rates = []
    for _ in range(3):
        rates.append(optimization.prepare().param_groups[0]["lr"])
        optimization.schedule()
    assert rates == [1.0, 0.5, 0.25]


@pytest.mark.parametrize(
    "schedule",
    [
        torch.optim.lr_scheduler.ReduceLROnPlateau,
        lambda optimizer: {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1), "monitor": "loss"},
        lambda optimizer: None,
    ],
)
def test_a_schedule_that_does_not_step_by_itself_is_refused(schedule):
    _, optimization = make(lr_scheduler=schedule)
    for _ in range(2):  # and is not forgotten when it is asked for again
        with pytest.raises(TypeError, match=r"a scheduler whose `step\(\)` takes no argument, but got"):
            optimization.prepare()


def test_a_restored_state_waits_for_the_optimizer_and_is_saved_meanwhile():
    schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)
    sgd = partial(torch.optim.SGD, lr=1.0, momentum=0.9)
    criterion, optimization = make(lr_scheduler=schedule, optimizer=sgd)
    optimization.step(ranking_loss(criterion))
    optimization.schedule()
    saved = copy.deepcopy(optimization.state_dict())

    other, restored = make(lr_scheduler=schedule, optimizer=sgd)
    restored.load_state_dict(saved)
    waiting = restored.state_dict()
    assert waiting["optimizer"]["param_groups"] == saved["optimizer"]["param_groups"]
    for first, second in ((criterion, optimization), (other, restored)):
        second.step(ranking_loss(first))
        second.schedule()
    assert torch.equal(learned(criterion), learned(other))
    assert restored.optimizer.param_groups[0]["lr"] == 0.25


def test_frozen_loss_nets_come_from_a_saved_criterion_too(tmp_path):
    criterion, _ = make()
    ranking_loss(criterion)
    torch.save(criterion.state_dict(), tmp_path / "criterion.pt")
    frozen, optimization = make(mode="static", checkpoint=str(tmp_path / "criterion.pt"), seed=5)
    assert torch.equal(learned(frozen), learned(criterion))
    assert torch.equal(frozen.frame.bone_length, criterion.frame.bone_length)
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    with pytest.raises(RuntimeError, match="frozen loss-nets have no optimizer"):
        _ = optimization.optimizer


def test_dynamic_loss_nets_may_start_from_a_checkpoint(tmp_path):
    criterion, optimization = make()
    torch.save({"seal": optimization.state_dict()}, tmp_path / "seal.ckpt")
    started, continued = make(checkpoint=str(tmp_path / "seal.ckpt"), seed=5)
    assert torch.equal(learned(started), learned(criterion))
    continued.step(ranking_loss(started))
    assert not torch.equal(learned(started), learned(criterion))


def test_loss_nets_of_another_size_are_refused(tmp_path):
    criterion, _ = make()
    torch.save(criterion.state_dict(), tmp_path / "criterion.pt")
    with pytest.raises(ValueError, match="Expected the checkpoint's loss-nets to be those that `seal` describes"):
        make(mode="static", checkpoint=str(tmp_path / "criterion.pt"), loss_net=partial(MLPLossNet, hidden=9, stages=1))
