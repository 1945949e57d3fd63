"""The json files of H3WB, read without keeping a dict for every joint."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.datamodules._reading import on_screen
from seal_lightning.data.datamodules.human36m import merged_action
from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.human36m_cameras import INTRINSICS

__all__ = ["read_h3wb_json"]

_JOINTS = 133
# The documents of the dataset spell the keys in the second way, its files in the first.
_SPELLINGS = {"2d": ("keypoints_2d", "keypont_2d"), "3d": ("keypoints_3d", "keypont_3d")}
_PICTURE = re.compile(
    r"(?P<clip>(?P<subject>S\d+)[_/](?:Images/)?(?P<action>[A-Za-z]+)[ _]?\d*)"
    r"\.(?P<camera>\d{8})[_/](?:frame_)?(?P<frame>\d+)"
)

_Key = tuple[str, str, str, str]
_NOWHERE: _Key = ("unknown", "unknown", "unknown", "")


def read_h3wb_json(path: Path) -> list[Recording]:
    """Read samples ``{id: {image_path, keypoints_2d: {joint: {x, y}}, keypoints_3d: {joint: {x, y, z}}}}``.

    Args:
        path: The file.

    Returns:
        One recording a clip and camera, frames in order, where the names of the pictures tell; else one recording of
        all samples, in the order of their ids.

    Raises:
        ValueError: If the file is not of this form.
    """
    try:
        with path.open(encoding="utf-8") as file:
            samples = json.load(file, object_pairs_hook=_compact)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name}: Expected a json file, but it cannot be read as one ({error}).") from error
    if not isinstance(samples, dict) or not samples:
        raise ValueError(f"{path.name}: Expected samples by their ids, but got {type(samples).__name__}.")
    if strange := next((number for number in samples if not number.isdecimal()), None):
        raise ValueError(f"{path.name}: Expected the ids of samples to be numbers, but got {strange!r}.")
    clips: dict[_Key, list[tuple[int, dict[str, Any]]]] = {}
    named = {"image_path" in sample for sample in samples.values() if isinstance(sample, dict)}
    for number in sorted(samples, key=int):
        sample, where = samples[number], f"{path.name}, sample {number}"
        if not isinstance(sample, dict):
            raise ValueError(f"{where}: Expected a dict of keypoints, but got {type(sample).__name__}.")
        key, frame = _clip_of(sample, where) if named == {True} else (_NOWHERE, int(number))
        clips.setdefault(key, []).append((frame, _arrays(sample, where)))
    return [
        _recording(key, [sample for _, sample in sorted(found, key=_frame)], path.name) for key, found in clips.items()
    ]


def _compact(pairs: list[tuple[str, Any]]) -> Any:
    """A joint as tuple and joints as array: half a million dicts a thousand samples would not fit into memory."""
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
        return np.array(joints, dtype=np.float32)
    except (TypeError, ValueError):
        return joints  # what is wrong with it is said where it is used


def _arrays(sample: dict[str, Any], where: str) -> dict[str, npt.NDArray[np.float32]]:
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


def _clip_of(sample: dict[str, Any], where: str) -> tuple[_Key, int]:
    """Clip, subject, action and camera of a sample, and its frame."""
    match = _PICTURE.search(str(sample["image_path"]))
    if match is None or match["camera"] not in INTRINSICS:
        raise ValueError(
            f"{where}: Expected `image_path` to be like 'S5_Waiting_1.60457274_003051.jpg', but got "
            f"{sample['image_path']!r}."
        )
    key = match["clip"], match["subject"], merged_action(match["action"], where), match["camera"]
    return key, int(match["frame"])


def _frame(found: tuple[int, Any]) -> int:
    return found[0]


def _recording(key: _Key, samples: list[dict[str, npt.NDArray[np.float32]]], name: str) -> Recording:
    _, subject, action, camera = key
    labelled = {"3d" in sample for sample in samples}
    if len(labelled) > 1:
        raise ValueError(f"{name}: Expected all samples to have `keypoints_3d`, or none, but only some have them.")
    keypoints = np.stack([sample["2d"] for sample in samples])
    target = np.stack([sample["3d"] for sample in samples]) if labelled == {True} else None
    height = INTRINSICS[camera]["height"] if camera else 1000
    return Recording(on_screen(keypoints, 1000, height), target, f"h3wb/{subject}", action)
