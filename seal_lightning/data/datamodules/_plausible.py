"""What shapes and types cannot tell of a recording: its unit, its axes, and whether its picture shows its pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton import Skeleton

__all__ = ["check_plausible"]

_BONE_MM = (50.0, 1000.0)
# Frames that are looked at: the rest of a recording is of the same unit and axes, and may lie on a slow disk.
_FRAMES = 16
# Numbers without which a correlation says nothing.
_ENOUGH = 100


def check_plausible(recording: Recording, skeleton: Skeleton, least_likeness: float) -> None:
    """Raise where limbs are not of a length that fits millimetres, or the keypoints do not show the pose.

    About the middle of its joints a pose looks like its picture, but for perspective: x correlates with x and y with y.

    Args:
        recording: The recording; without a target nothing is checked.
        skeleton: Its joints.
        least_likeness: The least correlation, from -1 to 1.

    Raises:
        ValueError: If that is not so.
    """
    if recording.target is None:
        return
    some = slice(None, None, max(len(recording) // _FRAMES, 1))
    pose, keypoints = (np.asarray(values[some], float) for values in (recording.target, recording.keypoints_2d))
    seen = np.ones(pose.shape[:2], bool) if recording.visibility is None else recording.visibility[some]
    whose = f"{recording.group} {recording.action!r}"
    if bones := [skeleton.bones[bone] for limb in skeleton.limb_bones for bone in limb]:
        child, parent = np.array(bones).T
        length = np.linalg.norm(pose[:, child] - pose[:, parent], axis=-1)[seen[:, child] & seen[:, parent]]
        middle = float(np.median(length)) if length.size else _BONE_MM[0]
        if not _BONE_MM[0] <= middle <= _BONE_MM[1]:
            raise ValueError(
                f"Expected targets of {whose} in millimetres, with limb bones of {_BONE_MM[0]:.0f} to "
                f"{_BONE_MM[1]:.0f}, but got {middle:.3g}."
            )
    one, other = (_about_the_middle(values[..., :2], seen) for values in (pose, keypoints))
    size = np.sqrt((one**2).sum(axis=(0, 1)) * (other**2).sum(axis=(0, 1)))
    likeness = (one * other).sum(axis=(0, 1)) / np.where(size > 0, size, 1.0)
    if seen.sum() >= _ENOUGH and likeness.min() < least_likeness:
        raise ValueError(
            f"Expected `keypoints_2d` of {whose} to show `target` in the camera's frame, x right and y down, but in "
            f"{'xy'[int(likeness.argmin())]} they correlate by {likeness.min():.2f} within a frame."
        )


def _about_the_middle(values: npt.NDArray[np.float64], seen: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """Places (T, J, 2) relative to the mean of the joints that are seen; zero for the others."""
    known = seen[..., None]
    middle = np.where(known, values, 0.0).sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True).clip(1)
    return np.where(known, values - middle, 0.0)
