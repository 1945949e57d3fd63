"""`seal-lightning examples` and `demo`, as somebody uses them who has no checkout."""

import json
import sys
from pathlib import Path

import pytest

import seal_lightning
from seal_lightning.cli import main
from seal_lightning.cli.examples import copy_examples, shipped_examples

ROOT = Path(__file__).resolve().parents[2]
QUICK = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1",
         "--trainer.limit_test_batches=1", "--trainer.enable_progress_bar=false", "--seal.warmup_steps=0",
         "--model.hidden=8", "--data.synthetic.subjects=5", "--data.synthetic.clips_per_subject=1",
         "--data.synthetic.frames=10", "--data.batch_size=4"]  # fmt: skip


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A directory of somebody's own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT])
    for name in [name for name in sys.modules if name.partition(".")[0] == "examples"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path


def test_examples_are_copied_whole(elsewhere, capsys):
    main(["examples"])
    assert files(elsewhere / "examples") == files(ROOT / "examples")
    printed = capsys.readouterr().out
    commands = [line.partition("#")[0].split() for line in printed.splitlines() if line.startswith("  seal-lightning")]
    assert {command[1] for command in commands} == {"compare", "fit"}
    assert all(Path(command[-1]).is_file() for command in commands)


def test_examples_go_to_the_directory_that_is_named(elsewhere, capsys):
    main(["examples", "new/folder"])
    assert files(elsewhere / "new/folder/examples") == files(ROOT / "examples")
    assert "  cd new/folder\n" in capsys.readouterr().out


def test_examples_that_are_there_are_left_alone(elsewhere, capsys):
    own = elsewhere / "examples" / "plain_lifter.py"
    own.parent.mkdir()
    own.write_text("# mine")
    with pytest.raises(SystemExit, match=r"^seal-lightning examples: Expected examples not to exist, but it does"):
        main(["examples"])
    assert files(elsewhere / "examples") == {"plain_lifter.py"}
    assert own.read_text() == "# mine"


def test_examples_explain_themselves(capsys):
    for arguments, code in ((["--help"], 0), (["one", "two"], 2), (["--no-such-option"], 2)):
        with pytest.raises(SystemExit) as stop:
            main(["examples", *arguments])
        assert stop.value.code == code
    assert "DIR/examples" in capsys.readouterr().out


def test_examples_of_a_wheel_lie_inside_the_package(tmp_path, monkeypatch):
    (tmp_path / "seal_lightning").mkdir()
    monkeypatch.setattr(seal_lightning, "__file__", str(tmp_path / "seal_lightning" / "__init__.py"))
    with pytest.raises(FileNotFoundError, match="or beside it, but they are in neither place"):
        shipped_examples()
    monkeypatch.undo()
    copied = copy_examples(tmp_path / "seal_lightning")
    monkeypatch.setattr(seal_lightning, "__file__", str(tmp_path / "seal_lightning" / "__init__.py"))
    assert shipped_examples() == copied


def test_demo_runs_the_shipped_examples_whatever_lies_here(elsewhere, capsys):
    (elsewhere / "examples").mkdir()
    (elsewhere / "examples" / "plain_lifter.py").write_text("raise RuntimeError('not the shipped one')")
    before = list(sys.path)
    main(["demo", *QUICK])
    told = capsys.readouterr().out
    parts = ("and twice with SEAL", "| MPJPE (mm)", "What to do next:")
    assert all(part in told for part in parts)
    assert sorted(parts, key=told.index) == list(parts)
    content = json.loads((elsewhere / "runs/demo/results.json").read_text())
    assert content["config"]["model"]["class_path"] == "examples.plain_lifter.LitLifter"
    assert {run["steps"] for run in content["runs"]} == {2}
    assert [entry for entry in sys.path if entry not in before] == [str(elsewhere)]  # as any command leaves it
