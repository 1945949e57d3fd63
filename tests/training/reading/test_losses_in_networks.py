"""Networks that are given the truth beside what they predict from, and return their loss."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.training.reading.styles import B, J, bodies, distance, keypoints, net
from tests.training.reading.test_styles import same
from tests.training.reading.test_what_counts import assert_right, assert_sits_out, run

X, Y = keypoints(B), bodies(B)


class Labelled(nn.Module):
    """A network that returns its loss beside its poses, where it is given labels."""

    def __init__(self):
        super().__init__()
        self.layers = net()

    def forward(self, keypoints=None, labels=None):
        poses = self.layers(keypoints)
        return {"loss": None if labels is None else F.smooth_l1_loss(poses, labels), "poses": poses}


def by_name(host, b, i):
    out = host.model(keypoints=b[0], labels=b[1])
    host.uses(b[0], out["poses"], b[1])
    return 10 * out["loss"]


def test_a_network_that_is_given_its_labels_by_name():
    words = assert_right(by_name, build=lambda host: setattr(host, "model", Labelled()))
    assert any("given the truth by name" in word for word in words)


def test_labels_of_a_network_that_returns_its_loss_alone_are_no_prediction():
    def loss(host, b, i):
        return host.model(keypoints=b[0], labels=b[1])["loss"]

    class LossAlone(Labelled):
        def forward(self, keypoints, labels):
            return {"loss": super().forward(keypoints, labels)["loss"]}

    assert_sits_out(loss, build=lambda host: setattr(host, "model", LossAlone()))


def test_what_a_network_returns_beside_a_pose_does_not_hide_the_comparison():
    class Regularised(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net(51)

        def forward(self, x, first):
            poses = self.layers(first)
            return poses, poses.square().mean()

    def loss(host, b, i):
        poses, regularisation = host.model(b[0], first=b[2])
        return distance(*host.uses(b[0], poses, b[1])) + regularisation

    words = assert_right(loss, (X, Y, bodies(B, seed=9)), lambda host: setattr(host, "model", Regularised()))
    assert not any("cannot be followed" in word for word in words)


@pytest.mark.parametrize("truth", [bodies(B), bodies(B, 1)])
def test_a_network_that_is_given_lists_of_images_and_of_truths(truth):
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = net(192)

        def forward(self, images, targets):
            self.poses = self.layers(torch.stack(images))
            self.truth = torch.stack([target["joints"] for target in targets]).view(B, J, 3)
            return {"pose": F.smooth_l1_loss(self.poses, self.truth), "size": 1e-3 * self.poses.square().mean()}

    def loss(host, b, i):
        losses = host.model(*b)
        host.uses(None, host.model.poses, host.model.truth)
        return sum(losses.values())

    images = list(torch.randn(B, 3, 8, 8, generator=torch.Generator().manual_seed(4)))
    model, read, _ = run(loss, (images, [{"joints": t} for t in truth]), lambda h: setattr(h, "model", Detector()))
    assert same(read.prediction, model.used[1])
    assert same(read.target, model.used[2])
    assert read.keypoints_2d.eq(0).all()
