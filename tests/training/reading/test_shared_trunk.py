"""A trunk that a pose head shares with another head, of which the host says itself what its prediction is."""

import lightning as L
import pytest
import torch
from torch import nn

from seal_lightning import SealBatch, SealConfig, SealMixin
from tests.training.reading.styles import B, J, bodies, distance, keypoints
from tests.training.reading.test_styles import force_ratio

X, Y = keypoints(B), bodies(B)


class Heads(L.LightningModule):
    """A pose and eight numbers of one trunk; `terms` says which of them the loss of a step is about."""

    terms = "pose and heat"

    def __init__(self):
        super().__init__()
        self.trunk, self.pose, self.heat = nn.Linear(2 * J, 16), nn.Linear(16, 3 * J), nn.Linear(16, 8)
        self.predicted = self.task = None

    def losses(self, batch):
        features = self.trunk(batch[0].flatten(1)).relu()
        self.predicted = self.pose(features).view(-1, J, 3)
        heat = self.heat(features).square().mean()
        return {"pose": self.measure(self.predicted, batch[1]), "heat": heat}

    def measure(self, prediction, truth):
        return distance(prediction, truth)

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch)
        self.task = sum(losses[name] for name in self.terms.split(" and "))
        return self.task

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Bones(Heads):
    """Compares nothing but lengths, which are read of no pose."""

    def measure(self, prediction, truth):
        return ((prediction[:, 1:] - prediction[:, :1]).norm(dim=-1) - truth[:, 1:].norm(dim=-1)).abs().mean()


class Said(SealMixin):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], self.predicted, batch[1])


def made(host, **changed):
    torch.manual_seed(0)
    model = type(f"Said{host.__name__}", (Said, host), changed)(seal=SealConfig())
    return model, [parameter.detach().clone() for parameter in model.seal.parameters()]


def gradients(model, loss):
    found = torch.autograd.grad(loss, [*model.parameters()], retain_graph=True, allow_unused=True)
    return dict(zip((name for name, _ in model.named_parameters()), found, strict=True))


def learned(model, fresh):
    return not all(torch.equal(a, b) for a, b in zip(fresh, model.seal.parameters(), strict=True))


@pytest.mark.parametrize("host", [Heads, Bones])
def test_the_energy_of_a_pose_is_felt_beside_another_head(host):
    model, fresh = made(host)
    total = model.training_step((X, Y), 0)
    assert force_ratio(total, model.task, model.predicted) == pytest.approx(0.1, rel=1e-4)
    assert float(model.seal.stats["force_ratio"]) == pytest.approx(0.1, rel=1e-4)
    task, energy = gradients(model, model.task), gradients(model, total - model.task)
    behind = gradients(model, model.predicted.sum())
    for name in task:
        assert task[name].any()
        assert (energy[name] is not None and bool(energy[name].any())) == (behind[name] is not None), name
    assert learned(model, fresh)


@pytest.mark.parametrize("host", [Heads, Bones])
def test_a_loss_of_another_head_does_not_let_the_energy_train_the_pose(host):
    model, fresh = made(host, terms="heat")
    with pytest.warns(UserWarning, match="no energy joined it"):
        total = model.training_step((X, Y), 0)
    assert total is model.task
    assert gradients(model, total)["pose.weight"] is None
    assert not learned(model, fresh)


class Turns(Heads):
    """Goes back for the other head first, then for the pose; notes what each pass felt."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization, self.felt = False, {}

    def training_step(self, batch, batch_idx):
        losses = self.losses(batch)
        for name, loss in losses.items() if batch_idx % 2 else reversed(losses.items()):
            own = torch.autograd.grad(loss, [self.pose.weight, self.trunk.weight], retain_graph=True, allow_unused=True)
            before = [None if p.grad is None else p.grad.clone() for p in (self.pose.weight, self.trunk.weight)]
            self.manual_backward(loss, retain_graph=True)
            for part, one, earlier in zip(("pose", "trunk"), own, before, strict=True):
                grad = getattr(self, part).weight.grad
                added = None if grad is None else grad - (0 if earlier is None else earlier)
                same = added is None or torch.allclose(added, torch.zeros_like(added) if one is None else one)
                self.felt[batch_idx, name, part] = not same
        self.zero_grad()


def test_of_two_passes_the_one_of_the_pose_feels_the_energy(make_trainer):
    model, _ = made(Turns)
    make_trainer(max_epochs=1).fit(model, torch.utils.data.DataLoader([(X, Y)] * 4, batch_size=None))
    assert len(model.felt) == 16
    for (_, name, _), felt in model.felt.items():
        assert felt == (name == "pose")
