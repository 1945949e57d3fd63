"""Poses seen by cameras: a map-style dataset that builds whole batches at once, and its sampler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler

from seal_lightning.data.cameras import CameraRig
from seal_lightning.data.draws import Draws, seeded_generator, stable_id
from seal_lightning.data.mocap import Mocap
from seal_lightning.data.noise import DetectorNoise
from seal_lightning.data.windows import resample, window_starts
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["Clips", "DrawSampler", "PoseDataset"]


@dataclass(frozen=True, eq=False)
class Clips:
    """The clips of one side of a split, joined.

    Args:
        positions: Joint positions in millimetres in the world frame, shape (N, J, 3).
        start: First frame of every clip, shape (C,).
        length: Number of frames of every clip, shape (C,).
        group: Index of every clip's skeleton into the group names, shape (C,).
        key: Dataset and clip number, which name a clip whatever else is loaded, shape (C, 2).
        centre: Middle of the disc that the root joint stays in, at its mean height, shape (C, 3).
        radius: Radius of that disc, shape (C,).
    """

    positions: Tensor
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
        """Join all clips of these groups, resampled to ``rate`` unless that is None."""
        positions, rows, centres, radii = [], [], [], []
        start = 0
        for mocap in mocaps:
            root = list(get_skeleton(mocap.skeleton).root_joints)
            for number, skeleton_id in enumerate(mocap.skeleton_id):
                if (name := f"{mocap.name}/{skeleton_id}") not in groups:
                    continue
                clip = mocap.clip(number) if rate is None else resample(mocap.clip(number), mocap.fps, rate)
                walk = clip[:, root].mean(axis=1)
                centre = (walk.min(axis=0) + walk.max(axis=0)) / 2.0
                centre[2] = walk[:, 2].mean()
                positions.append(clip)
                centres.append(centre)
                radii.append(np.linalg.norm((walk - centre)[:, :2], axis=-1).max())
                rows.append((start, len(clip), group_index[name], stable_id(mocap.name), number))
                start += len(clip)
        table = torch.tensor(rows, dtype=torch.long)
        return cls(
            torch.from_numpy(np.concatenate(positions)),
            table[:, 0],
            table[:, 1],
            table[:, 2],
            table[:, 3:],
            torch.from_numpy(np.stack(centres)),
            torch.from_numpy(np.stack(radii)),
        )


class PoseDataset(Dataset[dict[str, Tensor]]):
    """Windows of clips, each seen by a camera: 2D keypoints, root-relative target, group.

    A list of indices gives a whole batch. Everything random about sample i is a function of the seed, the sample and
    the *draw* k alone, and is asked for by the index ``k * len(dataset) + i``: plain indices are draw 0, so they
    always give the same data, and each further draw has fresh cameras (unless they are fixed) and fresh noise.

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
    ) -> None:
        self.clips, self.skeleton, self.frames, self.centre_target = clips, skeleton, frames, centre_target
        self.noise, self.confidence, self.scale, self.seed = noise, confidence, scale, seed
        self.fixed_cameras = cameras_per_clip is not None
        starts = [window_starts(n, frames, step, centred=centre_target) for n in clips.length.tolist()]
        clip = np.repeat(np.arange(len(starts)), [len(s) for s in starts])
        windows = torch.from_numpy(np.stack((clip, np.concatenate(starts)), axis=1))
        cameras = torch.arange(cameras_per_clip or 1)
        self._clip, self._start = windows.repeat_interleave(len(cameras), dim=0).unbind(1)
        self._camera = cameras.repeat(len(windows))
        self._rig = CameraRig()

    def __len__(self) -> int:
        return len(self._clip)

    @property
    def views(self) -> Tensor:
        """Which clip, and which of its fixed cameras, every sample is taken from, shape (N, 2)."""
        return torch.stack((self._clip, self._camera), dim=1)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample of draw 0, without the batch dimension."""
        if not 0 <= index < len(self):
            raise IndexError(f"Expected `index` to be from 0 to {len(self) - 1}, but got {index}.")
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch: ``keypoints_2d`` (B[, T], J, 2|3), ``target`` (B[, T], J, 3), ``group`` (B,)."""
        wanted = torch.as_tensor(indices, dtype=torch.long)
        draw, sample = wanted // len(self), wanted % len(self)
        clip, start = self._clip[sample], self._start[sample]
        dataset_id, clip_number = self.clips.key[clip].unbind(1)
        of_camera = Draws(self.seed, dataset_id, clip_number, self._camera[sample])
        of_sample = Draws(self.seed, dataset_id, clip_number, self._camera[sample], start, draw)

        frame = start[:, None] + torch.arange(self.frames)
        frame = frame.clamp_min(0).minimum(self.clips.length[clip, None] - 1) + self.clips.start[clip, None]
        world = self.clips.positions[frame]
        camera = self._rig.draw(
            self.clips.centre[clip], self.clips.radius[clip], of_camera if self.fixed_cameras else of_sample
        )
        batch, joints = len(indices), self.skeleton.num_joints
        keypoints = camera.view(world.flatten(1, 2)).reshape(batch, self.frames, joints, 2)
        if self.noise is not None:
            keypoints = self.noise(keypoints, self.skeleton, of_sample)
        elif self.confidence:
            keypoints = torch.cat((keypoints, torch.ones_like(keypoints[..., :1])), dim=-1)
        if not self.confidence:
            keypoints = keypoints[..., :2]

        if self.centre_target:
            world = world[:, self.frames // 2, None]
        relative = world - world[:, :, list(self.skeleton.root_joints)].mean(dim=2, keepdim=True)
        target = camera.rotate(relative.flatten(1, 2)).reshape(relative.shape) * self.scale
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

    def __init__(self, dataset: PoseDataset, *, samples: int, seed: int, num_replicas: int = 1, rank: int = 0) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, seed=seed)
        self.size = len(dataset)
        self.num_samples = -(-samples // num_replicas)
        self.total_size = samples

    def __iter__(self) -> Iterator[int]:
        first = self.epoch * self.total_size
        places = torch.arange(first, first + self.num_samples * self.num_replicas)
        draws = places // self.size
        order = torch.cat(
            [
                draw * self.size + torch.randperm(self.size, generator=seeded_generator(self.seed, draw))
                for draw in range(int(draws[0]), int(draws[-1]) + 1)
            ]
        )
        mine = order[places - draws[0] * self.size][self.rank :: self.num_replicas]
        return iter(mine.tolist())
