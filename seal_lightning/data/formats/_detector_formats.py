"""What 2D detectors write, each format brought to people by frame."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Person", "coco", "coco_results", "mmpose", "natural_order", "openpose", "told_by_content"]

Floats = npt.NDArray[np.float32]


class Person(NamedTuple):
    """One detected person: keypoints (J, 3) with confidences, how sure the detector is, and the track if it has one."""

    keypoints: Floats
    score: float
    track: int | None


People = dict[str, list[Person]]


def told_by_content(content: Any) -> str:
    """Name of the format of a json file's content.

    Raises:
        ValueError: If it is none that is known.
    """
    if isinstance(content, Mapping):
        if "annotations" in content and "images" in content:
            return "coco"
        if "instance_info" in content:
            return "mmpose"
    elif isinstance(content, list) and content and isinstance(content[0], Mapping):
        if {"image_id", "keypoints"} <= content[0].keys():
            return "coco_results"
        if {"frame_id", "instances"} <= content[0].keys() or {"keypoints", "keypoint_scores"} <= content[0].keys():
            return "mmpose"
    found = sorted(content) if isinstance(content, Mapping) else type(content).__name__
    raise ValueError(
        "Expected COCO results (a list with `image_id` and `keypoints`), COCO annotations (`images` and "
        f"`annotations`) or MMPose predictions (`instance_info`), but got {found}."
    )


def coco_results(content: list[Mapping[str, Any]]) -> People:
    """COCO results, which AlphaPose and ViTPose write too: one entry a person."""
    people: People = {}
    for entry in content:
        track = entry.get("track_id", entry.get("idx"))
        person = _person(entry["keypoints"], None, entry.get("score"), track)
        people.setdefault(str(entry["image_id"]), []).append(person)
    return {name: people[name] for name in sorted(people, key=natural_order)}


def coco(content: Mapping[str, Any]) -> tuple[People, Floats | None]:
    """COCO annotations: every image is a frame, with or without people; and the sizes (T, 2) of the images."""
    images = sorted(content["images"], key=lambda image: natural_order(str(image.get("file_name", image["id"]))))
    names = {image["id"]: str(image.get("file_name", image["id"])) for image in images}
    if len(set(names.values())) < len(images):
        raise ValueError("Expected every image to have an `id` and a `file_name` of its own, but some share one.")
    people: People = {name: [] for name in names.values()}
    for entry in content["annotations"]:
        if entry["image_id"] not in names:
            raise ValueError(f"Expected annotations of the `images`, but got one of {entry['image_id']!r}.")
        if "keypoints" in entry:
            keypoints = np.array(entry["keypoints"], dtype=np.float32)
            keypoints[2::3] = keypoints[2::3] > 0  # labelled, whether occluded or not
            person = _person(keypoints, None, entry.get("score"), entry.get("track_id"))
            people[names[entry["image_id"]]].append(person)
    if not all({"width", "height"} <= image.keys() for image in images):
        return people, None
    return people, np.array([(image["width"], image["height"]) for image in images], dtype=np.float32)


def mmpose(content: Any) -> People:
    """MMPose predictions: of a video, per frame its instances; of a picture, its instances alone."""
    frames = content["instance_info"] if isinstance(content, Mapping) else content
    if frames and "instances" not in frames[0]:
        frames = [{"frame_id": 0, "instances": frames}]
    people: People = {}
    for frame in frames:
        people[str(frame["frame_id"])] = [
            _person(
                entry["keypoints"], entry["keypoint_scores"], _number(entry.get("bbox_score")), entry.get("track_id")
            )
            for entry in frame["instances"]
        ]
    return {name: people[name] for name in sorted(people, key=natural_order)}


def openpose(content: Mapping[str, Mapping[str, Any]]) -> People:
    """OpenPose: one file a frame, by name, each with its ``people``."""
    return {
        Path(name).stem.removesuffix("_keypoints"): [
            _person(entry["pose_keypoints_2d"], None, None, None) for entry in content[name]["people"]
        ]
        for name in sorted(content, key=natural_order)
    }


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Sort key by which frame 2 comes before frame 10."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part]


def _person(keypoints: Any, confidences: Any, score: Any, track: Any) -> Person:
    flat = np.asarray(keypoints, dtype=np.float32)
    joints = flat.reshape(-1, 3) if flat.ndim == 1 and flat.size % 3 == 0 else flat
    if confidences is not None and joints.ndim == 2:
        joints = np.concatenate((joints[:, :2], np.asarray(confidences, dtype=np.float32)[:, None]), axis=1)
    if joints.ndim != 2 or joints.shape[1] != 3 or len(joints) == 0:
        raise ValueError(f"Expected a person's keypoints to be J times (x, y, confidence), but got {flat.shape}.")
    sure = float(joints[:, 2].mean()) if score is None else float(score)
    return Person(joints, sure, None if track is None else int(_number(track)))


def _number(value: Any) -> Any:
    """The number in a list of one, as some versions write it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value
