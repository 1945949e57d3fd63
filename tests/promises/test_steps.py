"""Tests 1, 7 and 8: steps and constructors of every shape, under trainers of every kind."""

import inspect
import warnings

import lightning as L
import pytest
import torch
from torch import nn

from seal_lightning import SealMixin
from tests import hosts
from tests.promises.twins import assert_energy_acts, assert_same_training, config, same, seal, train, twins


class BatchOnly(hosts.ForwardHost):
    def training_step(self, batch):
        x, y = batch
        return hosts.distance(self(x), y)


class OtherNames(hosts.ForwardHost):
    def training_step(self, data, step_number):
        x, y = data
        return hosts.distance(self(x), y)


class AnyArguments(hosts.ForwardHost):
    def training_step(self, *args, **kwargs):
        x, y = args[0]
        return hosts.distance(self(x), y)


class DrawsItsOwn(hosts.ForwardHost):
    def training_step(self, dataloader_iter):
        (x, y), _, _ = next(dataloader_iter)
        return hosts.distance(self(x), y)


class DictReturn(hosts.ForwardHost):
    def training_step(self, batch, batch_idx):
        x, y = batch
        prediction = self(x)
        return {"loss": hosts.distance(prediction, y), "prediction": prediction.detach()}


class NowAndThenNone(hosts.ForwardHost):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 3 == 1 else loss


class Layered(hosts.ForwardHost):
    """A host that is itself an override with `super()`."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        extra = self.net[1].weight.square().mean()
        self.log("extra", extra)
        return loss + extra


class AsksForItsOptimizer(hosts.ForwardHost):
    def on_train_epoch_end(self):
        optimizer, scheduler = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer.optimizer, torch.optim.Adam)
        assert isinstance(scheduler, torch.optim.lr_scheduler.StepLR)
        self.log("rate", optimizer.param_groups[0]["lr"])

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=1e-2)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


STYLES = (
    BatchOnly,
    OtherNames,
    AnyArguments,
    DrawsItsOwn,
    DictReturn,
    NowAndThenNone,
    Layered,
    AsksForItsOptimizer,
)


@pytest.mark.parametrize("host", STYLES, ids=lambda host: host.__name__)
def test_07_steps_of_every_shape(make_trainer, host):
    twins(make_trainer, host)


def test_07_a_step_that_draws_several_batches_is_read_by_the_one_it_trains_on(make_trainer):
    """Shapes could not tell which of the batches the prediction belongs to."""

    class Host(hosts.ForwardHost):
        def training_step(self, dataloader_iter):
            (x, y), _, _ = next(dataloader_iter)
            next(dataloader_iter)
            self.used = x, y
            return hosts.distance(self(x), y)

    model = seal(Host)(seal=config())
    make_trainer(max_epochs=1, limit_train_batches=2).fit(model, model.loader())
    assert same((model.seal_captured.keypoints_2d, model.seal_captured.target), model.used)


def test_07_overrides_below_the_mixin_keep_their_super(make_trainer):
    """Further subclasses, two of them, with and without a step of their own; the loss-net steps once a step."""

    class First(seal(hosts.ForwardHost)):
        def training_step(self, batch, batch_idx):
            return 0.5 * super().training_step(batch, batch_idx)

    class Second(First):
        pass

    class Third(Second):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return {"loss": 2 * loss}

    plain = train(make_trainer, hosts.ForwardHost)
    zero = train(make_trainer, Third, seal=config(weight=0.0))
    felt = train(make_trainer, Third, seal=config())
    assert_same_training(plain, zero)
    assert_energy_acts(plain, felt)
    assert felt.model.seal.draws == 13


def test_07_the_host_keeps_its_own_keyword_arguments(make_trainer):
    class Host(hosts.ForwardHost):
        def __init__(self, width, *, lr=1e-2, **options):
            super().__init__(lr)
            self.net = hosts.net(**options)
            self.width = width
            self.save_hyperparameters()

    class SealHost(SealMixin, Host):
        pass

    options = {"width": 7, "lr": 3e-3, "dropout": 0.1}
    plain = train(make_trainer, Host, **options)
    zero = train(make_trainer, SealHost, seal=config(weight=0.0), **options)
    felt = train(make_trainer, SealHost, seal=config(), **options)
    assert_same_training(plain, zero)
    assert_energy_acts(plain, felt)
    assert (felt.model.width, felt.model.net[4].p, felt.model.hparams.lr) == (7, 0.1, 3e-3)
    assert isinstance(felt.model.hparams.seal, dict)
    assert "seal" not in plain.model.hparams


def test_07_a_mixin_between_mixins(make_trainer):
    """Other mixins around SEAL, with constructors of their own, do not disturb it."""

    class Noted:
        def __init__(self, *args, note="", **kwargs):
            super().__init__(*args, **kwargs)
            self.note = note

    class Counting(Noted, SealMixin, hosts.ForwardHost):
        pass

    class Between(SealMixin, Noted, hosts.ForwardHost):
        pass

    plain = train(make_trainer, hosts.ForwardHost)
    for cls in (Counting, Between):
        zero = train(make_trainer, cls, note="x", seal=config(weight=0.0))
        assert_same_training(plain, zero)
        assert zero.model.note == "x"


def test_07_a_mixin_of_ones_own_for_several_hosts(make_trainer):
    class Ours(SealMixin):
        def seal_batch(self, batch, inputs, output):
            self.read = True
            return super().seal_batch(batch, inputs, output)

    class Host(Ours, hosts.ForwardHost):
        pass

    assert inspect.signature(Host).parameters.keys() == {*inspect.signature(hosts.ForwardHost).parameters, "seal"}
    felt = train(make_trainer, Host, seal=config())
    assert felt.model.read
    assert_energy_acts(train(make_trainer, hosts.ForwardHost), felt)


def test_08_a_host_optimizer_over_all_parameters_never_touches_the_loss_net(make_trainer):
    """Weight decay of 1 shrinks whatever the optimizer holds: the loss-net is not among it, nor are its gradients."""

    class Host(hosts.ForwardHost):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.5, weight_decay=1.0)

    class Watch(L.Callback):
        strays = 0

        def on_before_optimizer_step(self, trainer, module, optimizer):
            held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            own = list(module.seal.parameters())
            self.strays += sum(id(parameter) in held or parameter.grad is not None for parameter in own)

    watch = Watch()
    frozen = config(optimizer=nothing)
    felt = train(make_trainer, seal(Host), trainer=lambda: {"callbacks": [watch]}, seal=frozen)
    assert watch.strays == 0
    assert same(list(seal(Host)(seal=frozen).seal.parameters()), list(felt.model.seal.parameters()))
    assert felt.model.seal.draws == 13


def nothing(parameters):
    return torch.optim.SGD(parameters, lr=0.0)


def test_08_a_frozen_part_of_the_host_stays_frozen(make_trainer):
    class Host(hosts.ForwardHost):
        def __init__(self):
            super().__init__()
            self.net[1].requires_grad_(False)

        def configure_optimizers(self):
            return torch.optim.Adam([p for p in self.parameters() if p.requires_grad], lr=1e-2)

    _, _, felt = twins(make_trainer, Host)
    assert felt.model.net[1].weight.grad is None


@pytest.mark.parametrize(
    "options",
    [
        {"fast_dev_run": 3},
        {"overfit_batches": 2},
        {"overfit_batches": 1, "max_epochs": 4},
        {"limit_train_batches": 0.5},
    ],
    ids=str,
)
def test_01_short_trainers(make_trainer, options):
    _, _, felt = twins(make_trainer, hosts.ForwardHost, trainer=lambda: dict(options))
    assert felt.model.seal.draws == 1 + felt.trainer.global_step


def test_01_a_barebones_trainer(make_trainer):
    """Nothing is logged, all is trained."""
    runs = []
    for cls, kwargs in ((hosts.ForwardHost, {}), (seal(hosts.ForwardHost), {"seal": config(weight=0.0)})):
        L.seed_everything(0, verbose=False)
        model = cls(**kwargs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            L.Trainer(barebones=True, accelerator="cpu", max_epochs=2).fit(model, model.loader())
        runs.append(model)
    assert same(*[model.state_dict() for model in runs])
    assert runs[1].seal.draws == 13
    assert runs[1].trainer.callback_metrics == {}


def test_01_nothing_else_is_logged_and_the_progress_bar_is_the_hosts(make_trainer):
    plain, _, felt = twins(make_trainer, hosts.ForwardHost)
    more = set(felt.trainer.callback_metrics) - set(plain.trainer.callback_metrics)
    names = ("energy", "loss_net_loss", "weight", "force_ratio", "ranking_accuracy", "skipped_updates")
    assert more == {f"seal/{name}" for name in names}
    assert set(felt.trainer.progress_bar_metrics) == set(plain.trainer.progress_bar_metrics)


def test_01_detecting_anomalies_and_profiling_do_not_mind(make_trainer):
    twins(make_trainer, hosts.ForwardHost, trainer=lambda: {"detect_anomaly": True, "profiler": "simple"})


def test_02_counters_checkpoints_and_validation_come_when_the_hosts_come(make_trainer, tmp_path):
    """`max_steps`, `every_n_train_steps`, `val_check_interval` and early stopping count optimizer steps of the host."""

    def run(cls, folder, **kwargs):
        seen = []

        class Watch(L.Callback):
            def on_validation_start(self, trainer, module):
                seen.append(("validation", trainer.global_step))

            def on_save_checkpoint(self, trainer, module, checkpoint):
                seen.append(("checkpoint", trainer.global_step, checkpoint["epoch"]))

        saving = L.pytorch.callbacks.ModelCheckpoint(
            tmp_path / folder, every_n_train_steps=3, save_top_k=-1, monitor="train_loss"
        )
        stopping = L.pytorch.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0)
        L.seed_everything(0, verbose=False)
        model = cls(**kwargs)
        trainer = make_trainer(
            max_steps=40,
            max_epochs=-1,
            callbacks=[Watch(), saving, stopping],
            enable_checkpointing=True,
            val_check_interval=2,
            accumulate_grad_batches=2,
        )
        trainer.fit(model, model.loader(), model.loader(shuffle=False))
        return seen, trainer.global_step, saving.best_model_path.replace(folder, ""), sorted(saving.best_k_models)

    plain = run(hosts.ForwardHost, "plain")
    zero = run(seal(hosts.ForwardHost), "zero", seal=config(weight=0.0))
    assert plain[:3] == zero[:3]
    assert plain[1] < 40
    felt = run(seal(hosts.ForwardHost), "felt", seal=config())
    assert [entry[:2] for entry in felt[0]] == [entry[:2] for entry in plain[0]]


def test_01_a_net_that_is_run_again_in_the_backward_pass(make_trainer):
    """Activation checkpointing runs the net again in the backward pass: that call is not taken for another one."""

    class Host(hosts.ForwardHost):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 32), nn.ReLU(), nn.Linear(32, 51))

        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                flat = torch.utils.checkpoint.checkpoint(self.net, x, use_reentrant=False)
            return flat.float().view(-1, hosts.JOINTS, 3)

    twins(make_trainer, Host)
