"""The benchmark of metrics runs at toy size, the ways that it compares agree, and it writes what it prints."""

import json

import pytest

from benchmarks import metrics


def test_metrics(tmp_path, capsys):
    output = tmp_path / "new" / "metrics.json"
    result = metrics.main(["--poses", "40", "--batch", "8", "--rounds", "2", "--output", str(output)])
    assert json.loads(output.read_text()) == result
    usual, batched, ours = result["values"].values()
    assert usual > 30
    assert batched == pytest.approx(usual, rel=1e-4)
    assert ours == pytest.approx(usual, rel=1e-5)
    assert [row["way"] for row in result["update"]] == ["separate metrics", "PoseMetrics"]
    for rows in (result["p_mpjpe"], result["update"]):
        assert rows[0]["faster"] == 1
    names = [row["way"] for row in result["p_mpjpe"] + result["update"]]
    assert [len(result["seconds"][name]) for name in names] == [2, 2, 2, 20, 20]
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
