"""Runs of a comparison: paired by seed, written and read without losing a bit."""

import json
import math

import pytest

from seal_lightning.evaluation.finishing import Finish
from seal_lightning.evaluation.runs import Run, curves, paired_runs, read_run, summarise, write_json


def make_run(method, seed, value, **more):
    scores = {"all": {"mpjpe": value, "limb_length_error": math.nan}, "mean": {"mpjpe": value, **more}}
    curves = {"seal/energy": [(1, 0.5)]} if method != "host" else {}
    return Run(method, seed, 10, 2.5 * value, scores, curves)


def test_summary_pairs_by_seed_whatever_the_order():
    runs = [make_run("SEAL", 1, 9.0), make_run("host", 2, 20.0), make_run("host", 1, 10.0), make_run("SEAL", 2, 17.0)]
    summary = summarise(runs)
    assert summary["mean"]["mpjpe"].difference == -2.0
    width = summary["mean"]["mpjpe"].high - summary["mean"]["mpjpe"].low
    assert width == pytest.approx(2 * math.tan(0.475 * math.pi))  # the quantile of one degree of freedom
    assert summary["mean"]["wall_time"].difference == -5.0
    assert "wall_time" not in summary["all"]


def test_curves_are_one_panel_a_quantity_and_one_line_a_seed():
    runs = [make_run("host", 1, 1.0), make_run("SEAL", 1, 1.0), make_run("SEAL", 2, 1.0)]
    assert curves(runs) == {"energy of the prediction": {"seed 1": [(1, 0.5)], "seed 2": [(1, 0.5)]}}


def test_curves_of_several_weights_say_which_is_which():
    runs = [make_run("SEAL 0.1", 1, 1.0), make_run("SEAL 0.2", 1, 1.0)]
    assert list(curves(runs)["energy of the prediction"]) == ["SEAL 0.1, seed 1", "SEAL 0.2, seed 1"]


def test_seeds_that_one_of_the_two_lacks_take_no_part():
    runs = [make_run("host", 2, 1.0), make_run("host", 1, 2.0), make_run("SEAL", 1, 3.0), make_run("SEAL", 3, 4.0)]
    host, seal = paired_runs(runs)
    assert [(run.method, run.seed) for run in host + seal] == [("host", 1), ("SEAL", 1)]


def test_a_run_that_is_read_is_the_run_that_was_written(tmp_path):
    run = Run(
        "SEAL 0.1", 3, 7, 0.1 + 0.2, {"mean": {"mpjpe": 1 / 3, "limb_length_error": math.nan}},
        {"seal/energy": [(1, 0.1), (2, math.inf)]}, {"mean": {"mpjpe": 2 / 3}}, Finish(flip=True, smooth=2.0),
        {"nothing": 1.5}, "the step is odd", {"hip": 1e-300}, {"knee": math.nan}, [0.1, math.nan], "abc",
    )  # fmt: skip
    write_json(tmp_path / "run.json", run)
    json.loads((tmp_path / "run.json").read_text(), parse_constant=pytest.fail)
    read = read_run(tmp_path / "run.json")
    assert math.isnan(read.curves["seal/energy"][1][1])  # JSON knows no infinity: what is not finite is missing
    assert repr(read) == repr(run).replace("inf", "nan")
    assert read_run(tmp_path / "run.json").no_flip == "the step is odd"


def test_json_holds_missing_values_as_null(tmp_path):
    runs = [make_run("host", 1, 10.0), make_run("SEAL", 1, 9.5)]
    write_json(tmp_path / "r.json", {"runs": runs, "summary": summarise(runs)})
    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert content["runs"][0]["scores"] == {"all": {"mpjpe": 10.0, "limb_length_error": None}, "mean": {"mpjpe": 10.0}}
    assert content["runs"][1]["curves"] == {"seal/energy": [[1, 0.5]]}
    assert content["summary"]["mean"]["mpjpe"]["difference"] == -0.5
    assert content["summary"]["mean"]["mpjpe"]["low"] is None
