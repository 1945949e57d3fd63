"""Test 9: the tuner searches as with the host alone and leaves the loss-nets as they were; LBFGS, SWA and EMA."""

import copy

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging
from lightning.pytorch.tuner import Tuner

from tests import hosts
from tests.promises.twins import config, same, seal, train, twins


class TunedHost(hosts.ForwardHost):
    """A host whose learning rate and batch size the tuner may set."""

    def __init__(self):
        super().__init__()
        self.lr, self.batch_size = 1e-2, 4

    def train_dataloader(self):
        return hosts.ForwardHost.loader(batch_size=self.batch_size)

    def val_dataloader(self):
        return hosts.ForwardHost.loader(batch_size=self.batch_size, shuffle=False)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)

    @staticmethod
    def loader():
        return None


def find_rate(trainer, model):
    before = copy.deepcopy(model.seal.state_dict()) if hasattr(model, "seal") else None
    found = Tuner(trainer).lr_find(model, num_training=20)
    if before is not None:
        assert same(before, model.seal.state_dict())
    assert len(set(found.results["lr"])) > 10
    return found.results["lr"], found.results["loss"], found.suggestion(), model.lr


def find_batch_size(trainer, model):
    before = copy.deepcopy(model.seal.state_dict()) if hasattr(model, "seal") else None
    found = Tuner(trainer).scale_batch_size(model, mode="power", steps_per_trial=2, init_val=4, max_trials=2)
    if before is not None:
        assert same(before, model.seal.state_dict())
    assert found == model.batch_size == 8
    return found


@pytest.mark.parametrize("search", [find_rate, find_batch_size])
def test_09_the_tuner_searches_as_with_the_host_and_leaves_no_trace(make_trainer, monkeypatch, tmp_path, search):
    monkeypatch.chdir(tmp_path)

    def options():
        return {"enable_checkpointing": True, "max_epochs": 2}

    plain, zero, felt = twins(make_trainer, TunedHost, trainer=options, before=search)
    assert plain.extra == zero.extra
    assert felt.model.seal.draws == 1 + 2 * len(TunedHost.train_dataloader(felt.model))


def test_09_the_loss_nets_optimizer_is_as_new_after_tuning(make_trainer, monkeypatch, tmp_path):
    """A fit after the search for a batch size is the fit without the search, loss-net and its moments included."""
    monkeypatch.chdir(tmp_path)

    def options():
        return {"enable_checkpointing": True, "max_epochs": 2}

    def seeded(search):
        def run(trainer, model):
            search(trainer, model)
            L.seed_everything(1, verbose=False)

        return run

    def keep_size(trainer, model):
        find_batch_size(trainer, model)

    def set_size(trainer, model):
        model.batch_size = 8

    runs = [
        train(make_trainer, seal(TunedHost), trainer=options, before=seeded(search), seal=config())
        for search in (keep_size, set_size)
    ]
    assert same(*[run.model.state_dict() for run in runs])
    assert same(*[run.model.seal.state_dict() for run in runs])
    assert same(*[run.model.seal_optimizer.state_dict() for run in runs])


def test_09_lbfgs_evaluates_the_host_often_and_steps_the_loss_net_once(make_trainer):
    class Host(hosts.ForwardHost):
        evaluations = 0

        def training_step(self, batch, batch_idx):
            self.evaluations += 1
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    plain, zero, felt = twins(make_trainer, Host, trainer=lambda: {"max_epochs": 1})
    assert plain.model.evaluations == zero.model.evaluations > 2 * len(plain.trace.steps)
    assert felt.model.seal.draws == 1 + 6


def averaging(name):
    if name == "SWA":
        return StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1)
    return EMAWeightAveraging(decay=0.7)


@pytest.mark.parametrize("name", ["SWA", "EMA"])
def test_09_averaged_weights_are_the_hosts(make_trainer, name):
    def options():
        return {"max_epochs": 3, "callbacks": [averaging(name)]}

    plain, _, felt = twins(make_trainer, hosts.ForwardHost, trainer=options)
    last = train(make_trainer, hosts.ForwardHost, trainer=lambda: {"max_epochs": 3})
    assert not same(last.model.state_dict(), plain.model.state_dict())
    assert felt.model.seal.draws == 1 + 3 * 6


def test_09_a_checkpoint_with_averaged_weights_resumes_exactly(make_trainer, tmp_path):
    """EMA keeps the averaged weights as `state_dict`; SEAL's entry stands beside it."""
    batches = torch.utils.data.DataLoader(list(hosts.ForwardHost.loader(shuffle=False)), batch_size=None)
    host = type("Host", (seal(hosts.ForwardHost),), {"__module__": __name__})

    def run(folder, **fitting):
        L.seed_everything(0, verbose=False)
        saving = ModelCheckpoint(folder, "end", every_n_epochs=1, save_top_k=-1, enable_version_counter=False)
        model = host(dropout=0.0, seal=config())
        trainer = make_trainer(callbacks=[averaging("EMA"), saving], enable_checkpointing=True, **fitting)
        options = {"ckpt_path": tmp_path / "half/end.ckpt", "weights_only": True} if folder.name == "again" else {}
        trainer.fit(model, batches, **options)
        return model

    whole = run(tmp_path / "whole", max_epochs=4)
    run(tmp_path / "half", max_epochs=2)
    again = run(tmp_path / "again", max_epochs=4)
    assert same(whole.state_dict(), again.state_dict())
    assert same(whole.seal.state_dict(), again.seal.state_dict())
    assert same(whole.seal_optimizer.state_dict(), again.seal_optimizer.state_dict())


def test_09_validation_with_averaged_weights_goes_by(make_trainer):
    """EMA swaps weights in for validation and out again; the energy of training is that of the trained weights."""

    def fit(cls, **kwargs):
        L.seed_everything(0, verbose=False)
        model = cls(dropout=0.0, **kwargs)
        trainer = make_trainer(callbacks=[averaging("EMA")], val_check_interval=2)
        trainer.fit(model, model.loader(), model.loader(shuffle=False))
        return model, trainer.callback_metrics["val_loss"]

    (plain, plain_loss), (zero, zero_loss) = (
        fit(hosts.ForwardHost),
        fit(seal(hosts.ForwardHost), seal=config(weight=0.0)),
    )
    assert same(plain.state_dict(), zero.state_dict())
    assert plain_loss == zero_loss
    assert zero.seal.draws == 13
