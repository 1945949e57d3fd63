"""Poses seen by cameras: a map-style dataset that builds whole batches at once, and its sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from seal_lightning.data.formats.mocap_npz import Mocap
from seal_lightning.data.views.augmentation import BoneAugmentation
from seal_lightning.data.views.cameras import CameraRig
from seal_lightning.data.views.draws import Draws, seeded_generator, stable_id
from seal_lightning.data.views.noise import DetectorNoise
from seal_lightning.data.views.robustness import KeypointCorruption
from seal_lightning.data.windows import resample, window_grid
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["Clips", "DrawSampler", "PoseDataset"]


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of one side of a split, where they lie: in arrays in memory, or mapped from a file.

    Args:
        sources: Arrays of joint positions in millimetres in the world frame, each of shape (N, J, 3).
        source: Index of every clip's array into ``sources``, shape (C,).
        start: First frame of every clip in its array, shape (C,).
        length: Number of frames of every clip, shape (C,).
        group: Index of every clip's skeleton into the group names, shape (C,).
        key: Dataset and clip number, which are the same whichever other files are loaded, shape (C, 2).
        centre: Middle of the disc that the root joint stays in, at its mean height, shape (C, 3).
        radius: Radius of that disc, shape (C,).
    """

    sources: tuple[npt.NDArray[np.float32], ...]
    source: Tensor
    start: Tensor
    length: Tensor
    group: Tensor
    key: Tensor
    centre: Tensor
    radius: Tensor

    @classmethod
    def collect(
        cls, mocaps: Sequence[Mocap], groups: Sequence[str], group_index: Mapping[str, int], rate: float | None
    ) -> Clips:
        """Collect all clips of these groups, resampled to ``rate`` unless that is None; only those are copied."""
        sources: list[npt.NDArray[np.float32]] = []
        rows: list[tuple[int, ...]] = []
        discs: list[tuple[npt.NDArray[np.float32], np.float32]] = []
        for mocap in mocaps:
            names = [f"{mocap.name}/{skeleton_id}" for skeleton_id in mocap.skeleton_id]
            numbers = [number for number, name in enumerate(names) if name in groups]
            if not numbers:
                continue
            positions, start = mocap.positions, mocap.clip_start[numbers]
            clips = [np.asarray(mocap.clip(number)) for number in numbers]
            if rate is not None and mocap.fps != rate:
                clips = [resample(clip, mocap.fps, rate) for clip in clips]
                positions, start = np.concatenate(clips), np.cumsum([0, *(len(clip) for clip in clips[:-1])])
            root = list(get_skeleton(mocap.skeleton).root_joints)
            discs += [_disc(clip[:, root].mean(axis=1)) for clip in clips]
            rows += [
                (len(sources), first, len(clip), group_index[names[number]], stable_id(mocap.name), number)
                for number, first, clip in zip(numbers, start.tolist(), clips, strict=True)
            ]
            sources.append(positions)
        source, first, length, group, dataset_id, number = torch.tensor(rows, dtype=torch.long).unbind(1)
        centre, radius = (torch.from_numpy(np.stack(values)) for values in zip(*discs, strict=True))
        key = torch.stack((dataset_id, number), dim=1)
        return cls(tuple(sources), source, first, length, group, key, centre, radius)

    @property
    def positions(self) -> Tensor:
        """Joint positions of all clips, one after another, shape (N, J, 3), in memory."""
        clips = zip(self.source.tolist(), self.start.tolist(), self.length.tolist(), strict=True)
        return torch.from_numpy(np.concatenate([self.sources[source][i : i + n] for source, i, n in clips]))

    def frames(self, clip: Tensor, frame: Tensor) -> Tensor:
        """Joint positions of frames (B, T) of clips (B,), shape (B, T, J, 3).

        Frames outside a clip stand for its first or last frame.
        """
        row = frame.clamp_min(0).minimum(self.length[clip, None] - 1) + self.start[clip, None]
        source = self.source[clip]
        if len(self.sources) == 1:
            return _take(self.sources[0], row)
        world = torch.empty(*row.shape, *self.sources[0].shape[1:])
        for index, positions in enumerate(self.sources):
            members = source == index
            world[members] = _take(positions, row[members])
        return world


def _disc(walk: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], np.float32]:
    """Centre at mean height, and radius, of the disc around a walk (T, 3)."""
    centre = (walk.min(axis=0) + walk.max(axis=0)) / 2.0
    centre[2] = walk[:, 2].mean()
    return centre, np.linalg.norm((walk - centre)[:, :2], axis=-1).max()


def _take(positions: npt.NDArray[np.float32], row: Tensor) -> Tensor:
    """Copy frames, shape (B, T), out of positions (N, J, 3)."""
    # As bytes: mapped numbers may lie at odd places, and NumPy would first copy all of them to even ones.
    content = np.asarray(positions).view(np.uint8).reshape(len(positions), -1)
    taken = content.take(row.numpy(), axis=0).view(np.float32)
    return torch.from_numpy(taken.reshape(*row.shape, *positions.shape[1:]))


class PoseDataset(Dataset[dict[str, Tensor]]):
    """Windows of clips, each seen by a camera: 2D keypoints, root-relative target, group.

    A list of indices gives a whole batch. The index ``k * len(dataset) + i`` asks for *draw* k of sample i. Cameras and
    noise depend on the seed, the sample and the draw alone: an index below ``len(dataset)`` is draw 0 and always gives
    the same data, and every further draw has other cameras (unless they are fixed) and other noise.

    Args:
        clips: The clips.
        skeleton: Their joints.
        frames: Frames T of a window; 1 gives single frames without a time axis.
        step: Frames between the starts of neighbouring windows of a clip.
        centre_target: Whether windows are centred on a frame and the target is that frame alone.
        cameras_per_clip: Number of fixed cameras of every clip, each of which sees all its windows; None draws a new
            camera for every sample and draw.
        noise: Detector noise on the keypoints; None gives clean projections.
        confidence: Whether keypoints have their confidence as third channel.
        scale: Factor from millimetres to the unit of the targets.
        seed: Seed of cameras and noise.
        rig: How cameras are placed.
        corruption: Damage beyond noise, such as lost limbs. None for none.
        augmentation: Random bone lengths, drawn anew for every sample and draw. None keeps the recorded bodies.
    """

    def __init__(
        self,
        clips: Clips,
        skeleton: Skeleton,
        *,
        frames: int,
        step: int,
        centre_target: bool,
        cameras_per_clip: int | None,
        noise: DetectorNoise | None,
        confidence: bool,
        scale: float,
        seed: int,
        rig: CameraRig | None = None,
        corruption: KeypointCorruption | None = None,
        augmentation: BoneAugmentation | None = None,
    ) -> None:
        self.clips, self.skeleton, self.frames, self.centre_target = clips, skeleton, frames, centre_target
        self.noise, self.confidence, self.scale, self.seed = noise, confidence, scale, seed
        self.fixed_cameras = cameras_per_clip is not None
        self.corruption, self.augmentation = corruption, augmentation
        self.step, self.cameras, self._rig = step, cameras_per_clip or 1, rig or CameraRig()
        grid = window_grid(clips.length.numpy(), frames, step, centred=centre_target)
        self._count, self._first, self._last = (torch.from_numpy(numbers) for numbers in grid)
        self._end = self._count.cumsum(0)

    def __len__(self) -> int:
        return int(self._end[-1]) * self.cameras

    @property
    def views(self) -> Tensor:
        """Which clip, and which of its fixed cameras, every sample is taken from, shape (N, 2)."""
        clip, _, camera = self._locate(torch.arange(len(self)))
        return torch.stack((clip, camera), dim=1)

    def _locate(self, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Clip, first frame and camera of samples; nothing is kept for a sample, of which there may be millions."""
        window, camera = sample // self.cameras, sample % self.cameras
        clip = torch.searchsorted(self._end, window, right=True)
        number = window - self._end[clip] + self._count[clip]
        return clip, (self._first[clip] + number * self.step).minimum(self._last[clip]), camera

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample of draw 0, without the batch dimension."""
        if not 0 <= index < len(self):
            raise IndexError(f"Expected `index` to be from 0 to {len(self) - 1}, but got {index}.")
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch: ``keypoints_2d`` (B[, T], J, 2|3), ``target`` (B[, T], J, 3), ``group`` (B,)."""
        wanted = torch.as_tensor(indices, dtype=torch.long)
        draw, sample = wanted // len(self), wanted % len(self)
        clip, start, place = self._locate(sample)
        dataset_id, clip_number = self.clips.key[clip].unbind(1)
        of_camera = Draws(self.seed, dataset_id, clip_number, place)
        of_sample = Draws(self.seed, dataset_id, clip_number, place, start, draw)

        world = self.clips.frames(clip, start[:, None] + torch.arange(self.frames))
        if self.augmentation is not None:
            world = self.augmentation(world, self.skeleton, of_sample)
        camera = self._rig.draw(
            self.clips.centre[clip], self.clips.radius[clip], of_camera if self.fixed_cameras else of_sample
        )
        batch, joints = len(indices), self.skeleton.num_joints
        keypoints = camera.view(world.flatten(1, 2)).reshape(batch, self.frames, joints, 2)
        if self.noise is not None:
            keypoints = self.noise(keypoints, self.skeleton, of_sample)
        elif self.confidence or self.corruption is not None:
            keypoints = torch.cat((keypoints, torch.ones_like(keypoints[..., :1])), dim=-1)
        if self.corruption is not None:
            keypoints = self.corruption(keypoints, self.skeleton, of_sample)
        if not self.confidence:
            keypoints = keypoints[..., :2]

        if self.centre_target:
            world = world[:, self.frames // 2, None]
        relative = world - world[:, :, list(self.skeleton.root_joints)].mean(dim=2, keepdim=True)
        target = camera.rotate(relative.flatten(1, 2)).reshape(relative.shape).mul_(self.scale)
        return {
            "keypoints_2d": keypoints if self.frames > 1 else keypoints[:, 0],
            "target": target[:, 0] if self.frames == 1 or self.centre_target else target,
            "group": self.clips.group[clip],
        }


class DrawSampler(DistributedSampler[int]):
    """Shuffles as a function of seed and epoch, and counts draws.

    The order is an endless row of permutations of the dataset, cut into epochs; the n-th permutation asks for draw n of
    every sample. The Trainer calls ``set_epoch``, so a resumed run sees what an uninterrupted one does. Several ranks
    take turns: their batches of size B are together the batch of size ``ranks * B`` of one process.

    Args:
        dataset: The dataset.
        samples: Samples of an epoch over all ranks; an epoch is rounded up to the same number on every rank.
        seed: Seed of the order.
        num_replicas: Number of ranks.
        rank: This rank.
    """

    def __init__(self, dataset: Dataset[Any], *, samples: int, seed: int, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
        self.size = len(dataset)  # type: ignore[arg-type]
        self.num_samples = -(-samples // num_replicas)
        self.total_size = samples

    def __iter__(self) -> Iterator[int]:
        first, count = self.epoch * self.total_size, self.num_samples * self.num_replicas
        order = torch.cat(
            [
                torch.randperm(self.size, generator=seeded_generator(self.seed, draw)) + draw * self.size
                for draw in range(first // self.size, (first + count - 1) // self.size + 1)
            ]
        )
        mine = order[first % self.size :][self.rank : count : self.num_replicas]
        # An epoch's worth of Python integers would take more memory than its single frames have numbers.
        return chain.from_iterable(mine[first : first + 4096].tolist() for first in range(0, len(mine), 4096))
