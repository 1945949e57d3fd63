"""Labels of simulated views, keypoints alone of a Kinect: the data of ``studies/simulated_to_kinect.yaml``.

Both see the same people in the same exercises, so what differs is the view alone: made-up cameras and errors on one
side, a sensor's tracker on the other. `benchmarks.real_2d` runs the study and reports on it; docs/another-domain.md
holds the protocol.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.accuracy.errors import EvaluationSet
from benchmarks.accuracy.training import mirrored
from benchmarks.real_2d import FOLDS, SUBJECTS, KinectDataModule
from seal_lightning.data import BoneAugmentation, CameraRig, Cameras, DetectorNoise, Draws, MocapDataModule, look_at
from seal_lightning.data.datasets.poses import DrawSampler
from seal_lightning.functional import bone_lengths
from seal_lightning.skeleton import Skeleton

__all__ = ["FrontalRig", "SimulatedToKinectDataModule", "mean_place", "moved"]

Batch = dict[str, Tensor]

COMPARED = 20  # every so many training samples of either side are looked at to tell how its joints lie


@dataclass(frozen=True)
class FrontalRig(CameraRig):
    """Level cameras in front of a person, like the colour camera of a Kinect v2 that stands a metre above the floor.

    Distances are those to the middle of the disc that the person stays in. `aim` moves the person sideways.

    Args:
        front: Where people look, in degrees about the vertical axis from the world's x axis.
        spread: A camera stands off that direction by up to so many degrees.
    """

    distance: tuple[float, float] = (2.0, 3.0)
    elevation: tuple[float, float] = (0.9, 1.1)
    focal: tuple[float, float] = (1060.0, 1060.0)
    width: int = 1920
    height: int = 1080
    front: float = 0.0
    spread: float = 10.0

    def draw(self, centre: Tensor, radius: Tensor, draws: Draws) -> Cameras:
        """Draw one camera for each disc; arguments as in `CameraRig`."""
        uniform = draws.uniform("camera", 7)
        angle = (self.front + self.spread * (2.0 * uniform[:, 0] - 1.0)) * (math.pi / 180.0)
        away, height, focal = (
            least + (most - least) * uniform[:, place + 1]
            for place, (least, most) in enumerate((self.distance, self.elevation, self.focal))
        )
        position = torch.stack((angle.cos() * away, angle.sin() * away, height), dim=-1) * 1000.0
        position[:, :2] += centre[:, :2]
        aim = centre + 1000.0 * self.aim * (2.0 * uniform[:, 4:] - 1.0)
        aim[:, 2] = position[:, 2]
        return Cameras(look_at(position, aim), position, focal, self.width, self.height)


class SimulatedToKinectDataModule(L.LightningDataModule):
    """One fold: simulated views of the training people with their poses, and what the Kinect saw of the same people.

    Training batches mix both, about half and half, and half of either is mirrored. Validation has simulated views of
    the fold's validation person, test what the Kinect saw of its test people. Groups are called ``uiprmd/uS01`` where
    the view is simulated, ``uiprmd/S01`` where it is the sensor's.

    Args:
        paths: The file of poses and that of the Kinect.
        fold: Index into `FOLDS`.
        frontal: Whether simulated cameras stand where the sensor does, with its lens; else all around, as in Human3.6M.
        move: Whether the sensor's joints are moved to where the simulated ones lie on the mean.
        augmentation: Random bone lengths of the people in simulated training views.
        train_frame_step: Frames between neighbouring training samples of a clip.
        eval_frame_step: The same for validation and test.
        batch_size: Samples of a batch.
        seed: Seed of the training data.
    """

    def __init__(
        self,
        paths: list[str],
        fold: int,
        frontal: bool = True,
        move: bool = False,
        augmentation: BoneAugmentation | None = None,
        train_frame_step: int = 3,
        eval_frame_step: int = 2,
        batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        poses, kinect = paths
        options: dict[str, Any] = {
            **{"train_frame_step": train_frame_step, "eval_frame_step": eval_frame_step},
            **{"batch_size": batch_size, "seed": seed},
        }
        train = [f"u{subject}" for subject in SUBJECTS if subject not in FOLDS[fold]]
        self.simulated = MocapDataModule(
            [poses],
            split={"train": train, "val": [f"u{FOLDS[fold][-1]}"]},
            noise=DetectorNoise.sensor(),
            cameras=FrontalRig() if frontal else None,
            augmentation=augmentation,
            eval_cameras_per_clip=1,
            **options,
        )
        self.kinect = KinectDataModule([kinect], fold, **options)
        self.skeleton, self.move, self.batch_size, self.seed = self.kinect.skeleton, move, batch_size, seed
        self._shift: Tensor | None = None
        self._read: dict[str, _Read] = {}

    @property
    def group_names(self) -> list[str]:
        """Names of all groups; a training batch's ``group`` indexes this list."""
        return [*self.simulated.group_names, *self.kinect.group_names]

    def setup(self, stage: str | None = None) -> None:
        """Read both files; done once."""
        for data in (self.simulated, self.kinect):
            data.setup()
        if self.move and self._shift is None:
            places = [mean_place(data.dataset("train"), self.skeleton) for data in (self.simulated, self.kinect)]
            self._shift = places[0] - places[1]

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches of both."""
        both = _Both(
            self.simulated.dataset("train"),
            self._seen("train"),
            len(self.simulated.group_names),
            self.skeleton,
            self.seed,
        )
        sampler = DrawSampler(both, samples=len(both), seed=self.seed)
        return _loader(both, self.batch_size, sampler=sampler, drop_last=len(both) >= self.batch_size)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Simulated views of the validation person, in a fixed order."""
        return self.simulated.val_dataloader()

    def test_dataloader(self) -> DataLoader[Batch]:
        """What the Kinect saw of the test people, in a fixed order; ``group`` indexes the names of `kinect`."""
        return _loader(self._seen("test"), self.batch_size)

    def evaluation_set(self, side: str) -> EvaluationSet:
        """Return the true poses of a side, in the order of its batches."""
        clips = self.simulated.dataset("train").clips
        lengths, frames = bone_lengths(clips.positions, self.skeleton), clips.group.repeat_interleave(clips.length)
        mean = 1e-3 * torch.stack([lengths[frames == group].mean(0) for group in clips.group.unique()]).mean(0)
        if side == "test":
            return replace(self.kinect.evaluation_set("test"), mean_lengths=mean)
        batches = list(self.val_dataloader())
        pose, group = (torch.cat([batch[name] for batch in batches]) for name in ("target", "group"))
        clip = self.simulated.dataset("val").views[:, 0]
        return EvaluationSet(pose, group, clip, clip, self.group_names, mean, self.skeleton)

    def _seen(self, side: str) -> _Read:
        if side not in self._read:
            self._read[side] = _Read(self.kinect.dataset(side), self._shift)
        return self._read[side]


def mean_place(dataset: Dataset[Batch], skeleton: Skeleton) -> Tensor:
    """Where each joint lies on the mean (J, 2), as seen from the root, in shares of the person's size.

    Half of the views are mirrored, so the means of a left and a right joint mirror each other.
    """
    keypoints = dataset.__getitems__(range(0, len(dataset), COMPARED))["keypoints_2d"][..., :2]  # type: ignore
    both = torch.cat((keypoints, mirrored(keypoints, skeleton)))
    root = both[:, list(skeleton.root_joints)].mean(1, keepdim=True)
    return ((both - root) / _size(both)).mean(0)


def moved(keypoints_2d: Tensor, shift: Tensor) -> Tensor:
    """Move keypoints (B, J, 2 or more) by a shift (J, 2) in shares of the person's size."""
    return torch.cat((keypoints_2d[..., :2] + shift * _size(keypoints_2d[..., :2]), keypoints_2d[..., 2:]), dim=-1)


def _size(keypoints_2d: Tensor) -> Tensor:
    """Larger side (B, 1, 1) of the box around keypoints (B, J, 2)."""
    return (keypoints_2d.amax(1) - keypoints_2d.amin(1)).amax(-1)[:, None, None]


class _Read(Dataset[Batch]):
    """The samples of a dataset, all read beforehand, their keypoints moved by a shift (J, 2) where there is one."""

    def __init__(self, dataset: Any, shift: Tensor | None) -> None:
        self.samples: Batch = dataset.__getitems__(range(len(dataset)))
        if shift is not None:
            self.samples["keypoints_2d"] = moved(self.samples["keypoints_2d"], shift)

    def __len__(self) -> int:
        return len(self.samples["group"])

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        rows = torch.as_tensor(indices) % len(self)  # they have no draws
        return {name: values[rows] for name, values in self.samples.items()}


class _Both(Dataset[Batch]):
    """Samples of two datasets, half of them mirrored; index ``k * len(both) + i`` asks for draw k of sample i.

    Groups of the second are numbered after the `groups` groups of the first.
    """

    def __init__(self, first: Any, second: Any, groups: int, skeleton: Skeleton, seed: int) -> None:
        self.parts, self.groups, self.skeleton, self.seed = (first, second), groups, skeleton, seed

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        wanted = torch.as_tensor(indices)
        draw, sample = wanted // len(self), wanted % len(self)
        starts, batches = (0, len(self.parts[0])), []
        for place, (part, start) in enumerate(zip(self.parts, starts, strict=True)):
            rows = (sample >= start) & (sample < start + len(part))
            if rows.any():
                batch = part.__getitems__((draw[rows] * len(part) + sample[rows] - start).tolist())
                mirror = Draws(self.seed, sample[rows], draw[rows]).uniform("flip", 1)[..., None] < 0.5
                batches.append(
                    {
                        name: torch.where(mirror, mirrored(batch[name], self.skeleton), batch[name])
                        for name in ("keypoints_2d", "target")
                    }
                    | {"group": batch["group"] + place * self.groups}
                )
        return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _loader(dataset: Dataset[Batch], batch_size: int, **options: Any) -> DataLoader[Batch]:
    """Loader of a dataset that builds batches itself."""
    # A generator of its own: without one, making an iterator would take a number from the global generator.
    generator = torch.Generator()
    return DataLoader(dataset, batch_size=batch_size, collate_fn=_as_built, generator=generator, **options)


def _as_built(batch: Any) -> Any:
    return batch
