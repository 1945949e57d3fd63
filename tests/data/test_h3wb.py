"""H3WB: npz and json hold the same, spelled either way, and wrong files are refused."""

import json

import numpy as np
import pytest
import torch

from seal_lightning.cli import main
from seal_lightning.data.datamodules.h3wb import H3WBDataModule
from seal_lightning.data.formats.object_arrays import read_object
from tests.data.miniature import as_object, write_h3wb

JSON = {
    "named": {},
    "misspelled": {"spelling": "keypont"},
    "nameless": {"pictures": False},
    "blind": {"test_poses": False},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("npz", *JSON)}
    write_h3wb(folders["npz"])
    for name, options in JSON.items():
        write_h3wb(folders[name], form="json", **options)
    return folders


def all_of(folder, side, **options):
    data = H3WBDataModule(str(folder), batch_size=1000, unit="mm", **options)
    loader = data.test_dataloader() if side == "test" else data.val_dataloader()
    (batch,) = loader
    return data, batch


def test_samples_are_what_the_file_holds(folders):
    source = read_object(folders["npz"] / "task1_test_3d.npz", "data")["S8"]
    data, batch = all_of(folders["npz"], "test")
    row = 0
    for action, entry in source.items():
        for camera, height in (("54138969", 1002), ("55011271", 1000)):
            for frame in range(6):
                pose = entry[camera]["camera_3d"][frame]
                np.testing.assert_allclose(batch["target"][row], pose - (pose[11] + pose[12]) / 2, atol=2e-3)
                x, y = entry[camera]["pose_2d"][frame].T
                screen = np.stack([x / 500 - 1, y / 500 - height / 1000], axis=1)
                np.testing.assert_allclose(batch["keypoints_2d"][row], screen, atol=1e-6)
                assert (
                    data.action_names[batch["action"][row]] == {"Waiting 1": "Waiting", "WalkingDog": "WalkDog"}[action]
                )
                row += 1
    assert row == len(batch["group"]) == 24
    assert data.group_names[batch["group"][0]] == "h3wb/S8"


@pytest.mark.parametrize("form", ["named", "misspelled"])
@pytest.mark.parametrize("side", ["val", "test"])
def test_json_holds_the_same(folders, form, side):
    wanted, batch = (all_of(folders[name], side)[1] for name in ("npz", form))
    for name in wanted:
        torch.testing.assert_close(batch[name], wanted[name], rtol=0, atol=1e-3)


def test_frames_of_a_json_clip_are_in_order(folders, tmp_path):
    samples = json.loads((folders["named"] / "2Dto3D_test_3d.json").read_text())
    mixed = {str(index): samples[key] for index, key in enumerate(reversed(samples))}
    (tmp_path / "2Dto3D_test_3d.json").write_text(json.dumps(mixed))
    (clip, *_) = H3WBDataModule(str(tmp_path)).recordings("test")[::-1]
    wanted = H3WBDataModule(str(folders["named"])).recordings("test")[0]
    np.testing.assert_array_equal(clip.target, wanted.target)


@pytest.mark.parametrize(
    "name",
    [
        "S5_Waiting_1.60457274_003051.jpg",
        "images/S5_Waiting.54138969_000001.jpg",
        "S5/Images/Waiting 1.55011271/frame_0075.jpg",
    ],
)
def test_names_of_pictures(folders, tmp_path, name):
    samples = json.loads((folders["named"] / "2Dto3D_train.json").read_text())
    samples["0"]["image_path"] = name
    (tmp_path / "2Dto3D_train.json").write_text(json.dumps({"0": samples["0"]}))
    data = H3WBDataModule(str(tmp_path), validation_subject="S1")
    with pytest.raises(ValueError, match=r"to hold \['h3wb/S6', 'h3wb/S7'\]"):
        data.recordings("train")
    (clip,) = data._trained
    assert (clip.group, clip.action) == ("h3wb/S5", "Waiting")


def test_split_by_subject(folders):
    data = H3WBDataModule(str(folders["npz"]))
    assert {clip.group for clip in data.recordings("train")} == {"h3wb/S1", "h3wb/S5", "h3wb/S6"}
    assert {clip.group for clip in data.recordings("val")} == {"h3wb/S7"}
    assert len(data.dataset("train")) == 3 * 24
    everyone = H3WBDataModule(str(folders["npz"]), validation_subject=None)
    assert (len(everyone.dataset("train")), everyone.val_dataloader()) == (4 * 24, [])


def test_split_without_subjects_is_the_last_official_fold(folders):
    data = H3WBDataModule(str(folders["nameless"]), unit="mm", batch_size=1000)
    wanted = read_object(folders["npz"] / "h3wb_train.npz", "train_data")["S7"]
    poses = np.concatenate([wanted[a][c]["camera_3d"] for a in wanted for c in ("54138969", "55011271")])
    (batch,) = data.val_dataloader()
    assert (len(data.dataset("train")), len(batch["group"])) == (76, 20)
    last = poses[-20:]
    np.testing.assert_allclose(batch["target"], last - last[:, [11, 12]].mean(axis=1, keepdims=True), atol=2e-3)
    assert data.group_names[batch["group"][0]] == "h3wb/unknown"
    assert len(H3WBDataModule(str(folders["nameless"]), validation_subject=None).dataset("train")) == 96
    with pytest.raises(ValueError, match="Expected `frames` to be 1 for a file that does not say which samples follow"):
        H3WBDataModule(str(folders["nameless"]), frames=3).setup("fit")


def test_a_test_file_without_poses_serves_for_predictions(folders):
    data = H3WBDataModule(str(folders["blind"]))
    (batch,) = data.predict_dataloader()
    assert set(batch) == {"keypoints_2d", "group", "action"}


def test_files_are_named_where_there_are_several(folders, tmp_path):
    for folder in ("npz", "named"):
        for file in folders[folder].iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        ValueError, match=r"Expected `train_file` to name one of \['h3wb_train\.npz', '2Dto3D_train\.json'\]"
    ):
        H3WBDataModule(str(tmp_path)).setup("fit")
    data = H3WBDataModule(str(tmp_path), train_file="2Dto3D_train.json", test_file="task1_test_3d.npz")
    data.setup()
    with pytest.raises(FileNotFoundError, match=r"Expected 'none\.npz' in `path`"):
        H3WBDataModule(str(tmp_path), train_file="none.npz").setup("fit")


def test_all_subjects_in_one_file(folders, tmp_path):
    everyone = read_object(folders["npz"] / "h3wb_train.npz", "train_data")
    everyone |= read_object(folders["npz"] / "task1_test_3d.npz", "data")
    np.savez(tmp_path / "h3wb_train.npz", train_data=as_object(everyone))
    data = H3WBDataModule(str(tmp_path), test_file="h3wb_train.npz")
    assert {clip.group for clip in data.recordings("train")} == {"h3wb/S1", "h3wb/S5", "h3wb/S6"}
    with pytest.raises(ValueError, match=r"Expected the test file to hold subject S8 alone, but got \['h3wb/S1'"):
        data.recordings("test")


def camera(data):
    return data["S1"]["Waiting 1"]["54138969"]


def drop(name):
    def change(data):
        camera(data).pop(name)
        return data

    return change


def edit(name, value):
    def change(data):
        camera(data)[name] = value(camera(data)[name])
        return data

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d | {"S2": d["S1"]}, r"Expected subjects \['S1', 'S5', 'S6', 'S7', 'S8'\], but got 'S2'"),
        (lambda d: {"S1": d["S1"]}, r"Expected the training file to hold \['h3wb/S5', 'h3wb/S6'\]"),
        (lambda d: d | {"S1": {"Juggling": d["S1"]["Waiting 1"]}}, r"Expected an action of Human3\.6M"),
        (lambda d: d | {"S1": {"Waiting 1": {"global_3d": 0}}}, r"S1 Waiting 1: Expected entries of the cameras"),
        (drop("camera_3d"), r"camera 54138969: Expected `pose_2d` and `camera_3d`, but \['camera_3d'\] are missing"),
        (edit("pose_2d", lambda a: a[:, :17]), r"pose_2d: Expected numbers of shape \(T, 133, 2\)"),
        (edit("camera_3d", lambda a: a[:2]), r"camera_3d: Expected numbers of shape \(6, 133, 3\)"),
        (edit("camera_3d", lambda a: a * np.nan), "`target` to be finite"),
    ],
)
def test_malformed_npz(folders, tmp_path, change, text):
    data = change(read_object(folders["npz"] / "h3wb_train.npz", "train_data"))
    np.savez(tmp_path / "h3wb_train.npz", train_data=as_object(data))
    with pytest.raises(ValueError, match=text):
        H3WBDataModule(str(tmp_path)).setup("fit")


def sample_with(**changes):
    def change(samples):
        samples["3"] |= changes
        return samples

    return change


def without_joint(samples):
    del samples["3"]["keypoints_2d"]["17"]
    return samples


def joint_with(key, **changes):
    def change(samples):
        samples["3"][key]["17"] |= changes
        return samples

    return change


def without(key):
    def change(samples):
        del samples["3"][key]
        return samples

    return change


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: [], "2Dto3D_train.json: samples: Expected a dict with entries, but got list"),
        (lambda s: {}, "samples: Expected a dict with entries, but got an empty dict"),
        (lambda s: s | {"first": s["0"]}, "Expected the ids of samples to be numbers, but got 'first'"),
        (lambda s: s | {"3": 4}, "sample 3: Expected a dict with entries, but got int"),
        (without("keypoints_2d"), "sample 3: Expected `keypoints_2d`, but got"),
        (without("keypoints_3d"), "Expected all samples to have `keypoints_3d`, or none"),
        (without_joint, "sample 3, keypoints_2d: Expected x and y as numbers for the joints 0 to 132"),
        (joint_with("keypoints_2d", z=1.0), "sample 3, keypoints_2d: Expected x and y"),
        (joint_with("keypoints_3d", z="far"), "sample 3, keypoints_3d: Expected x, y and z as numbers"),
        (joint_with("keypoints_3d", w=1.0), "sample 3, keypoints_3d: Expected x, y and z"),
        (
            sample_with(image_path="somebody.jpg"),
            r"sample 3: Expected `image_path` to be like 'S5_Waiting_1\.60457274_003051",
        ),
        (sample_with(image_path="S5_Waiting_1.12345678_003051.jpg"), "Expected `image_path` to be like"),
        (sample_with(image_path="S5_Juggling_1.60457274_003051.jpg"), r"sample 3: Expected an action of Human3\.6M"),
    ],
)
def test_malformed_json(folders, tmp_path, change, text):
    samples = json.loads((folders["named"] / "2Dto3D_train.json").read_text())
    (tmp_path / "2Dto3D_train.json").write_text(json.dumps(change(samples)))
    with pytest.raises(ValueError, match=text):
        H3WBDataModule(str(tmp_path)).setup("fit")


def test_text_that_is_no_json(tmp_path):
    (tmp_path / "2Dto3D_train.json").write_text("{")
    with pytest.raises(ValueError, match=r"2Dto3D_train\.json: Expected a json file, but it cannot be read as one"):
        H3WBDataModule(str(tmp_path)).setup("fit")


def test_arguments_and_small_files(folders, tmp_path):
    with pytest.raises(ValueError, match=r"`validation_subject` to be None or one of .*, but got 'S8'"):
        H3WBDataModule(".", validation_subject="S8")
    samples = json.loads((folders["nameless"] / "2Dto3D_train.json").read_text())
    (tmp_path / "2Dto3D_train.json").write_text(json.dumps({str(i): samples[str(i)] for i in range(4)}))
    with pytest.raises(ValueError, match="Expected at least 5 training samples to hold back a fifth, but got 4"):
        H3WBDataModule(str(tmp_path)).setup("fit")
    with pytest.raises(ValueError, match="Expected no `rate` for h3wb/S1 'Waiting'"):
        H3WBDataModule(str(folders["npz"]), frames=3, rate=5.0).setup("fit")


@pytest.mark.parametrize("form", ["npz", "named"])
def test_fit_by_config(folders, tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    config = f"""
model:
  class_path: examples.backbones.LitLifter
  init_args:
    flip_augmentation: false
    flip_test: false
    net: {{class_path: examples.backbones.SimpleBaseline, init_args: {{num_joints: 133, hidden: 16}}}}
data:
  class_path: seal_lightning.data.H3WBDataModule
  init_args: {{path: {folders[form]}, batch_size: 8}}
trainer: {{fast_dev_run: true, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}}
"""
    (tmp_path / "run.yaml").write_text(config)
    main(["fit", "--config", "run.yaml"])
