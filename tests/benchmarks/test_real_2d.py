"""The study on real 2D keypoints: its folds, how they are joined, and a whole toy study."""

import json

import numpy as np
import yaml

from benchmarks.accuracy.statistics import ClipSums
from benchmarks.accuracy.tail import PoseErrors
from benchmarks.real_2d import CHOICES, FOLDS, SUBJECTS, _together, main


def test_every_subject_is_tested_once_and_never_validated_in_the_same_fold():
    assert sorted(subject for *test, _ in FOLDS for subject in test) == list(SUBJECTS)
    assert all(len(set(fold)) == 3 for fold in FOLDS)


def test_joined_folds_are_measured_as_if_there_had_been_one():
    generator = np.random.default_rng(0)
    errors, clip, group = generator.uniform(size=(2, 3, 40)), np.arange(40) // 5, np.arange(40) // 10
    whole = ["a/1", "a/2", "a/3", "a/4"]
    first, second = slice(0, 20), slice(20, 40)
    for kind in (ClipSums, PoseErrors):
        parts = [
            kind.of(errors[..., first], clip[first], group[first], whole[:2]),
            kind.of(errors[..., second], clip[second], 3 - group[second], whole[3:1:-1]),  # other numbers of people
        ]
        expected = kind.of(errors, clip, group, whole)
        together = _together(parts)
        np.testing.assert_allclose(together.mean(), expected.mean())
        assert together.names == whole
        np.testing.assert_array_equal(together.skeleton, expected.skeleton)


def test_a_toy_study_is_run_and_reported(recording, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.real_2d.FOLDS", FOLDS[:2])
    monkeypatch.setattr("benchmarks.real_2d.CHOICES", CHOICES[::9])
    seal = {"family": "learned-informed", "seal": {"weight": {"ratio": 0.2}, "warmup_steps": 1}}
    length = {"family": "explicit", "constraint": "seal_lightning.constraints.BoneLengthConstraint", "weight": 0.3}
    plain = {
        "data": {
            "class_path": "benchmarks.real_2d.KinectDataModule",
            "init_args": {"paths": ["kinect.npz"], "fold": 0, "batch_size": 16, "eval_frame_step": 4, "flip": True},
        },
        "host": {"class_path": "examples.plain_lifter.LitLifter", "init_args": {"hidden": 8}},
        "steps": 2,
        "seeds": [0, 1],
        "methods": {"host": None, "SEAL": seal, "bone length": length},
    }
    path = recording / "toy.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    arguments = ["--study", str(path), "--data-dir", str(recording), "--output", str(recording / "runs")]
    main(["run", *arguments, "--methods", "host", "SEAL"])
    main(["run", *arguments, "--seeds", "0"])
    records = [json.loads(line) for line in (recording / "runs" / "results.jsonl").read_text().splitlines()]
    assert [record["method"] for record in records] == 4 * ["host", "SEAL"] + 2 * ["bone length"]
    capsys.readouterr()
    main(["report", *arguments, "--split", "test"])
    chosen, primary, rival, best, raw, absolute, *tails = capsys.readouterr().out.split("\n\n")[1::2]
    assert [line.split(":")[0] for line in chosen.splitlines()] == ["- host", "- SEAL", "- bone length"]
    assert all(line.count(";") == 1 for line in chosen.splitlines())
    assert [row.split(" | ")[2] for row in primary.splitlines()[2:]] == ["2", "1"]  # seeds
    assert len(rival.splitlines()) == 3
    assert all(len(table.splitlines()) == 4 for table in (best, raw, *tails))
    assert len(absolute.splitlines()) == 5
