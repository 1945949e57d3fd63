"""What the readers of benchmark files have in common."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seal_lightning.data.views.cameras import normalize_screen

__all__ = ["floats", "mapping", "on_screen", "only_file"]


def mapping(value: Any, where: str) -> Mapping[Any, Any]:
    """The value, which must be a dict that is not empty."""
    if not isinstance(value, Mapping) or not value:
        raise ValueError(f"{where}: Expected a dict with entries, but got {type(value).__name__}.")
    return value


def floats(value: Any, shape: tuple[int | tuple[int, ...] | None, ...], where: str) -> npt.NDArray[np.float32]:
    """The value as float32 array of a shape, in which None is any number and a tuple one of several."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: Expected an array, but got rows of different lengths.") from error
    fits = array.ndim == len(shape) and all(
        want is None or got in (want if isinstance(want, tuple) else (want,))
        for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu" or len(array) == 0:
        wanted = "(" + ", ".join("T" if want is None else str(want).replace(", ", "|") for want in shape) + ")"
        raise ValueError(f"{where}: Expected numbers of shape {wanted}, but got {array.dtype} {array.shape}.")
    return array.astype(np.float32, copy=False)


def on_screen(pixels: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """Normalised screen coordinates of keypoints (..., 2 or 3) in pixels; a third channel stays."""
    screen: npt.NDArray[np.float32] = normalize_screen(
        torch.from_numpy(np.ascontiguousarray(pixels[..., :2])), width, height
    ).numpy()
    return screen if pixels.shape[-1] == 2 else np.concatenate((screen, pixels[..., 2:]), axis=-1)


def only_file(folder: Path, names: tuple[str, ...], argument: str) -> Path:
    """The one file of these that there is in the folder."""
    found = [name for name in names if (folder / name).is_file()]
    if not found:
        listed = " or ".join(repr(name) for name in names)
        raise FileNotFoundError(
            f"Expected {listed} in `path`, {str(folder)!r}, but there is none; docs/data.md says how to get it."
        )
    if len(found) > 1:
        raise ValueError(f"Expected `{argument}` to name one of {found}, since `path` holds more than one of them.")
    return folder / found[0]
