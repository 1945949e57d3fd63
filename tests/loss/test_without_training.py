"""`SealLoss` where nothing is to be learned: evaluation mode, no gradients, no samples; and in other precisions."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from seal_lightning import EnergyTerm, ForceRatio, SealLoss
from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, MLPLossNet, StructureLossNet
from seal_lightning.negatives import (
    AsymmetryNegatives,
    BoneDirectionNegatives,
    BoneLengthNegatives,
    GaussianNegatives,
    InterpolationNegatives,
    OtherPoseNegatives,
    PredictionNegatives,
)
from seal_lightning.objectives import MarginObjective, WassersteinObjective
from seal_lightning.objectives.penalties import R1, DenoisingScore, InterpolatedPenalty

SMALL = partial(MLPLossNet, hidden=16, stages=1)
TERMS = {
    "default": partial(EnergyTerm, StructureLossNet, gradient_penalty=DenoisingScore()),
    "no penalty": partial(EnergyTerm, SMALL),
    "margin": partial(EnergyTerm, SMALL, objective=MarginObjective(), negatives=(GaussianNegatives(),)),
    "attention, at the truth": partial(
        EnergyTerm, partial(GraphLossNet, dim=16, depth=2, heads=2), gradient_penalty=R1(0.5)
    ),
    "critic": partial(
        EnergyTerm,
        partial(KCSLossNet, hidden=8, pose_hidden=8),
        objective=WassersteinObjective(),
        gradient_penalty=InterpolatedPenalty(),
    ),
}


def batch(size=6, frames=None):
    shape = (size, 17) if frames is None else (size, frames, 17)
    return torch.randn(*shape, 3, requires_grad=True), torch.randn(*shape, 3), torch.randn(*shape, 2)


def state(loss):
    """All that a checkpoint of the criterion holds."""
    entries = loss.state_dict()
    return copy.deepcopy({**entries, "draws": loss.draws})


def same(left, right):
    assert left.keys() == right.keys()
    return all(
        torch.equal(torch.as_tensor(left[key]), torch.as_tensor(right[key])) for key in left if "_extra" not in key
    )


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("term", TERMS)
def test_the_ranking_loss_has_its_value_without_gradients(term, update, mode, frozen):
    loss = SealLoss("h36m17", [TERMS[term]()], update=update)
    prediction, target, keypoints = batch()
    visibility = torch.rand(6, 17) > 0.2
    loss.ranking_loss(prediction, target, keypoints, visibility)
    twin = copy.deepcopy(loss).requires_grad_(not frozen)
    expected = loss.ranking_loss(prediction, target, keypoints, visibility)
    assert expected.requires_grad
    with mode():
        inputs = [tensor * 1 for tensor in (prediction, target, keypoints)]  # of inference mode, where it is on
        value = twin.ranking_loss(*inputs, visibility)
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach(), rtol=1e-6, atol=0)
    assert twin.stats["loss_net_loss"] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_weighted_loss_has_its_value_without_gradients(mode):
    loss = SealLoss("h36m17", [TERMS["no penalty"](weight=0.3)])
    prediction, target, keypoints = batch()
    loss.ranking_loss(prediction, target, keypoints)
    expected = loss(prediction, target, keypoints).detach()
    with mode():
        torch.testing.assert_close(loss(prediction * 1, target, keypoints), expected)


@pytest.mark.parametrize("weight", [0.5, ForceRatio(0.1)])
def test_no_gradient_reaches_a_loss_net_through_a_prediction_without_one(weight):
    loss = SealLoss("h36m17", [EnergyTerm(SMALL, weight=weight)])
    prediction, target, keypoints = batch()
    with_gradient = loss(prediction, target, keypoints)
    detached = loss(prediction.detach(), target, keypoints)
    assert not detached.requires_grad
    if weight == 0.5:
        torch.testing.assert_close(detached, with_gradient.detach())


def test_a_task_loss_with_parameters_of_its_own_keeps_its_gradient():
    scale = nn.Parameter(torch.ones(()))
    task_loss = lambda prediction, target: scale * (prediction - target).abs().mean((-1, -2))  # noqa: E731
    loss = SealLoss("h36m17", [EnergyTerm(SMALL, weight=0.5)], task_loss=task_loss)
    prediction, target, keypoints = batch()
    loss(prediction.detach(), target, keypoints).backward()
    torch.testing.assert_close(scale.grad, (prediction.detach() - target).abs().mean())
    assert all(parameter.grad is None for parameter in loss.parameters())


@pytest.mark.parametrize("depends", ["not on the prediction", "on nothing"])
def test_a_task_loss_that_does_not_depend_on_the_prediction(depends):
    """A fixed weight pulls alone, a share of no force is none; the loss-nets feel neither."""
    other = torch.ones(6, requires_grad=depends == "not on the prediction")
    for weight, pulls in ((0.5, True), (ForceRatio(0.1), False)):
        loss = SealLoss("h36m17", [EnergyTerm(SMALL, weight=weight)], task_loss=lambda prediction, target: 2 * other)
        prediction, target, keypoints = batch()
        loss(prediction, target, keypoints).backward()
        assert bool(prediction.grad.any()) == pulls
        assert all(parameter.grad is None for parameter in loss.parameters())
        if pulls:
            energy = copy.deepcopy(loss).energy(prediction, keypoints)["energy_0"].mean()
            torch.testing.assert_close(prediction.grad, torch.autograd.grad(0.5 * energy, prediction)[0])


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_evaluation_mode_leaves_all_state_alone(update):
    negatives = (PredictionNegatives(), GaussianNegatives())
    loss = SealLoss("h36m17", [EnergyTerm(SMALL, negatives=negatives), TERMS["default"](name="b")], update=update)
    for _ in range(3):
        prediction, target, keypoints = batch()
        loss.ranking_loss(prediction, target, keypoints).backward()
        loss(prediction, target, keypoints).backward()
    before = state(loss.eval())
    prediction, target, keypoints = batch()
    loss(10 * prediction, target, keypoints).backward()
    loss.energy(prediction, keypoints)
    with torch.no_grad():
        first, second = (loss.ranking_loss(prediction, 10 * target, keypoints) for _ in range(2))
    assert same(state(loss), before)
    assert torch.equal(first, second)
    # Who trains in evaluation mode meets new random numbers, too, but no new statistics.
    learned = (
        loss.ranking_loss(prediction, 10 * target, keypoints),
        loss.ranking_loss(prediction, 10 * target, keypoints),
    )
    assert learned[0] != learned[1]
    assert same({**state(loss), "draws": 0}, {**before, "draws": 0})
    loss.train()
    loss.ranking_loss(prediction, 10 * target, keypoints)
    loss(10 * prediction, target, keypoints)
    after = state(loss)
    changed = {
        key
        for key in after
        if "_extra" not in key and not torch.equal(*map(torch.as_tensor, (after[key], before[key])))
    }
    assert changed == {"frame.bone_length", "frame.bone_count", "forces.usual_pull", "forces.weight", "draws"}


def test_evaluation_mode_holds_the_force_where_training_left_it():
    loss = SealLoss("h36m17", [EnergyTerm(SMALL, weight=ForceRatio(0.25))]).eval()
    prediction, target, keypoints = batch()
    task = (prediction - target).norm(dim=-1).mean()
    (alone,) = torch.autograd.grad(task, prediction)
    (both,) = torch.autograd.grad(loss(prediction, target, keypoints), prediction)
    pull = (both - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1).mean()
    torch.testing.assert_close(pull, torch.full((6,), 0.25), rtol=1e-3, atol=0)
    assert loss.forces.usual_pull.item() == 0


NEGATIVES = (
    *(PredictionNegatives(), GaussianNegatives(), BoneLengthNegatives(), BoneDirectionNegatives()),
    *(AsymmetryNegatives(), OtherPoseNegatives(), InterpolationNegatives()),
)


@pytest.mark.parametrize("frames", [None, 3])
@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("term", TERMS)
def test_an_empty_batch_counts_nothing(term, update, masks, frames):
    terms = [TERMS[term](), TERMS[term](name="more", negatives=NEGATIVES, weight=0.1)]
    loss = SealLoss("h36m17", terms, update=update)
    for training in (True, False):
        loss.train(training)
        prediction, target, keypoints = batch(0, frames)
        given = {}
        if masks:
            given = {"visibility": torch.ones(target.shape[:-1], dtype=torch.bool), "labelled": torch.ones(0) > 0}
        ranking = loss.ranking_loss(prediction, target, keypoints, **given)
        ranking.backward()
        total = loss(prediction, target, keypoints, **given)
        total.backward()
        with torch.no_grad():
            values = loss(prediction, target, keypoints, **given), loss.ranking_loss(prediction, target, keypoints)
        loss.observe(prediction, keypoints)
        assert [value.item() for value in (ranking, total, *values)] == [0, 0, 0, 0]
        assert {name: value.item() for name, value in loss.stats.items()} == dict.fromkeys(loss.stats, 0)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in loss.parameters())
    assert all(torch.isfinite(buffer).all() for buffer in loss.buffers())
    prediction, target, keypoints = batch(4, frames)
    assert torch.isfinite(loss.train().ranking_loss(prediction, target, keypoints))
    assert loss.frame.bone_length > 0


PRECISIONS = {
    "double": lambda module: module.double(),
    "half": lambda module: module.half(),
    "bfloat16": lambda module: module.bfloat16(),
    "to": lambda module: module.to(torch.float64),
}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loss_nets_keep_their_precision(precision):
    loss = SealLoss("h36m17")
    prediction, target, keypoints = batch()
    loss.ranking_loss(prediction, target, keypoints)
    twin = copy.deepcopy(loss)
    holder = nn.ModuleDict({"net": nn.Linear(2, 2), "criterion": twin})
    PRECISIONS[precision](holder)
    dtype = holder["net"].weight.dtype
    assert dtype != torch.float32
    assert same(state(twin), state(loss))
    assert all(tensor.dtype == torch.float32 for tensor in twin.parameters())
    given = [tensor.detach().to(dtype) for tensor in (prediction, target, keypoints)]
    rounded = [tensor.float() for tensor in given]
    for poses in (given, rounded):
        poses[0].requires_grad_()
    torch.testing.assert_close(twin.ranking_loss(*given), loss.ranking_loss(*rounded))
    twin.ranking_loss(*given).backward()
    total = twin(*given)
    total.backward()
    loss.ranking_loss(*rounded)
    expected = loss(*rounded)
    expected.backward()
    assert given[0].grad.dtype == dtype
    close = {"rtol": 2e-2, "atol": 2e-3} if dtype.itemsize == 2 else {}
    torch.testing.assert_close(total.float(), expected, **close)
    torch.testing.assert_close(given[0].grad.float(), rounded[0].grad, **close)


def test_other_changes_reach_the_loss_nets():
    loss = SealLoss("h36m17")
    assert all(parameter.device.type == "meta" for parameter in loss.to("meta").parameters())
    shared = SealLoss("h36m17").share_memory()
    assert all(parameter.is_shared() for parameter in shared.parameters())
