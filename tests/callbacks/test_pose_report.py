"""The report on a test run: its numbers against loops, its files, and what it refuses."""

import csv
import json
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch

from seal_lightning import SealBatch, SealConfig, SealMixin
from seal_lightning.callbacks._label_free import LabelFreeScores
from seal_lightning.callbacks.pose_report import PoseReport
from seal_lightning.data import CameraRig, DetectorNoise, MocapDataModule, SyntheticMocap
from seal_lightning.evaluation.groups import macro_average
from seal_lightning.evaluation.scoring import PoseScorer
from seal_lightning.functional import bone_lengths, limb_symmetry_error
from seal_lightning.functional.label_free import reprojection_error
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")
JOINTS = ["Hip", "RHip", "RKnee", "LHip", "LKnee", "Spine"]


class Plain(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(51, 51)

    def training_step(self, batch, index):
        return (self(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def forward(self, keypoints):
        return self.net(keypoints.flatten(-2)).unflatten(-1, (17, 3))

    def test_step(self, batch, index):
        self.log("own", (self(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean())

    validation_step = test_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Seal(SealMixin, Plain):
    pass


def data(**options):
    motion = SyntheticMocap(subjects=12, clips_per_subject=1, frames=8)
    return MocapDataModule(**{"synthetic": motion, "noise": DetectorNoise(), "confidence": True} | options)


def run(model, report, tmp_path, datamodule=None, stage="test", **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "barebones": False}
    options = {"accelerator": "cpu", "default_root_dir": tmp_path, "enable_model_summary": False} | quiet | options
    trainer = L.Trainer(callbacks=[report], **options)
    (logged,) = getattr(trainer, stage)(model, datamodule or data(batch_size=10), verbose=False)
    return logged


def seeded(cls, **options):
    torch.manual_seed(0)
    return cls(**options)


def pooled(model, datamodule):
    """Everything of the test side, by group."""
    dataset = datamodule.dataset("test")
    batch = dataset.__getitems__(list(range(len(dataset))))
    with torch.no_grad():
        prediction = model(batch["keypoints_2d"])
    for index in batch["group"].unique().tolist():
        rows = batch["group"] == index
        yield datamodule.group_names[index], batch["keypoints_2d"][rows], prediction[rows], batch["target"][rows]


def test_numbers_are_those_of_the_poses(tmp_path):
    model, report, datamodule = seeded(Plain), PoseReport(), data(batch_size=10)
    logged = run(model, report, tmp_path, datamodule)
    found = report.scores
    assert list(found["errors"]) == ["synthetic/y11", "synthetic/y12", "synthetic", "mean"]
    means = []
    for name, keypoints, prediction, target in pooled(model, datamodule):
        p, t = (1000 * x.double().numpy() for x in (prediction, target))
        distance = np.sqrt((((p - p[:, :1]) - (t - t[:, :1])) ** 2).sum(-1)).mean(-1)
        errors, free = found["errors"][name], found["label_free"][name]
        assert errors["mpjpe"] == pytest.approx(distance.mean(), rel=1e-5)
        means.append(distance.mean())
        for percent in (90, 95, 99):
            assert errors[f"mpjpe_p{percent}"] == pytest.approx(np.percentile(distance, percent), rel=0.05)
        assert errors["mpjpe_cvar95"] >= errors["mpjpe_p95"]
        for prefix, pose in (("", prediction), ("truth_", target)):
            lengths = bone_lengths(pose, H36M).double().numpy()
            variation = (100 * lengths.std(0) / lengths.mean(0)).mean()
            assert free[f"{prefix}bone_length_variation"] == pytest.approx(variation, rel=1e-4, abs=1e-4)
            symmetry = limb_symmetry_error(pose, H36M).item()
            assert free[f"{prefix}limb_symmetry_error"] == pytest.approx(symmetry, rel=1e-4)
            away = reprojection_error(pose, keypoints).item()
            assert free[f"{prefix}reprojection_error"] == pytest.approx(away, rel=1e-4)
    assert found["errors"]["mean"]["mpjpe"] == pytest.approx(np.mean(means), rel=1e-5)
    assert logged["report/mpjpe"] == pytest.approx(np.mean(means), rel=1e-5)
    assert logged["report/synthetic/reprojection_error"] == pytest.approx(
        found["label_free"]["synthetic"]["reprojection_error"], rel=1e-5
    )
    assert "own" in logged


def test_files_and_table(tmp_path, capsys):
    report = PoseReport(output=str(tmp_path / "new"))
    model = seeded(Plain)
    for _ in range(2):
        run(model, report, tmp_path)
    run(model, report, tmp_path, stage="validate")
    names = {path.name for path in (tmp_path / "new").iterdir()}
    stems = ("pose_report_test", "pose_report_test-2", "pose_report_validate")
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("json", "csv")}
    content = json.loads((tmp_path / "new" / "pose_report_validate.json").read_text())
    assert (content["errors"], content["label_free"]) == (report.scores["errors"], report.scores["label_free"])
    assert content["joints"] is None
    with (tmp_path / "new" / "pose_report_validate.csv").open() as file:
        rows = {(row["kind"], row["scope"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
    assert rows["errors", "mean", "mpjpe_p99"] == report.scores["errors"]["mean"]["mpjpe_p99"]
    assert len(rows) == sum(len(values) for kinds in report.scores.values() for values in kinds.values())
    printed = capsys.readouterr().out
    for word in ("MPJPE |", "p90", "p95", "p99", "CVaR95", "truth's reprojection %", "synthetic/y11", "**mean**"):
        assert word in printed
    assert f"{report.scores['errors']['mean']['mpjpe_cvar95']:.1f}" in printed


def test_a_seal_model_scores_like_its_plain_host(tmp_path):
    """One reads its step itself, the other is watched; both are the same net."""
    reports = PoseReport(), PoseReport()
    plain, seal = seeded(Plain), seeded(Plain)
    subclass = Seal(seal=SealConfig(skeleton="h36m17"))
    subclass.load_state_dict(seal.state_dict())
    forward = plain.forward
    run(plain, reports[0], tmp_path)
    run(subclass, reports[1], tmp_path)
    assert reports[0].scores == reports[1].scores
    assert plain.forward == forward
    assert not plain.net._forward_hooks


def test_nothing_is_reported_in_training(tmp_path, capsys):
    report = PoseReport()
    trainer = L.Trainer(
        max_epochs=1,
        callbacks=[report],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(seeded(Plain), data())
    assert report.scores == {}
    assert "MPJPE" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_chosen_joints_alone_count(tmp_path):
    model, datamodule, report = seeded(Plain), data(batch_size=10), PoseReport(joints=JOINTS)
    run(model, report, tmp_path, datamodule)
    chosen = [H36M.names.index(name) for name in JOINTS]
    for name, _, prediction, target in pooled(model, datamodule):
        difference = 1000 * (prediction - prediction[:, :1] - target + target[:, :1])[:, chosen]
        expected = difference.norm(dim=-1).mean().item()
        assert report.scores["errors"][name]["mpjpe"] == pytest.approx(expected, rel=1e-5)
        bones = [i for i, (child, parent) in enumerate(H36M.bones) if {child, parent} <= set(chosen)]
        lengths = bone_lengths(prediction, H36M)[:, bones].double().numpy()
        variation = (100 * lengths.std(0) / lengths.mean(0)).mean()
        assert report.scores["label_free"][name]["bone_length_variation"] == pytest.approx(variation, rel=1e-4)


def test_a_pinhole_explains_the_truth(tmp_path):
    report = PoseReport(focal=2.3)
    clean = data(noise=None, eval_cameras=CameraRig(focal=(1150.0, 1150.0)))
    run(seeded(Plain), report, tmp_path, clean)
    mean = report.scores["label_free"]["mean"]
    assert mean["truth_reprojection_error"] < 0.01
    assert mean["reprojection_error"] > 1.0 or np.isnan(mean["reprojection_error"])


def test_windows_and_centre_frames(tmp_path):
    report = PoseReport()
    run(seeded(Plain), report, tmp_path, data(frames=4))
    assert report.scores["errors"]["mean"]["mpjve"] > 0


def captured(*shape, **fields):
    generator = torch.Generator().manual_seed(sum(shape))
    keypoints, prediction, target = (torch.randn(*shape, 17, n, generator=generator) for n in (2, 3, 3))
    return SealBatch(keypoints, prediction, fields.pop("target", target), **fields)


def feed(report, batches, tmp_path):
    module = SimpleNamespace(skeleton=H36M, seal_captured=None)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(unit="mm", skeleton=H36M), world_size=1)
    report.setup(trainer, module, "test")
    for batch in batches:
        report._label_free.update("all", batch, torch.ones(len(batch.prediction), dtype=torch.bool))
    return report._label_free.compute()["all"]


def test_label_free_scores_pool_over_batches(tmp_path):
    parts = [captured(n) for n in (5, 1, 7)]
    found = feed(PoseReport(), parts, tmp_path)
    whole = torch.cat([part.prediction for part in parts])
    lengths = bone_lengths(whole, H36M).double().numpy()
    assert found["bone_length_variation"] == pytest.approx((100 * lengths.std(0) / lengths.mean(0)).mean(), rel=1e-5)
    assert found["limb_symmetry_error"] == pytest.approx(limb_symmetry_error(whole, H36M).item(), rel=1e-5)


def test_poses_without_truth_have_scores_too():
    labelled = torch.tensor([True, False, True, False])
    some, none = captured(4, labelled=labelled), captured(4, target=None)
    scores = LabelFreeScores(H36M, None)
    scores.update("a/1", some, torch.ones(4, dtype=torch.bool))
    scores.update("b/1", none, torch.tensor([True, True, False, False]))
    found = scores.compute()
    truth = limb_symmetry_error(some.target[labelled], H36M).item()
    assert found["a/1"]["truth_limb_symmetry_error"] == pytest.approx(truth, rel=1e-5)
    assert found["a/1"]["limb_symmetry_error"] == pytest.approx(
        limb_symmetry_error(some.prediction, H36M).item(), rel=1e-5
    )
    assert np.isnan(found["b/1"]["truth_limb_symmetry_error"])
    assert found["b/1"]["limb_symmetry_error"] == pytest.approx(
        limb_symmetry_error(none.prediction[:2], H36M).item(), rel=1e-5
    )
    assert np.isnan(macro_average(found)[0]["mean"]["truth_limb_symmetry_error"])
    with pytest.raises(ValueError, match="Expected at least one pose to score, but got none"):
        LabelFreeScores(H36M, None).compute()
    with pytest.raises(ValueError, match="Expected a `target` to score predictions against, but got None"):
        PoseScorer("mm").score(none, H36M, None)


class NoTruth(Seal):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch["keypoints_2d"], output)

    def test_step(self, batch, index):
        self(batch["keypoints_2d"])


def test_data_without_truth(tmp_path, capsys):
    report = PoseReport()
    model = NoTruth(seal=SealConfig(skeleton="h36m17"))
    logged = run(model, report, tmp_path)
    assert report.scores["errors"] == {}
    assert set(report.scores["label_free"]["mean"]) == {
        "limb_symmetry_error",
        "bone_length_variation",
        "reprojection_error",
    }
    assert "report/mpjpe" not in logged
    assert "Errors in mm" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "cm"}, r"Expected `unit` to be 'm', 'mm' or None, but got 'cm'\."),
        ({"focal": -1.0}, r"Expected `focal` to be above zero, but got -1\.0\."),
        ({"joints": ["Hip", "Tail"]}, r"Expected `joints` to be joints of the model, .* but got \['Tail'\]\."),
        ({"joints": ["RHip"]}, r"Expected `joints` to hold the root \['Hip'\], .* but \['Hip'\] lacks\."),
    ],
)
def test_wrong_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(seeded(Plain), PoseReport(**options), tmp_path)


def test_what_nobody_says_has_to_be_given():
    for missing, message in (("unit", "Expected `unit` to be 'm' or 'mm'"), ("skeleton", "Expected a `skeleton`")):
        known = {"unit": "mm", "skeleton": H36M}
        known.pop(missing)
        trainer = SimpleNamespace(datamodule=SimpleNamespace(**known), world_size=1)
        with pytest.raises(ValueError, match=message):
            PoseReport().setup(trainer, Plain(), "test")
        given = PoseReport(**{missing: {"unit": "m", "skeleton": "h36m17"}[missing]})
        given.setup(trainer, Plain(), "test")


def test_several_processes_are_refused():
    trainer = SimpleNamespace(datamodule=data(), world_size=2)
    with pytest.raises(ValueError, match="Expected PoseReport to run in one process, but got 2"):
        PoseReport().setup(trainer, Plain(), "test")


def test_a_failing_step_leaves_the_model_as_it_was(tmp_path):
    class Fails(Plain):
        def test_step(self, batch, index):
            raise RuntimeError("no")

    model = Fails()
    with pytest.raises(RuntimeError, match="no"):
        run(model, PoseReport(), tmp_path)
    assert "forward" not in vars(model)
    assert not model.net._forward_hooks
