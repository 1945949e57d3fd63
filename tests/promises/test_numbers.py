"""NaN and infinity, wherever they come from, poison neither loss-nets nor running statistics nor the host."""

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealLoss, SealMixin
from seal_lightning.loss.forces import ForceControl
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.loss_nets.frame import BodyFrame
from seal_lightning.objectives import LogisticObjective
from seal_lightning.skeleton import get_skeleton
from seal_lightning.training import _guard
from tests import hosts

NAN, INF = float("nan"), float("inf")
SMALL = partial(MLPLossNet, hidden=8, stages=1)


class Trouble:
    """What goes wrong in the steps to come."""

    kind = None


class TroubledLossNet(MLPLossNet):
    def __init__(self, skeleton):
        super().__init__(skeleton, hidden=8, stages=1)

    def forward(self, keypoints_2d, pose):
        energy = super().forward(keypoints_2d, pose)
        return energy * NAN if Trouble.kind == "energy" else energy


class TroubledObjective(LogisticObjective):
    def loss(self, energy_true, energy_negative, distance):
        loss = super().loss(energy_true, energy_negative, distance)
        if Trouble.kind == "ranking loss":
            return loss + INF
        if Trouble.kind == "gradient":  # the loss is as before, its derivative is 0 times infinity
            return loss + (energy_true * 0).abs().sqrt()
        return loss


class Host(hosts.ForwardHost):
    """A host that leaves samples out whose loss is not finite, as hosts do."""

    def __init__(self, lr: float = 1e-2, dropout: float = 0.0):
        super().__init__(lr, dropout)

    def forward(self, x):
        output = super().forward(x)
        bad = torch.zeros(len(x), 1, 1, dtype=torch.bool)
        bad[1] = Trouble.kind == "prediction"
        return torch.where(bad, NAN, output)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = (self(x) - y).norm(dim=-1).mean(-1)
        loss = loss[torch.isfinite(loss.detach())].mean()
        if Trouble.kind == "loss":
            return loss + NAN
        return loss * INF if Trouble.kind == "gradient of the host" else loss


class SealHost(SealMixin, Host):
    pass


TROUBLES = (
    "target",
    "keypoints",
    "prediction",
    "loss",
    "gradient of the host",
    "energy",
    "ranking loss",
    "gradient",
)


@pytest.fixture(autouse=True)
def _no_trouble():
    yield
    Trouble.kind = None


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """Where the decision to skip falls; the CPU stands in for a device that is not to be waited for."""
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: request.param == "host")


def make(weight=None, update="alternating", **kwargs):
    weight = ForceRatio(0.1) if weight is None else weight
    torch.manual_seed(0)
    return SealHost(
        seal=SealConfig(loss_net=TroubledLossNet, objective=TroubledObjective(), weight=weight, update=update, **kwargs)
    )


def batch(seed, kind=None):
    generator = torch.Generator().manual_seed(seed)
    x, y = torch.randn(8, 17, 2, generator=generator), torch.randn(8, 17, 3, generator=generator)
    if kind == "target":
        y[2, 5] = NAN
    if kind == "keypoints":
        x[3, 4, 0] = INF
    return x, y


def step(model, seed, kind=None):
    """Gradients of the host after a training step."""
    Trouble.kind = kind
    model.zero_grad()
    loss = model.training_step(batch(seed, kind), seed)
    loss.backward()
    Trouble.kind = None
    return loss.detach(), [parameter.grad.clone() for parameter in model.parameters()]


def learned(model):
    """Loss-nets and their optimizer."""
    moments = [value for state in model.seal_optimizer.state.values() for value in state.values()]
    return copy.deepcopy([*model.seal.loss_nets.state_dict().values(), *moments])


def same(left, right):
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.filterwarnings("ignore:Of the true poses", "ignore:The true poses' left", "ignore:The keypoints")
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("kind", TROUBLES)
def test_an_update_is_skipped_and_nothing_is_poisoned(place, kind, update):
    model = make(update=update)
    step(model, 0)
    before = learned(model)
    step(model, 1, kind)
    assert same(learned(model), before)
    assert int(model._seal_optimization.guard.skipped) == 1
    assert all(torch.isfinite(buffer).all() for buffer in model.seal.buffers())
    loss, gradients = step(model, 2)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert model.seal.stats["force_ratio"].item() == pytest.approx(0.1, abs=0.02)
    assert int(model._seal_optimization.guard.skipped) == 1
    assert not same(learned(model), before)


@pytest.mark.filterwarnings("ignore:Of the true poses", "ignore:The true poses' left", "ignore:The keypoints")
@pytest.mark.parametrize("kind", ["energy", "prediction", "ranking loss", "gradient"])
@pytest.mark.parametrize("weight", [None, 0.1])
def test_the_first_step_may_be_a_bad_one(place, kind, weight):
    model = make(weight)
    fresh = copy.deepcopy(list(model.seal.loss_nets.state_dict().values()))
    loss, gradients = step(model, 0, kind)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert same(model.seal.loss_nets.state_dict().values(), fresh)
    assert torch.isfinite(model.seal.forces.weight).all()
    for seed in (1, 2):
        loss, gradients = step(model, seed)
        assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert all(torch.isfinite(tensor).all() for tensor in learned(model))


@pytest.mark.filterwarnings("ignore:Of the true poses", "ignore:The true poses' left")
def test_a_first_truth_that_is_not_finite_leaves_the_next_to_set_the_frame():
    model, other = make(), make()
    step(model, 0, "target")
    assert model.seal.frame.bone_length == 0
    step(model, 1)
    step(other, 1)
    assert model.seal.frame.bone_length == other.seal.frame.bone_length > 0


@pytest.mark.filterwarnings("ignore:The true poses' left")
@pytest.mark.parametrize("weight", [None, 0.1])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_an_energy_that_is_not_finite_leaves_the_host_its_own_gradient(weight, update):
    model = make(weight, update)
    torch.manual_seed(0)
    plain = Host()
    x, y = batch(0)
    plain.training_step((x, y), 0).backward()
    loss, gradients = step(model, 0, "energy")
    assert same(gradients, [parameter.grad for parameter in plain.parameters()])
    assert loss == plain.training_step((x, y), 0)


@pytest.mark.filterwarnings("ignore:Of the true poses", "ignore:The true poses' left", "ignore:The keypoints")
@pytest.mark.parametrize("kind", TROUBLES)
def test_weight_zero_is_the_host_bit_for_bit_in_trouble_too(kind):
    model = make(0.0)
    torch.manual_seed(0)
    plain = Host()
    Trouble.kind = kind
    loss = plain.training_step(batch(0, kind), 0)
    loss.backward()
    ours, gradients = step(model, 0, kind)
    expected = [loss.detach(), *(parameter.grad for parameter in plain.parameters())]
    torch.testing.assert_close([ours, *gradients], expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("weight", [ForceRatio(0.1), 0.5])
def test_a_sample_without_a_finite_energy_is_the_only_one_to_feel_none(weight):
    criterion = SealLoss(energies=[EnergyTerm(SMALL, weight=weight)])
    generator = torch.Generator().manual_seed(0)
    x, y, prediction = (torch.randn(8, 17, channels, generator=generator) for channels in (2, 3, 3))
    criterion.ranking_loss(prediction, y, x)
    task = torch.randn(8, 17, 3, generator=generator)

    def pull(prediction):
        leaf = prediction.clone().requires_grad_()
        value = copy.deepcopy(criterion).energy_loss(leaf, x, task)
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    clean, broken = prediction.clone(), prediction.clone()
    broken[3, 7] = NAN
    (value, gradient), (_, expected) = pull(broken), pull(clean)
    assert torch.isfinite(value)
    assert torch.equal(gradient[3], torch.zeros(17, 3))
    others = torch.arange(8) != 3
    rows = gradient[others].flatten(1), expected[others].flatten(1)
    # The usual pull is not known in a step that is not finite, so weak pulls are not held down by it.
    torch.testing.assert_close(torch.nn.functional.normalize(rows[0]), torch.nn.functional.normalize(rows[1]))
    assert (rows[0].norm(dim=1) > 0).all()
    if isinstance(weight, ForceRatio):
        torch.testing.assert_close(rows[0].norm(dim=1), 0.1 * task.flatten(1).norm(dim=1).mean().expand(7))
    else:
        torch.testing.assert_close(rows[0], rows[1])


def test_a_task_that_is_not_finite_is_not_joined():
    criterion = SealLoss(energies=[EnergyTerm(SMALL, weight=0.5), EnergyTerm(SMALL)])
    generator = torch.Generator().manual_seed(0)
    x, prediction = torch.randn(4, 17, 2, generator=generator), torch.randn(4, 17, 3, generator=generator)
    task = torch.ones(4, 17, 3)
    task[0, 0, 0] = INF
    leaf = prediction.clone().requires_grad_()
    value = criterion.energy_loss(leaf, x, task)
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, leaf)[0], torch.zeros_like(leaf))
    assert torch.equal(criterion.forces.weight, torch.zeros(2))


def test_running_statistics_pass_over_what_is_not_finite():
    skeleton = get_skeleton("h36m17")
    poses = torch.randn(6, 17, 3)
    frame, twin = BodyFrame(skeleton), BodyFrame(skeleton)
    for bad in (NAN, INF, -INF):
        broken = poses.clone()
        broken[1, 2, 0] = bad
        frame.update(broken)
        frame.update(poses)
        twin.update(poses)
    assert torch.equal(frame.bone_length, twin.bone_length)
    assert torch.equal(frame.bone_count, twin.bone_count)

    forces, twin = ForceControl([ForceRatio(0.1)]), ForceControl([ForceRatio(0.1)])
    pull, task = torch.tensor([1.0, 2.0, 3.0]), torch.tensor(5.0)
    for bad in (NAN, INF):
        factor = forces(0, torch.tensor([1.0, bad, 3.0]), task)
        assert factor[1] == 0
        assert (factor[[0, 2]] > 0).all()
        assert torch.equal(forces(0, pull, torch.tensor(bad)), torch.zeros(3))
        twin(0, pull, task)
    assert torch.equal(forces.usual_pull, twin.usual_pull)


@pytest.mark.filterwarnings("ignore:The true poses' left")
def test_training_stops_with_an_explanation_when_nothing_is_finite_any_more(make_trainer):
    class Diverged(SealHost):
        def training_step(self, batch, batch_idx):
            Trouble.kind = "loss" if self.trainer.global_step >= 4 else None
            return super().training_step(batch, batch_idx)

    model = Diverged(seal=SealConfig(loss_net=SMALL, max_skipped_updates=3))
    trainer = make_trainer(max_epochs=10)
    with pytest.raises(RuntimeError, match=r"3 updates of the loss-nets in a row were skipped.*max_skipped_updates"):
        trainer.fit(model, model.loader())
    assert trainer.global_step == 6


@pytest.mark.filterwarnings("ignore:The true poses' left")
def test_skipped_updates_are_logged_and_saved(make_trainer, tmp_path):
    class Now(SealHost):
        def training_step(self, batch, batch_idx):
            Trouble.kind = "energy" if batch_idx in (1, 4) else None
            return super().training_step(batch, batch_idx)

    model = Now(seal=SealConfig(loss_net=TroubledLossNet))
    trainer = make_trainer(max_epochs=1)
    trainer.fit(model, model.loader())
    assert trainer.callback_metrics["seal/skipped_updates"] == 2
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    again = Now.load_from_checkpoint(tmp_path / "some.ckpt", seal=model._seal_config, weights_only=True)
    assert int(again._seal_optimization.guard.skipped) == 2


@pytest.mark.parametrize("value", [0, -1])
def test_the_limit_is_checked(value):
    with pytest.raises(ValueError, match="Expected `max_skipped_updates` to be at least 1"):
        SealConfig(max_skipped_updates=value)


def test_none_of_two_processes_steps_where_one_has_a_bad_number(tmp_path):
    script = Path(__file__).with_name("numbers_ddp_run.py")
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("LOCAL_", "NODE_", "MASTER_", "WORLD_"))
    }
    env |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(script.parents[2])}
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first["skipped"] == second["skipped"] == [0, 0, 1, 2, 2, 2]
    for rank in (first, second):
        for step, steps in enumerate(rank["loss_nets"]):
            moved = not same(steps, rank["loss_nets"][step - 1]) if step else True
            assert moved == (step not in (2, 3))
    for left, right in zip(first["loss_nets"], second["loss_nets"], strict=True):
        assert same(left, right)
    assert same(first["buffers"], second["buffers"])
    assert all(torch.isfinite(buffer).all() for buffer in first["buffers"])
