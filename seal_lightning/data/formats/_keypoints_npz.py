"""Reads an npz file of keypoints, checks it, and cuts it into recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped
from seal_lightning.data.formats.checks import check_clips, check_joint_names, frame_rate, located, numbers, strings
from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.mapping import KeypointMapping

__all__ = ["check_confidences", "check_scale", "read_keypoint_arrays", "to_screen"]

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

_OPTIONAL = ("positions_3d", "visibility", "clip_start", "clip_length", "subject", "clip", "fps", "joint_names")
_MILLIMETRES = {"m": 1e3, "mm": 1.0}
# Normalised x runs from -1 to 1 and y not far from it: numbers that are mostly farther out are pixels.
_ON_SCREEN = 2.0
# How far outside of the picture, in its widths and heights, joints of somebody at its edge may be estimated.
_BEYOND = 0.25
# Confidences are from 0 to 1; heights of a heatmap may be a little more, or less.
_SUREST = 1.5


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames of an array that are converted only when they are read, so that the array can stay on disk."""

    array: npt.NDArray[Any]
    convert: Callable[[Floats], Floats]
    joints: int
    dtype = np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.array), self.joints, self.array.shape[-1]

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: Any) -> Floats:
        return self.convert(np.asarray(self.array[index], dtype=np.float32))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)


def to_screen(keypoints: Floats, image_size: npt.ArrayLike | None, mapping: KeypointMapping | None) -> Floats:
    """Map keypoints (..., J, 2 or 3) to other joints, and pixels, where a size is given, to `normalize_screen`'s.

    Args:
        keypoints: Keypoints, optionally with confidences.
        image_size: Width and height of the pictures (2,), or of every frame's (T, 2).
        mapping: How the joints that are wanted are made.
    """
    if mapping is not None:
        keypoints = mapping(keypoints, confidence=keypoints.shape[-1] == 3)
    if image_size is None:
        return keypoints
    size = np.asarray(image_size, dtype=np.float32)[..., None, :]
    width, middle = size[..., :1], size / size[..., :1]
    places = keypoints[..., :2] / width * np.float32(2.0) - middle
    return np.concatenate((places, keypoints[..., 2:]), axis=-1)


def _of_frames(size: Any, some: slice) -> npt.NDArray[Any]:
    """The size of some frames' pictures, where there is one for every frame, or that of all."""
    sizes = np.asarray(size, dtype=np.float64)
    return sizes if sizes.ndim == 1 else sizes[some, None]


def check_scale(keypoints: npt.NDArray[Any], visibility: npt.NDArray[np.bool_], size: Any) -> None:
    """Raise where keypoints are neither pixels of pictures of a size nor, without one, x from -1 to 1 across them."""
    # Some thousand frames tell as much as all of them, which may lie on a disk.
    some = slice(None, None, max(len(keypoints) // 5000, 1))
    places = np.asarray(keypoints[some])[visibility[some]][:, :2]
    if not len(places):
        return
    # All but a tenth of the numbers: joints may lie outside of the picture, and lost ones anywhere.
    reach = float(np.quantile(np.abs(places), 0.9))
    if size is None and reach > _ON_SCREEN:
        raise ValueError(
            "Expected `keypoints_2d` to be normalised, x from -1 to 1 across the picture, since no `image_size` is "
            f"given, but a tenth of the numbers are above {reach:.4g}. Give `image_size` for pixels."
        )
    if size is not None and reach <= _ON_SCREEN:
        raise ValueError(
            f"Expected `keypoints_2d` in pixels since `image_size` is given, but most numbers are at most {reach:.3g}. "
            "Coordinates from 0 to 1 become pixels times width and height. Those whose x runs from -1 to 1 belong into "
            "an npz, without `image_size`."
        )
    if size is not None:
        share = (np.asarray(keypoints[some])[..., :2] / _of_frames(size, some))[visibility[some]]
        outside = (np.abs(share - 0.5) > 0.5 + _BEYOND).any(axis=-1)
        if outside.mean() > 0.5:
            raise ValueError(
                f"Expected `keypoints_2d` in pixels of pictures of `image_size`, but {outside.mean():.0%} of the "
                f"joints are far outside, at up to {np.abs(share).max():.3g} times their width or height. Is "
                "`image_size` that of the pictures, and in the order width, height?"
            )
    # Across a picture half of x, and about half of y, is negative; of 0 to 1 nothing is, but for a few joints outside.
    if size is None and (np.quantile(places, 0.1, axis=0) >= 0).all():
        raise ValueError(
            "Expected `keypoints_2d` to be normalised, x from -1 to 1 across the picture and y from its middle, but "
            "hardly any number is negative: coordinates from 0 to 1, as MediaPipe and Ultralytics give them, are "
            "others. Multiply x by the width and y by the height of the picture, and give `image_size`."
        )


def check_confidences(keypoints: npt.NDArray[Any], visibility: npt.NDArray[np.bool_], surest: float = _SUREST) -> None:
    """Raise where a third column holds something else than confidences, such as depths; -1 says that one is missing."""
    if keypoints.shape[-1] != 3:
        return
    some = slice(None, None, max(len(keypoints) // 5000, 1))
    sure = np.asarray(keypoints[some, :, 2])[visibility[some]]
    sure = sure[sure != -1.0]
    if len(sure) and np.mean((sure < 0.0) | (sure > surest)) > 0.1:
        raise ValueError(
            "Expected the third column of `keypoints_2d` to be confidences from 0 to 1, but got numbers from "
            f"{sure.min():.4g} to {sure.max():.4g}. Leave out a depth; divide scores by their largest value."
        )


def _to_millimetres(positions: Floats, unit: str, mapping: KeypointMapping | None) -> Floats:
    positions = positions if mapping is None else mapping(positions)
    return positions * np.float32(_MILLIMETRES[unit])


def read_keypoint_arrays(
    path: Path,
    *,
    skeleton: Skeleton,
    image_size: tuple[float, float] | None,
    positions_unit: str | None,
    mapping: KeypointMapping | None,
    timed: bool,
) -> list[tuple[str, str, Recording]]:
    """Read a file: per clip its subject, its name, and the recording.

    Args:
        path: The npz file.
        skeleton: The J joints of the file.
        image_size: Width and height of the pictures in pixels; None where keypoints are normalised.
        positions_unit: Unit of ``positions_3d``.
        mapping: How the joints that are wanted are made.
        timed: Whether the file has to say its frames per second.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as `KeypointsDataModule` describes it.
    """
    with located(path.name):
        arrays = _load(path, skeleton, positions_unit)
        if timed and "fps" not in arrays:
            raise ValueError("Expected `fps` in the file to go with `rate`, but there is none.")
        return _recordings(path, arrays, image_size, positions_unit or "mm", mapping)


def _load(path: Path, skeleton: Skeleton, positions_unit: str | None) -> Arrays:
    arrays = load_npz_mapped(path, ["keypoints_2d"], _OPTIONAL)
    joints = skeleton.num_joints
    frames, *_ = numbers(arrays["keypoints_2d"], (None, joints, (2, 3)), "`keypoints_2d`", "f").shape
    if "positions_3d" in arrays:
        numbers(arrays["positions_3d"], (frames, joints, 3), "`positions_3d`", "f")
        if positions_unit is None:
            raise ValueError("Expected `positions_unit` to go with `positions_3d`, but got None.")
    if "visibility" in arrays:
        numbers(arrays["visibility"], (frames, joints), "`visibility`", "fbiu")
    if "joint_names" in arrays:
        names = strings(arrays["joint_names"], (joints,), "`joint_names`").tolist()
        check_joint_names(names, skeleton, "Say with `skeleton` or `mapping` which joints they are.")
    if ("clip_start" in arrays) != ("clip_length" in arrays):
        raise ValueError("Expected `clip_start` and `clip_length` together, but got one of them.")
    if "clip_start" not in arrays:
        arrays |= {"clip_start": np.zeros(1, np.int64), "clip_length": np.array([frames])}
    check_clips(arrays["clip_start"], arrays["clip_length"], frames)
    for name in ("subject", "clip"):
        if name in arrays:
            arrays[name] = strings(arrays[name], arrays["clip_start"].shape, f"`{name}`")
    if "fps" in arrays:
        arrays["fps"] = np.array(frame_rate(arrays["fps"]))
    return arrays


def _recordings(
    path: Path, arrays: Arrays, image_size: tuple[float, float] | None, unit: str, mapping: KeypointMapping | None
) -> list[tuple[str, str, Recording]]:
    keypoints, positions = arrays["keypoints_2d"], arrays.get("positions_3d")
    seen = np.asarray(np.isfinite(keypoints).all(axis=-1))
    if positions is not None:
        seen &= np.asarray(np.isfinite(positions).all(axis=-1))
    if "visibility" in arrays:
        seen &= np.asarray(arrays["visibility"] > 0)
    check_scale(keypoints, seen, image_size)
    check_confidences(keypoints, seen)
    visible = seen if mapping is None else mapping.visibility(seen)
    clips = len(arrays["clip_start"])
    subjects = arrays.get("subject", np.full(clips, "all")).tolist()
    names = arrays.get("clip", np.arange(clips).astype(str)).tolist()
    screen = partial(to_screen, image_size=image_size, mapping=mapping)
    metric = partial(_to_millimetres, unit=unit, mapping=mapping)
    found = []
    for clip, (start, length) in enumerate(zip(arrays["clip_start"], arrays["clip_length"], strict=True)):
        part, joints = slice(int(start), int(start + length)), visible.shape[1]
        recording = Recording(
            cast(Floats, _Frames(keypoints[part], screen, joints)),
            None if positions is None else cast(Floats, _Frames(positions[part], metric, joints)),
            f"{path.stem.split('_')[0]}/{subjects[clip]}",
            names[clip],
            float(arrays.get("fps", np.array(1.0))),
            None if visible.all() else visible[part],
        )
        found.append((subjects[clip], names[clip], recording))
    return found
