"""An npz file of keypoints, checked and cut into recordings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from seal_lightning.data.formats._memory_map import load_npz_mapped, npz_names
from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton.mapping import KeypointMapping

__all__ = ["check_scale", "read_keypoint_arrays", "to_screen"]

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

_OPTIONAL = ("positions_3d", "visibility", "clip_start", "clip_length", "subject", "clip", "fps")
_MILLIMETRES = {"m": 1e3, "mm": 1.0}
# Normalised x runs from -1 to 1 and y not far from it: if half of all numbers are farther out, they are pixels.
_ON_SCREEN = 2.0


@dataclass(frozen=True, eq=False)
class _Frames:
    """Frames of an array that are converted where they are read, so that the array may stay on disk."""

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


def check_scale(keypoints: npt.NDArray[Any], visibility: npt.NDArray[np.bool_], image_size: Any) -> None:
    """Raise where keypoints are pixels although there is no picture to normalise them by, or the other way round."""
    places = np.abs(keypoints[visibility][:, :2])
    size = float(np.median(places)) if places.size else 0.0
    if image_size is None and size > _ON_SCREEN:
        raise ValueError(
            "Expected `keypoints_2d` to be normalised, x from -1 to 1 across the picture, since no `image_size` is "
            f"given, but half of the numbers are above {size:.4g}. Give `image_size` for pixels."
        )
    if image_size is not None and places.size and float(places.max()) <= _ON_SCREEN:
        raise ValueError(
            f"Expected `keypoints_2d` in pixels since `image_size` is given, but no number is above "
            f"{places.max():.3g}. Leave `image_size` out for normalised keypoints."
        )


def _to_millimetres(positions: Floats, unit: str, mapping: KeypointMapping | None) -> Floats:
    positions = positions if mapping is None else mapping(positions)
    return positions * np.float32(_MILLIMETRES[unit])


def read_keypoint_arrays(
    path: Path,
    *,
    joints: int,
    image_size: tuple[int, int] | None,
    positions_unit: str | None,
    mapping: KeypointMapping | None,
    timed: bool,
) -> list[tuple[str, str, Recording]]:
    """Read a file: per clip its subject, its name, and the recording.

    Args:
        path: The npz file.
        joints: Number of joints J in the file.
        image_size: Width and height of the pictures in pixels; None where keypoints are normalised.
        positions_unit: Unit of ``positions_3d``.
        mapping: How the joints that are wanted are made.
        timed: Whether the frames per second have to be known.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not as `KeypointsDataModule` describes it.
    """
    try:
        arrays = _load(path, joints, positions_unit)
        if timed and "fps" not in arrays:
            raise ValueError("Expected `fps` in the file to go with `rate`, but there is none.")
        return _recordings(path, arrays, image_size, positions_unit or "mm", mapping)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error


def _load(path: Path, joints: int, positions_unit: str | None) -> Arrays:
    found = npz_names(path)
    if "keypoints_2d" not in found:
        raise ValueError(f"Expected an array `keypoints_2d`, but got {found}.")
    arrays = load_npz_mapped(path, ["keypoints_2d", *(name for name in _OPTIONAL if name in found)])
    frames = arrays["keypoints_2d"].shape[:1]
    shape = arrays["keypoints_2d"].shape
    if len(shape) != 3 or shape[1] != joints or shape[2] not in (2, 3) or 0 in shape:
        raise ValueError(f"Expected `keypoints_2d` to be (N, {joints}, 2) or (N, {joints}, 3), but got {shape}.")
    if ("clip_start" in arrays) != ("clip_length" in arrays):
        raise ValueError("Expected `clip_start` and `clip_length` together, but got one of them.")
    if "clip_start" not in arrays:
        arrays |= {"clip_start": np.zeros(1, np.int64), "clip_length": np.array(frames)}
    clips = arrays["clip_start"].shape[:1]
    wanted = {
        **{"keypoints_2d": (shape, "f"), "positions_3d": ((*frames, joints, 3), "f")},
        **{"visibility": ((*frames, joints), "fbiu"), "clip_start": (clips, "iu"), "clip_length": (clips, "iu")},
        **{"subject": (clips, "U"), "clip": (clips, "U"), "fps": ((), "fiu")},
    }
    for name, array in arrays.items():
        expected, kinds = wanted[name]
        array = arrays[name] = array.reshape(()) if name == "fps" and array.size == 1 else array
        if array.shape != expected or array.dtype.kind not in kinds:
            what = {"f": "floating-point numbers", "fiu": "a number", "U": "texts", "iu": "integers"}.get(
                kinds, "numbers"
            )
            raise ValueError(
                f"Expected `{name}` to be {what} of shape {expected}, but got {array.dtype} {array.shape}."
            )
    start, length = (np.asarray(arrays[name], dtype=np.int64) for name in ("clip_start", "clip_length"))
    if outside := np.flatnonzero((start < 0) | (length < 1) | (start + length > frames[0])).tolist():
        raise ValueError(
            f"Expected the clips to lie in the {frames[0]} frames, but clip {outside[0]} starts at "
            f"{start[outside[0]]} and has length {length[outside[0]]}."
        )
    if "positions_3d" in arrays and positions_unit is None:
        raise ValueError("Expected `positions_unit` to go with `positions_3d`, but got None.")
    return arrays


def _recordings(
    path: Path, arrays: Arrays, image_size: tuple[int, int] | None, unit: str, mapping: KeypointMapping | None
) -> list[tuple[str, str, Recording]]:
    keypoints, positions = arrays["keypoints_2d"], arrays.get("positions_3d")
    seen = np.asarray(np.isfinite(keypoints).all(axis=-1))
    if positions is not None:
        seen &= np.asarray(np.isfinite(positions).all(axis=-1))
    if "visibility" in arrays:
        seen &= np.asarray(arrays["visibility"] > 0)
    check_scale(keypoints, seen, image_size)
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
