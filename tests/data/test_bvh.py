"""BVH files against an own forward kinematics, by hand, on real recordings, and every way to be malformed."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seal_lightning.data.formats.bvh import read_bvh
from seal_lightning.data.formats.motion import Motion, to_world, whole_rate
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.sides import partners_by_name, unique_names

RAW = Path(__file__).resolve().parents[2] / "../shared/data/raw"
CMU = RAW.parent / "cmu_h36m17.npz"
real = pytest.mark.skipif(not (RAW.is_dir() and CMU.is_file()), reason="no ../shared/data/raw beside the repository")

ARM = """HIERARCHY
ROOT Hips
{
    OFFSET 0 0 0
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    JOINT LeftArm
    {
        OFFSET 2 0 0
        CHANNELS 3 Zrotation Xrotation Yrotation
        End Site
        {
            OFFSET 3 0 0
        }
    }
}
MOTION
Frames: 2
Frame Time: 0.04
0 0 0 0 0 0 0 0 0
1 5 0 90 0 0 0 0 90
"""


def write(folder, text=ARM, name="arm.bvh"):
    path = folder / name
    path.write_bytes(text.encode())
    return path


def read(folder, text=ARM, **options):
    return read_bvh(write(folder, text), **({"unit": "mm", "up": "z"} | options))


def turn(axis, degrees):
    """Rodrigues' formula."""
    x, y, z = np.eye(3)["xyz".index(axis)]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def place(matrix=None, shift=(0, 0, 0)):
    result = np.eye(4)
    result[:3, 3] = shift
    if matrix is not None:
        result[:3, :3] = matrix
    return result


def random_tree(rng, joints, positions=True):
    """Per joint a parent, an offset, and channels; End Sites have None."""
    tree = [(-1, rng.normal(size=3).round(3) * (not positions), ["Zposition", "Xposition", "Yposition"])]
    for joint in range(1, joints):
        parent = int(rng.choice([i for i in range(joint) if tree[i][2] is not None]))
        offset = rng.normal(size=3).round(3) * (rng.random() > 0.2)
        tree.append((parent, offset, None if joint > 2 and rng.random() < 0.3 else []))
    for joint, (_, _, channels) in enumerate(tree):
        if channels is not None:
            count = 3 if joint == 0 else rng.integers(0, 5)
            channels += [f"{axis}rotation" for axis in rng.choice([*"XYZ"], size=count)]
            if positions and joint and rng.random() < 0.4:
                channels.insert(int(rng.integers(0, len(channels) + 1)), "Yposition")
    return tree


def layout(rng, tree, frames, end="\n"):
    """The text of a file; keywords of a joint in either order, comments, blanks."""
    lines, order, columns = ["HIERARCHY  # made for a test"], [], []

    def joint(index, indent):
        parent, offset, channels = tree[index]
        order.append(index)
        name = f"{'ROOT' if parent < 0 else 'JOINT'} j{index}" if channels is not None else "End Site"
        lines.extend([indent + name, indent + "{ "])
        parts = ["\tOFFSET " + " ".join(map(str, offset))]
        if channels is not None:
            columns.extend((index, channel) for channel in channels)
            parts.append(f"  CHANNELS {len(channels)} " + " ".join(channels) + "  ")
        lines.extend(indent + parts[i] for i in rng.permutation(len(parts)))
        lines.append("")
        for child, (above, _, _) in enumerate(tree):
            if above == index:
                joint(child, indent + "  ")
        lines.append(indent + "}")

    joint(0, "")
    values = rng.uniform(-180, 180, size=(frames, len(columns))).round(4)
    lines.extend(["MOTION", f"Frames:\t{frames}", "Frame Time: 0.0083333", "// the first frame"])
    lines.extend(" ".join(map(str, row)) + " \t" for row in values)
    return end.join([*lines, "", "   ", ""]), order, columns, values


def reference(tree, order, columns, values, add=False):
    result = np.zeros((len(values), len(tree), 3))
    for frame, row in enumerate(values):
        world = {-1: np.eye(4)}
        for index in order:
            parent, offset, _ = tree[index]
            shift, rotation = np.array(offset, dtype=float), np.eye(3)
            for (owner, channel), value in zip(columns, row, strict=True):
                if owner == index and channel.endswith("position"):
                    axis = "XYZ".index(channel[0])
                    shift[axis] = value + (offset[axis] if add else 0)
                elif owner == index:
                    rotation = rotation @ turn(channel[0].lower(), value)
            world[index] = world[parent] @ place(shift=shift) @ place(rotation)
            result[frame, index] = world[index][:3, 3]
    return result[:, order]


@pytest.mark.parametrize("seed", range(12))
def test_positions_against_own_kinematics(tmp_path, seed):
    rng = np.random.default_rng(seed)
    tree = random_tree(rng, joints=int(rng.integers(2, 12)))
    text, order, columns, values = layout(rng, tree, frames=3, end=["\n", "\r\n", "\r"][seed % 3])
    add = bool(seed % 2)
    motion = read(tmp_path, text, position_channels="add" if add else "replace")
    np.testing.assert_allclose(motion.positions, reference(tree, order, columns, values, add), atol=2e-3)
    assert motion.positions.dtype == np.float32
    assert motion.fps == 120.0
    assert motion.skeleton.parents == tuple(-1 if tree[i][0] < 0 else order.index(tree[i][0]) for i in order)
    sites = [name for index, name in zip(order, motion.skeleton.names, strict=True) if tree[index][2] is None]
    assert all(re.fullmatch(r"j\d+_end(_\d+)?", name) for name in sites)
    assert Skeleton.from_bvh(tmp_path / "arm.bvh") == motion.skeleton


def test_by_hand(tmp_path):
    motion = read(tmp_path)
    assert motion.skeleton.names == ("Hips", "LeftArm", "LeftArm_end")
    np.testing.assert_allclose(motion.positions[0], [[0, 0, 0], [2, 0, 0], [5, 0, 0]], atol=1e-6)
    # A quarter about z takes x to y; the arm's quarter about y then takes its x to -z.
    np.testing.assert_allclose(motion.positions[1], [[1, 5, 0], [1, 7, 0], [1, 7, -3]], atol=1e-6)
    np.testing.assert_allclose(read(tmp_path, up="y").positions[1], [[1, 0, 5], [1, 0, 7], [1, 3, 7]], atol=1e-6)


@pytest.mark.parametrize(
    ("unit", "millimetres"), [("mm", 1), ("cm", 10), ("m", 1000), ("inch", 25.4), ("cmu", 25.4 / 0.45), (7.5, 7.5)]
)
def test_units(tmp_path, unit, millimetres):
    motion = read(tmp_path, unit=unit)
    np.testing.assert_allclose(motion.positions[0, :, 0], np.array([0, 2, 5]) * millimetres, rtol=1e-6)


@pytest.mark.parametrize("unit", ["km", 0.0, -1.0, float("nan"), float("inf")])
def test_unknown_unit(tmp_path, unit):
    with pytest.raises(ValueError, match=r"Expected `unit` to be one of .* or how many millimetres it is, but got"):
        read(tmp_path, unit=unit)


def test_unknown_options(tmp_path):
    with pytest.raises(ValueError, match=r"Expected `up` to be 'y', 'z' or '-y', but got 'x'\."):
        read(tmp_path, up="x")
    with pytest.raises(ValueError, match=r"Expected `position_channels` to be 'replace' or 'add', but got 'both'\."):
        read(tmp_path, position_channels="both")
    with pytest.raises(TypeError, match="unit"):
        read_bvh(write(tmp_path))


def test_order_of_rotations(tmp_path):
    values = "0 0 0 0 0 0 90 90 0"
    by_order = {}
    for order in ("Zrotation Xrotation Yrotation", "Xrotation Zrotation Yrotation"):
        text = ARM.replace("CHANNELS 3 Zrotation Xrotation Yrotation", f"CHANNELS 3 {order}")
        text = text.replace("OFFSET 3 0 0", "OFFSET 0 3 0").replace("0 0 0 0 0 0 0 0 0", values)
        by_order[order[0]] = read(tmp_path, text).positions[0, 2] - [2, 0, 0]
    # Z X: y goes to z about x, and stays there about z. X Z: y goes to -x about z, and stays there about x.
    np.testing.assert_allclose(by_order["Z"], [0, 0, 3], atol=1e-6)
    np.testing.assert_allclose(by_order["X"], [-3, 0, 0], atol=1e-6)


def test_position_channels_beside_an_offset_are_not_guessed(tmp_path):
    text = ARM.replace("CHANNELS 3 Z", "CHANNELS 4 Yposition Z").replace("OFFSET 2 0 0", "OFFSET 2 4 0")
    text = text.replace("0 0 0 0 0 0 0 0 0", "0 0 0 0 0 0 6 0 0 0").replace("90 0 0 0 0 90", "90 0 0 6 0 0 90")
    with pytest.raises(ValueError, match=r"arm\.bvh, line 6: Expected `position_channels` .* joint 'LeftArm' has"):
        read(tmp_path, text)
    assert read(tmp_path, text, position_channels="replace").positions[0, 1].tolist() == [2, 6, 0]
    assert read(tmp_path, text, position_channels="add").positions[0, 1].tolist() == [2, 10, 0]
    harmless = text.replace("OFFSET 2 4 0", "OFFSET 2 0 7")
    assert read(tmp_path, harmless).positions[0, 1].tolist() == [2, 6, 7]


def test_names_with_blanks_and_repeated_names(tmp_path):
    text = ARM.replace("LeftArm", "Bip01 L Arm").replace("End Site\n", "End Site {OFFSET 0 0 1}\n End Site\n")
    assert read(tmp_path, text).skeleton.names == ("Hips", "Bip01 L Arm", "Bip01 L Arm_end", "Bip01 L Arm_end_2")
    twice = ARM.replace("LeftArm", "Hips")
    assert read(tmp_path, twice).skeleton.names == ("Hips", "Hips_2", "Hips_end")


def test_braces_on_the_line_and_lower_case(tmp_path):
    text = re.sub(r"\s*\{", " {", ARM)
    text = text[: text.index("MOTION")].lower().replace("hips", "Hips").replace("leftarm", "LeftArm") + (
        text[text.index("MOTION") :].replace("Frame Time", "frame time")
    )
    np.testing.assert_array_equal(read(tmp_path, text).positions, read(tmp_path).positions)
    assert read(tmp_path, "\ufeff" + ARM).fps == 25.0


def test_zero_length_bones(tmp_path):
    motion = read(tmp_path, ARM.replace("OFFSET 3 0 0", "OFFSET 0 0 0"))
    np.testing.assert_array_equal(motion.positions[:, 1], motion.positions[:, 2])


@pytest.mark.parametrize(
    ("frame_time", "fps"),
    [("0.008333", 120), ("0.00833333", 120), ("0.0333333", 30), ("0.0333667", 29.97), ("0.04", 25), ("2.5", 0.4)],
)
def test_frame_rates(tmp_path, frame_time, fps):
    assert read(tmp_path, ARM.replace("0.04", frame_time)).fps == pytest.approx(fps, rel=1e-5)
    assert whole_rate(1 / 59.94) == pytest.approx(59.94)


MALFORMED = {
    "empty": (lambda t: "", 1, "Expected HIERARCHY, but the hierarchy ends."),
    "another format": (lambda t: ":FULLY-SPECIFIED", 1, "Expected a BVH file to begin with HIERARCHY."),
    "no joints": (lambda t: "HIERARCHY\n" + t[t.index("MOTION") :], 1, "Expected a ROOT joint"),
    "no root": (lambda t: t.replace("ROOT", "JOINT"), 2, "Expected one ROOT, before all other joints."),
    "two roots": (lambda t: t.replace("JOINT LeftArm", "ROOT B"), 6, "Expected one ROOT, before all other joints."),
    "second root": (
        lambda t: t.replace("MOTION", "ROOT B\n{\nMOTION"),
        16,
        "Expected one ROOT, before all other joints.",
    ),
    "joint outside": (lambda t: t.replace("MOTION", "JOINT B\n{\nMOTION"), 16, "Expected JOINT inside a joint"),
    "no name": (lambda t: t.replace("JOINT LeftArm", "JOINT"), 6, "Expected a name after JOINT."),
    "no brace": (lambda t: t.replace("LeftArm\n    {", "LeftArm"), 7, "Expected an opening brace after 'LeftArm'."),
    "joint in an End Site": (
        lambda t: t.replace("OFFSET 3 0 0", "OFFSET 3 0 0 JOINT B { }"),
        12,
        "Expected no joint inside an End Site.",
    ),
    "channels in an End Site": (
        lambda t: t.replace("OFFSET 3 0 0", "OFFSET 3 0 0\nCHANNELS 1 Xrotation"),
        13,
        "Expected an End Site without CHANNELS, but got another in joint 'LeftArm_end'.",
    ),
    "unclosed": (lambda t: t.replace("}\nMOTION", "MOTION"), 14, "a closing brace for joint 'Hips'"),
    "closed too often": (lambda t: t.replace("}\nMOTION", "}}\nMOTION"), 15, "a closing brace inside a joint"),
    "offset outside": (lambda t: t.replace("ROOT Hips\n{", "OFFSET 1 1 1"), 2, "Expected OFFSET inside a joint."),
    "unknown word": (lambda t: t.replace("OFFSET 2", "OFFSETS 2"), 8, "or a brace, but got 'OFFSETS'."),
    "no offset": (lambda t: t.replace("OFFSET 3 0 0", ""), 13, "Expected OFFSET in joint 'LeftArm_end'"),
    "no channels": (
        lambda t: t.replace("CHANNELS 3 Zrotation Xrotation Yrotation", ""),
        14,
        "Expected CHANNELS in joint 'LeftArm', but it ends without.",
    ),
    "two offsets": (lambda t: t.replace("OFFSET 2 0 0", "OFFSET 2 0 0\nOFFSET 1 0 0"), 9, "Expected one OFFSET"),
    "short offset": (lambda t: t.replace("OFFSET 2 0 0", "OFFSET 2 0"), 9, "a finite number, but got 'CHANNELS'."),
    "offset at the end": (lambda t: "HIERARCHY ROOT a { OFFSET 1 2", 1, "Expected three numbers, but the hierarchy"),
    "comma": (lambda t: t.replace("OFFSET 2 0 0", "OFFSET 2,5 0 0"), 8, "Expected a finite number, but got '2,5'."),
    "underscore": (lambda t: t.replace("OFFSET 2", "OFFSET 2_0"), 8, "Expected a finite number, but got '2_0'."),
    "NaN offset": (lambda t: t.replace("OFFSET 2", "OFFSET nan"), 8, "Expected a finite number, but got 'nan'."),
    "huge offset": (lambda t: t.replace("OFFSET 2", "OFFSET 1e99"), 8, "Expected a finite number, but got '1e99'."),
    "unknown channel": (lambda t: t.replace("3 Zrotation", "3 Zscale"), 9, "Expected a channel like Xposition"),
    "too few channels": (lambda t: t.replace("CHANNELS 3 Z", "CHANNELS 4 Z"), 10, "a channel like Xposition"),
    "too many channels": (lambda t: t.replace("CHANNELS 3 Z", "CHANNELS 2 Z"), 9, "a brace, but got 'Yrotation'."),
    "no number of channels": (lambda t: t.replace("CHANNELS 3 Z", "CHANNELS Z"), 9, "Expected a whole number, but got"),
    "same position twice": (
        lambda t: t.replace("Xposition Yposition", "Xposition Xposition"),
        5,
        "Expected Xposition of joint 'Hips' once, but got it twice.",
    ),
    "no channel at all": (
        lambda t: "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 0 }\n" + t[t.index("MOTION") :],
        6,
        "Expected at least one channel, but no joint has any.",
    ),
    "no motion": (lambda t: t[: t.index("MOTION")], 15, "Expected MOTION, on a line of its own."),
    "motion with more": (lambda t: t.replace("MOTION", "MOTION 2"), 16, "Expected MOTION, on a line of its own."),
    "no frames": (lambda t: t.replace("Frames: 2\n", ""), 17, "Expected 'Frames: NUMBER', but got 'Frame Time: 0.04'."),
    "frames are no number": (lambda t: t.replace("Frames: 2", "Frames: two"), 17, "Expected a whole number, but got"),
    "no frame": (lambda t: t.replace("Frames: 2", "Frames: 0"), 17, "Expected at least one frame, but got 0."),
    "no frame time": (lambda t: t[: t.index("Frame Time")], 17, "'Frame Time: NUMBER', but got 'the end of the file'."),
    "frame time 0": (
        lambda t: t.replace("0.04", "0"),
        18,
        "Expected a frame time of a microsecond to 10 seconds, but got 0: is it frames per second?",
    ),
    "truncated frame": (lambda t: t.replace(" 0 0 90\n", "\n"), 20, "Expected 9 numbers in a frame, but got 6."),
    "truncated motion": (lambda t: t.replace("Frames: 2", "Frames: 5"), 20, "5 frames, but the file ends after 2."),
    "more frames": (lambda t: t.replace("Frames: 2", "Frames: 1"), 20, "Expected 1 frames, but here is another line."),
    "no number in a frame": (lambda t: t.replace("1 5 0", "1 x 0"), 20, "Expected a finite number, but got 'x'."),
    "NaN in a frame": (lambda t: t.replace("1 5 0", "1 nan 0"), 20, "Expected a finite number, but got 'nan'."),
    "infinity in a frame": (lambda t: t.replace("1 5 0", "1 1e400 0"), 20, "a finite number, but got '1e400'."),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed(tmp_path, case):
    damage, line, message = MALFORMED[case]
    with pytest.raises(ValueError, match=rf"arm\.bvh, line {line}: Expected .*") as caught:
        read(tmp_path, damage(ARM))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_not_text_and_not_there(tmp_path):
    path = tmp_path / "arm.bvh"
    path.write_bytes(ARM.encode().replace(b"LeftArm", b"Left\xc4rm"))
    with pytest.raises(ValueError, match=r"arm\.bvh, line 6: Expected text in UTF-8, but got other bytes\."):
        read_bvh(path, unit="mm", up="z")
    with pytest.raises(FileNotFoundError, match="other"):
        read_bvh(tmp_path / "other.bvh", unit="mm", up="z")


WORDS = re.findall(r"\S+|\s+", ARM)
EDIT = st.tuples(
    st.integers(0, len(WORDS) - 1),
    st.sampled_from(["drop", "swap", "put", "cut"]),
    st.one_of(st.sampled_from(WORDS), st.text(max_size=6), st.sampled_from(["{", "}", "1e999", "-1", "\x00", "٣"])),
)


@given(st.lists(EDIT, min_size=1, max_size=4))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_files_parse_or_say_where(tmp_path, edits):
    words = list(WORDS)
    for index, kind, word in edits:
        index %= max(1, len(words))
        if kind == "drop":
            del words[index : index + 1]
        elif kind == "put":
            words.insert(index, word)
        elif kind == "cut":
            words = words[: index + 1]
        elif words:
            words[index] = word
    text = "".join(words).encode(errors="replace").decode()
    message = motion = None
    try:
        motion = read(tmp_path, text, position_channels="replace")
    except ValueError as error:
        message = str(error)
    if motion is None:
        assert re.match(rf"{re.escape(str(tmp_path))}/arm\.bvh, line \d+: Expected ", message), message
    else:
        assert np.isfinite(motion.positions).all()
        assert motion.positions.shape[1] == motion.skeleton.num_joints


def test_deep_hierarchies(tmp_path):
    depth = 3000
    text = "HIERARCHY ROOT a { OFFSET 0 0 0 CHANNELS 1 Xrotation\n"
    text += "JOINT b { OFFSET 1 0 0 CHANNELS 0\n" * depth + "}" * (depth + 1)
    motion = read(tmp_path, text + "\nMOTION\nFrames: 1\nFrame Time: 1\n0\n")
    assert motion.positions[0, -1].tolist() == [depth, 0, 0]
    assert motion.skeleton.names[-1] == f"b_{depth}"


def test_partners_by_name():
    names = ["Hips", "LeftUpLeg", "RightUpLeg", "LThumb", "RThumb", "arm_l", "arm_r", "rig:LFoot", "rig:RFoot"]
    assert partners_by_name(names, [-1] + [0] * 8) == ((1, 3, 5, 7), (2, 4, 6, 8))
    assert partners_by_name(["rfemur", "lfemur"], [-1, 0]) == ((), ())  # one hangs from the other
    assert partners_by_name(["a", "R_Hand", "L_Hand", "RIGHT HAND", "LEFT HAND"], [-1, 0, 0, 0, 0]) == ((2, 4), (1, 3))


def test_partners_are_left_out_where_unclear():
    assert partners_by_name(["hip", "lleft", "rleft", "lright"], [-1, 0, 0, 0]) == ((), ())
    assert partners_by_name(["hip", "LArm", "RArm", "LHand", "RHand"], [-1, 0, 0, 1, 0]) == ((1,), (2,))
    assert partners_by_name(["hip", "lip", "Left"], [-1, 0, 0]) == ((), ())


@given(st.lists(st.sampled_from(["a", "a_2", "a_3", "b", "b_2"]), min_size=1, max_size=12))
def test_unique_names_are_unique_and_stable(names):
    unique = unique_names(names)
    assert len(set(unique)) == len(names)
    assert all(new == old or new.startswith(f"{old}_") for old, new in zip(names, unique, strict=True))
    firsts = {name: unique[names.index(name)] for name in names}
    assert all(old == new for old, new in firsts.items())


@given(
    st.lists(st.sampled_from(["L", "R", "l", "r", "Left", "Right", "x", "_", ":"]), min_size=1, max_size=4), st.data()
)
def test_partners_fit_a_skeleton(parts, data):
    names = list(dict.fromkeys(data.draw(st.lists(st.permutations(parts).map("".join), min_size=2, max_size=9))))
    parents = [-1] + [data.draw(st.integers(0, joint - 1)) for joint in range(1, len(names))]
    Skeleton(tuple(names), tuple(parents), *partners_by_name(names, parents))


def test_motion_checks_its_arrays():
    bone = Skeleton.from_parents([-1, 0])
    with pytest.raises(ValueError, match=r"Expected `positions` of shape \(T, 2, 3\), but got \(4, 3, 3\)\."):
        Motion(np.zeros((4, 3, 3), np.float32), bone, 25.0)
    for fps in (0.0, float("nan"), -25.0):
        with pytest.raises(ValueError, match=r"Expected `fps` to be positive, but got"):
            Motion(np.zeros((4, 2, 3), np.float32), bone, fps)


def test_turning_up_is_a_rotation():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(4, 3))
    turned = to_world(points, "mm", "y")
    np.testing.assert_allclose(turned[:, 2], points[:, 1], rtol=1e-6)
    axes = to_world(np.eye(3), "mm", "y")
    assert np.linalg.det(axes) == pytest.approx(1.0)


@real
def test_limb_directions_of_a_real_recording():
    motion = read_bvh(RAW / "08_01_daz.bvh", unit="cm", up="y")
    assert (len(motion.positions), motion.fps) == (278, 120.0)
    data = np.load(CMU)
    clip = data["clip"].tolist().index("08_01_part0")
    start, length = data["clip_start"][clip], data["clip_length"][clip]
    converted, ours = data["positions"][start : start + length], motion.positions[9::4]
    assert len(ours) == length == 68
    limbs = {(1, 2): "rThigh rShin", (2, 3): "rShin rFoot", (4, 5): "lThigh lShin", (5, 6): "lShin lFoot"}
    limbs |= {(11, 12): "lShldr lForeArm", (12, 13): "lForeArm lHand", (14, 15): "rShldr rForeArm"}
    limbs |= {(15, 16): "rForeArm rHand"}
    for (start, end), names in limbs.items():
        first, second = (motion.skeleton.names.index(name) for name in names.split())
        theirs, own = converted[:, end] - converted[:, start], ours[:, second] - ours[:, first]
        sine = np.linalg.norm(np.cross(theirs, own), axis=-1)
        angle = np.degrees(np.arctan2(sine, (theirs * own).sum(axis=-1)))
        assert angle.max() < 0.1, names


@real
def test_limb_lengths_of_a_real_recording():
    motion = read_bvh(RAW / "02_01.bvh", unit="cmu", up="y")
    assert (motion.positions.shape, motion.fps) == ((343, 38, 3), 120.0)
    data = np.load(CMU)
    start = data["clip_start"][data["clip"].tolist().index("01_01")]  # subjects 01 and 02 have one skeleton
    pose = data["positions"][start].astype(float)
    limbs = {(1, 2): "RightUpLeg RightLeg", (2, 3): "RightLeg RightFoot", (4, 5): "LeftUpLeg LeftLeg"}
    limbs |= {(5, 6): "LeftLeg LeftFoot", (11, 12): "LeftArm LeftForeArm", (12, 13): "LeftForeArm LeftHand"}
    limbs |= {(14, 15): "RightArm RightForeArm", (15, 16): "RightForeArm RightHand"}
    for (start, end), names in limbs.items():
        first, second = (motion.skeleton.names.index(name) for name in names.split())
        ours = np.linalg.norm(motion.positions[:, second] - motion.positions[:, first], axis=-1)
        np.testing.assert_allclose(ours, np.linalg.norm(pose[end] - pose[start]), rtol=5e-3, err_msg=names)


@real
def test_skeleton_of_a_real_file():
    skeleton = Skeleton.from_bvh(RAW / "02_01.bvh")
    assert skeleton.num_joints == 38
    pairs = {
        (skeleton.names[left], skeleton.names[right]) for left, right in zip(skeleton.left, skeleton.right, strict=True)
    }
    assert {("LHipJoint", "RHipJoint"), ("LeftUpLeg", "RightUpLeg"), ("LThumb_end", "RThumb_end")} <= pairs
    central = {"Hips", "LowerBack", "Spine", "Spine1", "Neck", "Neck1", "Head", "Head_end"}
    assert {name for joint, name in enumerate(skeleton.names) if skeleton.partners[joint] == joint} == central
    assert Skeleton.from_bvh(RAW / "08_01_daz.bvh").num_joints == 57
