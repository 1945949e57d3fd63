"""`SealLoss` in a plain PyTorch loop: two gradients, one frame, masks, weights."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from seal_lightning import EnergyTerm, ForceRatio, SealLoss, get_skeleton
from seal_lightning.loss.forces import ForceControl
from seal_lightning.loss_nets import GraphLossNet, MLPLossNet
from seal_lightning.negatives import (
    BoneLengthNegatives,
    GaussianNegatives,
    InterpolationNegatives,
    OtherPoseNegatives,
    PredictionNegatives,
)
from seal_lightning.objectives import LogisticObjective, MarginObjective, NCEObjective, RegressionObjective
from tests.loss.energies import Height

SMALL = partial(MLPLossNet, hidden=16, stages=1)
GRAPH = partial(GraphLossNet, dim=16, depth=2, heads=2)


def poses(batch=6, frames=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 17) if frames is None else (batch, frames, 17)
    target = torch.randn(*shape, 3, generator=generator)
    prediction = target + 0.3 * torch.randn(*shape, 3, generator=generator)
    return prediction.requires_grad_(), target, torch.randn(*shape, 2, generator=generator)


def criterion(net=SMALL, **term):
    return SealLoss("h36m17", [EnergyTerm(net, **term)])


@pytest.mark.parametrize("frames", [None, 3])
def test_the_two_gradients_are_separate(frames):
    loss = criterion(GRAPH)
    prediction, target, keypoints = poses(frames=frames)
    loss.ranking_loss(prediction, target, keypoints).backward()
    assert prediction.grad is None
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in loss.parameters())
    loss.zero_grad(set_to_none=True)
    loss(prediction, target, keypoints).backward()
    assert prediction.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in loss.parameters())


def test_a_fixed_weight_is_the_papers_loss():
    """Value and gradient equal `task + weight * mean(E)` written out with plain autograd."""
    loss = criterion(Height, weight=0.01)
    prediction, target, keypoints = poses()
    loss.ranking_loss(prediction, target, keypoints)
    unit = (target[:, list(range(1, 17))] - target[:, list(get_skeleton("h36m17").parents[1:])]).norm(dim=-1).mean()
    aligned = (prediction - prediction[:, :1]) / unit
    expected = (prediction - target).norm(dim=-1).mean() + 0.01 * aligned.square().sum((-1, -2)).mean()
    got = loss(prediction, target, keypoints)
    torch.testing.assert_close(got, expected)
    (want,) = torch.autograd.grad(expected, prediction)
    (have,) = torch.autograd.grad(got, prediction)
    torch.testing.assert_close(have, want)


def test_force_ratio_holds_every_samples_pull():
    loss = criterion(weight=ForceRatio(0.25))
    prediction, target, keypoints = poses()
    loss.ranking_loss(prediction, target, keypoints)
    task = (prediction - target).norm(dim=-1).mean()
    (alone,) = torch.autograd.grad(task, prediction)
    (both,) = torch.autograd.grad(loss(prediction, target, keypoints), prediction)
    pull = (both - alone).flatten(1).norm(dim=1)
    torch.testing.assert_close(pull, torch.full((6,), 0.25) * alone.flatten(1).norm(dim=1).mean(), rtol=1e-4, atol=0)
    assert loss.stats["force_ratio"].item() == pytest.approx(0.25, rel=1e-4)
    energy = loss.energy(prediction, keypoints)["energy_0"]
    direction = torch.autograd.grad(energy.sum(), prediction)[0].flatten(1)
    cosine = torch.cosine_similarity((both - alone).flatten(1), direction)
    torch.testing.assert_close(cosine, torch.ones(6), rtol=0, atol=1e-5)


def test_force_ratio_without_task_gradient_does_not_pull():
    loss = SealLoss("h36m17", [EnergyTerm(SMALL)], task_loss=lambda prediction, target: 0 * prediction.sum())
    prediction, target, keypoints = poses()
    loss(prediction, target, keypoints).backward()
    assert torch.equal(prediction.grad, torch.zeros_like(prediction))
    assert loss.stats["force_ratio"] == 0


def test_force_ratio_bounds_what_it_amplifies():
    """A sample whose pull all but vanishes is scaled up ten times as much as an average one, and no more."""

    class Faint(Height):
        def forward(self, keypoints_2d, pose):
            return super().forward(keypoints_2d, pose) * torch.tensor([1e-6, 1, 1, 1, 1, 1])

    loss = criterion(Faint, weight=ForceRatio(0.1, amplification=10))
    prediction, target, keypoints = poses()
    (alone,) = torch.autograd.grad((prediction - target).norm(dim=-1).mean(), prediction)
    (both,) = torch.autograd.grad(loss(prediction, target, keypoints), prediction)
    pull = (both - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1).mean()
    torch.testing.assert_close(pull[1:], torch.full((5,), 0.1), rtol=1e-3, atol=0)
    assert pull[0] < 1e-5


def test_one_extreme_prediction_does_not_change_the_usual_pull():
    forces = ForceControl([ForceRatio(0.1)])
    ones, task = torch.ones(64), torch.tensor(1.0)
    forces(0, ones, task)
    extreme = ones.clone()
    extreme[5] = 1e12
    forces(0, extreme, task)
    assert forces.usual_pull.item() == pytest.approx(1.1)
    assert forces(0, 0.2 * ones, task).tolist() == pytest.approx([0.5] * 64)


@pytest.mark.parametrize("amplification", [1.0, 10.0])
def test_the_usual_pull_follows_a_loss_net_whose_pulls_grow(amplification):
    forces = ForceControl([ForceRatio(0.1, amplification=amplification)])
    pulls = [torch.ones(8), *[torch.full((8,), 100.0)] * 1000]
    for pull in pulls:
        forces(0, pull, torch.tensor(1.0))
    assert forces.usual_pull.item() == pytest.approx(100, rel=0.01)


def test_an_energy_that_pulls_nowhere_has_no_weight():
    class Flat(Height):
        def forward(self, keypoints_2d, pose):
            return 0 * super().forward(keypoints_2d, pose) + 3

    loss = criterion(Flat, weight=ForceRatio(0.1))
    prediction, _, keypoints = poses()
    value = loss.energy_loss(prediction, keypoints, torch.ones_like(prediction))
    assert value == 0
    assert loss.stats["weight"] == 0
    assert torch.equal(torch.autograd.grad(value, prediction)[0], torch.zeros_like(prediction))


@pytest.mark.parametrize("weight", [ForceRatio(0.1)])
def test_millimetres_and_metres_are_the_same(weight):
    """Energies, ranking loss and, relative to the task's, the pull do not depend on the unit."""
    results = []
    for unit in (1.0, 1000.0):
        loss = criterion(
            weight=weight, objective=MarginObjective(), negatives=(PredictionNegatives(), GaussianNegatives())
        )
        prediction, target, keypoints = poses()
        prediction = (prediction.detach() * unit).requires_grad_()
        ranking = loss.ranking_loss(prediction, target * unit, keypoints)
        total = loss(prediction, target * unit, keypoints)
        (gradient,) = torch.autograd.grad(total, prediction)
        results.append((ranking.detach(), loss.energy(prediction.detach(), keypoints)["energy_0"].detach(), gradient))
    for metres, millimetres in zip(*results, strict=True):
        torch.testing.assert_close(millimetres, metres, rtol=1e-4, atol=1e-6)


def test_energies_ignore_where_the_pose_stands():
    loss = criterion()
    prediction, _, keypoints = poses()
    here, there = loss.energy(prediction, keypoints), loss.energy(prediction + 5, keypoints)
    torch.testing.assert_close(here["energy_0"], there["energy_0"], rtol=1e-4, atol=1e-5)


def test_a_clip_is_scored_frame_by_frame():
    loss = criterion(GRAPH)
    prediction, target, keypoints = poses(frames=4)
    loss.ranking_loss(prediction, target, keypoints)
    clip = loss.energy(prediction, keypoints)["energy_0"]
    assert clip.shape == (6, 4)
    frame = loss.energy(prediction[:, 2], keypoints[:, 2])["energy_0"]
    torch.testing.assert_close(clip[:, 2], frame)


@pytest.mark.parametrize("frames", [None, 3])
def test_an_invisible_joint_changes_nothing(frames):
    """Whatever stands in an invisible joint, NaN included, every loss and every other gradient stays the same."""
    visibility = torch.ones((6, 17) if frames is None else (6, frames, 17), dtype=torch.bool)
    visibility[1, ..., 5] = visibility[3, ..., 12] = False
    results = []
    for filler in (0.0, 7.0, float("nan")):
        loss = criterion(negatives=(PredictionNegatives(), InterpolationNegatives(), BoneLengthNegatives()))
        prediction, target, keypoints = poses(frames=frames)
        with torch.no_grad():
            for tensor in (prediction, target, keypoints):
                tensor[~visibility] = filler
        ranking = loss.ranking_loss(prediction, target, keypoints, visibility)
        total = loss(prediction, target, keypoints, visibility)
        (gradient,) = torch.autograd.grad(total, prediction)
        results.append((ranking.detach(), total.detach(), gradient[visibility], loss.frame.bone_length.clone()))
        assert torch.equal(gradient[~visibility], torch.zeros_like(gradient[~visibility]))
    for other in results[1:]:
        for left, right in zip(results[0], other, strict=True):
            torch.testing.assert_close(left, right)
            assert torch.isfinite(left).all()


def test_a_pose_without_its_root_is_left_out():
    loss = criterion()
    prediction, target, keypoints = poses()
    visibility = torch.ones(6, 17, dtype=torch.bool)
    visibility[2, 0] = False
    some = [0, 1, 3, 4, 5]
    loss.ranking_loss(prediction[some], target[some], keypoints[some])
    ranked = copy.deepcopy(loss).eval().ranking_loss(prediction[some], target[some], keypoints[some])
    masked = copy.deepcopy(loss).eval().ranking_loss(prediction, target, keypoints, visibility)
    torch.testing.assert_close(ranked, masked)
    assert loss.energy(prediction, keypoints, visibility)["energy_0"][2] == 0


def test_unlabelled_samples_feel_the_energy_alone():
    labelled = torch.tensor([True, True, True, True, False, False])
    prediction, target, keypoints = poses()
    loss = criterion(weight=ForceRatio(0.1))
    first = loss.ranking_loss(prediction[:4], target[:4], keypoints[:4])
    state = copy.deepcopy(loss.state_dict())
    (alone,) = torch.autograd.grad((prediction[:4] - target[:4]).norm(dim=-1).mean(), prediction)
    target[4:] = torch.nan
    again = criterion(weight=ForceRatio(0.1))
    torch.testing.assert_close(again.ranking_loss(prediction, target, keypoints, labelled=labelled), first)
    torch.testing.assert_close(again.frame.bone_length, state["frame.bone_length"])
    (gradient,) = torch.autograd.grad(again(prediction, target, keypoints, labelled=labelled), prediction)
    pull = (gradient - alone).flatten(1).norm(dim=1)
    torch.testing.assert_close(pull, 0.1 * alone[:4].flatten(1).norm(dim=1).mean().expand(6), rtol=1e-3, atol=0)


def test_a_batch_without_labels_has_a_finite_loss():
    loss, labelled = criterion(), torch.zeros(6, dtype=torch.bool)
    prediction, target, keypoints = poses()
    target.fill_(torch.nan)
    loss.ranking_loss(prediction, target, keypoints, labelled=labelled).backward()
    loss(prediction, target, keypoints, labelled=labelled).backward()
    assert torch.isfinite(prediction.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in loss.parameters())


@pytest.mark.parametrize("objective", [LogisticObjective(), NCEObjective(), MarginObjective(), RegressionObjective()])
def test_training_ranks_truth_below_predictions(objective):
    loss = criterion(objective=objective, gradient_penalty=0.01)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-3)
    for step in range(150):
        prediction, target, keypoints = poses(batch=64, seed=step)
        target = target.index_select(1, torch.zeros(17, dtype=torch.long)) + torch.arange(17.0)[:, None] * 0.1
        prediction = target + 0.3 * torch.randn(target.shape, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        loss.ranking_loss(prediction, target, keypoints).backward()
        optimizer.step()
    assert loss.stats["ranking_accuracy"] > 0.95


OBJECTIVES = [
    LogisticObjective(),
    NCEObjective(),
    NCEObjective(temperature=1e-3),  # saturated: its gradient is zero for most samples
    MarginObjective(),
    MarginObjective(ratio=1e-4),  # inactive for the samples that are ranked well
    RegressionObjective(),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=str)
@pytest.mark.parametrize("penalty", [0.0, 0.3])
@pytest.mark.parametrize("negatives", [(GaussianNegatives(), PredictionNegatives()), (BoneLengthNegatives(),)])
def test_one_pass_equals_two(objective, penalty, negatives):
    """Simultaneous updates give the gradients of two separate passes, to both nets."""
    frames = 2 if penalty else None
    term = EnergyTerm(GRAPH, objective=objective, gradient_penalty=penalty, negatives=negatives)
    labelled = torch.tensor([True] * 5 + [False])
    results = []
    for update in ("alternating", "simultaneous"):
        loss = SealLoss("h36m17", [term], update=update)
        prediction, target, keypoints = poses(frames=frames)
        loss.ranking_loss(prediction, target, keypoints, labelled=labelled).backward()
        learned = torch.cat([parameter.grad.flatten() for parameter in loss.parameters()])
        shared = loss._passes
        loss.zero_grad()
        total = loss(prediction, target, keypoints, labelled=labelled)
        assert all(parameter.grad is None for parameter in loss.parameters())
        results.append((learned, total.detach(), torch.autograd.grad(total, prediction)[0], loss.stats["energy"]))
        assert (shared is not None) == (update == "simultaneous")
    (learned_two, *two), (learned_one, *one) = results
    atol = 5e-6 + 3e-5 * float(learned_two.abs().max())  # the floor of the cotangent is 1e-6
    torch.testing.assert_close(learned_one, learned_two, rtol=1e-4, atol=atol)
    for separate, shared in zip(two, one, strict=True):
        torch.testing.assert_close(shared, separate, rtol=2e-4, atol=2e-5 * float(separate.abs().max()))


def test_one_pass_scores_no_pose_twice(monkeypatch):
    counts = []

    class Counting(Height):
        def forward(self, keypoints_2d, pose):
            counts.append(len(pose))
            return super().forward(keypoints_2d, pose)

    loss = SealLoss("h36m17", [EnergyTerm(Counting)], update="simultaneous")
    prediction, target, keypoints = poses()
    loss.ranking_loss(prediction, target, keypoints).backward()
    loss(prediction, target, keypoints)
    assert counts == [12]
    loss(prediction, target, keypoints)
    assert counts == [12, 6]
    loss.ranking_loss(prediction, target, keypoints)
    loss(prediction, target, keypoints)
    assert counts == [12, 6, 12, 6]


def test_gradient_penalty_is_what_it_says():
    """With E = scale * |y|^2 the penalty is 0.5 * weight * |2 * scale * y|^2."""
    plain, penalised = criterion(Height), criterion(Height, gradient_penalty=0.5)
    prediction, target, keypoints = poses()
    extra = penalised.ranking_loss(prediction, target, keypoints) - plain.ranking_loss(prediction, target, keypoints)
    pose = plain.frame(target, keypoints).pose
    torch.testing.assert_close(extra, 0.5 * 0.5 * (2 * pose).square().sum((-1, -2)).mean())
    extra.backward()
    assert penalised.loss_nets["energy_0"].scale.grad != 0


def test_gradient_penalty_works_with_attention():
    loss = criterion(GRAPH, gradient_penalty=1.0)
    prediction, target, keypoints = poses()
    loss.ranking_loss(prediction, target, keypoints).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in loss.parameters())


def test_random_numbers_are_its_own():
    def losses(seed):
        net = partial(GraphLossNet, dim=16, depth=2, heads=2, dropout=0.3)
        negatives = (GaussianNegatives(), OtherPoseNegatives())
        loss = SealLoss("h36m17", [EnergyTerm(net, negatives=negatives)], seed=seed)
        prediction, target, keypoints = poses()
        return torch.stack([loss.ranking_loss(prediction, target, keypoints).detach() for _ in range(3)])

    before = torch.get_rng_state()
    first = losses(1)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(first, losses(1))
    assert not torch.equal(first, losses(2))
    assert len(set(first.tolist())) == 3


def test_state_dict_restores_the_stream_of_random_numbers():
    make = partial(criterion, negatives=(GaussianNegatives(),))
    loss, other = make(), make()
    prediction, target, keypoints = poses()
    for _ in range(3):
        loss.ranking_loss(prediction, target, keypoints)
    other.load_state_dict(copy.deepcopy(loss.state_dict()))
    torch.testing.assert_close(
        loss.ranking_loss(prediction, target, keypoints), other.ranking_loss(prediction, target, keypoints)
    )


def test_without_gradients_the_last_weight_counts():
    loss = criterion(weight=0.01)
    prediction, target, keypoints = poses()
    loss.ranking_loss(prediction, target, keypoints)
    with_gradients = loss(prediction, target, keypoints)
    with torch.no_grad():
        torch.testing.assert_close(loss(prediction, target, keypoints), with_gradients.detach())


def test_bfloat16_is_close_and_only_the_loss_nets():
    prediction, target, keypoints = poses()
    results = {}
    for precision in ("float32", "bfloat16"):
        loss = SealLoss("h36m17", [EnergyTerm(GRAPH)], precision=precision)
        loss.ranking_loss(prediction, target, keypoints).backward()
        results[precision] = loss.energy(prediction.detach(), keypoints)["energy_0"].detach()
        assert results[precision].dtype == torch.float32
        assert all(parameter.grad.dtype == torch.float32 for parameter in loss.parameters())
    assert not torch.equal(results["float32"], results["bfloat16"])
    torch.testing.assert_close(results["float32"], results["bfloat16"], rtol=0.1, atol=0.05)


def test_no_autocast_of_the_hosts_reaches_the_loss_nets():
    prediction, target, keypoints = poses()
    plain, under = criterion(GRAPH), criterion(GRAPH)
    expected = plain.ranking_loss(prediction, target, keypoints)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(under.ranking_loss(prediction, target, keypoints), expected, rtol=0, atol=0)


def test_several_energies_add_up():
    a, b = EnergyTerm(Height, weight=0.01, name="a"), EnergyTerm(Height, weight=0.02, name="b")
    prediction, target, keypoints = poses()
    both, one = SealLoss("h36m17", [a, b]), SealLoss("h36m17", [EnergyTerm(Height, weight=0.03)])
    assert list(both.energy(prediction, keypoints)) == ["a", "b"]
    torch.testing.assert_close(both(prediction, target, keypoints), one(prediction, target, keypoints))


@pytest.mark.parametrize("opposed", [False, True])
def test_several_force_ratios_are_bounded_by_their_sum(opposed):
    class Depth(Height):
        def forward(self, keypoints_2d, pose):
            return (-1 if opposed else 1) * super().forward(keypoints_2d, pose)

    terms = [EnergyTerm(Height, weight=ForceRatio(0.1), name="a"), EnergyTerm(Depth, weight=ForceRatio(0.3), name="b")]
    loss = SealLoss("h36m17", terms)
    prediction, target, keypoints = poses()
    (alone,) = torch.autograd.grad((prediction - target).norm(dim=-1).mean(), prediction)
    (both,) = torch.autograd.grad(loss(prediction, target, keypoints), prediction)
    pull = (both - alone).flatten(1).norm(dim=1) / alone.flatten(1).norm(dim=1).mean()
    torch.testing.assert_close(pull, torch.full((6,), 0.2 if opposed else 0.4), rtol=1e-3, atol=0)
    assert loss.stats["force_ratio"].item() == pytest.approx(0.4, rel=1e-3)


def test_nothing_waits_for_the_device(no_fetch):
    negatives = (PredictionNegatives(), GaussianNegatives(), BoneLengthNegatives(), OtherPoseNegatives())
    loss = criterion(GRAPH, negatives=negatives, gradient_penalty=0.1)
    prediction, target, keypoints = poses()
    visibility, labelled = torch.ones(6, 17, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    with no_fetch:
        loss.ranking_loss(prediction, target, keypoints, visibility, labelled).backward()
        loss(prediction, target, keypoints, visibility, labelled).backward()
        with pytest.raises(RuntimeError, match="waits for the device"):
            float(prediction.sum())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prediction": torch.zeros(6, 16, 3)},
            r"Expected `prediction` to be floating, \(B, 17, 3\) or .* \(6, 16, 3\)",
        ),
        ({"prediction": torch.zeros(6, 17, 3, dtype=torch.long)}, "Expected `prediction` to be floating.*int64"),
        (
            {"target": torch.zeros(5, 17, 3)},
            r"`prediction` and `target` to have the same shape, but got \(6, 17, 3\) and",
        ),
        ({"keypoints_2d": torch.zeros(6, 17, 4)}, r"Expected `keypoints_2d` to be \(6, 17, 2\) or \(6, 17, 3\) to go"),
        ({"visibility": torch.ones(6, 16)}, r"Expected `visibility` to be \(6, 17\), but got \(6, 16\)"),
        ({"labelled": torch.ones(6)}, r"Expected `labelled` to be bool of shape \(6,\), but got torch.float32"),
    ],
)
def test_bad_shapes(change, message):
    prediction, target, keypoints = poses()
    arguments = {"prediction": prediction, "target": target, "keypoints_2d": keypoints} | change
    for call in (criterion(), criterion().ranking_loss):
        with pytest.raises(ValueError, match=message):
            call(**arguments)


def test_bad_loss_net_output():
    class Column(Height):
        def forward(self, keypoints_2d, pose):
            return super().forward(keypoints_2d, pose)[:, None]

    prediction, target, keypoints = poses()
    with pytest.raises(ValueError, match=r"one energy a pose, shape \(12,\), but 'energy_0' returned \(12, 1\)"):
        criterion(Column).ranking_loss(prediction, target, keypoints)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: SealLoss(energies=[]),
            "Expected `energies` to be one or more terms with different names, but got \\[\\]",
        ),
        (lambda: SealLoss(energies=[EnergyTerm(SMALL, name="a")] * 2), "different names, but got \\['a', 'a'\\]"),
        (lambda: SealLoss(update="never"), "Expected `update` to be 'alternating' or 'simultaneous', but got 'never'"),
        (lambda: SealLoss(precision="half"), "Expected `precision` to be 'float32' or 'bfloat16', but got 'half'"),
        (lambda: SealLoss("nobody"), "Expected `skeleton` to be one of"),
        (lambda: EnergyTerm(SMALL, negatives=()), "Expected `negatives` to hold at least one source"),
        (lambda: EnergyTerm(SMALL, weight=-1), "Expected `weight` to be finite and not negative, but got -1"),
        (lambda: EnergyTerm(SMALL, gradient_penalty=-1), "Expected `gradient_penalty` to be finite and not negative"),
        (lambda: ForceRatio(-0.1), "Expected `ratio` to be finite and not negative, but got -0.1"),
        (
            lambda: ForceRatio(0.1, amplification=0.5),
            "Expected `amplification` to be finite and at least 1, but got 0.5",
        ),
    ],
)
def test_bad_configuration(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_scalar_task_loss_cannot_tell_labelled_samples():
    loss = SealLoss("h36m17", [EnergyTerm(SMALL)], task_loss=nn.functional.mse_loss)
    prediction, target, keypoints = poses()
    loss(prediction, target, keypoints).backward()
    with pytest.raises(ValueError, match="Expected `task_loss` to return one value per sample to go with `labelled`"):
        loss(prediction, target, keypoints, labelled=torch.ones(6, dtype=torch.bool))
