"""Clips of joint positions in npz files of many makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped, npz_names
from seal_lightning.data.formats.motion import Motion, Unit, UpAxis, to_world
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["Clip", "read_npz_clips"]

_POSITIONS = ("positions", "positions_3d")
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
        skeleton_id: Whose bone lengths it has; None where that is to be seen from ``bones``.
        bones: Length of every bone as recorded, in millimetres; none where ``skeleton_id`` is known.
    """

    motion: Motion
    subject: str
    description: str
    skeleton_id: str | None = None
    bones: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def read_npz_clips(path: Path, *, unit: Unit | float, up: UpAxis, fps: float | None, skeleton: str) -> list[Clip]:
    """Read the clips of a file with an array ``positions`` or ``positions_3d``.

    Args:
        path: The file. It may also hold ``clip_start`` and ``clip_length``, ``fps``, ``joint_names`` (or
            ``marker_names``) and ``parents``, ``visibility``, and texts per clip: ``subject``, ``skeleton_id``,
            ``description``.
        unit: Unit of the positions.
        up: Their axis that points up.
        fps: Frames per second, if the file does not say it.
        skeleton: Name of the built-in skeleton whose joints these are, if the file does not name them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or joints are missing in a frame; the message names the file.
    """
    try:
        return _read(path, unit, up, fps, skeleton)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read(path: Path, unit: Unit | float, up: UpAxis, fps: float | None, skeleton: str) -> list[Clip]:
    found = npz_names(path)
    key = next((name for name in _POSITIONS if name in found), None)
    if key is None:
        raise ValueError(f"Expected an array `positions` or `positions_3d`, the joints in 3D, but got {found}.")
    arrays = load_npz_mapped(path, [key, *(name for name in _OTHERS if name in found)])
    positions, joints = arrays[key], _joints(arrays, skeleton)
    if positions.ndim != 3 or positions.dtype.kind not in "fiu" or positions.shape[1:] != (joints.num_joints, 3):
        wanted = f"numbers of shape (N, {joints.num_joints}, 3)"
        raise ValueError(f"Expected `{key}` to be {wanted}, but got {positions.dtype} {positions.shape}.")
    seen = np.isfinite(positions).all(axis=-1)
    if "visibility" in arrays:
        seen &= _checked(arrays, "visibility", seen.shape, "bfiu") > 0
    if not seen.all():
        frame = int((~seen.all(axis=1)).argmax())
        raise ValueError(f"Expected every joint in every frame, but frame {frame} has some that are NaN or invisible.")
    rate = float(_checked(arrays, "fps", (), "fiu")) if "fps" in arrays else fps
    if rate is None:
        raise ValueError("Expected `fps`, in the file or as an option, but got none.")
    world = to_world(np.asarray(positions), unit, up)
    start, length = _clips(arrays, len(world))
    texts = {name: _checked(arrays, name, start.shape, "U").tolist() for name in _TEXTS if name in arrays}
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
    names = next((arrays[name] for name in _NAMES if name in arrays), None)
    if names is None:
        return get_skeleton(skeleton)
    # Without a tree, all joints hang from the first: a mapping asks for names alone.
    parents = arrays.get("parents", np.array([-1] + [0] * (len(names) - 1)))
    return Skeleton(tuple(names.tolist()), tuple(parents.tolist()))


def _clips(arrays: dict[str, npt.NDArray[Any]], frames: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if "clip_start" not in arrays and "clip_length" not in arrays:
        return np.zeros(1, np.int64), np.array([frames])
    if "clip_start" not in arrays or "clip_length" not in arrays:
        raise ValueError("Expected `clip_start` and `clip_length` together, but got one of them.")
    start = _checked(arrays, "clip_start", (arrays["clip_start"].size,), "iu").astype(np.int64)
    length = _checked(arrays, "clip_length", start.shape, "iu").astype(np.int64)
    if ((start < 0) | (length < 1) | (start + length > frames)).any():
        raise ValueError(f"Expected clips that lie in the {frames} frames, but got others.")
    return start, length


def _checked(arrays: dict[str, npt.NDArray[Any]], name: str, shape: tuple[int, ...], kinds: str) -> npt.NDArray[Any]:
    array = np.asarray(arrays[name])
    array = array.reshape(()) if shape == () and array.size == 1 else array
    if array.shape != shape or array.dtype.kind not in kinds:
        what = "texts" if kinds == "U" else "numbers"
        raise ValueError(f"Expected `{name}` to be {what} of shape {shape}, but got {array.dtype} {array.shape}.")
    return array
