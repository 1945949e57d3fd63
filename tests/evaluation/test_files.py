"""The files of results."""

import csv
import math
import re

import numpy as np

from seal_lightning.evaluation import files
from seal_lightning.evaluation.files import free_directory, write_csv
from seal_lightning.evaluation.runs import Run


def make_run(method, seed, value, **more):
    scores = {"all": {"mpjpe": value, "limb_length_error": math.nan}, "mean": {"mpjpe": value, **more}}
    curves = {"seal/energy": [(1, 0.5)]} if method != "host" else {}
    return Run(method, seed, 10, 2.5 * value, scores, curves)


def test_free_directory_never_names_one_with_results(tmp_path):
    first = free_directory(tmp_path / "deep" / "out")
    assert first == tmp_path / "deep" / "out"
    assert free_directory(first) == first  # still empty
    (first / "results.json").write_text("{}")
    second = free_directory(str(first))
    (second / "x").write_text("")
    assert second == tmp_path / "deep" / "out-2"
    assert free_directory(first) == tmp_path / "deep" / "out-3"
    (tmp_path / "file").write_text("")
    assert free_directory(tmp_path / "file") == tmp_path / "file-2"


def test_versions_name_what_is_missing(monkeypatch):
    found = files.versions()
    assert set(found) == {"python", "seal_lightning", "torch", "lightning", "torchmetrics", "numpy"}
    assert re.fullmatch(r"3\.\d+\.\d+.*", found["python"])
    assert found["numpy"] == np.__version__

    def missing(package):
        raise files.PackageNotFoundError(package)

    monkeypatch.setattr(files, "version", missing)
    assert files.versions()["torch"] == "not installed"


def test_csv_has_a_line_for_every_value(tmp_path):
    own = {"mean": {"mpjpe": 6.0}}
    host = make_run("host", 1, 10.0)
    seal = Run("SEAL", 1, 10, 23.75, {"mean": {"mpjpe": 9.5}}, {}, own_best=own)
    write_csv(tmp_path / "r.csv", [host, seal], {"torch": "9"})
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["method", "seed", "scope", "metric", "value", "torch"]
    assert ["SEAL", "1", "mean", "mpjpe", "9.5", "9"] in rows
    assert ["SEAL, own best", "1", "mean", "mpjpe", "6.0", "9"] in rows
    assert ["host", "1", "mean", "wall_time", "25.0", "9"] in rows
    assert len(rows) == 1 + (3 + 2) + (1 + 2 + 1)
