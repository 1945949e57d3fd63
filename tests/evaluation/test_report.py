"""What a comparison prints and writes; its statistics against NumPy and a numerical integral."""

import csv
import json
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest

from seal_lightning.evaluation import report


def make_run(method, seed, value, **more):
    scores = {"all": {"mpjpe": value, "limb_length_error": math.nan}, "mean": {"mpjpe": value, **more}}
    return report.Run(method, seed, 10, 2.5 * value, scores, {"seal/energy": [(1, 0.5)]} if method == "SEAL" else {})


def above(quantile, degrees):
    """Return the probability above a quantile of Student's t, by integrating the density."""
    x = np.linspace(0, quantile, 20_001)
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    density = np.exp(log_scale - (degrees + 1) / 2 * np.log1p(x**2 / degrees))
    return 0.5 - (density[1:] + density[:-1]) @ np.diff(x) / 2


def quantile_in_use(degrees):
    """Recover the quantile from the interval of differences with mean 0 and a known standard deviation."""
    differences = [-1.0, 1.0] + [0.0] * (degrees - 1)
    result = report.paired_difference([0.0] * (degrees + 1), differences)
    return result.high / (np.std(differences, ddof=1) / math.sqrt(degrees + 1))


@pytest.mark.parametrize("count", [2, 3, 5, 31])
def test_paired_difference_is_the_paired_t_interval(count):
    rng = np.random.default_rng(count)
    host, seal = rng.normal(70, 5, count), rng.normal(65, 3, count)
    result = report.paired_difference(host.tolist(), seal.tolist())

    assert result.host_mean == pytest.approx(host.mean())
    assert result.host_std == pytest.approx(host.std(ddof=1))
    assert result.seal_mean == pytest.approx(seal.mean())
    assert result.seal_std == pytest.approx(seal.std(ddof=1))
    assert result.difference == pytest.approx((seal - host).mean())
    assert result.relative == pytest.approx(100 * (seal - host).mean() / host.mean())
    assert result.high - result.difference == pytest.approx(result.difference - result.low)
    error = (seal - host).std(ddof=1) / math.sqrt(count)
    assert above((result.high - result.difference) / error, count - 1) == pytest.approx(0.025, abs=2e-5)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30, 31, 59, 500])
def test_the_quantile_of_students_t(degrees):
    assert above(quantile_in_use(degrees), degrees) == pytest.approx(0.025, abs=2e-6)


def test_the_error_where_scipy_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # an import of it fails from now on
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seal_lightning\[compare\]'") as raised:
        report.paired_difference([10.0, 12.0], [9.0, 10.0])
    assert raised.value.name == "scipy.stats"
    assert math.isnan(report.paired_difference([10.0], [9.0]).low)  # one seed has no interval, and needs no quantile


def test_one_seed_has_no_interval():
    result = report.paired_difference([10.0], [9.0])
    assert (result.difference, result.relative) == (-1.0, -10.0)
    assert all(math.isnan(value) for value in (result.host_std, result.seal_std, result.low, result.high))


def test_missing_values_stay_missing():
    result = report.paired_difference([math.nan, math.nan], [math.nan, math.nan])
    assert math.isnan(result.host_mean)
    assert math.isnan(result.low)
    assert math.isnan(report.paired_difference([0.0, 0.0], [1.0, 1.0]).relative)


@pytest.mark.parametrize(("host", "seal", "counts"), [([], [], "0 and 0"), ([1.0], [1.0, 2.0], "1 and 2")])
def test_seeds_must_pair(host, seal, counts):
    with pytest.raises(ValueError, match=f"Expected one value per seed of both methods, but got {counts}"):
        report.paired_difference(host, seal)


def test_summary_pairs_by_seed_whatever_the_order():
    runs = [make_run("SEAL", 1, 9.0), make_run("host", 2, 20.0), make_run("host", 1, 10.0), make_run("SEAL", 2, 17.0)]
    summary = report.summarise(runs)
    assert summary["mean"]["mpjpe"].difference == -2.0
    width = summary["mean"]["mpjpe"].high - summary["mean"]["mpjpe"].low
    assert width == pytest.approx(2 * math.tan(0.475 * math.pi))  # the quantile of one degree of freedom
    assert summary["mean"]["wall_time"].difference == -5.0
    assert "wall_time" not in summary["all"]


def test_table_shows_what_the_summary_says():
    runs = [make_run(m, s, v, truth_limb_symmetry_error=3.456, pck=1.0) for m, s, v in
            [("host", 1, 10.0), ("SEAL", 1, 9.0), ("host", 2, 20.0), ("SEAL", 2, 17.0)]]  # fmt: skip
    lines = report.table(report.summarise(runs), []).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "host", "SEAL", "SEAL - host [95 % interval]", "relative"]
    assert cells[2] == ["MPJPE (mm)", "15.0 ± 7.1", "13.0 ± 5.7", "-2.0 [-14.7, +10.7]", "-13.3 %"]
    assert cells[3] == ["LSE of the truth itself (%)", "3.46", "3.46", "", ""]
    assert cells[4][0] == "training time (s)"
    assert len(cells) == 5


def test_table_of_one_seed_and_several_datasets():
    scores = {"a": {"mpjpe": 1.0}, "b": {"mpjpe": 3.0}, "mean": {"mpjpe": 2.0, "limb_length_error": math.nan}}
    runs = [report.Run(method, 0, 1, 1.0, scores, {}) for method in ("host", "SEAL")]
    lines = report.table(report.summarise(runs), ["a", "b"]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][3] == "SEAL - host"
    assert [row[0] for row in cells[2:]] == [
        "**a**", "MPJPE (mm)", "**b**", "MPJPE (mm)", "**mean of a, b**", "MPJPE (mm)", "LLE (%)", "training time (s)",
    ]  # fmt: skip
    assert cells[3][1:] == ["1.0", "1.0", "+0.0", "+0.0 %"]
    assert cells[8][1:] == ["-", "-", "-", "-"]


def test_json_and_csv_hold_everything(tmp_path):
    runs = [make_run("host", 1, 10.0), make_run("SEAL", 1, 9.5)]
    report.write_json(tmp_path / "r.json", runs, report.summarise(runs), stamp={"torch": "9"})
    content = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)
    assert content["runs"][0]["scores"] == {"all": {"mpjpe": 10.0, "limb_length_error": None}, "mean": {"mpjpe": 10.0}}
    assert content["runs"][1]["curves"] == {"seal/energy": [[1, 0.5]]}
    assert content["summary"]["mean"]["mpjpe"]["difference"] == -0.5
    assert content["summary"]["mean"]["mpjpe"]["low"] is None
    assert content["stamp"] == {"torch": "9"}

    report.write_csv(tmp_path / "r.csv", runs, {"torch": "9"})
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["method", "seed", "scope", "metric", "value", "torch"]
    assert ["SEAL", "1", "mean", "mpjpe", "9.5", "9"] in rows
    assert ["host", "1", "mean", "wall_time", "25.0", "9"] in rows
    assert len(rows) == 1 + 2 * (3 + 2)


def rescaled_run(method, seed, mpjpe, symmetry):
    run = make_run(method, seed, 5.0)
    scores = {"mpjpe": mpjpe, "limb_symmetry_error": symmetry, "limb_length_error": 1.0}
    return replace(run, rescaled={"all": scores, "mean": scores})


def test_rescaled_scores_have_a_table_and_lines_of_their_own(tmp_path):
    runs = [rescaled_run("SEAL", 2, 6.0, 1e-5), rescaled_run("host", 1, 10.0, 2e-5),
            rescaled_run("host", 2, 8.0, 2e-5), rescaled_run("SEAL", 1, 9.0, 1e-5)]  # fmt: skip
    host, seal = report.pair(runs)
    assert [(run.method, run.seed) for run in host + seal] == [("host", 1), ("host", 2), ("SEAL", 1), ("SEAL", 2)]
    summary = report.compare_scores([run.rescaled for run in host], [run.rescaled for run in seal])
    lines = report.rescaled_table(summary).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "host, rescaled", "SEAL, rescaled", "SEAL - host [95 % interval]", "relative"]
    assert cells[2] == ["MPJPE (mm)", "9.0 ± 1.4", "7.5 ± 2.1", "-1.5 [-7.9, +4.9]", "-16.7 %"]
    assert cells[3][::4] == ["LSE (%)", "-"]  # a value that is printed as zero gets no percentage
    assert len(cells) == 4

    report.write_json(tmp_path / "r.json", runs, report.summarise(runs), summary_rescaled=summary)
    content = json.loads((tmp_path / "r.json").read_text())
    assert content["runs"][0]["rescaled"]["mean"]["mpjpe"] == 6.0
    assert content["summary_rescaled"]["all"]["mpjpe"]["difference"] == -1.5
    assert content["summary"]["mean"]["mpjpe"]["difference"] == 0.0

    report.write_csv(tmp_path / "r.csv", runs, {})
    with (tmp_path / "r.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert ["SEAL, rescaled", "2", "mean", "mpjpe", "6.0"] in rows
    assert ["SEAL", "2", "mean", "mpjpe", "5.0"] in rows
    assert len(rows) == 1 + 4 * (3 + 2 + 2 * 3)


def test_curves_are_one_panel_a_quantity_and_one_line_a_seed():
    runs = [make_run("host", 1, 1.0), make_run("SEAL", 1, 1.0), make_run("SEAL", 2, 1.0)]
    assert report.curves(runs) == {"energy of the prediction": {"seed 1": [(1, 0.5)], "seed 2": [(1, 0.5)]}}


def test_free_directory_never_names_one_with_results(tmp_path):
    first = report.free_directory(tmp_path / "deep" / "out")
    assert first == tmp_path / "deep" / "out"
    assert report.free_directory(first) == first  # still empty
    (first / "results.json").write_text("{}")
    second = report.free_directory(str(first))
    (second / "x").write_text("")
    assert second == tmp_path / "deep" / "out-2"
    assert report.free_directory(first) == tmp_path / "deep" / "out-3"
    (tmp_path / "file").write_text("")
    assert report.free_directory(tmp_path / "file") == tmp_path / "file-2"


def test_versions_name_what_is_missing(monkeypatch):
    found = report.versions()
    assert set(found) == {"python", "seal_lightning", "torch", "lightning", "torchmetrics", "numpy"}
    assert re.fullmatch(r"3\.\d+\.\d+.*", found["python"])
    assert found["numpy"] == np.__version__

    def missing(package):
        raise report.PackageNotFoundError(package)

    monkeypatch.setattr(report, "version", missing)
    assert report.versions()["torch"] == "not installed"
