"""Errors of motion, against loops over frames and joints that share no code."""

import numpy as np
import pytest
import torch

from seal_lightning.functional import acceleration_error, mpjve


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture
def pair(rng):
    target = rng.normal(size=(5, 4, 17, 3)) * 300
    return target + rng.normal(size=target.shape) * 80, target


def tensors(*arrays):
    return tuple(torch.from_numpy(array) for array in arrays)


def velocity(clip, frame, joint):
    return clip[frame + 1, joint] - clip[frame, joint]


def acceleration(clip, frame, joint):
    return clip[frame + 2, joint] - 2 * clip[frame + 1, joint] + clip[frame, joint]


MOTIONS = pytest.mark.parametrize(
    ("function", "motion", "frames"), [(mpjve, velocity, 2), (acceleration_error, acceleration, 3)]
)


@MOTIONS
@pytest.mark.parametrize("masked", [False, True])
def test_against_loop(pair, rng, function, motion, frames, masked):
    prediction, target = pair
    visible = rng.random(prediction.shape[:-1]) < 0.8 if masked else np.ones(prediction.shape[:-1], bool)
    expected = np.full((5, 5 - frames), np.nan)
    for clip, frame in np.ndindex(*expected.shape):
        errors = [
            np.sqrt(((motion(prediction[clip], frame, j) - motion(target[clip], frame, j)) ** 2).sum())
            for j in range(17)
            if visible[clip, frame : frame + frames, j].all()
        ]
        expected[clip, frame] = np.mean(errors)
    prediction[~visible] = np.nan
    mask = torch.from_numpy(visible) if masked else None
    result = function(*tensors(prediction, target), visibility=mask, reduction="none")
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)
    mean = function(*tensors(prediction, target), visibility=mask)
    assert mean.item() == pytest.approx(np.nanmean(expected), rel=1e-9)


def test_motions_that_only_one_of_them_sees(pair):
    target = torch.from_numpy(pair[1])
    time = torch.arange(4.0, dtype=torch.float64)[:, None, None]
    assert mpjve(target + 300, target) < 1e-9
    assert mpjve(target + 7 * time, target).item() == pytest.approx(7 * 3**0.5)
    assert acceleration_error(target + 7 * time, target) < 1e-9
    # Half of g t^2 in every coordinate is an acceleration of g.
    assert acceleration_error(target + 4.5 * time**2, target).item() == pytest.approx(9 * 3**0.5)


def test_jitter_stands_out(rng):
    """Noise of standard deviation 1 in every coordinate has accelerations of 1, -2 and 1 times it: sqrt(6) as much."""
    noise = torch.from_numpy(rng.normal(size=(20_000, 17, 3)))
    still = torch.zeros_like(noise)
    ratio = acceleration_error(noise, still) / noise.norm(dim=-1).mean()
    assert ratio.item() == pytest.approx(6**0.5, rel=0.01)


@pytest.mark.parametrize("fps", [1, 25, 50.0, 59.94])
def test_acceleration_per_second_squared(pair, fps):
    per_frame, per_second = acceleration_error(*tensors(*pair)), acceleration_error(*tensors(*pair), fps=fps)
    assert per_second.item() == pytest.approx(fps**2 * per_frame.item())


def test_root_is_removed_before_the_differences(pair, rng):
    prediction, target = tensors(*pair)
    moved = prediction + torch.from_numpy(rng.normal(size=(5, 4, 1, 3))) * 1000
    for root in (0, (1, 4), [11, 14]):
        torch.testing.assert_close(
            acceleration_error(moved, target, root=root), acceleration_error(prediction, target, root=root)
        )
    assert acceleration_error(moved, target) > 2 * acceleration_error(prediction, target)


@pytest.mark.parametrize("masked", [False, True])
def test_gradient_of_acceleration(pair, rng, masked):
    prediction, target = (torch.from_numpy(array[:2, :, :6] / 300) for array in pair)
    visible = torch.from_numpy(rng.random((2, 4, 6)) < 0.9) if masked else None
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda pose: acceleration_error(pose, target, visibility=visible), (prediction,))


def test_nan_is_hidden_where_invisible_and_nowhere_else(pair):
    prediction, target = tensors(*pair)
    visible = torch.ones(5, 4, 17, dtype=torch.bool)
    visible[0, 1, 3:6] = False
    expected = acceleration_error(prediction, target, visibility=visible)
    prediction[~visible] = torch.nan
    prediction.requires_grad_()
    result = acceleration_error(prediction, target, visibility=visible)
    result.backward()
    torch.testing.assert_close(result, expected)
    assert prediction.grad.isfinite().all()
    assert acceleration_error(prediction.detach(), target).isnan()
    assert acceleration_error(prediction.detach(), target, visibility=torch.zeros_like(visible)).isnan()


@pytest.mark.parametrize("fps", [0, -25, float("nan"), "25", True])
def test_bad_fps(pair, fps):
    with pytest.raises(ValueError, match="Expected `fps` to be above zero, but got"):
        acceleration_error(*tensors(*pair), fps=fps)


@MOTIONS
def test_too_few_frames(function, motion, frames):
    for shape in ((4, frames - 1, 17, 3), (17, 3)):
        short = torch.zeros(shape)
        message = rf"shape \(\.\.\., T, J, 3\) with at least {frames} frames, but got \({shape[0]}, "
        with pytest.raises(ValueError, match=message):
            function(short, short)
