"""MPI-INF-3DHP: what the files hold comes out, valid frames count, and wrong files are refused."""

import numpy as np
import pytest

from seal_lightning.cli import main
from seal_lightning.data.datamodules.mpi_inf_3dhp import SCENES, MPIINF3DHPDataModule
from seal_lightning.data.formats.object_arrays import read_object
from tests.data.miniature import as_object, write_mpi_inf_3dhp


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mpi_inf_3dhp")
    write_mpi_inf_3dhp(folder)
    return folder


def rewritten(folder, target, train=None, test=None):
    """The files in another folder, changed on the way."""
    for name, change in (("train", train), ("test", test)):
        data = read_object(folder / f"data_{name}_3dhp.npz", "data")
        np.savez(target / f"data_{name}_3dhp.npz", data=as_object(change(data) if change else data))
    return str(target)


def test_scenes():
    names = [SCENES[f"TS{number}"] for number in range(1, 7)]
    assert names == [
        *("studio with green screen", "studio with green screen"),
        *("studio without green screen", "studio without green screen", "outdoor", "outdoor"),
    ]


def test_test_samples_are_the_valid_frames_of_all_six_subjects(folder):
    source = read_object(folder / "data_test_3dhp.npz", "data")
    data = MPIINF3DHPDataModule(str(folder), unit="mm", batch_size=1000)
    (batch,) = data.test_dataloader()
    row = 0
    for subject, arrays in source.items():
        width, height = (1920, 1080) if subject in ("TS5", "TS6") else (2048, 2048)
        for frame in np.flatnonzero(arrays["valid"]):
            pose = arrays["data_3d"][frame].astype(np.float64)
            np.testing.assert_allclose(batch["target"][row], pose - pose[14], atol=2e-3)
            x, y = arrays["data_2d"][frame].astype(np.float64).T
            screen = np.stack([x / width * 2 - 1, y / width * 2 - height / width], axis=1)
            np.testing.assert_allclose(batch["keypoints_2d"][row], screen, atol=1e-6)
            assert data.group_names[batch["group"][row]] == f"mpi_inf_3dhp/{subject}"
            assert data.action_names[batch["action"][row]] == SCENES[subject]
            row += 1
    assert row == len(batch["target"]) == 6 * 6
    assert "visibility" not in batch


def test_windows_show_all_frames_and_count_the_valid(folder):
    source = read_object(folder / "data_test_3dhp.npz", "data")
    (batch,) = MPIINF3DHPDataModule(str(folder), frames=5, batch_size=1000).test_dataloader()
    assert batch["keypoints_2d"].shape == (12, 5, 17, 2)
    counted = np.concatenate([arrays["valid"] for arrays in source.values()]).astype(bool)
    np.testing.assert_array_equal(batch["visibility"].all(-1).flatten(), counted)
    np.testing.assert_array_equal(batch["visibility"].any(-1).flatten(), counted)
    data = MPIINF3DHPDataModule(str(folder), frames=5, centre_target=True)
    assert len(data.dataset("test")) == 36


def test_training_subjects_sequences_and_cameras(folder):
    data = MPIINF3DHPDataModule(str(folder))
    found = [(clip.group, clip.action, clip.fps) for clip in data.recordings("train")]
    wanted = [(f"mpi_inf_3dhp/S{s}", f"Seq{q}", 25.0 * q) for s in range(1, 8) for q in (1, 2) for _ in range(2)]
    assert found == wanted
    assert {clip.group for clip in data.recordings("val")} == {"mpi_inf_3dhp/S8"}
    assert len(MPIINF3DHPDataModule(str(folder), validation_subject="S1").recordings("train")) == 28
    everyone = MPIINF3DHPDataModule(str(folder), validation_subject=None)
    assert (len(everyone.recordings("train")), everyone.val_dataloader()) == (32, [])
    resampled = MPIINF3DHPDataModule(str(folder), frames=3, rate=25.0).dataset("train").recordings
    assert [len(clip) for clip in resampled[:4]] == [10, 10, 5, 5]


def test_one_file_is_enough_for_its_side(folder, tmp_path):
    (tmp_path / "data_test_3dhp.npz").write_bytes((folder / "data_test_3dhp.npz").read_bytes())
    data = MPIINF3DHPDataModule(str(tmp_path))
    assert sum(len(batch["group"]) for batch in data.test_dataloader()) == 36
    with pytest.raises(FileNotFoundError, match=r"Expected 'data_train_3dhp\.npz' in `path`"):
        data.setup("fit")


def with_camera_in_joint(joint):
    def change(data):
        for arrays in data.values():
            pose = arrays["data_3d"] = arrays["data_3d"] - arrays["data_3d"][:, 14:15] * (joint == 14)
            pose[:, joint] = (100.0, 200.0, 3500.0) if joint == 14 else pose[:, 14] + (0.0, 0.0, 2500.0)
        return data

    return change


def test_a_camera_where_the_head_should_be(folder, tmp_path):
    path = rewritten(folder, tmp_path, test=with_camera_in_joint(0))
    with pytest.raises(
        ValueError, match=r"TS1: Expected joint 0 to be the head top, but it lies 2500 mm.*`camera_slot`"
    ):
        MPIINF3DHPDataModule(path).setup("test")
    (batch,) = MPIINF3DHPDataModule(path, camera_slot="exclude", batch_size=1000).test_dataloader()
    assert not batch["visibility"][:, 0].any()
    assert batch["visibility"][:, 1:].all()
    assert (batch["target"][:, 0] == 0).all()
    assert (batch["keypoints_2d"][:, 0] == 0).all()
    (plain,) = MPIINF3DHPDataModule(str(folder), camera_slot="exclude", batch_size=1000).test_dataloader()
    np.testing.assert_allclose(batch["target"][:, 1:], plain["target"][:, 1:], atol=1e-6)
    assert "visibility" not in plain


def test_a_camera_where_the_pelvis_should_be(folder, tmp_path):
    path = rewritten(folder, tmp_path, test=with_camera_in_joint(14))
    for camera_slot in ("error", "exclude"):
        with pytest.raises(
            ValueError, match=r"TS1: Expected joint 14 to be the pelvis, in millimetres, but it lies 3[45]"
        ):
            MPIINF3DHPDataModule(path, camera_slot=camera_slot).setup("test")


def first(data):
    return next(iter(data.values()))


def edit(key, value):
    def change(data):
        first(data)[key] = value(first(data)[key])
        return data

    return change


def edit_train(change):
    def changed(data):
        camera = first(data["S1 Seq1"][0])
        change(camera)
        return data

    return changed


@pytest.mark.parametrize(
    ("side", "change", "text"),
    [
        (
            "test",
            lambda d: {n: v for n, v in d.items() if n != "TS4"},
            r"Expected the test subjects \['TS1', .*but got",
        ),
        ("test", lambda d: [], r"data_test_3dhp\.npz: Expected a dict with entries, but got list"),
        ("test", edit("data_2d", lambda a: a[:, :16]), r"TS1, data_2d: Expected numbers of shape \(T, 17, 2\)"),
        (
            "test",
            edit("data_3d", lambda a: a[:5]),
            r"TS1, data_3d: Expected numbers of shape \(10, 17, 3\), but got .*\(5, 17, 3\)",
        ),
        ("test", edit("data_3d", lambda a: a / 1000), "Expected targets of mpi_inf_3dhp/TS1 .* in millimetres"),
        ("test", edit("data_3d", lambda a: a * np.nan), "but it lies nan from the middle of the hips"),
        (
            "test",
            edit("valid", lambda a: a[:5]),
            r"TS1, valid: Expected numbers of shape \(10,\), but got uint8 \(5,\)",
        ),
        ("test", edit("valid", lambda a: a * 2), r"TS1, valid: Expected 0 or 1 for every frame, but got \[0, 2\]"),
        (
            "test",
            lambda d: d | {"TS1": {"data_2d": d["TS1"]["data_2d"]}},
            r"TS1: Expected .* but \['data_3d', 'valid'\] are missing",
        ),
        (
            "train",
            lambda d: d | {"S9 Seq1": first(d)},
            "Expected sequences like 'S1 Seq1', from S1 to S8, but got 'S9 Seq1'",
        ),
        (
            "train",
            lambda d: {n: v for n, v in d.items() if "S3" not in n},
            r"Expected sequences of \['mpi_inf_3dhp/S3'\]",
        ),
        (
            "train",
            lambda d: d | {"S1 Seq1": d["S1 Seq1"][0]},
            "S1 Seq1: Expected a list of cameras and frames per second",
        ),
        ("train", lambda d: d | {"S1 Seq1": [{}, 25]}, "S1 Seq1: Expected a dict with entries"),
        (
            "train",
            lambda d: d | {"S1 Seq1": [d["S1 Seq1"][0], "fast"]},
            "S1 Seq1, frames per second: Expected one number",
        ),
        (
            "train",
            edit_train(lambda c: c.pop("data_3d")),
            r"S1 Seq1, camera 0: Expected .* but \['data_3d'\] are missing",
        ),
    ],
)
def test_malformed_files(folder, tmp_path, side, change, text):
    path = rewritten(folder, tmp_path, **{side: change})
    with pytest.raises(ValueError, match=text):
        MPIINF3DHPDataModule(path).setup("fit" if side == "train" else "test")


def test_arguments(folder):
    with pytest.raises(ValueError, match=r"`validation_subject` to be None or one of .*, but got 'TS1'"):
        MPIINF3DHPDataModule(str(folder), validation_subject="TS1")
    with pytest.raises(ValueError, match="`camera_slot` to be 'error' or 'exclude', but got 'ignore'"):
        MPIINF3DHPDataModule(str(folder), camera_slot="ignore")


def test_fit_by_config(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = f"""
model:
  class_path: examples.seal_lifter.SealLifter
  init_args: {{hidden: 16, stages: 1, seal: {{skeleton: mpi_inf_3dhp17}}}}
data:
  class_path: seal_lightning.data.MPIINF3DHPDataModule
  init_args: {{path: {folder}, batch_size: 8}}
trainer: {{fast_dev_run: true, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}}
"""
    (tmp_path / "run.yaml").write_text(config)
    main(["fit", "--config", "run.yaml"])
