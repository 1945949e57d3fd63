"""Several weights in one comparison, and weights of the host to start from."""

import math

import pytest
import torch

from seal_lightning.cli.compare import CompareCLI
from seal_lightning.cli.compare.methods import Method
from seal_lightning.evaluation.outcome import best_method, finishes_of
from seal_lightning.evaluation.runs import Run
from tests.cli.compare.comparisons import results, run


def test_every_weight_is_trained_and_one_is_judged(config, capsys):
    run(config(seeds=[3]), "--weights", "0.05", "0.5")
    content, printed = results(), capsys.readouterr().out
    assert [one["method"] for one in content["runs"]] == ["host", "SEAL 0.05", "SEAL 0.5"]
    ratios = [dict(map(tuple, one["curves"]["seal/force_ratio"]))[3] for one in content["runs"][1:]]
    assert ratios == pytest.approx([0.05, 0.5], rel=0.05)
    errors = {one["method"]: min(one["validation"].values()) for one in content["runs"][1:]}
    assert content["judged"] == min(errors, key=errors.get)
    assert f"{content['judged']} is best on validation data, so the verdict is on it" in printed
    assert set(content["weights"]) == {"SEAL 0.05", "SEAL 0.5"}
    assert content["weights"][content["judged"]]["verdict"] == content["verdict"]
    for label in ("host", "SEAL 0.05", "SEAL 0.5"):
        (row,) = [line for line in printed.splitlines() if line.startswith(f"| {label} ")]
        own_best = next(one for one in content["runs"] if one["method"] == label)["own_best"]["mean"]
        assert f" {own_best['mpjpe']:.1f} |" in row


@pytest.mark.parametrize("weight", [{"ratio": 0.2, "amplification": 3.0}, 0.01])
def test_a_weight_is_a_ratio_where_one_is_asked_for(config, monkeypatch, tmp_path, weight):
    monkeypatch.syspath_prepend(tmp_path)
    cli = CompareCLI(["--config", config(seal={"weight": weight}), "--weights", "0.3"])
    cli.build(Method("SEAL 0.3", 0.3), 0, logger=False)
    found = cli.model._seal_config.weight
    assert (found if isinstance(weight, float) else (found.ratio, found.amplification)) == pytest.approx(
        0.3 if isinstance(weight, float) else (0.3, 3.0)
    )


def run_of(method, seed, *errors):
    return Run(method, seed, 1, 1.0, {}, {}, validation={str(i): error for i, error in enumerate(errors)})


def test_the_weight_that_is_judged_is_the_best_on_validation_data():
    runs = [
        run_of("host", 0, 1.0),
        run_of("a", 0, 9.0, 4.0),
        run_of("b", 0, 5.0),
        run_of("a", 1, 4.0),
        run_of("b", 1, 3.0),
    ]
    assert best_method(runs) == "b"  # 15 is less than 16
    assert best_method([run for run in runs if run.method != "b"]) == "a"
    assert best_method([*runs, run_of("b", 2)]) is None  # no validation data
    assert best_method([*runs, run_of("b", 2, math.nan)]) is None
    assert best_method(runs[:1]) is None


def test_what_was_best_is_said_once_for_all_seeds_that_agree():
    runs = [run_of("a", seed) for seed in range(3)]
    assert finishes_of(runs, "a") == "nothing"
    odd = Run(**{**vars(runs[0]), "finish": type(runs[0].finish)(flip=True)})
    assert finishes_of([odd, *runs[1:]], "a") == "nothing (2 of 3 seeds); flip averaging (1 of 3 seeds)"


def test_all_start_from_the_checkpoint_of_the_host(config, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    run(config(seeds=[3], trainer={"max_steps": 1}))
    path = "out/trainings/host_seed-3/weights.ckpt"
    trained = torch.load(path, weights_only=True)["state_dict"]
    cli = CompareCLI(["--config", "config.yaml", "--host_checkpoint", path])
    for method in cli.methods:
        for seed in (3, 4):
            cli.build(method, seed, logger=False)
            state = cli.model.state_dict()
            assert all(torch.equal(state[name], value) for name, value in trained.items())
    run("config.yaml", "--host_checkpoint", path, "--output", "on", "--trainer.max_steps=2")
    assert {one["weights"] for one in results("on")["runs"]}.isdisjoint(one["weights"] for one in results()["runs"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "`host_checkpoint` to be a Lightning checkpoint, but got 'host.ckpt'"),
        ({"weights": 1}, "but 'host.ckpt' has no `state_dict`"),
        ({"state_dict": {"other.weight": torch.ones(1)}}, r"(?s)to hold the weights of this model, .*other\.weight"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused(config, content, message):
    with open("host.ckpt", "wb") as file:
        file.write(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(ValueError, match=message):
        run(config(), "--host_checkpoint", "host.ckpt")
