"""Body models with parameters make true poses as well as predicted ones; a network that teaches another makes none."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from seal_lightning import SealBatch, SealMixin
from tests.training.reading.styles import B, J, StyleHost, bodies, distance, keypoints, net, with_parts
from tests.training.reading.test_styles import same
from tests.training.reading.test_what_counts import assert_right, assert_sits_out, run

X, Y = keypoints(B), bodies(B)
ROTATIONS = 0.3 * torch.randn(B, 24, generator=torch.Generator().manual_seed(5))


class BodyModel(nn.Module):
    """Makes joints of rotations; the shape is a parameter unless it is given, as in common packages."""

    def __init__(self):
        super().__init__()
        self.shape = nn.Parameter(torch.zeros(10))
        self.register_buffer("mean", bodies(1)[0])
        self.register_buffer("turns", 0.1 * torch.randn(24, 3 * J, generator=torch.Generator().manual_seed(6)))

    def forward(self, rotations, shape=None):
        size = 1 + (self.shape if shape is None else shape).mean()
        return {"joints": size * ((rotations @ self.turns).view(-1, J, 3) + self.mean)}


def without_gradient(host):
    with torch.no_grad():
        return host.body(ROTATIONS)["joints"]


TRUTHS = {
    "without gradient": without_gradient,
    "with gradient": lambda host: host.body(ROTATIONS)["joints"],
    "by name": lambda host: host.body(rotations=ROTATIONS, shape=torch.zeros(10))["joints"].detach(),
}
PARTS = with_parts(body=BodyModel, head=lambda: nn.Sequential(nn.Flatten(), nn.Linear(2 * J, 24)))


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("first", [True, False])
def test_a_body_model_with_parameters_makes_the_truth(name, first):
    def loss(host, b, i):
        truth = TRUTHS[name](host) if first else None
        rotations = host.head(b[0])
        prediction = host.body(rotations)["joints"]
        truth = TRUTHS[name](host) if truth is None else truth
        host.uses(b[0], prediction, truth)
        return F.l1_loss(truth, prediction) + F.mse_loss(rotations, b[1])

    model, read, _ = run(loss, (X, ROTATIONS), PARTS)
    assert all(
        same(read_of, used) for read_of, used in zip((read.prediction, read.target), model.used[1:], strict=True)
    )
    assert not read.target.requires_grad


def test_what_the_batch_says_of_joints_comes_before_what_the_body_model_does():
    def loss(host, b, i):
        prediction = host.body(host.head(b[0]))["joints"]
        host.uses(b[0], prediction, b[1])
        return F.l1_loss(prediction, TRUTHS["without gradient"](host)) + F.l1_loss(prediction, b[1])

    assert_right(loss, (X, Y, ROTATIONS), PARTS)


def test_a_network_that_teaches_makes_no_truth():
    def teaches(host, b, i):
        with torch.no_grad():
            label = host.teacher(b[0])
        return distance(host.net(b[0]), label)

    def teaches_itself(host, b, i):
        with torch.no_grad():
            label = host.net(b[0])
        return distance(host.net(b[0] + 0.01 * torch.randn_like(b[0])), label)

    def oracle(host, b, i):
        with torch.no_grad():
            label = host.net(b[0])
        return distance(host.net(host.head(b[0])), label)

    detector = with_parts(head=lambda: nn.Linear(2, 2), teacher=lambda: copy.deepcopy(net()))
    for loss in (teaches, teaches_itself, oracle):
        assert_sits_out(loss, (X, Y), detector)


def test_confidences_of_three_views_are_no_coordinates():
    """Three confidences of each joint, before their joints, have the shape of poses whose axes come first."""

    def loss(host, b, i):
        views = host.views(b[0].flatten(1)).view(B, 3, J, 4)
        weights = host.weights(b[0].flatten(1)).view(B, 3, J).softmax(1)
        prediction = (weights[..., None] * views[..., :3]).sum(1)
        return distance(*host.uses(b[0], prediction, b[1]))

    parts = with_parts(views=lambda: nn.Linear(2 * J, 12 * J), weights=lambda: nn.Linear(2 * J, 3 * J))
    assert_right(loss, (X, Y), parts)


def test_an_override_is_given_the_pass_that_is_trained():
    """The other one, of a consistency model say, came later."""

    class Host(SealMixin, StyleHost):
        build = staticmethod(lambda host: None)

        def training_step(self, batch, batch_idx):
            prediction = self.net(batch[0])
            with torch.no_grad():
                label = self.net(batch[0] + 0.01)
            return distance(prediction, label)

        def seal_batch(self, batch, inputs, output):
            assert same(inputs[0], batch[0])
            return SealBatch(batch[0], output, batch[1])

    model = Host()
    model.training_step((X, Y), 0).backward()
    assert float(model.seal.stats["force_ratio"]) == pytest.approx(0.1, rel=1e-3)
