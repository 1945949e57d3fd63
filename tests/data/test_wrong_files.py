"""Files that are wrong in content: what every reader refuses, in one error that names the file, or reads aright.

Each table holds one kind of wrong file for all readers that could take it for a right one.
"""

import json
import os
import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seal_lightning.data import (
    H3WBDataModule,
    Human36MDataModule,
    KeypointFileDataModule,
    KeypointsDataModule,
    MocapDataModule,
    MPIINF3DHPDataModule,
    SyntheticMocap,
    read_amc,
    read_bvh,
    read_detections,
    read_mocap,
    read_object,
)
from seal_lightning.data.datamodules._h3wb_json import read_h3wb_json
from seal_lightning.skeleton import get_skeleton
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping
from seal_lightning.skeleton.sides import misnamed_joint
from tests.data.miniature import as_object, as_samples, pinhole, walking, write_human36m, write_mpi_inf_3dhp

COCO, H36M = list(get_skeleton("coco17").names), list(get_skeleton("h36m17").names)
RNG = np.random.default_rng(0)
PIXELS = RNG.uniform((100, 50), (400, 450), (17, 2)).round(1)
FLAT = np.c_[PIXELS, np.full(17, 0.9)].ravel().tolist()


def result(image_id=1, **changes):
    return {"image_id": image_id, "category_id": 1, "keypoints": FLAT, "score": 0.9, **changes}


def coco(names=COCO, annotation=None, **image):
    image = {"id": 1, "file_name": "a.jpg", "width": 640, "height": 480, **image}
    return {
        "images": [image],
        "categories": [{"id": 1, "name": "person", "keypoints": names}],
        "annotations": [{"image_id": 1, "keypoints": FLAT, **(annotation or {})}],
    }


def mmpose(meta=None, **instance):
    someone = {"keypoints": PIXELS.tolist(), "keypoint_scores": [0.9] * 17, **instance}
    return {"meta_info": meta or {}, "instance_info": [{"frame_id": 0, "instances": [someone]}]}


def detector(tmp_path, content, **options):
    path = tmp_path / "people.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    data = KeypointFileDataModule(str(path), **{"mapping": "coco17_to_h36m17", "image_size": (640, 480), **options})
    data.setup()
    return data


def numbered(names):
    return {"keypoint_id2name": {str(place): name for place, name in enumerate(names)}}


POSETRACK = [COCO[0], "head_bottom", "head_top", *COCO[3:]]
ROOT_FIRST = ["root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot", "spine"]
LIFTED = RNG.normal(0, 300, (17, 3)).round(1)
DETECTOR_FILES = [
    # The joints that a file names are not those of the skeleton.
    ("COCO in the order of Human3.6M", coco(H36M), {}, "joint 0 to be 'nose', but the file calls it 'Hip'"),
    ("COCO of PoseTrack", coco(POSETRACK), {}, "joint 1 to be 'left_eye', but the file calls it 'head_bottom'"),
    ("COCO mirrored", coco([COCO[i] for i in get_skeleton("coco17").partners]), {}, "calls it 'right_eye'"),
    ("COCO of too few names", coco(COCO[:16]), {}, "17 joints, but the file names 16"),
    ("COCO of numbered names", coco([1] * 17), {}, "`categories`: Expected the names of joints"),
    ("MMPose in the order of Human3.6M", mmpose(numbered(H36M)), {}, "joint 0 to be 'nose'"),
    ("MMPose read as Human3.6M", mmpose(numbered(COCO)), {"mapping": None}, "joint 0 to be 'Hip', .* calls it 'nose'"),
    ("MMPose of another data set", mmpose({"dataset_name": "h36m"}), {}, "joint 0 to be 'nose', .* calls it 'Hip'"),
    ("MMPose by name", mmpose({"keypoint_name2id": {n: i for i, n in enumerate(H36M)}}), {}, "joint 0 to be 'nose'"),
    ("MMPose with a gap", mmpose({"keypoint_id2name": {"1": "nose"}}), {}, "the names of joints, each a string"),
    # Three columns are not always keypoints with a confidence.
    ("MMPose in 3D", mmpose(keypoints=LIFTED.tolist()), {}, "`keypoints` to be J times .* Poses in 3D are not"),
    ("results in 3D, millimetres", [result(keypoints=LIFTED.ravel().tolist())], {}, "confidences from -.* in 3D"),
    ("confidences in percent", [result(keypoints=np.c_[PIXELS, [300.0] * 17].tolist())], {}, "confidences from 300"),
    ("nested results in 2D", [result(keypoints=PIXELS.tolist())], {}, r"J times \(x, y, confidence\), but got \(17, 2"),
    # Sizes of pictures.
    *(
        (f"size {size}", coco(width=size, height=size), {"image_size": None}, "`image_size` for pixels, since the file")
        for size in (0, None, -1, "640", True, 1e400)
    ),
    ("one size of two", coco(height=None), {"image_size": None}, "`image_size` for pixels, since the file"),
    ("another size", coco(), {"image_size": (320, 240)}, r"`image_size` to be that of the file, \[\(640.0, 480.0\)\]"),
    # Scales.
    ("0 to 1 in a json file", [result(keypoints=[0.4, 0.6, 0.9] * 17)], {}, "in pixels since `image_size` is given"),
    ("-1 to 1 in a json file", [result(keypoints=[0.1, -0.2, 0.9] * 17)], {}, "without `image_size`"),
    (
        "-1 to 1 without a size",
        [result(keypoints=[0.1, -0.2, 0.9] * 17)],
        {"image_size": None},
        "Keypoints in json files are pixels",
    ),
    ("pictures of another size", [result()], {"image_size": (160, 120)}, "% of the joints are far outside, at up to"),
    ("a pose in millimetres", [result(keypoints=np.c_[LIFTED[:, :2] * 9, [0.9] * 17].tolist())], {}, "far outside, at"),
    (
        "depths beside pixels",
        [result(keypoints=np.c_[PIXELS, LIFTED[:, 0] / 999].tolist())],
        {},
        "third column of",
    ),
    ("far outside", [result(keypoints=[1e9, 2.0, 0.9] * 17)], {}, "numbers up to 1e.09"),
    # Videos.
    ("every tenth frame", [result(10 * i) for i in range(30)], {"fps": 30.0}, "one by one, but all are 10 apart"),
    ("a frame rate below", [result()], {"fps": 0.04}, "`fps` to be frames per second, but got 0.04"),
    # Entries of the wrong kind.
    ("null entry", [result(), None], {}, "results, entry 1: Expected a dict, but got null"),
    ("images as a dict", {"images": {"a": 1}, "annotations": []}, {}, "`images` to be a list of entries, but got dict"),
    ("annotations null", {"images": [], "annotations": None}, {}, "`annotations` to be a list of entries, .* null"),
    ("people null", {"people": None}, {}, "`people` to be a list of entries, but got null"),
    ("instance_info null", {"instance_info": None}, {}, "`instance_info` to be a list of entries, but got null"),
    ("instances null", {"instance_info": [{"frame_id": 1, "instances": None}]}, {}, "`instances` to be a list"),
    ("keypoints as a dict", [result(keypoints={"a": 1})], {}, "entry 0: Expected numbers in lists of one length"),
    ("ragged keypoints", [result(keypoints=[[1, 2, 1], [3]])], {}, "Expected numbers, but got lists of different"),
    ("keypoints as strings", [result(keypoints=["1"] * 51)], {}, "Expected numbers in lists of one length"),
    ("booleans as keypoints", [result(keypoints=[True] * 51)], {}, "Expected numbers in lists of one length"),
    ("no scores", {"instance_info": [{"frame_id": 1, "instances": [{"keypoints": [[1, 2]]}]}]}, {}, "keypoint_scores"),
    ("a track without end", [result(track_id=float("inf"))], {}, "`track` to be a whole number, but got inf"),
    ("half a track", [result(track_id=1.5)], {}, "`track` to be a whole number, but got 1.5"),
    ("a track of two numbers", [result(idx=[[0.0], [1.0]])], {}, "`track` to be a whole number"),
    ("a score in words", [result(score="high")], {}, "`score` to be a number, but got high"),
    ("a frame without a name", [result(None)], {}, "`image_id` to be a number or a string, but got None"),
    ("a frame twice", {"instance_info": [{"frame_id": 1, "instances": []}] * 2}, {}, "every frame once, .* 1 again"),
    # Text that is hardly json.
    ("400 digits", json.dumps([result()]).replace("0.9", "1" * 400), {}, "Expected"),
    ("5,000 digits", json.dumps([result()]).replace("0.9", "1" * 5000), {}, "a json file, but it cannot be read"),
    ("deep brackets", "[" * 100_000 + "]" * 100_000, {}, "its brackets are nested too deep"),
    ("a key twice", '{"people": [], "people": []}', {}, "the key 'people' stands twice in one object"),
    ("nothing", "", {}, "a json file, but it cannot be read"),
    ("an unknown layout", [{"keypoints": {"x": [1]}, "box": {}}], {}, r"first entry has the keys \['box', 'keypoints'"),
    ("landmarks", {"pose_landmarks": [[]]}, {}, r"the keys \['pose_landmarks'\]"),
]


@pytest.mark.parametrize(
    ("content", "options", "message"), [row[1:] for row in DETECTOR_FILES], ids=[r[0] for r in DETECTOR_FILES]
)
def test_detector_files_that_are_refused(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message) as raised:
        detector(tmp_path, content, **options)
    assert "people.json" in str(raised.value) or "`fps`" in message
    assert "Expected" in str(raised.value)


def test_what_looks_odd_in_detector_files_is_read_aright(tmp_path):
    """A wrong score never wins, nobody is nobody, and nested keypoints are those of a flat list."""
    other = result(keypoints=[50.0, 60.0, 0.1] * 17)
    right = detector(tmp_path, [result()]).keypoints_2d
    for name, content in {
        "NaN score first": [{**other, "score": float("nan")}, result()],
        "NaN score last": [result(), {**other, "score": float("nan")}],
        "NaN score of one": [result(score=float("nan"))],
        "no keypoints": [result(), result(keypoints=[], score=1.0)],
        "null keypoints": [result(), result(keypoints=None, score=1.0)],
        "nothing seen": [result(), result(keypoints=[0.0] * 51, score=1.0)],
        "nested": [result(keypoints=np.reshape(FLAT, (17, 3)).tolist())],
        "track in lists": [result(idx=[[4.0], [4.0]])],
        "no track": [result(idx=[])],
    }.items():
        np.testing.assert_array_equal(detector(tmp_path, content).keypoints_2d, right, err_msg=name)
    nested = coco(annotation={"keypoints": [[*xy, 2] for xy in PIXELS.tolist()]})
    found = read_detections(detector(tmp_path, nested).path)
    np.testing.assert_allclose(found.keypoints_2d[0, 5], [*PIXELS[5], 1.0], rtol=1e-6)
    boxes = coco()
    boxes["annotations"].append({"image_id": 1, "keypoints": []})
    assert detector(tmp_path, boxes, image_size=None).visibility.all()
    # Where nobody is, the size of the picture does not matter.
    empty = coco()
    empty["images"].append({"id": 2, "file_name": "b.jpg", "width": 0, "height": 0})
    assert detector(tmp_path, empty, image_size=None).visibility.tolist() == [[True] * 17, [False] * 17]
    infinite = [*FLAT[:15], 120.0, 90.0, float("inf"), *FLAT[18:]]
    with pytest.raises(ValueError, match=r"confidences from 0\.9 to inf"):
        detector(tmp_path, [result(keypoints=infinite)])


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ([*ROOT_FIRST, "thorax", "neck_base", "head", *H36M[11:]], "h36m17"),
        ([*H36M[:8], "Neck", "Nose", "Head", *H36M[11:]], "h36m17"),
        ([*H36M[:9], "Neck/Nose", *H36M[10:]], "h36m17"),
        ([name.upper() for name in COCO], "coco17"),
        ([name.replace("left_", "L").replace("right_", "R") for name in COCO], "coco17"),
        (["head_top", "neck", *get_skeleton("mpi_inf_3dhp17").names[2:14], "root", "spine", "head"], "mpi_inf_3dhp17"),
    ],
)
def test_other_spellings_are_the_same_joints(stated, expected):
    names = get_skeleton(expected).names
    assert misnamed_joint(stated, names) is None
    assert misnamed_joint(stated, names[::-1]) is not None


def test_an_openpose_folder_names_the_frame(tmp_path):
    folder = tmp_path / "json"
    folder.mkdir()
    good = json.dumps({"people": [{"pose_keypoints_2d": [100.0, 200.0, 0.9] * 25}]})
    for content, message in (
        ("", r"v_1_keypoints\.json: Expected a json file"),
        ('{"people": 3}', "frame 'v_1': Expected `people` to be a list"),
        ('{"persons": []}', r"frame 'v_1': Expected an entry to have 'people', but got \['persons'\]"),
        ('{"people": [{"pose_keypoints_3d": [1, 2, 3, 1]}]}', "frame 'v_1': .* 'pose_keypoints_2d'"),
    ):
        (folder / "v_0_keypoints.json").write_text(good)
        (folder / "v_1_keypoints.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            read_detections(folder)
    (folder / "v_1_keypoints.json").write_text('{"people": []}')
    (folder / "v_1.json").write_text(good)
    with pytest.raises(ValueError, match="one file a frame, but got several"):
        read_detections(folder)


# Arrays of one's own.

MOTION = SyntheticMocap(subjects=2, clips_per_subject=1, frames=6).generate()
MOCAP = {name: getattr(MOTION, name) for name in ("positions", "clip_start", "clip_length", "skeleton_id", "fps")}
BODIES = walking(np.random.default_rng(1), "h36m17", 12) + np.array((0.0, 0.0, 4000.0))
SEEN = pinhole(BODIES, focal=1145.0, size=(1000, 1000))
KEYPOINTS = {
    **{"keypoints_2d": SEEN, "positions_3d": BODIES, "clip_start": np.array([0, 6]), "clip_length": np.array([6, 6])},
    **{"subject": np.array(["a", "b"]), "clip": np.array(["c", "d"]), "fps": 25.0, "joint_names": np.array(H36M)},
}
NORMAL = SEEN / 500 - 1


def keypoints(path, **options):
    given = {"split": {"train": ["a"], "test": ["b"]}, "image_size": (1000, 1000), "positions_unit": "mm"}
    data = KeypointsDataModule(str(path), **given | options)
    data.setup("fit")
    return next(iter(data.train_dataloader()))


def predicted(path, **options):
    data = KeypointFileDataModule(str(path), **{"image_size": (1000, 1000), **options})
    data.setup()
    return data


def converted(path, **options):
    from seal_lightning.cli.convert import convert

    return convert([str(path)], str(path.parent / "out.npz"), **{"unit": "mm", "up": "z", **options})


READERS = {"mocap": (read_mocap, MOCAP), "convert": (converted, MOCAP), "keypoints": (keypoints, KEYPOINTS)}
READERS["predict"] = (predicted, {"keypoints_2d": SEEN, "joint_names": np.array(H36M)})
LATE = 2**63 - 5
STILL = MOTION.positions + np.linspace(0, 4000, 12)[:, None, None] * (np.arange(17)[:, None] != 3) * (1, 0, 0)
ARRAYS = [
    # Types that NumPy would turn into numbers or names without a word.
    ("mocap", {"positions": MOTION.positions * 1j}, {}, "`positions` of 'x' to be numbers .* got complex64"),
    ("mocap", {"positions": MOTION.positions.astype(str)}, {}, "to be numbers .* but got <U"),
    ("mocap", {"positions": MOTION.positions > 0}, {}, "but got bool"),
    ("convert", {"positions": MOTION.positions.astype("M8[s]")}, {}, "`positions` to be numbers .* datetime64"),
    ("keypoints", {"keypoints_2d": SEEN + 1j}, {}, "floating-point numbers .* complex128"),
    ("keypoints", {"keypoints_2d": SEEN.astype(str)}, {}, "floating-point numbers .* <U"),
    ("keypoints", {"visibility": np.ones((12, 17)) * 1j}, {}, "`visibility` to be numbers"),
    ("predict", {"keypoints_2d": SEEN + 1j}, {}, "`keypoints_2d` to be numbers .* complex128"),
    ("predict", {"keypoints_2d": SEEN.astype(str)}, {}, "`keypoints_2d` to be numbers .* <U"),
    ("predict", {"keypoints_2d": np.ones((4, 17, 2), "M8[s]")}, {}, "`keypoints_2d` to be numbers .* datetime64"),
    ("predict", {"visibility": np.full((12, 17), 1j)}, {}, "`visibility` to be numbers"),
    ("mocap", {"clip_start": np.array([0.0, 6.0])}, {}, "`clip_start` of 'x' to be integers"),
    ("mocap", {"skeleton_id": np.array([b"\xff", b"a"])}, {}, "`skeleton_id` of 'x' to be strings, but got bytes that"),
    ("mocap", {"fps": np.array(25j)}, {}, "`fps` of 'x' to be one number, but got complex128"),
    ("convert", {"parents": np.array([0.5] * 17), "joint_names": np.array(H36M)}, {}, "`parents` to be integers"),
    # Clips near the end of 64 bits, whose end is before their start.
    *(
        (reader, {"clip_start": np.array([0, LATE]), "clip_length": np.array([6, 10])}, {}, f"clip 1 starts at {LATE}")
        for reader in ("mocap", "convert", "keypoints")
    ),
    ("mocap", {"clip_start": np.array([0, 2**64 - 2], np.uint64)}, {}, "clip 1 starts at 18446744073709551614"),
    # Rates.
    *((reader, {"fps": 0.04}, {}, "frames per second, but got 0.04; is it") for reader in ("mocap", "convert")),
    ("keypoints", {"fps": float("nan")}, {}, "`fps` to be positive, but got nan"),
    ("mocap", {"fps": 1e300}, {}, "frames per second, but got 1e.300"),
    # Names of joints that are those of another skeleton.
    ("mocap", {"joint_names": np.array(COCO)}, {}, "joint 0 to be 'Hip', but the file calls it 'nose'"),
    ("mocap", {"joint_names": np.array(H36M[::-1])}, {}, "joint 0 to be 'Hip', but the file calls it 'RWrist'"),
    ("keypoints", {"joint_names": np.array(COCO)}, {}, "joint 0 to be 'Hip', but the file calls it 'nose'"),
    ("predict", {"joint_names": np.array([name.encode() for name in COCO])}, {}, "joint 0 to be 'Hip'"),
    # Coordinates of another scale.
    ("predict", {"keypoints_2d": SEEN / 1000}, {"image_size": None}, "hardly any number is negative"),
    ("keypoints", {"keypoints_2d": SEEN / 1000}, {"image_size": None}, "hardly any number is negative"),
    ("predict", {"keypoints_2d": SEEN / 1000}, {}, "in pixels since `image_size` is given"),
    ("keypoints", {"keypoints_2d": NORMAL}, {}, "in pixels since `image_size` is given"),
    ("predict", {}, {"image_size": None}, "Give `image_size` for pixels"),
    *(
        (reader, {"keypoints_2d": SEEN / 1000 * scale + shift}, {"image_size": None}, "hardly any number is negative")
        for reader in ("predict", "keypoints")
        for scale, shift in (((1.0, 2.0), 0.0), ((1.0, 1.0), (np.arange(17)[:, None] == 3) * -2.0))
    ),
    *((reader, {}, {"image_size": (90, 90)}, "100% of the joints are far") for reader in ("predict", "keypoints")),
    # A third column that is none of confidences.
    *(
        (reader, {"keypoints_2d": np.concatenate((SEEN, column), axis=-1)}, {}, "third column .* to be confidences")
        for reader in ("predict", "keypoints")
        for column in (BODIES[..., 2:] / 1000, BODIES[..., :1] / 1000, np.full((12, 17, 1), 87.5))
    ),
    ("keypoints", {"positions_3d": BODIES / 1000}, {}, "targets of x/a 'c' in millimetres"),
    ("keypoints", {"positions_3d": BODIES}, {"positions_unit": "m"}, "targets of x/a 'c' in millimetres"),
    # One clip of two in another unit, and axes that point the other way.
    ("keypoints", {"positions_3d": np.r_[BODIES[:6] / 1000, BODIES[6:]]}, {}, "targets of x/a 'c' in millimetres"),
    ("keypoints", {"positions_3d": BODIES * (1, -1, 1)}, {}, "x right and y down, but in y they correlate by -"),
    ("keypoints", {"positions_3d": BODIES * (-1, 1, 1)}, {}, "x right and y down, but in x they correlate by -"),
    # A joint that stands in the world is no part of the body.
    ("mocap", {"positions": STILL}, {}, r"bones of `positions` of 'x' to keep their lengths, but 'RKnee' - 'RAnkle'"),
    ("convert", {"visibility": np.eye(12, 17)}, {}, "'RHip' is NaN or invisible in frame 0"),
    ("convert", {"positions": MOTION.positions / 10}, {}, "Expected people of 0.75 to 2.5 m, but got 0.1"),
    ("convert", {"positions": MOTION.positions * 2.54}, {}, "Expected people of 0.75 to 2.5 m, but got 3|4"),
    ("convert", {"positions": MOTION.positions[..., [0, 2, 1]]}, {}, "m along y of the converted file"),
    ("convert", {"positions": MOTION.positions * (1, 1, -1)}, {}, "m along -z of the converted file"),
    ("convert", {"positions": MOTION.positions[..., [2, 0, 1]]}, {}, "m along x of the converted file"),
]


@pytest.mark.parametrize(
    ("reader", "changes", "options", "message"), ARRAYS, ids=[f"{i} {r[0]}" for i, r in enumerate(ARRAYS)]
)
def test_arrays_that_are_refused(tmp_path, reader, changes, options, message):
    read, arrays = READERS[reader]
    np.savez(tmp_path / "x.npz", **arrays | changes)
    with pytest.raises(ValueError, match=message) as raised:
        read(tmp_path / "x.npz", **options)
    assert "x.npz" in str(raised.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["S", "U"])
def test_the_arrays_themselves_are_read_with_names_as_strings_or_bytes(tmp_path, reader, kind):
    read, arrays = READERS[reader]
    named = {key: value.astype(kind) if np.asarray(value).dtype.kind == "U" else value for key, value in arrays.items()}
    np.savez(tmp_path / "x.npz", **named)
    assert read(tmp_path / "x.npz")


def test_normalised_keypoints_on_one_side_of_the_picture_pass(tmp_path):
    """Right of the middle all x are above 0; only where y is too can nobody tell them from 0 to 1."""
    np.savez(tmp_path / "x.npz", keypoints_2d=np.clip(NORMAL, -0.3, 0.3) + np.array((0.5, 0.0)))
    assert predicted(tmp_path / "x.npz", image_size=None).visibility.all()


def header(shape):
    text = repr({"descr": "<f4", "fortran_order": False, "shape": shape}).encode()
    text += b" " * (64 - (len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "shape", [(-8, 17, 3), (-8, -17, 3), (2**70, 17, 3), (10**12, 17, 3), (True, 17, 3), (1.5, 17, 3), ("a",), 5]
)
def test_headers_that_lie_about_the_shape(tmp_path, shape, packing):
    path = tmp_path / "x.npz"
    np.savez(path, **{key: value for key, value in MOCAP.items() if key != "positions"})
    with zipfile.ZipFile(path, "a", packing) as archive:
        archive.writestr("positions.npy", header(shape) + bytes(4000))
    for read in (read_mocap, converted, partial(read_object, name="positions")):
        with pytest.raises(ValueError, match=r"x\.npz.*Expected"):
            read(path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("positions_3d", {"S1": {}}, "Human36MDataModule"),
        ("positions_2d", {"S1": {}}, "Human36MDataModule"),
        ("train_data", {"S1": {}}, "H3WBDataModule"),
        ("data", {"TS1": {}}, "MPIINF3DHPDataModule"),
        ("other", {"a": 1}, r"docs/data\.md says which arrays go where"),
    ],
)
def test_pickled_files_name_who_reads_them(tmp_path, name, array, message):
    np.savez(tmp_path / "x.npz", **{name: as_object(array)})
    for read in (read_mocap, converted, keypoints, predicted):
        with pytest.raises(ValueError, match=rf"x\.npz: .*{message}"):
            read(tmp_path / "x.npz")


@pytest.mark.parametrize("suffix", [".csv", ".h5", ".pkl", ".mat", ".npy", ".pt", ".c3d"])
def test_other_formats_say_what_to_use(tmp_path, suffix):
    path = tmp_path / f"poses{suffix}"
    path.write_bytes(b"\x89HDF\r\n1,2,3")
    for read in (read_mocap, converted, keypoints, predicted):
        with pytest.raises(ValueError, match=rf"poses\{suffix}.* save the arrays that docs/data\.md lists"):
            read(path)


PATHS = {
    **{"mocap": read_mocap, "bvh": partial(read_bvh, unit="cm", up="y"), "detections": read_detections},
    "amc": lambda path: read_amc(path, path, unit="cm", up="y", fps=120.0),
    "object": partial(read_object, name="positions"),
    "convert": lambda path: converted(Path(path), skip_bad=False),
    "keypoints": keypoints,
    "predict": predicted,
    "h3wb": read_h3wb_json,
    "training": lambda path: MocapDataModule([str(path)]).setup(),
    "human36m": lambda path: Human36MDataModule(str(path)).setup(),
    "3dhp": lambda path: MPIINF3DHPDataModule(str(path)).setup(),
    "h3wb module": lambda path: H3WBDataModule(str(path)).setup(),
}


@pytest.mark.parametrize("reader", PATHS)
@pytest.mark.parametrize("what", ["folder", "absent", "device"])
def test_folders_devices_and_nothing_in_place_of_a_file(tmp_path, monkeypatch, reader, what):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    path = "/dev/zero" if what == "device" else what
    if what == "device" and not os.path.exists(path):
        pytest.skip("this system has no /dev/zero")
    with pytest.raises((ValueError, FileNotFoundError), match="Expected"):
        PATHS[reader](Path(path))


@pytest.mark.parametrize("reader", ["mocap", "bvh", "detections", "amc", "object"])
@pytest.mark.parametrize("path", [None, 3, ["a.npz"]])
def test_what_is_no_path(reader, path):
    with pytest.raises(TypeError, match=r"Expected the path of a file or folder, but got (None|3|\['a.npz'\])"):
        PATHS[reader](path)


# The benchmarks.


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    write_human36m(folder, frames=12, actions=("Walking 1",))
    write_mpi_inf_3dhp(folder, frames=8)
    return folder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v[::-1], "projected poses, but half of them are"),
        (lambda v: [x / 500 - 1 for x in v], "projected poses"),
        (lambda v: [x / 1000 for x in v], "projected poses"),
        (lambda v: [np.repeat(x, 2, 0) for x in v], "all 12 frames that have a pose, and of few others, but got 24"),
        (lambda v: [x[:, ::-1] for x in v], "projected poses"),
        (lambda v: [x[:, get_skeleton("h36m17").partners] for x in v], "left and right are exchanged"),
        (lambda v: [x + 200 for x in v], "projected poses"),
        (lambda v: [x.astype(str) for x in v], "Expected numbers of shape"),
        (lambda v: None, "Expected keypoints of 4 cameras, but got NoneType"),
        (lambda v: 4, "Expected keypoints of 4 cameras, but got int"),
    ],
)
def test_detections_of_human36m_are_compared_with_the_poses(benchmarks, tmp_path, change, message):
    name = "data_2d_h36m_cpn_ft_h36m_dbb.npz"
    found = read_object(benchmarks / name, "positions_2d")
    (tmp_path / "data_3d_h36m.npz").write_bytes((benchmarks / "data_3d_h36m.npz").read_bytes())
    np.savez(
        tmp_path / name, positions_2d=as_object({s: {a: change(v) for a, v in x.items()} for s, x in found.items()})
    )
    with pytest.raises(ValueError, match=rf"{name}, S\d Walking 1.*{message}"):
        Human36MDataModule(str(tmp_path), keypoints="cpn_ft_h36m_dbb").setup("test")


@pytest.mark.parametrize(
    ("key", "change", "message"),
    [
        ("data_2d", lambda a: a / 1024 - 1, "in pixels since `image_size` is given"),
        ("data_2d", lambda a: a / 2048, "in pixels since `image_size` is given"),
        ("data_2d", lambda a: a[:, ::-1], "to show `target` in the camera's frame"),
        ("data_3d", lambda a: a * (1, -1, 1), "in y they correlate by -"),
        ("data_3d", lambda a: a[..., [1, 0, 2]], "to show `target`"),
        ("valid", lambda a: a.astype(str), "TS1, valid: Expected numbers"),
        ("valid", lambda a: [[1], [1, 0]], "TS1, valid: Expected an array, but got rows of different"),
    ],
)
def test_3dhp_files_of_another_scale_axis_or_order(benchmarks, tmp_path, key, change, message):
    data = read_object(benchmarks / "data_test_3dhp.npz", "data")
    data["TS1"][key] = change(data["TS1"][key])
    np.savez(tmp_path / "data_test_3dhp.npz", data=as_object(data))
    with pytest.raises(ValueError, match=message):
        MPIINF3DHPDataModule(str(tmp_path)).setup("test")


@pytest.fixture(scope="module")
def samples():
    body = walking(np.random.default_rng(2), "h3wb133", 2) + np.array((0.0, 0.0, 4500.0))
    camera = {"camera_3d": body, "pose_2d": pinhole(body, focal=1145.0, size=(1000, 1002))}
    subjects = {"S8": {"Waiting 1": {"54138969": camera}}}
    return json.dumps(as_samples(subjects, {"54138969": (1000, 1002)}, True, "keypoints", poses=True))


def altered(change):
    def text(samples):
        content = json.loads(samples)
        change(content["0"])
        return json.dumps(content)

    return text


def joint(key, value, axis="x"):
    return altered(lambda sample: sample[key]["5"].__setitem__(axis, value))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: "[" * 50_000, "nested too deep|cannot be read"),
        (joint("keypoints_3d", 10**400), "keypoints_3d: Expected x, y and z as numbers"),
        (joint("keypoints_3d", "1.5"), "keypoints_3d: Expected x, y and z as numbers"),
        (joint("keypoints_2d", None), "keypoints_2d: Expected x and y as numbers"),
        (joint("keypoints_2d", [1.0]), "keypoints_2d: Expected x and y as numbers"),
        (joint("keypoints_2d", float("nan")), r"54138969: Expected `keypoints_2d` to be finite"),
        (altered(lambda sample: sample.update(image_path="S8_Waiting_1.54138969_000080.jpg")), "every picture once"),
        (lambda s: s.replace('"1": {"keypoints_2d"', '"0": {"keypoints_2d"', 1), "the key '0' stands twice"),
        (lambda s: s.replace('"1": {"keypoints_2d"', f'"{"1" * 30}": {{"keypoints_2d"', 1), "ids of samples to be num"),
    ],
)
def test_h3wb_json_that_is_refused(tmp_path, samples, change, message):
    path = tmp_path / "2Dto3D_test_3d.json"
    path.write_text(samples)
    assert len(H3WBDataModule(str(tmp_path)).recordings("test")[0]) == 2
    path.write_text(change(samples))
    with pytest.raises(ValueError, match=rf"2Dto3D_test_3d\.json.*{message}"):
        H3WBDataModule(str(tmp_path)).setup("test")


# Mappings and splits.


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        ({"LHip": "right_hip"}, r"joint 'LHip' to be made of joints of its own side, but got \['right_hip'\]"),
        ({"RKnee": ["left_knee"]}, "joint 'RKnee' to be made of joints of its own side"),
        ({"Hip": {"left_hip": float("nan")}}, "weights of joint 'Hip' to sum to 1, but got nan"),
        ({"Hip": {"left_hip": "1"}}, r"weights of joint 'Hip' to sum to 1, but got \['1'\]"),
        ({"Hip": {"left_hip": True}}, "weights of joint 'Hip' to sum to 1"),
        ({"Hip": 5}, r"joint 'Hip' to be made of joints of the source, but got \[5\]"),
        ({"Hip": None}, r"joint 'Hip' to be made of joints of the source, but got \[None\]"),
        (["Hip"], "`joints` to be a dict by target joint, but got list"),
    ],
)
def test_mappings_that_are_refused(joints, message):
    with pytest.raises(ValueError, match=message):
        KeypointMapping("coco17", "h36m17", joints)


def test_joints_that_a_mapping_cannot_take():
    mapping = get_mapping("coco17_to_h36m17")
    for joints in (np.full((17, 3), "x"), np.full((17, 3), None), np.ones((17, 3), complex)):
        with pytest.raises(TypeError, match="Expected joints to be real numbers, but got"):
            mapping(joints)
    for name in ({}, None, ["coco17_to_h36m17"]):
        with pytest.raises(ValueError, match="Expected `mapping` to be one of"):
            get_mapping(name)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"train": [1, "b"]}, r"the names of .*, but got \[1, 'b'\] under 'train'. In YAML numbers need quotes"),
        ({"train": None}, "the names of .*, but got None under 'train'"),
        ({"train": 5}, "the names of .*, but got 5 under 'train'"),
        ({"train": [["a"]]}, r"the names of .*, but got \[\['a'\]\] under 'train'"),
        ({1: ["a"]}, r"some of the sides \['train', 'val', 'test'\], but got \[1\]"),
        ({"train": ["a", "a"]}, r"every name once in `split`, but got \['a'\]"),
    ],
)
def test_splits_that_are_refused(tmp_path, split, message):
    np.savez(tmp_path / "x.npz", **KEYPOINTS)
    with pytest.raises(ValueError, match=message):
        keypoints(tmp_path / "x.npz", split=split)
    np.savez(tmp_path / "x.npz", **MOCAP)
    with pytest.raises(ValueError, match=message):
        MocapDataModule([str(tmp_path / "x.npz")], split=split).setup()


@pytest.mark.parametrize("size", [(640,), (640, 0), (640, float("nan")), (640, float("inf")), "ab", 640, (640, "480")])
def test_sizes_of_pictures_that_are_refused(size):
    for make in (KeypointFileDataModule, partial(KeypointsDataModule, split={"train": ["a"]})):
        with pytest.raises(ValueError, match="`image_size` to be a width and a height in pixels, but got"):
            make("x.npz", image_size=size)


# Whatever lies in a json file is read or refused by a sentence.

JUNK = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.just(10**400) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["keypoints", "a", "id"]), inner),
    max_leaves=6,
)
GOOD = [[result()], coco(), mmpose(numbered(COCO)), {"people": [{"pose_keypoints_2d": FLAT}]}]


def places(value, place=()):
    """Every place in nested lists and dicts, but for one number in a list of many."""
    yield place
    for key in value if isinstance(value, dict) else range(min(len(value), 2)) if isinstance(value, list) else ():
        yield from places(value[key], (*place, key))


def check_read_or_refused(read, name):
    """Any other exception than a ValueError fails the test."""
    message = f"{name}: Expected nothing"
    try:
        read()
    except ValueError as error:
        message = str(error)
    assert name in message
    assert "Expected" in message


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.sampled_from(GOOD), junk=JUNK, data=st.data())
def test_a_detector_file_with_junk_in_one_place_is_read_or_refused(tmp_path, content, junk, data):
    content = json.loads(json.dumps(content))
    *way, last = data.draw(st.sampled_from([place for place in places(content) if place]))
    inner = content
    for key in way:
        inner = inner[key]
    inner[last] = junk
    check_read_or_refused(partial(detector, tmp_path, content), "people.json")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_npz_is_read_or_refused(tmp_path, edits):
    for reader, save in (("mocap", np.savez), ("predict", np.savez_compressed)):
        read, arrays = READERS[reader]
        save(tmp_path / "x.npz", **arrays)
        content = bytearray((tmp_path / "x.npz").read_bytes())
        for share, byte in edits:
            content[int(share * len(content))] = byte
        (tmp_path / "x.npz").write_bytes(content)
        check_read_or_refused(partial(read, tmp_path / "x.npz"), "x.npz")
