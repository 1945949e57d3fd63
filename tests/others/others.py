"""A host under other people's callbacks, flags and loggers: alone, with SEAL at weight 0, and with SEAL as it comes."""

import csv
from pathlib import Path

import lightning.pytorch
import pytest
import torch

from tests import hosts
from tests.promises.twins import assert_energy_acts, assert_same_training, config, same, seal, train

STYLES = ("automatic", "manual", "seq2frame", "dict", "pytorch_lightning")
SEAL_NAMES = {
    f"seal/{name}"
    for name in ("energy", "loss_net_loss", "weight", "force_ratio", "ranking_accuracy", "skipped_updates")
}


def host_of(style, *more):
    """A host of this style that draws its own data; `more` are further base classes before it."""
    if style == "pytorch_lightning":
        pytest.importorskip("pytorch_lightning", reason="the host is written on pytorch_lightning")
        base = hosts.on_pytorch_lightning()
    else:
        names = {"manual": "ManualHost", "seq2frame": "CentreHost", "dict": "DictHost"}
        base = getattr(hosts, names.get(style, "ForwardHost"))
    return type("Host", (*more, hosts.Loaders, base), {"__module__": __name__})


def library_of(style):
    """Trainer, callbacks and loggers come from the package that the host is written on."""
    return pytest.importorskip("pytorch_lightning") if style == "pytorch_lightning" else lightning.pytorch


def trainer_maker(library):
    """A real Trainer on one CPU, two epochs of four batches, that writes nothing unless asked to."""

    def make(**options):
        defaults = {"accelerator": "cpu", "devices": 1, "max_epochs": 2, "logger": False}
        defaults |= dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
        return library.Trainer(**(defaults | options))

    return make


def relative(value, folder):
    """Nested containers with the paths in them told from the run's own folder."""
    if isinstance(value, dict):
        return {relative(key, folder): relative(item, folder) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [relative(item, folder) for item in value]
    return value.replace(str(folder), "") if isinstance(value, str | Path) and str(folder) in str(value) else value


def callback_states(run):
    """What the callbacks would keep in a checkpoint, but for a Timer's seconds."""
    callbacks = [callback for callback in run.trainer.callbacks if type(callback).__name__ != "Timer"]
    return {callback.state_key: callback.state_dict() for callback in callbacks}


def three(style, case, folder, *more, logs=True):
    """Fit the three under a case, hold them against each other, return them.

    Args:
        style: One of `STYLES`.
        case: Called with the library and a folder; returns the options of a Trainer and a function that asserts on a
            run that the callback did its work, and returns what must be equal with and without SEAL.
        folder: Where the runs may write.
        more: Base classes before the host.
        logs: Whether the trainer takes logged values.
    """
    library, host = library_of(style), host_of(style, *more)
    runs = []
    for name, cls, arguments in (
        ("plain", host, {}),
        ("zero", seal(host), {"seal": config(weight=0.0)}),
        ("felt", seal(host), {"seal": config()}),
    ):
        (folder / name).mkdir(parents=True)
        options, effect = case(library, folder / name)
        options = {"default_root_dir": str(folder / name)} | options
        run = train(trainer_maker(library), cls, trainer=lambda o=options: o, batches=lambda: None, **arguments)
        run.extra = relative([effect(run), callback_states(run)], folder / name)
        runs.append(run)
    plain, zero, felt = runs
    assert_same_training(plain, zero)
    assert same(plain.extra, zero.extra)
    assert_energy_acts(plain, felt)
    logged = {name for name in felt.trainer.callback_metrics if name.startswith("seal/")}
    assert logged == (SEAL_NAMES if logs else set())
    assert all(torch.isfinite(felt.trainer.callback_metrics[name]) for name in logged)
    return plain, zero, felt


def recorder(library, look, hook="on_train_batch_end"):
    """A callback that keeps in `seen` what `look(trainer, model)` returns each time."""

    class Recorder(library.Callback):
        def __init__(self):
            self.seen = []

    setattr(Recorder, hook, lambda self, trainer, model, *_: self.seen.append(look(trainer, model)))
    return Recorder()


def csv_rows(logger):
    """What a CSVLogger wrote."""
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))
