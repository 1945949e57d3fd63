"""What a comparison scores, against the same trained by hand and NumPy; what it prints and writes."""

import csv
import itertools
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seal_lightning import get_skeleton
from tests.cli.compare.comparisons import MOCAP, results, run, scores

SKELETON = get_skeleton("h36m17")
PARTNER = dict(zip((*SKELETON.left, *SKELETON.right), (*SKELETON.right, *SKELETON.left), strict=True))
MIRROR = [PARTNER.get(joint, joint) for joint in range(17)]


@pytest.fixture
def plain_run(make_trainer):
    """Trains a plain host by hand; per group its poses, those of the mirrored keypoints, and the true ones."""

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
        for batch in [*data.test_dataloader(), *data.val_dataloader()]:
            x = batch["keypoints_2d"]
            mirrored = x[:, MIRROR] * torch.tensor([-1.0, 1.0])
            with torch.no_grad():
                predicted, other = model.net(x), model.net(mirrored)[:, MIRROR] * torch.tensor([-1.0, 1.0, 1.0])
            rows = (part.numpy().astype(float) for part in (predicted, other, batch["target"]))
            for p, o, t, group in zip(*rows, batch["group"].tolist(), strict=True):
                poses.setdefault(data.group_names[group], []).append((p, o, t))
        return poses, np.concatenate(seen).astype(float)

    return train


def numpy_mpjpe(pose, true):
    return np.sqrt((((pose - pose[0]) - (true - true[0])) ** 2).sum(-1)).mean() * 1000


def numpy_lengths(pose):
    return np.array([np.linalg.norm(pose[child] - pose[parent]) for child, parent in SKELETON.bones])


def numpy_bsle(pose, true):
    return 100 * np.abs(numpy_lengths(pose) / numpy_lengths(true) - 1).mean()


def numpy_asymmetry(pose, true):
    (left, right), own, wanted = np.array(SKELETON.paired_bones).T, numpy_lengths(pose), numpy_lengths(true)
    return 1000 * np.abs((own[left] - own[right]) - (wanted[left] - wanted[right])).mean()


def numpy_finish(pose, other, mean, flip=False, mean_lengths=False, symmetrise=False, **_):
    """The mean with the other pose, bones a quarter of the way to the mean lengths, left and right made equal."""
    pose = (pose + other) / 2 if flip else pose
    own = numpy_lengths(pose)
    wanted = 0.75 * own + 0.25 * mean if mean_lengths else own.copy()
    for left, right in SKELETON.paired_bones if symmetrise else ():
        wanted[[left, right]] = wanted[[left, right]].mean()
    moved = pose.copy()
    for bone, (child, parent) in enumerate(SKELETON.bones):  # parents come first in this skeleton
        moved[child] = moved[parent] + wanted[bone] / own[bone] * (pose[child] - pose[parent])
    return moved


def test_compare_writes_table_json_csv_and_picture(config, capsys, plain_run, drawn):
    run(config())
    content = results()

    assert [(r["method"], r["seed"], r["steps"]) for r in content["runs"]] == [
        ("host", 3, 3), ("SEAL", 3, 3), ("host", 4, 3), ("SEAL", 4, 3),
    ]  # fmt: skip
    for seed, host in scores(content, "host").items():
        expected = {
            group: np.mean([numpy_mpjpe(pose, true) for pose, _, true in poses])
            for group, poses in plain_run(seed)[0].items()
            if group != "synthetic/y02"  # the validation skeleton
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
    assert content["complete"]
    assert all(run["wall_time"] > 0 for run in content["runs"])

    with open("out/results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {(r["method"], int(r["seed"]), r["scope"], r["metric"]): float(r["value"]) for r in rows}
    for entry in content["runs"]:
        for scope, metrics in entry["scores"].items():
            for metric, value in metrics.items():
                assert found.pop((entry["method"], entry["seed"], scope, metric)) == value
                own_best = f"{entry['method']}, own best", entry["seed"], scope, metric
                assert found.pop(own_best) == entry["own_best"][scope][metric]
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
    assert "[4/4] host, seed 4" in printed


def test_own_best_is_what_is_best_on_validation_data(config, capsys, plain_run):
    run(config())
    content, errors = results(), (numpy_mpjpe, numpy_bsle, numpy_asymmetry)
    for entry in content["runs"]:
        if entry["method"] != "host":
            continue
        groups, training = plain_run(entry["seed"])
        mean = np.mean([numpy_lengths(pose) for pose in training], axis=0)

        def scored(group, finish, groups=groups, mean=mean):
            pairs = [(numpy_finish(pose, other, mean, **finish), true) for pose, other, true in groups[group]]
            return [np.mean([error(*pair) for pair in pairs]) for error in errors]

        names = ("flip", "mean_lengths", "symmetrise")
        tried = [dict(zip(names, values, strict=True)) for values in itertools.product((False, True), repeat=3)]
        validation = [np.prod(scored("synthetic/y02", finish)) ** (1 / 3) for finish in tried]
        assert sorted(entry["validation"].values()) == pytest.approx(sorted(validation), rel=1e-4)
        best = tried[int(np.argmin(validation))]
        assert {name: entry["finish"][name] for name in names} == best
        for group in ("synthetic/y03", "synthetic/y04"):
            metrics = ("mpjpe", "body_segment_length_error", "asymmetry_error")
            found = [entry["own_best"][group][metric] for metric in metrics]
            assert found == pytest.approx(scored(group, best), rel=1e-4, abs=1e-3)
        assert entry["own_best"]["mean"]["mpjpe"] != pytest.approx(entry["scores"]["mean"]["mpjpe"], rel=1e-3)
    printed = capsys.readouterr().out
    assert content["own_best"]["tried"] in printed
    assert f"  host: {content['own_best']['host']}" in printed
    mean = content["summary_own_best"]["mean"]["body_segment_length_error"]
    _, line = [line for line in printed.splitlines() if line.startswith("| BSLE (%)")]
    assert f"{mean['host_mean']:.2f} ± {mean['host_std']:.2f}" in line
    assert f"{mean['difference']:+.2f} [{mean['low']:+.2f}, {mean['high']:+.2f}]" in line


def test_where_the_network_cannot_be_run_once_more_the_rest_is_chosen_from_and_it_is_said(config, capsys):
    run(config("ShiftingLifter", seeds=[3]))
    content = results()
    assert len(content["runs"][0]["validation"]) == 4
    assert not any("flip" in name for name in content["runs"][0]["validation"])
    said = (
        "No flip averaging: Expected the network's call to predict once more what the step predicted, but it does not"
    )
    assert said in capsys.readouterr().out
    assert said in content["own_best"]["tried"]


def test_clips_are_filtered_too_and_without_validation_data_all_get_the_same(config, capsys, drawn):
    clips = {**MOCAP, "init_args": {**MOCAP["init_args"], "frames": 6}}
    run(config("ClipLifter", data=clips, seeds=[3]))
    assert any("Gaussian filter of 2 frames" in name for name in results()["runs"][0]["validation"])
    assert "acceleration_error" in results()["runs"][0]["own_best"]["mean"]
    assert "a Gaussian filter over the frames" in capsys.readouterr().out

    run(config(data={"class_path": "some_lifters.Poses"}, host="TupleLifter", unit="mm", seeds=[3],
               seal_model="some_lifters.NamedTupleLifter"))  # fmt: skip
    content = results("out-2")
    assert content["runs"][0]["validation"] == {}
    finish = content["runs"][0]["finish"]
    assert [name for name in finish if finish[name]] == ["mean_lengths", "symmetrise"]
    said = "there are no validation data to choose by, so it is the same for all: mean lengths of the training, symm"
    assert said in capsys.readouterr().out


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
    for name, part in (("as_predicted", "scores"), ("own_best", "own_best")):
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
        assert f"{described} {'as predicted' if part == 'scores' else 'after each method'}" in printed
    assert "95 % intervals are over 2 seeds, 2 skeletons of synthetic." in printed


def test_energy_that_does_not_pull_never_acted(config, capsys):
    run(config(seal={"weight": 0.0}))
    content = results()
    assert scores(content, "host") == scores(content, "SEAL")
    assert [run["own_best"] for run in content["runs"][::2]] == [run["own_best"] for run in content["runs"][1::2]]
    assert [run["weights"] for run in content["runs"][::2]] == [run["weights"] for run in content["runs"][1::2]]
    assert content["summary"]["mean"]["mpjpe"]["difference"] == 0
    for verdict in content["verdict"].values():
        assert [verdict[key] for key in ("verdict", "change", "low", "high")] == ["never acted", 0, 0, 0]
    printed = capsys.readouterr().out
    assert "\nSEAL NEVER ACTED: with every seed the weights of host and SEAL are the same bit for bit." in printed
    assert "evidence" not in printed


def test_skeleton_without_paired_bones(config, capsys, drawn):
    parents = [-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    skeleton = {"names": [f"joint_{i}" for i in range(17)], "parents": parents}
    with pytest.warns(UserWarning, match="The skeleton has no paired bones: AsymmetryError will be NaN"):
        run(config(seal={"skeleton": skeleton}))
    content = results()
    assert [verdict["errors"] for verdict in content["verdict"].values()] == [["MPJPE", "BSLE"]] * 2
    assert all(verdict["low"] < verdict["high"] for verdict in content["verdict"].values())
    assert content["summary_own_best"]["mean"]["asymmetry_error"]["host_mean"] is None
    assert "asymmetry error after each method's own best, asymmetry error as predicted." in capsys.readouterr().out


def test_energy_that_pulls_changes_scores(config):
    run(config(seeds=[3], seal={"weight": 1.0}))
    content = results()
    assert scores(content, "host")[3]["mean"]["mpjpe"] != scores(content, "SEAL")[3]["mean"]["mpjpe"]
    assert scores(content, "host")[3]["mean"]["truth_limb_symmetry_error"] == pytest.approx(
        scores(content, "SEAL")[3]["mean"]["truth_limb_symmetry_error"]
    )
