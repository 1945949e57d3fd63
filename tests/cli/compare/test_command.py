"""The options of a comparison, the errors of its command line, and what it needs to be installed."""

import pickle
import sys

import pytest
import torch
import yaml

from seal_lightning import SealMixin
from seal_lightning.cli import main
from seal_lightning.cli.compare import CompareCLI
from seal_lightning.cli.compare.methods import Method
from seal_lightning.training.subclass import seal_class
from tests.cli.compare.comparisons import NET, results, run, scores


def test_both_methods_start_from_the_same_weights_and_batches(config, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    cli = CompareCLI(["--config", config()])

    def start(method, seed):
        cli.build(Method(method), seed)
        cli.datamodule.setup("fit")
        return cli.model.state_dict(), next(iter(cli.datamodule.train_dataloader()))["keypoints_2d"]

    (host, host_batch), (seal, seal_batch), (other, other_batch) = start("host", 3), start("SEAL", 3), start("host", 4)
    assert type(cli.model).__name__ == "Lifter"
    assert host.keys() == seal.keys()
    assert all(torch.equal(host[name], seal[name]) for name in host)
    assert torch.equal(host_batch, seal_batch)
    assert not torch.equal(host["net.1.weight"], other["net.1.weight"])
    assert not torch.equal(host_batch, other_batch)


def test_loss_net_differs_between_seeds(config, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    cli = CompareCLI(["--config", config()])
    cli.build(Method("SEAL"), 3)
    first = next(cli.model.seal.parameters()).detach().clone()
    cli.build(Method("SEAL"), 4)
    assert not torch.equal(first, next(cli.model.seal.parameters()))


def test_older_results_stay(config, capsys):
    run(config(), "--seeds", "5")
    run("config.yaml", "--seeds", "6", "--trainer.max_steps=1")
    assert results()["runs"][0]["seed"] == 5
    assert [(r["seed"], r["steps"]) for r in results("out-2")["runs"]] == [(6, 1), (6, 1)]
    printed = capsys.readouterr().out
    assert printed.count("One seed, no verdict: ") == 2
    assert "evidence" not in printed
    assert results()["verdict"]["own_best"]["low"] is None
    assert "Written to out-2" in printed


def test_print_config_runs_unchanged(config, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        run(config(), "--seeds", "7", "--print_config")
    assert stop.value.code == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    run("printed.yaml")
    assert [r["seed"] for r in results()["runs"]] == [7, 7]
    assert not list(tmp_path.glob("lightning_logs"))
    assert not list(tmp_path.glob("checkpoints"))


def test_config_of_a_fit_is_taken_as_it_is(config, capsys, tmp_path):
    config()
    fit = yaml.safe_load((tmp_path / "config.yaml").read_text())
    fit = {key: fit[key] for key in ("model", "data", "trainer")}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(fit))
    optimizer = ["--optimizer=torch.optim.SGD", "--optimizer.lr=0"]
    with pytest.raises(SystemExit):
        main(["fit", "--config", "fit.yaml", *optimizer, "--print_config"])
    (tmp_path / "fit.yaml").write_text(capsys.readouterr().out)
    run("fit.yaml", "--seeds", "1", "--seal.loss_net", "seal_lightning.loss_nets.MLPLossNet", "--output", "sgd")
    content = results("sgd")
    assert scores(content, "host") == scores(content, "SEAL")  # neither of them learns at a rate of zero
    assert not list(tmp_path.glob("lightning_logs"))


def test_host_without_test_step_is_scored_by_its_validation_step(config):
    trainer = {"limit_val_batches": 0}
    run(config("ValLifter", trainer={"num_sanity_val_steps": 0}), "--seeds", "3")
    run(config("Lifter", trainer=trainer), "--seeds", "3")
    assert scores(results(), "host") == scores(results("out-2"), "host")


def test_validation_split(config):
    run(config("ValLifter", split="val"))
    assert set(scores(results(), "host")[3]) == {"synthetic/y02", "synthetic", "mean"}
    verdict = results()["verdict"]["as_predicted"]
    assert verdict["verdict"] == "no verdict"
    assert verdict["remark"].startswith("No dataset names two skeletons or more")


def test_foreign_data_need_a_unit_and_make_one_group(config):
    data = {"class_path": "some_lifters.Poses"}
    with pytest.raises(ValueError, match=r"Expected `unit` to be 'm' or 'mm', the unit of the poses, .* but got None"):
        run(config("TupleLifter", data=data))
    args = ["--seal_model=some_lifters.NamedTupleLifter", "--seeds", "1"]
    run("config.yaml", *args, "--unit=mm", "--output=mm")
    run("config.yaml", *args, "--unit=m", "--output=m")
    millimetres, metres = scores(results("mm"), "SEAL")[1], scores(results("m"), "SEAL")[1]
    assert set(metres) == {"all", "mean"}
    assert metres["mean"]["mpjpe"] == pytest.approx(1000 * millimetres["mean"]["mpjpe"], rel=1e-5)
    assert metres["mean"]["limb_length_error"] == pytest.approx(millimetres["mean"]["limb_length_error"], rel=1e-5)


def test_host_that_cannot_be_read_says_what_to_override(config):
    with pytest.raises(ValueError, match="Override `seal_batch"):
        run(config("TupleLifter", data={"class_path": "some_lifters.Poses"}, unit="mm"))


def test_unit_must_agree_with_the_data(config):
    with pytest.raises(ValueError, match="agree with the datamodule's `unit` where that has one, but got 'mm' and 'm'"):
        run(config(unit="mm"))


def test_without_matplotlib_and_plotly_the_numbers_are_written(config, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "plotly", None)
    run(config(seeds=[1]))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "manifest.json", "results.json", "results.csv", "trainings",
    }  # fmt: skip
    picture, page, *rest = capsys.readouterr().out.splitlines()
    assert picture.startswith("There will be no picture. Expected matplotlib to be installed for the picture of a comp")
    assert picture.endswith("pip install 'seal_lightning[plot]'")
    assert page.startswith("There will be no report for the browser. Expected plotly to be installed for the report")
    assert page.endswith("pip install 'seal_lightning[report]'")
    assert rest[2] == "[1/2] SEAL, seed 1"


def test_without_scipy_nothing_is_trained(config, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    monkeypatch.setattr(CompareCLI, "build", lambda *_: pytest.fail("a training was set up"))
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seal_lightning\[compare\]'"):
        run(config(seeds=[1]))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"host": "ReadyLifter"}, TypeError, "plain host, but ReadyLifter has SealMixin already"),
        (
            {"host": "ValLifter", "seal_model": "some_lifters.ReadyLifter"},
            TypeError,
            "`seal_model` to be a subclass of ValLifter, but got ReadyLifter",
        ),
        ({"seeds": [1, 1]}, ValueError, r"`seeds` to be one or more different numbers, but got \[1, 1\]"),
        ({"seeds": []}, ValueError, r"`seeds` to be one or more different numbers, but got \[\]"),
        ({"host": "BlindLifter"}, TypeError, "BlindLifter to define `test_step` or `validation_step`"),
        ({"split": "val"}, TypeError, "Expected Lifter to define `validation_step`, in which"),
        ({"trainer": {"devices": 2}}, ValueError, "one process, but `trainer` asks for 2: set `trainer.devices` to 1"),
        ({"trainer": {"callbacks": [{"class_path": "some_lifters.StopSeal"}]}}, ValueError, "same number of steps"),
        ({"weights": [0.1, 0.1]}, ValueError, r"`weights` to be one or more different numbers .* got \[0.1, 0.1\]"),
        ({"weights": [-0.1]}, ValueError, r"different numbers of at least 0, but got \[-0.1\]"),
        (
            {"weights": [0.1], "seal": {"energies": [{"loss_net": NET}]}},
            ValueError,
            "one energy where `weights` are given",
        ),
        (
            {"seal": {"warmup_steps": 3}},
            ValueError,
            "to end within the training, but got 3, and the loss-nets take at most 3 updates",
        ),
        ({"seal": {"warmup_steps": 1, "every_n_steps": 3}}, ValueError, "got 1, and the loss-nets take at most 1 upd"),
    ],
)
def test_unequal_terms_are_refused(config, options, error, message):
    with pytest.raises(error, match=message):
        run(config(**options))


def test_seal_class_is_a_named_importable_subclass():
    class Host(torch.nn.Module):
        def training_step(self, batch):
            return batch

    made = seal_class(Host)
    assert made.__bases__ == (SealMixin, Host)
    assert made.__name__ == "SealHost"
    assert pickle.loads(pickle.dumps(made)) is made
    with pytest.raises(TypeError, match="Expected the model to be a class, but got <built-in function print>"):
        seal_class(print)
