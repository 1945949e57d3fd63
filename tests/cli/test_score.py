"""`seal-lightning score` on poses of known quality."""

import json

import numpy as np
import pytest
import torch

from seal_lightning.cli import main
from seal_lightning.data import SyntheticMocap
from seal_lightning.evaluation import corrupt
from seal_lightning.functional import bone_length_variation, limb_symmetry_error
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture(scope="module")
def good():
    """A clip of 40 poses in metres, in the frame of a camera."""
    motion = SyntheticMocap(subjects=1, clips_per_subject=1, frames=40).generate()
    pose = torch.from_numpy(motion.clip(0).copy())[..., [0, 2, 1]] * torch.tensor([1.0, -1.0, 1.0]) / 1000
    return pose - pose[:, :1]


def scored(arrays, tmp_path, capsys, *options):
    np.savez(tmp_path / "poses.npz", **arrays)
    main(["score", str(tmp_path / "poses.npz"), *options])
    return json.loads((tmp_path / "poses-scores.json").read_text()), capsys.readouterr().out


def test_bad_poses_score_worse_than_good_ones(good, tmp_path, capsys):
    bad = corrupt("noise", good, H36M, 0.2, torch.Generator().manual_seed(0))
    both = torch.cat((good, bad)).numpy()
    both[5] = np.nan  # nobody was seen
    clips = {"clip_start": [0, 40], "clip_length": [40, 40], "clip": np.array(["good", "bad"])}
    result, out = scored({"poses": both, "unit": np.array("m"), **clips}, tmp_path, capsys)
    fine, poor = result["clips"]["good"], result["clips"]["bad"]
    assert (fine["frames"], poor["frames"]) == (39, 40)
    for name in ("limb_symmetry_error", "bone_length_variation", "acceleration", "energy_percentile"):
        assert fine[name] < poor[name], name
    kept = torch.cat((good[:5], good[6:]))
    assert fine["limb_symmetry_error"] == pytest.approx(limb_symmetry_error(kept, H36M).item(), rel=1e-4)
    assert fine["bone_length_variation"] == pytest.approx(bone_length_variation(kept, H36M).item(), rel=1e-4, abs=1e-4)
    second = (good[8:] - 2 * good[7:-1] + good[6:-2]).norm(dim=-1).mean()
    assert fine["acceleration"] == pytest.approx(1000 * second.item(), rel=0.2)
    assert result["acceleration_in"] == "mm/frame²"
    assert poor["energy_percentile"] > 95
    assert len(poor["worst_frames"]) == 5
    assert int(poor["worst_frames"][0]["frame"]) >= 40
    assert result["all"]["frames"] == 79
    assert result["error_by"] is None
    assert "Errors are not estimated: the file has no keypoints." in out
    assert "| good |" in out.replace("  ", " ").replace("|  good", "| good")
    assert (tmp_path / "poses-scores.png").stat().st_size > 10_000


def test_errors_are_estimated_where_there_are_keypoints(good, tmp_path, capsys):
    keypoints = np.concatenate((good[..., :2] / 4, np.ones((40, 17, 1))), axis=-1).astype(np.float32)
    quiet = ["--picture", "false"]
    arrays = {"poses": good.numpy(), "keypoints_2d": keypoints}
    result, _ = scored({**arrays, "unit": np.array("m")}, tmp_path, capsys, *quiet)
    error = result["clips"]["0"]["error_mm"]
    assert result["error_by"] == "package"
    assert error > 0
    # In pixels, with millimetres: the same.
    pixels = keypoints * [500, 500, 1] + [500, 400, 0]
    arrays = {"poses": 1000 * good.numpy(), "keypoints_2d": pixels.astype(np.float32), "unit": np.array("mm")}
    again, _ = scored(arrays, tmp_path, capsys, *quiet, "--image_size", "[1000, 800]")
    assert again["clips"]["0"]["error_mm"] == pytest.approx(error, rel=1e-3)
    without, out = scored(arrays, tmp_path, capsys, *quiet)
    assert without["clips"]["0"]["error_mm"] is None
    assert "the keypoints are pixels (`--image_size '[1920, 1080]'`)" in out
    told, _ = scored({**arrays, "error_mm": np.arange(40.0)}, tmp_path, capsys, *quiet)
    assert (told["error_by"], told["clips"]["0"]["error_mm"]) == ("file", 19.5)
    assert [frame["frame"] for frame in told["clips"]["0"]["worst_frames"]] == ["39", "38", "37", "36", "35"]


def test_axes_that_swap_left_and_right_are_told(good, tmp_path, capsys):
    mirrored = good.numpy() * [-1, 1, 1]
    result, out = scored({"poses": mirrored}, tmp_path, capsys, "--picture", "false")
    plain, _ = scored({"poses": good.numpy()}, tmp_path, capsys, "--picture", "false")
    assert not plain["looks_mirrored"]
    assert result["looks_mirrored"] == ("do the file's axes swap left and right?" in out)


def test_reads_mmpose_and_prints_the_card(good, tmp_path, capsys):
    people = [{"frame_id": i, "instances": [{"keypoints": pose.tolist()}]} for i, pose in enumerate(good)]
    (tmp_path / "results.json").write_text(json.dumps({"instance_info": people}))
    main(["score", str(tmp_path / "results.json"), "--output", str(tmp_path / "out" / "s.json"), "--picture", "false"])
    assert json.loads((tmp_path / "out" / "s.json").read_text())["clips"]["0"]["frames"] == 40
    capsys.readouterr()
    main(["score", "--card"])
    assert "UI-PRMD" in capsys.readouterr().out


def test_joints_are_picked_by_name(good, tmp_path, capsys):
    quiet = ["--picture", "false"]
    keypoints = good[..., :2].numpy() / 4
    plain, _ = scored({"poses": good.numpy(), "keypoints_2d": keypoints, "unit": "m"}, tmp_path, capsys, *quiet)
    order = np.roll(np.arange(19), 5)  # two more joints, and another order
    names = np.array([*H36M.names, "left_toe", "right_toe"])[order]
    poses, seen = (np.concatenate((part, part[:, :2] + 1), axis=1)[:, order] for part in (good.numpy(), keypoints))
    arrays = {"poses": poses, "keypoints_2d": seen, "joints": names, "unit": "m"}
    picked, _ = scored(arrays, tmp_path, capsys, *quiet)
    assert picked["clips"] == plain["clips"]
    assert plain["clips"]["0"]["error_mm"] > 0


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (
            {"poses": np.zeros((3, 16, 3))},
            [],
            "Expected the 17 joints of Human3.6M, .* but got 16. .* coco17_to_h36m17, h3wb133",
        ),
        ({"poses": np.zeros((3, 17, 3))}, ["--mapping", "body25_to_h36m17"], "25"),
        ({"poses": np.zeros((3, 17, 3)), "unit": np.array("m")}, ["--unit", "mm"], "Expected no other `unit`"),
        ({"poses": np.zeros((3, 17, 3))}, ["--unit", "inch"], "Expected `unit` to be 'm' or 'mm'"),
        ({"poses": np.zeros((3, 25, 3))}, [], "Hip, RHip, .*, but got 25. .* of others: body25_to_h36m17.$"),
        (
            {"poses": np.zeros((3, 17, 3)), "joints": np.array(list(get_skeleton("coco17").names))},
            [],
            "but got 17 with the names .'nose', .* of others: coco17_to_h36m17, ",
        ),
        (
            {"poses": np.zeros((3, 17, 3)), "joints": np.array(H36M.names)},
            ["--mapping", "coco17_to_h36m17"],
            "Expected joint 0 to be 'nose', .* They are not what 'coco17_to_h36m17' starts from",
        ),
    ],
)
def test_says_what_does_not_fit(arrays, options, message, tmp_path):
    np.savez(tmp_path / "poses.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        main(["score", str(tmp_path / "poses.npz"), *options])
