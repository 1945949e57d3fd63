"""Reads finished poses: the npz of ``seal-lightning predict``, or what MMPose's 3D lifters write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped
from seal_lightning.data.formats.checks import (
    check_clips,
    entries,
    frame_rate,
    located,
    mapping,
    numbers,
    read_json,
    strings,
)
from seal_lightning.skeleton.text import as_path

__all__ = ["PoseFile", "read_poses"]

Floats = npt.NDArray[np.float32]
_OPTIONAL = ("keypoints_2d", "error_mm", "frame", "joints", "unit", "fps", "clip_start", "clip_length", "clip")


@dataclass(frozen=True, eq=False)
class PoseFile:
    """The poses of one person a frame.

    Args:
        poses: Poses, shape (T, J, 3); NaN in frames without anybody.
        frames: Name of every frame.
        clips: Name, first frame and number of frames of every clip.
        keypoints_2d: What the poses were lifted from, shape (T, J, 2 or 3), if the file says it.
        joints: What the file calls the joints, if it names them.
        unit: "m" or "mm", if the file says it.
        fps: Frames per second, if the file says them.
        error_mm: Estimated error of every pose in millimetres, shape (T,), if the file says it.
    """

    poses: Floats
    frames: tuple[str, ...]
    clips: tuple[tuple[str, int, int], ...]
    keypoints_2d: Floats | None = None
    joints: tuple[str, ...] | None = None
    unit: str | None = None
    fps: float | None = None
    error_mm: Floats | None = None


def read_poses(path: str | os.PathLike[str]) -> PoseFile:
    """Read the poses of a file.

    An npz has ``poses`` (T, J, 3) and, optionally, ``keypoints_2d`` (T, J, 2 or 3), ``frame``, ``joints``, ``unit``,
    ``fps`` and ``error_mm`` (T,), as `PoseWriter` writes them, and for several clips ``clip_start``, ``clip_length``
    and ``clip``, their names. A json file is that of MMPose's 3D lifters: ``instance_info``, a list of frames with
    their ``instances``, of which the first is taken; frames without anybody have no pose.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of these formats, or holds no pose.
    """
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"Expected poses at {str(path)!r}, but there is no such file.")
    with located(path.name):
        found = _mmpose(read_json(path)) if path.suffix == ".json" else _npz(path)
        if not np.isfinite(found.poses).all(axis=(1, 2)).any():
            raise ValueError("Expected at least one pose, but there is none.")
    return found


def _npz(path: Path) -> PoseFile:
    arrays = load_npz_mapped(path, ["poses"], _OPTIONAL)
    poses = np.array(numbers(arrays["poses"], (None, None, 3), "`poses`", "f"), dtype=np.float32)
    count, joints = poses.shape[:2]
    keypoints = arrays.get("keypoints_2d")
    if keypoints is not None:
        keypoints = np.array(numbers(keypoints, (count, joints, (2, 3)), "`keypoints_2d`", "f"), dtype=np.float32)
    if ("clip_start" in arrays) != ("clip_length" in arrays):
        raise ValueError("Expected `clip_start` and `clip_length` together, but got one of them.")
    starts, lengths = np.zeros(1, np.int64), np.array([count])
    if "clip_start" in arrays:
        starts, lengths = check_clips(arrays["clip_start"], arrays["clip_length"], count)
    names = np.arange(len(starts)).astype(str)
    if "clip" in arrays:
        names = strings(arrays["clip"], starts.shape, "`clip`")
    frames = strings(arrays["frame"], (count,), "`frame`") if "frame" in arrays else np.arange(count).astype(str)
    error = numbers(arrays["error_mm"], (count,), "`error_mm`", "f") if "error_mm" in arrays else None
    unit = str(arrays["unit"]) if "unit" in arrays else None
    if unit not in (None, "m", "mm"):
        raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
    return PoseFile(
        poses,
        tuple(frames.tolist()),
        tuple(zip(names.tolist(), starts.tolist(), lengths.tolist(), strict=True)),
        keypoints,
        tuple(strings(arrays["joints"], (joints,), "`joints`").tolist()) if "joints" in arrays else None,
        unit,
        frame_rate(arrays["fps"]) if "fps" in arrays else None,
        None if error is None else np.array(error, dtype=np.float32),
    )


def _mmpose(content: Any) -> PoseFile:
    given = content["instance_info"] if isinstance(content, Mapping) and "instance_info" in content else content
    poses, names = [], []
    for number, frame in enumerate(entries(given, "`instance_info`")):
        with located(f"`instance_info`, entry {number}"):
            people = entries(mapping(frame, "frame").get("instances"), "`instances`")
            names.append(str(frame.get("frame_id", number)))
            poses.append(_pose(people[0]) if people else None)
    shapes = {pose.shape for pose in poses if pose is not None}
    if len(shapes) != 1:
        raise ValueError(f"Expected people with one number of joints, but got the shapes {sorted(shapes)}.")
    (shape,) = shapes
    filled = [np.full(shape, np.nan, dtype=np.float32) if pose is None else pose for pose in poses]
    return PoseFile(np.stack(filled), tuple(names), (("0", 0, len(filled)),))


def _pose(person: Mapping[str, Any]) -> Floats:
    keypoints = np.asarray(person.get("keypoints"))
    # Some versions put the list of one person into a list.
    keypoints = keypoints[0] if keypoints.ndim == 3 and len(keypoints) == 1 else keypoints
    if keypoints.dtype.kind not in "iuf" or keypoints.ndim != 2 or keypoints.shape[1] != 3:
        raise ValueError(
            f"Expected `keypoints` of a 3D lifter, J times (x, y, z), but got the shape {keypoints.shape}. Keypoints "
            "in 2D are no poses: lift them with `seal-lightning predict`."
        )
    return keypoints.astype(np.float32)
