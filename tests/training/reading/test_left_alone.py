"""What is said of a step that is left alone: what was compared and did not come, or might have been compared."""

import pytest
import torch

from seal_lightning import SealMixin
from tests import hosts
from tests.promises.twins import config
from tests.training.reading.styles import B, bodies, distance, keypoints
from tests.training.reading.test_what_counts import run

X, Y = keypoints(B), bodies(B)
EYE = torch.eye(3)


def said(loss, batch=(X, Y)):
    model, read, words = run(loss, batch, steps=2)
    assert read is None
    assert model.seal_reading is None
    (word,) = [word for word in words if "no energy joined it" in word]  # once
    assert "Override `seal_batch(self, batch, inputs, output)` and `return SealBatch(" in word
    return word


UNSEEN = {
    "squares": lambda p, y: (p * p - 2 * p * y + y * y).mean(),
    "addcmul": lambda p, y: torch.addcmul(p, y, torch.tensor(-1.0)).abs().mean(),
    "addcdiv": lambda p, y: torch.addcdiv(p, y, torch.tensor(-1.0)).abs().mean(),
    "baddbmm": lambda p, y: torch.baddbmm(y, p, EYE.expand(B, 3, 3), beta=-1).abs().mean(),
    "foreach": lambda p, y: torch._foreach_sub([p], [y])[0].abs().mean(),
    "diff of a stack": lambda p, y: torch.stack([p, y]).diff(dim=0).abs().mean(),
    "a stack": lambda p, y: torch.stack([p, y]).std(0).mean(),
    "half a difference": lambda p, y: torch.sub(p, y, alpha=2).abs().mean(),
}


@pytest.mark.parametrize("form", UNSEEN)
def test_a_comparison_that_is_not_seen_is_asked_for(form):
    word = said(lambda host, b, i: UNSEEN[form](host(b[0]), b[1]))
    assert "truth = batch[1] may be meant" in word
    assert "write `prediction - truth` or a loss function of PyTorch" in word


def test_a_loss_that_is_not_made_from_what_the_step_compares():
    def loss(host, b, i):
        prediction = host(b[0])
        host.logged = distance(prediction, b[1])
        return prediction.square().mean()

    assert "truth = batch[1] (8, 17, 3) in `sub`, but the loss that it returns is not made from that" in said(loss)


def test_a_step_without_any_pair_is_told_no_more():
    word = said(lambda host, b, i: host(b[0]).square().mean(), (X,))
    assert word.endswith(
        "sits out each step like it. If it trains poses: Override `seal_batch(self, batch, inputs, output)` and "
        "`return SealBatch(keypoints_2d, prediction, target)`, or None for a step that trains no pose."
    )


class Apart(hosts.ManualHost):
    """Goes back in a way that nobody is told of."""

    def go_back(self, loss):
        torch.autograd.backward(loss)

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.go_back(hosts.distance(self(batch[0]), batch[1]))
        optimizer.step()


class ByHand(Apart):
    def go_back(self, loss):
        parameters = [*self.parameters()]
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient


@pytest.mark.parametrize("host", [Apart, ByHand])
def test_a_backward_pass_that_is_not_seen_is_told_of_manual_backward(make_trainer, host):
    model = type("Seal", (SealMixin, host), {})(seal=config())
    with pytest.warns(UserWarning, match=r"came to `self\.manual_backward\(loss\)` or `loss\.backward\(\)`") as told:
        make_trainer(max_epochs=1).fit(model, model.loader(count=48))
    assert sum("no energy joined it" in str(warning.message) for warning in told) == 1
