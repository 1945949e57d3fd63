"""What the report says of an error estimate, against the critic and the host called by hand."""

import csv
import json

import pytest
import torch

from seal_lightning.callbacks import ErrorEstimate, PoseReport
from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.evaluation import TrainingPoses, assess, free_scores, risk_coverage
from seal_lightning.functional import mirror_keypoints, mirror_poses
from seal_lightning.skeleton import get_skeleton
from tests.callbacks.test_pose_report import Plain, Seal, data

H36M = get_skeleton("h36m17")


@pytest.mark.parametrize("host", [Plain, Seal])
def test_the_report_says_how_well_errors_are_known(host, make_trainer, tmp_path, capsys):
    torch.manual_seed(0)
    model, motion = host(), data(batch_size=10)
    estimate = ErrorEstimate(ErrorCritic("h36m17", hidden=16, depth=2), unit="m")
    report = PoseReport(output=str(tmp_path))
    trainer = make_trainer(max_epochs=1, callbacks=[estimate, report])
    trainer.fit(model, motion)
    trainer.test(model, motion, verbose=False)

    critic, groups = estimate.critic, {}
    # All training poses, for the whole data are seen once in an epoch.
    training = TrainingPoses.of(torch.cat([batch["target"] for batch in motion.train_dataloader()]), H36M)
    for name in ("mean", "covariance", "lengths"):
        found, wanted = (getattr(part, name) for part in (estimate.training_poses, training))
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * wanted.abs().max().item())
    with torch.no_grad():
        for batch in motion.test_dataloader():
            seen = batch["keypoints_2d"]
            pose, other = model(seen), mirror_poses(model(mirror_keypoints(seen, H36M)), H36M)
            inputs = {"keypoints": seen[..., :2], "confidence": seen[..., 2], "pose": pose, "flip": pose - other}
            difference = pose - pose[:, :1] - batch["target"]
            rows = {
                "error": 1000 * difference.norm(dim=-1).mean(1),
                "estimate": critic.errors(**inputs).pose,
                **free_scores(pose, seen, H36M, mirrored=other, training=training),
            }
            for number in batch["group"].unique():
                chosen = {name: value[batch["group"] == number] for name, value in rows.items()}
                groups.setdefault(motion.group_names[number], []).append(chosen)
    assert len(groups) > 1
    trust = report.scores["trust"]
    for name, parts in groups.items():
        joined = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        error, found = joined.pop("error"), trust[name]
        assert found["estimate/bias"] == pytest.approx(100 * assess(joined["estimate"], error).bias, abs=0.1)
        for key, score in joined.items():
            assert found[f"{key}/auroc"] == pytest.approx(assess(score, error).auroc, abs=0.02), key
            assert found[f"{key}/risk_100"] == pytest.approx(error.mean().item(), rel=1e-4)
            (risk,) = risk_coverage(score, error, (0.5,))
            assert found[f"{key}/risk_50"] == pytest.approx(risk, rel=0.02), key
        bound = joined["estimate"] * critic.factor_90[0]
        covered = (error <= bound).double().mean().item() if critic.factor_90[0].isfinite() else float("nan")
        assert found["estimate/covered"] == pytest.approx(100 * covered, abs=1.0, nan_ok=True)

    out = capsys.readouterr().out
    assert "AUROC of the worst tenth" in out
    assert "| **flip**" in out
    assert "Estimated and true errors of poses with similar estimates" in out
    content = json.loads((tmp_path / "pose_report_test.json").read_text())
    assert sum(part["poses"] for part in content["calibration"]) == sum(
        len(part["error"]) for parts in groups.values() for part in parts
    )
    with (tmp_path / "pose_report_test.csv").open() as file:
        rows = {(row["kind"], row["scope"], row["metric"]): row["value"] for row in csv.DictReader(file)}
    assert float(rows["trust", "mean", "estimate/auroc"]) == pytest.approx(trust["mean"]["estimate/auroc"])


def test_without_an_estimate_the_report_is_what_it_was(make_trainer, tmp_path):
    report = PoseReport(output=str(tmp_path))
    make_trainer(callbacks=[report]).test(Plain(), data(batch_size=10), verbose=False)
    assert list(report.scores) == ["errors", "label_free"]
