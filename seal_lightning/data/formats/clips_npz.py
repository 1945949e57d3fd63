"""Reads clips of joint positions from npz files of any origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped, npz_names
from seal_lightning.data.formats.checks import check_clips, frame_rate, located, numbers, strings
from seal_lightning.data.formats.motion import Motion, Unit, UpAxis, to_world
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["Clip", "read_npz_clips"]

_NAMES = ("joint_names", "marker_names")
_TEXTS = ("skeleton_id", "subject", "description")
_OTHERS = (*_NAMES, *_TEXTS, "parents", "clip_start", "clip_length", "fps", "visibility")


@dataclass(frozen=True, eq=False)
class Clip:
    """A recording and what is known of it.

    Args:
        motion: Its joint positions.
        subject: Name of the person.
        description: What is done, or else what the recording is called.
        skeleton_id: Whose bone lengths it has; None if the file does not say, and ``bones`` have to be compared.
        bones: Length of bones as recorded, in millimetres, by the names of their ends; none where ``skeleton_id`` is
            known.
    """

    motion: Motion
    subject: str
    description: str
    skeleton_id: str | None = None
    bones: Mapping[tuple[str, str], float] = field(default_factory=dict)


def read_npz_clips(path: Path, *, unit: Unit | float, up: UpAxis, fps: float | None, skeleton: str) -> list[Clip]:
    """Read the clips of a file with an array ``positions`` or ``positions_3d``.

    Args:
        path: The file. It may also hold ``clip_start`` and ``clip_length``, ``fps``, ``joint_names`` (or
            ``marker_names``) and ``parents``, ``visibility``, and strings per clip: ``subject``, ``skeleton_id``,
            ``description``.
        unit: Unit of the positions.
        up: Their axis that points up.
        fps: Frames per second, if the file does not say it.
        skeleton: Name of the built-in skeleton whose joints these are, if the file does not name them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read; the message names the file. Joints that are missing are NaN.
    """
    with located(path):
        return _read(path, unit, up, fps, skeleton)


def _read(path: Path, unit: Unit | float, up: UpAxis, fps: float | None, skeleton: str) -> list[Clip]:
    found = npz_names(path)
    key = "positions_3d" if "positions_3d" in found and "positions" not in found else "positions"
    arrays = load_npz_mapped(path, [key], _OTHERS)
    joints = _joints(arrays, skeleton)
    positions = numbers(arrays[key], (None, joints.num_joints, 3), f"`{key}`")
    if "fps" not in arrays and fps is None:
        raise ValueError("Expected `fps`, in the file or as an option, but got none.")
    rate = frame_rate(arrays.get("fps", fps))
    world = to_world(np.asarray(positions), unit, up)
    if "visibility" in arrays:
        world[~(numbers(arrays["visibility"], positions.shape[:2], "`visibility`", "bfiu") > 0)] = np.nan
    if ("clip_start" in arrays) != ("clip_length" in arrays):
        raise ValueError("Expected `clip_start` and `clip_length` together, but got one of them.")
    start, length = arrays.get("clip_start", np.zeros(1, int)), arrays.get("clip_length", np.array([len(world)]))
    start, length = check_clips(start, length, len(world))
    texts = {name: strings(arrays[name], start.shape, f"`{name}`").tolist() for name in _TEXTS if name in arrays}
    subjects = texts.get("subject", texts.get("skeleton_id", [path.stem.split("_")[0]] * len(start)))
    return [
        Clip(
            Motion(world[first : first + frames], joints, rate),
            subjects[clip],
            texts["description"][clip] if "description" in texts else f"{path.stem}/{clip}",
            texts.get("skeleton_id", subjects)[clip],
        )
        for clip, (first, frames) in enumerate(zip(start.tolist(), length.tolist(), strict=True))
    ]


def _joints(arrays: dict[str, npt.NDArray[Any]], skeleton: str) -> Skeleton:
    key = next((name for name in _NAMES if name in arrays), None)
    if key is None:
        return get_skeleton(skeleton)
    names = strings(arrays[key], (None,), f"`{key}`")
    # Without a tree, all joints hang from the first: a mapping asks for names alone.
    parents = arrays.get("parents", np.array([-1] + [0] * (len(names) - 1)))
    return Skeleton(tuple(names.tolist()), tuple(numbers(parents, names.shape, "`parents`", "iu").tolist()))
