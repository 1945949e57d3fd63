"""BVH files: joint positions by forward kinematics."""

from __future__ import annotations

import os
import re
from typing import Literal

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats.motion import Motion, Unit, UpAxis, rotations, to_world, whole_rate
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.bvh_tree import Hierarchy, Joint, read_hierarchy

__all__ = ["read_bvh"]

Array = npt.NDArray[np.float64]

# How far a joint has to leave its OFFSET, and its distance from the parent has to change, for the two to be no bone.
_FAR_MM, _WANDER_MM = 200.0, 50.0


def read_bvh(
    path: str | os.PathLike[str],
    *,
    unit: Unit | float,
    up: UpAxis,
    position_channels: Literal["replace", "add"] | None = None,
) -> Motion:
    r"""Read the joint positions of a BVH file.

    With the offset :math:`o_j` of joint j, its parent p, and rotations in the order of its channels, the first one
    leftmost,

    .. math:: x_j = x_p + R_p \, o_j, \qquad R_j = R_p \, R_{j,1} R_{j,2} \cdots

    Joints are those of `Skeleton.from_bvh`, End Sites among them. A BVH file does not say its unit and its up axis.

    Args:
        path: A BVH file.
        unit: Unit of the file: ``mm``, ``cm``, ``m``, ``inch``, ``cmu`` (25.4 / 0.45 mm), or how many millimetres it
            is.
        up: Axis of the file that points up, ``y`` or ``z``.
        position_channels: Whether position channels stand in the place of the joint's OFFSET (``replace``) or come on
            top of it (``add``): programs differ. Needed only where the file does not tell: a joint has position
            channels beside an OFFSET other than 0, and no joint's channels repeat its OFFSET in all frames (which is
            ``replace``) or are 0 (``add``).

    Returns:
        Positions in millimetres, z up, shape (T, J, 3).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is malformed, or ``position_channels`` is needed; the message names file and line.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import mkdtemp
        >>> path = Path(mkdtemp(), "arm.bvh")
        >>> arm = "HIERARCHY ROOT arm { OFFSET 0 0 0 CHANNELS 1 Zrotation End Site { OFFSET 3 0 0 } }"
        >>> _ = path.write_text(arm + "\nMOTION\nFrames: 2\nFrame Time: 0.04\n0\n90\n")
        >>> motion = read_bvh(path, unit="cm", up="y")  # the arm points along x, then up
        >>> motion.positions[:, 1].round().tolist(), motion.fps
        ([[30.0, 0.0, 0.0], [0.0, 0.0, 30.0]], 25.0)
    """
    hierarchy = read_hierarchy(path)
    if position_channels not in (None, "replace", "add"):
        raise ValueError(f"Expected `position_channels` to be 'replace' or 'add', but got {position_channels!r}.")
    channels, fps = _read_motion(hierarchy)
    add = (position_channels or _position_channels(hierarchy, channels)) == "add"
    positions = to_world(_kinematics(hierarchy.joints, channels, add), unit, up)
    skeleton = Skeleton(hierarchy.names, hierarchy.parents, *hierarchy.partners)
    millimetres = float(np.linalg.norm(to_world(np.array([1.0, 0.0, 0.0]), unit, up)))
    return Motion(positions, skeleton, fps, _carrier(hierarchy.joints, channels, add, millimetres))


def _position_channels(hierarchy: Hierarchy, channels: Array) -> str:
    """Whether position channels replace the OFFSET or are added to it, as the file shows.

    Joints that do not move along their parents have channels that repeat the OFFSET in all frames, or that are 0.
    """
    unclear, votes = [], set()
    for joint in hierarchy.joints:
        place = [(column, joint.offset[_axis(kind)]) for column, kind in joint.channels if kind.endswith("position")]
        if not any(offset for _, offset in place):
            continue
        unclear.append(joint)
        columns, offset = np.array([column for column, _ in place]), np.array([along for _, along in place])
        rounding = 0.01 * np.abs(offset).max()
        for meaning, rest in (("replace", offset), ("add", 0.0)):
            if (np.abs(channels[:, columns] - rest) <= rounding).all():
                votes.add(meaning)
    if len(votes) == 1 or not unclear:
        return votes.pop() if votes else "replace"
    raise hierarchy.file.error(
        unclear[0].line,
        f"Expected `position_channels` to be 'replace' or 'add', since joint {unclear[0].name!r} has position channels "
        f"beside its OFFSET {unclear[0].offset}, but got None.",
    )


def _carrier(joints: list[Joint], channels: Array, add: bool, millimetres: float) -> int | None:
    """The joint below the root that carries most of the joints and leaves its OFFSET by more than a bone can."""
    carried = np.ones(len(joints))
    for index in range(len(joints) - 1, 0, -1):
        carried[joints[index].parent] += carried[index]
    still = True
    for index, joint in enumerate(joints):
        if 2 * carried[index] < len(joints):
            continue
        place = [(column, _axis(kind)) for column, kind in joint.channels if kind.endswith("position")]
        if joint.parent >= 0 and place:
            rest = np.array([0.0 if add else joint.offset[axis] for _, axis in place])
            moved = (channels[:, [column for column, _ in place]] - rest) * millimetres
            far = np.linalg.norm(moved, axis=-1).max() > _FAR_MM
            # Position channels may hold all of a bone, beside an OFFSET of 0: it keeps its length while the root moves.
            if far and (still or np.ptp(np.linalg.norm(moved + rest * millimetres, axis=-1)) > _WANDER_MM):
                return index
        still &= not np.ptp(channels[:, [column for column, _ in joint.channels]], axis=0).any()
    return None


def _read_motion(hierarchy: Hierarchy) -> tuple[Array, float]:
    """The channels, shape (T, C), and the frame rate."""
    file, rows = hierarchy.file, hierarchy.motion
    if not hierarchy.columns:
        raise file.error(file.last_line, "Expected at least one channel, but no joint has any.")
    if not rows or rows[0][1].upper() != "MOTION":
        raise file.error(rows[0][0] if rows else file.last_line, "Expected MOTION, on a line of its own.")
    line, word = _entry(hierarchy, 1, "Frames")
    count = file.count(line, word)
    if count < 1:
        raise file.error(line, "Expected at least one frame, but got 0.")
    line, word = _entry(hierarchy, 2, "Frame Time")
    seconds = file.number(line, word)
    if not 1e-6 <= seconds <= 10.0:
        raise file.error(
            line, f"Expected a frame time of a microsecond to 10 seconds, but got {word}: is it frames per second?"
        )
    frames = rows[3:]
    values = [file.numbers(line, row.split(), hierarchy.columns, "in a frame") for line, row in frames[:count]]
    if len(frames) < count:
        raise file.error(file.last_line, f"Expected {count} frames, but the file ends after {len(frames)}.")
    if len(frames) > count:
        raise file.error(frames[count][0], f"Expected {count} frames, but here is another line.")
    return np.array(values), whole_rate(seconds)


def _entry(hierarchy: Hierarchy, place: int, key: str) -> tuple[int, str]:
    rows = hierarchy.motion
    line, row = rows[place] if place < len(rows) else (hierarchy.file.last_line, "the end of the file")
    found = re.fullmatch(key.replace(" ", r"\s+") + r"\s*:\s*(\S+)", row, re.IGNORECASE)
    if found is None:
        raise hierarchy.file.error(line, f"Expected '{key}: NUMBER', but got {row!r}.")
    return line, found[1]


def _kinematics(joints: list[Joint], channels: Array, add: bool) -> Array:
    """Joint positions in the file's unit and axes, shape (T, J, 3)."""
    positions: list[Array] = []
    frames: list[Array] = []
    for joint in joints:
        place = np.tile(joint.offset, (len(channels), 1))
        turns = []
        for column, kind in joint.channels:
            if kind.endswith("position"):
                place[:, _axis(kind)] = channels[:, column] + (joint.offset[_axis(kind)] if add else 0.0)
            else:
                turns.append((column, kind[0]))
        turn = rotations("".join(axis for _, axis in turns), np.radians(channels[:, [column for column, _ in turns]]))
        if joint.parent >= 0:
            place = positions[joint.parent] + (frames[joint.parent] @ place[..., None])[..., 0]
            turn = frames[joint.parent] @ turn
        positions.append(place)
        frames.append(turn)
    return np.stack(positions, axis=1)


def _axis(channel: str) -> int:
    return "xyz".index(channel[0])
