"""`seal-lightning convert`: from raw recordings to a file that trains, and what is refused on the way."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from seal_lightning.cli import convert as convert_module
from seal_lightning.cli import main
from seal_lightning.cli.convert import convert
from seal_lightning.data import MocapDataModule, Motion, SyntheticMocap, read_bvh, read_mocap
from seal_lightning.data.formats.mocap_joints import MOCAP_JOINTS
from seal_lightning.data.formats.stature import check_stature, check_upright, stature
from seal_lightning.skeleton import Skeleton, get_skeleton

RAW = Path(__file__).resolve().parents[2] / "../shared/data/raw"
CMU = RAW.parent / "cmu_h36m17.npz"
real = pytest.mark.skipif(not (RAW.is_dir() and CMU.is_file()), reason="no ../shared/data/raw beside the repository")

H36M = get_skeleton("h36m17")
BODY = SyntheticMocap(subjects=1, clips_per_subject=1, frames=2, seed=3).generate().positions[0]


def bvh(rename=lambda name: name, frames=6, frame_time=0.04, scale=0.1, seed=0, names=H36M.names, broken=False):
    """A person whose root walks and whose joints swing, in units of 10 mm with z up."""
    rng = np.random.default_rng(seed)
    lines, order = ["HIERARCHY"], []

    def joint(index):
        parent, order_of_children = H36M.parents[index], [c for c, p in enumerate(H36M.parents) if p == index]
        offset = np.zeros(3) if parent < 0 else (BODY[index] - BODY[parent]) * scale
        order.append(index)
        channels = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation" if parent < 0 else "1 Yrotation"
        lines.append(f"{'ROOT' if parent < 0 else 'JOINT'} {rename(names[index])} {{")
        lines.extend(["OFFSET " + " ".join(f"{x:.6f}" for x in offset), "CHANNELS " + channels])
        for child in order_of_children:
            joint(child)
        if not order_of_children:
            lines.append("End Site { OFFSET 0 0 0 }")
        lines.append("}")

    joint(0)
    lines += ["MOTION", f"Frames: {frames}", f"Frame Time: {frame_time}"]
    for frame in range(frames):
        values = [*(BODY[0] * scale + [frame, 0, 0]), *rng.uniform(-20, 20, 3), *rng.uniform(-20, 20, 16)]
        lines.append(" ".join(f"{x:.5f}" for x in values[: -1 if broken and frame else None]))
    return "\n".join(lines)


def folder(tmp_path, **files):
    path = tmp_path / "raw"
    for name, text in files.items():
        file = path / (name.replace("__", "/") + ".bvh")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def run(*arguments):
    main(["convert", *map(str, arguments)])


CM = ("--unit", "cm", "--up", "z")


def test_round_trip_to_a_batch(tmp_path, capsys):
    raw = folder(
        tmp_path,
        **{"a__A_walk": bvh(seed=1), "a__deep__A_sit": bvh(seed=2), "B_run": bvh(seed=3, scale=0.09)},
        **{"C_run": bvh(seed=4, scale=0.11, frames=9)},
    )
    run(raw, "--output", tmp_path / "out/mine_h36m17.npz", *CM)
    assert "4 clips, 27 frames at 25 fps, skeletons A, B, C" in capsys.readouterr().out
    path = tmp_path / "out/mine_h36m17.npz"
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    mocap = read_mocap(path)
    assert (mocap.name, mocap.fps) == ("mine", 25.0)
    assert mocap.skeleton_id.tolist() == mocap.subject.tolist() == ["B", "C", "A", "A"]
    assert mocap.description.tolist() == ["B_run", "C_run", "a/A_walk", "a/deep/A_sit"]
    assert mocap.clip_length.tolist() == [6, 9, 6, 6]
    lengths = np.linalg.norm(mocap.positions[:, 2] - mocap.positions[:, 1], axis=-1)
    thigh = np.linalg.norm(BODY[2] - BODY[1])
    np.testing.assert_allclose(lengths[:6], thigh * 0.9, rtol=1e-4)
    np.testing.assert_allclose(lengths[15:], thigh, rtol=1e-4)
    np.testing.assert_allclose(mocap.clip(2)[:, 0] - mocap.clip(2)[0, 0], np.arange(6)[:, None] * [10, 0, 0], atol=1e-2)
    data = MocapDataModule([str(path)], split={"train": ["A"], "val": ["B"], "test": ["C"]}, batch_size=4)
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["keypoints_2d"].shape == (4, 17, 2)
    assert batch["target"].shape == (4, 17, 3)
    assert data.group_names == ["mine/A", "mine/B", "mine/C"]
    with np.load(path) as arrays:
        assert arrays["joint_names"].tolist() == list(H36M.names)
    assert isinstance(mocap.positions, np.memmap)


def test_what_was_converted_trains_with_the_config_of_the_examples(tmp_path, monkeypatch):
    root = Path(__file__).resolve().parents[2]
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(root)
    raw = folder(tmp_path, A_1=bvh(), B_1=bvh(scale=0.09), C_1=bvh(scale=0.11))
    run(raw, "--output", tmp_path / "mine.npz", *CM)
    split = json.dumps({"train": ["A"], "val": ["B"], "test": ["C"]})
    data = [f"--data.paths=[{tmp_path / 'mine.npz'}]", f"--data.split={split}", "--data.batch_size=4"]
    quick = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--model.hidden=8"]
    main(["fit", "--config", "examples/configs/own_motion.yaml", *data, *quick])


def test_equal_bone_lengths_are_one_skeleton(tmp_path, capsys):
    site = "End Site { OFFSET 0 0 0 }"
    raw = folder(tmp_path, A_1=bvh(), B_1=bvh(seed=1), C_1=bvh(scale=0.1005), D_1=bvh().replace(site, site * 2, 1))
    run(raw, "--output", tmp_path / "mine.npz", *CM)
    mocap = read_mocap(tmp_path / "mine.npz")
    assert mocap.subject.tolist() == ["A", "B", "C", "D"]
    assert mocap.skeleton_id.tolist() == ["A", "A", "C", "A"]
    assert "Clips of B have the bone lengths of A, and its skeleton_id." in capsys.readouterr().out


def test_subject_from_the_folder(tmp_path):
    raw = folder(tmp_path, ann__walk_1=bvh(), bob__walk_1=bvh(scale=0.09))
    run(raw, "--output", tmp_path / "mine.npz", *CM, "--subject", "folder")
    assert read_mocap(tmp_path / "mine.npz").skeleton_id.tolist() == ["ann", "bob"]


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_own_mapping(tmp_path, suffix):
    raw = folder(tmp_path, A_1=bvh(rename=lambda name: f"rig:{name}"))
    joints = {name: f"rig:{name}" for name in H36M.names}
    joints["Hip"] = ["rig:LHip", "rig:RHip"]
    joints["Head"] = {"rig:Head": 1.5, "rig:Neck": -0.5}
    text = json.dumps(joints) if suffix == "json" else "\n".join(f"{key}: {value}" for key, value in joints.items())
    (tmp_path / f"rig.{suffix}").write_text(text.replace("'", '"') if suffix == "yaml" else text)
    run(raw, "--output", tmp_path / "mine.npz", *CM, "--mapping", tmp_path / f"rig.{suffix}")
    pose = read_mocap(tmp_path / "mine.npz").positions
    np.testing.assert_allclose(pose[:, 0], (pose[:, 1] + pose[:, 4]) / 2, atol=1e-2)
    longer = np.linalg.norm(pose[:, 10] - pose[:, 9], axis=-1) / np.linalg.norm(BODY[10] - BODY[9])
    np.testing.assert_allclose(longer, 1.5, rtol=1e-4)


def test_mappings_that_do_not_fit(tmp_path):
    raw, output = folder(tmp_path, A_1=bvh(rename=lambda name: f"rig:{name}")), str(tmp_path / "mine.npz")
    with pytest.raises(
        ValueError, match=r"A_1\.bvh: Expected the joints of a built-in mapping, .*'cmu_asf'.*'rig:Hip'"
    ):
        convert([str(raw)], output, unit="cm", up="z")
    with pytest.raises(ValueError, match=r"A_1\.bvh: Expected `mapping` to make every joint .* it lacks \['RHip', 'RK"):
        convert([str(raw)], output, unit="cm", up="z", mapping={"Hip": "rig:Hip"})
    with pytest.raises(ValueError, match=r"A_1\.bvh: Expected joint 'Hip' to be made of joints of the source, but got"):
        convert([str(raw)], output, unit="cm", up="z", mapping={"Hip": "hips"})
    with pytest.raises(ValueError, match=r"Expected no `mapping` to go with `skeleton` 'own'"):
        convert([str(raw)], output, unit="cm", up="z", mapping={"Hip": "rig:Hip"}, skeleton="own")
    assert not Path(output).exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Hip: 5", r"Expected `mapping` to make 'Hip' of a name, a list or weights, but got 5\."),
        ("Hip: [a, 5]", r"Expected `mapping` to make 'Hip' of a name, a list or weights, but got \['a', 5\]\."),
        ("Hip: {a: b}", r"Expected `mapping` to make 'Hip' of a name, a list or weights, but got \{'a': 'b'\}\."),
        ("Hip: {LHip: 0.7, RHip: 0.7}", r"A_1\.bvh: Expected the weights of joint 'Hip' to sum to 1, but got 1\.4"),
        ("- Hip", "2"),
        ("Hip: [", "2"),
        (None, "2"),
    ],
)
def test_mapping_files_that_are_refused(tmp_path, text, message):
    raw, path = folder(tmp_path, A_1=bvh()), tmp_path / "rig.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit, match=message):
        run(raw, "--output", tmp_path / "mine.npz", *CM, "--mapping", path)
    assert not (tmp_path / "mine.npz").exists()


def test_a_mapping_on_the_command_line(tmp_path):
    raw = folder(tmp_path, A_1=bvh(rename=lambda name: f"rig:{name}"))
    joints = json.dumps({name: f"rig:{name}" for name in H36M.names})
    run(raw, "--output", tmp_path / "mine.npz", *CM, "--mapping", joints)
    assert len(joints) > 255  # longer than a file name can be
    assert read_mocap(tmp_path / "mine.npz").positions.shape == (6, 17, 3)


def test_mapping_files_that_never_end_or_are_nested_too_deep(tmp_path):
    raw, path = folder(tmp_path, A_1=bvh()), tmp_path / "rig.json"
    path.write_text("[" * 50_000)
    with pytest.raises(SystemExit, match=r"rig\.json: Expected names of joints, .* more than 1,000 brackets"):
        run(raw, "--output", tmp_path / "mine.npz", *CM, "--mapping", path)
    path.write_text("[" * 2_000)
    with pytest.raises(SystemExit, match=r"more than 1,000 brackets"):
        run(raw, "--output", tmp_path / "mine.npz", *CM, f"--mapping={path}")
    # Nine names of nine names of ...: a few hundred bytes that stand for 9 ** 12 entries.
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text("\n".join(lines))
    for written in (("--mapping", path), (f"--mapping={path}",)):
        with pytest.raises(
            SystemExit, match=r"rig\.json: Expected a mapping that is written out, but got one with ali"
        ):
            run(raw, "--output", tmp_path / "mine.npz", *CM, *written)
    for other in (tmp_path, Path("/dev/zero")):
        if other.exists():
            with pytest.raises(SystemExit, match=r"convert: Expected a file at .*, but got a (folder|device)"):
                run(raw, "--output", tmp_path / "mine.npz", *CM, "--mapping", other)


def test_built_in_tables_make_every_joint():
    for table in MOCAP_JOINTS.values():
        assert set(table) == set(H36M.names)
        for name, of in table.items():
            if name[0] == "R" and isinstance(of, str):
                partner = table["L" + name[1:]].replace("Left", "Right")
                assert of in (partner, "r" + partner[1:])


def test_own_joints(tmp_path):
    raw = folder(tmp_path, A_1=bvh(), B_1=bvh(scale=0.09))
    run(raw, "--output", tmp_path / "mine.npz", *CM, "--skeleton", "own")
    skeleton = Skeleton.from_bvh(raw / "A_1.bvh")
    mocap = read_mocap(tmp_path / "mine.npz", skeleton=skeleton)
    assert mocap.positions.shape == (12, 22, 3)
    with np.load(tmp_path / "mine.npz") as arrays:
        assert tuple(arrays["joint_names"].tolist()) == skeleton.names
        assert tuple(arrays["parents"].tolist()) == skeleton.parents
    folder(tmp_path, C_1=bvh(rename=str.lower))
    with pytest.raises(ValueError, match=r"C_1\.bvh: Expected the joints and tree of the files before it, \('Hip', "):
        convert([str(raw)], str(tmp_path / "mine.npz"), unit="cm", up="z", skeleton="own")


def test_frame_rates(tmp_path):
    raw = folder(tmp_path, A_1=bvh(frames=9, frame_time=0.01), B_1=bvh(scale=0.09))
    output = tmp_path / "mine.npz"
    with pytest.raises(
        ValueError, match=r"Expected `rate` for files of different frames per second, 25 \(.*B_1\.bvh\), 1"
    ):
        convert([str(raw)], str(output), unit="cm", up="z")
    assert not output.exists()
    run(raw, "--output", output, *CM, "--rate", 50)
    mocap = read_mocap(output)
    assert (mocap.fps, mocap.clip_length.tolist()) == (50.0, [5, 11])
    run(raw / "A_1.bvh", "--output", output, *CM)
    np.testing.assert_allclose(mocap.clip(0), read_mocap(output).positions[::2], atol=1e-2)
    run(raw / "B_1.bvh", "--output", output, *CM)
    slow = read_mocap(output).positions
    np.testing.assert_allclose(mocap.clip(1)[1:-1:2], (slow[1:] + slow[:-1]) / 2, atol=1e-2)


def test_one_bad_file_stops_everything(tmp_path):
    raw = folder(tmp_path, A_1=bvh(), B_1=bvh(broken=True), C_1=bvh())
    output = tmp_path / "mine.npz"
    output.write_bytes(b"older")
    with pytest.raises(
        SystemExit, match=r"^seal-lightning convert: .*B_1\.bvh, line \d+: Expected 22 numbers in a frame"
    ):
        run(raw, "--output", output, *CM)
    assert output.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [output.name]


def test_bad_files_can_be_left_out_and_are_listed(tmp_path, capsys):
    raw = folder(tmp_path, A_1=bvh(), B_1=bvh(broken=True), C_1=bvh(scale=5.0))
    run(raw, "--output", tmp_path / "mine.npz", *CM, "--skip_bad", "true")
    assert read_mocap(tmp_path / "mine.npz").subject.tolist() == ["A"]
    printed = capsys.readouterr().out
    assert "Left out 2 of 3 files:" in printed
    assert "B_1.bvh, line" in printed
    assert "C_1.bvh: Expected people of 0.75 to 2.5 m, but got" in printed
    (raw / "A_1.bvh").unlink()
    with pytest.raises(
        ValueError, match=r"Expected at least one file to be readable, but none of 2 is:\n.*B_1\.bvh, line"
    ):
        convert([str(raw)], str(tmp_path / "mine.npz"), unit="cm", up="z", skip_bad=True)


def test_a_failed_write_leaves_the_older_file(tmp_path, monkeypatch):
    raw, output = folder(tmp_path, A_1=bvh()), tmp_path / "mine.npz"
    output.write_bytes(b"older")

    def full(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert_module.np, "savez", full)
    with pytest.raises(SystemExit, match=r"No space left on device"):
        run(raw, "--output", output, *CM)
    assert output.read_bytes() == b"older"
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [output.name]


def test_inputs_and_options_that_are_refused(tmp_path, capsys):
    raw, output = folder(tmp_path, A_1=bvh()), str(tmp_path / "mine.npz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "35_01.amc").write_text("")
    for inputs, options, message in [
        ([tmp_path / "absent"], {}, r"Expected a file at .*absent', but there is none\."),
        ([tmp_path / "empty"], {}, r"Expected BVH or AMC files in .*empty', but there are none\."),
        ([Path(__file__)], {}, r"Expected BVH, AMC or npz files, but got .*test_convert\.py'"),
        (
            [tmp_path / "35_01.amc"],
            {},
            r"35_01\.amc: Expected `fps`, since an AMC file does not say it, but got None\.",
        ),
        ([tmp_path / "35_01.amc"], {"fps": 120.0}, r"Expected '35\.asf' or a single ASF file beside"),
        ([raw], {"fps": 0.0}, r"Expected `fps` to be positive, but got 0"),
        ([raw], {"rate": float("nan")}, r"Expected `rate` to be positive, but got nan"),
        ([raw], {"unit": "km"}, r"Expected `unit` to be one of"),
        ([raw], {"npz_skeleton": "h36m"}, r"Expected `skeleton` to be one of"),
        ([raw], {"output": "mine.npy"}, r"Expected `output` to end in \.npz, but got 'mine\.npy'\."),
    ]:
        options = {"output": output, "unit": "cm", "up": "z"} | options
        with pytest.raises((ValueError, OSError), match=message):
            convert([str(path) for path in inputs], **options)
    with pytest.raises(SystemExit):
        run(raw, "--output", output, "--up", "z")
    assert "unit" in capsys.readouterr().err
    assert not Path(output).exists()


def npz(tmp_path, name="box_1.npz", **changes):
    mocap = SyntheticMocap(subjects=2, clips_per_subject=1, frames=6).generate()
    arrays = {"positions": mocap.positions / 1000, "fps": 25.0} | changes
    np.savez(tmp_path / name, **{key: value for key, value in arrays.items() if value is not None})
    return tmp_path / name, mocap


def test_npz_in_another_unit(tmp_path):
    path, mocap = npz(tmp_path)
    run(path, "--output", tmp_path / "mine.npz", "--unit", "m", "--up", "z")
    ours = read_mocap(tmp_path / "mine.npz")
    np.testing.assert_allclose(ours.positions, mocap.positions, rtol=1e-5, atol=1e-3)
    assert (ours.skeleton_id.tolist(), ours.description.tolist()) == (["box"], ["box_1/0"])
    texts = {"skeleton_id": mocap.skeleton_id, "subject": np.array(["Ann", "Bob"]), "description": np.array(["a", "b"])}
    path, _ = npz(tmp_path, clip_start=mocap.clip_start, clip_length=mocap.clip_length, fps=None, **texts)
    run(path, "--output", tmp_path / "mine.npz", "--unit", "m", "--up", "z", "--fps", 50)
    ours = read_mocap(tmp_path / "mine.npz")
    assert (ours.fps, ours.clip_length.tolist()) == (50.0, [6, 6])
    assert ours.skeleton_id.tolist() == mocap.skeleton_id.tolist()
    assert (ours.subject.tolist(), ours.description.tolist()) == (["Ann", "Bob"], ["a", "b"])


def test_npz_of_other_joints(tmp_path):
    rng = np.random.default_rng(0)
    people = rng.normal(scale=300, size=(5, 17, 3))
    path, _ = npz(tmp_path, positions=None, positions_3d=people)
    run(path, "--output", tmp_path / "mine.npz", "--unit", "mm", "--up", "z", "--npz_skeleton", "coco17")
    pose = read_mocap(tmp_path / "mine.npz").positions
    np.testing.assert_allclose(pose[:, 0], people[:, 11:13].mean(axis=1), rtol=1e-4, atol=1e-2)
    np.testing.assert_allclose(pose[:, 6], people[:, 15], rtol=1e-4)
    names = np.array(get_skeleton("coco17").names)
    path, _ = npz(tmp_path, positions=people[:, ::-1], joint_names=names[::-1])
    run(path, "--output", tmp_path / "named.npz", "--unit", "mm", "--up", "z")
    np.testing.assert_allclose(read_mocap(tmp_path / "named.npz").positions, pose, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"positions": None, "keypoints_2d": np.zeros((4, 17, 2))},
            "the arrays ['positions'], but ['positions'] are missing; got ['fps', 'keypoints_2d']",
        ),
        ({"positions": np.zeros((4, 16, 3))}, "to be numbers of shape (T, 17, 3), but got float64 (4, 16, 3)."),
        ({"positions": np.full((4, 17, 3), np.nan)}, "in every frame, but 'Hip' is NaN or invisible in frame 0"),
        ({"visibility": np.eye(12, 17)}, "'RHip' is NaN or invisible in frame 0, and 192 times in all."),
        ({"visibility": np.ones(12)}, "Expected `visibility` to be numbers of shape (12, 17), but got float64 (12,)."),
        ({"fps": None}, "Expected `fps`, in the file or as an option, but got none."),
        ({"fps": 0.0}, "Expected `fps` to be positive, but got 0.0."),
        ({"fps": np.array(["25"])}, "Expected `fps` to be one number, but got <U2 of shape (1,)."),
        ({"clip_start": np.array([0])}, "Expected `clip_start` and `clip_length` together, but got one of them."),
        (
            {"clip_start": np.array([0, 6]), "clip_length": np.array([6, 7])},
            "Expected the clips to lie in the 12 frames, but clip 1 starts at 6 and has length 7.",
        ),
        ({"subject": np.array(["a", "b"])}, "Expected `subject` to be strings of shape (1,), but got <U1 (2,)."),
        ({"joint_names": np.array(["a"] * 17)}, "Expected `names` to be one different name per joint"),
    ],
)
def test_npz_that_is_refused(tmp_path, changes, message):
    path, _ = npz(tmp_path, **changes)
    with pytest.raises(ValueError, match=r"box_1\.npz: ") as caught:
        convert([str(path)], str(tmp_path / "mine.npz"), unit="m", up="z")
    assert message in str(caught.value)
    with pytest.raises(
        ValueError, match=r"Expected BVH and AMC files to go with `skeleton` 'own', but got .*box_1\.npz"
    ):
        convert([str(path)], str(tmp_path / "mine.npz"), unit="m", up="z", skeleton="own")


SIX = "6 Xposition Yposition Zposition Zrotation Xrotation Yrotation"
# An inverse-kinematics target beside the hips, as game engines add it, whose channels stand before those of the hips.
TARGET = f"JOINT ik {{ OFFSET 0 0 0 CHANNELS {SIX} End Site {{ OFFSET 0 0 0 }} }}\n"


def on_a_root(text, kind):
    """The same recording below a root that stands in the world, or that follows the hips on the floor."""
    head, _, frames = text.partition("Frame Time: 0.04\n")
    _, _, body = head.partition("HIERARCHY\n")
    joints, motion, rest = body.partition("MOTION")
    joints = joints.replace("ROOT", "JOINT", 1)
    target = TARGET if kind == "beside a target" else ""
    lines = []
    for number, frame in enumerate(frames.splitlines()):
        x, y, z, *turns = frame.split()
        root, hips = ["0"] * 3, [x, y, z]
        if kind == "on the floor":  # give or take a step
            root, hips = [x, y, str(3 * number)], ["0", "0", str(float(z) - 3 * number)]
        aim = [str(3 * number), "4", "5", "0", "0", "0"] if target else []
        lines.append(" ".join([*root, "0", "0", "0", *aim, *hips, *turns]))
    root = f"HIERARCHY\nROOT joint_Root {{\nOFFSET 0 0 0\nCHANNELS {SIX}\n{target}"
    return f"{root}{joints}}}\n{motion}{rest}Frame Time: 0.04\n" + "\n".join(lines)


@pytest.mark.parametrize("kind", ["still", "on the floor", "beside a target"])
def test_one_body_has_one_skeleton_id_whatever_carries_it(tmp_path, kind):
    """The way from a root that stands in the world to the hips is no bone: it differs from clip to clip."""
    files = {"A_1": on_a_root(bvh(), kind), "B_1": on_a_root(bvh(seed=1, frames=9), kind)}
    raw = folder(tmp_path, **files, C_1=bvh(seed=2), D_1=bvh(seed=3, scale=0.09))
    convert([str(raw)], str(tmp_path / "mine.npz"), unit="cm", up="z")
    mocap = read_mocap(tmp_path / "mine.npz")
    assert mocap.skeleton_id.tolist() == ["A", "A", "A", "D"]
    straight = folder(tmp_path / "other", A_1=bvh())
    convert([str(straight)], str(tmp_path / "straight.npz"), unit="cm", up="z")
    np.testing.assert_allclose(mocap.clip(0), read_mocap(tmp_path / "straight.npz").positions, atol=1e-2)
    own = {"unit": "cm", "up": "z", "skeleton": "own"}
    with pytest.raises(
        ValueError, match=r"A_1\.bvh: Expected a root that moves .* 'Hip' carries the motion below 'joint"
    ):
        convert([str(raw / "A_1.bvh")], str(tmp_path / "own.npz"), **own)
    convert([str(raw / "C_1.bvh")], str(tmp_path / "own.npz"), **own)


def everywhere(text, meaning):
    """All joints have position channels: the root those that it had, the others their OFFSET, or zero."""
    head, _, frames = text.partition("Frame Time: 0.04\n")
    offsets = re.findall(r"OFFSET (.+)\nCHANNELS 1", head)
    rows = []
    for frame in frames.splitlines():
        numbers = frame.split()
        places = offsets if meaning == "replace" else ["0 0 0"] * len(offsets)
        turns = [f"{place} {turn}" for place, turn in zip(places, numbers[6:], strict=True)]
        rows.append(" ".join([*numbers[:6], *turns]))
    head = head.replace("CHANNELS 1 Yrotation", "CHANNELS 4 Xposition Yposition Zposition Yrotation")
    return head + "Frame Time: 0.04\n" + "\n".join(rows)


@pytest.mark.parametrize("meaning", ["replace", "add"])
def test_what_position_channels_mean_is_read_off_the_file(tmp_path, meaning):
    raw = folder(tmp_path, A_1=bvh(), B_1=everywhere(bvh(), meaning))
    wanted = read_bvh(raw / "A_1.bvh", unit="cm", up="z").positions
    found = read_bvh(raw / "B_1.bvh", unit="cm", up="z")
    np.testing.assert_allclose(found.positions, wanted, atol=1e-2)
    assert found.carrier is None
    # One frame in which the root stands still too: bones that are held by position channels are bones all the same.
    posed = folder(tmp_path / "posed", A_1=everywhere(bvh(frames=1), meaning))
    assert read_bvh(posed / "A_1.bvh", unit="cm", up="z").carrier is None
    other = {"replace": "add", "add": "replace"}[meaning]
    asked = read_bvh(raw / "B_1.bvh", unit="cm", up="z", position_channels=other)
    assert np.abs(asked.positions - wanted).max() > 100


def test_a_missing_marker_that_no_joint_is_made_of_costs_nothing(tmp_path):
    _, mocap = npz(tmp_path)
    positions = np.concatenate((mocap.positions, mocap.positions[:, :1]), axis=1)
    positions[4, 17] = np.nan
    names, seen = np.array([*H36M.names, "LTIB"]), np.ones((12, 18))
    seen[7, 17] = 0
    to = ("--output", tmp_path / "mine.npz", "--unit", "mm", "--up", "z")
    for array in (names, names.astype("S")):
        path, _ = npz(tmp_path, positions=positions, joint_names=array, visibility=seen)
        run(path, *to, "--rate", 50)
        assert np.isfinite(read_mocap(tmp_path / "mine.npz").positions).all()
    seen[7, 3] = 0
    path, _ = npz(tmp_path, positions=positions, joint_names=names, visibility=seen)
    with pytest.raises(SystemExit, match=r"box_1\.npz: .* 'RAnkle' is NaN or invisible in frame 7, and 1 times in all"):
        run(path, *to)
    path, _ = npz(tmp_path, joint_names=np.array([b"hip", b"knee"] * 8 + [b"toe"]))
    with pytest.raises(SystemExit, match=r"none of 1 is:\n.*box_1\.npz: Expected `names`"):
        run(path, *to, "--skip_bad", "true")


TURNS = {"z": np.eye(3), "y": [[1, 0, 0], [0, 0, -1], [0, 1, 0]], "-y": [[1, 0, 0], [0, 0, 1], [0, -1, 0]]}


@pytest.mark.parametrize("up", TURNS)
@pytest.mark.parametrize("given", TURNS)
def test_the_axis_that_points_up(tmp_path, capsys, up, given):
    """People in a frame in which an axis is up are the same people, and refused where another axis is given."""
    standing = SyntheticMocap(subjects=2, clips_per_subject=2, frames=20).generate().positions
    np.savez(tmp_path / "box.npz", positions=standing @ np.array(TURNS[up]), fps=25.0)
    command = (tmp_path / "box.npz", "--output", tmp_path / "mine.npz", "--unit", "mm", "--up", given)
    if up == given:
        run(*command)
        assert "m from ankle to head along the bones; heads are 1." in capsys.readouterr().out
        np.testing.assert_allclose(read_mocap(tmp_path / "mine.npz").positions, standing, atol=1e-2)
    else:
        with pytest.raises(SystemExit, match=r"box\.npz: Expected heads above ankles with the axis `up`"):
            run(*command)


def unusual(kind):
    standing = SyntheticMocap(subjects=2, clips_per_subject=2, frames=20, seed=1).generate().positions
    if kind in ("child", "tall"):
        return standing * (0.5 if kind == "child" else 1.2)
    if kind == "handstand and back":
        return np.concatenate((standing, standing * (1, 1, -1) + (0, 0, 2000)))
    if kind in ("lying", "on a bed"):
        about = standing - standing[:, :1]
        return about[..., [0, 2, 1]] * (1, 1, 0.5) + (0, 0, 250 if kind == "lying" else 700)
    # The trunk comes down until the hips are a hand above the ankles; knees stay where they are.
    crouched = standing.copy()
    upper = [0, 1, 4, *range(7, 17)]
    crouched[:, upper, 2] -= standing[:, :1, 2] - 250
    return crouched


@pytest.mark.parametrize("kind", ["child", "tall", "handstand and back", "lying", "on a bed", "crouching"])
def test_unusual_people_are_no_wrong_units_or_axes(tmp_path, kind):
    np.savez(tmp_path / "box.npz", positions=unusual(kind), fps=25.0)
    run(tmp_path / "box.npz", "--output", tmp_path / "mine.npz", "--unit", "mm", "--up", "z")


@real
@pytest.mark.parametrize(
    ("file", "unit", "others"),
    [("02_01.bvh", "cmu", ("cm", "inch", "mm", "m")), ("08_01_daz.bvh", "cm", ("inch", "mm", "m", "cmu"))],
)
def test_real_recordings_in_a_wrong_unit_or_axis(tmp_path, file, unit, others):
    output = str(tmp_path / "mine.npz")
    for other in others:
        with pytest.raises(ValueError, match=rf"{file}: Expected people of 0\.75 to 2\.5 m, but got"):
            convert([str(RAW / file)], output, unit=other, up="y")
    for up in ("z", "-y"):
        for skeleton in ("h36m17", "own"):
            with pytest.raises(ValueError, match=rf"{file}: Expected heads above ankles"):
                convert([str(RAW / file)], output, unit=unit, up=up, skeleton=skeleton)
    convert([str(RAW / file)], output, unit=unit, up="y", skeleton="own")


@real
def test_every_real_clip_has_the_size_of_a_person():
    for name in ("cmu", "uiprmd"):
        mocap = read_mocap(RAW.parent / f"{name}_h36m17.npz")
        for clip in range(0, len(mocap.clip_start), 7):
            motion = Motion(np.asarray(mocap.clip(clip)), H36M, mocap.fps)
            check_stature(motion)
            check_upright([motion])
            assert 1500 < stature(motion) < 2000


def test_folders_and_files_may_overlap(tmp_path):
    raw = folder(tmp_path, A_1=bvh(), a__A_2=bvh(seed=1))
    npz(raw, "box_1.npz")
    run(raw, raw / "A_1.bvh", "--output", tmp_path / "mine.npz", *CM)
    assert read_mocap(tmp_path / "mine.npz").description.tolist() == ["A_1", "a/A_2"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    raw = folder(tmp_path, A_1=bvh())
    run(raw, "--output", tmp_path / "mine.npz", *CM)
    (tmp_path / "other").touch()
    assert os.stat(tmp_path / "mine.npz").st_mode == os.stat(tmp_path / "other").st_mode


def test_command_is_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "seal-lightning convert" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    assert "Axis of the files that points up" in " ".join(capsys.readouterr().out.split())


@real
def test_real_asf_amc_against_the_converted_clip(tmp_path):
    run(RAW / "35_01.amc", "--output", tmp_path / "cmu.npz", "--unit", "cmu", "--up", "y", "--fps", 120, "--rate", 30)
    ours, theirs = read_mocap(tmp_path / "cmu.npz"), read_mocap(CMU)
    clip = np.load(CMU)["clip"].tolist().index("35_01")
    deviation = np.linalg.norm(ours.positions - theirs.clip(clip), axis=-1).max(axis=0)
    made_alike = [joint for joint in range(17) if joint not in (8, 9)]
    assert deviation[made_alike].max() < 0.09  # theirs are rounded to 0.1 mm
    assert deviation[8] < 11  # thorax
    assert deviation[9] < 80  # neck/nose: they estimate the nose, the base of the skull is what the file has
    assert ours.skeleton_id.tolist() == ["35"]


@real
def test_real_bvh_files(tmp_path):
    run(RAW / "08_01_daz.bvh", "--output", tmp_path / "a.npz", "--unit", "cm", "--up", "y")
    run(RAW / "02_01.bvh", "--output", tmp_path / "b.npz", "--unit", "cmu", "--up", "y")
    for path, frames, tall in (("a.npz", 278, 1450), ("b.npz", 343, 1450)):
        mocap = read_mocap(tmp_path / path)
        assert mocap.positions.shape == (frames, 17, 3)
        head, ankles = mocap.positions[:, 10, 2], mocap.positions[:, [3, 6], 2].min(axis=1)
        assert abs(np.median(head - ankles) - tall) < 150
        hips = mocap.positions[:, [1, 4]].mean(axis=1)
        np.testing.assert_allclose(mocap.positions[:, 0], hips, atol=1e-2)
