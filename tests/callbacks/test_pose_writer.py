"""`seal-lightning predict` on what detectors write: from a file of keypoints to poses, pictures and animations."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import lightning as L
import numpy as np
import pytest
import torch
from PIL import Image

from seal_lightning import get_skeleton
from seal_lightning.callbacks.pose_writer import PoseWriter
from seal_lightning.cli import main
from seal_lightning.data import MocapDataModule, SyntheticMocap, normalize_screen
from seal_lightning.data.datamodules.keypoint_file import KeypointFileDataModule
from seal_lightning.functional import limb_symmetry_error
from seal_lightning.plotting.animation import animate_lifting, check_animation, plot_lifting
from seal_lightning.skeleton.mapping import get_mapping

ROOT = Path(__file__).resolve().parents[2]
SIZE = (1000, 800)
H36M, COCO = get_skeleton("h36m17"), get_skeleton("coco17")


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


def people(count=6, joints=17, seed=0):
    """Pixels and confidences (T, J, 3), two decimals like a detector's."""
    rng = np.random.default_rng(seed)
    pixels = rng.uniform(100, 700, size=(count, joints, 2)).round(2)
    return np.concatenate((pixels, rng.uniform(0.2, 0.9, size=(count, joints, 1)).round(2)), axis=-1)


def coco_results(keypoints, first=1):
    return [
        {"image_id": frame, "category_id": 1, "keypoints": person.reshape(-1).tolist(), "score": 0.9}
        for frame, person in enumerate(keypoints, first)
    ]


def write_as(kind, keypoints, folder):
    """The same people in one of the formats; returns the path, the mapping, and further options."""
    path, sizes = folder / f"{kind}.json", ["--data.image_size", json.dumps(SIZE)]
    if kind == "coco_results":
        path.write_text(json.dumps(coco_results(keypoints)))
    elif kind == "coco":
        sizes = []
        images = [
            {"id": i, "file_name": f"{i}.jpg", "width": SIZE[0], "height": SIZE[1]} for i in range(len(keypoints))
        ]
        labelled = np.concatenate((keypoints[..., :2], 2 * np.ones_like(keypoints[..., :1])), axis=-1)
        people = [{"id": i, "image_id": i, "keypoints": p.reshape(-1).tolist()} for i, p in enumerate(labelled)]
        path.write_text(json.dumps({"images": images, "annotations": people}))
    elif kind == "mmpose":
        frames = [
            {"frame_id": i, "instances": [{"keypoints": p[:, :2].tolist(), "keypoint_scores": p[:, 2].tolist()}]}
            for i, p in enumerate(keypoints)
        ]
        path.write_text(json.dumps({"meta_info": {}, "instance_info": frames}))
    elif kind == "openpose":
        path = folder / "openpose"
        path.mkdir()
        for i, person in enumerate(keypoints):
            content = {"people": [{"pose_keypoints_2d": person.reshape(-1).tolist()}]}
            (path / f"video_{i:012d}_keypoints.json").write_text(json.dumps(content))
    else:
        path = folder / "people.npz"
        np.savez(path, keypoints_2d=keypoints)
    return path, "body25_to_h36m17" if kind == "openpose" else "coco17_to_h36m17", sizes


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A plain and a SEAL lifter after a few steps on synthetic motion, trained by the command."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.syspath_prepend(ROOT)
        for name in ("plain", "seal"):
            data = ["--data.synthetic.subjects=3", "--data.synthetic.clips_per_subject=1", "--data.synthetic.frames=20"]
            data += ["--data.batch_size=16", "--data.confidence=true", "--data.noise={}"]
            quick = ["--trainer.max_steps=3", "--trainer.accelerator=cpu", "--trainer.logger=false"]
            quick += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={folder / name}"]
            model = ["--model.channels=3", "--model.hidden=16"]
            main(["fit", "--config", f"examples/configs/{name}.yaml", *data, *quick, *model])
    return {name: next((folder / name).rglob("*.ckpt")) for name in ("plain", "seal")}


def predict(checkpoint, path, output, *options):
    arguments = ["--ckpt_path", str(checkpoint), "--data.path", str(path), "--trainer.default_root_dir", str(output)]
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
    main(["predict", "--config", "examples/configs/predict.yaml", *arguments, *quiet, *options])
    with np.load(output / "poses.npz") as found:
        return dict(found)


def lifted(checkpoint, pixels):
    """What the trained network says of pixels on Human3.6M's joints, on average over them and their mirror image."""
    from examples.plain_lifter import LitLifter

    model = LitLifter(channels=3, hidden=16).eval()
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
    pixels = torch.from_numpy(pixels)
    keypoints = torch.cat((normalize_screen(pixels[..., :2], *SIZE), pixels[..., 2:]), dim=-1).float()
    other = list(H36M.partners)
    with torch.no_grad():
        pose = model(keypoints)
        mirrored = model(keypoints[:, other] * torch.tensor([-1.0, 1.0, 1.0]))[:, other] * torch.tensor([-1.0, 1, 1])
    pose = (pose + mirrored) / 2
    return (pose - pose[:, :1]).numpy()


@pytest.mark.parametrize(
    ("kind", "trained"),
    [*((kind, "plain") for kind in ("coco_results", "coco", "mmpose", "openpose", "npz")), ("coco_results", "seal")],
)
def test_every_format_from_file_to_pose(kind, trained, checkpoints, tmp_path):
    keypoints = people(joints=25 if kind == "openpose" else 17)
    path, mapping, options = write_as(kind, keypoints, tmp_path)
    found = predict(checkpoints[trained], path, tmp_path / "out", "--data.mapping", mapping, *options)
    if kind == "coco":
        keypoints[..., 2] = 1.0
    pixels = get_mapping(mapping)(keypoints, confidence=True)
    np.testing.assert_allclose(found["keypoints_2d"], pixels, rtol=1e-5)
    np.testing.assert_allclose(found["poses"], lifted(checkpoints[trained], pixels), atol=1e-5)
    assert found["visibility"].all()
    assert (found["poses"][:, 0] == 0).all()
    assert found["joints"].tolist() == list(H36M.names)
    assert found["parents"].tolist() == list(H36M.parents)
    assert found["unit"] == "m"
    assert "fps" not in found
    assert not (tmp_path / "out" / "poses.gif").exists()  # pictures do not move
    content = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert "how large they are is unknown" in content["note"]
    np.testing.assert_allclose([frame["pose"] for frame in content["frames"]], found["poses"], rtol=1e-6)
    assert [frame["frame"] for frame in content["frames"]] == found["frame"].tolist()
    with Image.open(tmp_path / "out" / "poses.png") as picture:
        assert picture.width > 300


def test_a_video_with_gaps_and_missing_joints(checkpoints, tmp_path):
    """A frame without anybody has no pose; a missing joint is zero for the network, whatever the file has there."""
    keypoints = people()
    keypoints[1, COCO.names.index("left_wrist")] = 0.0
    entries = coco_results(keypoints)
    entries[1]["keypoints"][27:29] = [1e6, -1e6]
    del entries[3]
    path = tmp_path / "people.json"
    path.write_text(json.dumps(entries))
    options = ["--data.image_size", json.dumps(SIZE), "--data.fps", "20"]
    found = predict(checkpoints["plain"], path, tmp_path / "out", *options)
    assert found["frame"].tolist() == ["1", "2", "3", "4", "5", "6"]
    assert found["fps"] == 20
    somebody = [0, 1, 2, 4, 5]
    assert np.isnan(found["poses"][3]).all()
    assert np.isfinite(found["poses"][somebody]).all()
    wrist = H36M.names.index("LWrist")
    assert list(map(tuple, np.argwhere(~found["visibility"]))) == [(1, wrist), *((3, joint) for joint in range(17))]
    pixels = get_mapping("coco17_to_h36m17")(keypoints, confidence=True)
    pixels[1, wrist] = 500, 400, 0  # the middle of the picture is zero on the screen
    np.testing.assert_allclose(found["poses"][somebody], lifted(checkpoints["plain"], pixels)[somebody], atol=1e-5)
    frames = json.loads((tmp_path / "out" / "poses.json").read_text())["frames"]
    assert frames[3]["pose"] is None
    assert frames[3]["keypoints_2d"] is None
    assert frames[1]["keypoints_2d"][wrist] is None
    with Image.open(tmp_path / "out" / "poses.gif") as animation:
        assert animation.n_frames == 6
        assert animation.info["duration"] == 50


def test_poses_can_be_smoothed_and_rescaled_and_the_command_says_where_they_are(checkpoints, tmp_path, capsys):
    path, mapping, options = write_as("coco_results", people(), tmp_path)
    options += ["--data.mapping", mapping, "--data.fps", "20"]
    plain = predict(checkpoints["plain"], path, tmp_path / "plain", *options)["poses"]
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        f"Poses of 6 of 6 frames written to {tmp_path / 'plain'}: poses.npz, poses.json, poses.png, poses.gif"
    )
    finish = ["--trainer.callbacks.smooth", "1.5", "--trainer.callbacks.rescale", "symmetrise"]
    found = predict(checkpoints["plain"], path, tmp_path / "finished", *options, *finish)["poses"]
    assert float(limb_symmetry_error(torch.from_numpy(found), H36M)) == pytest.approx(0.0, abs=1e-3)
    assert float(limb_symmetry_error(torch.from_numpy(plain), H36M)) > 1.0
    assert np.abs(np.diff(found, 2, axis=0)).mean() < 0.5 * np.abs(np.diff(plain, 2, axis=0)).mean()


def test_projected_motion_goes_from_coco_to_poses(checkpoints, tmp_path):
    """Motion as a detector would write it that saw neither eyes nor ears: all but the head arrives where it was."""
    data = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=5), batch_size=8)
    batch = next(iter(data.test_dataloader()))
    pixels = (batch["keypoints_2d"] + torch.tensor([1.0, SIZE[1] / SIZE[0]])) * SIZE[0] / 2
    sure = torch.cat((pixels, torch.full_like(pixels[..., :1], 0.9)), dim=-1).double().numpy()
    coco = np.nan_to_num(get_mapping("h36m17_to_coco17")(sure, confidence=True))  # eyes and ears were not seen
    path = tmp_path / "people.json"
    path.write_text(json.dumps(coco_results(coco)))
    found = predict(checkpoints["plain"], path, tmp_path / "out", "--data.image_size", json.dumps(SIZE))
    head = H36M.names.index("Head")
    assert np.argwhere(~found["visibility"])[:, 1].tolist() == [head] * len(coco)
    measured = [joint for joint, name in enumerate(H36M.names) if name not in ("Hip", "Spine", "Thorax", "Head")]
    np.testing.assert_allclose(found["keypoints_2d"][:, measured], sure[:, measured], rtol=1e-4)


class Echo(L.LightningModule):
    """Predicts what it is given, the confidence as depth, of all frames or of the centre frame alone."""

    def __init__(self, centre=False, keep_axis=False, broken=False):
        super().__init__()
        self.centre, self.keep_axis, self.broken = centre, keep_axis, broken
        self.windows = []

    def predict_step(self, batch, batch_idx):
        keypoints = batch["keypoints_2d"]
        self.windows.append(keypoints)
        if self.broken:
            return {"pose": keypoints}
        if self.centre:
            keypoints = keypoints[:, keypoints.shape[1] // 2]
            return keypoints[:, None] if self.keep_axis else keypoints
        return keypoints


def npz_of(tmp_path, count):
    """Normalised keypoints whose confidence tells the frame."""
    rng = np.random.default_rng(1)
    keypoints = rng.uniform(-0.9, 0.9, size=(count, 17, 3)).astype(np.float32)
    keypoints[..., 2] = np.linspace(0.1, 0.9, count)[:, None]
    np.savez(tmp_path / "mine.npz", keypoints_2d=keypoints)
    return str(tmp_path / "mine.npz"), keypoints


def echoed(model, make_trainer, tmp_path, path, **options):
    data = KeypointFileDataModule(path, batch_size=4, **options)
    writer = PoseWriter(str(tmp_path / "out"), pictures=0, animation=None)
    make_trainer(callbacks=[writer]).predict(model, data, return_predictions=False)
    with np.load(tmp_path / "out" / "poses.npz") as found:
        return found["poses"]


@pytest.mark.parametrize(("count", "frames"), [(10, 1), (10, 4), (12, 4), (3, 5), (1, 9), (10, 3)])
@pytest.mark.parametrize("centre", [False, True, "keep axis"])
def test_every_frame_gets_the_pose_of_its_own_window(count, frames, centre, make_trainer, tmp_path):
    """Windows side by side or around every frame, also at the ends and where a video is shorter than a window."""
    if centre and frames == 1:
        frames = 7
    path, keypoints = npz_of(tmp_path, count)
    model = Echo(bool(centre), centre == "keep axis")
    poses = echoed(model, make_trainer, tmp_path, path, fps=25.0, frames=frames, centre_target=bool(centre))
    np.testing.assert_allclose(poses, keypoints - keypoints[:, :1], atol=1e-6)
    windows = torch.cat([window if window.dim() == 4 else window[:, None] for window in model.windows])
    assert windows.shape[1] == frames
    if centre:  # ends are repeated
        wanted = (np.arange(count)[:, None] + np.arange(frames) - frames // 2).clip(0, count - 1)
        np.testing.assert_array_equal(windows, keypoints[wanted])


def test_pictures_do_not_follow_one_another(make_trainer, tmp_path):
    path, keypoints = npz_of(tmp_path, 3)
    model = Echo()
    poses = echoed(model, make_trainer, tmp_path, path, frames=5)
    np.testing.assert_allclose(poses, keypoints - keypoints[:, :1], atol=1e-6)
    for window, person in zip(torch.cat(model.windows), keypoints, strict=True):
        np.testing.assert_array_equal(window, np.tile(person, (5, 1, 1)))


def test_predictions_that_do_not_fit_are_told(make_trainer, tmp_path):
    path, _ = npz_of(tmp_path, 6)
    with pytest.raises(ValueError, match=r"to return poses \(2, 3, 17, 3\) of this batch, but got dict"):
        echoed(Echo(broken=True), make_trainer, tmp_path, path, fps=25.0, frames=3)
    with pytest.raises(
        ValueError, match=r"poses \(2, 3, 17, 3\) of this batch, but got \(2, 17, 3\). The data's `frames`"
    ):
        echoed(Echo(centre=True), make_trainer, tmp_path, path, fps=25.0, frames=3)


def test_writer_asks_for_matplotlib_before_it_predicts(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    model, data = Echo(), KeypointFileDataModule(npz_of(tmp_path, 2)[0])
    wanted = r"pictures of PoseWriter \(`pictures=0` draws none\); get it with: pip install 'seal_lightning\[plot\]'"
    with pytest.raises(ModuleNotFoundError, match=wanted):
        make_trainer(callbacks=[PoseWriter(str(tmp_path))]).predict(model, data)
    assert model.windows == []
    PoseWriter(str(tmp_path), pictures=0).setup(None, None, "predict")


def test_writer_asks_for_its_data(make_trainer, tmp_path):
    data = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=5))
    with pytest.raises(TypeError, match=r"whose file names the frames, but got MocapDataM"):
        make_trainer(callbacks=[PoseWriter(str(tmp_path))]).predict(Echo(), data)
    two = SimpleNamespace(world_size=2, datamodule=KeypointFileDataModule(npz_of(tmp_path, 2)[0]))
    with pytest.raises(ValueError, match=r"Expected one process to predict in, but got 2. Set `devices: 1`"):
        PoseWriter().on_predict_start(two, Echo())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unit": "cm"}, r"Expected `unit` to be 'm' or 'mm', but got 'cm'"),
        ({"pictures": -1}, r"Expected `pictures` to be 0 or more, but got -1"),
        ({"animation": "avi"}, r"Expected `animation` to be 'gif', 'mp4' or None, but got 'avi'"),
    ],
)
def test_writer_checks_its_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        PoseWriter(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"Expected `image_size` for pixels, since the file does not tell, but got None"),
        ({"image_size": (1000,)}, r"Expected `image_size` to be a width and a height in pixels, but got \(1000,\)"),
        ({"image_size": SIZE, "mapping": None, "skeleton": "h3wb133"}, r"Expected 133 joints, but got 17. Say with"),
        ({"image_size": SIZE, "skeleton": "h36m17"}, r"Expected `skeleton` to be what `mapping` starts from"),
        ({"image_size": SIZE, "fps": 0.0}, r"Expected `fps` to be positive, but got 0.0"),
        ({"image_size": SIZE, "frames": 0}, r"Expected `frames` to be 1 or more, but got 0"),
        ({"image_size": SIZE, "centre_target": True}, r"Expected `frames` above 1 with `centre_target`, but got 1"),
    ],
)
def test_what_does_not_fit_the_file_is_told(options, message, tmp_path):
    path, mapping, _ = write_as("coco_results", people(), tmp_path)
    with pytest.raises(ValueError, match=message):
        KeypointFileDataModule(str(path), **{"mapping": mapping, **options}).setup()


def test_pixels_without_a_size_and_another_size_than_the_files(tmp_path):
    path, mapping, _ = write_as("npz", people(), tmp_path)
    with pytest.raises(ValueError, match=r"Expected `keypoints_2d` to be normalised, .* Give `image_size` for pixels"):
        KeypointFileDataModule(str(path), mapping=mapping).setup()
    path, mapping, _ = write_as("coco", people(), tmp_path)
    with pytest.raises(
        ValueError, match=r"`image_size` to be that of the file, \[\(1000.0, 800.0\)\], or None, but got"
    ):
        KeypointFileDataModule(str(path), mapping=mapping, image_size=(800, 1000)).setup()


def test_without_confidence(tmp_path):
    path, mapping, _ = write_as("coco_results", people(), tmp_path)
    data = KeypointFileDataModule(str(path), image_size=SIZE, mapping=mapping, confidence=False)
    assert next(iter(data.predict_dataloader()))["keypoints_2d"].shape == (6, 17, 2)


def test_picture_and_animation_show_the_bones(tmp_path):
    poses, keypoints = torch.randn(3, 17, 3), torch.rand(3, 17, 3)
    poses[1], keypoints[1] = torch.nan, torch.nan
    figure = plot_lifting(poses, keypoints, "h36m17", titles=["a", "b", "c"])
    flat, deep = figure.axes[4], figure.axes[5]
    assert figure.axes[0].get_title() == "a"
    for bone, (child, parent) in enumerate(H36M.bones):
        ends = keypoints[2, [child, parent], :2].T
        np.testing.assert_allclose(flat.lines[bone].get_data(), ends, rtol=1e-6)
        x, y, z = poses[2, [child, parent]].T
        np.testing.assert_allclose(deep.lines[bone].get_data_3d(), np.stack((x, z, -y)), rtol=1e-6)
    assert flat.yaxis_inverted()
    animate_lifting(tmp_path / "moves.gif", poses, keypoints, "h36m17", fps=10)
    with Image.open(tmp_path / "moves.gif") as animation:
        assert animation.n_frames == 3
        assert animation.info["duration"] == 100
        first = np.asarray(animation.convert("RGB")).copy()
        animation.seek(2)
        assert (first != np.asarray(animation.convert("RGB"))).any()


def test_joints_are_shaded_by_their_errors(tmp_path):
    poses, keypoints, errors = torch.randn(2, 17, 3), torch.rand(2, 17, 3), 100 * torch.rand(2, 17)
    errors[1] = torch.nan
    figure = plot_lifting(poses, keypoints, "h36m17", titles=["a", "b"], errors_mm=errors)
    assert [axes.get_title() for axes in figure.axes] == ["a", "", "", "b", "", ""]
    flat, deep = figure.axes[0].collections[-1], figure.axes[1].collections[-1]
    np.testing.assert_allclose(flat.get_array(), errors[0], rtol=1e-6)
    np.testing.assert_allclose(deep.get_array(), errors[0], rtol=1e-6)
    np.testing.assert_allclose(flat.get_offsets(), keypoints[0, :, :2], rtol=1e-6)
    assert flat.get_clim() == deep.get_clim() == (0.0, pytest.approx(float(errors[0].quantile(0.98))))
    animate_lifting(tmp_path / "shaded.gif", poses, keypoints, "h36m17", errors_mm=errors)
    with pytest.raises(ValueError, match=r"Expected `errors_mm` to be \(2, 17\), but got \(17,\)"):
        plot_lifting(poses, keypoints, "h36m17", errors_mm=errors[0])


def test_what_cannot_be_animated(monkeypatch, tmp_path):
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda _: False))
    with pytest.raises(
        RuntimeError, match=r"Expected ffmpeg to be installed for an .mp4, but there is none; write a .gif"
    ):
        animate_lifting(tmp_path / "a.mp4", torch.randn(2, 17, 3), torch.randn(2, 17, 2), "h36m17")
    with pytest.raises(ValueError, match=r"to be a .gif or an .mp4, but got '.avi'"):
        check_animation(".avi")
    with pytest.raises(ValueError, match=r"Expected `poses` to be \(N, 17, 3\), but got \(17, 3\)"):
        plot_lifting(torch.randn(17, 3), torch.randn(17, 2), "h36m17")
    with pytest.raises(ValueError, match=r"Expected `keypoints_2d` to be \(2, 17, 2 or more\), but got \(3, 17, 2\)"):
        plot_lifting(torch.randn(2, 17, 3), torch.randn(3, 17, 2), "h36m17")
