"""Acclaim's ASF and AMC files: a skeleton and its motion."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._asf import Bone, read_asf
from seal_lightning.data.formats.motion import Motion, Unit, UpAxis, rotations, to_world
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.sides import partners_by_name
from seal_lightning.skeleton.text import TextFile, as_path

__all__ = ["read_amc"]

Array = npt.NDArray[np.float64]


def read_amc(
    path: str | os.PathLike[str],
    asf: str | os.PathLike[str] | None = None,
    *,
    unit: Unit | float,
    up: UpAxis,
    fps: float,
) -> Motion:
    r"""Read the joint positions of an AMC file and its ASF file.

    A joint is the end of a bone and has its name; ``root`` is the first. Bone j of length :math:`l_j` and direction
    :math:`d_j` turns about its own axes :math:`C_j`; its degrees of freedom :math:`M_j` apply in the order in which
    they are declared, each about a fixed axis:

    .. math:: R_j = R_p \, C_j M_j C_j^{-1}, \qquad x_j = x_p + l_j R_j d_j

    Left/right partners are found by name as in `Skeleton.from_bvh`.

    Args:
        path: An AMC file, ``:FULLY-SPECIFIED``.
        asf: Its ASF file. By default the one in the same folder that is named like the AMC file up to its first
            underscore (``35.asf`` for ``35_01.amc``), else the only one there.
        unit: Unit of the ASF file: ``cmu`` (25.4 / 0.45 mm) for the CMU database, ``mm``, ``cm``, ``m``, ``inch``, or
            how many millimetres it is.
        up: Axis of the file that points up, ``y`` or ``z``; ``y`` for the CMU database.
        fps: Frames per second, which an AMC file does not say; 120 for most of the CMU database.

    Returns:
        Positions in millimetres, z up, shape (T, J, 3).

    Raises:
        FileNotFoundError: If a file is missing, or it is not clear which ASF file is meant.
        ValueError: If a file is malformed; the message names file and line.

    Reference:
        M. Schafer, "Acclaim Skeleton File Definition V1.10", 1994; http://mocap.co.nz/downloads/ASF_spec_v1.html and
        http://graphics.cs.cmu.edu/nsp/course/cs229/info/ACCLAIMdef.html

    Example:
        >>> from tempfile import mkdtemp
        >>> asf, amc = Path(mkdtemp(), "arm.asf"), Path(mkdtemp(), "arm.amc")
        >>> bone = "begin\nname arm\ndirection 1 0 0\nlength 3\naxis 0 0 0 XYZ\ndof rz\nend"
        >>> root = "order TX TY TZ RX RY RZ\naxis XYZ\nposition 0 0 0\norientation 0 0 0"
        >>> units, tree = "length 1\nangle deg", "begin\nroot arm\nend"
        >>> _ = asf.write_text(f":units\n{units}\n:root\n{root}\n:bonedata\n{bone}\n:hierarchy\n{tree}\n")
        >>> _ = amc.write_text(":FULLY-SPECIFIED\n:DEGREES\n1\nroot 1 0 0 0 0 0\narm 90\n")
        >>> read_amc(amc, asf, unit="cm", up="y", fps=120).positions[0].round().tolist()  # the arm points up
        [[10.0, 0.0, 0.0], [10.0, 0.0, 30.0]]
    """
    path = as_path(path)
    bones = read_asf(_find_asf(path) if asf is None else asf)
    channels = _read_amc(TextFile(path), bones)
    names, parents = tuple(bone.name for bone in bones), tuple(bone.parent for bone in bones)
    skeleton = Skeleton(names, parents, *partners_by_name(names, parents))
    return Motion(to_world(_kinematics(bones, channels), unit, up), skeleton, fps)


def _find_asf(path: Path) -> Path:
    named = path.with_name(path.stem.split("_")[0] + ".asf")
    if named.is_file():
        return named
    found = sorted(other for other in path.parent.glob("*") if other.suffix.lower() == ".asf")
    if len(found) != 1:
        names = [other.name for other in found]
        raise FileNotFoundError(f"Expected {named.name!r} or a single ASF file beside {str(path)!r}, but got {names}.")
    return found[0]


def _read_amc(file: TextFile, bones: list[Bone]) -> Array:
    """The channels of all bones side by side, shape (T, C), angles in radians."""
    expected = {bone.name: bone.dof for bone in bones if bone.dof}
    flags: set[str] = set()
    frames: list[dict[str, list[float]]] = []
    number = None
    for line, row in file.rows:
        name, *words = row.split()
        if name.startswith(":"):
            flags.add(name.lower())
        elif name.isdigit() and not words:
            found = file.count(line, name)
            if number is not None and found != number + 1:
                raise file.error(line, f"Expected frame {number + 1}, but got frame {found}.")
            _check_frame(file, line, frames, number, expected)
            number = found
            frames.append({})
        elif not frames:
            raise file.error(line, f"Expected the number of a frame, but got {row!r}.")
        elif name not in expected:
            raise file.error(line, f"Expected a bone with degrees of freedom in the ASF file, but got {name!r}.")
        elif name in frames[-1]:
            raise file.error(line, f"Expected every bone once in a frame, but got {name!r} again.")
        else:
            dof = expected[name]
            frames[-1][name] = file.numbers(line, words, len(dof), f"({' '.join(dof)}) of bone {name!r}")
    _check_frame(file, file.last_line, frames, number, expected)
    if not frames:
        raise file.error(file.last_line, "Expected at least one frame, but got none.")
    if ":fully-specified" not in flags:
        raise file.error(1, "Expected ':FULLY-SPECIFIED' in the head of the file, but got none.")
    if {":degrees", ":radians"} <= flags:
        raise file.error(1, "Expected ':DEGREES' or ':RADIANS', but got both.")
    scale = np.pi / 180 if ":degrees" in flags else 1.0 if ":radians" in flags else bones[0].radians
    turns = np.array([kind.startswith("r") for dof in expected.values() for kind in dof])
    channels = np.array([[value for name in expected for value in frame[name]] for frame in frames])
    scaled: Array = np.where(turns, channels * scale, channels)
    return scaled


def _check_frame(
    file: TextFile,
    line: int,
    frames: list[dict[str, list[float]]],
    number: int | None,
    expected: Mapping[str, tuple[str, ...]],
) -> None:
    if frames and (missing := [name for name in expected if name not in frames[-1]]):
        raise file.error(
            line, f"Expected frame {number} to move every bone before this line, but got no {missing[0]!r}."
        )


def _kinematics(bones: list[Bone], channels: Array) -> Array:
    """Joint positions in the file's unit and axes, shape (T, J, 3)."""
    positions: list[Array] = []
    frames: list[Array] = []
    start = 0
    for bone in bones:
        own = channels[:, start : start + len(bone.dof)]
        start += len(bone.dof)
        turning = [place for place, kind in enumerate(bone.dof) if kind.startswith("r")][::-1]
        turn = rotations("".join(bone.dof[place][1] for place in turning), own[:, turning])
        if bone.parent < 0:
            frames.append(turn)
            positions.append(own[:, [bone.dof.index(f"t{axis}") for axis in "xyz"]])
        else:
            frames.append(frames[bone.parent] @ bone.axes @ turn @ bone.axes.T)
            positions.append(positions[bone.parent] + frames[-1] @ bone.vector)
    return np.stack(positions, axis=1)
