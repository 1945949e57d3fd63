"""The `seal-lightning` command, called in process as a user calls it."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
import yaml

import seal_lightning
from seal_lightning import ForceRatio
from seal_lightning.cli import SealCLI, main

MODULE = '''
import lightning as L
import torch

from seal_lightning import SealMixin


class Lifter(L.LightningModule):
    """A host.

    Args:
        hidden: Width of its one hidden layer.
    """

    def __init__(self, hidden: int = 8, note: str | None = None):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(34, hidden), torch.nn.ReLU(),
            torch.nn.Linear(hidden, 51), torch.nn.Unflatten(1, (17, 3)),
        )

    def error(self, batch):
        return (self.net(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def training_step(self, batch, batch_idx):
        return self.error(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val_error", self.error(batch))

    def test_step(self, batch, batch_idx):
        self.log("test_error", self.error(batch))

    def predict_step(self, batch, batch_idx):
        return self.net(batch["keypoints_2d"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class SealLifter(SealMixin, Lifter):
    pass


class KeepPredictions(L.pytorch.callbacks.BasePredictionWriter):
    def __init__(self):
        super().__init__("epoch")

    def write_on_epoch_end(self, trainer, pl_module, predictions, batch_indices):
        torch.save(predictions, "predictions.pt")


class Notebook(L.pytorch.loggers.Logger):
    """A logger like that of Weights & Biases: no `log_dir`, an experiment with a directory of its own."""

    name, version = "notebook", "1"
    seen = []

    class experiment:
        dir = "run-files"

    def log_hyperparams(self, params, *args):
        Notebook.seen.append(params)

    def log_metrics(self, metrics, step=None):
        pass
'''
CONFIG = {
    "model": {
        "class_path": "my_lifters.SealLifter",
        "init_args": {
            "hidden": 6,
            "seal": {"loss_net": {"class_path": "seal_lightning.loss_nets.MLPLossNet", "init_args": {"hidden": 8}}},
        },
    },
    "data": {
        "class_path": "seal_lightning.data.MocapDataModule",
        "init_args": {"synthetic": {"subjects": 3, "clips_per_subject": 1, "frames": 10}, "batch_size": 5},
    },
    "trainer": {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "enable_model_summary": False},
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A config of a SEAL lifter whose module lies in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "my_lifters", raising=False)
    (tmp_path / "my_lifters.py").write_text(MODULE)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return "config.yaml"


QUIET = ("--trainer.logger=false", "--trainer.enable_checkpointing=false")


def test_fit_validate_test_predict(config, tmp_path, capsys):
    trained = ("--ckpt_path=weights.ckpt", *QUIET)
    keep = "--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint"
    main(["fit", "--config", config, "--trainer.logger=false", keep, "--trainer.callbacks.dirpath=.",
          "--trainer.callbacks.filename=weights"])  # fmt: skip
    checkpoint = torch.load("weights.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert "seal" in checkpoint

    capsys.readouterr()
    main(["validate", "--config", config, *trained])
    assert "val_error" in capsys.readouterr().out
    main(["test", "--config", config, *trained])
    *_, score, note = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"test_error  0\.\d{3,5}", score)
    assert note == "Without a unit: as the model logs it; the data are in m."
    main(["test", "--config", config, *trained, "--trainer.callbacks+=StructureMetrics", "--verbose=false"])
    assert "test" not in capsys.readouterr().out
    main(["predict", "--config", config, *trained, "--trainer.callbacks+=my_lifters.KeepPredictions"])
    predictions = torch.load("predictions.pt")
    assert "nothing was written" not in capsys.readouterr().out
    main(["predict", "--config", config, *trained, "--trainer.limit_predict_batches=1"])
    assert "none of the callbacks is a prediction writer" in capsys.readouterr().out
    assert predictions[0].shape == (5, 17, 3)

    from my_lifters import Lifter

    host = Lifter(hidden=6)
    host.load_state_dict(checkpoint["state_dict"])
    from seal_lightning.data import MocapDataModule, SyntheticMocap

    data = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=10), batch_size=5)
    data.setup("predict")
    batch = next(iter(data.predict_dataloader()))
    torch.testing.assert_close(predictions[0], host.predict_step(batch, 0).detach())


def test_runs_in_one_directory_do_not_collide(config, tmp_path):
    for hidden in (6, 7, 8):
        main(["fit", "--config", config, *QUIET, f"--model.hidden={hidden}"])
    saved = [yaml.safe_load((tmp_path / name).read_text()) for name in ("config-2.yaml", "config-3.yaml")]
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == CONFIG  # the user's own file is left alone
    assert [content["model"]["init_args"]["hidden"] for content in saved] == [6, 7]
    assert (tmp_path / "config-4.yaml").exists()


def test_saved_config_lies_beside_the_logs_and_runs_unchanged(config, tmp_path):
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=logs"]
    for _ in range(2):
        main(["fit", "--config", config, *logger, "--trainer.enable_checkpointing=false"])
    runs = sorted((tmp_path / "logs" / "lightning_logs").iterdir())
    assert [run.name for run in runs] == ["version_0", "version_1"]
    assert all((run / "config.yaml").exists() for run in runs)
    main(["fit", "--config", str(runs[0] / "config.yaml")])
    content = yaml.safe_load((runs[0] / "config.yaml").read_text())
    assert yaml.safe_load((runs[0].parent / "version_2" / "config.yaml").read_text()) == content


def test_logger_without_a_directory_of_logs_gets_the_config_as_values(config, tmp_path):
    main(["fit", "--config", config, "--trainer.logger=my_lifters.Notebook", "--trainer.enable_checkpointing=false"])
    from my_lifters import Notebook

    values = next(params for params in Notebook.seen if "trainer" in params)
    assert values["model"]["init_args"]["hidden"] == 6
    assert values["trainer"]["max_steps"] == 2
    assert (tmp_path / "run-files" / "cli_config.yaml").exists()


def test_printed_config_runs_unchanged(config, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", config, *QUIET, "--seed_everything=3", "--print_config"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["model"]["init_args"]["seal"]["skeleton"] == "h36m17"
    Path("printed.yaml").write_text(printed)
    main(["fit", "--config", "printed.yaml"])
    saved = yaml.safe_load(Path("config-2.yaml").read_text())
    wanted = yaml.safe_load(printed)
    settings, asked = (one["model"]["init_args"].pop("seal") for one in (saved, wanted))
    assert saved == wanted
    assert settings.items() >= {name: value for name, value in asked.items() if value is not None}.items()


def test_a_config_with_a_setting_that_is_gone_runs_where_it_was_not_in_use(config, capsys):
    content = yaml.safe_load(Path(config).read_text())
    seal = content["model"]["init_args"].setdefault("seal", {})
    for value in (None, {"weight": 1.0, "kappa": 1.0}):
        seal["temporal"] = value
        Path("old.yaml").write_text(yaml.safe_dump(content))
        if value is None:
            main(["fit", "--config", "old.yaml", *QUIET])
            continue
        with pytest.raises(SystemExit):
            main(["fit", "--config", "old.yaml", *QUIET])
        assert "TemporalPairs are no longer there" in capsys.readouterr().err


def test_runs_are_seeded_unless_told_otherwise(config, tmp_path):
    def weights(*args):
        main(["fit", "--config", config, "--trainer.logger=false", "--trainer.default_root_dir=run", *args])
        (path,) = Path("run/checkpoints").glob("*.ckpt")
        found = torch.load(path, weights_only=True)["state_dict"]["net.1.weight"]
        path.unlink()
        return found

    first, second, other = weights(), weights(), weights("--seed_everything=1")
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_help_names_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    listed = re.findall(r"^    ([\w-]+)(?: +[A-Z]|$)", printed, flags=re.MULTILINE)
    trained = ["fit", "validate", "test", "fit-critic", "predict", "compare", "demo"]
    assert listed == [*trained, "convert", "score", "examples"]
    for command in listed:
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
    printed = capsys.readouterr().out
    for word in (
        "--model CONFIG",
        "seal-lightning fit-critic",
        "--output",
        "seal-lightning compare",
        "--seeds",
        "--unit",
        "--seal_model",
        "--rate",
        "DIR",
    ):
        assert word in printed


def test_version_is_that_of_the_package(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"seal-lightning {seal_lightning.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "COMMAND"),
        (["fitt"], "seal-lightning: There is no command 'fitt'. Did you mean 'fit'?\n"),
        (["nonsense"], "invalid choice: 'nonsense' (choose from"),
    ],
)
def test_what_is_no_command_is_told_at_once(args, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(args)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_config_for_several_commands_comes_before_the_command(config):
    Path("all.yaml").write_text(yaml.safe_dump({"fit": CONFIG, "test": CONFIG}))
    main(["--config", "all.yaml", "fit", *QUIET])
    assert yaml.safe_load(Path("config-2.yaml").read_text())["model"]["init_args"]["hidden"] == 6


def test_arguments_of_host_and_mixin_are_explained_together(config, capsys):
    sys.path.insert(0, str(Path.cwd()))
    with pytest.raises(SystemExit):
        main(["fit", "--model.help", "my_lifters.SealLifter"])
    printed = capsys.readouterr().out
    assert "Width of its one hidden layer" in printed
    assert "Configuration of the SEAL training" in printed


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_unknown_class_is_a_clear_error(config, command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--config", config, "--model=my_lifters.Nobody"])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "my_lifters" in said
    assert "Nobody" in said


def test_arguments_default_to_those_of_the_process(config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["seal-lightning", "fit", "--config", config, *QUIET])
    main()
    assert Path("config-2.yaml").exists()


BLOCKED = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "wandb":
            raise ModuleNotFoundError("wandb is blocked", name=name)


sys.meta_path.insert(0, Blocker())
from seal_lightning.cli import main

seal = ["--seal.loss_net=seal_lightning.loss_nets.MLPLossNet", "--seeds", "0", "--unit=m", "--output=out"]
main(["fit", "--config", "config.yaml", "--trainer.logger=false", "--trainer.enable_checkpointing=false"])
main(["compare", "--config", "config.yaml", "--model={class_path: my_lifters.Lifter, init_args: {hidden: 5}}", *seal])
assert not any(name.partition(".")[0] == "wandb" for name in sys.modules)
"""


def run_elsewhere(code, home, path=""):
    """Runs code in the current directory, in a process that has the repository and perhaps more on its import path."""
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": "", "PYTHONPATH": f"{path}{root}", "OMP_NUM_THREADS": "1", "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_works_with_wandb_blocked(config, tmp_path):
    done = run_elsewhere(BLOCKED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "results.json").exists()


NOT_LIGHTNING = "raise RuntimeError('This is not the Lightning that anybody means.')"
FIT = """
import sys
sys.path.remove("")  # a console script does not search the current directory by itself
from seal_lightning.cli import main
main(["fit", "--config", "config.yaml", "--trainer.logger=false", "--trainer.enable_checkpointing=false"])
"""


def test_a_folder_of_ones_own_named_lightning_breaks_nothing(config, tmp_path):
    (tmp_path / "lightning").mkdir()
    (tmp_path / "lightning" / "__init__.py").write_text(NOT_LIGHTNING)
    done = run_elsewhere(FIT, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "config-2.yaml").exists()


def test_a_lightning_that_is_another_is_one_clear_error(config, tmp_path):
    other = tmp_path / "others" / "lightning"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(NOT_LIGHTNING)
    done = run_elsewhere(FIT, tmp_path, path=f"{other.parent}:")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"seal-lightning: Expected the package `lightning` to be PyTorch Lightning, but got {other}. Rename"
    )
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["convert", "--help"], ["examples", "out"]])
def test_what_trains_nothing_does_not_load_lightning(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = f"""
import sys
sys.modules["lightning"] = None  # an import of it fails from now on
from seal_lightning.cli import main
main({command})
"""
    done = run_elsewhere(code, tmp_path)
    assert done.returncode == 0, done.stderr


# What was asked for, and what a checkpoint says.
class Prepared(SealCLI):
    """All of a command but the training."""

    def _run_subcommand(self, subcommand):
        pass


KEEP = ["--trainer.logger=false", "--trainer.callbacks=ModelCheckpoint", "--trainer.callbacks.dirpath=."]
SMALL_NET = {"class_path": "seal_lightning.loss_nets.MLPLossNet", "init_args": {"hidden": 8}}


def written(tmp_path, **model):
    """A config with this model beside the data and trainer of the others."""
    (tmp_path / "asked.yaml").write_text(yaml.safe_dump({**CONFIG, "model": model}))
    return "asked.yaml"


@pytest.fixture
def checkpoints(config, tmp_path):
    """A plain host's and a SEAL checkpoint, both with a hidden width that is no default."""
    sys.path.insert(0, str(tmp_path))
    for name in ("Lifter", "SealLifter"):
        seal = {"seal": {"loss_net": SMALL_NET, "weight": 0.3, "warmup_steps": 1}} if name == "SealLifter" else {}
        asked = written(tmp_path, class_path=f"my_lifters.{name}", init_args={"hidden": 6, **seal})
        main(["fit", "--config", asked, *KEEP, f"--trainer.callbacks.filename={name}"])


def prepared(tmp_path, checkpoint, *flags, name="fit", **model):
    return Prepared([name, "--config", written(tmp_path, **model), *QUIET, f"--ckpt_path={checkpoint}.ckpt", *flags])


def test_the_class_that_was_asked_for_is_trained(checkpoints, tmp_path):
    for asked in ("Lifter", "SealLifter"):
        for checkpoint in ("Lifter", "SealLifter"):
            for name in ("fit", "predict"):
                cli = prepared(tmp_path, checkpoint, name=name, class_path=f"my_lifters.{asked}")
                assert type(cli.model).__name__ == asked
                assert cli.model.hparams.hidden == 6  # was not asked for: the file's
    main(["fit", "--config", written(tmp_path, class_path="my_lifters.Lifter"), *KEEP, "--trainer.max_steps=3",
          "--ckpt_path=SealLifter.ckpt", "--trainer.callbacks.filename=again"])  # fmt: skip
    assert "seal" not in torch.load("again.ckpt", weights_only=True)


def test_the_seal_section_that_was_asked_for_is_in_force(checkpoints, tmp_path):
    def config(*flags, checkpoint="SealLifter", **seal):
        init_args = {"seal": seal} if seal else {}
        cli = prepared(tmp_path, checkpoint, *flags, class_path="my_lifters.SealLifter", init_args=init_args)
        return cli.model._seal_config

    none = config()
    assert (none.weight, none.warmup_steps) == (0.3, 1)
    for asked in (
        config("--model.seal.weight.ratio=0.7"),
        config(weight={"ratio": 0.7}),
        config(weight={"ratio": 0.7}, checkpoint="Lifter"),
    ):
        assert (asked.weight, asked.warmup_steps) == (ForceRatio(0.7), 0)  # a section is asked for as a whole
    config(energies=[{"loss_net": SMALL_NET}])
    with pytest.raises(ValueError, match=r"(?s)`loss_net` is .*StructureLossNet.* and was .*MLPLossNet.*`weight` is"):
        main(["fit", "--config", written(tmp_path, class_path="my_lifters.SealLifter"), *QUIET,
              "--ckpt_path=SealLifter.ckpt", "--model.seal.weight.ratio=0.7"])  # fmt: skip


def test_the_arguments_that_were_asked_for_are_the_models(checkpoints, tmp_path):
    asked = {"class_path": "my_lifters.SealLifter", "init_args": {"hidden": 7}}
    assert prepared(tmp_path, "SealLifter", **asked).model.hparams.hidden == 7
    assert prepared(tmp_path, "SealLifter", "--model.hidden=5", **asked).model.hparams.hidden == 5
    with pytest.raises(RuntimeError, match="size mismatch"):
        main(["validate", "--config", "asked.yaml", *QUIET, "--ckpt_path=SealLifter.ckpt"])


def test_null_is_asked_for_like_any_value(checkpoints, tmp_path):
    asked = {"class_path": "my_lifters.SealLifter"}
    torch.save({**(saved := torch.load("Lifter.ckpt", weights_only=True)),
                "hyper_parameters": {**saved["hyper_parameters"], "note": "abc"}}, "noted.ckpt")  # fmt: skip
    assert prepared(tmp_path, "noted", **asked).model.hparams.note == "abc"
    assert prepared(tmp_path, "noted", "--model.note=null", **asked).model.hparams.note is None


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_what_is_no_checkpoint_is_named(content, config, tmp_path, capsys):
    (tmp_path / "some.ckpt").write_bytes(content)
    with pytest.raises(SystemExit):
        main(["fit", "--config", config, *QUIET, "--ckpt_path=some.ckpt"])
    assert "Expected `ckpt_path` to be a file of tensors and plain data, but got 'some.ckpt'" in capsys.readouterr().err


def test_a_model_has_to_be_asked_for(checkpoints, capsys):
    with pytest.raises(SystemExit):
        Prepared(["validate", "--ckpt_path=SealLifter.ckpt"])
    said = capsys.readouterr().err.splitlines()[0]
    assert said.startswith("seal-lightning: Expected `--model`, the class of the model, but got none.")
    assert said.endswith("A checkpoint (`--ckpt_path`) holds weights and settings, not the class that they are for.")


@pytest.mark.parametrize(
    "seal", [None, {"energies": [{"loss_net": SMALL_NET}, {"loss_net": SMALL_NET, "weight": 0.5}]}]
)
def test_saved_configs_hold_the_settings_in_use_and_the_versions(seal, config, tmp_path):
    asked = written(tmp_path, class_path="my_lifters.SealLifter", init_args={"seal": seal})
    logger = ["--trainer.logger=lightning.pytorch.loggers.CSVLogger", "--trainer.logger.save_dir=logs"]
    main(["fit", "--config", asked, *logger])
    (run,) = Path("logs/lightning_logs").iterdir()
    text = (run / "config.yaml").read_text()
    assert f"\n# seal_lightning=={version('seal_lightning')}\n" in text
    settings = yaml.safe_load(text)["model"]["init_args"]["seal"]
    (checkpoint,) = run.rglob("*.ckpt")
    stored = torch.load(checkpoint, weights_only=True)["seal"]["settings"]
    if seal is None:
        assert settings["loss_net"]["class_path"] == "seal_lightning.loss_nets.StructureLossNet"
        assert settings["gradient_penalty"]["class_path"] == "seal_lightning.objectives.DenoisingScore"
        assert settings["optimizer"]["init_args"]["betas"] == [0.5, 0.9]
        assert None not in [settings[name] for name in ("objective", "negatives", "weight")]
    else:
        assert [one["weight"] for one in settings["energies"]] == [{"ratio": 0.1, "amplification": 10.0}, 0.5]
    again = Prepared(["fit", "--config", str(run / "config.yaml"), *QUIET]).model._seal_config.plain()
    from my_lifters import SealLifter

    loaded = SealLifter.load_from_checkpoint(checkpoint, hparams_file=run / "hparams.yaml")
    assert loaded._seal_config.plain() == stored
    for one, other in [(again, stored)] if seal is None else zip(again["energies"], stored["energies"], strict=True):
        assert one.pop("optimizer")["init_args"].items() >= dict(other.pop("optimizer").get("init_args", {})).items()
        assert one == other


def test_a_saved_config_holds_the_settings_that_come_from_a_checkpoint(checkpoints, tmp_path):
    asked = written(tmp_path, class_path="my_lifters.SealLifter")
    main(["fit", "--config", asked, *QUIET, "--ckpt_path=SealLifter.ckpt", "--trainer.default_root_dir=again",
          "--trainer.max_steps=3"])  # fmt: skip
    again = yaml.safe_load(Path("again/config.yaml").read_text())["model"]["init_args"]
    assert (again["hidden"], again["seal"]["weight"], again["seal"]["warmup_steps"]) == (6, 0.3, 1)
