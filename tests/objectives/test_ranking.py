import copy
import dataclasses
import math
import pickle
import re

import jsonargparse
import numpy as np
import pytest
import torch

from seal_lightning import EnergyTerm, SealLoss
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.objectives import (
    LogisticObjective,
    MarginObjective,
    NCEObjective,
    NoObjective,
    Objective,
    RegressionObjective,
    WassersteinObjective,
    gradient_penalty,
)


def logistic(true, negatives, distances):
    return math.log1p(math.exp(true)) + sum(math.log1p(math.exp(-e)) for e in negatives) / len(negatives)


def nce(temperature):
    def loss(true, negatives, distances):
        chances = [math.exp(-e / temperature) for e in (true, *negatives)]
        return -math.log(chances[0] / sum(chances))

    return loss


def margin(ratio):
    def loss(true, negatives, distances):
        hinges = [max(0.0, ratio * d - e + true) for e, d in zip(negatives, distances, strict=True)]
        return sum(hinges) / len(hinges)

    return loss


def regression(true, negatives, distances):
    errors = [true**2] + [(e - d) ** 2 for e, d in zip(negatives, distances, strict=True)]
    return sum(errors) / len(errors)


def wasserstein(true, negatives, distances):
    return true - sum(negatives) / len(negatives)


CASES = [
    (LogisticObjective(), logistic),
    (NCEObjective(), nce(1.0)),
    (NCEObjective(temperature=0.3), nce(0.3)),
    (MarginObjective(), margin(1.0)),
    (MarginObjective(ratio=2.5), margin(2.5)),
    (RegressionObjective(), regression),
    (WassersteinObjective(), wasserstein),
]


def energies(count: int, samples: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(count)
    true = torch.randn(samples, generator=generator, dtype=torch.float64)
    negative = torch.randn(count, samples, generator=generator, dtype=torch.float64)
    return true, negative, torch.rand(count, samples, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize(("objective", "reference"), CASES, ids=[str(case[0]) for case in CASES])
def test_values_match_plain_python(objective, reference, count):
    true, negative, distance = energies(count)
    expected = [
        reference(t, n, d) for t, n, d in zip(true.tolist(), negative.T.tolist(), distance.T.tolist(), strict=True)
    ]
    loss = objective(true, negative, distance)
    assert loss.shape == true.shape
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("objective", [case[0] for case in CASES], ids=str)
def test_samples_do_not_mix(objective):
    true, negative, distance = (tensor.requires_grad_() for tensor in energies(3))
    gradients = torch.autograd.grad(objective(true, negative, distance)[2], (true, negative))
    for gradient in gradients:
        others = torch.cat([gradient[..., :2], gradient[..., 3:]], dim=-1)
        assert gradient[..., 2].abs().sum() > 0
        assert not others.any()


@pytest.mark.parametrize("objective", [case[0] for case in CASES], ids=str)
def test_order_of_the_negatives_does_not_matter(objective):
    true, negative, distance = energies(4)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(objective(true, negative[order], distance[order]), objective(true, negative, distance))


@pytest.mark.parametrize("objective", [case[0] for case in CASES], ids=str)
def test_gradients_stay_finite_at_extreme_energies(objective):
    true = torch.tensor([-1e4, 1e4, 0.0, 1e4], requires_grad=True)
    negative = torch.tensor([[1e4, -1e4, 1e4, 1e4]], requires_grad=True)
    loss = objective(true, negative, torch.ones(1, 4))
    assert loss.isfinite().all()
    for gradient in torch.autograd.grad(loss.sum(), (true, negative)):
        assert gradient.isfinite().all()


def test_nce_of_one_negative_is_a_softplus_with_a_gradient_on_both_tails():
    true = torch.tensor([-30.0, -3.0, 0.0, 3.0, 30.0], requires_grad=True)
    loss = NCEObjective(temperature=2.0)(true, torch.zeros(1, 5), torch.zeros(1, 5))
    torch.testing.assert_close(loss, torch.nn.functional.softplus(true / 2.0))
    (gradient,) = torch.autograd.grad(loss.sum(), true)
    torch.testing.assert_close(gradient, torch.sigmoid(true / 2.0) / 2.0)
    assert gradient.ne(0).all()


def test_margin_is_silent_once_kept():
    true = torch.tensor([0.0, 0.0], requires_grad=True)
    loss = MarginObjective()(true, torch.tensor([[2.0, 0.5]]), torch.tensor([[1.0, 1.0]]))
    assert loss.tolist() == [0.0, 0.5]
    assert torch.autograd.grad(loss.sum(), true)[0].tolist() == [0.0, 1.0]


def test_no_objective_has_no_gradient():
    true, negative, distance = (tensor.requires_grad_() for tensor in energies(3))
    loss = NoObjective()(true, negative, distance)
    assert torch.equal(loss, torch.zeros(7, dtype=torch.float64))
    assert not loss.requires_grad


@pytest.mark.parametrize(
    ("true", "negative", "distance", "message"),
    [
        ((4, 1), (1, 4), (1, 4), "Expected `energy_true` to have shape (N,), but got (4, 1)."),
        (
            (4,),
            (4, 1),
            (4, 1),
            "Expected `energy_negative` to have shape (K, 4), one row per negative, but got (4, 1).",
        ),
        ((4,), (4,), (4,), "Expected `energy_negative` to have shape (K, 4), one row per negative, but got (4,)."),
        (
            (4,),
            (0, 4),
            (0, 4),
            "Expected `energy_negative` to have shape (K, 4), one row per negative, but got (0, 4).",
        ),
        (
            (4,),
            (2, 4),
            (4,),
            "Expected `distance` and `energy_negative` to have the same shape, but got (4,) and (2, 4).",
        ),
        (
            (4,),
            (2, 4),
            (1, 4),
            "Expected `distance` and `energy_negative` to have the same shape, but got (1, 4) and (2, 4).",
        ),
    ],
)
@pytest.mark.parametrize("objective", [LogisticObjective(), MarginObjective()], ids=str)
def test_nothing_is_broadcast(objective, true, negative, distance, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        objective(torch.zeros(true), torch.zeros(negative), torch.zeros(distance))


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: NCEObjective(temperature=0.0), "Expected `temperature` to be above 0, but got 0.0."),
        (lambda: NCEObjective(temperature=math.nan), "Expected `temperature` to be above 0, but got nan."),
        (lambda: MarginObjective(ratio=-1.0), "Expected `ratio` to be above 0, but got -1.0."),
    ],
)
def test_wrong_arguments(factory, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        factory()


def test_objectives_are_plain_frozen_data():
    assert MarginObjective(ratio=2.0) == MarginObjective(ratio=2.0) != MarginObjective()
    assert len({NCEObjective(), NCEObjective(1.0), LogisticObjective()}) == 2
    assert pickle.loads(pickle.dumps(NCEObjective(0.5))) == copy.deepcopy(NCEObjective(0.5)) == NCEObjective(0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        NCEObjective().temperature = 2.0
    with pytest.raises(TypeError, match="abstract"):
        Objective()


def test_objectives_come_from_a_config():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--objective", type=Objective)
    spec = {"class_path": "seal_lightning.objectives.MarginObjective", "init_args": {"ratio": 0.5}}
    config = parser.parse_object({"objective": spec})
    assert parser.parse_string(parser.dump(config)) == config
    assert parser.instantiate_classes(config).objective == MarginObjective(ratio=0.5)


def test_penalty_matches_a_closed_form():
    # E = a . y + |y|^2 has the slope a + 2 y.
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(5, 4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    a = torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    penalty = gradient_penalty((a * truth).sum((1, 2)) + truth.square().sum((1, 2)), truth)
    slopes = a.detach().numpy() + 2 * truth.detach().numpy()
    np.testing.assert_allclose(penalty.detach().numpy(), [0.5 * np.sum(slope**2) for slope in slopes])
    (gradient,) = torch.autograd.grad(penalty.sum(), a)
    np.testing.assert_allclose(gradient.numpy(), slopes.sum(0))


def test_penalty_leaves_the_graph_of_the_energy_usable():
    truth = torch.ones(2, 1, 3, requires_grad=True)
    scale = torch.tensor(3.0, requires_grad=True)
    energy = scale * truth.sum((1, 2))
    (energy.sum() + gradient_penalty(energy, truth).sum()).backward()
    assert scale.grad.item() == 2 * 3 + 2 * 3 * 3.0  # dE/ds = 3 and d(1/2 * 3 s^2)/ds = 3 s, for two samples


@pytest.mark.parametrize(
    ("energy", "truth"), [((4, 1), (4, 17, 3)), ((4,), (2, 2, 17, 3)), ((3,), (4, 17, 3)), ((), (17, 3))]
)
def test_penalty_refuses_other_shapes(energy, truth):
    message = f"Expected `energy_true` and `truth` to have shapes (N,) and (N, J, 3), but got {energy} and {truth}."
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_penalty(torch.zeros(energy, requires_grad=True), torch.zeros(truth, requires_grad=True))


def test_penalty_needs_a_way_from_the_energy_to_the_truth():
    message = "Expected `truth` to require a gradient before `energy_true` is computed from it."
    truth = torch.zeros(4, 17, 3)
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_penalty(torch.zeros(4, requires_grad=True), truth)
    with pytest.raises(ValueError, match=re.escape(message)):
        gradient_penalty(torch.zeros(4), truth.requires_grad_())


def test_only_an_objective_that_says_so_is_left_without_distances():
    """Not a subclass with a loss of its own, and not a function."""

    class Weighted(LogisticObjective):
        def loss(self, energy_true, energy_negative, distance):
            return super().loss(energy_true, energy_negative, distance) + distance.mean(0)

    class Renamed(LogisticObjective):
        pass

    assert not LogisticObjective().needs_distance
    assert not Renamed().needs_distance
    assert Weighted().needs_distance
    assert MarginObjective().needs_distance
    poses = torch.randn(4, 17, 3), torch.randn(4, 17, 3), torch.randn(4, 17, 2)
    seen = []

    def watched(energy_true, energy_negative, distance):
        seen.append(distance)
        return LogisticObjective()(energy_true, energy_negative, distance)

    for objective in (Weighted(), watched):
        criterion = SealLoss("h36m17", [EnergyTerm(MLPLossNet, objective=objective)])
        assert torch.isfinite(criterion.ranking_loss(*poses))
    truth = criterion.frame(poses[1], poses[2])
    negative = criterion.frame(poses[0], poses[2]).pose
    torch.testing.assert_close(seen[0], (negative - truth.pose).norm(dim=-1).mean(-1)[None])
