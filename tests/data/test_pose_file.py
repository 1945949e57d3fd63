"""Finished poses, read from what `predict` and MMPose's 3D lifters write."""

import json

import numpy as np
import pytest

from seal_lightning.data.formats.pose_file import read_poses


@pytest.fixture
def poses():
    return np.random.default_rng(0).normal(size=(4, 17, 3)).astype(np.float32)


def instances(poses):
    return [
        {"frame_id": number, "instances": [{"keypoints": pose.tolist(), "keypoint_scores": [1.0] * 17}]}
        for number, pose in enumerate(poses)
    ]


def test_reads_an_npz_with_everything(poses, tmp_path):
    poses[1] = np.nan
    np.savez(
        tmp_path / "poses.npz",
        poses=poses,
        keypoints_2d=poses,
        frame=np.array(list("abcd")),
        joints=np.array([f"j{i}" for i in range(17)]),
        unit=np.array("mm"),
        fps=25.0,
        clip_start=[0, 2],
        clip_length=[2, 2],
        clip=np.array(["one", "two"]),
        error_mm=np.array([1.0, np.nan, 2.0, 3.0]),
    )
    found = read_poses(tmp_path / "poses.npz")
    np.testing.assert_array_equal(found.poses, poses)
    np.testing.assert_array_equal(found.keypoints_2d, poses)
    assert found.frames == tuple("abcd")
    assert found.clips == (("one", 0, 2), ("two", 2, 2))
    assert (found.unit, found.fps, found.joints[3]) == ("mm", 25.0, "j3")
    assert found.error_mm.tolist()[2:] == [2.0, 3.0]


def test_reads_poses_alone(poses, tmp_path):
    np.savez(tmp_path / "poses.npz", poses=poses)
    found = read_poses(tmp_path / "poses.npz")
    assert found.clips == (("0", 0, 4),)
    assert found.frames == ("0", "1", "2", "3")
    assert found.keypoints_2d is found.unit is found.fps is found.joints is found.error_mm is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_reads_what_mmpose_writes(poses, tmp_path, wrapped):
    content = instances(poses)
    content[2]["instances"] = []
    content[3]["instances"][0]["keypoints"] = [content[3]["instances"][0]["keypoints"]]  # a list in a list
    (tmp_path / "poses.json").write_text(
        json.dumps({"meta_info": {}, "instance_info": content} if wrapped else content)
    )
    found = read_poses(tmp_path / "poses.json")
    assert np.isnan(found.poses[2]).all()
    np.testing.assert_allclose(found.poses[[0, 1, 3]], poses[[0, 1, 3]])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "poses"),
        ({"poses": np.zeros((2, 17, 2))}, "`poses`"),
        ({"poses": np.full((2, 17, 3), np.nan)}, "Expected at least one pose"),
        ({"poses": np.zeros((2, 17, 3)), "keypoints_2d": np.zeros((3, 17, 2))}, "`keypoints_2d`"),
        ({"poses": np.zeros((2, 17, 3)), "unit": np.array("inch")}, "Expected `unit` to be 'm' or 'mm'"),
        ({"poses": np.zeros((2, 17, 3)), "clip_start": [0]}, "Expected `clip_start` and `clip_length` together"),
        ({"poses": np.zeros((2, 17, 3)), "clip_start": [0], "clip_length": [9]}, "poses.npz"),
    ],
)
def test_wrong_arrays_are_named(arrays, message, tmp_path):
    np.savez(tmp_path / "poses.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_poses(tmp_path / "poses.npz")


def test_keypoints_of_a_detector_are_no_poses(poses, tmp_path):
    (tmp_path / "flat.json").write_text(json.dumps({"instance_info": instances(poses[..., :2])}))
    with pytest.raises(ValueError, match=r"Expected `keypoints` of a 3D lifter.*seal-lightning predict"):
        read_poses(tmp_path / "flat.json")
    with pytest.raises(FileNotFoundError, match="Expected poses at"):
        read_poses(tmp_path / "none.npz")
