"""One pass for both nets is used for the batch that it was made for, and for no other."""

import copy
import gc

import pytest
import torch

from seal_lightning import EnergyTerm, SealLoss
from tests.loss.energies import Height

SHAPE = (6, 17)


class Counting(Height):
    """Notes how many poses each call is given."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.counts = []

    def forward(self, keypoints_2d, pose):
        self.counts.append(len(pose))
        return super().forward(keypoints_2d, pose) + keypoints_2d.square().sum((-1, -2))


def make():
    return SealLoss("h36m17", [EnergyTerm(Counting, weight=1.0)], update="simultaneous")


def batch():
    visibility = torch.ones(SHAPE, dtype=torch.bool)
    visibility[2, 5] = False
    return torch.randn(*SHAPE, 3, requires_grad=True), torch.randn(*SHAPE, 3), torch.randn(*SHAPE, 2), visibility


def felt(loss, prediction, keypoints, visibility=None):
    """Value and gradient of the weighted energies, and the poses that it took to score for them."""
    counts = loss.loss_nets["energy_0"].counts
    counts.clear()
    value = loss.energy_loss(prediction, keypoints, torch.ones(*SHAPE, 3), visibility=visibility)
    (gradient,) = torch.autograd.grad(value, prediction)
    return value.detach(), gradient, sum(counts)


def expected(loss, prediction, keypoints, visibility=None):
    fresh = copy.deepcopy(loss)
    fresh._passes = None
    return felt(fresh, prediction, keypoints, visibility)[:2]


def ranked(prediction, target, keypoints, visibility=None):
    loss = make()
    loss.ranking_loss(prediction, target, keypoints, visibility).backward()
    return loss


@pytest.mark.parametrize("masked", [False, True])
def test_the_pass_of_the_same_batch_is_used(masked):
    prediction, target, keypoints, visibility = batch()
    visibility = visibility if masked else None
    loss = ranked(prediction, target, keypoints, visibility)
    want = expected(loss, prediction, keypoints, visibility)
    value, gradient, scored = felt(loss, prediction, keypoints, visibility)
    assert scored == 0
    torch.testing.assert_close((value, gradient), want)


def test_the_prediction_may_come_without_its_graph():
    prediction, target, keypoints, _ = batch()
    loss = ranked(prediction.detach(), target, keypoints)
    assert felt(loss, prediction, keypoints)[2] == 0


def other_prediction(prediction, keypoints, visibility):
    return prediction.detach().clone().requires_grad_(), keypoints, visibility


def written_prediction(prediction, keypoints, visibility):
    with torch.no_grad():
        prediction.mul_(2)
    return prediction, keypoints, visibility


def other_keypoints(prediction, keypoints, visibility):
    return prediction, torch.randn_like(keypoints), visibility


def written_keypoints(prediction, keypoints, visibility):
    return prediction, keypoints.mul_(2), visibility


def other_mask(prediction, keypoints, visibility):
    return prediction, keypoints, torch.ones_like(visibility)


def no_mask(prediction, keypoints, visibility):
    return prediction, keypoints, None


def other_order(prediction, keypoints, visibility):
    """The same numbers in the same place, read along other axes."""
    square = prediction.detach().as_strided(prediction.shape, (3, 18, 1)).requires_grad_()
    return square, keypoints, visibility


@pytest.mark.parametrize(
    "change",
    [
        *(other_prediction, written_prediction, other_keypoints, written_keypoints),
        *(other_mask, no_mask, other_order),
    ],
)
def test_the_pass_of_another_batch_is_never_used(change):
    prediction, target, keypoints, visibility = batch()
    loss = ranked(prediction, target, keypoints, visibility)
    given = change(prediction, keypoints, visibility)
    want = expected(loss, *given)
    value, gradient, scored = felt(loss, *given)
    assert scored == len(prediction)
    torch.testing.assert_close((value, gradient), want)


def test_a_prediction_in_the_memory_of_a_freed_one_is_another():
    for _ in range(20):
        prediction, target, keypoints, _ = batch()
        loss = ranked(prediction, target, keypoints)
        del prediction
        gc.collect()
        prediction = torch.randn(*SHAPE, 3, requires_grad=True)
        assert felt(loss, prediction, keypoints)[2] == len(prediction)


def test_a_pass_of_loss_nets_that_were_overwritten_is_not_used():
    prediction, target, keypoints, _ = batch()
    loss, other = ranked(prediction, target, keypoints), make()
    other.loss_nets["energy_0"].scale.data.fill_(3.0)
    loss.load_state_dict(other.state_dict())
    assert felt(loss, prediction, keypoints)[2] == len(prediction)


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_a_second_backward_pass_does_not_add_to_the_pull(scale):
    prediction, target, keypoints, _ = batch()
    loss = make()
    ranking = loss.ranking_loss(prediction, target, keypoints)
    ranking.backward(retain_graph=True)
    (scale * ranking).backward()
    want = expected(loss, prediction, keypoints)
    value, gradient, scored = felt(loss, prediction, keypoints)
    assert scored == 0
    torch.testing.assert_close((value, gradient), want)
