"""What meets the truth after the step did something with that truth: a pose of its own, or a mixture of both."""

import pytest
import torch

from tests.training.reading.styles import B, J, bodies, distance, keypoints
from tests.training.reading.test_what_counts import MIRROR, assert_read, assert_right, run

X, Y = keypoints(B), bodies(B)
HALF, HALVES = 0.5 * torch.eye(3), torch.tensor([0.5, 0.5])


def by_chance(p, y):
    return torch.rand(B, J, 1) < 0.5


def in_place(p, y):
    mixed = y.clone()
    return mixed.mul_(0.9).add_(p, alpha=0.1)


MIXED = {
    "mean of a stack": ("lies between", lambda p, y: torch.stack([p, y]).mean(0)),
    "mean of two halves": ("lies between", lambda p, y: torch.cat([p, y]).view(2, B, J, 3).mean(0)),
    "einsum of a stack": ("lies between", lambda p, y: torch.einsum("n,nbjc->bjc", HALVES, torch.stack([p, y]))),
    "product of both side by side": ("lies between", lambda p, y: torch.cat([p, y], -1) @ torch.cat([HALF, HALF])),
    "baddbmm": ("lies between", lambda p, y: torch.baddbmm(y, p, HALF.expand(B, 3, 3), beta=0.5)),
    "half the way": ("lies between", lambda p, y: y + (p - y) * 0.5),
    "in place": ("lies between", in_place),
    "near the truth": ("lies between", lambda p, y: p.clamp(y - 0.1, y + 0.1)),
    "addcmul": ("is a sum", lambda p, y: torch.addcmul(y, p, torch.rand(B, 1, 1) + 0.1)),
    "addcdiv": ("is a sum", lambda p, y: torch.addcdiv(y, p, torch.tensor(2.0))),
    "weights in a sum": ("is a sum", lambda p, y: sum(share * pose for share, pose in ((0.3, p), (0.6, y)))),
    "the larger": ("is the truth itself in some", torch.maximum),
    "the larger of a stack": ("is the truth itself in some", lambda p, y: torch.stack([p, y]).amax(0)),
    "joints by chance": ("is the truth itself in some", lambda p, y: torch.where(by_chance(p, y), p, y)),
    "as a method": ("is the truth itself in some", lambda p, y: y.where(by_chance(p, y), p)),
}  # fmt: skip


@pytest.mark.parametrize("form", MIXED)
def test_a_mixture_with_the_truth_stops(form):
    why, mixed = MIXED[form]
    with pytest.raises(ValueError, match=f"what it compares {why}.* Override `seal_batch"):
        run(lambda host, b, i: distance(mixed(host(b[0]), b[1]), b[1]))


def size(pose):
    return pose.flatten(1).norm(dim=1)[:, None, None]


OF_ITS_OWN = {
    "at the true root": lambda p, y: p - p[:, :1] + y[:, :1],
    "of the true size": lambda p, y: p * (size(y) / size(p)),
    "with the true root": lambda p, y: torch.cat([y[:, :1], p[:, 1:]], 1),
    "with the true image": lambda p, y: torch.cat([y[..., :2], p[..., 2:]], -1),
    "added to the truth": lambda p, y: p + y,
    "with true lengths": lambda p, y: p / p.norm(dim=-1, keepdim=True) * y.norm(dim=-1, keepdim=True),
}


@pytest.mark.parametrize("form", OF_ITS_OWN)
def test_a_pose_that_is_moved_or_scaled_by_the_truth_is_read(form):
    def loss(host, b, i):
        return distance(*host.uses(b[0], OF_ITS_OWN[form](host(b[0]), b[1]), b[1]))

    assert_read(loss)


def test_each_way_of_mixing_is_looked_at_once():
    def first_right(host, b, i):
        prediction = host(b[0])
        mixed = prediction - prediction[:, :1] + b[1][:, :1] if i == 0 else torch.stack([prediction, b[1]]).mean(0)
        return distance(mixed, b[1])

    with pytest.raises(ValueError, match="lies between"):
        run(first_right, steps=2)


def test_keypoints_that_are_mirrored_in_place_are_others():
    """The mean of what is predicted of keypoints, and of the same ones mirrored."""

    def loss(host, b, i):
        mirrored = b[0].clone()
        mirrored[..., 0] *= -1
        mean = (host(b[0]) + host(mirrored) * MIRROR) / 2
        return distance(*host.uses(b[0], mean, b[1]))

    assert_right(loss, (X, Y))
