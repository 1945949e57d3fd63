"""``seal-lightning convert``: makes one training file from recordings of any format."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentParser
from tqdm import tqdm  # type: ignore[import-untyped]

from seal_lightning.data.formats.any_mocap import Reader, find_files
from seal_lightning.data.formats.checks import frame_rate, located
from seal_lightning.data.formats.clips_npz import Clip
from seal_lightning.data.formats.mocap_joints import Table
from seal_lightning.data.formats.mocap_npz import Mocap
from seal_lightning.data.formats.motion import Motion, Unit, UpAxis, to_world
from seal_lightning.data.formats.stature import check_stature, check_upright, head_over_ankles, stature
from seal_lightning.skeleton import get_skeleton
from seal_lightning.skeleton.text import regular_file

__all__ = ["convert", "main"]

_DESCRIPTION = """Convert motion capture (BVH, ASF/AMC, npz) to a file that MocapDataModule and read_mocap read.

Positions are kept in millimetres with z up, on the 17 joints of Human3.6M. The file appears when it is complete."""
_INPUTS = "BVH, AMC and npz files, and folders that are searched for BVH and AMC files at any depth."
_MAPPING = """YAML or JSON file that says what each joint of Human3.6M is made of: the name of a joint, a list of names
for their mean, or weights by name that sum to 1. Not needed for the CMU database and for joints of built-in
skeletons."""


def convert(
    inputs: Sequence[str],
    output: str,
    *,
    unit: Unit | float,
    up: UpAxis,
    fps: float | None = None,
    rate: float | None = None,
    skeleton: Literal["h36m17", "own"] = "h36m17",
    mapping: Mapping[str, str | list[str] | dict[str, float]] | None = None,
    subject: Literal["prefix", "folder"] = "prefix",
    npz_skeleton: str = "h36m17",
    position_channels: Literal["replace", "add"] | None = None,
    skip_bad: bool = False,
) -> Path:
    """Convert recordings to one uncompressed mocap npz, and print what is in it.

    Clips whose bones have the same lengths get one ``skeleton_id``, so that no split by skeleton has a body on two
    sides; it is the first subject's name. Recordings in npz files keep the ids that they have.

    Args:
        inputs: BVH, AMC and npz files, and folders that are searched for BVH and AMC files at any depth. The ASF file
            of an AMC file lies beside it.
        output: The npz file to write; an older one is replaced. Up to its first underscore it names the dataset.
        unit: Unit of the files: mm, cm, m, inch, cmu (25.4 / 0.45 mm, the CMU database), or how many millimetres it is.
        up: Axis of the files that points up; -y where y points down, as in the frame of a camera.
        fps: Frames per second of files that do not say it: AMC, and npz without ``fps``.
        rate: Frames per second wanted, by linear interpolation; needed where those of the files differ.
        skeleton: The 17 joints of Human3.6M, or the files' own joints, which all files have to share.
        mapping: Per joint of Human3.6M the joint, joints or weighted joints that it is made of. Not needed for the CMU
            database and for joints of built-in skeletons.
        subject: Whether the person is named by the file name up to the first underscore, or by the folder.
        npz_skeleton: The built-in skeleton whose joints npz files have that do not name them.
        position_channels: Whether position channels of BVH files replace a joint's OFFSET or add to it. None finds out
            from the file, which is an error where it does not tell; see `read_bvh`.
        skip_bad: Leave out files that cannot be read, and list them, rather than stop.

    Returns:
        The path of the file.

    Raises:
        OSError: If a file is missing or cannot be written.
        ValueError: If a file is malformed, or nobody has the stature that it gives in the unit; the message names the
            file. If heads are on average not above ankles.
    """
    path = Path(output)
    if path.suffix != ".npz":
        raise ValueError(f"Expected `output` to end in .npz, but got {output!r}.")
    for name, number in (("fps", fps), ("rate", rate)):
        if number is not None:
            frame_rate(number, f"`{name}`")
    to_world(np.zeros(3), unit, up)  # a wrong unit is not the fault of a file
    get_skeleton(npz_skeleton)
    if skeleton == "own" and mapping is not None:
        raise ValueError("Expected no `mapping` to go with `skeleton` 'own', but got one.")
    files = find_files(inputs)
    if skeleton == "own" and (npz := [str(file) for file in files if file.suffix.lower() == ".npz"]):
        raise ValueError(f"Expected BVH and AMC files to go with `skeleton` 'own', but got {npz[0]!r}.")
    joints = None if mapping is None else _table(mapping)
    reader = Reader(unit, up, fps, rate, skeleton, joints, subject, npz_skeleton, position_channels)
    clips, bad = _read(reader, files, skip_bad)
    with located(inputs[0] if len(inputs) == 1 else f"{inputs[0]} and {len(inputs) - 1} more"):
        check_upright([clip.motion for clip in clips])
    skeleton_ids, shared = _skeleton_ids(clips)
    mocap = _assemble(path.stem, clips, skeleton_ids)
    _write(path, mocap)
    print(
        f"{len(clips)} clips, {len(mocap.positions)} frames at {mocap.fps:g} fps, skeletons "
        f"{', '.join(sorted(set(skeleton_ids)))}: {path}"
    )
    print(_bodies([clip.motion for clip in clips]))
    for name, other in shared.items():
        print(f"Clips of {name} have the bone lengths of {other}, and its skeleton_id.")
    if bad:
        print("\n".join([f"Left out {len(bad)} of {len(files)} files:", *bad]))
    return path


def main(args: Sequence[str]) -> None:
    """Run ``seal-lightning convert``.

    Args:
        args: Command line arguments after ``convert``.
    """
    parser = ArgumentParser(prog="seal-lightning convert", description=_DESCRIPTION)
    parser.add_argument("inputs", nargs="+", help=_INPUTS)
    parser.add_function_arguments(convert, skip={"inputs", "mapping"}, as_group=False)
    parser.add_argument("--mapping", type=dict, enable_path=True, help=_MAPPING)
    args = list(args)
    if "--up" in args and args[args.index("--up") + 1 :][:1] == ["-y"]:
        # Standing alone, -y would be taken for an option.
        place = args.index("--up")
        args[place : place + 2] = ["--up=-y"]
    try:
        words = [part for word in args for part in (word.split("=", 1) if word.startswith("--mapping=") else [word])]
        for option, value in pairwise(words):
            if option == "--mapping" and os.path.exists(value):
                _check_mapping_file(value)
        convert(**vars(parser.parse_args(args, with_meta=False)))
    except (ValueError, OSError) as error:
        raise SystemExit(f"seal-lightning convert: {error}") from error


def _check_mapping_file(path: str) -> None:
    """Raise where reading a mapping would not come to an end, or end the process: YAML's reader recurses in C."""
    content = regular_file(path).read_bytes()
    if content.count(b"[") + content.count(b"{") > 1000:
        raise ValueError(
            f"{path}: Expected names of joints, lists of them or weights, but got more than 1,000 brackets."
        )
    # A few aliases of aliases are a billion entries, which a reader makes one by one.
    with suppress(yaml.YAMLError, UnicodeDecodeError):  # of which the reader itself tells
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(content.decode(), Loader=yaml.SafeLoader)):
            raise ValueError(f"{path}: Expected a mapping that is written out, but got one with aliases (`*name`).")


def _table(mapping: Mapping[str, str | list[str] | dict[str, float]]) -> Table:
    for joint, of in mapping.items():
        weights = isinstance(of, dict) and all(isinstance(weight, int | float) for weight in of.values())
        names = [of] if isinstance(of, str) else of
        if not (weights or isinstance(names, list)) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"Expected `mapping` to make {joint!r} of a name, a list or weights, but got {of!r}.")
    return dict(mapping)


def _read(reader: Reader, files: Mapping[Path, Path], skip_bad: bool) -> tuple[list[Clip], list[str]]:
    clips: list[Clip] = []
    bad: list[str] = []
    rates: dict[float, Path] = {}
    for file, folder in tqdm(files.items(), desc="seal-lightning convert", unit="file", disable=None):
        try:
            found = reader.read(file, folder)
            _check(file, clips, found)
        except (ValueError, OSError) as error:
            if not skip_bad:
                raise
            bad.append(str(error))
            continue
        clips += found
        rates.setdefault(found[0].motion.fps, file)
    if not clips:
        raise ValueError("\n".join([f"Expected at least one file to be readable, but none of {len(files)} is:", *bad]))
    if len(rates) > 1:
        examples = ", ".join(f"{fps:g} ({file})" for fps, file in sorted(rates.items()))
        raise ValueError(f"Expected `rate` for files of different frames per second, {examples}, but got None.")
    return clips, bad


def _check(file: Path, before: Sequence[Clip], found: Sequence[Clip]) -> None:
    """Raise where the clips of a file do not go with those of the files before it, or are of nobody's size."""
    joints = [(clip.motion.skeleton.names, clip.motion.skeleton.parents) for clip in (*before[:1], found[0])]
    if joints[0] != joints[-1]:
        raise ValueError(
            f"{file}: Expected the joints and tree of the files before it, {joints[0][0]}, but got {joints[-1][0]}."
        )
    with located(file):
        for clip in found:
            check_stature(clip.motion)
        _assemble(file.stem, found, [""] * len(found))


def _skeleton_ids(clips: Sequence[Clip]) -> tuple[list[str], dict[str, str]]:
    """An id per clip, and which subjects have the id of which other one."""
    ids: list[str] = []
    shared: dict[str, str] = {}
    known: list[tuple[str, Clip]] = []
    for clip in clips:
        skeleton_id = clip.skeleton_id or next((name for name, other in known if _same_bones(clip, other)), None)
        if skeleton_id is None:
            skeleton_id = clip.subject
            known.append((skeleton_id, clip))
        elif clip.skeleton_id is None and skeleton_id != clip.subject:
            shared[clip.subject] = skeleton_id
        ids.append(skeleton_id)
    return ids, shared


def _same_bones(clip: Clip, other: Clip) -> bool:
    """Whether the bones that both files have, most of either, are equally long: rigs may differ in fingers and ends."""
    shared = clip.bones.keys() & other.bones.keys()
    alike = 2 * len(shared) > max(len(clip.bones), len(other.bones))
    return alike and all(
        math.isclose(clip.bones[bone], other.bones[bone], rel_tol=1e-3, abs_tol=0.1) for bone in shared
    )


def _bodies(motions: Sequence[Motion]) -> str:
    """What a wrong unit or axis would show itself by, in a sentence."""
    statures = [tall / 1000 for motion in motions if (tall := stature(motion)) is not None]
    vector = head_over_ankles(motions)
    if not statures or vector is None:
        return (
            "No joints are called head, and ankle or foot, so that unit and axis could not be checked: plot some poses."
        )
    return (
        f"People of {min(statures):.2f} to {max(statures):.2f} m from ankle to head along the bones; heads are "
        f"{vector[2] / 1000:.2f} m above the ankles on average."
    )


def _assemble(name: str, clips: Sequence[Clip], skeleton_ids: Sequence[str]) -> Mocap:
    lengths = np.array([len(clip.motion.positions) for clip in clips])
    return Mocap(
        name,
        np.concatenate([clip.motion.positions for clip in clips]),
        np.cumsum(lengths) - lengths,
        lengths,
        np.array(skeleton_ids),
        clips[0].motion.fps,
        np.array([clip.subject for clip in clips]),
        np.array([clip.description for clip in clips]),
        clips[0].motion.skeleton,
    )


def _write(path: Path, mocap: Mocap) -> None:
    """Write all or nothing: the file gets its name when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    names = ("positions", "clip_start", "clip_length", "skeleton_id", "subject", "description", "fps")
    joints = get_skeleton(mocap.skeleton)
    try:
        with part.open("xb") as file:
            np.savez(
                file,
                **{name: getattr(mocap, name) for name in names},
                joint_names=np.array(joints.names),
                parents=np.array(joints.parents),
            )
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
