"""``seal-lightning score``: how plausible finished poses are, of any lifter, without a training or a host."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from seal_lightning.cli._pose_scores import clip_scores, judged, looks_mirrored, mean_scores, on_joints_of
from seal_lightning.data.formats.pose_file import PoseFile, read_poses
from seal_lightning.evaluation.plausibility import shipped_card, shipped_energy
from seal_lightning.plotting.scores import plot_scores

__all__ = ["main", "score"]

_DESCRIPTION = """Score the poses of a file: limb symmetry, bone lengths, acceleration, how unusual they are beside real
motion, and, where the file has keypoints, how far off they are estimated to be. Two small networks come with the
package, trained on the motion capture of UI-PRMD (public domain); `--card` prints what they know and cannot know."""
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
    poses, keypoints = on_joints_of(file, skeleton, mapping)
    unit = _unit(file, unit)
    percentile, error, reason = judged(file, poses, keypoints, energy, unit, image_size)
    clips = {}
    for name, start, length in file.clips:
        part = slice(start, start + length)
        clips[name] = clip_scores(
            (1000.0 if unit == "m" else 1.0) * poses[part],
            file.frames[part],
            percentile[part],
            None if error is None else error[part],
            skeleton,
        )
    mirrored = looks_mirrored(file, poses, energy)
    result: dict[str, Any] = {
        "file": Path(path).name,
        "unit": unit,
        "fps": file.fps,
        "acceleration_in": _per_frame(unit),
        "clips": clips,
        "all": mean_scores(clips),
        "error_by": None if reason else "package" if file.error_mm is None else "file",
        "looks_mirrored": mirrored,
        "card": shipped_card(),
    }
    target = Path(output) if output is not None else Path(path).with_name(f"{Path(path).stem}-scores.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(_finite(result), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    everything: dict[str, dict[str, Any]] = {"all": result["all"]} if len(clips) > 1 else {}
    print(_table(clips | everything, unit))
    print(f"\nErrors are not estimated: {reason}." if reason else "")
    if mirrored:
        print("The mirror images of these poses are far more plausible: do the file's axes swap left and right?")
    written = str(target)
    if picture:
        figure = plot_scores(poses, percentile, error, skeleton, file.frames, file.clips)
        figure.savefig(target.with_suffix(".png"), dpi=120)
        written = f"{target} and {target.with_suffix('.png').name}"
    print(f"Written to {written}")
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


def _unit(file: PoseFile, unit: str | None) -> str | None:
    if unit not in (None, "m", "mm"):
        raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
    if unit is not None and file.unit not in (None, unit):
        raise ValueError(f"Expected no other `unit` than the {file.unit!r} of the file, but got {unit!r}.")
    return unit or file.unit


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
