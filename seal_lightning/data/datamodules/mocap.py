"""The LightningDataModule of motion capture projected through cameras."""

from __future__ import annotations

import os
from typing import Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from seal_lightning.data.datamodules._loading import FROM_MM, batch_loader, check_options, place_of
from seal_lightning.data.datasets.poses import Clips, DrawSampler, PoseDataset
from seal_lightning.data.datasets.splits import SIDES, resolve_split
from seal_lightning.data.datasets.synthetic import SyntheticMocap
from seal_lightning.data.formats.mocap_npz import Mocap, read_mocap
from seal_lightning.data.views.augmentation import BoneAugmentation
from seal_lightning.data.views.cameras import CameraRig
from seal_lightning.data.views.noise import DetectorNoise
from seal_lightning.data.views.robustness import KeypointCorruption
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["MocapDataModule"]

# Evaluation data are the same whatever seed a training has.
_EVAL_SEED = 0


class MocapDataModule(LightningDataModule):
    """Motion capture on the Human3.6M skeleton, split by skeleton and projected through pinhole cameras.

    Batches are dicts: ``keypoints_2d`` (B[, T], J, 2|3), normalised screen coordinates and optionally a confidence;
    ``target`` (B[, T], J, 3), the pose in the camera's frame (x right, y down, z away) relative to the root; ``group``
    (B,), the index of the skeleton in ``group_names``. Training data depend on ``seed`` and the epoch alone;
    validation and test data are the same in every run, for every seed, batch size and number of workers. The global
    random state is neither used nor changed.

    Args:
        paths: Mocap npz files with the keys of `read_mocap`. None makes synthetic motion.
        synthetic: The synthetic motion to make where there are no paths. None is the default of `SyntheticMocap`.
        split: "mocap", the standard split by skeleton, or own lists of skeleton ids under train, val and test.
        frames: Frames T of a window; 1 gives single frames without a time axis.
        centre_target: Whether the target of a window is its centre frame alone (frames // 2), for every frame of a
            clip; windows reach beyond the ends of a clip by repeating its first or last frame.
        rate: Frames per second that windows are resampled to. Single frames are taken as they are.
        train_frame_step: Frames between the starts of neighbouring training samples of a clip.
        eval_frame_step: The same for validation and test. None covers every frame once: the length of a window, or 1
            with `centre_target`.
        samples_per_epoch: Training samples of an epoch. None takes every sample once.
        batch_size: Samples of a batch. An incomplete last training batch is left out, unless it is the only one.
        noise: Detector noise on the keypoints, in training and evaluation. None gives clean projections.
        eval_noise: Detector noise in validation and test. None is that of `noise`.
        corruption: Damage to the keypoints beyond noise, in training and evaluation. None damages nothing.
        eval_corruption: Damage in validation and test. None is that of `corruption`.
        augmentation: Random bone lengths of the people in training. None keeps the recorded ones. Validation and test
            always have these.
        confidence: Whether keypoints carry their confidence as third channel (1 without noise).
        train_cameras: "random" draws a camera for every sample and epoch, "fixed" keeps as many per clip as evaluation
            has.
        cameras: How cameras are placed, in training and evaluation. None is as in Human3.6M.
        eval_cameras: How cameras are placed in validation and test. None is as in `cameras`.
        eval_cameras_per_clip: Number of fixed cameras that see every clip. None is 4 for single frames, 1 for windows.
        unit: Unit of the targets, "m" or "mm".
        skeleton: The joints of the files.
        num_workers: Worker processes of a loader.
        seed: Seed of the training order, cameras and noise.

    Raises:
        FileNotFoundError: When the data are loaded, if a path does not exist.
        ValueError: If an argument is out of its range, a file is not as expected, or the split does not fit the data.

    Example:
        >>> data = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=8), batch_size=4)
        >>> data.setup("fit")
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["keypoints_2d"].shape, batch["target"].shape, data.group_names[batch["group"][0]]
        (torch.Size([4, 17, 2]), torch.Size([4, 17, 3]), 'synthetic/y01')
    """

    def __init__(
        self,
        paths: list[str] | None = None,
        synthetic: SyntheticMocap | None = None,
        split: dict[str, list[str]] | str = "mocap",
        frames: int = 1,
        centre_target: bool = False,
        rate: float = 25.0,
        train_frame_step: int = 1,
        eval_frame_step: int | None = None,
        samples_per_epoch: int | None = None,
        batch_size: int = 256,
        noise: DetectorNoise | None = None,
        eval_noise: DetectorNoise | None = None,
        corruption: KeypointCorruption | None = None,
        eval_corruption: KeypointCorruption | None = None,
        augmentation: BoneAugmentation | None = None,
        confidence: bool = False,
        train_cameras: Literal["random", "fixed"] = "random",
        cameras: CameraRig | None = None,
        eval_cameras: CameraRig | None = None,
        eval_cameras_per_clip: int | None = None,
        unit: Literal["m", "mm"] = "m",
        skeleton: str | Skeleton = "h36m17",
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        files = isinstance(paths, list | tuple) and all(isinstance(path, str | os.PathLike) for path in paths)
        if paths is not None and (not files or not paths):
            raise ValueError(f"Expected `paths` to be a list of at least one file, or None, but got {paths!r}.")
        if paths is not None and synthetic is not None:
            raise ValueError("Expected either `paths` or `synthetic`, but got both.")
        if paths is None and get_skeleton(skeleton) != get_skeleton("h36m17"):
            raise ValueError(f"Expected `paths` for a `skeleton` that is not 'h36m17', but got None and {skeleton!r}.")
        if train_cameras not in ("random", "fixed"):
            raise ValueError(f"Expected `train_cameras` to be 'random' or 'fixed', but got {train_cameras!r}.")
        if rate is None:
            raise ValueError("Expected `rate` to be positive, but got None.")
        check_options(
            **{"unit": unit, "frames": frames, "centre_target": centre_target, "rate": rate, "seed": seed},
            **{"num_workers": num_workers, "train_frame_step": train_frame_step, "eval_frame_step": eval_frame_step},
            **{"samples_per_epoch": samples_per_epoch, "batch_size": batch_size},
            eval_cameras_per_clip=eval_cameras_per_clip,
        )
        for name, part, kind in (
            ("synthetic", synthetic, SyntheticMocap),
            ("noise", noise, DetectorNoise),
            ("eval_noise", eval_noise, DetectorNoise),
            ("augmentation", augmentation, BoneAugmentation),
        ):
            if part is not None and not isinstance(part, kind):
                raise TypeError(f"Expected `{name}` to be a {kind.__name__}, but got {part!r}.")

        self.skeleton = get_skeleton(skeleton)
        self.unit = unit
        self.paths, self.synthetic, self.split, self.rate, self.frames = paths, synthetic, split, rate, frames
        self.centre_target, self.noise, self.confidence, self.seed = centre_target, noise, confidence, seed
        self.train_frame_step = train_frame_step
        self.eval_frame_step = eval_frame_step or (1 if centre_target else frames)
        self.samples_per_epoch, self.batch_size, self.num_workers = samples_per_epoch, batch_size, num_workers
        self.train_cameras, self.cameras, self.eval_cameras = train_cameras, cameras, eval_cameras or cameras
        self.eval_noise, self.corruption, self.augmentation = eval_noise or noise, corruption, augmentation
        self.eval_corruption = eval_corruption or corruption
        self.eval_cameras_per_clip = eval_cameras_per_clip or (4 if frames == 1 else 1)
        self._mocaps: list[Mocap] | None = None
        self._groups: dict[str, list[str]] = {}
        self._datasets: dict[str, PoseDataset] = {}

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the groups of each side: train, val, test."""
        self._load()
        return self._groups

    @property
    def group_names(self) -> list[str]:
        """Names ``dataset/skeleton`` of all groups that stand on a side; a batch's ``group`` indexes this list."""
        return [name for side in SIDES for name in self.groups[side]]

    @property
    def left_out(self) -> dict[str, int]:
        """Number of frames of every group in the data that the split names on no side."""
        used, frames = set(self.group_names), dict[str, int]()
        for mocap in self._load():
            for skeleton_id, length in zip(mocap.skeleton_id, mocap.clip_length.tolist(), strict=True):
                if (name := f"{mocap.name}/{skeleton_id}") not in used:
                    frames[name] = frames.get(name, 0) + length
        return frames

    def setup(self, stage: str | None = None) -> None:
        """Read or make the motion, and cut it into the samples that ``stage`` needs; done once."""
        sides = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for side in SIDES if stage is None else sides[stage]:
            if self.groups[side]:
                self.dataset(side)

    def dataset(self, side: str) -> PoseDataset:
        """The samples of one side.

        Raises:
            ValueError: If the split has no skeleton on that side.
        """
        if side not in self._datasets:
            mocaps = self._load()
            if not self.groups.get(side):
                raise ValueError(f"Expected `split` to name skeletons under {side!r}, but got none.")
            index = {name: i for i, name in enumerate(self.group_names)}
            train = side == "train"
            self._datasets[side] = PoseDataset(
                Clips.collect(mocaps, self.groups[side], index, self.rate if self.frames > 1 else None),
                self.skeleton,
                frames=self.frames,
                step=self.train_frame_step if train else self.eval_frame_step,
                centre_target=self.centre_target,
                cameras_per_clip=None if train and self.train_cameras == "random" else self.eval_cameras_per_clip,
                noise=self.noise if train else self.eval_noise,
                confidence=self.confidence,
                scale=FROM_MM[self.unit],
                seed=self.seed if train else _EVAL_SEED,
                rig=self.cameras if train else self.eval_cameras,
                corruption=self.corruption if train else self.eval_corruption,
                augmentation=self.augmentation if train else None,
            )
        return self._datasets[side]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled training batches; under several ranks each has its own share."""
        dataset = self.dataset("train")
        samples = self.samples_per_epoch or len(dataset)
        sampler = DrawSampler(dataset, samples=samples, seed=self.seed, **place_of(self.trainer))
        return self._loader(dataset, sampler)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Validation batches in a fixed order."""
        return self._loader(self.dataset("val"))

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Test batches in a fixed order."""
        return self._loader(self.dataset("test"))

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the test batches."""
        return self.test_dataloader()

    def _loader(self, dataset: PoseDataset, sampler: DrawSampler | None = None) -> DataLoader[dict[str, Tensor]]:
        drop_last = sampler is not None and len(sampler) >= self.batch_size
        return batch_loader(dataset, self.batch_size, self.num_workers, sampler, drop_last=drop_last)

    def _load(self) -> list[Mocap]:
        if self._mocaps is None:
            if self.paths is None:
                mocaps = [(self.synthetic or SyntheticMocap()).generate()]
            else:
                mocaps = [read_mocap(path, skeleton=self.skeleton) for path in self.paths]
            names = [mocap.name for mocap in mocaps]
            if len(set(names)) < len(names):
                raise ValueError(
                    f"Expected the files in `paths` to differ in name before the first `_`, but got {names}."
                )
            self._groups = resolve_split(self.split, mocaps)
            self._mocaps = mocaps
        return self._mocaps
