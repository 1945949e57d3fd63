"""Motion capture in memory, and the reader of its npz files."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped, npz_names
from seal_lightning.data.formats.checks import (
    check_clips,
    check_joint_names,
    frame_rate,
    located,
    numbers,
    strings,
)
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.text import as_path

__all__ = ["Mocap", "read_mocap"]

_REQUIRED = ("positions", "clip_start", "clip_length", "fps")
_OPTIONAL = ("subject", "description", "joint_names")
_BONE_MM = (50.0, 1000.0)
# Standard deviation: estimated joints breathe by a few centimetres, and single frames may be glitches.
_SPREAD_MM = 400.0
# Frames that are checked at a time, so that checking a large file takes little memory.
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
        description: What is done in the clip, shape (C,). Defaults to empty strings.
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
        positions = numbers(self.positions, (None, joints, 3), self._called("positions"))
        start, length = check_clips(self.clip_start, self.clip_length, len(positions), f" of {self.name!r}")
        values = {
            "positions": np.asanyarray(positions, dtype=np.float32, order="C"),
            **{"clip_start": start, "clip_length": length, "fps": frame_rate(self.fps, self._called("fps"))},
        }
        texts = {
            "skeleton_id": self.skeleton_id,
            "subject": self.skeleton_id if self.subject is None else self.subject,
            "description": np.full(start.shape, "") if self.description is None else self.description,
        }
        values |= {field: strings(text, start.shape, self._called(field)) for field, text in texts.items()}
        for field, value in values.items():
            object.__setattr__(self, field, value)
        self._check_positions()

    def clip(self, index: int) -> npt.NDArray[np.float32]:
        """Positions of one clip, shape (T, J, 3)."""
        start = self.clip_start[index]
        return self.positions[start : start + self.clip_length[index]]

    def _called(self, field: str) -> str:
        return f"`{field}` of {self.name!r}"

    def _check_positions(self) -> None:
        skeleton = get_skeleton(self.skeleton)
        child, parent = np.array(skeleton.bones).T
        broken: list[int] = []
        moments = np.zeros((2, len(child)))
        for first in range(0, len(self.positions), _CHUNK):
            frames = np.asarray(self.positions[first : first + _CHUNK])
            broken += (first + np.flatnonzero(~np.isfinite(frames).all(axis=(1, 2)))).tolist()
            if not broken:
                length = np.linalg.norm(frames[:, child] - frames[:, parent], axis=-1).astype(np.float64)
                moments += length.sum(axis=0), (length**2).sum(axis=0)
        if broken:
            raise ValueError(
                f"Expected `positions` of {self.name!r} to be finite, but {len(broken)} frames hold NaN or "
                f"infinity, the first is frame {broken[0]}."
            )
        mean, square = moments / len(self.positions)
        if not _BONE_MM[0] <= mean.mean() <= _BONE_MM[1]:
            raise ValueError(
                f"Expected `positions` of {self.name!r} in millimetres, with a mean bone of {_BONE_MM[0]:.0f} to "
                f"{_BONE_MM[1]:.0f}, but got {mean.mean():.3g}."
            )
        spread = np.sqrt(np.maximum(square - mean**2, 0.0))
        bone = int(spread.argmax())
        # Where all bones change, poses are bad but of one kind; a joint outside of the body makes one bone change.
        if spread[bone] > max(_SPREAD_MM, 4.0 * float(np.median(spread))):
            ends = " - ".join(repr(skeleton.names[joint]) for joint in (parent[bone], child[bone]))
            raise ValueError(
                f"Expected bones of `positions` of {self.name!r} to keep their lengths, but {ends} changes by "
                f"{spread[bone]:.0f} mm (standard deviation). A joint that stands still in the world while another "
                "carries the motion belongs to no body: leave it out."
            )


def read_mocap(path: str | os.PathLike[str], *, name: str | None = None, skeleton: str | Skeleton = "h36m17") -> Mocap:
    """Read a mocap npz: ``positions``, ``clip_start``, ``clip_length``, ``skeleton_id``, ``fps``, and optional strings.

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
    path = as_path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"Expected a mocap file at {str(path)!r}, but there is none; docs/data.md says how to get one. "
            "Without `paths`, synthetic motion is made instead."
        )
    name = path.stem.split("_")[0] if name is None else name
    with located(path.name):
        found = npz_names(path)
        who = "skeleton_id" if "skeleton_id" in found or "subject" not in found else "subject"
        arrays = load_npz_mapped(path, [*_REQUIRED, who], _OPTIONAL)
        if "joint_names" in arrays:
            stated = strings(arrays["joint_names"], (None,), "`joint_names`").tolist()
            check_joint_names(stated, get_skeleton(skeleton), "Say with `skeleton` which joints they are.")
        return Mocap(
            name,
            arrays["positions"],
            # Copies: what is small is in memory, where the file may change later.
            **{key: np.array(arrays[key]) for key in ("clip_start", "clip_length")},
            skeleton_id=np.array(arrays[who]),
            fps=arrays["fps"],  # type: ignore[arg-type]
            subject=arrays.get("subject"),
            description=arrays.get("description"),
            skeleton=skeleton,
        )
