"""The base class of data modules of recorded keypoints and poses, such as those of the benchmarks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from seal_lightning.data.datamodules._loading import FROM_MM, batch_loader, check_options, place_of
from seal_lightning.data.datamodules._plausible import check_plausible
from seal_lightning.data.datasets.poses import DrawSampler
from seal_lightning.data.datasets.recorded import RecordedDataset
from seal_lightning.data.datasets.splits import SIDES
from seal_lightning.data.formats.checks import located
from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["RecordedDataModule", "RecordedDataset", "Recording", "ShareSampler"]


class RecordedDataModule(LightningDataModule):
    """Base class of data modules whose subclasses say what was recorded for each side.

    A subclass defines `recordings`. The sides are ``train``, ``val`` and ``test``; predictions are made on ``test``.
    Batches are those of `RecordedDataset`: ``keypoints_2d``, ``target``, ``group`` (into ``group_names``), ``action``
    (into ``action_names``), and ``visibility`` where some joint or frame does not count. Training data depend on
    ``seed`` and the epoch alone; evaluation never changes. The global random state is neither used nor changed.

    Args:
        skeleton: The joints of the recordings.
        frames: Frames T of a window; 1 gives single frames without a time axis.
        centre_target: Whether the target of a window is its centre frame alone (frames // 2), for every frame of a
            clip; windows reach beyond the ends of a clip by repeating its first or last frame.
        train_frame_step: Frames between the starts of neighbouring training samples of a clip.
        eval_frame_step: The same for validation and test. None covers every frame once: the length of a window, or 1
            with `centre_target`.
        batch_size: Samples of a batch. An incomplete last training batch is left out, unless it is the only one.
        unit: Unit of the targets, "m" or "mm".
        confidence: Whether keypoints carry their confidence as third channel, 1 where the data have none.
        flip: Whether half of the training samples are mirrored, drawn anew every time. Leave it out where the model
            mirrors them itself.
        rate: Frames per second that windows are resampled to. None takes them as they are; single frames always are.
        num_workers: Worker processes of a loader.
        seed: Seed of the training order and of what is mirrored.
        samples_per_epoch: Training samples of an epoch. None takes every sample once.

    Raises:
        ValueError: If an argument is out of its range.
    """

    # Anybody's keypoints may be noisy; an axis that points the other way is never right.
    _least_likeness = -0.5

    def __init__(
        self,
        skeleton: str | Skeleton,
        frames: int = 1,
        centre_target: bool = False,
        train_frame_step: int = 1,
        eval_frame_step: int | None = None,
        batch_size: int = 256,
        unit: Literal["m", "mm"] = "m",
        confidence: bool = False,
        flip: bool = False,
        rate: float | None = None,
        num_workers: int = 0,
        seed: int = 0,
        samples_per_epoch: int | None = None,
    ) -> None:
        super().__init__()
        check_options(
            **{"unit": unit, "frames": frames, "centre_target": centre_target, "rate": rate, "seed": seed},
            **{"num_workers": num_workers, "train_frame_step": train_frame_step, "eval_frame_step": eval_frame_step},
            **{"samples_per_epoch": samples_per_epoch, "batch_size": batch_size},
        )
        self.skeleton = get_skeleton(skeleton)
        self.unit, self.frames, self.centre_target, self.rate = unit, frames, centre_target, rate
        self.train_frame_step = train_frame_step
        self.eval_frame_step = eval_frame_step or (1 if centre_target else frames)
        self.batch_size, self.num_workers, self.samples_per_epoch = batch_size, num_workers, samples_per_epoch
        self.confidence, self.flip, self.seed = confidence, flip, seed
        self._recordings: dict[str, Sequence[Recording]] = {}
        self._datasets: dict[str, RecordedDataset] = {}

    @abstractmethod
    def recordings(self, side: str) -> Sequence[Recording]:
        """What was recorded for ``train``, ``val`` or ``test``; called once a side, where it is needed."""

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names ``dataset/subject`` of the groups of each side.

        Loads all sides; a subclass that knows the names beforehand overrides it.
        """
        return {side: list(dict.fromkeys(clip.group for clip in self._loaded(side))) for side in SIDES}

    @property
    def group_names(self) -> list[str]:
        """Names of all groups; a batch's ``group`` indexes this list."""
        return list(dict.fromkeys(name for side in SIDES for name in self.groups[side]))

    @property
    def action_names(self) -> list[str]:
        """Names of all actions; a batch's ``action`` indexes this list. Loads all sides unless overridden."""
        return sorted({clip.action for side in SIDES for clip in self._loaded(side)})

    def setup(self, stage: str | None = None) -> None:
        """Load what ``stage`` needs and cut it into samples; done once."""
        sides = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), "predict": ("test",)}
        for side in SIDES if stage is None else sides[stage]:
            if self._loaded(side):
                self.dataset(side)

    def dataset(self, side: str) -> RecordedDataset:
        """The samples of one side.

        Raises:
            ValueError: If nothing was recorded for that side, or what was does not fit.
        """
        if side not in self._datasets:
            recordings = self._loaded(side)
            if not recordings:
                raise ValueError(f"Expected recordings for the side {side!r}, but there are none.")
            train = side == "train"
            self._datasets[side] = RecordedDataset(
                recordings,
                self.skeleton,
                group_names=self.group_names,
                action_names=self.action_names,
                frames=self.frames,
                step=self.train_frame_step if train else self.eval_frame_step,
                centre_target=self.centre_target,
                confidence=self.confidence,
                scale=FROM_MM[self.unit],
                evaluation=not train,
                flip=self.flip and train,
                seed=self.seed,
            )
        return self._datasets[side]

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Shuffled training batches; under several ranks each has its own share."""
        dataset = self.dataset("train")
        sampler = DrawSampler(
            dataset, samples=self.samples_per_epoch or len(dataset), seed=self.seed, **place_of(self.trainer)
        )
        return self._loader(dataset, sampler, drop_last=len(sampler) >= self.batch_size)

    def val_dataloader(self) -> Any:
        """Validation batches in a fixed order; none where nothing was recorded to validate on.

        Under several ranks Lightning gives each an equal share, for which it repeats a few samples.
        """
        return self._loader(self.dataset("val")) if self._loaded("val") else []

    def test_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Test batches in a fixed order; under several ranks each sample is tested by exactly one."""
        dataset, place = self.dataset("test"), place_of(self.trainer)
        return self._loader(dataset, ShareSampler(dataset, **place) if place["num_replicas"] > 1 else None)

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the test batches."""
        return self._loader(self.dataset("test"))

    def _loader(
        self, dataset: RecordedDataset, sampler: DistributedSampler[int] | None = None, *, drop_last: bool = False
    ) -> DataLoader[dict[str, Tensor]]:
        return batch_loader(dataset, self.batch_size, self.num_workers, sampler, drop_last=drop_last)

    def _loaded(self, side: str) -> Sequence[Recording]:
        if side not in self._recordings:
            recordings = self.recordings(side)
            with located(getattr(self, "path", type(self).__name__)):
                for recording in recordings:
                    check_plausible(recording, self.skeleton, self._least_likeness)
            if self.rate is not None and self.frames > 1:
                recordings = [recording.resampled(self.rate) for recording in recordings]
            self._recordings[side] = recordings
        return self._recordings[side]


class ShareSampler(DistributedSampler[int]):
    """Gives every sample to exactly one rank, in order.

    Lightning's own sampler repeats a few samples so that all ranks have the same number, which would count those twice
    in a test. Here some ranks may have one sample more than others, so this sampler is for test and predict alone,
    where no step waits for the other ranks.
    """

    def __init__(self, dataset: Dataset[Any], num_replicas: int, rank: int) -> None:
        super().__init__(dataset, num_replicas=num_replicas, rank=rank, shuffle=False)
        self.total_size = len(dataset)  # type: ignore[arg-type]
        self.num_samples = len(range(rank, self.total_size, num_replicas))

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.rank, self.total_size, self.num_replicas))
