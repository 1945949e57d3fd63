"""A comparison that was stopped goes on, and ends with what an unbroken one ends with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset

import seal_lightning
from seal_lightning.cli.compare import CompareCLI
from seal_lightning.cli.compare.manifest import check_same, digest, digest_of_data
from tests.cli.compare.comparisons import results, run


def comparable(content):
    """All of the results but when they were made, how long that took, and where they lie."""
    content["stamp"].pop("created")
    content["config"].pop("output")
    content["summary"]["mean"].pop("wall_time")
    for one in content["runs"]:
        one.pop("wall_time")
    return content


def weights(directory):
    found = {path.parent.name: torch.load(path, weights_only=True) for path in Path(directory).glob("*/*/weights.ckpt")}
    return {name: digest([checkpoint["state_dict"], checkpoint.get("seal")]) for name, checkpoint in found.items()}


def stop(how, monkeypatch, capsys):
    """Begin the comparison, and stop it: by the process's end, or by Ctrl-C, of which something is said."""
    monkeypatch.setenv("INTERRUPT", how)
    if how.endswith("kill"):
        environment = {**os.environ, "PYTHONPATH": str(Path(seal_lightning.__file__).parents[1])}
        environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())  # another number rounds otherwise
        command = "from seal_lightning.cli import main; main(['compare', '--config', 'config.yaml'])"
        assert subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True).returncode == 9
        return
    sys.modules.pop("some_lifters", None)  # which counts
    capsys.readouterr()
    with pytest.raises((SystemExit, KeyboardInterrupt)):
        run("config.yaml")
    said = capsys.readouterr().out
    assert "Stopped. What is finished is in out; to go on:\n" in said
    assert said.rstrip().endswith("seal-lightning compare --config config.yaml --resume out")


def test_resumed_results_are_those_of_an_unbroken_comparison(config, capsys, monkeypatch):
    config("StoppedLifter", trainer={"max_steps": 2})
    run("config.yaml", "--output", "unbroken")
    expected, expected_weights = comparable(results("unbroken")), weights("unbroken")
    stops = {
        "train 3 kill": ["SEAL_seed-3", "host_seed-3"],  # between two trainings, and by no means Python knows of
        "step 4 ctrl-c": ["SEAL_seed-3"],  # in the second training
        "test 15 ctrl-c": ["SEAL_seed-3"],  # while the second is scored
    }
    for how, finished in stops.items():
        stop(how, monkeypatch, capsys)
        partial = results()
        assert not partial["complete"]
        assert {f"{one['method']}_seed-{one['seed']}" for one in partial["runs"]} == set(finished)
        assert ("verdict" in partial) == (len(finished) == 2)  # once a seed is whole
        trained = {path.parent.name: path.read_bytes() for path in Path("out").glob("*/*/weights.ckpt")}
        assert len(trained) == len(finished) + how.startswith("test")

        monkeypatch.delenv("INTERRUPT")
        run("config.yaml", "--resume", "out")
        said = capsys.readouterr().out
        assert said.count("finished before") == len(finished)
        assert "--resume out --resume" not in said
        assert comparable(results()) == expected
        assert weights("out") == expected_weights
        assert all(Path("out/trainings", name, "weights.ckpt").read_bytes() == old for name, old in trained.items())
        assert not [path for path in Path("out").rglob("*") if path.name.startswith(".part")]
        shutil.rmtree("out")


def test_another_comparison_is_refused_and_the_difference_named(config, monkeypatch):
    torch.save([(torch.randn(17, 2), torch.randn(17, 3)) for _ in range(6)], "poses.pt")
    arguments = {"host": "TupleLifter", "seal_model": "some_lifters.NamedTupleLifter", "unit": "mm", "seeds": [3]}
    run(config(data={"class_path": "some_lifters.FilePoses"}, **arguments))
    run("config.yaml", "--resume", "out", "--trainer.enable_progress_bar=true", "--output", "elsewhere")
    assert not Path("elsewhere").exists()
    again = ["--config", "config.yaml", "--resume", "out"]
    for more, message in [
        (
            ["--model.lr=0.02", "--seeds", "3", "4"],
            r"`model.init_args.lr` was 0.01 and is 0.02; `seeds` was \[3\] and is",
        ),
        (
            ["--weights", "0.1"],
            r"`weights` was null and is \[0.1\]\. Ask for the same again, or begin a new comparison",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            CompareCLI([*again, *more]).compare()
    torch.save([(torch.randn(17, 2), torch.randn(17, 3)) for _ in range(6)], "poses.pt")
    with pytest.raises(ValueError, match=r"go on as it was begun, but `data.train` was \"\w+ \(2 batches\)\" and"):
        CompareCLI(again).compare()
    monkeypatch.setattr("seal_lightning.cli.compare.command.versions", lambda: {"torch": "1.0"})
    with pytest.raises(ValueError, match=r"`versions.torch` was \"2.* and is \"1.0\""):
        CompareCLI(again).compare()


def test_a_directory_without_a_comparison_is_refused(config, tmp_path):
    with pytest.raises(ValueError, match=r"the directory of an earlier comparison, but nowhere holds no"):
        run(config(), "--resume", "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_manifests_differ_by_name():
    old = {"config": {"trainer": {"max_steps": 3, "logger": False}, "output": "a"}, "versions": {"torch": "1"}}
    check_same(old, json.loads(json.dumps(old).replace('"a"', '"b"').replace("false", "true")), Path("x"))
    new = {"config": {"trainer": {"max_steps": 4, "logger": False}, "output": "a", "extra": "y" * 99}, "versions": {}}
    with pytest.raises(ValueError, match=r"`trainer.max_steps` was 3 and is 4; `versions.torch` was \"1\" and is null"):
        check_same(old, new, Path("x"))
    with pytest.raises(ValueError, match=r"`a5` was 5 and is null.* and 2 more\. Ask"):
        check_same({f"a{i}": i for i in range(12)}, {}, Path("x"))


def test_digest_knows_values_shapes_types_and_names():
    one = torch.zeros(2, 3)
    values = [one, one.reshape(3, 2), one.double(), -one, {"a": one}, {"b": one}, [one], [one, one]]
    assert len({digest(value) for value in values}) == len(values)
    assert digest({"a": one, "b": 1}) == digest({"a": one.clone(), "b": 2})
    assert digest(torch.zeros(4).bfloat16()) != digest(torch.ones(4).bfloat16())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.arange(100.0))


def test_data_are_digested_by_what_each_loader_yields_first():
    class Data(L.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(Stream(), batch_size=2)

        def test_dataloader(self):
            return [DataLoader(torch.ones(9, 1), batch_size=3), DataLoader(torch.zeros(1, 1))]

    first = [torch.tensor([2.0 * i, 2.0 * i + 1]) for i in range(4)]
    tests = [*[torch.ones(3, 1)] * 3, torch.zeros(1, 1)]
    assert digest_of_data(Data()) == {"train": f"{digest(first)} (? batches)", "test": f"{digest(tests)} (4 batches)"}
