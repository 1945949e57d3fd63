"""Reads motion capture files of all kinds into clips of the wanted joints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from seal_lightning.data.formats.asf_amc import read_amc
from seal_lightning.data.formats.bvh import read_bvh
from seal_lightning.data.formats.checks import located, other_format
from seal_lightning.data.formats.clips_npz import Clip, read_npz_clips
from seal_lightning.data.formats.mocap_joints import MOCAP_JOINTS, Table
from seal_lightning.data.formats.motion import Motion, Unit, UpAxis
from seal_lightning.data.windows import resample
from seal_lightning.skeleton import get_skeleton
from seal_lightning.skeleton.mapping import BUILT_IN, KeypointMapping
from seal_lightning.skeleton.text import regular_file

__all__ = ["Reader", "find_files", "map_joints"]

_TABLES: dict[str, Table] = {
    "h36m17": {name: name for name in get_skeleton("h36m17").names},
    **MOCAP_JOINTS,
    **{name: table for name, table in BUILT_IN.items() if name.endswith("_to_h36m17")},
}


def find_files(inputs: Sequence[str]) -> dict[Path, Path]:
    """Named files, and the BVH and AMC files in folders at any depth; each with the folder that it was found in.

    Raises:
        FileNotFoundError: If a file or folder does not exist.
        ValueError: If a file is of another kind, or a folder holds no such file.
    """
    found: dict[Path, Path] = {}
    for given in map(Path, inputs):
        if given.is_dir():
            inside = sorted(path for path in given.rglob("*") if path.suffix.lower() in (".bvh", ".amc"))
            if not inside:
                raise ValueError(f"Expected BVH or AMC files in {str(given)!r}, but there are none.")
            found = dict.fromkeys(inside, given) | found
        elif regular_file(given).suffix.lower() not in (".bvh", ".amc", ".npz"):
            raise ValueError(f"Expected BVH, AMC or npz files, but got {str(given)!r}.{other_format(given)}")
        else:
            found.setdefault(given, given.parent)
    return found


def map_joints(motion: Motion, mapping: Table | None) -> Motion:
    """Bring a motion to the 17 joints of Human3.6M.

    Args:
        motion: The motion.
        mapping: What each joint is made of; None for the built-in table whose joints the motion has.

    Raises:
        ValueError: If the motion lacks a joint, or not all 17 are made.
    """
    target = get_skeleton("h36m17")
    if mapping is None:
        mapping = next((table for table in _TABLES.values() if _sources(table) <= {*motion.skeleton.names}), None)
    if mapping is None:
        raise ValueError(
            f"Expected the joints of a built-in mapping, {sorted(_TABLES)}, or a `mapping` of your own, but got the "
            f"joints {list(motion.skeleton.names)}."
        )
    making = KeypointMapping(motion.skeleton, target, dict(mapping))
    if making.missing:
        raise ValueError(f"Expected `mapping` to make every joint of Human3.6M, but it lacks {list(making.missing)}.")
    return replace(motion, positions=making(motion.positions), skeleton=target)


@dataclass(frozen=True)
class Reader:
    """Reads files of all kinds; `seal_lightning.cli.convert.convert` describes the fields."""

    unit: Unit | float
    up: UpAxis
    fps: float | None = None
    rate: float | None = None
    skeleton: Literal["h36m17", "own"] = "h36m17"
    mapping: Table | None = None
    subject: Literal["prefix", "folder"] = "prefix"
    npz_skeleton: str = "h36m17"
    position_channels: Literal["replace", "add"] | None = None

    def read(self, path: Path, folder: Path) -> list[Clip]:
        """Read the clips of a file; their descriptions begin below the folder.

        Raises:
            OSError: If the file, or the ASF file beside it, cannot be opened.
            ValueError: If it cannot be read, or lacks joints; the message names the file.
        """
        if path.suffix.lower() == ".npz":
            clips = read_npz_clips(path, unit=self.unit, up=self.up, fps=self.fps, skeleton=self.npz_skeleton)
        else:
            motion, name = self._motion(path), path.relative_to(folder).with_suffix("").as_posix()
            subject = path.stem.split("_")[0] if self.subject == "prefix" else path.absolute().parent.name
            if self.skeleton == "own" and motion.carrier is not None:
                names = motion.skeleton.names
                raise ValueError(
                    f"{path}: Expected a root that moves with the body to go with `skeleton` 'own', but "
                    f"{names[motion.carrier]!r} carries the motion below {names[motion.skeleton.tree_root]!r}, and "
                    "poses would be relative to the world. Give a `mapping`, or take that root out of the files."
                )
            clips = [Clip(motion, subject, name, bones=_bone_lengths(motion))]
        with located(path):
            return [replace(clip, motion=self._wanted(clip.motion)) for clip in clips]

    def _motion(self, path: Path) -> Motion:
        if path.suffix.lower() == ".bvh":
            return read_bvh(path, unit=self.unit, up=self.up, position_channels=self.position_channels)
        if self.fps is None:
            raise ValueError(f"{path}: Expected `fps`, since an AMC file does not say it, but got None.")
        return read_amc(path, unit=self.unit, up=self.up, fps=self.fps)

    def _wanted(self, motion: Motion) -> Motion:
        motion = motion if self.skeleton == "own" else map_joints(motion, self.mapping)
        missing = ~np.isfinite(motion.positions).all(axis=-1)
        if missing.any():
            frame, joint = np.argwhere(missing)[0]
            raise ValueError(
                f"Expected every joint in every frame, but {motion.skeleton.names[joint]!r} is NaN or invisible in "
                f"frame {frame}, and {int(missing.sum())} times in all."
            )
        if self.rate is None:
            return motion
        return replace(motion, positions=resample(motion.positions, motion.fps, self.rate), fps=self.rate)


def _sources(table: Table) -> set[str]:
    return {name for of in table.values() for name in ([of] if isinstance(of, str) else of)}


def _bone_lengths(motion: Motion) -> dict[tuple[str, str], float]:
    """Median length of every bone of the body over the frames, in millimetres, by the names of its ends."""
    joints = motion.skeleton
    body = set(joints.order if motion.carrier is None else [motion.carrier])
    for joint in joints.order:  # parents come first
        if joints.parents[joint] in body:
            body.add(joint)
    lengths = {}
    for child, parent in joints.bones:
        if parent in body:
            bone = (motion.positions[:, child] - motion.positions[:, parent]).astype(np.float64)
            lengths[joints.names[parent], joints.names[child]] = float(np.median(np.linalg.norm(bone, axis=-1)))
    return lengths
