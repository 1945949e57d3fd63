"""Motion capture in memory, and the reader of its npz files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped, npz_names
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["Mocap", "read_mocap"]

_REQUIRED = ("positions", "clip_start", "clip_length", "fps")
_TEXTS = ("skeleton_id", "subject", "description")
_BONE_MM = (50.0, 1000.0)
# Frames that are looked at together, so that the check of a large file needs little memory.
_CHUNK = 8192


@dataclass(frozen=True, eq=False)
class Mocap:
    """Clips of joint positions: clip i is ``positions[clip_start[i] : clip_start[i] + clip_length[i]]``.

    Args:
        name: Name of the dataset, the first half of every group name.
        positions: Joint positions in millimetres in a world frame whose z axis points up from the floor at z = 0,
            shape (N, J, 3).
        clip_start: First frame of every clip, shape (C,).
        clip_length: Number of frames of every clip, shape (C,).
        skeleton_id: Whose bone lengths a clip has, shape (C,). Splits go by this.
        fps: Frames per second of all clips.
        subject: Name of the person, shape (C,). Defaults to ``skeleton_id``.
        description: What is done in the clip, shape (C,). Defaults to empty texts.
        skeleton: The joints of ``positions``.

    Raises:
        ValueError: If an array has a wrong shape, clips leave the frames, values are not finite, or the mean bone is
            not of a length that fits millimetres.

    Example:
        >>> pose = np.zeros((4, 2, 3)); pose[:, 1, 2] = 300.0
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> mocap = Mocap("mine", pose, np.array([0, 3]), np.array([3, 1]), np.array(["a", "b"]), 25.0, skeleton=bone)
        >>> mocap.clip(1).shape, mocap.subject.tolist()
        ((1, 2, 3), ['a', 'b'])
    """

    name: str
    positions: npt.NDArray[np.float32]
    clip_start: npt.NDArray[np.int64]
    clip_length: npt.NDArray[np.int64]
    skeleton_id: npt.NDArray[np.str_]
    fps: float
    subject: npt.NDArray[np.str_] | None = None
    description: npt.NDArray[np.str_] | None = None
    skeleton: str | Skeleton = "h36m17"

    def __post_init__(self) -> None:
        joints = get_skeleton(self.skeleton).num_joints
        if joints < 2:
            raise ValueError(f"Expected `skeleton` of {self.name!r} to have bones, but got a single joint.")
        self._check("positions", self.positions, "fiu", (None, joints, 3))
        self._check("clip_start", self.clip_start, "iu", (None,))
        clips = len(self.clip_start)
        self._check("clip_length", self.clip_length, "iu", (clips,))
        self._check("skeleton_id", self.skeleton_id, "U", (clips,))
        for field, default in (("subject", self.skeleton_id), ("description", np.full(clips, ""))):
            if getattr(self, field) is None:
                object.__setattr__(self, field, default)
            self._check(field, getattr(self, field), "U", (clips,))
        object.__setattr__(self, "positions", np.asanyarray(self.positions, dtype=np.float32, order="C"))
        if np.asarray(self.fps).size != 1 or np.asarray(self.fps).dtype.kind not in "fiu":
            raise ValueError(f"Expected `fps` of {self.name!r} to be one number, but got {self.fps!r}.")
        object.__setattr__(self, "fps", float(self.fps))
        for field in ("clip_start", "clip_length"):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=np.int64))
        self._check_values()

    def clip(self, index: int) -> npt.NDArray[np.float32]:
        """Positions of one clip, shape (T, J, 3)."""
        start = self.clip_start[index]
        return self.positions[start : start + self.clip_length[index]]

    def _check(self, field: str, array: Any, kinds: str, shape: tuple[int | None, ...]) -> None:
        found = np.shape(array)
        if len(found) != len(shape) or any(want not in (None, got) for want, got in zip(shape, found, strict=True)):
            wanted = "(" + ", ".join("*" if want is None else str(want) for want in shape)
            wanted += ",)" if len(shape) == 1 else ")"
            raise ValueError(f"Expected `{field}` of {self.name!r} to have shape {wanted}, but got {found}.")
        if np.asarray(array).dtype.kind not in kinds:
            kind = {"f": "numbers", "i": "integers", "U": "texts"}[kinds[0]]
            raise ValueError(f"Expected `{field}` of {self.name!r} to hold {kind}, but got {np.asarray(array).dtype}.")

    def _check_values(self) -> None:
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"Expected `fps` of {self.name!r} to be positive, but got {self.fps}.")
        if len(self.clip_start) == 0:
            raise ValueError(f"Expected {self.name!r} to hold at least one clip, but got none.")
        frames = len(self.positions)
        outside = (self.clip_start < 0) | (self.clip_length < 1) | (self.clip_start + self.clip_length > frames)
        if outside.any():
            clip = int(outside.argmax())
            raise ValueError(
                f"Expected the clips of {self.name!r} to lie in its {frames} frames, but clip {clip} starts at "
                f"{self.clip_start[clip]} and has length {self.clip_length[clip]}."
            )
        self._check_positions()

    def _check_positions(self) -> None:
        child, parent = np.array(get_skeleton(self.skeleton).bones).T
        broken, total = [], 0.0
        for first in range(0, len(self.positions), _CHUNK):
            frames = np.asarray(self.positions[first : first + _CHUNK])
            broken += (first + np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2)))).tolist()
            if not broken:
                total += float(np.linalg.norm(frames[:, child] - frames[:, parent], axis=-1).mean(axis=1).sum())
        if broken:
            raise ValueError(
                f"Expected `positions` of {self.name!r} to be finite, but {len(broken)} frames hold NaN or "
                f"infinity, the first is frame {broken[0]}."
            )
        bone = total / len(self.positions)
        if not _BONE_MM[0] <= bone <= _BONE_MM[1]:
            raise ValueError(
                f"Expected `positions` of {self.name!r} in millimetres, with a mean bone of {_BONE_MM[0]:.0f} to "
                f"{_BONE_MM[1]:.0f}, but got {bone:.3g}."
            )


def read_mocap(path: str | os.PathLike[str], *, name: str | None = None, skeleton: str | Skeleton = "h36m17") -> Mocap:
    """Read a mocap npz: ``positions``, ``clip_start``, ``clip_length``, ``skeleton_id``, ``fps``, and optional texts.

    A file without ``skeleton_id`` may name the ``subject`` of its clips instead: each person is then a skeleton.

    Nothing is unpickled, so a file from elsewhere cannot run code. Positions that `numpy.savez` stored in float32 stay
    on disk and are read where they are needed; those of `numpy.savez_compressed`, or of another type, are in memory.

    Args:
        path: An npz file; see `Mocap` for its arrays.
        name: Name of the dataset. Defaults to the file name up to its first underscore: ``cmu`` for ``cmu_h36m17.npz``.
        skeleton: The joints of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no npz, lacks an array, or an array is not what `Mocap` expects.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a mocap file at {str(path)!r}, but there is none; docs/data.md says how to get one. "
            "Without `paths`, synthetic motion is made instead."
        )
    name = path.stem.split("_")[0] if name is None else name
    try:
        arrays = _load(path)
        return Mocap(
            name,
            arrays["positions"],
            arrays["clip_start"],
            arrays["clip_length"],
            arrays["skeleton_id"] if "skeleton_id" in arrays else arrays["subject"],
            _scalar(arrays["fps"]),
            arrays.get("subject"),
            arrays.get("description"),
            skeleton,
        )
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _load(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    found = npz_names(path)
    if missing := [key for key in _REQUIRED if key not in found]:
        raise ValueError(f"Expected the arrays {list(_REQUIRED)}, but {missing} are missing; got {found}.")
    if "skeleton_id" not in found and "subject" not in found:
        raise ValueError(f"Expected an array `skeleton_id`, or `subject`, but got neither; got {found}.")
    arrays = load_npz_mapped(path, [key for key in (*_REQUIRED, *_TEXTS) if key in found])
    return {key: array if key == "positions" else np.array(array) for key, array in arrays.items()}


def _scalar(fps: npt.NDArray[Any]) -> float:
    if fps.size != 1 or fps.dtype.kind not in "fiu":
        raise ValueError(f"Expected `fps` to be one number, but got {fps.dtype} of shape {fps.shape}.")
    return float(fps.reshape(()))
