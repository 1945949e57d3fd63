"""Checks that all readers share: json files, and what an entry of a file has to be. Every error says where."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning._values import is_number
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.sides import misnamed_joint
from seal_lightning.skeleton.text import regular_file

__all__ = [
    "Shape",
    "check_clips",
    "check_joint_names",
    "entries",
    "frame_rate",
    "image_size",
    "located",
    "mapping",
    "numbers",
    "other_format",
    "read_json",
    "strings",
]

Shape = tuple[int | tuple[int, ...] | None, ...]

_LARGEST_PICTURE = 1e6  # pixels

_REMEDIES = {
    **dict.fromkeys((".csv", ".tsv", ".trc"), "Read the table with `numpy.genfromtxt` or pandas"),
    **dict.fromkeys((".h5", ".hdf5"), "Read it with h5py, or with pandas if DeepLabCut wrote it"),
    ".mat": "Read it with `scipy.io.loadmat` or h5py",
    **dict.fromkeys((".pkl", ".pickle"), "If you trust its author, load it with `pickle`, which can run any code"),
    **dict.fromkeys((".pt", ".pth"), "Load it with `torch.load`"),
    ".npy": "Load it with `numpy.load`",
    **dict.fromkeys((".c3d", ".fbx"), "Export it as BVH from the program that wrote it, or read the positions"),
}


def other_format(path: str | os.PathLike[str]) -> str:
    """What to do with a file of a format that is not read, told by its name: one sentence, or nothing.

    Example:
        >>> other_format("poses.npy")
        ' Load it with `numpy.load`, and save the arrays that docs/data.md lists with `numpy.savez`.'
    """
    remedy = _REMEDIES.get(os.path.splitext(path)[1].lower())
    return f" {remedy}, and save the arrays that docs/data.md lists with `numpy.savez`." if remedy else ""


@contextmanager
def located(where: object) -> Iterator[None]:
    """Begin the message of every ValueError and TypeError of the block with the file, and the entry, it comes from."""
    try:
        yield
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def read_json(path: str | os.PathLike[str], hook: Callable[[list[tuple[str, Any]]], Any] = dict) -> Any:
    """Read a json file.

    Args:
        path: The file.
        hook: What makes the value of an object from its pairs of key and value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not json, a key stands twice in one object, or brackets are nested too deep.
    """

    def unique(pairs: list[tuple[str, Any]]) -> Any:
        # Python would keep the last of equal keys, and drop the others without a word.
        if len({key for key, _ in pairs}) < len(pairs):
            twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
            raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
        return hook(pairs)

    try:
        with regular_file(path).open(encoding="utf-8-sig") as file:
            return json.load(file, object_pairs_hook=unique)
    except RecursionError as error:
        raise ValueError("Expected a json file, but its brackets are nested too deep.") from error
    except ValueError as error:
        if str(error).startswith("Expected"):
            raise
        remedy = other_format(path)
        raise ValueError(f"Expected a json file, but it cannot be read as one ({error}).{remedy}") from error


def mapping(value: Any, what: str) -> Mapping[Any, Any]:
    """The value, which must be a dict that is not empty."""
    if not isinstance(value, Mapping) or not value:
        raise _unexpected(what, "a dict with entries", _kind(value))
    return value


def entries(value: Any, what: str) -> list[Mapping[str, Any]]:
    """The value, which must be a list of dicts."""
    if not isinstance(value, list):
        raise _unexpected(what, "a list of entries", _kind(value))
    for number, entry in enumerate(value):
        if not isinstance(entry, Mapping):
            raise ValueError(f"{what}, entry {number}: Expected a dict, but got {_kind(entry)}.")
    return value


def numbers(value: Any, shape: Shape, what: str, kinds: str = "fiu") -> npt.NDArray[Any]:
    """The value as an array of a shape, in which None is any number and a tuple is one of several.

    Args:
        value: An array, or nested lists.
        shape: What its shape has to be.
        what: Its name in backticks, or the place in a file that it is from.
        kinds: NumPy's letters for the kinds of numbers that are admitted: by default neither booleans (b) nor complex.

    Raises:
        ValueError: If it is something else, or empty.
    """
    array = _as_array(value, what)
    empty = array.ndim > 0 and len(array) == 0
    if empty or not _fits(array, shape) or array.dtype.kind not in kinds:
        kind = {"f": "floating-point numbers", "iu": "integers"}.get(kinds, "numbers")
        found = f"{array.dtype} {array.shape}{', which is empty' * empty}"
        raise _unexpected(what, f"{kind} of shape {_shown(shape)}", found)
    return array


def strings(value: Any, shape: Shape, what: str) -> npt.NDArray[np.str_]:
    """The value as an array of strings; bytes, as h5py and MATLAB leave them, are read as UTF-8."""
    array = _as_array(value, what)
    if array.dtype.kind == "S":
        try:
            array = np.char.decode(array, "utf-8")
        except UnicodeDecodeError as error:
            raise _unexpected(what, "strings", "bytes that are not UTF-8") from error
    if not _fits(array, shape) or array.dtype.kind != "U":
        raise _unexpected(what, f"strings of shape {_shown(shape)}", f"{array.dtype} {array.shape}")
    return array


def frame_rate(value: Any, what: str = "`fps`") -> float:
    """The value as frames per second."""
    array = _as_array(value, what)
    if array.size != 1 or array.dtype.kind not in "fiu":
        raise _unexpected(what, "one number", f"{array.dtype} of shape {array.shape}")
    rate = float(array.reshape(()))
    if not 0.0 < rate < np.inf:
        raise _unexpected(what, "positive", str(rate))
    # Nobody films once in ten seconds or a million times a second; 0.04 is what a frame of 25 a second takes.
    if not 0.1 <= rate <= 1e6:
        raise _unexpected(what, "frames per second", f"{rate:g}; is it the seconds of a frame")
    return rate


def check_clips(
    start: Any, length: Any, frames: int, of: str = ""
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First frame and length of every clip (of something), each clip a part of the frames.

    Raises:
        ValueError: If they are no integers, not as many of one as of the other, or a clip leaves the frames.
    """
    start = numbers(start, (None,), f"`clip_start`{of}", "iu")
    length = numbers(length, start.shape, f"`clip_length`{of}", "iu")
    # Python's integers: the sum of two numbers near 2**63 would turn negative in NumPy's, and pass.
    for clip, (first, count) in enumerate(zip(start.tolist(), length.tolist(), strict=True)):
        if first < 0 or count < 1 or first + count > frames:
            raise ValueError(
                f"Expected the clips{of} to lie in the {frames} frames, but clip {clip} starts at {first} and has "
                f"length {count}."
            )
    return start.astype(np.int64), length.astype(np.int64)


def check_joint_names(names: Sequence[str], skeleton: Skeleton, remedy: str) -> None:
    """Raise where a file names its joints, and one of them is not the joint that the skeleton has in its place."""
    if len(names) != skeleton.num_joints:
        raise ValueError(f"Expected {skeleton.num_joints} joints, but the file names {len(names)}. {remedy}")
    place = misnamed_joint(names, skeleton.names)
    if place is not None:
        raise ValueError(
            f"Expected joint {place} to be {skeleton.names[place]!r}, but the file calls it {names[place]!r}. {remedy}"
        )


def image_size(value: Any) -> tuple[float, float] | None:
    """The value as width and height in pixels; None stays None."""
    if value is None:
        return None
    pair = list(value) if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) else []
    if len(pair) != 2 or not all(is_number(side) and 0 < side < _LARGEST_PICTURE for side in pair):
        raise ValueError(f"Expected `image_size` to be a width and a height in pixels, but got {value!r}.")
    return pair[0], pair[1]


def _unexpected(what: str, wanted: str, found: str) -> ValueError:
    """An error about something with a name, which stands in backticks, or about a place in a file."""
    named = f"Expected {what} to be" if what.startswith("`") else f"{what}: Expected"
    return ValueError(f"{named} {wanted}, but got {found}.")


def _as_array(value: Any, what: str) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.asanyarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise _unexpected(what, "an array", "rows of different lengths") from error
    return array


def _fits(array: npt.NDArray[Any], shape: Shape) -> bool:
    return array.ndim == len(shape) and all(
        want is None or got in (want if isinstance(want, tuple) else (want,))
        for want, got in zip(shape, array.shape, strict=True)
    )


def _shown(shape: Shape) -> str:
    sides = ("TJC"[place] if want is None else str(want).replace(", ", "|") for place, want in enumerate(shape))
    return f"({', '.join(sides)}{',' * (len(shape) == 1)})"


def _kind(value: Any) -> str:
    kind = "null" if value is None else type(value).__name__
    return f"an empty {kind}" if isinstance(value, Mapping) and not value else kind
