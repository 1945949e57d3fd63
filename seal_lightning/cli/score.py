"""``seal-lightning score``: how plausible finished poses are, of any lifter, without a training or a host."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from seal_lightning.data.formats.checks import check_joint_names
from seal_lightning.data.formats.pose_file import PoseFile, read_poses
from seal_lightning.data.views.cameras import normalize_screen
from seal_lightning.evaluation.plausibility import MotionEnergy, shipped_card, shipped_critic, shipped_energy
from seal_lightning.functional import bone_length_variation, limb_symmetry_error
from seal_lightning.plotting.scores import plot_scores
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.mapping import get_mapping

__all__ = ["main", "score"]

_DESCRIPTION = """Score the poses of a file: limb symmetry, bone lengths, acceleration, how unusual they are beside real
motion, and, where the file has keypoints, how far off they are estimated to be. Two small networks come with the
package, trained on the motion capture of UI-PRMD (public domain); `--card` prints what they know and cannot know."""
_WORST = 5
_COLUMNS = {
    "frames": ("frames", 0),
    "limb_symmetry_error": ("LSE %", 2),
    "bone_length_variation": ("bone variation %", 2),
    "acceleration": ("acceleration", 2),
    "energy_percentile": ("energy percentile", 1),
    "unusual": ("above 99th %", 1),
    "error_mm": ("estimated error, mm", 1),
}


def score(
    path: str,
    *,
    output: str | None = None,
    image_size: tuple[int, int] | None = None,
    mapping: str | None = None,
    unit: str | None = None,
    picture: bool = True,
) -> dict[str, Any]:
    """Score the poses of a file, print a table, and write a json file and a picture.

    Args:
        path: The npz of ``seal-lightning predict``, or a json file of MMPose's 3D lifters.
        output: The json file to write; None is the name of the file with ``-scores.json`` at its end. The picture lies
            beside it, as png.
        image_size: Width and height of the picture in pixels, for files with keypoints in pixels. Without it there is
            no estimated error, unless the keypoints are normalised.
        mapping: How poses of another skeleton are made into Human3.6M's joints, like ``coco17_to_h36m17``.
        unit: Unit of the poses, "m" or "mm", where the file does not say it.
        picture: Whether to draw a picture; needs matplotlib.

    Returns:
        What the json file holds.

    Raises:
        OSError: If the file is missing or the output cannot be written.
        ValueError: If the file holds no poses, or of other joints.
    """
    file, energy = read_poses(path), shipped_energy()
    skeleton = energy.skeleton
    poses, keypoints = _joints(file, skeleton, mapping)
    unit = _unit(file, unit)
    percentile, error, reason = _judged(file, poses, keypoints, energy, unit, image_size)
    clips = {}
    for name, start, length in file.clips:
        part = slice(start, start + length)
        clips[name] = _clip(
            (1000.0 if unit == "m" else 1.0) * poses[part],
            file.frames[part],
            percentile[part],
            None if error is None else error[part],
            skeleton,
        )
    mirrored = _looks_mirrored(file, poses, energy)
    result: dict[str, Any] = {
        **{
            "file": Path(path).name,
            "unit": unit,
            "fps": file.fps,
            "acceleration_in": _per_frame(unit),
            "clips": clips,
            "all": _mean(clips),
        },
        **{
            "error_by": None if reason else "package" if file.error_mm is None else "file",
            "looks_mirrored": mirrored,
            "card": shipped_card(),
        },
    }
    target = Path(output) if output is not None else Path(path).with_name(f"{Path(path).stem}-scores.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(_finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    everything: dict[str, dict[str, Any]] = {"all": result["all"]} if len(clips) > 1 else {}
    print(_table(clips | everything, unit))
    print(f"\nErrors are not estimated: {reason}." if reason else "")
    if mirrored:
        print("The mirror images of these poses are far more plausible: do the file's axes swap left and right?")
    print(f"Written to {target}")
    if picture:
        figure = plot_scores(poses, percentile, error, skeleton, file.frames, file.clips)
        figure.savefig(target.with_suffix(".png"), dpi=120)
    return result


def main(args: Sequence[str]) -> None:
    """Run ``seal-lightning score``.

    Args:
        args: Command line arguments after ``score``.
    """
    if "--card" in args:
        print(shipped_card())
        return
    parser = ArgumentParser(prog="seal-lightning score", description=_DESCRIPTION)
    parser.add_function_arguments(score, as_group=False, as_positional=True)
    parser.add_argument("--card", action="store_true", help="print what the networks were trained on, and stop")
    options = vars(parser.parse_args(list(args), with_meta=False))
    options.pop("card")
    try:
        score(**options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        raise SystemExit(f"seal-lightning score: {error}") from error


def _joints(file: PoseFile, skeleton: Skeleton, mapping: str | None) -> tuple[Tensor, Tensor | None]:
    """Poses (T, 17, 3) and keypoints on the joints of the networks."""
    poses, keypoints = file.poses, file.keypoints_2d
    source = skeleton
    if mapping is not None:
        made = get_mapping(mapping)
        if made.target != skeleton:
            raise ValueError(f"Expected a `mapping` that makes Human3.6M's joints, but got {mapping!r}.")
        source = get_skeleton(made.source)
        poses = np.asarray(made(poses))
        keypoints = None if keypoints is None else np.asarray(made(keypoints, confidence=keypoints.shape[-1] == 3))
    if file.joints is not None:
        check_joint_names(list(file.joints), source, "Say with `mapping` how they become Human3.6M's.")
    if poses.shape[1] != skeleton.num_joints:
        raise ValueError(
            f"Expected the {skeleton.num_joints} joints of Human3.6M, but got {poses.shape[1]}. Say with `mapping` how "
            "they become Human3.6M's; for other joints there is no network."
        )
    found = None if keypoints is None else torch.from_numpy(np.ascontiguousarray(keypoints)).float()
    return torch.from_numpy(np.ascontiguousarray(poses)).float(), found


def _unit(file: PoseFile, unit: str | None) -> str | None:
    if unit not in (None, "m", "mm"):
        raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
    if unit is not None and file.unit not in (None, unit):
        raise ValueError(f"Expected no other `unit` than the {file.unit!r} of the file, but got {unit!r}.")
    return unit or file.unit


def _judged(
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


def _clip(
    poses: Tensor, frames: Sequence[str], percentile: Tensor, error: Tensor | None, skeleton: Skeleton
) -> dict[str, Any]:
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


def _mean(clips: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over the clips, weighted by their frames."""
    result: dict[str, Any] = {"frames": sum(clip["frames"] for clip in clips.values())}
    for name in _COLUMNS:
        if name != "frames":
            known = [(clip[name], clip["frames"]) for clip in clips.values() if not math.isnan(clip[name])]
            total = sum(frames for _, frames in known)
            result[name] = sum(value * frames for value, frames in known) / total if total else math.nan
    return result


def _looks_mirrored(file: PoseFile, poses: Tensor, energy: MotionEnergy) -> bool:
    """Whether the mirror images, with left and right joints as they are, are far more usual than the poses."""
    known = poses.isfinite().all(dim=-1).all(dim=-1)
    some = poses[known][:: max(1, int(known.sum()) // 500)]
    flipped = some * torch.tensor([-1.0, 1.0, 1.0])
    own, other = (energy.percentile(energy.energy(part)).median() for part in (some, flipped))
    return bool(own > 99.0) and bool(other < 90.0)


def _per_frame(unit: str | None) -> str:
    return "mm/frame²" if unit else "unit of the file/frame²"


def _table(clips: dict[str, dict[str, Any]], unit: str | None) -> str:
    shown = {
        name: column for name, column in _COLUMNS.items() if not all(math.isnan(clip[name]) for clip in clips.values())
    }
    per = f"acceleration, {_per_frame(unit)}"
    titles = ["clip", *(per if name == "acceleration" else title for name, (title, _) in shown.items())]
    rows = [titles]
    for name, clip in clips.items():
        cells = ["-" if math.isnan(clip[key]) else f"{clip[key]:.{digits}f}" for key, (_, digits) in shown.items()]
        rows.append([name, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(titles))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
