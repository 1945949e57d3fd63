"""Sweeps: what W&B makes of the sweep files goes through the command, and its runs know what they should."""

import itertools
import json
import math
import os
import random
import re
import shutil
import sys
from pathlib import Path

import lightning as L
import pytest
import wandb
import yaml
from wandb import wandb_agent
from wandb.proto.wandb_internal_pb2 import Record

from seal_lightning import SealConfig, SealLoss
from seal_lightning.callbacks import MetricDirections
from seal_lightning.cli import SealCLI, main
from seal_lightning.loss_nets import GraphLossNet, StructureLossNet

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = {path.stem: path for path in sorted((ROOT / "examples" / "sweeps").glob("*.yaml"))}
KEYS = {"program", "method", "metric", "early_terminate", "run_cap", "parameters", "command"}
DISTRIBUTIONS = {"log_uniform_values": float, "int_uniform": int}
SMALL = ["--data.synthetic.subjects=3", "--data.synthetic.clips_per_subject=1", "--data.synthetic.frames=10"]
SMALL += ["--data.batch_size=6", "--trainer.max_epochs=2", "--trainer.accelerator=cpu", "--model.hidden=8"]
SMALL += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
SMALL += ["--trainer.log_every_n_steps=1"]


def sweep(name):
    return yaml.safe_load(SWEEPS[name].read_text())


def combinations(parameters, method):
    """All of a grid; of a search its corners, where every parameter is at one end, and random draws."""
    if method == "grid":
        columns = [parameter["values"] for parameter in parameters.values()]
        return [dict(zip(parameters, row, strict=True)) for row in itertools.product(*columns)]
    generator = random.Random(0)

    def draw(parameter, position):
        if "values" in parameter:
            return parameter["values"][round(position * (len(parameter["values"]) - 1))]
        low, high = parameter["min"], parameter["max"]
        if parameter["distribution"] == "int_uniform":
            return round(low + position * (high - low))
        return math.exp(math.log(low) + position * math.log(high / low))

    positions = [[0.0] * len(parameters), [1.0] * len(parameters)]
    positions += [[generator.random() for _ in parameters] for _ in range(6)]
    return [
        {name: draw(parameter, position) for (name, parameter), position in zip(parameters.items(), row, strict=True)}
        for row in positions
    ]


@pytest.fixture
def agent(tmp_path, monkeypatch):
    """W&B's own agent without a server, in an empty directory with the examples."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_DIR", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):
        monkeypatch.setenv(name, str(tmp_path))  # the agent sets them for its runs: taken back after the test
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep123")
    monkeypatch.setenv("WANDB_PROJECT", "seal")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    wandb.teardown()  # it reads the environment once
    yield wandb_agent.Agent(api=None, queue=None, sweep_id="sweep123")
    wandb.teardown()


class NoProcess:
    """Takes the place of a process that the agent would start."""

    def __init__(self, command, **kwargs):
        self.command = command


class Parsed(SealCLI):
    """The command up to its arguments."""

    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


def start(agent, content, values, run_id, extra=()):
    agent._sweep_command = [*content["command"][:-1], *extra, content["command"][-1]]
    arguments = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"run_id": run_id, "program": content["program"], "args": arguments})
    return agent._run_processes[run_id]


def records(path):
    """What an offline run wrote: a LevelDB log (blocks of 32 KiB, 7-byte headers) of protocol buffers."""
    data, at, part = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or last of several
            record, part = Record.FromString(part), b""
            yield record.WhichOneof("record_type"), record


def contents(path):
    """Config, history and metric definitions of an offline run."""
    config, history, metrics = {}, [], {}
    for kind, record in records(path):
        if kind in ("run", "config"):
            updates = record.run.config.update if kind == "run" else record.config.update
            config |= {update.key: json.loads(update.value_json) for update in updates if update.key}
        elif kind == "history":
            history.append(
                {item.nested_key[0] or item.key: json.loads(item.value_json) for item in record.history.item}
            )
        elif kind == "metric" and record.metric.name:
            summary = record.metric.summary
            chosen = {name for name in ("min", "max", "mean", "last", "none") if getattr(summary, name)}
            metrics[record.metric.name] = (chosen, record.metric.step_metric)
    return config, history, metrics


def summary_of(path):
    """The summary that an offline run ends with."""
    summary = {}
    for kind, record in records(path):
        if kind == "summary":
            for item in record.summary.update:
                summary[item.key or item.nested_key[0]] = json.loads(item.value_json)
    return summary


MIN, MAX, LAST = ({"min", "last"}, {"max", "last"}, {"last"})
SEAL_DIRECTIONS = {
    "seal/ranking_accuracy": MAX,
    "seal/loss_net_loss": MIN,
    "seal/energy": MIN,
    "seal/weight": LAST,
    "seal/force_ratio": LAST,
}


@pytest.mark.parametrize("name", SWEEPS)
def test_sweep_files_are_well_formed(name):
    content = sweep(name)
    assert set(content) <= KEYS
    assert content["metric"] == {"name": "val/bounded_bsle", "goal": "minimize"}  # never MPJPE alone, over the weight
    assert any(word.startswith("--trainer.callbacks.mpjpe_bound=") for word in content["command"])
    assert content["command"][:4] == ["${env}", "${program}", "fit", "--config"]
    assert content["program"] == "seal-lightning"
    assert content["command"][-1] == "${args}"
    for parameter in content["parameters"].values():
        if set(parameter) != {"values"}:
            kind = DISTRIBUTIONS[parameter["distribution"]]
            assert set(parameter) == {"distribution", "min", "max"}
            assert content["method"] != "grid"
            assert all(type(parameter[end]) is kind for end in ("min", "max"))
            assert parameter["min"] < parameter["max"]


def test_a_search_with_early_termination_and_a_grid_are_there():
    contents = {content["method"]: content for content in map(sweep, SWEEPS)}
    assert set(contents) == {"bayes", "grid"}
    assert contents["bayes"]["early_terminate"]["type"] == "hyperband"
    for content in contents.values():
        varied = " ".join(content["parameters"])
        for word in ("seal.weight", "seal.objective", "seal.loss_net"):
            assert word in varied
    assert {"model.lr", "model.seal.optimizer.lr"} <= set(contents["bayes"]["parameters"])


@pytest.mark.parametrize("name", SWEEPS)
def test_arguments_that_wandb_builds_are_understood(name, agent, monkeypatch):
    monkeypatch.setattr(wandb_agent, "AgentProcess", NoProcess)
    monkeypatch.syspath_prepend(ROOT)
    content, rows = sweep(name), combinations(sweep(name)["parameters"], sweep(name)["method"])
    assert len({str(row) for row in rows}) == len(rows) > 7
    parser, shuffle = Parsed(["fit", "--config", "examples/configs/seal.yaml"]).parser, random.Random(1).shuffle
    for number, row in enumerate(rows):
        names = list(row)
        shuffle(names)  # the server keeps no order
        command = start(agent, content, {key: row[key] for key in names}, f"run{number}").command
        assert command[:3] == ["/usr/bin/env", "seal-lightning", "fit"]
        config = parser.parse_args(command[2:]).fit
        model = config.model.init_args
        seal = model.seal.as_dict()
        for key, value in row.items():
            if key == "model.lr":
                assert model.lr == value
            elif key == "model.seal.weight.ratio":
                assert seal["weight"]["ratio"] == value
            elif key == "model.seal.objective":
                assert seal["objective"]["class_path"] == f"seal_lightning.objectives.{value}"
            elif key == "model.seal.optimizer.lr":
                assert seal["optimizer"]["class_path"] == "torch.optim.Adam"
                assert seal["optimizer"]["init_args"]["lr"] == value
                assert seal["optimizer"]["init_args"]["betas"] == (0.5, 0.9)  # of the default optimizer
            elif key == "model.seal.loss_net":
                asked, made = yaml.safe_load(value), seal["loss_net"]
                assert made["class_path"] == f"seal_lightning.loss_nets.{asked['class_path']}"
                assert made["init_args"] | asked["init_args"] == made["init_args"]
            else:
                argument = key.removeprefix("model.seal.loss_net.")
                assert seal["loss_net"]["class_path"] == "seal_lightning.loss_nets.StructureLossNet"
                assert seal["loss_net"]["init_args"][argument] == value
        structure, checkpoint = config.trainer.callbacks
        assert structure.class_path == "seal_lightning.callbacks.StructureMetrics"
        assert structure.init_args.mpjpe_bound > 0.0
        assert checkpoint.init_args.monitor == content["metric"]["name"]
    config = SealConfig.of(seal)
    (net,) = SealLoss(config.skeleton, config.terms()).loss_nets.values()
    assert isinstance(net, StructureLossNet if name == "bayes" else GraphLossNet)


def test_two_runs_of_a_sweep_in_one_directory(agent, tmp_path, monkeypatch):
    content = sweep("bayes")
    rows = combinations(content["parameters"], content["method"])[:2]
    process = start(agent, content, rows[0], "one", SMALL)
    monkeypatch.setattr(wandb_agent, "AgentProcess", NoProcess)
    command = start(agent, content, rows[1], "two", SMALL).command
    wandb.teardown()  # the agent has set the environment of the run
    try:
        main(command[2:])  # at the same time, in this process
    finally:
        wandb.finish()
        wandb.teardown()  # waits until the file is written
    assert process._popen.wait(timeout=300) == 0  # the agent's own `wait` takes no timeout in old versions
    for run_id, row in zip(("one", "two"), rows, strict=True):
        (log,) = tmp_path.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
        config, history, metrics = contents(log)
        assert {key: config[key] for key in row} == row
        arguments = config["model"]["init_args"]
        assert arguments["hidden"] == 8
        assert arguments["lr"] == row["model.lr"]
        assert arguments["seal"]["weight"]["ratio"] == row["model.seal.weight.ratio"]
        assert arguments["seal"]["loss_net"]["init_args"]["hidden"] == row["model.seal.loss_net.hidden"]
        assert config["trainer"]["max_epochs"] == 2
        assert metrics | {key: (best, "trainer/global_step") for key, best in SEAL_DIRECTIONS.items()} == metrics
        for score in ("val/bounded_bsle", "val/mpjpe", "val/lse"):
            assert metrics[score] == (MIN, "trainer/global_step")
            assert len([row for row in history if score in row]) == 2
        (saved,) = tmp_path.glob(f"wandb/offline-run-*-{run_id}/files/cli_config.yaml")
        assert yaml.safe_load(saved.read_text())["model"]["init_args"] == arguments
        again = Parsed(["fit", "--config", str(saved)])
        assert (
            yaml.safe_load(again.parser.dump(again.config, skip_none=False))["fit"]["model"]["init_args"] == arguments
        )
        assert len(list(tmp_path.glob(f"seal/{run_id}/checkpoints/*.ckpt"))) == 1


HOST = """
import lightning as L
import torch
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.regression import MeanAbsoluteError, R2Score


class Regressor(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(34, 51)
        self.error = MeanAbsoluteError()
        self.mean = MeanMetric()
        self.logged = MetricCollection({"fit": R2Score(), "off": MeanAbsoluteError()}, prefix="whole/")
        self.computed = MetricCollection({"fit": R2Score(), "off": MeanAbsoluteError()}, prefix="values/")

    def training_step(self, batch, batch_idx):
        loss = self.compare(batch, self.error)
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("error", self.error, on_step=True, on_epoch=True)
        self.log("hidden", self.error, logger=False)
        return loss

    def compare(self, batch, *metrics):
        prediction, target = self.net(batch["keypoints_2d"].flatten(1)), batch["target"].flatten(1)
        for metric in metrics:
            metric(prediction.detach().flatten(), target.flatten())
        return (prediction - target).abs().mean()

    def validation_step(self, batch, batch_idx):
        self.mean.update(self.compare(batch, self.logged, self.computed))
        self.log("unknown", self.mean)
        self.log("score", -float(batch_idx))
        self.log_dict(self.logged)

    def on_validation_epoch_end(self):
        self.log_dict(self.computed.compute())
        self.computed.reset()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
"""


@pytest.fixture
def regressor(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delitem(sys.modules, "my_regressor", raising=False)
    (tmp_path / "my_regressor.py").write_text(HOST)
    small = [flag for flag in SMALL if "hidden" not in flag]
    wandb.teardown()
    yield ["fit", "--model=my_regressor.Regressor", "--data=seal_lightning.data.MocapDataModule", *small]
    wandb.teardown()


def test_directions_of_a_hosts_own_metrics(regressor, tmp_path):
    watch = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=score", "--trainer.callbacks.mode=max"]
    watch += ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=loss"]
    try:
        main([*regressor, "--trainer.logger=WandbLogger", *watch])
    finally:
        wandb.finish()
        wandb.teardown()  # waits until the file is written
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    _, history, metrics = contents(log)
    logged = set().union(*history)
    known = {name: best for name, (best, _) in metrics.items() if best and name in logged}
    assert known == {
        "error_step": MIN,
        "error_epoch": MIN,
        "loss_step": MIN,
        "loss_epoch": MIN,
        "score": MAX,
        "whole/fit": MAX,
        "whole/off": MIN,
        "values/fit": MAX,
        "values/off": MIN,
    }
    assert "unknown" in logged
    assert "hidden" not in logged


def test_other_loggers_are_left_alone(regressor):
    class Made(SealCLI):
        def _run_subcommand(self, subcommand):
            pass

    own = "--trainer.callbacks=seal_lightning.callbacks.MetricDirections"
    for options, expected in ((["true"], 0), (["false"], 0), (["WandbLogger"], 1), (["WandbLogger", own], 1)):
        callbacks = Made([*regressor, f"--trainer.logger={options[0]}", *options[1:]]).trainer.callbacks
        assert len([callback for callback in callbacks if isinstance(callback, MetricDirections)]) == expected


SCRIPT = """
from examples.seal_lifter import SealLifter
from lightning.pytorch.cli import LightningCLI
from seal_lightning.callbacks import MetricDirections, StructureMetrics
from seal_lightning.data import MocapDataModule

callbacks = [StructureMetrics(), MetricDirections()]
LightningCLI(SealLifter, MocapDataModule, trainer_defaults={"callbacks": callbacks, "logger": "WandbLogger"})
"""


def test_a_script_of_ones_own_in_a_sweep_has_the_best_structure_in_its_summary(agent, tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.setattr(wandb_agent, "AgentProcess", NoProcess)
    command = ["${env}", "python", "${program}", "fit", "${args}"]
    content = {"program": "train.py", "command": command}
    started = start(agent, content, {"model.lr": 0.002}, "own", SMALL).command
    assert started[1:4] == ["python", "train.py", "fit"]
    wandb.teardown()
    monkeypatch.setattr(sys, "argv", started[2:])
    monkeypatch.syspath_prepend(tmp_path)
    try:
        exec(SCRIPT, {})
    finally:
        wandb.finish()
        wandb.teardown()
    (log,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    _, history, metrics = contents(log)
    for name in ("val/mpjpe", "val/p_mpjpe", "val/lse", "val/bsle", "val/asymmetry"):
        assert metrics[name] == (MIN, "trainer/global_step")
        assert len([row for row in history if name in row]) == 2
    best = {name: min(row[name] for row in history if name in row) for name in ("val/lse", "val/bsle")}
    summary = summary_of(log)
    assert {name: summary[name]["min"] for name in best} == best


def test_optuna_example_of_the_docs(tmp_path, monkeypatch):
    optuna = pytest.importorskip("optuna", reason="optuna is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    _, code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "sweeps.md").read_text(), re.DOTALL)
    trainer, optimize = L.Trainer, optuna.Study.optimize
    short = {"limit_train_batches": 1, "limit_val_batches": 1, "max_epochs": 1, "accelerator": "cpu"}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False}
    monkeypatch.setattr(L, "Trainer", lambda **kwargs: trainer(**(kwargs | short | quiet)))
    monkeypatch.setattr(optuna.Study, "optimize", lambda self, function, n_trials: optimize(self, function, 2))
    names = {}
    exec(code, names)
    trials = names["study"].trials
    assert len(trials) == 2
    assert all(0.01 <= trial.params["ratio"] <= 1.0 and trial.value > 0 for trial in trials)
    assert optuna.load_study(study_name="seal", storage="sqlite:///seal.db").best_value == min(t.value for t in trials)
