"""The accuracy study: its statistics against references, and a whole toy study from training to report."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.transform import Rotation

from benchmarks.accuracy.__main__ import main
from benchmarks.accuracy.controls import ShuffledObjective
from benchmarks.accuracy.errors import EvaluationSet, Rescaling, angle_error, pose_errors, rescale
from benchmarks.accuracy.few_labels import FewLabelsLifter
from benchmarks.accuracy.lengths import RescaledErrors
from benchmarks.accuracy.nearest import nearest_distances, thirds
from benchmarks.accuracy.other_domain import OtherDomainLifter, reprojection_error
from benchmarks.accuracy.outcome import PRIMARY, Outcome, Rescaled
from benchmarks.accuracy.published import METRES, BatchMarginObjective, PublishedLifter, PublishedMLPLossNet
from benchmarks.accuracy.self_training import SelfTrainedLifter, _falling, _least
from benchmarks.accuracy.statistics import ClipSums, bootstrap, holm, interval, p_value
from benchmarks.accuracy.study import Study
from benchmarks.accuracy.tables import strongest_rival
from benchmarks.accuracy.tail import PoseErrors
from benchmarks.accuracy.training import fit, mirrored, predict, train
from seal_lightning import SealConfig
from seal_lightning.objectives import LogisticObjective
from seal_lightning.skeleton import get_skeleton

STUDIES = Path(__file__).parents[2] / "benchmarks" / "studies"
SKELETON = get_skeleton("h36m17")
METHODS = {
    "host": None,
    "SEAL": {
        "family": "learned-informed",
        "seal": {
            "objective": {"class_path": "seal_lightning.objectives.RegressionObjective"},
            "negatives": [{"class_path": "seal_lightning.negatives.PredictionNegatives"}],
            "weight": {"ratio": 0.2},
            "warmup_steps": 2,
        },
    },
    "bone length": {
        "family": "explicit",
        "constraint": "seal_lightning.constraints.BoneLengthConstraint",
        "weight": 0.3,
    },
    "pose PCA": {"family": "linear", "constraint": "seal_lightning.constraints.PosePCAConstraint", "weight": 0.3},
    "longer": {"steps": 12},
    "longer SEAL": {"family": "learned-informed", "steps": 12, "against": "longer", "seal": {}},
    "frozen": {"family": "learned-informed", "prior": "SEAL", "seal": {"weight": {"ratio": 0.2}}},
}


@pytest.fixture
def study(tmp_path):
    synthetic = {"subjects": 6, "clips_per_subject": 2, "frames": 12}
    plain = {
        "data": {
            "class_path": "seal_lightning.data.MocapDataModule",
            "init_args": {"batch_size": 16, "samples_per_epoch": 96, "synthetic": synthetic, "eval_frame_step": 4},
        },
        "host": {"class_path": "examples.plain_lifter.LitLifter", "init_args": {"hidden": 16}},
        "steps": 8,
        "seeds": [0, 1],
        "methods": METHODS,
    }
    path = tmp_path / "toy.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


def test_a_study_is_run_resumed_and_reported(study, tmp_path, capsys):
    folder = tmp_path / "runs"
    main(["run", str(study), "--output", str(folder), "--methods", "host", "SEAL", "--seeds", "0"])
    main(["run", str(study), "--output", str(folder)])
    records = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert [(record["method"], record["seed"]) for record in records] == [
        ("host", 0),
        ("SEAL", 0),
        *((name, 0) for name in list(METHODS)[2:]),
        *((name, 1) for name in METHODS),
    ]
    host, seal = records[:2]
    assert host["steps"] == 8
    assert host["curve"][-1][0] == 8
    assert "seal/force_ratio" in seal["logged"]
    assert host["knowledge"] is None
    assert len(seal["knowledge"]["energy_0"]["noise"]["auroc"]) == 4
    assert list(seal["keypoints"]["energy_0"]) == ["their own", "zero", "of another pose"]
    assert seal["keypoints"]["energy_0"]["zero"] != seal["keypoints"]["energy_0"]["their own"]
    assert {"torch", "lightning", "seal_lightning"} <= host["versions"].keys()

    capsys.readouterr()
    main(["report", str(study), "--output", str(folder)])
    text = (folder / "toy_val.md").read_text()
    assert capsys.readouterr().out.strip() == text.strip()
    assert (folder / "toy_val.png").read_bytes().startswith(b"\x89PNG")
    tables = [table.splitlines()[2:] for table in text.split("\n\n")[2::2]]
    primary, rival, by_frame, _after, relative, tail, _tail_after, bins, apart, absolute, knowledge, keypoints = tables
    others = [f"| {name}" for name in list(METHODS)[1:]]
    for table in (primary, by_frame, relative, tail, bins):
        assert [row.split(" | ")[0] for row in table] == others
    assert [row.split(" | ")[0] for row in rival] == ["| SEAL", "| longer SEAL", "| frozen"]
    assert {row.split(" | ")[3] for row in rival} <= {"host", "bone length", "pose PCA", "longer"}
    assert [row.split(" | ")[0] for row in knowledge] == ["| SEAL", "| longer SEAL", "| frozen"]
    assert [row.split(" | ")[0] for row in keypoints] == ["| SEAL", "| longer SEAL", "| frozen"]
    assert [row.split(" | ")[0] for row in absolute] == [f"| {name}" for name in METHODS]
    assert [row.split(" | ")[3] for row in apart] == ["synthetic"] * (len(METHODS) - 1)
    assert not any("clip mean" in row or "filter" in row for row in by_frame)
    curve = np.mean([record["curve"] for record in records if record["method"] == "host"], axis=0)[:, 1]
    gain = 100 * (curve[-1] / np.interp(0.8 * 8, range(1, 9), curve) - 1)
    assert absolute[0].split(" | ")[-2] == f"{gain:+.1f}"
    assert not (folder / "toy_test.md").exists()

    # Runs of before have no averaged predictions: the report then chooses among the rest.
    for path in (folder / "predictions").glob("*.npz"):
        np.savez(path, **{name: poses for name, poses in np.load(path).items() if not name.endswith("_flips")})
    main(["report", str(study), "--output", str(folder), "--methods", "bone length"])
    old = (folder / "toy_val.md").read_text()
    assert "flips +" not in old
    assert old.count("| - |") == 2


def test_the_first_batches_are_the_same_for_all_methods(study, tmp_path):
    """Runs with one seed start the same: with a weight of zero, SEAL predicts exactly what the host predicts."""
    plain = yaml.safe_load(study.read_text())
    plain["methods"] = {"host": None, "weight 0": {"seal": {"weight": 0.0}}}
    plain["methods"]["constraint 0"] = {**METHODS["bone length"], "weight": 0.0}
    study.write_text(yaml.safe_dump(plain, sort_keys=False))
    main(["run", str(study), "--output", str(tmp_path), "--seeds", "1"])
    loaded = Study.read(study)
    host, *others = [np.load(tmp_path / "predictions" / f"{loaded.run_key(name, 1)}.npz") for name in plain["methods"]]
    for other in others:
        np.testing.assert_array_equal(host["val"], other["val"])
        np.testing.assert_array_equal(host["test"], other["test"])


def test_flip_averaging():
    """Averaged with its mirrored self, a host that looks at one side alone becomes symmetric; a symmetric one stays."""
    partners = list(SKELETON.partners)
    keypoints = torch.randn(6, 17, 2)
    flipped = keypoints[:, partners] * torch.tensor([-1.0, 1.0])
    assert torch.equal(mirrored(keypoints, SKELETON), flipped)
    assert torch.equal(mirrored(flipped, SKELETON), keypoints)

    def symmetric(keypoints_2d):
        return torch.cat((keypoints_2d, keypoints_2d[..., 1:] ** 2), dim=-1)

    def lopsided(keypoints_2d):
        return symmetric(keypoints_2d) + torch.tensor([0.5, 0.0, 0.0])

    loader = [{"keypoints_2d": half} for half in keypoints.split(3)]
    for host in (symmetric, lopsided):
        plain, averaged = predict(host, loader, SKELETON)
        np.testing.assert_array_equal(plain, host(keypoints).numpy())
        np.testing.assert_allclose(averaged, symmetric(keypoints).numpy(), atol=1e-6)


def test_a_prior_is_trained_beforehand_and_then_frozen(study, tmp_path):
    """The loss-nets of a prior are those of the method that it names, and training does not change them."""
    loaded = Study.read(study)
    plain = yaml.safe_load(study.read_text())
    plain["methods"]["other prior"] = {**METHODS["frozen"], "prior": "longer SEAL"}
    study.write_text(yaml.safe_dump(plain, sort_keys=False))
    assert Study.read(study).run_key("frozen", 0) == loaded.run_key("frozen", 0)
    assert Study.read(study).run_key("other prior", 0) != loaded.run_key("frozen", 0)
    prior = fit(loaded, "SEAL", 0, "cpu").model.seal.state_dict()
    train(loaded, "frozen", 0, tmp_path / "poses.npz")
    kept = torch.load(tmp_path / "poses.prior.pt", weights_only=True)
    assert all(torch.equal(kept[name], value) for name, value in prior.items() if isinstance(value, torch.Tensor))
    frozen = fit(loaded, "frozen", 0, "cpu", tmp_path / "poses.prior.pt").model.seal
    assert all(torch.equal(value, frozen.loss_nets.state_dict()[name]) for name, value in _nets(prior).items())


def _nets(state):
    return {name.removeprefix("loss_nets."): value for name, value in state.items() if name.startswith("loss_nets.")}


def test_few_labels(study, tmp_path, monkeypatch):
    """All ways to use samples without a label run, and all give a different result; students share a teacher."""
    plain = yaml.safe_load(study.read_text())
    few, domain = "benchmarks.accuracy.few_labels", "benchmarks.accuracy.other_domain.OtherDomainLifter"
    plain["host"] = {"class_path": f"{few}.FewLabelsLifter", "init_args": {"hidden": 16, "labelled": ["synthetic/y01"]}}
    plain["data"]["init_args"]["batch_size"] = 48  # each batch needs two labelled samples
    plain["methods"] = {
        "seen": None,
        "ignored": {"host": {"unlabelled": "ignored"}},
        "teacher": {"host": {"unlabelled": "teacher"}},
        "SEAL": {"seal": {}, "seal_class": f"{few}.SealFewLabelsLifter"},
        "symmetry": {"host": {"structure": "symmetry"}},
        "bones": {"host": {"structure": "bones"}},
        "fold": {"host": {"labelled": ["synthetic/y02"]}},
        **{
            keep: {
                "host_class": "benchmarks.accuracy.self_training.SelfTrainedLifter",
                "host": {"keep": keep},
                "teachers": ["seen", "fold"],
            }
            for keep in ("all", "random", "bones half", "estimate", "estimate, 80 %", "weights of joints")
        },
        "student with SEAL": {
            "host_class": "benchmarks.accuracy.self_training.SelfTrainedLifter",
            "seal_class": "benchmarks.accuracy.self_training.SealSelfTrainedLifter",
            "seal": {},
            "teachers": ["seen"],
        },
        "target's statistics": {"host_class": domain, "host": {"norms": "afterwards"}},
        "apart": {"host_class": domain, "host": {"loss": "estimate"}, "teachers": ["fold"]},
        "apart, SEAL": {
            "host_class": domain,
            "seal_class": "benchmarks.accuracy.other_domain.SealOtherDomainLifter",
            "seal": {},
        },
    }
    plain["methods"]["bones half"]["host"]["keep"] = "bones"
    monkeypatch.setattr("benchmarks.accuracy.self_training.CRITIC_STEPS", 2)
    study.write_text(yaml.safe_dump(plain, sort_keys=False))
    main(["run", str(study), "--output", str(tmp_path), "--seeds", "0"])
    records = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    last = {record["method"]: record["curve"][-1][1] for record in records}
    assert last.pop("target's statistics") == pytest.approx(last["ignored"])  # it differs where it is tested alone
    assert len(set(last.values())) == len(plain["methods"]) - 1
    assert len(list((tmp_path / "predictions").glob("*.teacher.pt"))) == 2
    assert all(np.isfinite(record["curve"]).all() for record in records)


@pytest.mark.parametrize(
    "how", ["ignored", "seen", "teacher", "symmetry", "bones", "student", "afterwards", "reprojection"]
)
def test_targets_without_a_label_are_never_read(how):
    config = {"labelled": ["a/1"], "hidden": 8, "dropout": 0.0}
    if how == "student":
        model = SelfTrainedLifter(keep="bones", **config)
        model.learn_from([{"net": copy.deepcopy(model.net.state_dict()), "labelled": ["a/1"]}])
    elif how == "afterwards":
        model = OtherDomainLifter(norms=how, **config)
    elif how == "reprojection":
        model = OtherDomainLifter(loss=how, **config)
    else:
        model = FewLabelsLifter(**{"structure" if how in ("symmetry", "bones") else "unlabelled": how}, **config)
    model._trainer = SimpleNamespace(datamodule=SimpleNamespace(group_names=["a/1", "a/2"]))
    model.log = lambda *args: None
    batch = {"keypoints_2d": torch.randn(6, 17, 2), "target": torch.randn(6, 17, 3), "group": torch.arange(6) % 2}
    first = model.training_step(batch, 0)
    batch["target"][batch["group"] == 1] = torch.nan
    again = model.training_step(batch, 0)
    assert torch.isfinite(again)
    again.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.net.parameters())
    if how != "teacher":  # the teacher has moved on since the first call
        torch.testing.assert_close(again, first)
    model.labelled = ["a/3"]
    with pytest.raises(ValueError, match=r"`labelled` to name skeletons of the data, .*'a/1'.* but got \['a/3'\]"):
        model.training_step(batch, 0)


def test_structural_losses_act_on_all_poses():
    """Against a loop: symmetry of every pose, and lengths against the means of the people with labels."""
    prediction, target = torch.randn(2, 4, 17, 3, dtype=torch.float64)
    rows = torch.tensor([True, False, True, False])
    sizes, known = lengths(prediction), lengths(target)[[0, 2]].mean(0)
    bones = FewLabelsLifter(labelled=["a/1"], structure="bones", hidden=8)
    np.testing.assert_allclose(bones.structural(prediction, target, rows), np.abs(sizes - known).mean(), rtol=1e-6)
    symmetry = FewLabelsLifter(labelled=["a/1"], structure="symmetry", hidden=8)
    expected = np.mean([np.abs(sizes[:, left] - sizes[:, right]) for left, right in SKELETON.paired_bones])
    np.testing.assert_allclose(symmetry.structural(prediction, target, rows), expected, rtol=1e-6)


def test_what_is_learned_from_by_its_estimated_error():
    errors = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 0.5])
    members = torch.tensor([1, 1, 1, 1, 1, 0]).bool()
    assert _least(errors, members).tolist() == [False, True, False, True, True, False]
    assert _least(errors, members, 0.8).tolist() == [False, True, True, True, True, False]
    assert not _least(errors, ~members & members).any()
    weights = _falling(torch.tensor([[1.0, 2.0], [3.0, 2.0], [20.0, 2.0]]), torch.tensor([True, True, False]))
    torch.testing.assert_close(weights, torch.tensor([[2.0, 1.0], [2 / 3, 1.0], [1 / 3, 1.0]]))


def test_each_domain_has_its_own_statistics_and_the_same_weights():
    model = OtherDomainLifter(labelled=["a/1"], hidden=8, dropout=0.0)
    assert {id(p) for p in model.net.parameters()} == {id(p) for p in model.target_net.parameters()}
    keypoints = torch.randn(40, 17, 2)
    keypoints[1::2] += 3.0
    rows = torch.arange(40) % 2 == 0
    for _ in range(100):  # the running statistics settle
        model(keypoints, rows)
    inputs = [net.widen[1].running_mean for net in (model.net, model.target_net)]
    for mean, domain in zip(inputs, (rows, ~rows), strict=True):
        torch.testing.assert_close(mean, model.net.widen[0](keypoints[domain].flatten(1)).mean(0), atol=1e-3, rtol=1e-3)
    model.eval()
    joint = model(keypoints, rows)
    torch.testing.assert_close(joint[rows], model(keypoints[rows]))
    with model.in_domain("test"):
        torch.testing.assert_close(joint[~rows], model(keypoints[~rows]))
    with model.in_domain("val"):
        torch.testing.assert_close(joint[rows], model(keypoints[rows]))


def test_reprojection_fits_scale_and_place_by_least_squares():
    generator = np.random.default_rng(0)
    pose, seen = generator.normal(size=(17, 3)), generator.normal(size=(17, 2))
    design = np.zeros((34, 3))  # scale, and the two entries of the translation
    design[:, 0] = pose[:, :2].ravel()
    design[0::2, 1] = design[1::2, 2] = 1
    fit, *_ = np.linalg.lstsq(design, seen.ravel(), rcond=None)
    left = np.linalg.norm((design @ fit - seen.ravel()).reshape(17, 2), axis=1).mean()
    spread = [np.linalg.norm(points - points.mean(0)) for points in (pose[:, :2], seen)]

    def error(pose, seen):
        return float(reprojection_error(torch.tensor(pose)[None], torch.tensor(seen)[None]))

    assert error(pose, seen) == pytest.approx(left * spread[0] / spread[1])
    assert error(pose, 0.1 * seen + 5) == pytest.approx(error(pose, seen))  # wherever the camera stands
    assert error(2 * pose, seen) == pytest.approx(2 * error(pose, seen))
    assert error(pose, 0.3 * pose[:, :2] - 1) == pytest.approx(0, abs=1e-12)


def test_the_published_parts():
    """One margin for the whole batch in metres; no pose depends on another; half of the samples mirrored."""
    margin = BatchMarginObjective()(torch.zeros(2), torch.zeros(1, 2), torch.tensor([[1.0, 3.0]]))
    torch.testing.assert_close(margin, torch.full((2,), 2 * METRES))
    net = PublishedMLPLossNet("h36m17", hidden=8).eval()
    keypoints, pose = torch.randn(5, 17, 2), torch.randn(5, 17, 3)
    torch.testing.assert_close(net(keypoints, pose)[3:4], net(keypoints[3:4], pose[3:4]))
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert len({net.train()(keypoints, pose)[0].item() for _ in range(5)}) > 1  # dropout

    torch.manual_seed(0)
    model, seen = PublishedLifter(task="mse", hidden=8, dropout=0.0), []
    model.log = lambda *args: None
    model.net.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    loss = model.training_step({"keypoints_2d": keypoints, "target": pose}, 0)
    flipped = (seen[0] != keypoints).flatten(1).any(1)
    assert 0 < flipped.sum() < 5
    truth = torch.where(flipped[:, None, None], mirrored(pose, SKELETON), pose)
    torch.testing.assert_close(loss, (model(seen[0]) - truth).square().mean())


def test_a_run_is_known_by_what_changes_its_outcome(study):
    loaded = Study.read(study)
    keys = {loaded.run_key(name, seed) for name in METHODS for seed in (0, 1)}
    assert len(keys) == 2 * len(METHODS)
    plain = yaml.safe_load(study.read_text())
    plain["data"]["init_args"]["paths"] = ["a.npz"]
    study.write_text(yaml.safe_dump(plain))
    assert Study.read(study, "here").run_key("host", 0) == Study.read(study, "there").run_key("host", 0)
    assert Study.read(study, "here").run_key("host", 0) != loaded.run_key("host", 0)


def test_unknown_fields_and_methods(study, capsys):
    with pytest.raises(SystemExit):
        main(["run", str(study), "--methods", "none"])
    assert "expected `--methods` to be among ['host', " in capsys.readouterr().err
    study.write_text(study.read_text() + "colour: red\n")
    with pytest.raises(ValueError, match=r"toy.yaml to hold the fields of a study, but got: .*colour"):
        Study.read(study)


def evaluation_set(poses=12):
    torch.manual_seed(0)
    group = torch.arange(poses) % 2
    clip = torch.arange(poses) // 3
    names = ["a/1", "a/2"]
    return EvaluationSet(torch.randn(poses, 17, 3), group, clip, clip, names, torch.rand(16) + 0.1, SKELETON)


def lengths(poses):
    return np.array([[np.linalg.norm(pose[c] - pose[p]) for c, p in SKELETON.bones] for pose in poses.numpy()])


def test_rescaling():
    data = evaluation_set()
    pose = torch.randn_like(data.target)
    shrunk = rescale(pose, Rescaling(alpha=0.3), data)
    np.testing.assert_allclose(lengths(shrunk), 0.7 * lengths(pose) + 0.3 * data.mean_lengths.numpy(), rtol=1e-4)
    still = rescale(data.target[data.view * 3], Rescaling(sigma=1.0), data)  # the same pose in all frames of a view
    torch.testing.assert_close(still, data.target[data.view * 3])
    weights = np.exp(-0.5 * np.arange(3) ** 2 / 0.5**2)
    middle = (weights[[1, 0, 1], None, None] * pose[3:6].numpy()).sum(0) / weights[[1, 0, 1]].sum()
    np.testing.assert_allclose(rescale(pose, Rescaling(sigma=0.5), data)[4], middle, rtol=1e-4, atol=1e-5)
    steady = rescale(pose, Rescaling(clip_mean=True), data)
    by_clip = lengths(pose).reshape(4, 3, 16).mean(1).repeat(3, axis=0)
    np.testing.assert_allclose(lengths(steady), by_clip, rtol=1e-4)
    both = lengths(rescale(pose, Rescaling(0.3, symmetrise=True, clip_mean=True), data))
    pairs = np.array(SKELETON.paired_bones)
    np.testing.assert_allclose(both[:, pairs[:, 0]], both[:, pairs[:, 1]], rtol=1e-4)
    for other in (shrunk, steady):
        torch.testing.assert_close(angle_error(other, data.target, SKELETON), angle_error(pose, data.target, SKELETON))
    assert torch.equal(rescale(pose, Rescaling(), data), pose)
    assert str(Rescaling()) == "as predicted"
    assert str(Rescaling(0.3, True, True, 2.0, True)) == "flips + filter 2 + clip mean + shrink 0.3 + symmetrise"


def test_errors_after_a_rescaling_without_the_rescaled_poses():
    pose, target = torch.randn(2, 30, 17, 3)
    data = SimpleNamespace(target=target, skeleton=SKELETON, mean_lengths=torch.rand(16) + 0.1)
    fast = RescaledErrors(pose, data)
    for alpha, both in ((0.0, False), (0.3, False), (0.7, True), (1.0, True)):
        errors = pose_errors(rescale(pose, Rescaling(alpha, both), data), data, PRIMARY)
        torch.testing.assert_close(fast.of(alpha, both), torch.stack(list(errors.values())), rtol=1e-4, atol=1e-3)


def test_errors_of_the_truth_and_of_a_turned_bone():
    data = evaluation_set()
    errors = pose_errors(data.target, data)
    for name in ("MPJPE", "bone angle", "asymmetry", "BSLE", "BSLE, best scale", "LLE"):
        assert errors[name].abs().max() < 1e-2, name
    no_hips = [(a, b) for a, b in SKELETON.paired_bones if "Hip" not in SKELETON.names[SKELETON.bones[a][0]]]
    long = lengths(data.target)
    expected = [100 * np.mean([abs(row[a] - row[b]) / (row[a] + row[b]) for a, b in no_hips]) for row in long]
    np.testing.assert_allclose(errors["LSE, no hips"], expected, rtol=1e-4)
    usual = np.stack([np.quantile(long[data.group == g], 0.5, axis=0, method="lower") for g in (0, 1)])[data.group]
    np.testing.assert_allclose(
        errors["BSLE, subject's median"], 100 * (np.abs(long - usual) / usual).mean(1), rtol=1e-4
    )

    pose = torch.zeros(1, 17, 3).index_fill(2, torch.tensor(0), 0.0) + torch.arange(17.0)[:, None]
    turned = pose.clone()
    turned[0, 3] = pose[0, 2] + torch.tensor([1.0, -1.0, 0.0])  # at right angles to its old direction
    torch.testing.assert_close(angle_error(turned, pose, SKELETON), torch.tensor([90.0 / 16]))


def test_means_are_over_frames_then_skeletons_then_datasets():
    names = ["a/1", "a/2", "b/1"]
    errors = np.array([[1.0, 3.0, 5.0, 7.0, 100.0]])
    sums = ClipSums.of(errors, np.array([0, 0, 1, 2, 3]), np.array([0, 0, 0, 1, 2]), names)
    assert sums.mean() == pytest.approx(((9 / 3 + 7) / 2 + 100) / 2)


def made_outcome(score, runs):
    errors = ClipSums.of(np.zeros((3, len(runs), 1)), np.zeros(1, int), np.zeros(1, int), ["a/b"])
    rescaled = Rescaled(Rescaling(), errors, score)
    tail = PoseErrors.of(np.zeros((2, len(runs), 1)), np.zeros(1, int), np.zeros(1, int), ["a/b"])
    return Outcome(runs, errors, rescaled, rescaled, tail)


def test_the_strongest_rival_has_no_learned_loss_and_as_many_seeds(study):
    both, first = [{"seed": 0}, {"seed": 1}], [{"seed": 0}]
    scores = {"host": 5.0, "SEAL": 1.0, "bone length": 3.0, "pose PCA": 2.0, "longer": 1.0, "longer SEAL": 1.0}
    loaded = Study.read(study)
    outcomes = {name: made_outcome(score, both) for name, score in scores.items()}
    assert strongest_rival(loaded, outcomes, "SEAL") == "pose PCA"
    assert strongest_rival(loaded, outcomes, "longer SEAL") == "longer"
    outcomes["pose PCA"] = made_outcome(2.0, first)
    assert strongest_rival(loaded, outcomes, "SEAL") == "bone length"
    del outcomes["bone length"], outcomes["pose PCA"]
    assert strongest_rival(loaded, outcomes, "SEAL") == "host"


def test_the_tail_is_that_of_the_poses():
    generator = np.random.default_rng(0)
    errors = generator.exponential(size=(2, 1, 500))
    clip, group = np.arange(500) % 25, (np.arange(500) % 25) // 15
    measured = PoseErrors.of(errors, clip, group, ["a/1", "a/2"])
    mine = errors[1, 0][group == 0]
    ordered = np.sort(mine)
    # 300 poses: the worst 5 % are 15 of them.
    expected = [mine.mean(), *np.quantile(mine, [0.95, 0.99], method="inverted_cdf"), ordered[-15:].mean()]
    np.testing.assert_allclose(measured.measure(0, np.ones((1, 15)))[0, 1, :, 0], expected)
    times = generator.multinomial(15, np.full(15, 1 / 15), size=1).astype(float)
    again = np.repeat(mine, times[0].astype(int)[clip[group == 0]])
    drawn = measured.measure(0, times)[0, 1, :, 0]
    np.testing.assert_allclose(drawn[:2], [again.mean(), np.quantile(again, 0.95, method="inverted_cdf")])
    assert measured.mean().shape == (2, 4, 1)
    assert bootstrap(measured, replicates=50).shape == (50, 2, 4)


def test_distance_to_the_nearest_training_pose():
    torch.manual_seed(0)
    training = torch.randn(40, 17, 3)
    turn = torch.from_numpy(Rotation.random(random_state=0).as_matrix()).float()
    same = 2 * training[[3, 8]] @ turn + 1.0
    assert nearest_distances(same, training).max() < 0.1
    farther = training[[3, 3]] + torch.tensor([0.01, 0.02])[:, None, None] * torch.randn(17, 3)
    near, far = nearest_distances(farther, training)
    assert 1 < near < 20
    assert 1.8 < far / near < 2.2
    places = thirds(torch.arange(90.0).flip(0))
    assert np.bincount(places).tolist() == [30, 30, 30]
    assert places[0] == 2


def test_the_curve_of_runs_that_were_validated_at_other_steps():
    often = {"curve": [[2, 8.0], [4, 6.0], [6, 5.0], [8, 4.0]]}
    seldom = {"curve": [[4, 8.0], [8, 2.0]]}
    steps, values = made_outcome(1.0, [often, seldom]).curve
    assert steps.tolist() == [4, 8]
    assert values.tolist() == [7, 3]


def test_bootstrap_spreads_like_the_mean_of_clips_and_seeds():
    generator = np.random.default_rng(0)
    clips, seeds = 60, 8
    values = generator.normal(10, 2, (1, clips)) + generator.normal(0, 1, (seeds, 1))
    sums = ClipSums.of(values, np.arange(clips), np.zeros(clips, int), ["a/1"])
    drawn = bootstrap(sums, replicates=4000)
    assert drawn.shape == (4000,)
    by_clip, by_seed = values.mean(0), values.mean(1)
    expected = np.sqrt(by_clip.var() / clips + by_seed.var() / seeds)
    assert drawn.std() == pytest.approx(expected, rel=0.1)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.1)

    two = ClipSums.of(np.stack([values, values + 1]), np.arange(clips), np.zeros(clips, int), ["a/1"])
    difference = bootstrap(two)[:, 1] - bootstrap(two)[:, 0]
    np.testing.assert_allclose(difference, 1)  # paired: what both methods share drops out


def test_bootstrap_draws_skeletons():
    values = np.array([[0.0] * 5 + [10.0] * 5])
    sums = ClipSums.of(values, np.arange(10), np.repeat([0, 1], 5), ["a/1", "a/2"])
    drawn = bootstrap(sums, replicates=4000)
    shares = [np.mean(np.isclose(drawn, value)) for value in (0, 5, 10)]
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.25], atol=0.03)


def test_interval_and_p_value():
    replicates = np.linspace(-0.05, 0.95, 1001)
    assert interval(replicates) == pytest.approx((-0.025, 0.925))
    assert p_value(replicates) == pytest.approx(2 * 51 / 1001, abs=1e-3)
    assert p_value(np.ones(500)) == 2 / 500
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == {"a": 0.03, "c": 0.06, "b": 0.06}


def test_shuffled_objective_swaps_every_other_sample():
    true, negative = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])
    expected = LogisticObjective()(torch.tensor([1.0, 4.0]), torch.tensor([[3.0, 2.0], [5.0, 6.0]]), torch.ones(2, 2))
    assert torch.equal(ShuffledObjective()(true, negative, torch.ones(2, 2)), expected)


@pytest.mark.parametrize(
    "path",
    # critic.yaml is read by `benchmarks.error_estimate`.
    sorted(path for path in STUDIES.glob("*.yaml") if path.stem != "critic"),
    ids=lambda path: path.stem,
)
def test_studies_can_be_read(path):
    study = Study.read(path)
    assert {study.reference(name) for name in study.methods} <= study.methods.keys()
    for fields in study.methods.values():
        if fields.seal is not None:
            defaults = {} if "energies" in fields.seal else SealConfig().plain()
            SealConfig.of({**defaults, **fields.seal})
