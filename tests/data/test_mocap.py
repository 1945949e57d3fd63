"""Reading mocap npz files, and what is refused."""

import re
from pathlib import Path

import numpy as np
import pytest

from seal_lightning.data import Mocap, SyntheticMocap, read_mocap
from seal_lightning.skeleton import Skeleton, get_skeleton

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def arrays(**changes):
    mocap = SyntheticMocap(subjects=2, clips_per_subject=1, frames=6).generate()
    content = {
        "positions": mocap.positions,
        "clip_start": mocap.clip_start,
        "clip_length": mocap.clip_length,
        "skeleton_id": mocap.skeleton_id,
        "fps": np.float32(25.0),
    }
    content |= changes
    return {key: value for key, value in content.items() if value is not None}


def write(folder, name="mine_h36m17.npz", **changes):
    path = folder / name
    np.savez(path, **arrays(**changes))
    return path


def test_round_trip(tmp_path):
    mocap = read_mocap(write(tmp_path, description=np.array(["walk", "sit"])))
    expected = arrays()
    assert (mocap.name, mocap.fps) == ("mine", 25.0)
    np.testing.assert_array_equal(mocap.positions, expected["positions"])
    np.testing.assert_array_equal(mocap.clip(1), expected["positions"][6:12])
    assert mocap.description.tolist() == ["walk", "sit"]
    assert mocap.subject.tolist() == ["y01", "y02"]
    assert read_mocap(write(tmp_path), name="other").description.tolist() == ["", ""]


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is none; docs/data\.md says how to get one"):
        read_mocap(tmp_path / "absent_h36m17.npz")
    with pytest.raises(FileNotFoundError, match=r"absent_h36m17\.npz"):
        read_mocap(tmp_path / "absent_h36m17.npz")


@pytest.mark.parametrize("key", ["positions", "clip_start", "clip_length", "fps"])
def test_missing_key(tmp_path, key):
    with pytest.raises(ValueError, match=rf"mine_h36m17\.npz: Expected the arrays .*\['{key}'\] are missing"):
        read_mocap(write(tmp_path, **{key: None}))


def test_subjects_stand_in_for_skeletons(tmp_path):
    people = np.array(["Ann", "Bob"])
    assert read_mocap(write(tmp_path, skeleton_id=None, subject=people)).skeleton_id.tolist() == ["Ann", "Bob"]
    with pytest.raises(ValueError, match=r"but \['skeleton_id'\] are missing; got \['pos"):
        read_mocap(write(tmp_path, skeleton_id=None))


def _with(value, *place):
    positions = arrays()["positions"].copy()
    positions[place] = value
    return positions


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": np.zeros((12, 39, 3))},
            "`positions` of 'mine' to be numbers of shape (T, 17, 3), but got float64 (12, 39, 3).",
        ),
        (
            {"positions": np.zeros((12, 17))},
            "`positions` of 'mine' to be numbers of shape (T, 17, 3), but got float64 (12, 17).",
        ),
        (
            {"positions": np.full((12, 17, 3), "x")},
            "`positions` of 'mine' to be numbers of shape (T, 17, 3), but got <U1 (12, 17, 3).",
        ),
        ({"positions": _with(np.nan, 3, 2, 1)}, "1 frames hold NaN or infinity, the first is frame 3."),
        ({"positions": _with(np.inf, slice(7, 9))}, "2 frames hold NaN or infinity, the first is frame 7."),
        ({"positions": arrays()["positions"] / 1000}, "in millimetres, with a mean bone of 50 to 1000, but got 0.2"),
        (
            {"clip_start": np.array([0.0, 6.0])},
            "`clip_start` of 'mine' to be integers of shape (T,), but got float64 (2,).",
        ),
        (
            {"clip_start": np.array([[0, 6]])},
            "`clip_start` of 'mine' to be integers of shape (T,), but got int64 (1, 2).",
        ),
        ({"clip_length": np.array([6])}, "`clip_length` of 'mine' to be integers of shape (2,), but got int64 (1,)."),
        ({"clip_length": np.array([6, 7])}, "in the 12 frames, but clip 1 starts at 6 and has length 7."),
        ({"clip_length": np.array([0, 6])}, "in the 12 frames, but clip 0 starts at 0 and has length 0."),
        ({"clip_start": np.array([-1, 6])}, "in the 12 frames, but clip 0 starts at -1 and has length 6."),
        ({"skeleton_id": np.array([1, 2])}, "`skeleton_id` of 'mine' to be strings of shape (2,), but got int64 (2,)."),
        ({"subject": np.array(["a"])}, "`subject` of 'mine' to be strings of shape (2,), but got <U1 (1,)."),
        ({"fps": np.float32(0.0)}, "`fps` of 'mine' to be positive, but got 0.0."),
        ({"fps": np.float32(np.nan)}, "`fps` of 'mine' to be positive, but got nan."),
        ({"fps": np.array([25.0, 30.0])}, "`fps` of 'mine' to be one number, but got float64 of shape (2,)."),
        ({"fps": np.array("fast")}, "`fps` of 'mine' to be one number, but got <U4 of shape ()."),
        (
            {
                key: np.zeros(0, dtype)
                for key, dtype in (("clip_start", int), ("clip_length", int), ("skeleton_id", "U1"))
            },
            "of shape (T,), but got int64 (0,), which is empty.",
        ),
    ],
)
def test_wrong_content(tmp_path, changes, message):
    with pytest.raises(ValueError, match=r"^mine_h36m17\.npz: Expected .*" + re.escape(message)):
        read_mocap(write(tmp_path, **changes))


def test_pickled_arrays_are_refused(tmp_path):
    path = write(tmp_path, positions=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match=r"mine_h36m17\.npz: .*pickled Python objects"):
        read_mocap(path)


def test_no_npz(tmp_path):
    text, single = tmp_path / "text.npz", tmp_path / "single.npz"
    text.write_text("positions")
    with pytest.raises(ValueError, match=r"text\.npz: Expected an npz file, but it cannot be read as one"):
        read_mocap(text)
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(
        ValueError, match=r"single\.npz: Expected an npz file with named arrays, but got a single array"
    ):
        read_mocap(single)
    cut = write(tmp_path)
    cut.write_bytes(cut.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"mine_h36m17\.npz: Expected an npz file, but it cannot be read as one"):
        read_mocap(cut)


def test_other_skeletons():
    bone = Skeleton.from_parents([-1, 0])
    pose = np.array([[[0, 0, 0], [0, 0, 300]]])
    mocap = Mocap("two", pose, np.array([0]), np.array([1]), np.array(["a"]), 30, skeleton=bone)
    assert mocap.positions.dtype == np.float32


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real motion capture in ../shared/data")
def test_real_files():
    uiprmd, cmu = (read_mocap(DATA / f"{name}_h36m17.npz") for name in ("uiprmd", "cmu"))
    assert (uiprmd.name, uiprmd.fps, len(uiprmd.positions), len(uiprmd.clip_start)) == ("uiprmd", 25.0, 95_831, 1_530)
    assert (cmu.name, cmu.fps, len(cmu.positions), len(cmu.clip_start)) == ("cmu", 30.0, 46_607, 176)
    markers = read_mocap(DATA / "uiprmd_vicon39_sample.npz", skeleton="plug_in_gait39")
    assert (markers.positions.shape, sorted(set(markers.skeleton_id))) == (
        (10_016, 39, 3),
        [f"S0{i}" for i in range(1, 9)],
    )
    with np.load(DATA / "uiprmd_vicon39_sample.npz") as archive:
        assert tuple(archive["marker_names"].tolist()) == get_skeleton("plug_in_gait39").names
    with pytest.raises(
        ValueError, match=r"uiprmd_vicon39_sample\.npz: Expected `positions` .* \(T, 17, 3\), but got float32 \(10016"
    ):
        read_mocap(DATA / "uiprmd_vicon39_sample.npz")
