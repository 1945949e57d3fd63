"""`every_n_steps`: SEAL acts in some updates of the host, and the others are the host's alone."""

import copy

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from seal_lightning import ForceRatio, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.training.optimization import LossNetOptimization
from tests import hosts

pytestmark = pytest.mark.filterwarnings("ignore:The true poses' left")


def small(skeleton):
    return MLPLossNet(skeleton, hidden=8, stages=1)


class Noting:
    """Notes the gradient of every batch, and in which batches the loss-nets take a step."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.acted, self.gradients = [], []

    def seal_step(self, ranking_loss):
        self.acted.append(self.trainer.fit_loop.batch_idx)
        super().seal_step(ranking_loss)

    def on_after_backward(self):
        self.gradients.append(torch.cat([parameter.grad.flatten() for parameter in self.parameters()]))


class Host(hosts.ForwardHost):
    """Without random numbers, and so slow that a step hardly changes the next."""

    def __init__(self):
        super().__init__(lr=1e-12, dropout=0.0)


class ManualHost(Host, hosts.ManualHost):
    training_step = hosts.ManualHost.training_step

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False


class SealHost(Noting, SealMixin, Host):
    pass


class SealManualHost(Noting, SealMixin, ManualHost):
    pass


def config(**fields):
    return SealConfig(loss_net=small, **({"weight": ForceRatio(0.3)} | fields))


def fit(make_trainer, model, batches=8, path=None, **options):
    trainer = make_trainer(**({"max_epochs": 1} | options))
    loader = hosts.Resumable(list(model.loader(count=4 * batches, batch_size=4, shuffle=False)))
    trainer.fit(model, loader, ckpt_path=path, weights_only=False if path else None)
    return trainer


def made(host=SealHost, **fields):
    torch.manual_seed(0)
    return host(seal=config(**fields))


@pytest.mark.parametrize("host", [SealHost, SealManualHost])
@pytest.mark.parametrize("every", [1, 2, 3])
def test_loss_nets_and_energy_act_in_every_nth_step(make_trainer, host, every):
    model, plain = made(host, every_n_steps=every), made(host, weight=0.0)
    fit(make_trainer, model)
    fit(make_trainer, plain)
    acting = list(range(0, 8, every))
    assert model.acted == acting
    for batch, (left, right) in enumerate(zip(model.gradients, plain.gradients, strict=True)):
        assert torch.equal(left, right) == (batch not in acting)
    assert model.seal.draws == 1 + len(acting)


def test_the_acting_steps_are_those_of_a_training_on_their_batches(make_trainer):
    """Loss-nets, running statistics and the share of the task's force."""
    model, other = made(every_n_steps=2), made()
    batches = list(model.loader(count=32, batch_size=4, shuffle=False))
    make_trainer(max_epochs=1).fit(model, hosts.Resumable(batches))
    make_trainer(max_epochs=1).fit(other, hosts.Resumable(batches[::2]))
    for left, right in zip(model.seal.state_dict().values(), other.seal.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right)
    assert model.seal.stats["force_ratio"].item() == pytest.approx(0.3, abs=0.01)


def test_with_accumulation_all_batches_of_an_acting_update(make_trainer):
    model = made(every_n_steps=2)
    fit(make_trainer, model, accumulate_grad_batches=2)
    assert model.acted == [0, 1, 4, 5]


def test_warm_up_counts_acting_steps(make_trainer):
    model, plain = made(every_n_steps=2, warmup_steps=2), made(weight=0.0)
    fit(make_trainer, model)
    fit(make_trainer, plain)
    felt = [not torch.equal(left, right) for left, right in zip(model.gradients, plain.gradients, strict=True)]
    assert model.acted == [0, 2, 4, 6]
    assert felt == [False] * 4 + [True, False, True, False]


@pytest.mark.parametrize("host", [SealHost, SealManualHost])
def test_a_resumed_training_goes_on_where_it_was(make_trainer, tmp_path, host):
    """In the middle of an epoch, after an odd number of steps."""
    whole, rest = made(host, every_n_steps=2), made(host, every_n_steps=2)
    saver = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=3, save_top_k=-1)
    fit(make_trainer, whole, callbacks=[saver], enable_checkpointing=True)
    fit(make_trainer, rest, path=tmp_path / "step=3.ckpt")
    assert whole.acted == [0, 2, 4, 6]
    assert rest.acted == [4, 6]
    for left, right in zip(whole.seal.state_dict().values(), rest.seal.state_dict().values(), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_a_checkpoint_without_the_count_starts_it(tmp_path):
    model = made(every_n_steps=3)
    optimization = model._seal_optimization
    assert [optimization.acts(None) for _ in range(4)] == [True, False, False, True]
    entry = copy.deepcopy(optimization.state_dict())
    again = LossNetOptimization(model.seal, model._seal_config)
    again.load_state_dict(entry)
    assert [again.acts(None) for _ in range(3)] == [False, False, True]
    with pytest.raises(ValueError, match="Expected `steps` of the checkpoint's `seal` entry to be the number of steps"):
        again.load_state_dict({**entry, "steps": "three"})
    del entry["steps"]
    again.load_state_dict(entry)
    assert again.acts(None)


@pytest.mark.parametrize(
    ("value", "kind", "message"),
    [
        (0, ValueError, "Expected `every_n_steps` to be at least 1, but got 0"),
        (1.5, TypeError, "Expected `every_n_steps` to be an integer, but got 1.5"),
        (None, TypeError, "Expected `every_n_steps` to be an integer, but got None"),
    ],
)
def test_the_number_is_checked(value, kind, message):
    with pytest.raises(kind, match=message):
        SealConfig(every_n_steps=value)
