"""What loading costs: the data module's loader against one that makes a sample at a time.

    python -m benchmarks.data_loading --data-dir DIR

Both read the same motion, cut the same windows, place cameras by the same law and disturb keypoints by the same law.
Ours makes a batch at once; the others are a `Dataset` in NumPy under the default collate: *by sample* looks at all
frames of a window together, *by frame* at one after another. Prints a table and writes JSON: microseconds of processor
time a sample, interleaved in one process on one core, and the ratio of the medians.

With `--frames-on-disk N` it first writes N frames to a temporary file, and reads batches from all over it in a process
that may have no more than `--megabytes` of memory beyond what its libraries took (Linux alone).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.measure import WARM_UP, versions
from seal_lightning.data import CameraRig, DetectorNoise, MocapDataModule, SyntheticMocap
from seal_lightning.skeleton import get_skeleton

__all__ = ["NaiveDataset", "main"]

FILES = ("uiprmd_h36m17.npz", "cmu_h36m17.npz")
Floats = npt.NDArray[np.float32]


class NaiveDataset(Dataset[dict[str, Tensor]]):
    """The usual way: a sample is cut, seen by a random camera, disturbed and made a tensor, one after another.

    Args:
        data: The data module whose training samples to make.
        by_frame: Whether the frames of a window are seen one after another.
    """

    def __init__(self, data: MocapDataModule, by_frame: bool = False) -> None:
        self.by_frame = by_frame
        clips = data.dataset("train").clips
        ends = (clips.start + clips.length).tolist()
        self.clips = [
            np.array(clips.sources[source][start:end])
            for source, start, end in zip(clips.source.tolist(), clips.start.tolist(), ends, strict=True)
        ]
        self.centre, self.radius, self.group = clips.centre.numpy(), clips.radius.numpy(), clips.group.tolist()
        self.frames, self.noise, self.scale = data.frames, data.noise, data.dataset("train").scale
        self.windows = [
            (clip, start)
            for clip, positions in enumerate(self.clips)
            for start in range(max(1, len(positions) - self.frames + 1))
        ]
        endings = {} if self.noise is None else self.noise.joint_scales
        names = [name.lower() for name in get_skeleton(data.skeleton).names]
        factors = [next((f for end, f in endings.items() if name.endswith(end)), 1.0) for name in names]
        self.factors = np.array(factors, dtype=np.float32)
        self.random = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Make one sample."""
        clip, start = self.windows[index]
        world = self.clips[clip][start : start + self.frames]
        if len(world) < self.frames:
            before = (self.frames - len(world)) // 2
            world = np.pad(world, ((before, self.frames - len(world) - before), (0, 0), (0, 0)), mode="edge")
        rotation, position, focal = self._camera(clip)
        parts = list(world[:, None]) if self.by_frame else [world]
        views = [self._view(part, rotation, position, focal) for part in parts]
        keypoints, target = (np.concatenate(arrays) for arrays in zip(*views, strict=True))
        if self.noise is not None:
            keypoints = self._disturb(keypoints)
        else:
            keypoints = np.concatenate((keypoints, np.ones_like(keypoints[..., :1])), axis=-1)
        if self.frames == 1:
            keypoints, target = keypoints[0], target[0]
        sample = {"keypoints_2d": keypoints.astype(np.float32), "target": target.astype(np.float32)}
        return {name: torch.from_numpy(array) for name, array in sample.items()} | {"group": self.group[clip]}

    def _view(self, world: Floats, rotation: Floats, position: Floats, focal: float) -> tuple[Floats, Floats]:
        seen = (world - position) @ rotation.T
        return focal * seen[..., :2] / seen[..., 2:] / 500.0, (world - world[:, :1]) @ rotation.T * self.scale

    def _camera(self, clip: int) -> tuple[Floats, Floats, float]:
        rig, uniform = CameraRig(), self.random.uniform
        angle, focal, radius = uniform(0.0, 2.0 * math.pi), uniform(*rig.focal), float(self.radius[clip])
        away = max(radius + 1000.0 * uniform(*rig.distance), (radius + 1000.0) * 2.0 * focal / rig.width)
        centre = self.centre[clip]
        x, y = centre[0] + away * math.cos(angle), centre[1] + away * math.sin(angle)
        position = np.array([x, y, 1000.0 * uniform(*rig.elevation)], dtype=np.float32)
        forward = centre + 1000.0 * rig.aim * uniform(-1.0, 1.0, 3).astype(np.float32) - position
        forward = forward / np.linalg.norm(forward)
        right = np.array([forward[1], -forward[0], 0.0], dtype=np.float32)
        right = right / np.linalg.norm(right)
        return np.stack((right, np.cross(forward, right), forward)), position, focal

    def _disturb(self, keypoints: Floats) -> Floats:
        noise = self.noise
        if noise is None:
            return keypoints
        frames, joints = keypoints.shape[:2]
        latent = self.random.standard_normal((frames, joints, 4), dtype=np.float32)
        for frame in range(1, frames):
            latent[frame] *= math.sqrt(1.0 - noise.correlation**2)
            latent[frame] += noise.correlation * latent[frame - 1]
        size = np.ptp(keypoints, axis=1).max(axis=-1)[:, None]
        length = np.linalg.norm(latent[..., :2], axis=-1)
        heavy = np.sqrt(noise.tail * np.expm1(np.minimum(length**2 / noise.tail, 80.0)))
        error = np.minimum(noise.scale * self.factors * size * heavy, size)
        moved = keypoints + latent[..., :2] / length[..., None] * error[..., None]
        dropped = latent[..., 3] < float(torch.special.ndtri(torch.tensor(noise.dropout)))
        other = (np.arange(joints) + self.random.integers(1, joints, joints)) % joints
        seen = np.where(dropped[..., None], moved[:, other], moved)
        distance = np.linalg.norm(seen - keypoints, axis=-1) / size
        distance = np.where(dropped, np.maximum(distance, 0.2), distance)
        confidence = 1.0 / (1.0 + distance / 0.05 * np.exp(0.5 * latent[..., 2]))
        return np.concatenate((seen, confidence[..., None]), axis=-1)


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Batch after batch, epoch after epoch."""
    while True:
        yield from loader


def measure(source: dict[str, Any], frames: int, noise: bool, batch: int, rounds: int) -> dict[str, Any]:
    """Seconds of every loader in every round, with their medians a sample and ratios."""
    options: dict[str, Any] = {"frames": frames, "noise": DetectorNoise() if noise else None, "confidence": True}
    data = MocapDataModule(**source, **options, batch_size=batch)
    loaders = {
        "ours": data.train_dataloader(),
        "by sample": DataLoader(NaiveDataset(data), batch_size=batch, shuffle=True),
        "by frame": DataLoader(NaiveDataset(data, by_frame=True), batch_size=batch, shuffle=True),
    }
    iterators = {name: endless(loader) for name, loader in loaders.items() if frames > 1 or name != "by frame"}
    seconds: dict[str, list[float]] = {name: [] for name in iterators}
    for turn in range(WARM_UP + rounds):
        for name, iterator in iterators.items():
            start = time.process_time()
            next(iterator)
            if turn >= WARM_UP:
                seconds[name].append(time.process_time() - start)
    medians = {name: median(values) for name, values in seconds.items()}
    row: dict[str, Any] = {"frames": frames, "noise": noise, "batch": batch}
    row["microseconds"] = {name: 1e6 * value / batch for name, value in medians.items()}
    row["ratio"] = {name: value / medians["ours"] for name, value in medians.items() if name != "ours"}
    return row | {"seconds": seconds}


def write_large(path: Path, frames: int) -> float:
    """Write so many frames of motion, one clip a thousand of them, and return their megabytes."""
    clip = SyntheticMocap(subjects=3, clips_per_subject=1, frames=1000).generate()
    clips = max(3, frames // 1000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        header = {"descr": "<f4", "fortran_order": False, "shape": (1000 * clips, 17, 3)}
        with archive.open("positions.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array_header_2_0(file, header)
            for number in range(clips):
                file.write(clip.clip(number % 3).tobytes())
        rest = {
            "clip_start": np.arange(clips) * 1000,
            "clip_length": np.full(clips, 1000),
            "skeleton_id": clip.skeleton_id[np.arange(clips) % 3],
            "fps": np.array(25.0),
        }
        for name, array in rest.items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)
    return clips * 1000 * 17 * 3 * 4 / 1e6


def private_memory() -> int:
    """Bytes of memory that this process alone has, mapped files not counted."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData")) * 1024


def read_large(path: str, frames: int, megabytes: float) -> None:
    """Take 200 batches from all over a file under a limit, and see that loading it would break the limit."""
    split = {"train": ["y01", "y02", "y03"]}
    small = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=3, frames=300), split=split)
    next(iter(small.train_dataloader()))
    before = private_memory()
    resource.setrlimit(resource.RLIMIT_DATA, (before + int(1e6 * megabytes),) * 2)
    data = MocapDataModule([path], split=split, frames=frames, batch_size=64, seed=1)
    loader = data.train_dataloader()
    for _, batch in zip(range(200), loader, strict=False):
        torch.isfinite(batch["target"]).all()
    found = {"samples": len(data.dataset("train")), "megabytes": (private_memory() - before) / 1e6}
    try:
        np.load(path)["positions"].sum()
        found["loads"] = True
    except MemoryError:
        found["loads"] = False
    print(json.dumps(found))


def prove(frames: int, megabytes: float) -> dict[str, Any]:
    """Run `read_large` in a process of its own on a new file of so many frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large_1.npz")
        size = write_large(path, frames)
        command = [sys.executable, "-m", "benchmarks.data_loading", "--read", str(path), "--megabytes", str(megabytes)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            raise RuntimeError(f"Expected {size:.0f} MB to be read with {megabytes} MB, but got:\n{done.stderr}")
    return {"frames": frames, "file_megabytes": size, "allowed_megabytes": megabytes} | json.loads(done.stdout)


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and return what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, help="folder of the motion-capture files; synthetic motion without")
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 27, 243], help="frames of a window")
    parser.add_argument("--batch", type=int, default=256, help="samples of a batch")
    parser.add_argument("--rounds", type=int, default=15, help="measured batches of every loader")
    parser.add_argument("--frames-on-disk", type=int, default=0, help="frames of a file to read with little memory")
    parser.add_argument("--megabytes", type=float, default=40.0, help="memory that reading it may take")
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("runs/data_loading.json"), help="JSON file to write")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.read is not None:
        read_large(options.read, 1, options.megabytes)
        return {}

    source: dict[str, Any] = {"synthetic": SyntheticMocap(frames=300)}
    if options.data_dir is not None:
        source = {"paths": [str(options.data_dir / name) for name in FILES]}
    rows = [
        measure(source, frames, noise, options.batch, options.rounds)
        for noise in (False, True)
        for frames in options.frames
    ]
    print("| frames | noise | ours, us a sample | by sample | by frame |\n|---:|---|---:|---:|---:|")
    for row in rows:
        rivals = [
            f"{row['microseconds'][name]:.0f} ({row['ratio'][name]:.1f}x)" if name in row["ratio"] else "-"
            for name in ("by sample", "by frame")
        ]
        noise = "detector" if row["noise"] else "none"
        print(f"| {row['frames']} | {noise} | {row['microseconds']['ours']:.1f} | {' | '.join(rivals)} |")
    result: dict[str, Any] = {"rows": rows, "versions": versions()}
    if options.frames_on_disk:
        result["memory"] = memory = prove(options.frames_on_disk, options.megabytes)
        print(
            f"\n{memory['samples']} frames of a file of {memory['file_megabytes']:.0f} MB read with "
            f"{memory['megabytes']:.0f} MB of memory of its own, {memory['allowed_megabytes']:.0f} MB allowed; "
            f"the file {'loads' if memory['loads'] else 'does not load'} with that."
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
