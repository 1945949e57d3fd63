"""What a comparison tells the loggers."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from seal_lightning.cli.compare.tracking import name_run
from tests.cli.compare.comparisons import results, run

wandb = pytest.importorskip("wandb")


class Section(dict):
    """Options of a logger as the parser makes them: with attributes and `in`."""

    __getattr__, __setattr__ = dict.__getitem__, dict.__setitem__


def logger(**given):
    return SimpleNamespace(init_args=Section(**given))


def test_runs_of_weights_and_biases_have_group_name_and_tags():
    empty = dict.fromkeys(("name", "group", "tags", "job_type"))
    first, mine = logger(**empty), logger(**{**empty, "group": "g", "name": "n", "tags": ["t"]})
    name_run(SimpleNamespace(logger=[first, mine]), "SEAL 0.1", 3, "out-1")
    assert first.init_args == {
        "name": "out-1/SEAL-0.1_seed-3", "group": "out-1", "job_type": "training",
        "tags": ["compare", "SEAL", "seed 3"],
    }  # fmt: skip
    assert mine.init_args == {
        "name": "n/SEAL-0.1_seed-3", "group": "g", "tags": ["t", "compare", "SEAL", "seed 3"], "job_type": "training",
    }  # fmt: skip
    last = logger(**empty)
    name_run(SimpleNamespace(logger=last), "summary", None, "out-1")
    assert (last.init_args.name, last.init_args.job_type) == ("out-1/summary", "summary")
    assert last.init_args.tags == ["compare", "summary"]


def test_folders_of_other_loggers_are_named_after_the_training():
    folder, own = logger(name="logs", version=None), logger(name="logs", version=7)
    name_run(SimpleNamespace(logger=[folder, own]), "host", 3, "out-1")
    assert (folder.init_args.version, own.init_args.version) == ("host_seed-3", 7)
    name_run(SimpleNamespace(logger=True), "host", 3, "out-1")  # Lightning's default, which has no options here


def test_curves_and_scores_are_in_the_folder_of_each_training(config):
    run(config(seeds=[3], trainer={"logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "logs"}},
                                   "log_every_n_steps": 1}))  # fmt: skip
    for one in results()["runs"]:
        rows = next(Path("logs").glob(f"*/{one['method']}_seed-3/metrics.csv")).read_text().splitlines()
        head, last = rows[0].split(","), rows[-1].split(",")
        scores = dict(zip(head, last, strict=True))
        assert float(scores["score/mpjpe"]) == one["scores"]["mean"]["mpjpe"]
        assert float(scores["score/own_best/mpjpe"]) == one["own_best"]["mean"]["mpjpe"]
        assert ("seal/energy" in head) == (one["method"] == "SEAL")


def test_every_training_has_a_run_and_there_is_a_summary(config, monkeypatch, drawn):
    monkeypatch.setenv("WANDB_MODE", "offline")
    seen = []
    finish = wandb.finish

    def keep(**options):
        live = wandb.run
        summary = {key: live.summary.get(key) for key in ("score/mpjpe", "verdict/verdict", "picture", "comparison")}
        seen.append((live.name, live.group, live.tags, live.job_type, summary, options))
        finish(**options)

    monkeypatch.setattr(wandb, "finish", keep)
    run(config(seeds=[3], trainer={"logger": {"class_path": "WandbLogger", "init_args": {"project": "p"}}}))
    group = json.loads(Path("out/manifest.json").read_text())["group"]
    names, groups, tags, jobs, summaries, ends = zip(*seen, strict=True)
    assert names == (f"{group}/SEAL_seed-3", f"{group}/host_seed-3", f"{group}/summary")
    assert set(groups) == {group}
    assert jobs == ("training", "training", "summary")
    assert [set(found) for found in tags] == [
        {"compare", "SEAL", "seed 3"}, {"compare", "host", "seed 3"}, {"compare", "summary"},
    ]  # fmt: skip
    scores = {one["method"]: one["scores"]["mean"]["mpjpe"] for one in results()["runs"]}
    assert [summary["score/mpjpe"] for summary in summaries] == [scores["SEAL"], scores["host"], None]
    assert summaries[2]["verdict/verdict"] == "no verdict"
    assert summaries[2]["picture"]["_type"] == "image-file"
    assert summaries[2]["comparison"]["_type"] == "table-file"
    assert {end["exit_code"] for end in ends} == {0}
