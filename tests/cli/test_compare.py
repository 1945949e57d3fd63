"""`seal-lightning compare`, run as a user runs it: on hosts and configs in the current directory."""

import csv
import itertools
import json
import pickle
import sys
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

from seal_lightning import SealMixin, get_skeleton
from seal_lightning.cli import main
from seal_lightning.cli.compare import CompareCLI
from seal_lightning.training.subclass import seal_class

SKELETON = get_skeleton("h36m17")
HOSTS = '''
import lightning as L
import torch
from torch.utils.data import DataLoader

from seal_lightning import SealBatch, SealMixin


class BlindLifter(L.LightningModule):
    """A host with random numbers of its own (dropout), and no step in which it could be scored."""

    def __init__(self, hidden: int = 8, lr: float = 0.01):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(34, hidden), torch.nn.ReLU(), torch.nn.Dropout(0.2),
            torch.nn.Linear(hidden, 51), torch.nn.Unflatten(1, (17, 3)),
        )

    def error(self, batch):
        return (self.net(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def training_step(self, batch, batch_idx):
        return self.error(batch)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


class Lifter(BlindLifter):
    def test_step(self, batch, batch_idx):
        self.log("whatever", self.error(batch))


class ValLifter(BlindLifter):
    def validation_step(self, batch, batch_idx):
        self.error(batch)


class TupleLifter(Lifter):
    """Two predictions meet the truth: nobody can tell which one is meant."""

    def error(self, batch):
        x, y = batch
        self.prediction, other = self.net(x), self.net(x)
        return (self.prediction - y).abs().mean() + 0 * (other - y).abs().mean()


class NamedTupleLifter(SealMixin, TupleLifter):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], self.prediction, batch[1])


class ReadyLifter(SealMixin, Lifter):
    pass


class Poses(L.LightningDataModule):
    """Somebody's data: tuples, no unit, no groups."""

    def dataset(self):
        generator = torch.Generator().manual_seed(0)
        return list(zip(torch.randn(6, 17, 2, generator=generator), torch.randn(6, 17, 3, generator=generator)))

    def train_dataloader(self):
        return DataLoader(self.dataset(), batch_size=3, shuffle=True)

    def test_dataloader(self):
        return DataLoader(self.dataset(), batch_size=4)


class StopSeal(L.Callback):
    def on_train_batch_end(self, trainer, pl_module, *_):
        trainer.should_stop = hasattr(pl_module, "seal")
'''
NET = {"class_path": "seal_lightning.loss_nets.MLPLossNet", "init_args": {"hidden": 8, "stages": 1}}
MOCAP = {
    "class_path": "seal_lightning.data.MocapDataModule",
    "init_args": {
        "synthetic": {"subjects": 4, "clips_per_subject": 1, "frames": 12},
        "split": {"train": ["y01"], "val": ["y02"], "test": ["y03", "y04"]},
        "batch_size": 5,
    },
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Writes a config of a tiny comparison to the current directory, which holds the hosts' module."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "some_lifters", raising=False)
    (tmp_path / "some_lifters.py").write_text(HOSTS)

    def write(host="Lifter", data=MOCAP, **extra):
        trainer = {"max_steps": 3, "accelerator": "cpu", "enable_progress_bar": False, **extra.pop("trainer", {})}
        content = {
            "model": {"class_path": f"some_lifters.{host}"},
            "data": data,
            "trainer": trainer,
            "seal": {"loss_net": NET, **extra.pop("seal", {})},
            "seeds": [3, 4],
            "output": "out",
            **extra,
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        return "config.yaml"

    return write


def run(*args):
    main(["compare", "--config", *args])


def results(directory="out"):
    with open(f"{directory}/results.json") as file:
        return json.load(file)


def scores(content, method):
    return {run["seed"]: run["scores"] for run in content["runs"] if run["method"] == method}


@pytest.fixture
def plain_run(make_trainer):
    """Trains a plain host by hand; per test group its poses and the true ones, and the true poses of the training."""

    def train(seed):
        import lightning as L
        from some_lifters import Lifter

        from seal_lightning.data import MocapDataModule, SyntheticMocap

        init = {**MOCAP["init_args"], "synthetic": SyntheticMocap(**MOCAP["init_args"]["synthetic"]), "seed": seed}
        L.seed_everything(seed, workers=True, verbose=False)
        data, model = MocapDataModule(**init), Lifter()
        L.seed_everything(seed, workers=True, verbose=False)
        seen = []
        keep = L.pytorch.callbacks.LambdaCallback(
            on_train_batch_end=lambda trainer, module, outputs, batch, index: seen.append(batch["target"].numpy())
        )
        make_trainer(max_epochs=None, max_steps=3, callbacks=[keep]).fit(model, datamodule=data)
        data.setup("test")
        model.eval()
        poses = {}
        for batch in data.test_dataloader():
            with torch.no_grad():
                predicted = model.net(batch["keypoints_2d"]).numpy().astype(float)
            true = batch["target"].numpy().astype(float)
            for p, t, group in zip(predicted, true, batch["group"].tolist(), strict=True):
                poses.setdefault(data.group_names[group], []).append((p, t))
        return poses, np.concatenate(seen).astype(float)

    return train


def numpy_mpjpe(pose, true):
    return np.sqrt((((pose - pose[0]) - (true - true[0])) ** 2).sum(-1)).mean() * 1000


def numpy_lengths(pose):
    return np.array([np.linalg.norm(pose[child] - pose[parent]) for child, parent in SKELETON.bones])


def numpy_rescale(pose, mean):
    """Bones moved a quarter of the way to the mean lengths, then left and right made equal, walking from the root."""
    own = numpy_lengths(pose)
    wanted = 0.75 * own + 0.25 * mean
    for left, right in SKELETON.paired_bones:
        wanted[[left, right]] = wanted[[left, right]].mean()
    moved = pose.copy()
    for bone, (child, parent) in enumerate(SKELETON.bones):  # parents come first in this skeleton
        moved[child] = moved[parent] + wanted[bone] / own[bone] * (pose[child] - pose[parent])
    return moved


def test_compare_writes_table_json_csv_and_picture(config, capsys, plain_run):
    run(config())
    content = results()

    assert [(r["method"], r["seed"], r["steps"]) for r in content["runs"]] == [
        ("host", 3, 3), ("SEAL", 3, 3), ("host", 4, 3), ("SEAL", 4, 3),
    ]  # fmt: skip
    for seed, host in scores(content, "host").items():
        expected = {
            group: np.mean([numpy_mpjpe(*pair) for pair in poses]) for group, poses in plain_run(seed)[0].items()
        }
        assert set(host) == {"synthetic/y03", "synthetic/y04", "synthetic", "mean"}
        assert expected["synthetic/y03"] != pytest.approx(expected["synthetic/y04"], rel=1e-3)
        for group, error in expected.items():
            assert host[group]["mpjpe"] == pytest.approx(error, rel=1e-4)
        assert host["mean"]["mpjpe"] == pytest.approx(np.mean(list(expected.values())), rel=1e-4)

    for name in ("torch", "lightning", "torchmetrics", "numpy"):
        assert content["stamp"][name] == version(name)
    assert content["stamp"]["seeds"] == "3 4"
    assert content["config"]["model"]["class_path"] == "some_lifters.Lifter"
    curves = [run["curves"] for run in content["runs"]]
    assert curves[0] == {}
    assert [step for step, _ in curves[1]["seal/energy"]] == [1, 2, 3]
    assert all(run["wall_time"] > 0 for run in content["runs"])

    with open("out/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["method"], int(r["seed"]), r["scope"], r["metric"]): float(r["value"]) for r in rows}
    for entry in content["runs"]:
        for scope, metrics in entry["scores"].items():
            for metric, value in metrics.items():
                assert found.pop((entry["method"], entry["seed"], scope, metric)) == value
                rescaled = f"{entry['method']}, rescaled", entry["seed"], scope, metric
                assert found.pop(rescaled) == entry["rescaled"][scope][metric]
    assert {key[3] for key in found} == {"wall_time", "steps"}
    assert {row["torch"] for row in rows} == {version("torch")}

    with open("out/results.png", "rb") as file:
        assert file.read(8) == b"\x89PNG\r\n\x1a\n"

    printed = capsys.readouterr().out
    mean = content["summary"]["mean"]["mpjpe"]
    line, _ = [line for line in printed.splitlines() if line.startswith("| MPJPE (mm)")]
    assert f"{mean['host_mean']:.1f} ± {mean['host_std']:.1f}" in line
    assert f"{mean['difference']:+.1f} [{mean['low']:+.1f}, {mean['high']:+.1f}]" in line
    assert "LSE of the truth itself (%)" in printed
    assert "[4/4] SEAL, seed 4" in printed


def test_controls_are_the_same_poses_with_other_bones(config, capsys, plain_run):
    run(config())
    content = results()
    for entry in content["runs"]:
        if entry["method"] != "host":
            continue
        groups, training = plain_run(entry["seed"])
        mean = np.mean([numpy_lengths(pose) for pose in training], axis=0)
        for group, poses in groups.items():
            moved = [(numpy_rescale(pose, mean), true) for pose, true in poses]
            assert entry["rescaled"][group]["mpjpe"] == pytest.approx(
                np.mean([numpy_mpjpe(*pair) for pair in moved]), rel=1e-4
            )
            errors = [abs(numpy_lengths(pose) / numpy_lengths(true) - 1).mean() for pose, true in moved]
            assert entry["rescaled"][group]["body_segment_length_error"] == pytest.approx(
                100 * np.mean(errors), rel=1e-4
            )
            assert entry["rescaled"][group]["limb_symmetry_error"] == pytest.approx(0, abs=1e-3)
        assert entry["rescaled"]["mean"]["mpjpe"] != pytest.approx(entry["scores"]["mean"]["mpjpe"], rel=1e-3)
    printed = capsys.readouterr().out
    assert content["rescaling"] in printed
    mean = content["summary_rescaled"]["mean"]["body_segment_length_error"]
    _, line = [line for line in printed.splitlines() if line.startswith("| BSLE (%)")]
    assert f"{mean['host_mean']:.2f} ± {mean['host_std']:.2f}" in line
    assert f"{mean['difference']:+.2f} [{mean['low']:+.2f}, {mean['high']:+.2f}]" in line


def test_measuring_the_bones_is_not_training_time(config, monkeypatch):
    clock = itertools.count(step=1000.0)
    monkeypatch.setattr("seal_lightning.evaluation.rescaling.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run(config(seeds=[3]))
    host, seal = results()["runs"]
    assert host["wall_time"] > 0
    assert seal["wall_time"] < -2000  # a thousand seconds on that clock for each of three steps


def test_verdict_is_that_of_the_scores(config, capsys):
    run(config())
    content, printed = results(), capsys.readouterr().out
    for name, part in (("as_predicted", "scores"), ("rescaled", "rescaled")):
        means = {
            method: np.mean([
                [run[part]["mean"][e] for e in ("mpjpe", "body_segment_length_error", "asymmetry_error")]
                for run in content["runs"] if run["method"] == method
            ], axis=0)
            for method in ("host", "SEAL")
        }  # fmt: skip
        verdict = content["verdict"][name]
        assert verdict["change"] == pytest.approx(100 * (np.prod(means["SEAL"] / means["host"]) ** (1 / 3) - 1))
        assert verdict["low"] < verdict["change"] < verdict["high"]
        assert (verdict["seeds"], verdict["groups"]) == (2, {"synthetic": 2})
        described = f"{verdict['verdict']}, {verdict['change']:+.1f} % [{verdict['low']:+.1f}, {verdict['high']:+.1f}]"
        assert f"{name.replace('_', ' ')}: {described}" in printed
    assert "95 % intervals are over 2 seeds, 2 skeletons of synthetic." in printed


def test_energy_that_does_not_pull_changes_no_score(config):
    run(config(seal={"weight": 0.0}))
    content = results()
    assert scores(content, "host") == scores(content, "SEAL")
    assert [run["rescaled"] for run in content["runs"][::2]] == [run["rescaled"] for run in content["runs"][1::2]]
    assert content["summary"]["mean"]["mpjpe"]["difference"] == 0
    for verdict in content["verdict"].values():
        assert [verdict[key] for key in ("verdict", "change", "low", "high")] == ["no evidence", 0, 0, 0]


def test_skeleton_without_paired_bones(config, capsys):
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    skeleton = {"names": [f"joint_{i}" for i in range(17)], "parents": parents}
    with pytest.warns(UserWarning, match="The skeleton has no paired bones: AsymmetryError will be NaN"):
        run(config(seal={"skeleton": skeleton}))
    content = results()
    assert [verdict["errors"] for verdict in content["verdict"].values()] == [["MPJPE", "BSLE"]] * 2
    assert all(verdict["low"] < verdict["high"] for verdict in content["verdict"].values())
    assert content["summary_rescaled"]["mean"]["asymmetry_error"]["host_mean"] is None
    assert "asymmetry error as predicted, asymmetry error rescaled." in capsys.readouterr().out


def test_energy_that_pulls_changes_scores(config):
    run(config(seeds=[3], seal={"weight": 1.0}))
    content = results()
    assert scores(content, "host")[3]["mean"]["mpjpe"] != scores(content, "SEAL")[3]["mean"]["mpjpe"]
    assert scores(content, "host")[3]["mean"]["truth_limb_symmetry_error"] == pytest.approx(
        scores(content, "SEAL")[3]["mean"]["truth_limb_symmetry_error"]
    )


def test_both_methods_start_from_the_same_weights_and_batches(config, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    cli = CompareCLI(["--config", config()])

    def start(method, seed):
        cli.build(method, seed)
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
    cli.build("SEAL", 3)
    first = next(cli.model.seal.parameters()).detach().clone()
    cli.build("SEAL", 4)
    assert not torch.equal(first, next(cli.model.seal.parameters()))


def test_older_results_stay(config, capsys):
    run(config(), "--seeds", "5")
    run("config.yaml", "--seeds", "6", "--trainer.max_steps=1")
    assert results()["runs"][0]["seed"] == 5
    assert [(r["seed"], r["steps"]) for r in results("out-2")["runs"]] == [(6, 1), (6, 1)]
    printed = capsys.readouterr().out
    assert "One seed: no spread, no interval." in printed
    assert "With one seed nothing tells how another seed would turn out, so there is no interval and" in printed
    assert results()["verdict"]["rescaled"]["low"] is None
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


def test_without_matplotlib_the_numbers_are_written(config, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run(config(seeds=[1]))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"results.json", "results.csv"}
    first, rest = capsys.readouterr().out.split("\n", 1)
    assert first.startswith("There will be no picture. Expected matplotlib to be installed for the picture of a compar")
    assert first.endswith("pip install 'seal_lightning[plot]'")
    assert rest.startswith("[1/2] host, seed 1")


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
