"""What 2D detectors write, each format brought to people by frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seal_lightning._values import is_number
from seal_lightning.data.formats.checks import entries, located, mapping
from seal_lightning.skeleton import get_skeleton

__all__ = [
    "SUREST",
    "People",
    "Person",
    "coco",
    "coco_results",
    "mmpose",
    "natural_order",
    "openpose",
    "told_by_content",
]

Floats = npt.NDArray[np.float32]
# By the name of a data set of MMPose, the skeleton that has its joints in the same order.
_MMPOSE = {"coco": "coco17", "coco_wholebody": "h3wb133", "h36m": "h36m17", "mpi_inf_3dhp": "mpi_inf_3dhp17"}
# Far outside of any picture, and of any confidence: such numbers are poses in millimetres, or a damaged file.
_FARTHEST, SUREST = 1e6, 100.0


class Person(NamedTuple):
    """One detected person: keypoints (J, 3) with confidences, how sure the detector is, and the track if it has one."""

    keypoints: Floats
    score: float
    track: int | None


People = dict[str, list[Person]]
"""People by the name of their frame, frames in order."""


def told_by_content(content: Any) -> str:
    """Name of the format of a json file's content.

    Raises:
        ValueError: If it is none that is known.
    """
    if isinstance(content, Mapping):
        for key, name in (("annotations", "coco"), ("instance_info", "mmpose"), ("people", "openpose")):
            if key in content and (key != "annotations" or "images" in content):
                return name
    first = content[0] if isinstance(content, list) and content else None
    if isinstance(first, Mapping):
        if {"image_id", "keypoints"} <= first.keys():
            return "coco_results"
        if {"frame_id", "instances"} <= first.keys() or {"keypoints", "keypoint_scores"} <= first.keys():
            return "mmpose"
    found = f"the keys {sorted(content)}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
    found = f"a list whose first entry has the keys {sorted(first)}" if isinstance(first, Mapping) else found
    raise ValueError(
        "Expected COCO results (a list with `image_id` and `keypoints`), COCO annotations (`images` and "
        f"`annotations`), MMPose predictions (`instance_info`) or OpenPose's `people`, but got {found}. Other "
        "keypoints can be saved as an npz, which docs/data.md describes."
    )


def coco_results(content: Any) -> People:
    """COCO results, which AlphaPose and ViTPose write too: one entry a person."""
    people: People = {}
    for where, entry in _each(content, "results"):
        with located(where):
            people.setdefault(_name(entry, "image_id"), []).extend(_person(entry, "keypoints", "score"))
    return {name: people[name] for name in sorted(people, key=natural_order)}


def coco(content: Mapping[str, Any]) -> tuple[People, Floats | None, list[str] | None]:
    """COCO annotations: every image is a frame, with or without people.

    Returns:
        The people; the sizes (T, 2) of the images, NaN where the file does not tell, or None; the names of the joints
        if it has some.
    """
    names: dict[str, str] = {}
    sizes: dict[str, tuple[float, float]] = {}
    for where, image in _each(content["images"], "`images`"):
        with located(where):
            number, name = _name(image, "id"), _name(image, "file_name" if "file_name" in image else "id")
            if number in names or name in sizes:
                raise ValueError("Expected an image to have an `id` and a `file_name` of its own, but it shares one.")
            names[number], sizes[name] = name, _size(image)
    people: People = {name: [] for name in sorted(sizes, key=natural_order)}
    for where, entry in _each(content["annotations"], "`annotations`"):
        with located(where):
            if (image_id := _name(entry, "image_id")) not in names:
                raise ValueError(f"Expected annotations of the `images`, but got one of {image_id}.")
            # A box without keypoints is a person whose joints nobody labelled.
            for person in _person(entry, "keypoints", "score") if "keypoints" in entry else ():
                # 1 is labelled and hidden, 2 labelled and seen: both say where the joint is.
                person.keypoints[:, 2] = person.keypoints[:, 2] > 0
                people[names[image_id]].append(person)
    told = np.array([sizes[name] for name in people], np.float32).reshape(-1, 2)
    return people, None if np.isnan(told).all() else told, _coco_joints(content)


def mmpose(content: Any) -> tuple[People, list[str] | None]:
    """MMPose predictions: of a video, per frame its instances; of a picture, its instances alone."""
    named = isinstance(content, Mapping)
    frames = entries(content["instance_info"] if named else content, "`instance_info`")
    if frames and "instances" not in frames[0]:
        frames = [{"frame_id": 0, "instances": frames}]
    people: People = {}
    for where, frame in _each(frames, "`instance_info`"):
        with located(where):
            if (name := _name(frame, "frame_id")) in people:
                raise ValueError(f"Expected every frame once, but got `frame_id` {name} again.")
            people[name] = []
            for _, entry in _each(_get(frame, "instances"), "`instances`"):
                people[name] += _person(entry, "keypoints", "bbox_score", "keypoint_scores")
    joints = _mmpose_joints(content.get("meta_info")) if named else None
    return {name: people[name] for name in sorted(people, key=natural_order)}, joints


def openpose(content: Mapping[str, Any]) -> People:
    """OpenPose: one file a frame, by name, each with its ``people``."""
    people: People = {}
    for file in sorted(content, key=natural_order):
        name = Path(file).stem.removesuffix("_keypoints")
        with located(f"frame {name!r}"):
            if name in people:
                raise ValueError("Expected one file a frame, but got several.")
            people[name] = []
            for _, entry in _each(_get(mapping(content[file], "content"), "people"), "`people`"):
                people[name] += _person(entry, "pose_keypoints_2d")
    return people


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which frame 2 comes before frame 10."""
    # Nobody counts with more than 18 digits; Python refuses to read 5,000 of them.
    parts = re.split(r"([0-9]{1,18})", name)
    return [(0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts if part]


def _each(value: Any, what: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, entry in enumerate(entries(value, what)):
        yield f"{what}, entry {number}", entry


def _person(entry: Mapping[str, Any], key: str, score: str = "", confidences: str = "") -> list[Person]:
    """A person in a list, which is empty where there is nobody: no keypoints, or none that was seen."""
    keypoints = _get(entry, key)
    if keypoints is None or keypoints == []:
        return []
    joints = _floats(keypoints)
    if confidences:
        sure = _floats(_get(entry, confidences))
        if joints.ndim != 2 or joints.shape[1] != 2 or sure.shape != joints.shape[:1]:
            raise ValueError(
                f"Expected `{key}` to be J times (x, y) beside J `{confidences}`, but got {joints.shape} and "
                f"{sure.shape}. Poses in 3D are not keypoints."
            )
        joints = np.concatenate((joints, sure[:, None]), axis=1)
    elif joints.ndim == 1 and joints.size % 3 == 0:
        joints = joints.reshape(-1, 3)
    if joints.ndim != 2 or joints.shape[1] != 3:
        raise ValueError(f"Expected a person's keypoints to be J times (x, y, confidence), but got {joints.shape}.")
    # NaN compares as false: a missing joint is no reason to refuse the others.
    if (np.abs(joints[:, :2]) > _FARTHEST).any() or (joints[:, 2] < -1.0).any() or (joints[:, 2] > SUREST).any():
        raise ValueError(
            "Expected pixels, and confidences from 0 to 1 (or -1 where a joint is missing), but got numbers up to "
            f"{np.nanmax(np.abs(joints[:, :2])):.4g} and confidences from {np.nanmin(joints[:, 2]):.4g} to "
            f"{np.nanmax(joints[:, 2]):.4g}. Poses in 3D are not keypoints."
        )
    sure = np.nan_to_num(joints[:, 2])
    if not (sure > 0).any():
        return []
    number = float(sure.mean()) if entry.get(score) is None else _number(entry[score], score)
    track = entry.get("track_id", entry.get("idx"))
    return [
        Person(
            joints,
            -math.inf if math.isnan(number) else number,  # behind all others
            None if track in (None, []) else int(_number(track, "track", whole=True)),
        )
    ]


def _floats(value: Any) -> Floats:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError("Expected numbers, but got lists of different lengths.") from error
    if array.dtype.kind not in "iuf":
        raise ValueError(f"Expected numbers in lists of one length, but got {str(value)[:40]}.")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused as that
        return array.astype(np.float32)


def _get(entry: Mapping[str, Any], key: str) -> Any:
    if key not in entry:
        raise ValueError(f"Expected an entry to have {key!r}, but got {sorted(entry)}.")
    return entry[key]


def _number(value: Any, what: str, *, whole: bool = False) -> float:
    """A number, or the one that a list holds: some versions write lists in lists, of one number again and again."""
    given = value
    while isinstance(value, list) and value and all(other == value[0] for other in value):
        value = value[0]
    # What does not fit 64 bits is neither a score nor a track, and might not even be a float.
    if not is_number(value) or abs(value) > 2.0**63 or (whole and value % 1 != 0):
        raise ValueError(f"Expected `{what}` to be a {'whole ' * whole}number, but got {str(given)[:40]}.")
    return float(value)


def _name(entry: Mapping[str, Any], key: str) -> str:
    """The name of a frame."""
    value = _get(entry, key)
    value = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"Expected `{key}` to be a number or a string, but got {str(value)[:40]}.")
    return str(value)


def _size(image: Mapping[str, Any]) -> tuple[float, float]:
    """Width and height of an image; NaN for both where either is missing. Tools write 0, null or -1 for that."""
    width, height = (image.get(side, 0) for side in ("width", "height"))
    known = is_number(width) and is_number(height) and 0 < width < _FARTHEST and 0 < height < _FARTHEST
    return (width, height) if known else (math.nan, math.nan)


def _coco_joints(content: Mapping[str, Any]) -> list[str] | None:
    """Names of the joints of the categories; only people may be annotated."""
    named = [
        category["keypoints"]
        for category in entries(content.get("categories") or [], "`categories`")
        if category.get("keypoints")
    ]
    if any(names != named[0] for names in named):
        raise ValueError("Expected one category with `keypoints`, but got several that name different joints.")
    return _joint_names(named[0], "`categories`") if named else None


def _mmpose_joints(meta: Any) -> list[str] | None:
    """Names of the joints in the `meta_info` of MMPose, or those of the data set that it names."""
    meta = meta if isinstance(meta, Mapping) else {}
    by_number = meta.get("keypoint_id2name")
    by_name = meta.get("keypoint_name2id")
    if not by_number and isinstance(by_name, Mapping):
        by_number = {str(number): name for name, number in by_name.items()}
    if not isinstance(by_number, Mapping) or not by_number:
        dataset = meta.get("dataset_name")
        known = isinstance(dataset, str) and dataset in _MMPOSE
        return list(get_skeleton(_MMPOSE[dataset]).names) if known else None
    # Json turns the numbers into strings.
    names = [by_number.get(str(place)) for place in range(len(by_number))]
    return _joint_names(names, "`meta_info`, `keypoint_id2name`")


def _joint_names(names: Any, where: str) -> list[str]:
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: Expected the names of joints, each a string, but got {str(names)[:40]}.")
    return names
