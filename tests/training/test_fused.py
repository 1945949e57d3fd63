"""The loss-nets' optimizer runs fused where its maker left that open, and nobody else notices."""

import copy
from functools import partial

import pytest
import torch

from seal_lightning import SealConfig, SealLoss
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.training import _guard
from seal_lightning.training._fused import fuse, skips_by_itself
from seal_lightning.training._guard import Guard
from seal_lightning.training.optimization import LossNetOptimization
from tests.training.test_guard import gradients, state, take

FUSED = {
    "sgd": partial(torch.optim.SGD, lr=0.1, weight_decay=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "nesterov": partial(torch.optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": partial(torch.optim.Adam, lr=0.1, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.1, maximize=True),
}


class OwnAdam(torch.optim.Adam):
    """An optimizer that may step in another way."""


NOT_FUSED = {
    "foreach": partial(torch.optim.Adam, lr=0.1, foreach=True),
    "by hand": partial(torch.optim.Adam, lr=0.1, fused=False),
    "capturable": partial(torch.optim.Adam, lr=0.1, capturable=True),
    "dampening": partial(torch.optim.SGD, lr=0.1, momentum=0.9, dampening=0.5),
    "subclass": partial(OwnAdam, lr=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.1),
}


def parameters():
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in ((3, 4), (5,), ())]


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """Where the decision to skip falls; the CPU stands in for a device that is not to be waited for."""
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: request.param == "host")
    return request.param


@pytest.mark.parametrize("name", FUSED)
def test_skipped_steps_leave_no_trace_and_do_not_count(place, name):
    ours, theirs, plain = parameters(), parameters(), parameters()
    optimizer, other, reference = FUSED[name](ours), FUSED[name](theirs), FUSED[name](plain)
    assert fuse(optimizer)
    assert fuse(other)
    assert skips_by_itself(optimizer)
    assert not skips_by_itself(reference)
    guard = Guard(None)
    for step, bad in enumerate((True, False, True, False, False, True)):
        take(guard, ours, optimizer, step, bad)
        if not bad:
            for some, stepped in ((theirs, other), (plain, reference)):
                for parameter, gradient in zip(some, gradients(step), strict=True):
                    parameter.grad = gradient
                stepped.step()
    for left, right in zip(state(ours, optimizer), state(theirs, other), strict=True):
        assert torch.equal(left, right)
    for left, right in zip(ours, plain, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    assert not hasattr(optimizer, "found_inf")


@pytest.mark.parametrize("name", NOT_FUSED)
def test_what_was_chosen_stays(name):
    optimizer = NOT_FUSED[name](parameters())
    before = copy.deepcopy(optimizer.state_dict())
    assert not fuse(optimizer)
    assert optimizer.state_dict() == before


def test_a_fused_optimizer_of_the_users_own_is_left_alone():
    optimizer = torch.optim.SGD(parameters(), lr=0.1, momentum=0.9, fused=True)
    assert not fuse(optimizer)
    assert not skips_by_itself(optimizer)  # its first step would make a momentum out of memory that was never written


def small(skeleton):
    return MLPLossNet(skeleton, hidden=8, stages=1)


def make(**fields):
    config = SealConfig(**({"loss_net": small, "optimizer": FUSED["adam"]} | fields))
    criterion = SealLoss(config.skeleton, config.terms())
    return criterion, LossNetOptimization(criterion, config)


def train(criterion, optimization, steps=3):
    generator = torch.Generator().manual_seed(criterion.draws)
    for _ in range(steps):
        x, y, prediction = (torch.randn(8, 17, channels, generator=generator) for channels in (2, 3, 3))
        optimization.step(criterion.ranking_loss(prediction, y, x))
    return torch.cat([parameter.detach().flatten() for parameter in criterion.parameters()])


def by_hand(optimization):
    """Take the optimizer of an older version: not fused, and read as it lies."""
    optimizer = optimization.optimizer
    for group in optimizer.param_groups:
        group.update(fused=None, foreach=None)
    optimization._fused = False
    return optimizer


@pytest.mark.parametrize("name", FUSED)
def test_a_checkpoint_is_that_of_an_optimizer_as_it_was_made(name):
    criterion, optimization = make(optimizer=FUSED[name])
    train(criterion, optimization)
    assert all(group["fused"] for group in optimization.optimizer.param_groups)
    saved = copy.deepcopy(optimization.state_dict())
    plain = FUSED[name](list(criterion.parameters()))
    for group, made in zip(saved["optimizer"]["param_groups"], plain.state_dict()["param_groups"], strict=True):
        assert group == made
    plain.load_state_dict(saved["optimizer"])  # as an older version does
    expected = train(criterion, optimization)
    again, reader = make(optimizer=FUSED[name])
    again.load_state_dict(saved["criterion"])
    reader._optimizer = FUSED[name](list(again.parameters()))
    reader._optimizer.load_state_dict(saved["optimizer"])
    torch.testing.assert_close(train(again, reader), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUSED)
def test_a_checkpoint_of_an_optimizer_that_was_not_fused_is_read(name):
    criterion, optimization = make(optimizer=FUSED[name])
    by_hand(optimization)
    train(criterion, optimization)
    saved = copy.deepcopy(optimization.state_dict())
    expected = train(criterion, optimization)
    again, reader = make(optimizer=FUSED[name])
    reader.load_state_dict(saved)
    learned = train(again, reader)
    assert all(group["fused"] for group in reader.optimizer.param_groups)
    written = [group | {"params": None} for group in reader.state_dict()["optimizer"]["param_groups"]]
    assert written == [group | {"params": None} for group in saved["optimizer"]["param_groups"]]
    torch.testing.assert_close(learned, expected, rtol=1e-5, atol=1e-6)
    steps = [entry["step"] for entry in reader.optimizer.state.values() if "step" in entry]
    assert all(step == 6 for step in steps)


def test_gradients_have_the_layout_of_their_parameters(monkeypatch):
    """Or a fused optimizer would take one number for another."""
    from seal_lightning import _distributed as ranks

    monkeypatch.setattr(ranks, "world_size", lambda: 2)
    monkeypatch.setattr(ranks, "sum_over_ranks", lambda value: 2 * value)
    parameter = torch.nn.Parameter(torch.randn(3, 4).t())
    gradient = torch.randn(4, 3)
    parameter.grad = gradient.clone()
    ranks.average_gradients([parameter])
    assert parameter.grad.stride() == parameter.stride()
    torch.testing.assert_close(parameter.grad, gradient)
