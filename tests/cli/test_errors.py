"""What is wrong on the command line is told in a line, with what may have been meant."""

import sys

import pytest

from seal_lightning.cli import SealCLI, main
from tests.test_house import ROOT

HOST, SEAL = "examples.plain_lifter.LitLifter", "examples.seal_lifter.SealLifter"


class Parsed(SealCLI):
    """The command up to its arguments."""

    def instantiate_classes(self):
        pass

    def _run_subcommand(self, subcommand):
        pass


@pytest.fixture(scope="module")
def parser():
    sys.path.insert(0, str(ROOT))
    yield Parsed(["fit", f"--model={HOST}", "--data=MocapDataModule"]).parser
    sys.path.remove(str(ROOT))


def test_short_names_are_those_of_the_package(parser):
    names = ["PosePlot", "PoseReport", "StructureMetrics", "EnergyMonitor", "MetricDirections", "ModelCheckpoint"]
    callbacks = [flag for name in names for flag in ("--trainer.callbacks+", name)]
    options = ["--model.seal.loss_net", "KCSLossNet", "--model.seal.objective", "MarginObjective"]
    config = parser.parse_args(
        ["fit", "--model", SEAL, "--data", "H3WBDataModule", "--data.path=x", *callbacks, *options]
    ).fit
    assert config.data.class_path == "seal_lightning.data.H3WBDataModule"
    assert [one.class_path.rpartition(".")[2] for one in config.trainer.callbacks] == names
    assert config.trainer.callbacks[0].class_path == "seal_lightning.callbacks.PosePlot"
    assert config.model.init_args.seal.loss_net.class_path == "seal_lightning.loss_nets.KCSLossNet"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model.hiden", "8"], "--model: LitLifter has no argument 'hiden'. Did you mean 'hidden'?"),
        (["--data.bach_size=8"], "--data: MocapDataModule has no argument 'bach_size'. Did you mean 'batch_size'?"),
        (["--trainer.loger", "8"], "There is no option --trainer.loger. Did you mean '--trainer.logger'?"),
        (["--trainer.max_epochs", "many"], "--trainer.max_epochs: Expected int, but got 'many'."),
        (["--model", f"{HOST}s"], "--model: The module examples.plain_lifter has no 'LitLifters'. Did you mean 'Lit"),
        (["--model", "exampels.x.Lifter"], "--model: There is no module 'exampels'."),
        (["--model", "PosePlot"], "--model: PosePlot is not of the kind that is expected here."),
        (["--data", "MocapDataModul"], "--data: No class is known by the name 'MocapDataModul'. Did you mean 'Mocap"),
        (["--trainer.callbacks", "PosePlott"], "No class is known by the name 'PosePlott'. Did you mean 'PosePlot'?"),
        (
            ["--trainer.callbacks", "[PosePlot, {class_path: PoseReport, init_args: {unitt: m}}]"],
            "--trainer.callbacks: PoseReport has no argument 'unitt'. Did you mean 'unit'?",
        ),
        (["--config", "nothing.yaml"], "--config: File does not exist: "),
        (
            ["--model", SEAL, "--model.seal.loss_net=os.system"],
            "Expected a LossNet, or a function that makes one, but got",
        ),
        (["--model", SEAL, "--model.seal.loss_net=torch.nn.Linear"], "that makes one, but got 'torch.nn.Linear'."),
        (["--model", SEAL, "--model.seal.loss_net=nosuch.Net"], "--model.seal.loss_net: There is no module 'nosuch'."),
    ],
)
def test_a_mistake_is_told_in_a_line(parser, args, said, capsys):
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["fit", f"--model={HOST}", "--data=MocapDataModule", *args])
    assert stop.value.code == 2
    first, *hint = capsys.readouterr().err.splitlines()
    assert first.startswith("seal-lightning fit: ")
    assert said in first
    assert hint == ["All options: seal-lightning fit --help"]


@pytest.mark.parametrize("flag", ["--model.seal.weight=0.1", "--model.seal.skeleton=h36m17", "--model.seal=null"])
def test_a_plain_model_is_told_how_to_have_a_learned_loss(parser, flag, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["fit", f"--model={HOST}", "--data=MocapDataModule", flag])
    said = capsys.readouterr().err.splitlines()[0]
    assert "LitLifter is a plain model, which has no `seal`." in said
    assert "`seal-lightning compare --config CONFIG --seal.weight.ratio 0.1`" in said
    assert "`class SealLitLifter(SealMixin, LitLifter): pass`" in said


def test_seal_is_part_of_the_model_in_a_fit(parser, capsys):
    with pytest.raises(SystemExit):
        parser.parse_args(["fit", f"--model={SEAL}", "--data=MocapDataModule", "--seal.weight", "0.1"])
    assert "There is no option --seal.weight. For a SEAL model it is --model.seal.weight" in capsys.readouterr().err


def test_a_file_of_something_else_is_one_line(parser, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("not: [a\nconfiguration\n" * 20)
    (tmp_path / "words.txt").write_text("some words\n" * 20)
    for name in ("notes.txt", "words.txt"):
        with pytest.raises(SystemExit):
            parser.parse_args(["fit", "--config", str(tmp_path / name)])
        assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--model", SEAL, "--model.seal.weight=-1"], "Expected `weight` to be finite and not negative, but got -1.0."),
        (["--model", SEAL, "--model.seal.skeleton=h36m"], "but got 'h36m'. Did you mean 'h36m17'?"),
        (["--model", HOST, "--data.paths=[no.npz]"], "Expected a mocap file at 'no.npz', but there is none"),
        (["--model", HOST, "--ckpt_path=no.ckpt"], "Checkpoint file not found: no.ckpt"),
    ],
)
def test_an_error_that_is_a_sentence_has_no_traceback(args, said, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    quiet = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.enable_checkpointing=false"]
    command = ["seal-lightning", "fit", "--data=MocapDataModule", "--trainer.max_epochs=1", *quiet, *args]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith("seal-lightning fit: ")
    assert said in last
    with pytest.raises((ValueError, FileNotFoundError)):  # of a function that is called, it is the error
        main(command[1:])
    monkeypatch.setenv("JSONARGPARSE_DEBUG", "true")
    with pytest.raises((ValueError, FileNotFoundError)):
        main()


def test_a_mistake_in_the_users_own_code_keeps_its_traceback(monkeypatch, tmp_path):
    (tmp_path / "my_broken.py").write_text(
        "from examples.plain_lifter import LitLifter\n\n\nclass Broken(LitLifter):\n"
        "    def training_step(self, batch, batch_idx):\n        raise ValueError('Expected a bug, but got one')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    quiet = ["--trainer.accelerator=cpu", "--trainer.logger=false", "--trainer.fast_dev_run=true"]
    monkeypatch.setattr(
        sys, "argv", ["seal-lightning", "fit", "--model=my_broken.Broken", "--data=MocapDataModule", *quiet]
    )
    with pytest.raises(ValueError, match=r"^Expected a bug"):
        main()


def test_an_error_in_a_constructor_of_the_users_keeps_its_traceback(monkeypatch, tmp_path):
    (tmp_path / "my_constructor.py").write_text(
        "from examples.plain_lifter import LitLifter\n\n\nclass Broken(LitLifter):\n"
        "    def __init__(self, hidden: int = 8):\n        raise ValueError('Expected `hidden` to be odd, but got 8')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    command = ["seal-lightning", "fit", "--model=my_constructor.Broken", "--data=MocapDataModule"]
    monkeypatch.setattr(sys, "argv", [*command, "--trainer.accelerator=cpu", "--trainer.logger=false"])
    with pytest.raises(ValueError, match="to be odd"):
        main()


def test_a_package_that_the_users_module_misses_is_named(parser, monkeypatch, tmp_path, capsys):
    (tmp_path / "my_imports.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SystemExit):
        parser.parse_args(["fit", "--model=my_imports.Lifter"])
    assert "my_imports imports 'no_such_package', which is not installed." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--seal.wieght=1", "There is no option --seal.wieght. Did you mean '--seal.weight'?"),
        (
            "--model.seal.weight=1",
            "In a comparison the settings of SEAL are options of their own: --seal.weight instead",
        ),
    ],
)
def test_a_comparison_has_options_of_its_own(flag, said, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    with pytest.raises(SystemExit):
        main(["compare", f"--model={HOST}", "--data=MocapDataModule", flag])
    assert said in capsys.readouterr().err.splitlines()[0]
