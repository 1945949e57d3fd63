"""An energy that runs away: what a fixed weight makes of it, that `ForceRatio` bounds it, and that it is noticed."""

import warnings
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealLoss, SealMixin
from seal_lightning.callbacks.collapse_monitor import CollapseMonitor
from seal_lightning.loss_nets import LossNet
from seal_lightning.negatives import Negatives
from seal_lightning.objectives import NoObjective, Objective
from seal_lightning.objectives.penalties import DenoisingScore
from tests import hosts


class SmallLossNet(LossNet):
    """Nothing in it bounds the energy."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.net = nn.Sequential(nn.Linear(51, 16), nn.GELU(), nn.Linear(16, 1))

    def forward(self, keypoints_2d, pose):
        _, pose, leading = self.flatten(keypoints_2d, pose)
        return self.net(pose.flatten(1)).reshape(leading)


class Difference(Objective):
    """Without a bound: the larger the gap, the better."""

    def loss(self, energy_true, energy_negative, distance):
        return (energy_true - energy_negative).mean(0)


class Shrunk(Negatives):
    """Easy negatives, which never change: larger is truer, and nothing says where that ends."""

    def draw(self, truth, prediction, skeleton, generator):
        return 0.8 * truth[None]


def train(weight, steps=300):
    """Errors of a host that predicts one pose, every 50 steps, and the criterion."""
    generator = torch.Generator().manual_seed(1)
    mean = torch.randn(1, 17, 3, generator=generator)
    target = mean + 0.3 * torch.randn(64, 17, 3, generator=generator)
    keypoints_2d = torch.zeros(64, 17, 2)
    pose = nn.Parameter(torch.randn(17, 3, generator=generator))
    term = EnergyTerm(SmallLossNet, objective=Difference(), negatives=(Shrunk(),), weight=weight)
    criterion = SealLoss(energies=[term])
    optimizer = torch.optim.Adam([pose], lr=3e-2)
    loss_net_optimizer = torch.optim.Adam(criterion.loss_nets.parameters(), lr=1e-2)
    errors = []
    for step in range(steps):
        prediction = pose.expand(64, 17, 3) * 1
        loss_net_optimizer.zero_grad()
        criterion.ranking_loss(prediction, target, keypoints_2d).backward()
        loss_net_optimizer.step()
        optimizer.zero_grad()
        criterion(prediction, target, keypoints_2d).backward()
        optimizer.step()
        if step % 50 == 49:
            errors.append((pose.detach() - target).norm(dim=-1).mean().item())
    return errors, criterion


def test_a_fixed_weight_blows_up_and_the_default_does_not():
    alone, _ = train(0.0)
    fixed, runaway = train(0.01)
    assert abs(runaway.stats["energy"]) > 1000
    assert runaway.stats["ranking_accuracy"] == 1
    assert runaway.stats["force_ratio"] > 10
    assert fixed[-1] > 5 * min(fixed)
    assert fixed[-1] > 5 * alone[-1]

    held, bounded = train(ForceRatio(0.1))
    assert abs(bounded.stats["energy"]) > 1000  # it runs away all the same
    assert bounded.stats["force_ratio"].item() == pytest.approx(0.1, rel=1e-3)
    assert held[-1] == pytest.approx(alone[-1], rel=0.02)
    assert all(after <= before + 1e-5 for before, after in pairwise(held))  # it falls, but for rounding


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class Says(LossNet):
    """Energies as the test wants them: that of a truth, that of a prediction."""

    values = (0.0, 1.0)

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, keypoints_2d, pose):
        half = len(pose) // 2
        true, predicted = self.values
        if self.training and torch.is_grad_enabled() and not pose.requires_grad:
            energy = torch.cat([torch.full((half,), true), torch.full((len(pose) - half,), predicted)])
        else:
            energy = torch.full((len(pose),), predicted)
        return energy + 0 * self.zero * pose.sum((1, 2))


def saying(*values):
    class Saying(Says):
        pass

    Saying.values = values
    return Saying


class Guess(Says):
    """Every other truth is ranked the right way round."""

    def forward(self, keypoints_2d, pose):
        energy = 0 * self.zero * pose.sum((1, 2))
        if len(pose) == 16:
            return energy
        truth = torch.arange(16) % 2
        return energy + torch.cat([truth, 1 - truth])


def watch(make_trainer, monitor, epochs=2, **kwargs):
    """Texts of the warnings, and what was logged last."""
    torch.manual_seed(0)
    model = SealHost(seal=SealConfig(**kwargs))
    trainer = make_trainer(max_epochs=epochs, callbacks=[monitor])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(model, model.loader())
    texts = [str(warning.message) for warning in caught if str(warning.message).startswith("Step ")]
    return texts, trainer.callback_metrics["seal/collapsed"].item()


def test_a_perfect_ranking_is_warned_of_once(make_trainer):
    texts, collapsed = watch(make_trainer, CollapseMonitor(window=2, patience=3), loss_net=saying(0.0, 1.0))
    assert len(texts) == 1
    assert texts[0].startswith("Step 6: the ranking accuracy has stayed above 0.999.")
    assert collapsed == 1


def test_with_a_gradient_penalty_it_is_no_bad_sign(make_trainer):
    options = {"loss_net": saying(0.0, 1.0), "gradient_penalty": 0.1}
    assert watch(make_trainer, CollapseMonitor(window=2, patience=3), **options) == ([], 0)


def test_patience(make_trainer):
    texts, collapsed = watch(make_trainer, CollapseMonitor(window=2, patience=7), loss_net=saying(0.0, 1.0))
    assert (texts, collapsed) == ([], 0)


def test_guessing_is_warned_of(make_trainer):
    texts, collapsed = watch(make_trainer, CollapseMonitor(window=1, patience=4), loss_net=Guess)
    assert len(texts) == 1
    assert texts[0].startswith("Step 4: the ranking accuracy has stayed within 0.02 of 0.5.")
    assert collapsed == 1


@pytest.mark.parametrize("energy", [-1001.0, 1001.0, float("nan"), float("inf")])
def test_an_exploded_energy_is_warned_of_at_once(make_trainer, energy):
    texts, _ = watch(make_trainer, CollapseMonitor(window=2), loss_net=saying(energy - 1, energy))
    assert len(texts) == 1
    assert texts[0].startswith("Step 2: the mean energy of the predictions is beyond 1000.")


def test_what_is_large_but_within_the_bound_is_not(make_trainer):
    assert watch(make_trainer, CollapseMonitor(window=2), loss_net=saying(998.0, 999.0))[0] == []


def test_the_default_energy_is_left_in_peace(make_trainer):
    assert watch(make_trainer, CollapseMonitor(window=4, patience=2), epochs=4) == ([], 0)


def test_a_runaway_is_noticed(make_trainer):
    options = {"objective": Difference(), "negatives": [Shrunk()], "optimizer": partial(torch.optim.Adam, lr=0.1)}
    texts, collapsed = watch(make_trainer, CollapseMonitor(window=4, patience=3), 8, loss_net=SmallLossNet, **options)
    assert len(texts) == 2
    assert any("the mean energy of the predictions is beyond 1000" in text for text in texts)
    assert collapsed == 2


def test_a_prior_is_not_asked_for_its_ranking(make_trainer):
    options = {"loss_net": Guess, "objective": NoObjective(), "gradient_penalty": DenoisingScore()}
    assert watch(make_trainer, CollapseMonitor(window=1, patience=2), **options) == ([], 0)


def test_a_plain_host_is_left_alone(make_trainer):
    model = hosts.ForwardHost()
    trainer = make_trainer(callbacks=[CollapseMonitor(window=1)])
    trainer.fit(model, model.loader())
    assert "seal/collapsed" not in trainer.callback_metrics


@pytest.mark.parametrize("name", ["window", "patience"])
def test_sizes_are_checked(name):
    with pytest.raises(ValueError, match=f"Expected `{name}` to be 1 or more, but got 0"):
        CollapseMonitor(**{name: 0})
