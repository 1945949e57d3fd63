"""The benchmarks run at toy size and write what they print."""

import json

import pytest
import torch

from benchmarks import data_wait, step, step_chart
from benchmarks.measure import interleaved, metered, products_alone


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
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)
    assert printed.count("simple, 17 joints, 3 frames, batch 8; matmul") == 1

    picture = step_chart.main([str(output), "--output", str(tmp_path / "new" / "step.png")])
    assert picture.read_bytes().startswith(b"\x89PNG")


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
    assert products_alone(meter, rounds=2) > 0


def test_data_wait(capsys):
    share = data_wait.main(["--hidden", "8", "--steps", "3"])
    assert 0 < share < 1
    assert f"waiting {100 * share:.1f} %" in capsys.readouterr().out
