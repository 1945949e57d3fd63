"""Human3.6M: cameras against the original calibration, files against loops, and every way they can be wrong."""

import numpy as np
import pytest
import torch

from seal_lightning.cli import main
from seal_lightning.data.datamodules.human36m import H36M_ACTIONS, Human36MDataModule, merged_action
from seal_lightning.data.formats.object_arrays import read_object
from seal_lightning.data.views.human36m_cameras import human36m_cameras
from tests.data.miniature import H36M_32, as_object, write_human36m

# Rotation angles about x, y and z and positions in millimetres from the dataset's own metadata.xml, per camera.
METADATA = {
    "S1": [
        (-1.38382776045614, -3.16734304390158, 0.413636308164621, 1841.10702774543, 4955.28462344526, 1563.4453958977),
        (-1.35517119070383, 3.13934427144743, 2.76026318023792, 1761.27853428116, -5078.00659454077, 1606.2649598335),
        (
            -1.35460453835517,
            -3.09585375458873,
            -0.415010681416711,
            -1846.7776610084,
            5215.04650469073,
            1491.97246576518,
        ),
        (
            -1.29084725708861,
            -3.20353825281863,
            -2.72857298700043,
            -1794.78972871109,
            -3722.69891503676,
            1574.89272604599,
        ),
    ],
    "S5": [
        (-1.37617713453938, -3.16256766548869, 0.440809992980791, 2097.39151027444, 4880.94465755369, 1605.73247183927),
        (-1.3563050564389, 3.12931805155389, 2.74473744708868, 2031.70078497138, -5167.93301206581, 1612.92305082439),
        (
            -1.3562743457011,
            -3.07982159789068,
            -0.382865371867181,
            -1620.59486278793,
            5171.65873305247,
            1496.43704696787,
        ),
        (
            -1.31332016240395,
            -3.22574515339158,
            -2.75330005891557,
            -1637.17374540766,
            -3867.31734917197,
            1547.03325638793,
        ),
    ],
    "S6": [
        (-1.37384065585639, -3.14962908578124, 0.415338270470213, 1935.45174694685, 4950.24580396107, 1618.08381523153),
        (-1.35273482943409, 3.12306622510911, 2.73860727855607, 1969.80390766216, -5128.73876071113, 1632.77883867694),
        (
            -1.36295424416142,
            -3.07297741832933,
            -0.405919808477019,
            -1769.59647655694,
            5185.36115454991,
            1476.99340929046,
        ),
        (
            -1.31574861632979,
            -3.23364633451714,
            -2.74452670528462,
            -1721.66874978818,
            -3884.13134701978,
            1540.48790236846,
        ),
    ],
    "S7": [
        (-1.3767900857079, -3.1563455676984, 0.437827264451112, 1974.51295625891, 4926.35446379868, 1597.83264487845),
        (-1.35115947363283, 3.12541720944921, 2.7424245004417, 1937.0584290357, -5119.78981556288, 1631.56648087072),
        (
            -1.36202017323371,
            -3.07639612744257,
            -0.385859472962769,
            -1741.81111844229,
            5208.24936307788,
            1464.82464578145,
        ),
        (
            -1.31229903526751,
            -3.23226714486797,
            -2.75617673343893,
            -1734.71057764601,
            -3832.42135394085,
            1548.58303462156,
        ),
    ],
    "S8": [
        (-1.37729100357321, -3.16179684618815, 0.423258143295384, 2150.65184102118, 4896.16095051376, 1611.90470612013),
        (-1.35529597940683, 3.129067978444, 2.7681840012377, 2219.9656703358, -5148.45307557174, 1613.04401647351),
        (
            -1.35633305520994,
            -3.07903933034276,
            -0.395738228536372,
            -1571.22149997798,
            5137.01858150498,
            1498.17612798791,
        ),
        (
            -1.31261466850986,
            -3.22669130539521,
            -2.76803843215725,
            -1476.91338239988,
            -3896.7411238582,
            1547.97220703876,
        ),
    ],
    "S9": [
        (-1.38660153616472, -3.18292551468494, 0.441478757753939, 2044.45852504166, 4935.11727984793, 1481.22752752863),
        (-1.36358353731923, 3.1489218957052, 2.7695783975645, 1990.9596621548, -5123.81055155997, 1568.80481574437),
        (-1.34888172298336, -3.102960692595, -0.382788963877425, -1670.99215489414, 5211.98574196124, 1528.38799771705),
        (
            -1.30216364078597,
            -3.20525794988117,
            -2.73209048976503,
            -1696.04347097168,
            -3827.09988628541,
            1591.41272727883,
        ),
    ],
    "S11": [
        (-1.38253857374534, -3.18032944555565, 0.435684449022933, 2098.44023766473, 4926.55465688236, 1500.2785741283),
        (-1.3670893792209, 3.14300994840839, 2.74314804826489, 2083.18240070009, -4912.17282366308, 1561.0785790774),
        (
            -1.33953525239742,
            -3.10064240051082,
            -0.434419468030056,
            -1609.81534310074,
            5177.33597262935,
            1537.89671533582,
        ),
        (
            -1.3052820100275,
            -3.20681865219712,
            -2.73759298630871,
            -1590.73799072229,
            -3854.16900368964,
            1578.01760714384,
        ),
    ],
}
# fx, fy, cx, cy, k1, k2, k3, p1, p2 of the same; p1 belongs to y and p2 to x.
LENSES = {
    "54138969": (
        *(1145.04940458804, 1143.78109572365, 512.541504956548, 515.4514869776),
        *(-0.207098910824901, 0.247775183068982, -0.00307515035078854, -0.00142447157470321, -0.000975698859470499),
    ),
    "55011271": (
        *(1149.67569986785, 1147.59161666764, 508.848621645943, 508.064917088557),
        *(-0.194213629607385, 0.240408539138292, 0.00681997559022603, -0.0027408943961907, -0.001619026613787),
    ),
    "58860488": (
        *(1149.14071676148, 1148.7989685676, 519.815837182153, 501.402658888552),
        *(-0.208338188251856, 0.255488007488945, -0.00246049749891915, -0.000759999321030303, 0.00148438698385668),
    ),
    "60457274": (
        *(1145.51133842318, 1144.77392807652, 514.968197319863, 501.882018537695),
        *(-0.198384093827848, 0.218323676298049, -0.00894780704152122, -0.00181336200488089, -0.000587205583421232),
    ),
}


def turned(x, y, z):
    """Rotation about z, then y, then x."""
    about_x = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def seen(point, subject, camera):
    """Camera-frame point and pixel of one world point in millimetres, number by number from the metadata."""
    *angles, tx, ty, tz = METADATA[subject][camera]
    point = turned(*angles) @ (point - np.array([tx, ty, tz]))
    fx, fy, cx, cy, k1, k2, k3, p1, p2 = LENSES[list(LENSES)[camera]]
    u, v = point[0] / point[2], point[1] / point[2]
    r2 = u * u + v * v
    factor = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3 + p1 * v + p2 * u
    return point, (fx * (u * factor + p2 * r2) + cx, fy * (v * factor + p1 * r2) + cy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("human36m")
    write_human36m(folder)
    return folder


@pytest.mark.parametrize("subject", METADATA)
def test_cameras_are_those_of_the_original_calibration(subject):
    random = np.random.default_rng(0)
    for index, camera in enumerate(human36m_cameras(subject)):
        assert camera.name == list(LENSES)[index]
        for point in random.uniform([-1500, -1500, 0], [1500, 1500, 1800], size=(5, 3)):
            there, pixel = seen(point, subject, index)
            assert there[2] > 1000
            np.testing.assert_allclose(camera.to_camera(point), there, atol=2e-3)
            np.testing.assert_allclose(camera.project(camera.to_camera(point)), pixel, atol=1e-3)


def test_cameras_of_others_are_not_known():
    with pytest.raises(ValueError, match=r"`subject` to be one of \['S1', 'S5', .*\], but got 'S2'"):
        human36m_cameras("S2")


def test_samples_are_what_the_files_hold(folder):
    positions = read_object(folder / "data_3d_h36m.npz", "positions_3d")
    keypoints = read_object(folder / "data_2d_h36m_gt.npz", "positions_2d")
    data = Human36MDataModule(str(folder), unit="mm")
    assert {side: len(data.recordings(side)) for side in ("train", "val", "test")} == {
        "train": 64,
        "val": 16,
        "test": 28,
    }
    assert data.group_names == [f"human36m/S{number}" for number in (1, 5, 6, 7, 8, 9, 11)]
    assert data.action_names == list(H36M_ACTIONS)
    clips = iter(data.recordings("test"))
    for subject in ("S9", "S11"):
        for action, world in positions[subject].items():
            for camera in range(4):
                clip = next(clips)
                frame = 7
                joints = [seen(world[frame, joint] * 1000.0, subject, camera) for joint in H36M_32]
                np.testing.assert_allclose(clip.target[frame], [point for point, _ in joints], atol=0.02)
                height = (1002, 1000, 1000, 1002)[camera]
                screen = [(x / 1000 * 2 - 1, y / 1000 * 2 - height / 1000) for _, (x, y) in joints]
                np.testing.assert_allclose(clip.keypoints_2d[frame], screen, atol=1e-5)
                assert (len(clip), clip.fps, clip.group) == (12, 50.0, f"human36m/{subject}")
                assert clip.action == action.split()[0]
                assert len(keypoints[subject][action][camera]) - len(world) in (0, 1)
    assert next(clips, None) is None


def test_a_batch_is_relative_to_the_hip(folder):
    data = Human36MDataModule(str(folder), batch_size=50)
    batch = next(iter(data.test_dataloader()))
    clip = data.recordings("test")[0]
    wanted = (clip.target - clip.target[:, :1]) / 1000.0
    np.testing.assert_allclose(batch["target"][:12], wanted, atol=1e-6)
    assert (batch["target"][:, 0] == 0).all()
    assert data.group_names[batch["group"][0]] == "human36m/S9"
    assert data.action_names[batch["action"][0]] == "Directions"


def test_detected_keypoints(folder):
    kept, found = (Human36MDataModule(str(folder), keypoints=name) for name in ("gt", "cpn_ft_h36m_dbb"))
    pair = [data.recordings("val")[0].keypoints_2d for data in (kept, found)]
    assert 0.004 < (pair[0] - pair[1]).std() < 0.012  # 4 pixels of 1000, of which the screen is 2 wide
    np.testing.assert_array_equal(kept.recordings("val")[0].target, found.recordings("val")[0].target)


def test_all_five_subjects_may_train(folder):
    data = Human36MDataModule(str(folder), validation_subject=None)
    assert data.groups["train"] == [f"human36m/S{number}" for number in (1, 5, 6, 7, 8)]
    assert data.groups["val"] == []
    assert data.val_dataloader() == []
    assert len(data.dataset("train")) == 5 * 4 * 4 * 12


def test_poses_may_be_of_17_joints_and_keypoints_have_confidences(folder, tmp_path):
    positions = read_object(folder / "data_3d_h36m.npz", "positions_3d")
    short = {s: {a: np.asarray(p)[:, H36M_32] for a, p in actions.items()} for s, actions in positions.items()}
    views = read_object(folder / "data_2d_h36m_gt.npz", "positions_2d")
    sure = {
        s: {a: [np.pad(v, ((0, 0), (0, 0), (0, 1)), constant_values=0.5) for v in cameras] for a, cameras in v.items()}
        for s, v in views.items()
    }
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=as_object(short))
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=as_object(sure))
    data = Human36MDataModule(str(tmp_path), confidence=True)
    batch, wanted = next(iter(data.val_dataloader())), next(iter(Human36MDataModule(str(folder)).val_dataloader()))
    torch.testing.assert_close(batch["target"], wanted["target"])
    torch.testing.assert_close(batch["keypoints_2d"][..., :2], wanted["keypoints_2d"])
    assert (batch["keypoints_2d"][..., 2] == 0.5).all()


def without(data, *keys):
    """The nested containers without one entry."""
    first, *rest = keys
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return data | {first: without(data[first], *rest)}


def changed(data, value, *keys):
    first, *rest = keys
    return data | {first: changed(data[first], value, *rest) if rest else value(data[first])}


def same(value):
    return value


@pytest.mark.parametrize(
    ("change_3d", "change_2d", "text"),
    [
        (lambda p: without(p, "S11"), same, r"data_3d_h36m\.npz: Expected the subject 'S11', but got"),
        (same, lambda k: without(k, "S9"), r"data_2d_h36m_gt\.npz: Expected the subject 'S9'"),
        (same, lambda k: without(k, "S9", "Walking 1"), "Expected keypoints of S9 Walking 1, but got none"),
        (
            lambda p: changed(p, lambda w: w[:, :16], "S9", "Walking 1"),
            same,
            r"Expected numbers of shape \(T, \(17\|32\), 3\)",
        ),
        (lambda p: changed(p, lambda w: w.astype("U8"), "S9", "Walking 1"), same, "Expected numbers of shape"),
        (lambda p: changed(p, lambda w: w[:0], "S9", "Walking 1"), same, "Expected numbers of shape"),
        (lambda p: changed(p, lambda w: [[1.0], [2.0, 3.0]], "S9", "Walking 1"), same, "rows of different lengths"),
        (
            lambda p: changed(p, lambda w: w * np.nan, "S9", "Walking 1"),
            same,
            "S9 Walking 1.*half of them are nan pixels",
        ),
        (lambda p: p | {"S9": []}, same, r"data_3d_h36m\.npz, S9: Expected a dict with entries, but got list"),
        (same, lambda k: k | {"S9": []}, r"data_2d_h36m_gt\.npz, S9: Expected a dict with entries, but got list"),
        (lambda p: {}, same, r"data_3d_h36m\.npz: Expected a dict with entries"),
        (same, lambda k: changed(k, lambda v: v[:3], "S9", "Walking 1"), "Expected keypoints of 4 cameras, but got 3"),
        (
            same,
            lambda k: changed(k, lambda v: [v[0][:5], *v[1:]], "S9", "Walking 1"),
            "all 12 frames that have a pose, and of few others, but got 5",
        ),
        (
            same,
            lambda k: changed(k, lambda v: [v[0][:, :16], *v[1:]], "S9", "Walking 1"),
            r"camera 54138969: Expected numbers of shape \(T, 17, \(2\|3\)\)",
        ),
        (
            same,
            lambda k: changed(k, lambda v: v[::-1], "S9", "Walking 1"),
            "camera 54138969: Expected keypoints that are the projected poses",
        ),
        (
            lambda p: changed(p, lambda w: w * 1000, "S9", "Walking 1"),
            same,
            r"S9 Walking 1, camera 54138969: .*Poses in metres",
        ),
        (
            lambda p: p | {"S9": {"Juggling 1": p["S9"]["Walking 1"]}},
            lambda k: k | {"S9": {"Juggling 1": k["S9"]["Walking 1"]}},
            r"S9 Juggling 1: Expected an action of Human3\.6M",
        ),
    ],
)
def test_malformed_files(folder, tmp_path, change_3d, change_2d, text):
    positions = change_3d(read_object(folder / "data_3d_h36m.npz", "positions_3d"))
    keypoints = change_2d(read_object(folder / "data_2d_h36m_gt.npz", "positions_2d"))
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=as_object(positions))
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=as_object(keypoints))
    with pytest.raises(ValueError, match=text):
        Human36MDataModule(str(tmp_path)).setup("test")


def test_joints_in_another_order_are_noticed(folder, tmp_path):
    np.savez(tmp_path / "data_3d_h36m.npz", positions_3d=as_object({"S9": {}}))
    metadata = {"num_joints": 17, "keypoints_symmetry": [[1, 3], [2, 4]]}
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=as_object({"S9": {}}), metadata=as_object(metadata))
    with pytest.raises(ValueError, match=r"left and right keypoints \(\[4, 5, 6, 11, 12, 13\].*but got \(\[1, 3\]"):
        Human36MDataModule(str(tmp_path)).setup("test")
    np.savez(tmp_path / "data_2d_h36m_gt.npz", positions_2d=as_object({"S9": {}}), metadata=as_object({"a": 1}))
    with pytest.raises(ValueError, match="Expected a dict with entries"):  # past the metadata, which say nothing
        Human36MDataModule(str(tmp_path)).setup("test")


def test_arguments(folder, tmp_path):
    with pytest.raises(ValueError, match=r"`validation_subject` to be None or one of .*, but got 'S9'"):
        Human36MDataModule(str(folder), validation_subject="S9")
    with pytest.raises(FileNotFoundError, match=r"Expected 'data_2d_h36m_sh\.npz' in `path`"):
        Human36MDataModule(str(folder), keypoints="sh").setup()
    with pytest.raises(FileNotFoundError, match=r"Expected 'data_3d_h36m\.npz' in `path`.*docs/data\.md"):
        Human36MDataModule(str(tmp_path)).setup()


@pytest.mark.parametrize(
    ("name", "merged"),
    [
        ("Walking", "Walking"),
        ("SittingDown 2", "SittingDown"),
        ("TakingPhoto 1", "Photo"),
        ("WalkingTogether_1", "WalkTogether"),
    ],
)
def test_actions_are_merged(name, merged):
    assert merged_action(name, "here") == merged


def test_fit_by_config(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = f"""
model:
  class_path: examples.seal_lifter.SealLifter
  init_args: {{hidden: 16, stages: 1, seal: {{skeleton: h36m17}}}}
data:
  class_path: seal_lightning.data.Human36MDataModule
  init_args: {{path: {folder}, keypoints: cpn_ft_h36m_dbb, batch_size: 8, flip: true}}
trainer: {{fast_dev_run: true, accelerator: cpu, enable_progress_bar: false, enable_model_summary: false}}
"""
    (tmp_path / "run.yaml").write_text(config)
    main(["fit", "--config", "run.yaml", "--data.batch_size", "4"])
