"""SEAL's values are logged where a logger looks, and in every step where anybody else may look."""

import csv

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LambdaCallback, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from seal_lightning import SealConfig, SealMixin
from seal_lightning.callbacks import CollapseMonitor
from seal_lightning.loss_nets import MLPLossNet
from tests import hosts

pytestmark = pytest.mark.filterwarnings("ignore:The true poses' left")
BATCHES = 120


def small(skeleton):
    return MLPLossNet(skeleton, hidden=8, stages=1)


class Noting:
    """Notes in which batches SEAL logs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.logged = []
        log_dict = self.log_dict

        def noted(values, *args, **kwargs):
            if any(name.startswith("seal/") for name in values):
                self.logged.append(self.trainer.fit_loop.batch_idx)
            log_dict(values, *args, **kwargs)

        self.log_dict = noted


class Counting(Noting, SealMixin, hosts.ForwardHost):
    pass


class ManualCounting(Noting, SealMixin, hosts.ManualHost):
    pass


def fit(make_trainer, model=Counting, *, batches=BATCHES, seal=None, **options):
    model = model(seal=SealConfig(loss_net=small, **(seal or {})))
    trainer = make_trainer(**({"max_epochs": 1, "log_every_n_steps": 50} | options))
    trainer.fit(model, model.loader(count=4 * batches, batch_size=4))
    return model, trainer


def rows(logger):
    logger.save()
    with open(f"{logger.log_dir}/metrics.csv") as file:
        return [row for row in csv.DictReader(file) if row.get("seal/energy")]


@pytest.mark.parametrize("model", [Counting, ManualCounting])
def test_at_logging_steps_and_at_the_end_of_an_epoch(make_trainer, tmp_path, model):
    logger = CSVLogger(tmp_path)
    builtin = [LearningRateMonitor(), ModelCheckpoint(dirpath=tmp_path, monitor="train_loss")]
    model, trainer = fit(make_trainer, model, logger=logger, callbacks=builtin, enable_checkpointing=True)
    assert model.logged == [49, 99, 119]
    assert [int(row["step"]) for row in rows(logger)] == [49, 99]
    assert trainer.callback_metrics["seal/energy"] == model.seal.stats["energy"]


def test_the_logged_values_are_those_of_their_step(make_trainer, tmp_path):
    every, some = CSVLogger(tmp_path, "every"), CSVLogger(tmp_path, "some")
    L.seed_everything(0, verbose=False)
    fit(make_trainer, logger=every, log_every_n_steps=1)
    L.seed_everything(0, verbose=False)
    fit(make_trainer, logger=some)
    expected = [row for row in rows(every) if int(row["step"]) in (49, 99)]
    names = [name for name in expected[0] if name.startswith("seal/")]
    assert len(names) == 6
    assert [[row[name] for name in names] for row in rows(some)] == [[row[name] for name in names] for row in expected]


def test_with_accumulation_all_batches_of_a_logging_step(make_trainer):
    model, _ = fit(make_trainer, accumulate_grad_batches=2, log_every_n_steps=20)
    assert model.logged == [38, 39, 78, 79, 118, 119]


def test_the_last_step_of_a_training_that_ends_in_the_middle_of_an_epoch(make_trainer):
    model, trainer = fit(make_trainer, max_steps=7)
    assert model.logged == [6]
    assert "seal/force_ratio" in trainer.callback_metrics


class Reader(L.Callback):
    """A callback of a user, which looks at the values after every batch."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, module, *_):
        self.seen.append(bool(trainer.callback_metrics["seal/energy"] == module.seal.stats["energy"]))


def test_a_callback_of_a_users_own_finds_fresh_values(make_trainer):
    reader = Reader()
    fit(make_trainer, callbacks=[reader], batches=9)
    assert reader.seen == [True] * 9


def scheduled(monitor):
    class Scheduled(Counting):
        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
            scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": monitor}}

    return Scheduled


class WithHook(Counting):
    def on_train_batch_end(self, *_):
        assert self.trainer.callback_metrics["seal/energy"] == self.seal.stats["energy"]


class WithMeans(Counting):
    """Takes means over an epoch of all that is logged."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.energies = []

    def log_dict(self, values, *args, **kwargs):
        self.energies += [value for name, value in values.items() if name == "seal/energy"]
        super().log_dict(values, *args, **kwargs, on_step=False, on_epoch=True)


@pytest.mark.parametrize(
    ("callbacks", "model", "every"),
    [
        (lambda folder: [], Counting, False),
        (lambda folder: [LearningRateMonitor()], scheduled("train_loss"), False),
        (lambda folder: [CollapseMonitor(window=2)], Counting, False),
        (lambda folder: [EarlyStopping("train_loss", check_on_train_epoch_end=True)], Counting, False),
        (lambda folder: [EarlyStopping("seal/energy", check_on_train_epoch_end=True)], Counting, True),
        (lambda folder: [ModelCheckpoint(folder, monitor="seal/force_ratio")], Counting, True),
        (lambda folder: [ModelCheckpoint(folder, "{step}-{seal/energy:.2f}")], Counting, True),
        (lambda folder: [LambdaCallback(on_train_batch_end=lambda *_: None)], Counting, True),
        (lambda folder: [], scheduled("seal/loss_net_loss"), True),
        (lambda folder: [], WithHook, True),
        (lambda folder: [], WithMeans, True),
    ],
)
def test_every_step_where_somebody_may_look(make_trainer, tmp_path, callbacks, model, every):
    options = {"callbacks": callbacks(tmp_path), "enable_checkpointing": True, "logger": CSVLogger(tmp_path)}
    model, trainer = fit(make_trainer, model, batches=9, **options)
    assert model.logged == (list(range(9)) if every else [8])
    if isinstance(model, WithMeans):
        torch.testing.assert_close(trainer.callback_metrics["seal/energy"], torch.stack(model.energies).mean())


def test_a_collapse_is_noticed_between_logging_steps(make_trainer):
    monitor = CollapseMonitor(window=1000)
    fit(make_trainer, callbacks=[monitor], batches=9)
    assert len(monitor._seen) == 9
    assert len({tuple(values.tolist()) for values in monitor._seen}) == 9


def test_a_step_that_draws_its_own_batch_may_be_the_last(make_trainer):
    class Drawing(Counting):
        def training_step(self, dataloader_iter):
            (x, y), _, _ = next(dataloader_iter)
            return hosts.distance(self(x), y)

    model, trainer = fit(make_trainer, Drawing, batches=5)
    assert len(model.logged) == 5
    assert trainer.callback_metrics["seal/energy"] == model.seal.stats["energy"]


def test_nothing_without_a_trainer_that_logs(make_trainer):
    bare = {"barebones": True, "enable_checkpointing": False, "log_every_n_steps": None}
    assert fit(make_trainer, batches=5, **bare)[0].logged == []
    assert fit(make_trainer, batches=5, fast_dev_run=3)[0].logged == [0, 1, 2]
