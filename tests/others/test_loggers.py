"""Loggers that other people wrote: they get the host's values as ever, and SEAL's beside them."""

import re
import sys

import pytest

from tests.others.others import SEAL_NAMES, STYLES, csv_rows, recorder, three


def csv_logger(library, folder):
    logger = library.loggers.CSVLogger(folder)

    def effect(run):
        rows = csv_rows(logger)
        return seal_beside(run, {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]})

    return {"logger": logger, "log_every_n_steps": 1}, effect


def tensorboard_logger(library, folder):
    """With the host's graph, which is traced through its forward."""
    pytest.importorskip("tensorboard", reason="TensorBoardLogger needs tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = library.loggers.TensorBoardLogger(folder)

    def effect(run):
        events = EventAccumulator(logger.log_dir).Reload()
        names = events.Tags()["scalars"]
        return seal_beside(run, {name: [event.value for event in events.Scalars(name)] for name in names})

    return {"logger": logger, "log_every_n_steps": 1}, effect


def wandb_logger(library, folder):
    """Offline, and with all of the host's weights and gradients watched."""
    pytest.importorskip("wandb", reason="WandbLogger needs wandb")
    logger = library.loggers.WandbLogger(save_dir=folder, offline=True)
    watch = recorder(library, lambda trainer, model: logger.watch(model, "all", 1, log_graph=False), "on_fit_start")

    def effect(run):
        summary = dict(logger.experiment.summary)
        logger.experiment.unwatch(run.model)
        sys.modules["wandb"].finish()
        assert list(folder.glob("wandb/offline-run-*/*.wandb"))
        watched = {re.sub(r"^gradients/(graph_\d+)?", "", name) for name in summary if name.startswith("gradients/")}
        assert watched == {name for name, _ in run.model.named_parameters()}
        values = {name: value for name, value in summary.items() if isinstance(value, int | float)}
        return seal_beside(run, {name: [value] for name, value in values.items() if not name.startswith("_")})

    return {"logger": logger, "callbacks": [watch], "log_every_n_steps": 1}, effect


def seal_beside(run, logged):
    """The host's values, after a look at SEAL's."""
    ours = {name for name in logged if name.startswith("seal/")}
    assert ours == (SEAL_NAMES if hasattr(run.model, "seal") else set())
    assert {"train_loss", "val_loss"} <= set(logged)
    return sorted((name, values) for name, values in logged.items() if name not in ours)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", [csv_logger, tensorboard_logger], ids=lambda case: case.__name__)
def test_a_logger_gets_the_hosts_values_and_ours(case, style, tmp_path):
    three(style, case, tmp_path)


@pytest.mark.parametrize("style", ["automatic", "manual", "pytorch_lightning"])
def test_weights_and_biases_offline(style, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)  # the process that wandb starts stays where it began, and writes what later runs print
    three(style, wandb_logger, tmp_path)
