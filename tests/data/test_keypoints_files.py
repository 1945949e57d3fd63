"""Npz files of one's own, and what detectors write."""

import json
import pickle

import numpy as np
import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.data.datamodules.keypoints import KeypointsDataModule
from seal_lightning.data.formats._memory_map import MappedArray
from seal_lightning.data.formats.detections import read_detections
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping

SIZE = (1920, 1080)
RNG = np.random.default_rng(0)


@pytest.fixture
def write(tmp_path):
    """Write an npz of 12 frames in three clips; `None` leaves an array out."""

    def write(name="mine_coco.npz", compressed=False, joints=17, **changes):
        pixels = RNG.uniform(200, 900, size=(12, joints, 2)).astype(np.float32)
        sure = RNG.uniform(0.2, 1, size=(12, joints, 1)).astype(np.float32)
        arrays = {
            "keypoints_2d": np.concatenate((pixels, sure), axis=-1),
            "positions_3d": RNG.normal(scale=300, size=(12, joints, 3)).astype(np.float32),
            "clip_start": np.array([0, 5, 8]),
            "clip_length": np.array([5, 3, 4]),
            "subject": np.array(["anna", "ben", "anna"]),
            "clip": np.array(["walk", "sit", "run"]),
            "fps": np.array(25.0),
        }
        arrays = {key: value for key, value in {**arrays, **changes}.items() if value is not None}
        (np.savez_compressed if compressed else np.savez)(tmp_path / name, **arrays)
        return str(tmp_path / name), arrays

    return write


def module(path, **options):
    given = {"split": {"train": ["anna"], "test": ["ben"]}, "image_size": SIZE, "positions_unit": "mm"}
    given |= {"mapping": "coco17_to_h36m17", "confidence": True, **options}
    return KeypointsDataModule(path, **given)


def normalised(pixels):
    return np.stack((pixels[..., 0] / 960 - 1, pixels[..., 1] / 960 - 1080 / 1920), axis=-1)


@pytest.mark.parametrize("compressed", [False, True])
def test_batches_against_the_file(write, compressed):
    path, arrays = write(compressed=compressed)
    data = module(path)
    assert data.group_names == ["mine/anna", "mine/ben"]
    assert data.action_names == ["run", "sit", "walk"]
    assert data.skeleton == get_skeleton("h36m17")
    mapping = get_mapping("coco17_to_h36m17")
    for side, frames in (("train", [*range(5), *range(8, 12)]), ("test", range(5, 8))):
        dataset = data.dataset(side)
        assert len(dataset) == len(frames)
        for sample, frame in enumerate(frames):
            batch = dataset[sample]
            places = mapping(normalised(arrays["keypoints_2d"][frame, :, :2]))
            np.testing.assert_allclose(batch["keypoints_2d"][:, :2], places, atol=1e-5)
            pose = mapping(arrays["positions_3d"][frame])
            np.testing.assert_allclose(batch["target"], (pose - pose[0]) / 1000, atol=1e-5)
            assert batch["keypoints_2d"][0, 2] == arrays["keypoints_2d"][frame, 11:13, 2].min()
            assert "visibility" not in batch
            assert data.group_names[batch["group"]] == ("mine/anna" if side == "train" else "mine/ben")


def test_arrays_stay_on_disk(write):
    data = module(write()[0])
    clip = data.recordings("train")[0]
    assert isinstance(clip.keypoints_2d.array, MappedArray)
    assert isinstance(clip.target.array, MappedArray)
    assert len(pickle.dumps(clip.keypoints_2d)) < 6000  # a worker is sent a place in a file
    assert np.array_equal(pickle.loads(pickle.dumps(clip.target))[1:3], clip.target[1:3])


def test_metres_and_millimetres(write):
    path, arrays = write()
    metres, _ = write("metres.npz", **{**arrays, "positions_3d": arrays["positions_3d"] / 1000})
    one = module(path, unit="mm").dataset("train")[3]["target"]
    other = module(metres, unit="mm", positions_unit="m").dataset("train")[3]["target"]
    torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match=r"Expected `positions_unit` to go with `positions_3d`, but got None"):
        module(path, positions_unit=None).setup()
    with pytest.raises(ValueError, match=r"in millimetres"):
        module(path, positions_unit="m").setup()


def test_normalised_keypoints_without_poses(write):
    bare = dict.fromkeys(("positions_3d", "clip_start", "clip_length", "subject", "clip", "fps"))
    path, arrays = write(**bare)
    plain, _ = write("plain.npz", keypoints_2d=normalised(arrays["keypoints_2d"][..., :2]), **bare)
    data = KeypointsDataModule({"test": plain}, skeleton="coco17")
    batch = next(iter(data.predict_dataloader()))
    assert sorted(batch) == ["action", "group", "keypoints_2d"]
    assert data.group_names == ["plain/all"]
    assert np.array_equal(batch["keypoints_2d"], normalised(arrays["keypoints_2d"][..., :2]).astype(np.float32))
    both = KeypointsDataModule({"test": path}, skeleton="coco17", image_size=SIZE).dataset("test")[2]["keypoints_2d"]
    torch.testing.assert_close(both, batch["keypoints_2d"][2])


@pytest.mark.parametrize("how", ["visibility", "bool", "nan", "nan in the pose"])
def test_missing_joints_are_masked_and_zero(write, how):
    """Frame 9 misses its right knee, of which that alone is made, and its left hip, of which hip and spine are too."""
    path, arrays = write()
    visibility = np.ones((12, 17), dtype=np.bool_)
    visibility[9, [14, 11]] = False
    if how in ("visibility", "bool"):
        changes = {"visibility": visibility if how == "bool" else 2 * visibility.astype(np.float32)}
    else:
        name = "keypoints_2d" if how == "nan" else "positions_3d"
        changes = {name: arrays[name].copy()}
        changes[name][9, [14, 11], 0] = np.nan
    masked, _ = write("masked.npz", **{**arrays, **changes})
    data = module(masked, split={"train": ["run"]}, split_by="clip", frames=4, unit="mm")
    batch = data.dataset("train")[0]
    hidden = [(1, joint) for joint in (0, 2, 4, 7)]
    assert list(map(tuple, (~batch["visibility"]).nonzero().tolist())) == [(1, joint) for joint in range(17)]
    # without its root the pose of that frame cannot be placed; the keypoints that are there stay
    assert all((batch["keypoints_2d"][place] == 0).all() for place in hidden)
    assert (batch["keypoints_2d"] == 0).all(-1).sum() == len(hidden)
    assert (batch["target"][1] == 0).all()
    whole = module(path, split={"train": ["run"]}, split_by="clip", frames=4, unit="mm").dataset("train")[0]
    seen = batch["visibility"]
    assert torch.equal(batch["target"][seen], whole["target"][seen])
    assert torch.equal(batch["keypoints_2d"][seen], whole["keypoints_2d"][seen])


def test_what_stands_in_a_missing_joint_does_not_matter(write):
    _, arrays = write()
    visibility = RNG.uniform(size=(12, 17)) > 0.2
    batches = []
    for filler in (0.0, np.nan, 1e6):
        filled = {}
        for name in ("keypoints_2d", "positions_3d"):
            filled[name] = np.where(visibility[..., None], arrays[name], np.float32(filler))
        masked, _ = write(f"f{filler}.npz", **{**arrays, **filled, "visibility": visibility})
        data = module(masked, split={"train": ["walk", "sit", "run"]}, split_by="clip", frames=3)
        batches.append(data.dataset("train").__getitems__(list(range(len(data.dataset("train"))))))
    for other in batches[1:]:
        assert all(torch.equal(other[name], value) for name, value in batches[0].items())
    assert batches[0]["visibility"].any()
    assert not batches[0]["visibility"].all()


def test_a_mapping_of_ones_own_and_joints_that_cannot_be_made(write):
    path, _ = write()
    legs = {name[0].upper() + name.split("_")[1].title(): name for name in get_skeleton("coco17").names[11:]}
    mine = KeypointMapping("coco17", "h36m17", {"Hip": ["left_hip", "right_hip"], **legs})
    batch = module(path, mapping=mine).dataset("test")[0]
    assert batch["visibility"].nonzero().flatten().tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert batch["keypoints_2d"].isfinite().all()


def test_a_file_each(write):
    train, _ = write("train.npz")
    test, _ = write("test.npz")
    data = module({"train": train, "test": test}, split=None)
    assert data.group_names == ["train/anna", "train/ben", "test/anna", "test/ben"]
    assert [len(data.dataset(side)) for side in ("train", "test")] == [12, 12]
    assert list(data.val_dataloader()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_size": None},
            r"normalised, x from -1 to 1 .* a tenth of the numbers are above \d+.*Give `image_size`",
        ),
        ({"split": None}, r"Expected one file as `path` and a `split`, or a file each"),
        (
            {"split": {"train": ["zoe"]}},
            r"Expected `split` to name subjects of the data, \['anna', 'ben'\], but .*'zoe'",
        ),
        ({"split": {"train": ["x"]}, "split_by": "clip"}, r"name clips of the data, \['run', 'sit', 'walk'\], but"),
        ({"split": {"train": "anna"}}, r"lists of the names of subjects, but got 'anna' under 'train'"),
        ({"split": {"train": ["anna"], "val": ["anna"]}}, r"every name once in `split`, but got \['anna'\]"),
        ({"split": {"training": ["anna"]}}, r"Expected `split` to have some of the sides .* but got \['training'\]"),
        ({"split_by": "person"}, r"Expected `split_by` to be 'subject' or 'clip', but got 'person'"),
        ({"positions_unit": "cm"}, r"Expected `positions_unit` to be 'm' or 'mm', but got 'cm'"),
        ({"image_size": (0, 10)}, r"Expected `image_size` to be a width and a height in pixels, but got \(0, 10\)"),
        ({"skeleton": "h36m17"}, r"Expected `skeleton` to be what `mapping` starts from, or None"),
        (
            {"mapping": "h3wb133_to_h36m17"},
            r"mine_coco.npz: Expected `keypoints_2d` to be .* of shape \(T, 133, \(2\|3\)\)",
        ),
    ],
)
def test_what_does_not_fit_is_told(write, options, message):
    path, _ = write()
    with pytest.raises(ValueError, match=message):
        module(path, **options).setup()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keypoints_2d": None}, r"bad.npz: Expected the arrays \['keypoints_2d'\], but .* are missing; got"),
        (
            {"keypoints_2d": np.zeros((12, 17, 3), int)},
            r"`keypoints_2d` to be floating-point numbers of shape \(T, 17, \(2\|3\)\), but got int64",
        ),
        (
            {"positions_3d": np.zeros((12, 16, 3))},
            r"`positions_3d` to be .* \(12, 17, 3\), but got float64 \(12, 16, 3\)",
        ),
        ({"visibility": np.zeros((12, 3))}, r"`visibility` to be numbers of shape \(12, 17\), but got"),
        ({"clip_length": None}, r"Expected `clip_start` and `clip_length` together"),
        ({"clip_length": np.array([5, 3, 5])}, r"lie in the 12 frames, but clip 2 starts at 8 and has length 5"),
        ({"subject": np.array([1, 2, 3])}, r"`subject` to be strings of shape \(3,\), but got int64"),
        ({"fps": np.array([25.0, 30.0])}, r"`fps` to be one number, but got float64 of shape \(2,\)"),
        (
            {"keypoints_2d": np.zeros((12, 17, 2)) + 0.5},
            r"in pixels since `image_size` is given, but most numbers are at most 0.5",
        ),
        ({"fps": None}, r"Expected `fps` in the file to go with `rate`"),
    ],
)
def test_a_wrong_file_is_told(write, changes, message):
    path, _ = write("bad.npz", **changes)
    with pytest.raises(ValueError, match=message):
        module(path, rate=20.0, frames=3).setup()


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match="nowhere"):
        module("nowhere.npz").setup()


# What detectors write. Two people, of whom the second is the surer one in frame 2 alone.

POINTS = RNG.uniform(100, 900, size=(4, 2, 17, 2)).round(2)
SURE = RNG.uniform(0.3, 0.9, size=(4, 2, 17)).round(3)
SCORES = [[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.9, 0.1]]


def flat(frame, person, last=None):
    column = SURE[frame, person, :, None] if last is None else np.full((17, 1), last)
    return np.concatenate((POINTS[frame, person], column), axis=-1).reshape(-1).tolist()


def everybody():
    return [(frame, person) for frame in range(4) for person in range(2)]


def coco_results(names=range(10, 14)):
    return [
        {"image_id": names[f], "category_id": 1, "keypoints": flat(f, p), "score": SCORES[f][p], "track_id": p + 5}
        for f, p in everybody()
    ]


def coco():
    images = [{"id": 70 - f, "file_name": f"frame{f + 9}.jpg", "width": 1920, "height": 1080} for f in range(5)]
    people = [
        {"image_id": 70 - f, "category_id": 1, "keypoints": flat(f, p, 2), "score": SCORES[f][p]}
        for f, p in everybody()
    ]
    return {"images": images, "annotations": [*people, {"image_id": 70, "bbox": [0, 0, 1, 1]}], "categories": []}


def mmpose():
    def instance(f, p):
        return {
            "keypoints": POINTS[f, p].tolist(),
            "keypoint_scores": SURE[f, p].tolist(),
            "bbox_score": [SCORES[f][p]],
            "track_id": [p + 5],
        }

    frames = [{"frame_id": f + 1, "instances": [instance(f, 0), instance(f, 1)]} for f in range(4)]
    return {"meta_info": {}, "instance_info": [*frames, {"frame_id": 5, "instances": []}]}


def put(tmp_path, content):
    path = tmp_path / "people.json"
    path.write_text(json.dumps(content))
    return path


EXPECTED = np.concatenate((POINTS, SURE[..., None]), axis=-1)[range(4), [0, 0, 1, 0]].astype(np.float32)


def test_coco_results(tmp_path):
    found = read_detections(put(tmp_path, coco_results()))
    assert found.names == ("10", "11", "12", "13")
    np.testing.assert_allclose(found.keypoints_2d, EXPECTED, rtol=1e-6)
    assert found.image_size is None


def test_coco_annotations(tmp_path):
    """Images are in the order of their names, one of them empty; a joint with v = 0 is missing."""
    content = coco()
    content["annotations"][0]["keypoints"][3 * 4 + 2] = 0
    found = read_detections(put(tmp_path, content))
    assert found.names == ("frame9.jpg", "frame10.jpg", "frame11.jpg", "frame12.jpg", "frame13.jpg")
    missing = np.isnan(found.keypoints_2d[..., 0])
    assert list(map(tuple, np.argwhere(missing))) == [(0, 4), *((4, joint) for joint in range(17))]
    np.testing.assert_allclose(found.keypoints_2d[:4, 5:, :2], EXPECTED[:, 5:, :2], rtol=1e-6)
    assert np.array_equal(found.keypoints_2d[..., 2], ~missing)
    assert np.array_equal(found.image_size, np.tile((1920, 1080), (5, 1)))
    assert read_detections(put(tmp_path, {**content, "images": [{"id": 70 - f} for f in range(5)]})).image_size is None


def test_alphapose_names_frames_by_file(tmp_path):
    entries = coco_results([f"{n}.jpg" for n in (2, 10, 11, 9)])
    for entry in entries:
        entry["idx"] = entry.pop("track_id")
    found = read_detections(put(tmp_path, entries))
    assert found.names == ("2.jpg", "9.jpg", "10.jpg", "11.jpg")
    np.testing.assert_allclose(found.keypoints_2d, EXPECTED[[0, 3, 1, 2]], rtol=1e-6)


@pytest.mark.parametrize("bare", [False, True])
def test_mmpose(tmp_path, bare):
    content = mmpose()["instance_info"] if bare else mmpose()
    found = read_detections(put(tmp_path, content))
    assert found.names == ("1", "2", "3", "4", "5")
    np.testing.assert_allclose(found.keypoints_2d[:4], EXPECTED, rtol=1e-6)
    assert np.isnan(found.keypoints_2d[4, :, :2]).all()
    picture = read_detections(
        put(tmp_path, content["instance_info"][2]["instances"] if not bare else content[2]["instances"])
    )
    np.testing.assert_allclose(picture.keypoints_2d, EXPECTED[2:3], rtol=1e-6)


def test_openpose(tmp_path):
    """Without a score the surer keypoints win; (0, 0, 0) is OpenPose's way of saying that it saw nothing."""
    folder = tmp_path / "json"
    folder.mkdir()
    people = RNG.uniform(0.1, 0.9, size=(3, 2, 25, 3))
    people[:, 0, :, 2] /= 3
    people[1, 1, 7] = 0.0
    for f, frame in enumerate(people):
        content = {"people": [{"person_id": [-1], "pose_keypoints_2d": p.reshape(-1).tolist()} for p in frame]}
        (folder / f"clip_{f + 8}_keypoints.json").write_text(json.dumps(content))
    (folder / "clip_11_keypoints.json").write_text(json.dumps({"people": []}))
    found = read_detections(folder)
    assert found.names == ("clip_8", "clip_9", "clip_10", "clip_11")
    surer = people[:, 1].astype(np.float32)
    surer[1, 7, :2] = np.nan
    np.testing.assert_allclose(found.keypoints_2d[:3], surer, rtol=1e-6)
    one = read_detections(folder / "clip_10_keypoints.json")
    np.testing.assert_allclose(one.keypoints_2d, surer[2:], rtol=1e-6)


def test_npz(tmp_path):
    path = tmp_path / "one.npz"
    visibility = np.ones((4, 17))
    visibility[1, 2] = 0
    np.savez(path, keypoints_2d=POINTS[:, 0], visibility=visibility)
    found = read_detections(path)
    assert found.names == ("0", "1", "2", "3")
    assert np.array_equal(np.isnan(found.keypoints_2d[..., 0]), visibility == 0)
    assert np.array_equal(found.keypoints_2d[..., 2], visibility)
    for content, message in (
        (
            {"keypoints_2d": np.zeros((4, 17))},
            r"`keypoints_2d` to be numbers of shape \(T, J, \(2\|3\)\), but got float64 \(4, 17\)",
        ),
        (
            {"keypoints_2d": POINTS[:, 0], "visibility": np.zeros(4)},
            r"`visibility` to be numbers of shape \(4, 17\), but got float64 \(4,\)",
        ),
    ):
        np.savez(path, **content)
        with pytest.raises(ValueError, match=message):
            read_detections(path)
    with pytest.raises(ValueError, match=r"Expected no `person` for an npz"):
        read_detections(path, person=1)


@pytest.mark.parametrize("make", [coco_results, mmpose])
def test_a_track_is_followed(tmp_path, make):
    found = read_detections(put(tmp_path, make()), person=6)
    np.testing.assert_allclose(found.keypoints_2d[:4, :, :2], POINTS[:, 1], rtol=1e-6)
    with pytest.raises(ValueError, match=r"people.json: Expected `person` to be one of the tracks \[5, 6\], but got 7"):
        read_detections(put(tmp_path, make()), person=7)


def test_unsure_joints_are_missing_and_scores_end_at_one(tmp_path):
    entries = coco_results()
    entries[0]["keypoints"][2] = 3.5
    found = read_detections(put(tmp_path, entries), min_confidence=0.5)
    missing = EXPECTED[..., 2] <= 0.5
    missing[0, 0] = False
    assert np.array_equal(np.isnan(found.keypoints_2d[..., 0]), missing)
    assert found.keypoints_2d[0, 0, 2] == 1.0
    with pytest.raises(ValueError, match=r"Expected at least one joint above `min_confidence`, but there is none"):
        read_detections(put(tmp_path, coco_results()), min_confidence=0.95)


def test_frames_left_out_of_a_video_are_frames_without_anybody(tmp_path):
    entries = [entry for entry in coco_results() if entry["image_id"] != 12]
    assert read_detections(put(tmp_path, entries)).names == ("10", "11", "13")
    found = read_detections(put(tmp_path, entries), video=True)
    assert found.names == ("10", "11", "12", "13")
    assert np.isnan(found.keypoints_2d[2, :, :2]).all()
    np.testing.assert_allclose(found.keypoints_2d[[0, 1, 3]], EXPECTED[[0, 1, 3]], rtol=1e-6)
    for names in ([1, 2, 3, 4000], ["a", "b", "c", "d"], ["x1", "y1", "x2", "x3"]):
        with pytest.raises(ValueError, match=r"`image_id` of a video to (number its frames|have a number of its own)"):
            read_detections(put(tmp_path, coco_results(names)), video=True)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ([], {}, r"Expected COCO results .* but got a list"),
        ({"predictions": 1}, {}, r"or OpenPose.s `people`, but got the keys \['predictions'\]"),
        (
            coco_results(),
            {"format": "mmpose"},
            r"Expected the format 'mmpose', but the content is that of 'coco_results'",
        ),
        (coco_results(), {"format": "hrnet"}, r"Expected `format` to be one of"),
        (coco_results(), {"min_confidence": 1.0}, r"`min_confidence` to be from 0 to below 1, but got 1.0"),
        (
            [{"image_id": 1, "keypoints": [1.0, 2.0]}],
            {},
            r"keypoints to be J times \(x, y, confidence\), but got \(2,\)",
        ),
        (
            [*coco_results(), {"image_id": 9, "keypoints": [1, 2, 1]}],
            {},
            r"one number of joints, but got \[1, 17\] joints",
        ),
        (
            [*coco_results(), {"image_id": 9}],
            {},
            r"results, entry 8: Expected an entry to have 'keypoints', but got \['image_id'\]",
        ),
        ({"images": [], "annotations": []}, {}, r"Expected people with one number of joints, but got nobody"),
        ({"images": [], "annotations": [{"image_id": 3}]}, {}, r"annotations of the `images`, but got one of 3"),
        ({"images": [{"id": 1}, {"id": 1}], "annotations": []}, {}, r"an `id` and a `file_name` of its own"),
    ],
)
def test_a_wrong_detection_file_is_told(tmp_path, content, options, message):
    with pytest.raises(ValueError, match=message):
        read_detections(put(tmp_path, content), **options)


def test_no_json_and_no_file(tmp_path):
    (tmp_path / "people.json").write_text("{")
    with pytest.raises(ValueError, match=r"people.json: Expected a json file, but it cannot be read as one"):
        read_detections(tmp_path / "people.json")
    with pytest.raises(FileNotFoundError, match="there is nothing"):
        read_detections(tmp_path / "nobody.json")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"Expected a folder with OpenPose's json files, but there are none"):
        read_detections(tmp_path / "empty")
    with pytest.raises(ValueError, match=r"Expected a file of the format 'coco', but got a folder"):
        read_detections(tmp_path / "empty", format="coco")
