"""Reads the keypoints that a 2D detector wrote to a file, one person per frame."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from seal_lightning._values import is_number, is_whole
from seal_lightning.data.formats import _detector_formats as formats
from seal_lightning.data.formats._keypoints_npz import check_confidences
from seal_lightning.data.formats._memory_map import load_npz_mapped
from seal_lightning.data.formats.checks import located, numbers, read_json, strings
from seal_lightning.skeleton.text import as_path

__all__ = ["Detections", "Format", "read_detections"]

Format = Literal["coco_results", "coco", "mmpose", "openpose", "npz"]
_FORMATS = get_args(Format)
# Numbers with more than this many gaps for every person seen do not count the frames of a video.
_GAPS = 20


@dataclass(frozen=True, eq=False)
class Detections:
    """The keypoints of one person in every frame.

    Args:
        keypoints_2d: Pixels, or normalised coordinates, and confidences from 0 to 1, shape (T, J, 3). What a detector
            did not see is NaN with confidence 0.
        names: Name of every frame.
        image_size: Width and height of every picture, shape (T, 2), NaN where the file does not tell; None where it
            never does.
        joint_names: What the file calls the joints, if it names them.
    """

    keypoints_2d: npt.NDArray[np.float32]
    names: tuple[str, ...]
    image_size: npt.NDArray[np.float32] | None = None
    joint_names: tuple[str, ...] | None = None


def read_detections(
    path: str | os.PathLike[str],
    *,
    format: Format | None = None,
    person: int | None = None,
    min_confidence: float = 0.0,
    video: bool = False,
) -> Detections:
    """Read the keypoints of one person a frame from what a detector wrote.

    Formats: ``"coco_results"``, a list of ``image_id``, ``keypoints``, ``score`` (AlphaPose and ViTPose write it too);
    ``"coco"``, annotations with ``images``; ``"mmpose"``, its predictions; ``"openpose"``, a folder with a json file a
    frame; ``"npz"``, the arrays of `KeypointsDataModule`, already of one person.

    Args:
        path: A file, or the folder of OpenPose.
        format: Its format; None tells it by the content.
        person: Track of the person to take (``track_id``, or AlphaPose's ``idx``). None takes in every frame the person
            with the highest score, or where the detector gives people none, the highest mean confidence.
        min_confidence: Joints of at most this confidence are missing.
        video: Whether the frames follow one another: numbers that COCO results leave out are then frames in which
            nobody was seen.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of the format, people differ in their number of joints, or there is nobody.
            Coordinates beyond any picture and columns that are no confidences are refused too.
    """
    path = as_path(path)
    if not path.exists():
        raise FileNotFoundError(f"Expected keypoints at {str(path)!r}, but there is nothing.")
    if format is not None and format not in _FORMATS:
        raise ValueError(f"Expected `format` to be one of {list(_FORMATS)} or None, but got {format!r}.")
    if not is_number(min_confidence) or not 0.0 <= min_confidence < 1.0:
        raise ValueError(f"Expected `min_confidence` to be from 0 to below 1, but got {min_confidence!r}.")
    if person is not None and not is_whole(person):
        raise ValueError(f"Expected `person` to be the number of a track or None, but got {person!r}.")
    with located(path.name):
        if format not in (None, "npz") and path.suffix == ".npz":
            raise ValueError(f"Expected a json file of the format {format!r}, but got an npz.")
        if path.suffix == ".npz" or format == "npz":
            keypoints, joints = _npz(path, person)
            names, sizes = tuple(str(frame) for frame in range(len(keypoints))), None
        else:
            people, sizes, joints = _people(path, format, video)
            keypoints, names = _one_a_frame(people, person)
            check_confidences(keypoints, np.asarray(np.isfinite(keypoints).all(axis=-1)), formats.SUREST)
    missing = ~np.isfinite(keypoints).all(axis=-1) | ~(keypoints[..., 2] > min_confidence)
    keypoints[..., 2] = keypoints[..., 2].clip(0.0, 1.0)
    keypoints[missing] = np.nan, np.nan, 0.0
    if missing.all():
        raise ValueError(f"{path.name}: Expected at least one joint above `min_confidence`, but there is none.")
    return Detections(keypoints, names, sizes, None if joints is None else tuple(joints))


def _people(
    path: Path, format: str | None, video: bool
) -> tuple[formats.People, npt.NDArray[np.float32] | None, list[str] | None]:
    """People by frame, and what the file tells of sizes and of the names of joints."""
    if path.is_dir():
        if format not in (None, "openpose"):
            raise ValueError(f"Expected a file of the format {format!r}, but got a folder.")
        files = {}
        for file in path.glob("*.json"):
            with located(file.name):
                files[file.name] = read_json(file)
        if not files:
            raise ValueError("Expected a folder with OpenPose's json files, but there are none.")
        return formats.openpose(files), None, None
    content = read_json(path)
    told = formats.told_by_content(content)
    if format not in (None, told):
        raise ValueError(f"Expected the format {format!r}, but the content is that of {told!r}.")
    if told == "coco":
        return formats.coco(content)
    if told == "openpose":
        return formats.openpose({path.name: content}), None, None
    if told == "mmpose":
        people, joints = formats.mmpose(content)
        return people, None, joints
    people = formats.coco_results(content)
    return _with_gaps(people) if video else people, None, None


def _with_gaps(people: formats.People) -> formats.People:
    """Add the frames between the first and the last in which nobody was seen."""
    number = {digits[-1]: name for name in people if (digits := _numbers(name))}
    if len(number) < len(people):
        raise ValueError(
            f"Expected every `image_id` of a video to have a number of its own, but got {list(people)[:5]}."
        )
    first, last = min(number), max(number)
    if last - first >= _GAPS * len(people):
        raise ValueError(
            f"Expected the `image_id` of a video to number its frames, but {len(people)} frames are from {first} to "
            f"{last}. Without `fps` they are single pictures."
        )
    step = math.gcd(*(frame - first for frame in number))
    # A few frames may lie a common step apart by chance.
    if step > 1 and len(people) >= 8:
        raise ValueError(
            f"Expected the `image_id` of a video to number its frames one by one, but all are {step} apart. Number "
            "them anew, and give as `fps` the frames per second that were kept; or leave out `fps`."
        )
    names = [number.get(frame, str(frame)) for frame in range(first, last + 1)]
    return {name: people.get(name, []) for name in names}


def _numbers(name: str) -> list[int]:
    return [part[1] for part in formats.natural_order(Path(name).stem) if part[0] == 0]


def _one_a_frame(people: formats.People, track: int | None) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    joints = {len(person.keypoints) for frame in people.values() for person in frame}
    if len(joints) != 1:
        found = f"{sorted(joints)} joints" if joints else "nobody"
        raise ValueError(f"Expected people with one number of joints, but got {found}.")
    keypoints = np.full((len(people), *joints, 3), np.nan, dtype=np.float32)
    for row, frame in enumerate(people.values()):
        candidates = [person for person in frame if track is None or person.track == track]
        if candidates:
            keypoints[row] = max(candidates, key=lambda person: person.score).keypoints
    if track is not None and np.isnan(keypoints).all():
        tracks = sorted({person.track for frame in people.values() for person in frame if person.track is not None})
        raise ValueError(f"Expected `person` to be one of the tracks {tracks}, but got {track}.")
    return keypoints, tuple(people)


def _npz(path: Path, person: int | None) -> tuple[npt.NDArray[np.float32], list[str] | None]:
    if person is not None:
        raise ValueError(f"Expected no `person` for an npz, which holds one, but got {person}.")
    arrays = load_npz_mapped(path, ["keypoints_2d"], ("visibility", "joint_names"))
    given = numbers(arrays["keypoints_2d"], (None, None, (2, 3)), "`keypoints_2d`")
    keypoints = np.ones((*given.shape[:2], 3), dtype=np.float32)
    check_confidences(given, np.asarray(np.isfinite(given).all(axis=-1)))
    keypoints[..., : given.shape[2]] = given
    if "visibility" in arrays:
        keypoints[~(numbers(arrays["visibility"], given.shape[:2], "`visibility`", "bfiu") > 0)] = np.nan
    names = strings(arrays["joint_names"], given.shape[1:2], "`joint_names`") if "joint_names" in arrays else None
    return keypoints, None if names is None else names.tolist()
