"""The benchmarks run at toy size and write what they print."""

import json

from benchmarks import step


def test_step(tmp_path, capsys):
    output = tmp_path / "new" / "step.json"
    arguments = ["--hidden", "8", "--batch", "4", "--rounds", "3", "--skip-published", "--output", str(output)]
    result = step.main(arguments)
    assert json.loads(output.read_text()) == result
    names = ["plain", "SEAL, default", "SEAL, graph 64 x 2"]
    assert [row["step"] for row in result["rows"]] == names
    assert all(len(values) == 3 for values in result["seconds"].values())
    assert result["rows"][0]["ratio"] == 1
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
