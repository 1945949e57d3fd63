"""The json files of H3WB, read without keeping a dict for every joint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.datamodules._reading import on_screen, recording
from seal_lightning.data.datamodules.human36m import merged_action
from seal_lightning.data.formats.checks import located, mapping, read_json
from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.human36m_cameras import INTRINSICS

__all__ = ["read_h3wb_json"]

_JOINTS = 133
# The first spelling is that of the published files, the second that of the documentation beside them.
_SPELLINGS = {"2d": ("keypoints_2d", "keypont_2d"), "3d": ("keypoints_3d", "keypont_3d")}
_PICTURE = re.compile(
    r"(?P<clip>(?P<subject>S\d+)[_/](?:Images/)?(?P<action>[A-Za-z]+)[ _]?\d*)"
    r"\.(?P<camera>\d{8})[_/](?:frame_)?(?P<frame>[0-9]{1,18})(?![0-9])"
)

_Key = tuple[str, str, str, str]
_NOWHERE: _Key = ("unknown", "unknown", "unknown", "")


def read_h3wb_json(path: Path) -> list[Recording]:
    """Read samples ``{id: {image_path, keypoints_2d: {joint: {x, y}}, keypoints_3d: {joint: {x, y, z}}}}``.

    Args:
        path: The file.

    Returns:
        One recording per clip and camera, its frames in order, if the samples name their pictures; otherwise one
        recording of all samples, in the order of their ids.

    Raises:
        ValueError: If the file is not of this form.
    """
    with located(path.name):
        samples = mapping(read_json(path, _compact), "samples")
    if strange := next((number for number in samples if not (number.isdecimal() and len(number) < 19)), None):
        raise ValueError(f"{path.name}: Expected the ids of samples to be numbers, but got {strange[:40]!r}.")
    clips: dict[_Key, dict[int, dict[str, Any]]] = {}
    named = {"image_path" in sample for sample in samples.values() if isinstance(sample, dict)}
    for number in sorted(samples, key=int):
        where = f"{path.name}, sample {number}"
        sample = mapping(samples[number], where)
        key, frame = _clip_of(sample, where) if named == {True} else (_NOWHERE, int(number))
        if frame in clips.setdefault(key, {}):
            raise ValueError(f"{where}: Expected every picture once, but got {sample['image_path']!r} again.")
        clips[key][frame] = _arrays(sample, where)
    return [_recording(key, [found[frame] for frame in sorted(found)], path.name) for key, found in clips.items()]


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """Make a joint a tuple, and 133 joints an array: a dict for every joint of the file would not fit into memory."""
    names = [name for name, _ in pairs]
    if names in (["x", "y"], ["x", "y", "z"]):
        return tuple(value for _, value in pairs)
    if len(pairs) == _JOINTS and all(isinstance(value, tuple) for _, value in pairs):
        by_joint = dict(pairs)
        joints = [by_joint.get(str(joint)) for joint in range(_JOINTS)]
        if all(joint is not None and len(joint) == len(joints[0] or ()) for joint in joints):
            return _as_array(joints)
    return dict(pairs)


def _as_array(joints: list[Any]) -> Any:
    try:
        array = np.array(joints)
    except (ValueError, OverflowError):
        return joints  # what is wrong with them is said where they are used
    return array.astype(np.float32) if array.dtype.kind in "iuf" else joints


def _arrays(sample: Mapping[str, Any], where: str) -> dict[str, npt.NDArray[np.float32]]:
    found = {}
    for dimension, spellings in _SPELLINGS.items():
        key = next((spelling for spelling in spellings if spelling in sample), None)
        if key is None and dimension == "2d":
            raise ValueError(f"{where}: Expected `keypoints_2d`, but got {list(sample)}.")
        if key is not None:
            channels = int(dimension[0])
            if not isinstance(sample[key], np.ndarray) or sample[key].shape != (_JOINTS, channels):
                raise ValueError(
                    f"{where}, {key}: Expected {'x and y' if channels == 2 else 'x, y and z'} as numbers for the "
                    f"joints 0 to {_JOINTS - 1}."
                )
            found[dimension] = sample[key]
    return found


def _clip_of(sample: Mapping[str, Any], where: str) -> tuple[_Key, int]:
    """Clip, subject, action and camera of a sample, and its frame."""
    match = _PICTURE.search(str(sample["image_path"]))
    if match is None or match["camera"] not in INTRINSICS:
        raise ValueError(
            f"{where}: Expected `image_path` to be like 'S5_Waiting_1.60457274_003051.jpg', but got "
            f"{str(sample['image_path'])[:80]!r}."
        )
    key = match["clip"], match["subject"], merged_action(match["action"], where), match["camera"]
    return key, int(match["frame"])


def _recording(key: _Key, samples: list[dict[str, npt.NDArray[np.float32]]], name: str) -> Recording:
    _, subject, action, camera = key
    labelled = {"3d" in sample for sample in samples}
    if len(labelled) > 1:
        raise ValueError(f"{name}: Expected all samples to have `keypoints_3d`, or none, but only some have them.")
    keypoints = np.stack([sample["2d"] for sample in samples])
    target = np.stack([sample["3d"] for sample in samples]) if labelled == {True} else None
    height = INTRINSICS[camera]["height"] if camera else 1000
    where = f"{name}, {' '.join(key[1:])}"
    return recording(where, on_screen(keypoints, 1000, height, where), target, f"h3wb/{subject}", action)
