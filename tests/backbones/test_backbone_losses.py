"""The papers' loss terms against NumPy loops."""

import numpy as np
import pytest
import torch

from examples.backbones.losses import (
    MPJPE,
    MSE,
    NMPJPE,
    BoneVectorLoss,
    Smoothness,
    VelocityLoss,
    WeightedMPJPE,
    WeightedSum,
)

PARENTS = (-1, 0, 1, 1)
WEIGHTS = (1.0, 2.0, 0.5, 4.0)
TERMS = [MPJPE(), MSE(), WeightedMPJPE(WEIGHTS), NMPJPE(), VelocityLoss(), Smoothness(WEIGHTS), BoneVectorLoss(PARENTS)]
every_term = pytest.mark.parametrize("loss", TERMS, ids=lambda loss: type(loss).__name__)


def reference(name, prediction, target):
    """The mean over all frames (and joints, coordinates) of a term, one number after another."""
    numbers = []
    clips, frames, joints, _ = prediction.shape
    for clip in range(clips):
        for frame in range(frames):
            p, t = prediction[clip, frame], target[clip, frame]
            scale = float((p * t).sum() / (p * p).sum())
            before = None if frame == 0 else (prediction[clip, frame - 1], target[clip, frame - 1])
            for joint in range(joints):
                distance = np.sqrt(((p[joint] - t[joint]) ** 2).sum())
                bone = PARENTS[joint]
                if name == "MPJPE":
                    numbers.append(distance)
                elif name == "WeightedMPJPE":
                    numbers.append(WEIGHTS[joint] * distance)
                elif name == "NMPJPE":
                    numbers.append(np.sqrt(((scale * p[joint] - t[joint]) ** 2).sum()))
                elif name == "MSE":
                    numbers.extend((p[joint] - t[joint]) ** 2)
                elif name == "BoneVectorLoss" and bone >= 0:
                    numbers.extend(((p[joint] - p[bone]) - (t[joint] - t[bone])) ** 2)
                elif name == "VelocityLoss" and before:
                    steps = (p - before[0])[joint] - (t - before[1])[joint]
                    numbers.append(np.sqrt((steps**2).sum()))
                elif name == "Smoothness" and before:
                    numbers.extend(WEIGHTS[joint] * (p - before[0])[joint] ** 2)
    return np.mean(numbers)


@every_term
def test_against_a_loop(loss):
    prediction, target = torch.randn(2, 3, 4, 3), torch.randn(2, 3, 4, 3)
    expected = reference(type(loss).__name__, prediction.double().numpy(), target.double().numpy())
    assert loss(prediction, target).item() == pytest.approx(expected, rel=1e-5)


@every_term
def test_has_a_finite_gradient_at_the_truth_and_at_zero(loss):
    for start in (torch.zeros(2, 3, 4, 3), torch.randn(2, 3, 4, 3)):
        prediction = start.clone().requires_grad_()
        loss(prediction, start).backward()
        assert prediction.grad.isfinite().all()


@every_term
def test_refuses_other_shapes(loss):
    with pytest.raises(ValueError, match=r"same shape, but got \(2, 3, 4, 3\) and \(2, 4, 3\)"):
        loss(torch.zeros(2, 3, 4, 3), torch.zeros(2, 4, 3))


@pytest.mark.parametrize("loss", [VelocityLoss(), Smoothness(WEIGHTS)], ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("shape", [(2, 4, 3), (2, 1, 4, 3)])
def test_a_term_over_time_needs_time(loss, shape):
    with pytest.raises(ValueError, match=r"Expected clips .* of at least two frames"):
        loss(torch.zeros(shape), torch.zeros(shape))


def test_scale_is_free_in_the_normalised_error():
    prediction = torch.randn(2, 4, 3)
    assert NMPJPE()(prediction, 7 * prediction).item() == pytest.approx(0, abs=1e-5)


def test_a_sum_weighs_its_terms():
    prediction, target = torch.randn(2, 3, 4, 3), torch.randn(2, 3, 4, 3)
    loss = WeightedSum([MPJPE(), VelocityLoss(), MSE()], [1.0, 20.0, 0.5])
    expected = MPJPE()(prediction, target) + 20 * VelocityLoss()(prediction, target) + MSE()(prediction, target) / 2
    torch.testing.assert_close(loss(prediction, target), expected)


def test_a_sum_needs_a_weight_per_term():
    with pytest.raises(ValueError, match="Expected one weight per loss, but got 1 for 2"):
        WeightedSum([MPJPE(), MSE()], [1.0])


def test_weights_move_with_the_module_but_stay_out_of_checkpoints():
    for loss in (WeightedMPJPE(), Smoothness(), BoneVectorLoss()):
        assert loss.state_dict() == {}
        prediction = torch.zeros(1, 2, 17, 3, device="meta")
        assert loss.to("meta")(prediction, prediction).device.type == "meta"


def masked_reference(name, prediction, target, seen):
    """The mean over what is visible, one number after another."""
    numbers = []
    for clip, frame, joint in np.argwhere(seen):
        visible = [other for other in range(prediction.shape[2]) if seen[clip, frame, other]]
        p, t = prediction[clip, frame], target[clip, frame]
        distance, bone = np.sqrt(((p[joint] - t[joint]) ** 2).sum()), PARENTS[joint]
        before = frame > 0 and seen[clip, frame - 1, joint]
        if name == "MPJPE":
            numbers.append(distance)
        elif name == "WeightedMPJPE":
            numbers.append(WEIGHTS[joint] * distance)
        elif name == "MSE":
            numbers.extend((p[joint] - t[joint]) ** 2)
        elif name == "NMPJPE":
            scale = (p[visible] * t[visible]).sum() / (p[visible] ** 2).sum()
            numbers.append(np.sqrt(((scale * p[joint] - t[joint]) ** 2).sum()))
        elif name == "BoneVectorLoss" and bone in visible:
            numbers.extend(((p[joint] - p[bone]) - (t[joint] - t[bone])) ** 2)
        elif name == "VelocityLoss" and before:
            steps = (p - prediction[clip, frame - 1])[joint] - (t - target[clip, frame - 1])[joint]
            numbers.append(np.sqrt((steps**2).sum()))
        elif name == "Smoothness" and before:
            numbers.extend(WEIGHTS[joint] * (p - prediction[clip, frame - 1])[joint] ** 2)
    return np.mean(numbers)


@every_term
@pytest.mark.parametrize("filler", [0.0, 1e6, float("nan")])
def test_missing_joints_are_left_out(loss, filler):
    """Against a loop over the visible joints; what stands in the others reaches neither value nor gradient."""
    prediction, target = torch.randn(2, 3, 4, 3, requires_grad=True), torch.randn(2, 3, 4, 3)
    visibility = torch.rand(2, 3, 4) > 0.3
    expected = masked_reference(type(loss).__name__, prediction.detach().numpy(), target.numpy(), visibility.numpy())
    value = loss(prediction, target.masked_fill(~visibility[..., None], filler), visibility)
    assert value.item() == pytest.approx(expected, rel=1e-5)
    value.backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[~visibility] == 0).all()
    assert (prediction.grad[visibility] != 0).any()


@every_term
def test_nothing_visible_is_no_loss(loss):
    prediction = torch.randn(2, 3, 4, 3, requires_grad=True)
    value = loss(prediction, torch.full((2, 3, 4, 3), torch.nan), torch.zeros(2, 3, 4, dtype=torch.bool))
    value.backward()
    assert value.item() == 0.0
    assert (prediction.grad == 0).all()


def test_a_sum_passes_the_visibility_on():
    prediction, target, visibility = torch.randn(2, 3, 4, 3), torch.randn(2, 3, 4, 3), torch.rand(2, 3, 4) > 0.3
    total = WeightedSum([MPJPE(), VelocityLoss()], [1.0, 2.0])(prediction, target, visibility)
    apart = MPJPE()(prediction, target, visibility) + 2 * VelocityLoss()(prediction, target, visibility)
    torch.testing.assert_close(total, apart)
