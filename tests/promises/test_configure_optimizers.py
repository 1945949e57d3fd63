"""Test 3: whatever form `configure_optimizers` takes, learning rates and optimizer states are the host's."""

import lightning as L
import pytest
import torch
from lightning.pytorch.cli import LightningCLI
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ExponentialLR, LambdaLR, ReduceLROnPlateau, StepLR

from tests import hosts
from tests.promises.twins import (
    Run,
    Trace,
    assert_energy_acts,
    assert_same_training,
    config,
    same,
    seal,
    train,
    twins,
)


def plateau(optimizer):
    return ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=10.0)


def adam(host):
    return Adam(host.parameters(), lr=1e-2)


def bare(host):
    return adam(host)


def listed(host):
    return [adam(host)]


def two_lists(host):
    optimizer = adam(host)
    return [optimizer], [ExponentialLR(optimizer, 0.5)]


def two_lists_with_options(host):
    optimizer = adam(host)
    return [optimizer], [{"scheduler": StepLR(optimizer, 2, 0.5), "interval": "step"}]


def dict_alone(host):
    return {"optimizer": adam(host)}


def dict_with_scheduler(host):
    optimizer = adam(host)
    return {"optimizer": optimizer, "lr_scheduler": ExponentialLR(optimizer, 0.5)}


def dict_every_other_step(host):
    optimizer = adam(host)
    scheduler = {"scheduler": ExponentialLR(optimizer, 0.9), "interval": "step", "frequency": 2, "name": "rate"}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def list_of_dicts(host):
    return [dict_with_scheduler(host)]


def plateau_beside_its_monitor(host):
    optimizer = adam(host)
    return {"optimizer": optimizer, "lr_scheduler": plateau(optimizer), "monitor": "train_loss"}


def plateau_each_step(host):
    optimizer = adam(host)
    scheduler = {"scheduler": plateau(optimizer), "monitor": "train_loss", "interval": "step", "strict": True}
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


def two_parameter_groups(host):
    groups = [{"params": host.net[1].parameters(), "lr": 1e-3}, {"params": host.net[2:].parameters()}]
    optimizer = SGD(groups, lr=1e-2, momentum=0.9)
    return [optimizer], [LambdaLR(optimizer, [lambda epoch: 1 / (1 + epoch), lambda epoch: 0.5**epoch])]


FORMS = (
    bare,
    listed,
    two_lists,
    two_lists_with_options,
    dict_alone,
    dict_with_scheduler,
    dict_every_other_step,
    list_of_dicts,
    plateau_beside_its_monitor,
    plateau_each_step,
    two_parameter_groups,
)
CONSTANT = (bare, listed, dict_alone)


def host_with(form):
    return type(f"Host_{form.__name__}", (hosts.ForwardHost,), {"configure_optimizers": form, "__module__": __name__})


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_03_learning_rates_are_the_hosts(make_trainer, form):
    _, _, felt = twins(make_trainer, host_with(form), trainer=lambda: {"max_epochs": 3})
    rates = [step[-1] for step in felt.trace.steps]
    assert (len(set(rates)) == 1) == (form in CONSTANT)


def test_03_a_host_without_an_optimizer_stays_as_it_is(make_trainer):
    def nothing(host):
        return None

    runs = [train(make_trainer, host_with(nothing))]
    for weight in (0.0, 1.0):
        runs.append(train(make_trainer, seal(host_with(nothing)), seal=config(weight=weight)))
    L.seed_everything(0, verbose=False)
    untouched = dict(hosts.ForwardHost().named_parameters())
    for run in runs:
        assert same(untouched, dict(run.model.named_parameters()))
    assert_same_training(runs[0], runs[1])
    assert runs[2].model.seal.draws == 13


def test_03_a_host_that_steps_its_schedule_itself(make_trainer):
    class Host(hosts.ForwardHost):
        configure_optimizers = two_lists_with_options

        def lr_scheduler_step(self, scheduler, metric):
            scheduler.step()
            scheduler.step()

    twins(make_trainer, Host)


def test_03_a_manual_host_with_two_optimizers_and_schedules(make_trainer):
    class Host(hosts.ManualHost):
        def training_step(self, batch, batch_idx):
            x, y = batch
            first, second = self.optimizers()
            prediction = self(x)
            first.zero_grad()
            second.zero_grad()
            self.manual_backward(0.01 * prediction.square().mean(), retain_graph=True)
            self.manual_backward(hosts.distance(prediction, y))
            first.step()
            second.step()
            for scheduler in self.lr_schedulers():
                scheduler.step()

        def configure_optimizers(self):
            first, second = Adam(self.net[1:3].parameters(), lr=1e-2), SGD(self.net[3:].parameters(), lr=1e-2)
            return [first, second], [StepLR(first, 2, 0.5), ExponentialLR(second, 0.9)]

    _, _, felt = twins(make_trainer, Host)
    assert felt.trainer.global_step == 24


def test_03_hooks_around_the_optimizer_are_called_as_the_hosts(make_trainer):
    class Host(hosts.ScheduledHost):
        def __init__(self):
            super().__init__()
            self.called = []

        def on_train_epoch_end(self):
            super().on_train_epoch_end()
            self.called.append(("epoch end", len(self.trainer.optimizers), len([self.lr_schedulers()])))

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure=None):
            self.called.append(("step", epoch, batch_idx, type(optimizer).__name__))
            super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
            self.called.append(("zero_grad", batch_idx))
            super().optimizer_zero_grad(epoch, batch_idx, optimizer)

        def on_before_zero_grad(self, optimizer):
            self.called.append(("before zero_grad", sum(p.grad is not None for p in self.parameters())))

        def on_before_backward(self, loss):
            self.called.append(("before backward",))

        def on_after_backward(self):
            self.called.append(("after backward", sum(p.grad is not None for p in self.parameters())))

        def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
            self.called.append(("clipping", gradient_clip_val, gradient_clip_algorithm))
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

        def lr_scheduler_step(self, scheduler, metric):
            self.called.append(("schedule", type(scheduler).__name__))
            super().lr_scheduler_step(scheduler, metric)

    def options():
        return {"gradient_clip_val": 0.2, "gradient_clip_algorithm": "value", "accumulate_grad_batches": 2}

    plain, zero, felt = twins(make_trainer, Host, trainer=options)
    assert plain.model.called == zero.model.called == felt.model.called
    assert {call[0] for call in plain.model.called} >= {"epoch end", "step", "zero_grad", "schedule", "clipping"}


class CLIHost(hosts.ForwardHost):
    """A host with data of its own and an optimizer that the command line replaces."""

    def configure_optimizers(self):
        return Adam(self.parameters(), lr=1e-2)

    def train_dataloader(self):
        return hosts.ForwardHost.loader()


class SealCLIHost(seal(CLIHost)):
    pass


ADAM = "--optimizer Adam --optimizer.lr 0.02 "
STEP = "--lr_scheduler StepLR --lr_scheduler.step_size 1 --lr_scheduler.gamma 0.5"
PLATEAU = "--lr_scheduler lightning.pytorch.cli.ReduceLROnPlateau --lr_scheduler.monitor train_loss "
AT_ONCE = "--lr_scheduler.patience 0 --lr_scheduler.threshold 10 --lr_scheduler.factor 0.5"
OPTIMIZERS = {
    "optimizer": ("--optimizer SGD --optimizer.lr 0.05", "SGD", {0.05}),
    "optimizer and schedule": (ADAM + STEP, "Adam", {0.02, 0.01, 0.005}),
    "plateau": (ADAM + PLATEAU + AT_ONCE, "Adam", {0.02, 0.01}),
}


@pytest.mark.parametrize("chosen", OPTIMIZERS)
def test_03_the_command_lines_optimizer_and_schedule_replace_the_hosts(tmp_path, monkeypatch, chosen):
    """LightningCLI puts another `configure_optimizers` on the instance; SEAL needs no hook of it."""
    monkeypatch.setattr("sys.argv", ["fit"])  # else Lightning warns of pytest's own arguments
    arguments, optimizer, rates = OPTIMIZERS[chosen]

    def run(cls, *more):
        trace = Trace()
        options = {"accelerator": "cpu", "max_epochs": 3, "logger": False, "enable_checkpointing": False}
        options |= {"enable_progress_bar": False, "enable_model_summary": False, "default_root_dir": str(tmp_path)}
        cli = LightningCLI(
            cls,
            trainer_defaults=options | {"callbacks": trace},
            save_config_callback=None,
            seed_everything_default=0,
            args=["fit", *arguments.split(), *more],
        )
        assert type(cli.trainer.optimizers[0]).__name__ == optimizer
        return Run(cli.model, cli.trainer, trace, torch.get_rng_state())

    loss_net = ["--model.seal.loss_net", "tests.promises.twins.small"]
    plain = run(CLIHost)
    zero = run(SealCLIHost, *loss_net, "--model.seal.weight", "0.0")
    felt = run(SealCLIHost, *loss_net)
    assert_same_training(plain, zero)
    assert_energy_acts(plain, felt)
    assert {step[-1][0] for step in felt.trace.steps} >= rates
    assert felt.model.seal_optimizer.param_groups[0]["lr"] == 1e-3
