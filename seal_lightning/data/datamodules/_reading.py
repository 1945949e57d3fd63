"""What all readers of benchmark files need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seal_lightning.data.formats._keypoints_npz import check_scale
from seal_lightning.data.formats.checks import Shape, located, numbers
from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.cameras import normalize_screen

__all__ = ["floats", "on_screen", "only_file", "recording"]


def floats(value: Any, shape: Shape, where: str) -> npt.NDArray[np.float32]:
    """The value as float32 array of a shape, in which None is any number and a tuple one of several."""
    return np.asarray(numbers(value, shape, where)).astype(np.float32, copy=False)


def recording(where: str, *arguments: Any) -> Recording:
    """A `Recording` whose errors say where in a file it comes from."""
    with located(where):
        return Recording(*arguments)


def on_screen(pixels: npt.NDArray[np.float32], width: int, height: int, where: str) -> npt.NDArray[np.float32]:
    """Normalised screen coordinates of keypoints (T, J, 2 or 3) in pixels; a third channel stays."""
    with located(where):
        check_scale(pixels, np.asarray(np.isfinite(pixels).all(axis=-1)), (width, height))
    screen: npt.NDArray[np.float32] = normalize_screen(
        torch.from_numpy(np.ascontiguousarray(pixels[..., :2])), width, height
    ).numpy()
    return screen if pixels.shape[-1] == 2 else np.concatenate((screen, pixels[..., 2:]), axis=-1)


def only_file(folder: Path, names: tuple[str, ...], argument: str) -> Path:
    """Path of the only file in the folder that has one of these names."""
    found = [name for name in names if (folder / name).is_file()]
    if not found:
        listed = " or ".join(repr(name) for name in names)
        raise FileNotFoundError(
            f"Expected {listed} in `path`, {str(folder)!r}, but there is none; docs/data.md says how to get it."
        )
    if len(found) > 1:
        raise ValueError(f"Expected `{argument}` to name one of {found}, since `path` holds more than one of them.")
    return folder / found[0]
