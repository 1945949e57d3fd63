"""What `seal-lightning score` finds in the poses of a file: by frame, by clip, and over all clips."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seal_lightning.data.formats.checks import check_joint_names
from seal_lightning.data.formats.pose_file import PoseFile
from seal_lightning.data.views.cameras import normalize_screen
from seal_lightning.evaluation.plausibility import MotionEnergy, shipped_critic
from seal_lightning.functional import bone_length_variation, limb_symmetry_error
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.mapping import BUILT_IN, get_mapping

__all__ = ["SCORES", "clip_scores", "judged", "looks_mirrored", "mean_scores", "on_joints_of"]

SCORES = (
    "frames",
    "limb_symmetry_error",
    "bone_length_variation",
    "acceleration",
    "energy_percentile",
    "unusual",
    "error_mm",
)
_WORST = 5


def on_joints_of(file: PoseFile, skeleton: Skeleton, mapping: str | None) -> tuple[Tensor, Tensor | None]:
    """Poses (T, 17, 3) of a file and its keypoints (T, 17, 2 or 3), on the joints of the networks.

    Args:
        file: The file. If it names its joints and those of the networks are among them, they are picked by name.
        skeleton: The joints of the networks.
        mapping: How they are made of others.

    Raises:
        ValueError: If the file is of other joints.
    """
    poses, keypoints, names = file.poses, file.keypoints_2d, file.joints
    if mapping is not None:
        made = get_mapping(mapping)
        if made.target != skeleton:
            raise ValueError(f"Expected a `mapping` that makes Human3.6M's joints, but got {mapping!r}.")
        source = get_skeleton(made.source)
        if names is not None:
            check_joint_names(list(names), source, f"They are not what {mapping!r} starts from.")
        if poses.shape[1] != source.num_joints:
            raise ValueError(f"Expected the {source.num_joints} joints of {mapping!r}, but got {poses.shape[1]}.")
        poses = np.asarray(made(poses))
        keypoints = None if keypoints is None else np.asarray(made(keypoints, confidence=keypoints.shape[-1] == 3))
    elif names is not None and set(skeleton.names) <= set(names):
        place = [list(names).index(name) for name in skeleton.names]
        poses, keypoints = poses[:, place], None if keypoints is None else keypoints[:, place]
    elif names is not None or poses.shape[1] != skeleton.num_joints:
        raise ValueError(_other_joints(skeleton, poses.shape[1], names))
    found = None if keypoints is None else torch.from_numpy(np.ascontiguousarray(keypoints)).float()
    return torch.from_numpy(np.ascontiguousarray(poses)).float(), found


def _other_joints(skeleton: Skeleton, count: int, names: Sequence[str] | None) -> str:
    """What to do with a file of other joints."""
    named = "" if names is None else f" with the names {list(names)}"
    ready = {name: get_mapping(name).source for name in BUILT_IN if name.endswith("_to_h36m17")}
    fitting = [name for name, source in ready.items() if get_skeleton(source).num_joints == count] or list(ready)
    return (
        f"Expected the {skeleton.num_joints} joints of Human3.6M, {', '.join(skeleton.names)}, but got {count}{named}. "
        f"The networks know no others; `mapping` makes them of others: {', '.join(fitting)}."
    )


def judged(
    file: PoseFile,
    poses: Tensor,
    keypoints: Tensor | None,
    energy: MotionEnergy,
    unit: str | None,
    image_size: tuple[int, int] | None,
) -> tuple[Tensor, Tensor | None, str | None]:
    """Percentile of every pose (T,), its estimated error in mm (T,), and why there is none."""
    known = poses.isfinite().all(dim=-1).all(dim=-1)
    percentile = torch.full((len(poses),), math.nan)
    for _, start, length in file.clips:
        rows = torch.arange(start, start + length)[known[start : start + length]]
        if len(rows):
            percentile[rows] = energy.percentile(energy.energy(poses[rows]))
    if file.error_mm is not None:
        return percentile, torch.from_numpy(file.error_mm), None
    if keypoints is None:
        return percentile, None, "the file has no keypoints"
    if unit is None:
        return percentile, None, "the unit of the poses is not known (`--unit m` or `--unit mm`)"
    if image_size is not None:
        keypoints = torch.cat((normalize_screen(keypoints[..., :2], *image_size), keypoints[..., 2:]), dim=-1)
    sure = keypoints[..., 2] if keypoints.shape[-1] == 3 else torch.ones(keypoints.shape[:-1])
    place = torch.where((sure > 0)[..., None], keypoints[..., :2], 0.0).nan_to_num(0.0)
    if float(place.abs().max()) > 5.0:
        return percentile, None, "the keypoints are pixels (`--image_size '[1920, 1080]'`)"
    critic, error = shipped_critic(), torch.full((len(poses),), math.nan)
    # The critic was fitted in metres.
    metres = poses[known] * (1.0 if unit == "m" else 1e-3)
    error[known] = critic.errors(pose=metres, keypoints=place[known], confidence=sure[known].nan_to_num(0.0)).pose
    return percentile, error, None


def clip_scores(
    poses: Tensor, frames: Sequence[str], percentile: Tensor, error: Tensor | None, skeleton: Skeleton
) -> dict[str, Any]:
    """The scores of a clip, and its worst frames; poses are in millimetres where their unit is known."""
    known = ~percentile.isnan()
    bad = percentile if error is None else error
    worst = [i for i in bad.nan_to_num(-1.0).argsort(descending=True).tolist()[:_WORST] if bool(known[i])]
    found = poses[known]
    acceleration = (poses[2:] - 2 * poses[1:-1] + poses[:-2]).norm(dim=-1).mean(dim=-1)
    moving = acceleration[~acceleration.isnan()]
    return {
        "frames": int(known.sum()),
        "limb_symmetry_error": float(limb_symmetry_error(found, skeleton)) if len(found) else math.nan,
        "bone_length_variation": float(bone_length_variation(found, skeleton)) if len(found) > 1 else math.nan,
        "acceleration": float(moving.mean()) if len(moving) else math.nan,
        "energy_percentile": float(percentile[known].mean()) if len(found) else math.nan,
        "unusual": 100.0 * float((percentile[known] > 99.0).float().mean()) if len(found) else math.nan,
        "error_mm": math.nan if error is None or not len(found) else float(error[known].mean()),
        "worst_frames": [
            {
                "frame": frames[i],
                "energy_percentile": float(percentile[i]),
                "error_mm": math.nan if error is None else float(error[i]),
            }
            for i in worst
        ],
    }


def mean_scores(clips: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over the clips, weighted by their frames."""
    result: dict[str, Any] = {"frames": sum(clip["frames"] for clip in clips.values())}
    for name in SCORES:
        if name != "frames":
            known = [(clip[name], clip["frames"]) for clip in clips.values() if not math.isnan(clip[name])]
            total = sum(frames for _, frames in known)
            result[name] = sum(value * frames for value, frames in known) / total if total else math.nan
    return result


def looks_mirrored(file: PoseFile, poses: Tensor, energy: MotionEnergy) -> bool:
    """Whether the mirror images, with left and right joints as they are, are far more usual than the poses."""
    known = poses.isfinite().all(dim=-1).all(dim=-1)
    some = poses[known][:: max(1, int(known.sum()) // 500)]
    flipped = some * torch.tensor([-1.0, 1.0, 1.0])
    own, other = (energy.percentile(energy.energy(part)).median() for part in (some, flipped))
    return bool(own > 99.0) and bool(other < 90.0)
