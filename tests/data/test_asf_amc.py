"""ASF/AMC files against an own forward kinematics, by hand, on a real recording, and every way to be malformed."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seal_lightning.data.formats.asf_amc import read_amc

RAW = Path(__file__).resolve().parents[2] / "../shared/data/raw"
CMU = RAW.parent / "cmu_h36m17.npz"
real = pytest.mark.skipif(not (RAW.is_dir() and CMU.is_file()), reason="no ../shared/data/raw beside the repository")

ASF = """# made for a test
:version 1.10
:name TEST
:units
  mass 1.0
  length 0.45
  angle deg
:documentation
   free words, begin and end: root arm
:root
   order TX TY TZ RX RY RZ
   axis XYZ
   position 0 0 0
   orientation 0 0 0
:bonedata
  begin
     id 1
     name larm
     direction 1 0 0
     length 2
     axis 0 0 0  XYZ
    dof rx rz
    limits (-160.0 20.0)
           (-70.0 70.0)
  end
  begin
     id 2
     name lhand
     direction 0 3 0
     length 3
     axis 90 0 0  XYZ
    dof rz
  end
  begin
     id 3
     name rarm
     direction -1 0 0
     length 0
     axis 0 0 0  XYZ
  end
:hierarchy
  begin
    root larm rarm
    larm lhand
  end
"""
AMC = """#!OML:ASF somewhere
:FULLY-SPECIFIED
:DEGREES
1
root 1 2 3 0 0 0
larm 0 0
lhand 0
2
root 0 0 0 0 0 90
larm 90 0
lhand 90
"""


def write(folder, asf=ASF, amc=AMC):
    (folder / "35.asf").write_bytes(asf.encode())
    (folder / "35_01.amc").write_bytes(amc.encode())
    return folder / "35_01.amc"


def read(folder, asf=ASF, amc=AMC, **options):
    return read_amc(write(folder, asf, amc), **({"unit": "mm", "up": "z", "fps": 120.0} | options))


def turn(axis, degrees):
    """Rodrigues' formula."""
    x, y, z = np.eye(3)["xyz".index(axis)]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def turns(letters, degrees):
    """One after the other, about fixed axes."""
    result = np.eye(3)
    for letter, angle in zip(letters, degrees, strict=True):
        result = turn(letter, angle) @ result
    return result


def test_by_hand(tmp_path):
    motion = read(tmp_path)
    assert motion.skeleton.names == ("root", "larm", "lhand", "rarm")
    assert motion.skeleton.parents == (-1, 0, 1, 0)
    assert (motion.skeleton.left, motion.skeleton.right) == ((1,), (3,))
    assert motion.fps == 120.0
    np.testing.assert_allclose(motion.positions[0], [[1, 2, 3], [3, 2, 3], [3, 5, 3], [1, 2, 3]], atol=1e-6)
    # The root takes x to y. The arm turns about its own direction and carries y to z and z to -y; the hand turns about
    # its own z, which its axes make -y, and so from y to y. In the arm's frame y is z of the world.
    np.testing.assert_allclose(motion.positions[1], [[0, 0, 0], [0, 2, 0], [0, 2, 3], [0, 0, 0]], atol=1e-6)
    up = read(tmp_path, up="y", unit="cmu").positions[1, 2]
    np.testing.assert_allclose(up, np.array([0, -3, 2]) * 25.4 / 0.45, atol=1e-3)


def test_angles_apply_in_the_declared_order(tmp_path):
    amc = AMC.replace("larm 0 0", "larm 90 90")
    asf = ASF.replace("direction 1 0 0", "direction 0 1 0")
    # x first: y goes to z, where a turn about the fixed z leaves it.
    np.testing.assert_allclose(read(tmp_path, asf, amc).positions[0, 1], [1, 2, 5], atol=1e-6)
    # z first: y goes to -x, where a turn about the fixed x leaves it.
    np.testing.assert_allclose(
        read(tmp_path, asf.replace("dof rx rz", "dof rz rx"), amc).positions[0, 1], [-1, 2, 3], atol=1e-6
    )


@pytest.mark.parametrize("seed", range(8))
def test_positions_against_own_kinematics(tmp_path, seed):
    rng = np.random.default_rng(seed)
    end, unit = ["\n", "\r\n"][seed % 2], ["deg", "rad"][seed // 2 % 2]
    factor = 1.0 if unit == "deg" else np.pi / 180
    bones, links = [], {}
    for number in range(int(rng.integers(2, 9))):
        parent = "root" if number == 0 else rng.choice(["root", *(f"b{i}" for i in range(number))])
        links.setdefault(str(parent), []).append(f"b{number}")
        direction = rng.normal(size=3).round(4)
        dof = list(rng.permutation(["rx", "ry", "rz"])[: rng.integers(0, 4)])
        letters, angles = "".join(rng.permutation([*"XYZ"])), rng.uniform(-180, 180, 3).round(3)
        bones.append((f"b{number}", str(parent), direction, round(rng.random() * 3, 4), letters, angles, dof))
    order = list(rng.permutation(["TX", "TY", "TZ", "RX", "RY", "RZ"]))
    lines = [":units", f"angle {unit}", ":root", "axis XYZ", "order " + " ".join(order), ":bonedata"]
    for name, _, direction, length, letters, angles, dof in rng.permutation(np.array(bones, dtype=object)):
        values = " ".join(str(angle * factor) for angle in angles)
        lines += ["begin", f"name {name}  # a bone", f"length {length}", f"axis {values} {letters}"]
        lines += ["direction " + " ".join(map(str, direction)), *([f"dof {' '.join(dof)} "] if dof else []), "", "end"]
    lines += [":hierarchy", "begin", *(" ".join([name, *below]) for name, below in links.items()), "end"]
    frames = [{"root": rng.uniform(-180, 180, 6)} for _ in range(3)]
    rows = [":FULLY-SPECIFIED", ":DEGREES" if seed % 3 else ":RADIANS"]
    amc_factor = 1.0 if seed % 3 else np.pi / 180
    for number, frame in enumerate(frames, start=7):
        rows += [str(number)]
        for name, _, _, _, _, _, dof in rng.permutation(np.array(bones, dtype=object)):
            if dof:
                frame[name] = rng.uniform(-180, 180, len(dof))
                rows.append(" ".join([name, *(str(value * amc_factor) for value in frame[name])]))
        root = [value * (amc_factor if kind[0] == "R" else 1) for kind, value in zip(order, frame["root"], strict=True)]
        rows.append(" ".join(["root", *map(str, root)]) + "  ")
    motion = read(tmp_path, end.join(lines), end.join(rows))

    assert sorted(motion.skeleton.names) == sorted(["root", *(bone[0] for bone in bones)])
    for index, frame in enumerate(frames):
        at = dict(zip(order, frame["root"], strict=True))
        world = {"root": turns([k[1].lower() for k in order if k[0] == "R"], [at[k] for k in order if k[0] == "R"])}
        place = {"root": np.array([at["TX"], at["TY"], at["TZ"]])}
        for name, parent, direction, length, letters, angles, dof in bones:
            axes = turns(letters.lower(), angles)
            own = turns([kind[1] for kind in dof], frame.get(name, []))
            world[name] = world[parent] @ axes @ own @ np.linalg.inv(axes)
            place[name] = place[parent] + length * world[name] @ direction / np.linalg.norm(direction)
        expected = [place[name] for name in motion.skeleton.names]
        np.testing.assert_allclose(motion.positions[index], expected, atol=1e-4)


def test_degrees_as_in_the_skeleton_where_the_motion_does_not_say(tmp_path):
    amc = AMC.replace(":DEGREES\n", "")
    np.testing.assert_array_equal(read(tmp_path, amc=amc).positions, read(tmp_path).positions)
    radians = amc.replace("90", str(np.pi / 2))
    flagged = radians.replace(":FULLY-SPECIFIED", ":FULLY-SPECIFIED\n:RADIANS")
    np.testing.assert_allclose(read(tmp_path, amc=flagged).positions, read(tmp_path).positions, atol=1e-6)


def test_which_skeleton(tmp_path):
    write(tmp_path)
    (tmp_path / "36.asf").write_text(ASF.replace("length 2", "length 7"))
    (tmp_path / "36_x_01.amc").write_text(AMC)
    options = {"unit": "mm", "up": "z", "fps": 1.0}
    assert read_amc(tmp_path / "36_x_01.amc", **options).positions[0, 1, 0] == 8
    assert read_amc(tmp_path / "35_01.amc", tmp_path / "36.asf", **options).positions[0, 1, 0] == 8
    (tmp_path / "walk.amc").write_text(AMC)
    with pytest.raises(
        FileNotFoundError, match=r"Expected 'walk.asf' or a single ASF file beside .*35\.asf', '36\.asf"
    ):
        read_amc(tmp_path / "walk.amc", **options)
    (tmp_path / "35.asf").unlink()
    assert read_amc(tmp_path / "walk.amc", **options).positions[0, 1, 0] == 8
    (tmp_path / "36.asf").unlink()
    with pytest.raises(FileNotFoundError, match=r"but got \[\]"):
        read_amc(tmp_path / "walk.amc", **options)


def test_frames_per_second_have_to_be_said(tmp_path):
    with pytest.raises(TypeError, match="fps"):
        read_amc(write(tmp_path), unit="mm", up="z")
    with pytest.raises(ValueError, match=r"Expected `fps` to be positive, but got 0"):
        read(tmp_path, fps=0)


HAND = "  begin\n     id 2\n     name lhand"
SKELETONS = {
    "empty": ("", "", 1, "Expected angle in :units, but got none."),
    "no angle": ("  angle deg\n", "", 44, "Expected angle in :units, but got none."),
    "unknown angle": ("angle deg", "angle grad", 7, "Expected angle deg or rad, but got 'grad'."),
    "two angles": ("angle deg", "angle deg\n angle rad", 8, "Expected angle once, but got it again."),
    "no order": ("   order TX TY TZ RX RY RZ\n", "", 44, "Expected order in :root, but got none."),
    "short order": ("TZ RX", "RX", 11, "Expected 6 words after order, but got 5."),
    "unknown order": ("TX TY TZ", "TX TY L", 11, "Expected an order of TX TY TZ RX RY RZ, but got TX TY L"),
    "root elsewhere": ("position 0 0 0", "position 0 1 0", 13, "Expected position 0 0 0 of the root"),
    "root turned": ("orientation 0 0 0", "orientation 90 0 0", 14, "but got 90 0 0."),
    "no begin": ("  begin\n     id 1", "     id 1", 16, "Expected begin and end around every bone, but got 'id'"),
    "no end": ("  end\n" + HAND, HAND, 25, "Expected begin and end around every bone, but got 'begin'"),
    "last end": ("  end\n:hierarchy", ":hierarchy", 34, "Expected an end to the bone that begins here"),
    "no name": ("     name larm\n", "", 16, "Expected name in the bone that begins here, but got none."),
    "name of two words": ("name larm", "name l arm", 18, "Expected 1 words after name, but got 2."),
    "same name": ("name lhand", "name larm", 28, "Expected bones of different names, but got 'larm' again."),
    "called root": ("name lhand", "name root", 28, "Expected bones of different names, but got 'root' again."),
    "no direction": ("     direction 1 0 0\n", "", 16, "Expected direction in the bone that begins here"),
    "short direction": ("direction 1 0 0", "direction 1 0", 19, "Expected 3 words after direction, but got 2."),
    "no direction with length": ("direction 1 0 0", "direction 0 0 0", 20, "along some direction for bone 'larm'."),
    "negative length": ("length 2", "length -2", 20, "Expected a length from 0 on"),
    "length of letters": ("length 2", "length l", 20, "Expected a finite number, but got 'l'."),
    "no axis": ("     axis 90 0 0  XYZ\n", "", 26, "Expected axis in the bone that begins here, but got none."),
    "axis without order": ("axis 90 0 0  XYZ", "axis 90 0 0", 31, "Expected 4 words after axis, but got 3."),
    "unknown axes": ("90 0 0  XYZ", "90 0 0 XYW", 31, "Expected the order of axis to be like XYZ, but got 'XYW'."),
    "angle is no number": ("axis 90 0 0", "axis 90 o 0", 31, "Expected a finite number, but got 'o'."),
    "moving bone": ("dof rx rz", "dof rx l", 22, "Expected dof of bones to be rx, ry and rz, each once, but got"),
    "dof twice": ("dof rx rz", "dof rx rx", 22, "each once, but got rx rx."),
    "unknown bone": ("root larm rarm", "root larm rarm tail", 43, "Expected the name of a bone, each once, but got"),
    "bone hangs twice": ("root larm rarm", "root larm rarm lhand", 43, "each once, but got 'lhand'."),
    "loose bone": ("    larm lhand\n", "", 26, "to hang from the root in :hierarchy, but 'lhand' does not."),
    "circle": ("    larm lhand\n", "    lhand lhand\n", 26, "but 'lhand' does not."),
    "child of nobody": ("    larm lhand\n", "    larm lhand\n tail foot\n", 45, "but 'tail' does not."),
    "no hierarchy": (ASF[ASF.index(":hierarchy") :], "", 16, "but 'larm' does not."),
}
MOTIONS = {
    "no frames": (AMC[AMC.index("1\n") :], "", 3, "Expected at least one frame, but got none."),
    "bone before a frame": ("1\nroot", "root", 4, "Expected the number of a frame, but got 'root 1 2 3 0 0 0'."),
    "not fully specified": (":FULLY-SPECIFIED\n", "", 1, "Expected ':FULLY-SPECIFIED' in the head of the file"),
    "two units": (":DEGREES", ":DEGREES\n:RADIANS", 1, "Expected ':DEGREES' or ':RADIANS', but got both."),
    "missing frame": ("\n2\n", "\n3\n", 8, "Expected frame 2, but got frame 3."),
    "frame twice": ("\n2\n", "\n1\n", 8, "Expected frame 2, but got frame 1."),
    "missing bone": ("lhand 0\n", "", 7, "Expected frame 1 to move every bone before this line, but got no 'lhand'."),
    "missing root": (
        "root 0 0 0 0 0 90\n",
        "",
        10,
        "Expected frame 2 to move every bone before this line, but got no 'r",
    ),
    "truncated": ("larm 90 0\nlhand 90\n", "", 9, "but got no 'larm'."),
    "truncated row": ("larm 90 0\nlhand 90\n", "larm 90\n", 10, "2 numbers (rx rz) of bone 'larm', but got 1."),
    "unknown bone": ("lhand 90", "tail 90", 11, "a bone with degrees of freedom in the ASF file, but got 'tail'."),
    "bone that cannot move": (
        "lhand 90",
        "lhand 90\nrarm 0",
        12,
        "degrees of freedom in the ASF file, but got 'rarm'.",
    ),
    "bone twice": ("lhand 90", "lhand 90\nlhand 90", 12, "Expected every bone once in a frame, but got 'lhand' again."),
    "no number": ("lhand 90", "lhand x", 11, "Expected a finite number, but got 'x'."),
    "NaN": ("lhand 90", "lhand nan", 11, "Expected a finite number, but got 'nan'."),
    "underscore": ("lhand 90", "lhand 9_0", 11, "Expected a finite number, but got '9_0'."),
    "odd digits": ("\n2\n", "\n²\n", 8, "Expected a whole number, but got '²'."),
}


@pytest.mark.parametrize("case", SKELETONS)
def test_malformed_skeleton(tmp_path, case):
    old, new, line, message = SKELETONS[case]
    asf = ASF.replace(old, new, 1) if old else ""
    assert asf != ASF
    with pytest.raises(ValueError, match=rf"35\.asf, line {line}: Expected .*") as caught:
        read(tmp_path, asf)
    assert message in str(caught.value)


@pytest.mark.parametrize("case", MOTIONS)
def test_malformed_motion(tmp_path, case):
    old, new, line, message = MOTIONS[case]
    amc = AMC.replace(old, new, 1)
    assert amc != AMC
    with pytest.raises(ValueError, match=rf"35_01\.amc, line {line}: Expected .*") as caught:
        read(tmp_path, amc=amc)
    assert message in str(caught.value)


WORDS = {"asf": re.findall(r"\S+|\s+", ASF), "amc": re.findall(r"\S+|\s+", AMC)}
EDIT = st.tuples(
    st.sampled_from(["asf", "amc"]),
    st.integers(0, 300),
    st.sampled_from(["drop", "swap", "put", "cut"]),
    st.one_of(st.sampled_from(WORDS["asf"] + WORDS["amc"]), st.text(max_size=6), st.sampled_from(["(", "1e999", ":"])),
)


@given(st.lists(EDIT, min_size=1, max_size=3))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_files_parse_or_say_where(tmp_path, edits):
    words = {kind: list(found) for kind, found in WORDS.items()}
    for which, index, kind, word in edits:
        part = words[which]
        index %= max(1, len(part))
        if kind == "drop":
            del part[index : index + 1]
        elif kind == "put":
            part.insert(index, word)
        elif kind == "cut":
            del part[index + 1 :]
        elif part:
            part[index] = word
    texts = ["".join(words[kind]).encode(errors="replace").decode() for kind in ("asf", "amc")]
    message = motion = None
    try:
        motion = read(tmp_path, *texts)
    except ValueError as error:
        message = str(error)
    if motion is None:
        assert re.match(rf"{re.escape(str(tmp_path))}/35(\.asf|_01\.amc), line \d+: Expected ", message), message
    else:
        assert np.isfinite(motion.positions).all()
        assert motion.positions.shape[1] == motion.skeleton.num_joints


@real
def test_real_recording_against_its_converted_clip():
    motion = read_amc(RAW / "35_01.amc", unit="cmu", up="y", fps=120)
    assert motion.positions.shape == (358, 31, 3)
    data = np.load(CMU)
    clip = data["clip"].tolist().index("35_01")
    start, length = data["clip_start"][clip], data["clip_length"][clip]
    converted, ours = data["positions"][start : start + length], motion.positions[::4]
    assert len(ours) == length == 90
    joints = {1: "rhipjoint", 2: "rfemur", 3: "rtibia", 4: "lhipjoint", 5: "lfemur", 6: "ltibia", 7: "lowerback"}
    joints |= {10: "head", 11: "lclavicle", 12: "lhumerus", 13: "lradius", 14: "rclavicle", 15: "rhumerus"}
    joints |= {16: "rradius"}
    ours = ours[:, [motion.skeleton.names.index(name) for name in joints.values()]]
    # The converted clip is rounded to 0.1 mm, that is to within 0.087 mm in space.
    assert np.linalg.norm(ours - converted[:, list(joints)], axis=-1).max() < 0.09


@real
def test_partners_of_a_real_skeleton():
    skeleton = read_amc(RAW / "35_01.amc", unit="cmu", up="y", fps=120).skeleton
    central = {"root", "lowerback", "upperback", "thorax", "lowerneck", "upperneck", "head"}
    assert {name for joint, name in enumerate(skeleton.names) if skeleton.partners[joint] == joint} == central
    assert all(skeleton.names[joint][0] == "l" for joint in skeleton.left)
    assert all(skeleton.names[joint][0] == "r" for joint in skeleton.right)
