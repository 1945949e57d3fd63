"""Penalties on the slope of the energy: against their formulas written out, and as part of a training."""

import copy
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from seal_lightning import EnergyTerm, SealConfig, SealLoss, Skeleton, get_skeleton
from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, LossNet, MLPLossNet, StructureLossNet
from seal_lightning.loss_nets.frame import FramedPoses
from seal_lightning.negatives import BoneLengthNegatives, GaussianNegatives, PredictionNegatives
from seal_lightning.objectives import (
    R1,
    DenoisingScore,
    GradientPenalty,
    InterpolatedPenalty,
    LogisticObjective,
    NoObjective,
    WassersteinObjective,
    gradient_penalty,
)
from seal_lightning.training.optimization import LossNetOptimization

H36M, COCO = get_skeleton("h36m17"), get_skeleton("coco17")  # one root joint; the mean of two
PAIR = Skeleton.from_parents([-1, 0])
KCS = partial(KCSLossNet, hidden=12, pose_hidden=8)
NETS = {
    "kcs": KCS,
    "mlp": partial(MLPLossNet, hidden=16, stages=1),
    "graph": partial(GraphLossNet, dim=16, depth=2, heads=2),
    "structure": partial(StructureLossNet, hidden=16, depth=2),
}
WGAN = {"objective": WassersteinObjective(), "gradient_penalty": InterpolatedPenalty(weight=3.0)}
PRIOR = {"objective": NoObjective(), "gradient_penalty": DenoisingScore()}
each_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
each_rival = pytest.mark.parametrize("rival", [WGAN, PRIOR], ids=["wgan", "prior"])


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def framed(samples=5, hidden=(), skeleton=H36M):
    """True poses in float64; `hidden` are pairs of sample and joint that are invisible."""
    pose, keypoints, seen = randn(samples, 17, 3), randn(samples, 17, 2, seed=1), torch.ones(samples, 17).double()
    pose = pose - pose[:, list(skeleton.root_joints)].mean(1, keepdim=True)
    for sample, joint in hidden:
        pose[sample, joint], keypoints[sample, joint], seen[sample, joint] = 0, 0, 0
    return FramedPoses(pose, keypoints, seen, torch.ones(samples).double())


def draw(penalty, truth, negative=None, skeleton=H36M, seed=0):
    negative = truth.pose + randn(*truth.pose.shape, seed=2) * truth.seen[..., None] if negative is None else negative
    return penalty.draw(truth, negative, skeleton, torch.Generator().manual_seed(seed)), negative


def costs(probe, energy):
    """The penalties of an energy that is a function of the pose."""
    pose = probe.pose.clone().requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        return probe.penalty(energy(pose), pose)


def batch(samples=6, frames=None, seed=0):
    shape = (samples, 17) if frames is None else (samples, frames, 17)
    target, keypoints = randn(*shape, 3, seed=seed), randn(*shape, 2, seed=seed + 1)
    prediction = target + 0.3 * randn(*shape, 3, seed=seed + 2)
    return prediction.float().requires_grad_(), target.float(), keypoints.float()


@each_net
def test_the_critics_loss_is_wgan_gp_written_out(net):
    """Sample by sample, with the critic D = -E of the paper: D(fake) - D(real) + weight * (|dD/dx| - 1)^2."""
    torch.manual_seed(0)
    critic = net("h36m17").double()
    truth = framed()
    probe, negative = draw(InterpolatedPenalty(weight=10.0), truth)

    def energy(pose):
        return critic(truth.keypoints_2d, pose)

    ranked = WassersteinObjective()(energy(truth.pose), energy(negative)[None], torch.ones(1, 5))
    got = ranked + costs(probe, energy)
    shares = torch.rand((5, 1, 1), generator=torch.Generator().manual_seed(0)).flatten().tolist()
    expected = []
    for i, share in enumerate(shares):
        real, fake = truth.pose[i], negative[i]
        between = (share * fake + (1 - share) * real).requires_grad_()

        def score(pose, i=i):
            with sdpa_kernel(SDPBackend.MATH):
                return -critic(truth.keypoints_2d[i : i + 1], pose[None])[0]

        (slope,) = torch.autograd.grad(score(between), between, create_graph=True)
        expected.append(score(fake) - score(real) + 10 * (slope.flatten().norm() - 1) ** 2)
    expected = torch.stack(expected)
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)
    parameters = list(critic.parameters())
    mine = torch.autograd.grad(got.sum(), parameters, allow_unused=True, materialize_grads=True)
    theirs = torch.autograd.grad(expected.sum(), parameters, allow_unused=True, materialize_grads=True)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_the_ranking_loss_is_wgan_gp_of_the_first_negative(update):
    """Through the whole criterion, by the public loss-net: the penalty is taken on the way to row 0 alone."""
    seen = []

    class Spy(InterpolatedPenalty):
        def draw(self, truth, negative, skeleton, generator):
            probe = super().draw(truth, negative, skeleton, generator)
            seen.append((truth.pose, negative, probe.pose.clone().requires_grad_()))
            return probe

    class TwoNegatives(PredictionNegatives):
        count = 2

        def draw(self, truth, prediction, skeleton, generator):
            return torch.stack([prediction, 2 * prediction])

    term = EnergyTerm(KCS, objective=WassersteinObjective(), negatives=(TwoNegatives(),), gradient_penalty=Spy(3.0))
    loss = SealLoss("h36m17", [term], update=update)
    prediction, target, keypoints = batch()
    got = loss.ranking_loss(prediction, target, keypoints)
    ((truth, negative, between),) = seen
    assert torch.equal(negative, loss.frame(prediction.detach(), keypoints).pose)
    critic = partial(loss.loss_nets["energy_0"], keypoints)
    (slope,) = torch.autograd.grad(critic(between).sum(), between)
    penalty = 3 * (slope.flatten(1).norm(dim=1) - 1) ** 2
    expected = critic(truth) - (critic(negative) + critic(2 * negative)) / 2 + penalty
    torch.testing.assert_close(got, expected.mean())


def test_interpolates_lie_on_the_way():
    truth = framed(samples=400)
    probe, negative = draw(InterpolatedPenalty(), truth)
    way, gone = (negative - truth.pose).flatten(1), (probe.pose - truth.pose).flatten(1)
    share = (gone * way).sum(1) / way.square().sum(1)
    torch.testing.assert_close(gone, share[:, None] * way, rtol=0, atol=1e-12)
    assert 0 <= share.min() < 0.02 < 0.98 < share.max() <= 1
    np.testing.assert_allclose(np.sort(share.numpy()), (np.arange(400) + 0.5) / 400, atol=0.08)  # uniform


def test_at_slope_one_it_costs_nothing_and_at_slope_zero_it_can_be_differentiated():
    truth = framed()
    probe, _ = draw(InterpolatedPenalty(weight=5.0), truth)
    direction = nn.functional.normalize(randn(51, seed=4), dim=0).view(17, 3)
    scale = torch.tensor([1.0, 0.0, 3.0, -2.0, 1e-9], dtype=torch.float64, requires_grad=True)
    penalty = costs(probe, lambda pose: scale * (pose * direction).sum((1, 2)))
    expected = 5 * (scale.abs() - 1) ** 2
    torch.testing.assert_close(penalty, expected, rtol=1e-5, atol=1e-12)
    (gradient,) = torch.autograd.grad(penalty.sum(), scale)
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0, 20, -10, 0]).double(), rtol=0, atol=1e-9)


def test_a_denoising_score_is_what_it_says():
    """A loop over samples, joints and coordinates, with two invisible joints; E = |y|^2 * 1.5 has the slope 3 y."""
    truth = framed(hidden=[(1, 4), (3, 16)])
    probe, _ = draw(DenoisingScore(low=0.3, high=0.3, weight=2.0), truth)
    got = costs(probe, lambda pose: 1.5 * pose.square().sum((1, 2)))
    for i in range(5):
        terms = []
        for j in range(17):
            free = truth.seen[i, j] > 0 and j not in H36M.root_joints
            for c in range(3):
                clean, noised = truth.pose[i, j, c].item(), probe.pose[i, j, c].item()
                if free:
                    terms.append((0.3 * 3 * noised - (noised - clean) / 0.3) ** 2)
                else:
                    assert noised == clean == 0
        assert got[i].item() == pytest.approx(2 * sum(terms) / len(terms), rel=1e-9)


@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["one root", "two roots"])
def test_the_noise_is_white_and_leaves_the_root(skeleton):
    truth = framed(samples=4000, hidden=[(0, 3), (0, skeleton.root_joints[0])], skeleton=skeleton)
    probe, _ = draw(DenoisingScore(low=0.2, high=0.2), truth, skeleton=skeleton)
    noise = (probe.pose - truth.pose) / 0.2
    assert not noise[0, [3, skeleton.root_joints[0]]].any()
    roots = list(skeleton.root_joints)
    torch.testing.assert_close(noise[:, roots].mean(1), torch.zeros(4000, 3).double(), rtol=0, atol=1e-12)
    others = [joint for joint in range(17) if joint not in roots]
    covariance = torch.cov(noise[1:, others].flatten(1).T)
    torch.testing.assert_close(covariance, torch.eye(len(covariance)).double(), rtol=0, atol=0.1)


def test_only_the_slope_along_which_poses_differ_counts():
    """An energy that falls with the position of the body, or with an invisible joint, costs no more than a flat one."""
    for skeleton in (H36M, COCO):
        truth = framed(hidden=[(1, 9)], skeleton=skeleton)
        probe, _ = draw(DenoisingScore(), truth, skeleton=skeleton)
        flat = costs(probe, lambda pose: 0 * pose.sum((1, 2)))
        roots = list(skeleton.root_joints)
        tilted = costs(probe, lambda pose, roots=roots: 7 * pose[:, roots].sum((1, 2)))
        torch.testing.assert_close(tilted, flat, rtol=1e-9, atol=0)
        hidden = costs(probe, lambda pose: 7 * pose[:, 9].sum(1))
        assert hidden[1] == flat[1]
        assert (hidden != flat).sum() == 4


def test_noise_levels_are_log_uniform():
    truth = framed(samples=2000)
    probe, _ = draw(DenoisingScore(low=0.01, high=1.0), truth)
    sigma = (probe.pose - truth.pose)[:, 1:].flatten(1).std(dim=1)
    quantiles = torch.quantile(sigma.log10(), torch.tensor([0.1, 0.5, 0.9]).double())
    torch.testing.assert_close(quantiles, torch.tensor([-1.8, -1.0, -0.2]).double(), rtol=0, atol=0.07)


class Smooth(LossNet):
    """A small net without a bound on its energy."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.layers = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1))

    def forward(self, keypoints_2d, pose):
        return self.layers(pose.flatten(1)).squeeze(1)


def test_the_energy_of_gaussian_poses_has_their_score():
    """Poses N(mu, s^2) with noise sigma: the slope of the energy is (y - mu) / (s^2 + sigma^2)."""
    mean, spread, sigma = torch.tensor([0.5, -0.5, 1.0]), torch.tensor([0.3, 0.6, 0.9]), 0.4
    term = EnergyTerm(Smooth, objective=NoObjective(), gradient_penalty=DenoisingScore(low=sigma, high=sigma))
    loss = SealLoss(PAIR, [term])
    loss.frame.bone_length.fill_(1.0)
    loss.eval()  # poses are in mean bone lengths already
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    generator, keypoints = torch.Generator().manual_seed(0), torch.zeros(512, 2, 2)
    for _ in range(600):
        poses = torch.zeros(512, 2, 3)
        poses[:, 1] = mean + spread * torch.randn(512, 3, generator=generator)
        optimizer.zero_grad()
        loss.ranking_loss(poses + 5, poses, keypoints).backward()
        optimizer.step()
        scheduler.step()
    poses = torch.zeros(512, 2, 3)
    poses[:, 1] = mean + (spread**2 + sigma**2).sqrt() * torch.randn(512, 3, generator=generator)
    _, slope = loss.loss_nets.slope("energy_0", loss.frame(poses, keypoints))
    analytic = (poses[:, 1] - mean) / (spread**2 + sigma**2)
    error = (slope[:, 1] - analytic).square().mean(0).sqrt() / analytic.square().mean(0).sqrt()
    assert (error < 0.1).all()


def test_several_noise_levels_make_a_mixture():
    """The penalty is least at the energy of a mixture in which sigma has a density in proportion to sigma."""
    low, high, spread, samples = 0.1, 1.0, 0.2, 200_000
    pose = torch.zeros(samples, 2, 3).double()
    pose[:, 1] = spread * randn(samples, 3)
    truth = FramedPoses(pose, torch.zeros(samples, 2, 2), torch.ones(samples, 2).double(), torch.ones(samples))
    probe, _ = draw(DenoisingScore(low=low, high=high), truth, negative=pose, skeleton=PAIR)
    levels = low * (high / low) ** ((torch.arange(60).double() + 0.5) / 60)  # equally dense in log sigma

    def mixture(power):
        def energy(pose):
            variance = spread**2 + levels**2
            log_density = -pose[:, 1].square().sum(1)[:, None] / (2 * variance) - 1.5 * variance.log()
            return -torch.logsumexp(log_density + (power + 1) * levels.log(), dim=1)  # d sigma = sigma d log sigma

        return energy

    def tendency(power):
        """Derivative of the mean penalty when the energy is made steeper by a bowl."""
        bowl = torch.zeros((), dtype=torch.float64, requires_grad=True)
        energy = mixture(power)
        steeper = costs(probe, lambda pose: energy(pose) + bowl * pose.square().sum((1, 2)))
        return torch.autograd.grad(steeper.mean(), bowl)[0].item()

    assert abs(tendency(1)) < 0.1 * min(abs(tendency(0)), abs(tendency(2)))


def test_a_prior_learns_from_the_truth_alone():
    gradients = []
    for seed in (0, 50):
        loss = SealLoss("h36m17", [EnergyTerm(NETS["mlp"], **PRIOR)])
        _, target, keypoints = batch()
        loss.ranking_loss(randn(6, 17, 3, seed=seed).float(), target, keypoints).backward()
        gradients.append([parameter.grad for parameter in loss.parameters() if parameter.grad is not None])
    assert len(gradients[0]) > 4
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_r1_is_what_a_number_stands_for():
    results = []
    for penalty in (0.3, R1(weight=0.3)):
        loss = SealLoss("h36m17", [EnergyTerm(NETS["graph"], gradient_penalty=penalty)])
        value = loss.ranking_loss(*batch())
        value.backward()
        results.append([value.detach(), *(parameter.grad for parameter in loss.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@pytest.mark.parametrize(
    ("penalty", "counts"), [(0.0, [12]), (0.1, [6, 6]), (R1(0.1), [6, 6]), (InterpolatedPenalty(), [12, 6])], ids=str
)
def test_no_pose_is_scored_twice(penalty, counts):
    scored = []

    class Counting(NETS["mlp"].func):
        def forward(self, keypoints_2d, pose):
            scored.append(len(pose))
            return super().forward(keypoints_2d, pose)

    make = partial(Counting, hidden=8, stages=1)
    SealLoss("h36m17", [EnergyTerm(make, gradient_penalty=penalty)]).ranking_loss(*batch())
    assert scored == counts


@each_rival
@each_net
@pytest.mark.parametrize("negatives", [(GaussianNegatives(), PredictionNegatives()), (BoneLengthNegatives(),)])
def test_one_pass_equals_two(net, rival, negatives):
    term = EnergyTerm(net, negatives=negatives, weight=0.1, **rival)
    labelled, results = torch.tensor([True] * 5 + [False]), []
    for update in ("alternating", "simultaneous"):
        loss = SealLoss("h36m17", [term], update=update)
        prediction, target, keypoints = batch(frames=2)
        loss.ranking_loss(prediction, target, keypoints, labelled=labelled).backward()
        learned = [torch.zeros_like(p) if p.grad is None else p.grad for p in loss.parameters()]
        loss.zero_grad()
        total = loss(prediction, target, keypoints, labelled=labelled)
        assert all(parameter.grad is None for parameter in loss.parameters())
        pull = torch.autograd.grad(total, prediction)[0]
        results.append((torch.cat([g.flatten() for g in learned]), total.detach(), pull))
    for separate, shared in zip(*results, strict=True):
        torch.testing.assert_close(shared, separate, rtol=2e-4, atol=1e-5 + 3e-5 * float(separate.abs().max()))


@each_rival
@each_net
def test_the_second_derivative_reaches_the_parameters(net, rival):
    """Every weight learns from the slope; every parameter has a finite gradient from objective and slope together."""
    loss = SealLoss("h36m17", [EnergyTerm(net, **{**rival, "objective": NoObjective()})])
    loss.ranking_loss(*batch()).backward()
    missed = [name for name, p in loss.named_parameters() if p.ndim > 1 and (p.grad is None or not p.grad.any())]
    assert not missed
    term = EnergyTerm(net, objective=LogisticObjective(), gradient_penalty=rival["gradient_penalty"])
    loss = SealLoss("h36m17", [term])
    loss.ranking_loss(*batch()).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in loss.parameters())
    assert all(parameter.grad.any() for parameter in loss.parameters())


@each_rival
def test_invisible_joints_and_unlabelled_samples_count_nowhere(rival):
    loss = SealLoss("h36m17", [EnergyTerm(KCS, **rival)])
    prediction, target, keypoints = batch()
    visibility, labelled = torch.ones(6, 17, dtype=torch.bool), torch.tensor([True] * 4 + [False] * 2)
    visibility[0, 5] = visibility[2, 9] = False
    visibility[3, H36M.root_joints[0]] = False  # a pose that is not counted at all
    values = []
    for spoiled in (0.0, math.nan):
        draws = copy.deepcopy(loss)
        other, hidden = target.clone(), keypoints.clone()
        other[0, 5] = other[2, 9] = other[3] = other[4:] = spoiled
        hidden[0, 5] = hidden[2, 9] = spoiled
        if math.isnan(spoiled):
            other[3] = target[3] * 1e3
        draws.train(False)
        draws.frame.bone_length.fill_(1.0)
        value = draws.ranking_loss(prediction, other, hidden, visibility, labelled)
        value.backward()
        values.append([value.detach(), *(p.grad for p in draws.parameters() if p.grad is not None)])
    assert len(values[0]) > 8
    for one, other in zip(*values, strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("penalty", [InterpolatedPenalty(), DenoisingScore()], ids=["wgan", "prior"])
def test_invisible_joints_stay_zero(penalty):
    truth = framed(hidden=[(0, 4), (2, 11)])
    probe, _ = draw(penalty, truth)
    assert not probe.pose[truth.seen == 0].any()
    assert probe.pose[truth.seen == 1].any(-1).sum() >= 5 * 16 - 2
    plain = costs(probe, lambda pose: pose.square().sum((1, 2)))
    leaning = costs(probe, lambda pose: pose.square().sum((1, 2)) + 9 * (pose.sum(-1) * (1 - truth.seen)).sum(1))
    torch.testing.assert_close(leaning, plain, rtol=0, atol=0)


@each_rival
def test_random_numbers_are_its_own(rival):
    def losses(seed, count=3):
        loss = SealLoss("h36m17", [EnergyTerm(KCS, **rival)], seed=seed)
        return torch.stack([loss.ranking_loss(*batch()).detach() for _ in range(count)])

    before = torch.get_rng_state()
    first = losses(1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(first, losses(1))
    assert not torch.equal(first, losses(2))
    assert len(set(first.tolist())) == 3


@each_rival
def test_a_checkpoint_restores_the_draws(rival):
    loss, other = (SealLoss("h36m17", [EnergyTerm(KCS, **rival)]) for _ in range(2))
    for _ in range(2):
        loss.ranking_loss(*batch())
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    assert torch.equal(loss.ranking_loss(*batch()), other.ranking_loss(*batch()))


@each_rival
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_waits_for_the_device(rival, precision, no_fetch):
    for update in ("alternating", "simultaneous"):
        loss = SealLoss("coco17", [EnergyTerm(NETS["graph"], **rival)], update=update, precision=precision)
        prediction, target, keypoints = batch()
        visibility, labelled = torch.ones(6, 17, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
        with no_fetch:
            loss.ranking_loss(prediction, target, keypoints, visibility, labelled).backward()
            loss(prediction, target, keypoints, visibility, labelled).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in loss.parameters())


def test_a_critic_keeps_its_slope_near_one():
    """What the penalty is for: the energies stay bounded, and the truth ends up below the predictions."""
    loss = SealLoss("h36m17", [EnergyTerm(KCS, **WGAN)])
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3, betas=(0.5, 0.9))
    shape = randn(17, 3, seed=9).float()
    for step in range(150):
        target = shape + 0.05 * randn(64, 17, 3, seed=step).float()
        prediction = target + 0.3 * randn(64, 17, 3, seed=1000 + step).float()
        optimizer.zero_grad()
        loss.ranking_loss(prediction, target, torch.zeros(64, 17, 2)).backward()
        optimizer.step()
    assert loss.stats["ranking_accuracy"] > 0.9
    _, slope = loss.loss_nets.slope("energy_0", loss.frame(prediction, torch.zeros(64, 17, 2)))
    assert 0.5 < slope.flatten(1).norm(dim=1).mean() < 2


def test_a_prior_is_trained_first_and_frozen_afterwards(tmp_path):
    first = SealConfig(loss_net=NETS["mlp"], weight=0.0, **PRIOR)
    trained = SealLoss("h36m17", first.terms())
    assert not first.terms()[0].pulls
    optimization = LossNetOptimization(trained, first)
    optimization.step(trained.ranking_loss(*batch()))
    torch.save({"seal": optimization.state_dict()}, tmp_path / "prior.ckpt")
    then = SealConfig(loss_net=NETS["mlp"], mode="static", checkpoint=str(tmp_path / "prior.ckpt"), **PRIOR)
    frozen = SealLoss("h36m17", then.terms(), seed=1)
    LossNetOptimization(frozen, then)
    prediction, target, keypoints = batch()
    pose = prediction.detach()
    assert torch.equal(frozen.energy(pose, keypoints)["energy_0"], trained.energy(pose, keypoints)["energy_0"])
    frozen(prediction, target, keypoints).backward()
    assert prediction.grad.any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: R1(0.0), "Expected `weight` to be above 0 and finite, but got 0.0"),
        (lambda: InterpolatedPenalty(-1), "Expected `weight` to be above 0 and finite, but got -1"),
        (lambda: DenoisingScore(weight=math.inf), "Expected `weight` to be above 0 and finite, but got inf"),
        (
            lambda: DenoisingScore(low=0.0),
            r"Expected 0 < `low` <= `high`, both finite, but got 0.0 and 0.2",
        ),
        (lambda: DenoisingScore(low=0.3), r"Expected 0 < `low` <= `high`, both finite, but got 0.3 and 0.2"),
        (lambda: DenoisingScore(high=math.inf), "both finite, but got 0.05 and inf"),
        (
            lambda: EnergyTerm(KCS, objective=WassersteinObjective()),
            "Expected `gradient_penalty` to be an InterpolatedPenalty to go with WassersteinObjective, .* got 0.0",
        ),
        (
            lambda: EnergyTerm(KCS, objective=WassersteinObjective(), gradient_penalty=R1(0.1)),
            r"InterpolatedPenalty to go with WassersteinObjective, .* got R1\(weight=0.1\)",
        ),
        (
            lambda: SealConfig(objective=WassersteinObjective()).terms(),
            "InterpolatedPenalty to go with WassersteinObjective, which is unbounded without it, but got Denoising",
        ),
        (
            lambda: EnergyTerm(KCS, objective=NoObjective()),
            "Expected a `gradient_penalty` for the loss-net to learn from with NoObjective, but got 0.0",
        ),
        (lambda: EnergyTerm(KCS, gradient_penalty=math.nan), "`gradient_penalty` to be finite and not negative"),
        (GradientPenalty, "abstract"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_penalty_of_ones_own():
    class AtTheNegative(GradientPenalty):
        def draw(self, truth, negative, skeleton, generator):
            return R1(1.0).draw(SimpleNamespace(pose=negative), negative, skeleton, generator)

    term = EnergyTerm(KCS, objective=NoObjective(), gradient_penalty=AtTheNegative())
    loss = SealLoss("h36m17", [term])
    prediction, target, keypoints = batch()
    got = loss.ranking_loss(prediction, target, keypoints)
    pose = loss.frame(prediction.detach(), keypoints).pose.requires_grad_()
    expected = gradient_penalty(loss.loss_nets["energy_0"](keypoints, pose), pose).mean()
    torch.testing.assert_close(got, expected)
