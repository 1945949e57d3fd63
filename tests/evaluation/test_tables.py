"""The tables of a comparison show what its statistics say."""

import math

from seal_lightning.evaluation.runs import Run, summarise
from seal_lightning.evaluation.tables import own_best_table, rows_of, table


def make_run(method, seed, value, **more):
    scores = {"all": {"mpjpe": value, "limb_length_error": math.nan}, "mean": {"mpjpe": value, **more}}
    curves = {"seal/energy": [(1, 0.5)]} if method != "host" else {}
    return Run(method, seed, 10, 2.5 * value, scores, curves)


def test_table_shows_what_the_summary_says():
    runs = [make_run(m, s, v, truth_limb_symmetry_error=3.456, pck=1.0) for m, s, v in
            [("host", 1, 10.0), ("SEAL", 1, 9.0), ("host", 2, 20.0), ("SEAL", 2, 17.0)]]  # fmt: skip
    lines = table(summarise(runs), []).splitlines()
    assert len({len(line) for line in lines}) == 1
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "host", "SEAL", "SEAL - host [95 % interval]", "relative"]
    assert cells[2] == ["MPJPE (mm)", "15.0 ± 7.1", "13.0 ± 5.7", "-2.0 [-14.7, +10.7]", "-13.3 %"]
    assert cells[3] == ["LSE of the truth itself (%)", "3.46", "3.46", "", ""]
    assert cells[4][0] == "training time (s)"
    assert len(cells) == 5


def test_table_of_one_seed_and_several_datasets():
    scores = {"a": {"mpjpe": 1.0}, "b": {"mpjpe": 3.0}, "mean": {"mpjpe": 2.0, "limb_length_error": math.nan}}
    runs = [Run(method, 0, 1, 1.0, scores, {}) for method in ("host", "SEAL")]
    lines = table(summarise(runs), ["a", "b"]).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0][3] == "SEAL - host"
    assert [row[0] for row in cells[2:]] == [
        "**a**", "MPJPE (mm)", "**b**", "MPJPE (mm)", "**mean of a, b**", "MPJPE (mm)", "LLE (%)", "training time (s)",
    ]  # fmt: skip
    assert cells[3][1:] == ["1.0", "1.0", "+0.0", "+0.0 %"]
    assert cells[8][1:] == ["-", "-", "-", "-"]


def test_table_after_the_own_best_shows_what_finishing_changes_and_the_tail():
    metrics = ("mpjpe", "limb_symmetry_error", "limb_length_error", "mpjpe_p99", "mpjpe_cvar95")

    def run(method, seed, *values):
        return Run(method, seed, 1, 1.0, {"mean": dict(zip(metrics, values, strict=True))}, {})

    runs = [run("host", 1, 10.0, 2e-5, 1.0, 30.0, 25.0), run("host", 2, 8.0, 2e-5, 1.0, 30.0, 25.0),
            run("SEAL 0.1", 1, 9.0, 1e-5, 1.0, 20.0, 24.0), run("SEAL 0.1", 2, 6.0, 1e-5, 1.0, 20.0, 24.0)]  # fmt: skip
    lines = own_best_table(summarise(runs, "SEAL 0.1"), "SEAL 0.1").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["", "host, own best", "SEAL 0.1, own best", "SEAL - host [95 % interval]", "relative"]
    assert cells[2] == ["MPJPE (mm)", "9.0 ± 1.4", "7.5 ± 2.1", "-1.5 [-7.9, +4.9]", "-16.7 %"]
    assert cells[3][::4] == ["LSE (%)", "-"]  # a value that is printed as zero gets no percentage
    assert [row[0] for row in cells[4:]] == ["MPJPE, 99th percentile (mm)", "MPJPE, mean of the worst 5 % (mm)"]


def test_rows_come_in_blocks_with_the_metrics_that_are_asked_for():
    scores = {"a": {"mpjpe": 1.0, "p_mpjpe": 0.5}, "b": {"mpjpe": 3.0}, "mean": {"mpjpe": 2.0}}
    runs = [Run(method, 0, 1, 1.0, scores, {}) for method in ("host", "SEAL")]
    blocks = rows_of(summarise(runs), ["a", "b"], ["p_mpjpe", "mpjpe"])
    assert [title for title, _ in blocks] == ["a", "b", "mean of a, b"]
    assert [[row[:2] for row in rows] for _, rows in blocks] == [
        [("P-MPJPE (mm)", "0.5"), ("MPJPE (mm)", "1.0")], [("MPJPE (mm)", "3.0")], [("MPJPE (mm)", "2.0")],
    ]  # fmt: skip
