"""The benchmarks run at toy size and write what they print."""

import json

import pytest
import torch

from benchmarks import data_wait, parts, reading, step, step_chart
from benchmarks.measure import interleaved, metered, products_alone
from benchmarks.on_device import device_rows, device_table
from seal_lightning import SealConfig


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 cannot hash the products that it counts")
def test_step(tmp_path, capsys):
    output = tmp_path / "new" / "step.json"
    arguments = ["--hosts", "simple", "seq2seq", "--frames", "3", "--hidden", "64", "--batch", "4", "8"]
    arguments += ["--loss-nets", "default", "published", "constant", "--rounds", "2", "--output", str(output)]
    result = step.main(arguments)
    assert json.loads(output.read_text()) == result
    names = ["plain", *(f"default, {mode}" for mode in step.MODES), "published, public way"]
    names += [*(f"published, {mode}" for mode in step.MODES), "constant, alternating"]
    assert [row["step"] for row in result["rows"]] == 4 * names
    assert all(len(row["seconds"]) == 2 for row in result["rows"])
    plain, *others = result["rows"][: len(names)]
    assert plain["over_plain"] == plain["over_bound"] == plain["over_products"] == plain["over_memory"] == 1
    assert all(row["gflops"] > 0 and row["megabytes"] >= plain["megabytes"] for row in others)
    assert all(row["operations"] > plain["operations"] > 100 for row in others)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert printed.count("simple, 17 joints, 3 frames, batch 8; matmul") == 1

    picture = step_chart.main([str(output), "--output", str(tmp_path / "new" / "step.png")])
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 cannot hash the products that it counts")
def test_steps_in_a_trainer(tmp_path, capsys):
    arguments = ["--hidden", "16", "--batch", "4", "--loss-nets", "constant", "--rounds", "2", "--trainer"]
    rows = step.main([*arguments, "--output", str(tmp_path / "step.json")])["trainer"]
    expected = [(precision, model) for precision in ("32-true", "bf16-mixed") for model in ("plain", "constant")]
    assert [(row["precision"], row["step"]) for row in rows] == expected
    assert all(len(row["seconds"]) == 2 for row in rows)
    assert [row["over_plain"] == 1 for row in rows] == [True, False, True, False]
    assert "simple, 17 joints, 27 frames, batch 4, in a Trainer" in capsys.readouterr().out


def test_reading(tmp_path, capsys):
    result = reading.main(["--steps", "2", "--repeats", "2", "--output", str(tmp_path / "reading.json")])
    assert json.loads((tmp_path / "reading.json").read_text()) == result
    assert {name: host["operations"] for name, host in result["hosts"].items()} == {"Plain": 6, "Deep": 6, "Rich": 157}
    assert all(len(host["read"]) == 2 for host in result["hosts"].values())
    assert "| Rich | 157 |" in capsys.readouterr().out


def test_steps_on_a_device(capsys):
    """As on a GPU, of which the CPU has the wall clock."""
    calls = []
    programs = {name: lambda name=name: calls.append(name) for name in ("plain", "other")}
    rows = device_rows(programs, 2, torch.device("cpu"))
    assert calls[:16] == 2 * (4 * ["plain"] + 4 * ["other"])  # interleaved, four steps at a time
    assert [row["step"] for row in rows] == ["plain", "other"]
    assert rows[0]["over_plain"] == 1
    assert rows[0]["added"] == 0
    for row in rows:
        assert row["launches"] == row["graphs"] == row["device_milliseconds"] == 0
        assert len(row["seconds"]) == 2
    assert device_table("title", rows).splitlines()[1] == "title"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_so(capsys):
    with pytest.raises(SystemExit):
        step.main(["--device", "cuda"])
    assert "expected a GPU for `--device cuda`, but PyTorch finds none" in capsys.readouterr().err


def test_rounds_are_interleaved():
    calls = []
    seconds = interleaved({name: lambda name=name: calls.append(name) for name in "ab"}, rounds=3)
    assert calls == ["a", "b"] * 5  # the first two rounds warm up
    assert [len(values) for values in seconds.values()] == [3, 3]


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 cannot hash the products that it counts")
def test_meter_counts_arithmetic_and_memory():
    left, right = torch.randn(10, 20), torch.randn(20, 30, requires_grad=True)

    def program():
        product = left @ right
        temporary = product + 1  # 1,200 bytes each
        view = temporary.view(-1)
        del product, temporary
        (2 * view).sum().backward()

    meter = metered(program)
    assert meter.flops == 2 * (2 * 10 * 20 * 30)  # one product forward, one backward
    assert sum(meter.products.values()) == 2
    # At the peak there are three gradients: one like `right`, two like `product`.
    assert meter.peak == pytest.approx(4 * (20 * 30 + 10 * 30 + 10 * 30), abs=64)
    assert products_alone(meter.products, rounds=2) > 0


def test_data_wait(capsys):
    share = data_wait.main(["--hidden", "8", "--steps", "3"])
    assert 0 < share < 1
    assert f"waiting {100 * share:.1f} %" in capsys.readouterr().out


def test_parts_of_a_step_add_up(capsys):
    rows = parts.main(["--batch", "8", "--hidden", "8", "--rounds", "1"])
    assert set(rows) == {parts.REST, *parts.PARTS.values()}
    make, batch = step.make_host("simple", 17, 1, 8), step.make_batch("simple", 17, 1, 8)
    whole = step.lightning_step(make(SealConfig()), batch)
    whole()  # the first step looks at the data
    assert sum(row["operations"] for row in rows.values()) == metered(whole).operations
    assert all(row["milliseconds"] > 0 for row in rows.values())
    assert "a SEAL step in parts" in capsys.readouterr().out
    assert parts.SealLoss.ranking_loss.__name__ == "ranking_loss"  # what was looked into is what it was
