"""Steps that are evaluated several times, and steps that share one update of the host."""

import copy

import pytest
import torch

from seal_lightning import ForceRatio, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from tests import hosts


def small(skeleton):
    return MLPLossNet(skeleton, hidden=8, stages=1)


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=1e-2)


class ClosureHost(hosts.SequenceHost):
    """Clips, and an optimizer that evaluates its closure four times without moving."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.net.eval()

    def configure_optimizers(self):
        return torch.optim.LBFGS(self.parameters(), lr=0.0, max_iter=4, tolerance_grad=0, tolerance_change=-1)


class SealClosureHost(SealMixin, ClosureHost):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = []
        energy_loss = self.seal.energy_loss

        def spy(prediction, *args, **kwargs):
            value = energy_loss(prediction, *args, **kwargs)
            (gradient,) = torch.autograd.grad(value, prediction, retain_graph=True)
            call = prediction.detach().clone(), value.detach(), gradient, copy.deepcopy(self.seal.forces.usual_pull)
            self.calls[-1].append(call)
            return value

        self.seal.energy_loss = spy

    def on_train_batch_start(self, *_):
        self.calls.append([])


@pytest.mark.filterwarnings("ignore:The true poses' left")
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("weight", [0.5, ForceRatio(0.1)])
def test_every_closure_of_a_step_meets_the_same_loss(make_trainer, weight, update):
    """The same frames, weights and running state: a line search compares values that belong to one function.

    With one pass for both nets the first closure feels the loss-nets before their step, and the others after it.
    """
    model = SealClosureHost(seal=SealConfig(loss_net=small, frames_per_clip=2, weight=weight, update=update))
    make_trainer(max_epochs=1).fit(model, model.loader(count=24, batch_size=8))
    model.net.eval()
    assert [len(calls) for calls in model.calls] == [4, 4, 4]
    for first, *others in model.calls:
        assert first[0].shape == (8, 2, 17, 3)
        for other in others:
            compared = slice(None) if update == "alternating" else slice(1)
            torch.testing.assert_close(other[compared], first[compared])
            torch.testing.assert_close(other, others[0])
    frames = [calls[0][0] for calls in model.calls]
    assert not torch.equal(frames[0], frames[1])


@pytest.mark.filterwarnings("ignore:The true poses' left")
def test_frozen_loss_nets_keep_track_of_the_usual_pull(make_trainer, tmp_path):
    """Their energies are in evaluation mode, the forces are not: the run that they are frozen in sets these."""

    class SealHost(SealMixin, hosts.ForwardHost):
        pass

    trained = SealHost(seal=SealConfig(loss_net=small))
    torch.save(trained.seal.state_dict(), tmp_path / "seal.pt")
    config = SealConfig(loss_net=small, mode="static", checkpoint=str(tmp_path / "seal.pt"))
    model = SealHost(seal=config)
    make_trainer(max_epochs=1).fit(model, model.loader(), model.loader())
    assert not model.seal.loss_nets.training
    assert (model.seal.forces.usual_pull > 0).all()
    assert (model.seal.forces.weight > 0).all()


class AutomaticHost(hosts.ForwardHost):
    def __init__(self):
        super().__init__(dropout=0.0)
        self.net = hosts.nn.Sequential(hosts.nn.Flatten(), hosts.nn.Linear(34, 51))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class AccumulatingHost(AutomaticHost):
    """Accumulates over two batches by hand, in the way of Lightning's manual."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx) / 2)
        if batch_idx % 2 == 1:
            optimizer = self.optimizers()
            optimizer.step()
            optimizer.zero_grad()


def trained(make_trainer, host, config, **options):
    class SealHost(SealMixin, host):
        pass

    torch.manual_seed(0)
    model = SealHost(seal=config)
    make_trainer(max_epochs=1, **options).fit(model, model.loader(shuffle=False))
    return torch.cat([*(p.detach().flatten() for p in (*model.parameters(), *model.seal.parameters()))])


@pytest.mark.filterwarnings("ignore:The true poses' left")
@pytest.mark.parametrize(
    ("automatic", "manual"),
    [(ForceRatio(0.3), ForceRatio(0.3)), (0.2, 0.1)],
    ids=["a ratio is the same", "a float is to be divided like the loss"],
)
def test_accumulation_by_hand_is_that_of_the_trainer(make_trainer, automatic, manual):
    def config(weight):
        return SealConfig(loss_net=small, weight=weight, optimizer=sgd)

    by_hand = trained(make_trainer, AccumulatingHost, config(manual))
    by_trainer = trained(make_trainer, AutomaticHost, config(automatic), accumulate_grad_batches=2)
    torch.testing.assert_close(by_hand, by_trainer, rtol=1e-5, atol=1e-6)
    without = trained(make_trainer, AutomaticHost, config(0.0), accumulate_grad_batches=2)
    assert (by_trainer - without).abs().max() > 1e-4


@pytest.mark.parametrize("number", [1, 2])
def test_every_model_says_that_no_energy_joined(make_trainer, number):
    """Not the first of a process alone: a notebook makes many."""

    class Elsewhere(SealMixin, hosts.ManualHost):
        def training_step(self, batch, batch_idx):
            self(batch[0])
            self.manual_backward(self.net[1].weight.square().sum())

    model = Elsewhere(seal=SealConfig(loss_net=small))
    with pytest.warns(UserWarning, match="No backward pass of this step had a loss that depends on the pred") as told:
        make_trainer(max_epochs=1).fit(model, model.loader(count=48))
    assert sum("No backward pass" in str(warning.message) for warning in told) == 1


class DirectHost(hosts.ManualHost):
    """Runs its backward pass without `manual_backward`, after one that only looks at the gradient of the keypoints."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        optimizer = self.optimizers()
        looked_at = x.clone().requires_grad_()
        self(looked_at).square().sum().backward(inputs=[looked_at])
        loss = hosts.distance(self(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


class LookingHost(hosts.ManualHost):
    """Looks at a gradient as well, then hands its loss over."""

    def training_step(self, batch, batch_idx):
        looked_at = batch[0].clone().requires_grad_()
        self(looked_at).square().sum().backward(inputs=[looked_at])
        super().training_step(batch, batch_idx)


@pytest.mark.filterwarnings("ignore:The true poses' left")
@pytest.mark.parametrize("weight", [0.0, ForceRatio(0.1)])
def test_a_backward_pass_of_the_hosts_own_is_one_by_manual_backward(make_trainer, weight):
    config = SealConfig(loss_net=small, weight=weight, optimizer=sgd)
    directly, handed_over = (trained(make_trainer, host, config) for host in (DirectHost, LookingHost))
    assert torch.equal(directly, handed_over)


@pytest.mark.filterwarnings("ignore:The true poses' left")
def test_an_automatic_hosts_backward_pass_within_its_step_is_left_alone(make_trainer):
    """It trains nothing: keypoints are disturbed by its gradient, say."""

    class Adversarial(hosts.ForwardHost):
        def training_step(self, batch, batch_idx):
            x = batch[0].clone().requires_grad_()
            hosts.distance(self(x), batch[1]).backward()
            self.gradient = x.grad.clone()
            self.zero_grad()
            return hosts.distance(self((x + 0.01 * x.grad.sign()).detach()), batch[1])

    gradients = []
    for weight in (0.0, ForceRatio(0.1)):
        torch.manual_seed(0)
        model = type("Seal", (SealMixin, Adversarial), {})(seal=SealConfig(loss_net=small, weight=weight))
        model.eval()
        make_trainer(max_steps=1).fit(model, model.loader(shuffle=False))
        gradients.append(model.gradient)
        assert model.seal.draws == 2
    assert torch.equal(*gradients)
