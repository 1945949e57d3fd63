"""What is taken to count but feels no force of the host's loss is told."""

import pytest
import torch

from seal_lightning import SealBatch, SealMixin
from seal_lightning.training._unfelt import why_unfelt
from tests.training.reading.styles import B, J, StyleHost, bodies, keypoints, net, seal
from tests.training.reading.test_what_counts import run

NAMES = [f"joint {number}" for number in range(J)]
X, Y = keypoints(B), bodies(B)
NOISE = torch.randn(B, J, 3, generator=torch.Generator().manual_seed(7))
EVERYTHING = torch.ones(B, J, dtype=torch.bool)


def said(loss, counted=EVERYTHING, prediction=None):
    """What is said of the gradient of a loss at a prediction."""
    prediction = Y + NOISE if prediction is None else prediction
    prediction = prediction.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(prediction), prediction)
    return why_unfelt(SealBatch(X, prediction, Y), counted, gradient, NAMES)


def errors(p):
    return (p - Y).norm(dim=-1)


def where(*index):
    mask = torch.zeros(B, J)
    mask[index] = 1
    return mask


SCATTERED = (torch.rand(B, J, generator=torch.Generator().manual_seed(6)) > 0.3).float()
LEFT_OUT = {
    "joints": (where(slice(None), slice(0, 15)), "joint 15 and joint 16 of all samples"),
    "samples": (where(slice(0, 5)), "all joints of 3 of 8 poses"),
    "here and there": (SCATTERED, f"{int((SCATTERED == 0).sum())} of {B * J} joints"),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_a_mask_leaves_out_is_named(name):
    mask, words = LEFT_OUT[name]
    assert said(lambda p: (errors(p) * mask).mean()) == words
    assert said(lambda p: (errors(p) * mask).mean(), counted=mask.bool()) is None


def test_samples_whose_depth_is_left_out_are_named():
    depth = torch.tensor([1.0] * 6 + [0.0] * 2)

    def loss(p):
        apart = (p - Y).abs()
        return (apart[..., 0] + apart[..., 1] + apart[..., 2] * depth[:, None]).mean()

    assert said(loss) == "all joints of 2 of 8 poses"
    assert said(loss, prediction=torch.cat([(Y + NOISE)[..., :2], Y[..., 2:]], -1)) is None


def test_errors_that_are_zero_and_the_largest_ones_are_no_masks():
    root_fits = torch.cat([Y[:, :1], (Y + 1)[:, 1:]], 1)
    assert said(lambda p: errors(p).mean(), prediction=root_fits) is None
    assert said(lambda p: errors(p).topk(5, dim=1).values.mean()) is None
    assert said(lambda p: 0 * errors(p).mean()) is None


def compiled_with_a_mask(prediction: torch.Tensor, truth: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return ((prediction - truth).pow(2).sum(-1) * mask).mean()


scripted = torch.jit.script(compiled_with_a_mask)


def masked(host, b, i):
    return scripted(*host.uses(b[0], host.net(b[0]), b[1]), b[2])


def test_a_host_whose_mask_is_not_seen_is_told_once():
    batch = (X, Y, SCATTERED)
    words = run(masked, batch, steps=2)[2]
    assert sum("without a force" in word and "return a `visibility` or `labelled`" in word for word in words) == 1
    assert not any("without a force" in word for word in run(masked, (X, Y, torch.ones(B, J)))[2])


def test_who_overrides_has_said_what_counts(recwarn):
    class Host(SealMixin, StyleHost):
        def training_step(self, b, i):
            return masked(self, b, i)

        def build(self):
            self.net = net()

        def seal_batch(self, batch, inputs, output):
            return SealBatch(X, output, Y, batch[2].bool())

    Host().training_step((X, Y, SCATTERED), 0)
    assert not any("without a force" in str(warning.message) for warning in recwarn)


def test_a_loss_without_energy_is_not_looked_at(recwarn):
    host = type("Host", (StyleHost,), {"loss": staticmethod(masked), "build": staticmethod(lambda host: None)})
    seal(host, weight=0.0).training_step((X, Y, SCATTERED), 0)
    assert not any("without a force" in str(warning.message) for warning in recwarn)
