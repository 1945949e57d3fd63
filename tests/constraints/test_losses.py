"""Explicit constraints: their values against plain loops, their gradients, and `constrain` against a loss by hand."""

import re

import numpy as np
import pytest
import torch

from seal_lightning import SealConfig, SealMixin
from seal_lightning.constraints import (
    BoneDirectionConstraint,
    BoneLengthConstraint,
    PairwiseDistanceConstraint,
    SymmetryConstraint,
    TemporalVarianceConstraint,
    constrain,
)
from seal_lightning.skeleton import Skeleton, get_skeleton
from tests import hosts

H36M = get_skeleton("h36m17")


def length(pose, i, j):
    return sum((a - b) ** 2 for a, b in zip(pose[i], pose[j], strict=True)) ** 0.5


def both(visible, *joints):
    return all(visible[joint] for joint in joints)


def loop_bone_length(prediction, target, visible):
    return [abs(length(prediction, c, p) - length(target, c, p)) for c, p in H36M.bones if both(visible, c, p)]


def loop_symmetry(prediction, target, visible):
    errors = []
    for left, right in zip(H36M.left, H36M.right, strict=True):
        ends = (left, H36M.parents[left], right, H36M.parents[right])
        if both(visible, *ends):
            errors.append(abs(length(prediction, *ends[:2]) - length(prediction, *ends[2:])))
    return errors


def loop_bone_direction(prediction, target, visible):
    errors = []
    for c, p in H36M.bones:
        if both(visible, c, p):
            unit = (prediction[c] - prediction[p]) / length(prediction, c, p)
            true_unit = (target[c] - target[p]) / length(target, c, p)
            errors.append(length(target, c, p) ** 2 * ((unit - true_unit) ** 2).sum())
    return errors


def loop_pairwise(prediction, target, visible):
    pairs = [(i, j) for i in range(17) for j in range(i) if both(visible, i, j)]
    return [abs(length(prediction, i, j) - length(target, i, j)) for i, j in pairs]


SINGLE = {
    BoneLengthConstraint: loop_bone_length,
    SymmetryConstraint: loop_symmetry,
    BoneDirectionConstraint: loop_bone_direction,
    PairwiseDistanceConstraint: loop_pairwise,
}
ALL = [*SINGLE, TemporalVarianceConstraint]


def random_clips():
    rng = np.random.default_rng(0)
    return rng.normal(size=(3, 4, 17, 3)), rng.normal(size=(3, 4, 17, 3)), rng.random((3, 4, 17)) > 0.2


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize("masked", [False, True])
def test_against_loops(kind, masked):
    prediction, target, visible = random_clips()
    if not masked:
        visible = np.ones_like(visible)
    prediction[~visible], target[~visible] = np.nan, np.nan
    tensors = [torch.from_numpy(array) for array in (prediction, target, visible)]
    losses = kind("h36m17")(*tensors[:2], visibility=tensors[2] if masked else None)
    assert losses.shape == (3, 4)
    for index in np.ndindex(3, 4):
        expected = np.mean(SINGLE[kind](prediction[index], target[index], visible[index]) or [0.0])
        np.testing.assert_allclose(losses[index].item(), expected, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_temporal_variance_against_loops(masked):
    prediction, target, visible = random_clips()
    if not masked:
        visible = np.ones_like(visible)
    visible[1, 1:, 6] = False  # a bone that is seen in a single frame has no variance
    prediction[~visible] = np.nan
    mask = torch.from_numpy(visible)
    losses = TemporalVarianceConstraint(H36M)(torch.from_numpy(prediction), torch.from_numpy(target), mask)
    for b in range(3):
        lengths = {
            (c, p): {t: length(prediction[b, t], c, p) for t in range(4) if both(visible[b, t], c, p)}
            for c, p in H36M.bones
        }
        for t in range(4):
            errors = [(of[t] - np.mean(list(of.values()))) ** 2 for of in lengths.values() if t in of and len(of) > 1]
            np.testing.assert_allclose(losses[b, t].item(), np.mean(errors), rtol=1e-10)


def test_temporal_variance_is_the_variance():
    prediction, target, _ = map(torch.from_numpy, random_clips())
    child, parent = (list(ends) for ends in zip(*H36M.bones, strict=True))
    lengths = (prediction[..., child, :] - prediction[..., parent, :]).norm(dim=-1)
    losses = TemporalVarianceConstraint(H36M)(prediction, target)
    torch.testing.assert_close(losses.mean(1), lengths.var(dim=1, correction=0).mean(-1))


@pytest.mark.parametrize("kind", ALL)
def test_neither_place_nor_rotation_matters(kind):
    prediction, target, _ = map(torch.from_numpy, random_clips())
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))
    shift = torch.randn(3, 4, 1, 3, dtype=torch.float64)
    constraint = kind("h36m17")
    torch.testing.assert_close(
        constraint(prediction @ turn + shift, target @ turn - shift), constraint(prediction, target)
    )


@pytest.mark.parametrize("kind", ALL)
def test_scale_goes_along_with_the_unit(kind):
    prediction, target, _ = map(torch.from_numpy, random_clips())
    power = 2 if kind in (BoneDirectionConstraint, TemporalVarianceConstraint) else 1
    constraint = kind("h36m17")
    torch.testing.assert_close(
        constraint(1000 * prediction, 1000 * target), 1000**power * constraint(prediction, target)
    )


@pytest.mark.parametrize("kind", [BoneLengthConstraint, BoneDirectionConstraint, PairwiseDistanceConstraint])
def test_the_truth_has_no_loss(kind):
    _, target, _ = map(torch.from_numpy, random_clips())
    assert kind("h36m17")(target, target).abs().max() < 1e-12


@pytest.mark.parametrize("kind", ALL)
def test_gradient_of_a_collapsed_pose_is_finite_and_that_of_a_random_one_right(kind):
    prediction, target, visible = map(torch.from_numpy, random_clips())
    prediction, target, visible = prediction[:1, :2], target[:1, :2], visible[:1, :2]
    constraint = kind("h36m17")
    assert torch.autograd.gradcheck(lambda x: constraint(x, target, visible), prediction.clone().requires_grad_())
    for pose in (torch.zeros(1, 2, 17, 3), 1e-30 * prediction.float()):
        pose = pose.requires_grad_()
        for truth in (target.float(), torch.zeros(1, 2, 17, 3)):
            loss = constraint(pose, truth)
            (gradient,) = torch.autograd.grad(loss.sum(), pose)
            assert loss.isfinite().all()
            assert gradient.abs().max() < 1e5


def test_direction_pulls_even_at_length_zero():
    bone = Skeleton.from_parents([-1, 0])
    target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
    prediction = torch.zeros(2, 3, requires_grad=True)
    loss = BoneDirectionConstraint(bone)(prediction, target)
    assert loss.item() == 4.0
    loss.backward()
    assert prediction.grad[1, 0] < 0
    assert not prediction.grad[1, 1:].any()


@pytest.mark.parametrize("kind", ALL)
def test_nothing_visible_is_no_loss_and_no_gradient(kind):
    prediction = torch.full((2, 3, 17, 3), torch.nan, requires_grad=True)
    loss = kind("h36m17")(prediction, torch.zeros(2, 3, 17, 3), torch.zeros(2, 3, 17))
    loss.sum().backward()
    assert not loss.any()
    assert not prediction.grad.any()


def test_they_are_values():
    assert BoneLengthConstraint("h36m17") == BoneLengthConstraint(H36M)
    assert hash(SymmetryConstraint("coco17")) != hash(SymmetryConstraint("h36m17"))


@pytest.mark.parametrize("shape", [(17, 3), (4, 17, 3), (4, 1, 17, 3)])
def test_temporal_variance_needs_clips(shape):
    message = f"shape (B, T, 17, 3) with at least 2 frames, but got {shape}."
    with pytest.raises(ValueError, match=re.escape(message)):
        TemporalVarianceConstraint("h36m17")(torch.zeros(shape), torch.zeros(shape))


def test_errors():
    with pytest.raises(ValueError, match="Expected `skeleton` to have paired bones on the left and right"):
        SymmetryConstraint(Skeleton.from_parents([-1, 0]))
    pose = torch.zeros(2, 17, 3)
    with pytest.raises(ValueError, match=r"same shape, but got \(2, 17, 3\) and \(1, 17, 3\)"):
        BoneLengthConstraint("h36m17")(pose, pose[:1])
    with pytest.raises(ValueError, match="`visibility` to have one entry per joint"):
        BoneLengthConstraint("h36m17")(pose, pose, torch.ones(17))
    with pytest.raises(ValueError, match="`skeleton` to be one of"):
        BoneLengthConstraint("h36m18")
    with pytest.raises(ValueError, match="Expected a model with `automatic_optimization`"):
        constrain(hosts.ManualHost(), BoneLengthConstraint("h36m17"), weight=1.0)


def fit(make_trainer, model, max_epochs=1):
    torch.manual_seed(1)
    make_trainer(max_epochs=max_epochs).fit(model, model.loader(shuffle=False))
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class PlainHost(hosts.ForwardHost):
    def configure_optimizers(self):  # Adam would blow up the rounding errors of gradients that are zero
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ByHand(PlainHost):
    """The host with two constraints written into its loss: what `constrain` has to equal."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        prediction = self(x)
        added = 0.5 * BoneLengthConstraint("h36m17")(prediction, y).mean()
        return hosts.distance(prediction, y) + added + 0.2 * SymmetryConstraint("h36m17")(prediction, y).mean()


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class SkippingHost(hosts.ForwardHost):
    def training_step(self, batch, batch_idx):
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


def built(kind, **kwargs):
    torch.manual_seed(0)
    return kind(**kwargs)


def test_constrain_equals_the_loss_written_by_hand(make_trainer):
    model = built(PlainHost)
    constrain(model, BoneLengthConstraint("h36m17"), weight=0.5)
    constrain(model, SymmetryConstraint("h36m17"), weight=0.2)
    constrained, by_hand = fit(make_trainer, model), fit(make_trainer, built(ByHand))
    torch.testing.assert_close(constrained, by_hand, rtol=0, atol=1e-6)
    assert not torch.allclose(constrained, fit(make_trainer, built(PlainHost)), atol=1e-3)


@pytest.mark.parametrize("host", [hosts.ForwardHost, hosts.ChildHost, hosts.DictHost, SkippingHost])
def test_constrain_with_weight_zero_changes_nothing(make_trainer, host):
    model = built(host)
    constrain(model, BoneLengthConstraint("h36m17"), weight=0.0)
    plain = built(host)
    assert torch.equal(fit(make_trainer, model), fit(make_trainer, plain))
    assert model.state_dict().keys() == plain.state_dict().keys()


def test_constrain_goes_with_seal_and_lowers_what_it_constrains(make_trainer):
    errors = []
    for weight in (0.0, 5.0):
        model = built(SealHost, seal=SealConfig())
        constrain(model, BoneLengthConstraint("h36m17"), weight)
        fit(make_trainer, model, max_epochs=15)
        x, y = next(iter(model.loader(shuffle=False)))
        errors.append(BoneLengthConstraint("h36m17")(model.eval()(x), y).mean().item())
        assert "ranking_accuracy" in model.seal.stats
    assert errors[1] < 0.9 * errors[0]


def test_constrain_says_where_there_is_no_prediction():
    model = hosts.AmbiguousHost()
    constrain(model, BoneLengthConstraint("h36m17"), weight=1.0)
    with pytest.raises(ValueError, match="several pairs"):
        model.training_step(next(iter(model.loader())), 0)
