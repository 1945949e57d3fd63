"""Simulated views with labels, a sensor's keypoints without: the data, the folds, and a whole toy study."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from benchmarks.accuracy.study import Study
from benchmarks.accuracy.training import mirrored
from benchmarks.real_2d import CHOICES, FOLDS, folds, main
from benchmarks.simulated_to_kinect import FrontalRig, SimulatedToKinectDataModule, _Read, mean_place, moved
from seal_lightning.data import Draws
from seal_lightning.skeleton import get_skeleton

STUDY = Path(__file__).parents[2] / "benchmarks" / "studies" / "simulated_to_kinect.yaml"
SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
SKELETON = get_skeleton("h36m17")


def test_cameras_stand_level_in_front():
    centre = torch.tensor([500.0, -300.0, 900.0]).expand(500, 3)
    camera = FrontalRig(front=30.0).draw(centre, torch.zeros(500), Draws(0, torch.arange(500)))
    assert torch.equal(camera.focal, torch.full((500,), 1060.0))
    torch.testing.assert_close(camera.rotation[:, 1], torch.tensor([0.0, 0.0, -1.0]).expand(500, 3))  # y is down
    x, y, height = ((camera.position - centre * torch.tensor([1.0, 1.0, 0.0])) / 1000).unbind(1)
    away, angle = torch.hypot(x, y), torch.rad2deg(torch.atan2(y, x))
    for values, least, most in ((away, 2.0, 3.0), (angle, 20.0, 40.0), (height, 0.9, 1.1)):
        assert least <= values.min() < least + 0.05 * (most - least)
        assert most >= values.max() > most - 0.05 * (most - least)
    # The person stands at most 0.3 m beside the axis, in x and in y.
    seen = camera.view(centre[:, None])[:, 0]
    assert seen[:, 0].abs().max() <= 1060 / 960 * 0.3 * math.sqrt(2) / (2.0 - 0.3 * math.sqrt(2))
    torch.testing.assert_close(seen[:, 1], 1060 / 960 * (height - 0.9) / _depth(camera, centre))


def _depth(camera, point):
    return (camera.rotate((point - camera.position)[:, None])[:, 0, 2]) / 1000


def test_joints_are_moved_to_where_others_lie():
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(40, 17, 2, generator=generator)
    keypoints[:, 3], keypoints[:, 6], keypoints[:, 10] = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])  # the box
    other = keypoints.clone()
    other[:, 9] += torch.tensor([0.0, 0.1])
    places = [mean_place(_views(each), SKELETON) for each in (keypoints, other)]
    expected = torch.zeros(17, 2)
    expected[9] = torch.tensor([0.0, 0.05])  # people are two units large
    torch.testing.assert_close(places[1] - places[0], expected)
    torch.testing.assert_close(mean_place(_views(3 * other - 1), SKELETON), places[1])
    torch.testing.assert_close(places[0], mirrored(places[0], SKELETON))
    torch.testing.assert_close(moved(keypoints, expected), other)
    with_confidence = torch.cat((keypoints, torch.rand(40, 17, 1)), dim=-1)
    torch.testing.assert_close(moved(with_confidence, expected)[..., 2], with_confidence[..., 2])


def _views(keypoints_2d):
    class Views(list):
        def __getitems__(self, indices):
            return {"keypoints_2d": keypoints_2d}

    return Views(range(len(keypoints_2d)))


@pytest.mark.parametrize("move", [False, True])
def test_a_batch_has_views_of_both_and_of_training_people_alone(recording, move):
    paths = [str(recording / "uiprmd.npz"), str(recording / "kinect.npz")]
    data = SimulatedToKinectDataModule(paths, fold=1, move=move, batch_size=40)
    data.setup()
    batches = list(data.train_dataloader())
    assert len(batches) == 1  # five people with four frames each, in both
    group, keypoints, target = (batches[0][name] for name in ("group", "keypoints_2d", "target"))
    names = [data.group_names[index] for index in group]
    people = [f"S0{number}" for number in range(1, 9) if f"S0{number}" not in FOLDS[1]]
    assert {name: names.count(name) for name in names} == {
        **{f"uiprmd/u{person}": 4 for person in people},
        **{f"kinect/{person}": 4 for person in people},
    }
    of_kinect = torch.tensor([name.startswith("kinect") for name in names])
    read = _Read(data.kinect.dataset("train"), data._shift).samples
    turned = 0
    for pose, view in zip(target[of_kinect], keypoints[of_kinect], strict=True):
        straight, back = (_same(read["target"], one) for one in (pose, mirrored(pose, SKELETON)))
        assert (
            int((straight | back).sum()) == 1
        )  # mirrored or not, it is one of the sensor's, and its view goes with it
        view = mirrored(view, SKELETON) if back.any() else view
        assert torch.equal(view, read["keypoints_2d"][straight | back][0])
        turned += int(back.any())
    assert 4 <= turned <= 16
    assert (data._shift is None) is not move
    other = next(iter(SimulatedToKinectDataModule(paths, fold=1, move=move, batch_size=40, seed=1).train_dataloader()))
    assert not torch.equal(other["group"], group)


def _same(poses, pose):
    return (poses - pose).abs().flatten(1).amax(1) == 0


def test_validation_is_simulated_and_test_is_of_the_sensor(recording):
    data = SimulatedToKinectDataModule([str(recording / "uiprmd.npz"), str(recording / "kinect.npz")], fold=0)
    data.setup()
    for side, names in (("val", {"uiprmd/uS08"}), ("test", {"kinect/S06", "kinect/S07"})):
        truth = data.evaluation_set(side)
        loader = data.test_dataloader() if side == "test" else data.val_dataloader()
        assert torch.equal(truth.target, torch.cat([batch["target"] for batch in loader]))
        assert {truth.names[index] for index in truth.group} == names
        assert len(truth.clip.unique()) == len(names)
    expected = np.mean([_lengths(recording, person) for person in range(5)], axis=0)
    np.testing.assert_allclose(truth.mean_lengths, expected, rtol=1e-5)


def _lengths(recording, person):
    pose = np.load(recording / "uiprmd.npz")["positions"][12 * person : 12 * person + 12]
    child, parent = np.transpose(SKELETON.bones)
    return 1e-3 * np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1).mean(0)


def test_labels_are_of_people_that_train_in_the_fold():
    study = Study.read(STUDY)
    for fold, parts in zip(FOLDS, folds(study), strict=True):
        held = {f"S0{number}" for number in range(1, 9)} - set(fold)
        assert set(parts.host["init_args"]["labelled"]) == {f"uiprmd/u{person}" for person in held}
        halves = [set(parts.methods[name].host["labelled"]) for name in ("one half", "other half")]
        assert sorted(map(len, halves)) == [2, 3]
        assert set.union(*halves) == set(parts.host["init_args"]["labelled"])
        assert set(parts.methods["labels of the Kinect"].host["labelled"]) == {f"uiprmd/{person}" for person in held}
    assert study.methods["one half"].host["labelled"][0] == "uiprmd/uS01"  # the study itself stays as it was


def test_a_toy_study_is_run_and_reported(recording, capsys, monkeypatch):
    monkeypatch.setattr("benchmarks.real_2d.FOLDS", FOLDS[:2])
    monkeypatch.setattr("benchmarks.real_2d.CHOICES", CHOICES[::9])
    plain = yaml.safe_load(STUDY.read_text())
    methods = ["host", "augmentation + batch norms", "ours (structure energy) 0.1", "joints moved", "AdaBN"]
    plain["methods"] = {name: plain["methods"][name] for name in methods}
    plain["methods"]["ours (structure energy) 0.1"]["seal"]["warmup_steps"] = 1
    plain["data"]["init_args"] |= {"paths": ["uiprmd.npz", "kinect.npz"], "batch_size": 16}
    plain["host"]["init_args"]["hidden"] = 8
    plain["steps"], plain["seeds"] = 2, [0]
    (recording / "toy.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    arguments = ["--study", str(recording / "toy.yaml"), "--data-dir", str(recording)]
    main(["run", *arguments, "--output", str(recording / "runs")])
    records = [json.loads(line) for line in (recording / "runs" / "results.jsonl").read_text().splitlines()]
    assert [record["method"] for record in records] == 2 * methods
    capsys.readouterr()
    main(["report", *arguments, "--output", str(recording / "runs"), "--split", "test"])
    chosen, primary, against_host, rival, _best, _raw, absolute, *_tails = capsys.readouterr().out.split("\n\n")[1::2]
    assert [line.split(":")[0] for line in chosen.splitlines()] == [f"- {name}" for name in methods]
    against = [row.split(" | ")[3] for row in primary.splitlines()[2:]]
    assert against == ["host", "augmentation + batch norms", "host", "host"]
    assert [row.split(" | ")[3] for row in against_host.splitlines()[2:]] == 4 * ["host"]
    assert len(rival.splitlines()) == 3
    assert len(absolute.splitlines()) == 7


@pytest.mark.skipif(not SHARED.exists(), reason="needs UI-PRMD and what the Kinect saw of it beside the checkout")
def test_both_files_have_the_same_frame_of_reference():
    """The same people in the same exercises: on the mean, the poses that cameras see are those that the sensor saw."""
    paths = [str(SHARED / name) for name in ("uiprmd_h36m17.npz", "uiprmd_kinect_h36m17.npz")]
    data = SimulatedToKinectDataModule(paths, fold=0)
    data.setup()
    sides = [part.dataset("train") for part in (data.simulated, data.kinect)]
    means = [side.__getitems__(range(0, len(side), 10))["target"].mean(0) for side in sides]
    assert (means[0] - means[1]).norm(dim=-1).max() < 0.03
