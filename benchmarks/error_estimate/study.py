"""The study: which skeletons a fold leaves out, and the batches of each of its data sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import yaml

from benchmarks.error_estimate.damage import CLEAN, MIXED, UNSEEN, Mixture
from seal_lightning.data import DetectorNoise, KeypointsDataModule, MocapDataModule

__all__ = ["SETS", "CriticStudy", "HostPlan"]

SETS = ("train", "val", "val clean", "test clean", "test mixed", "test unseen", "kinect val", "kinect test")
"""Data sets on which a finished host predicts."""
CLIPS = ("clips val", "clips clean", "clips mixed")
"""Windows of `CLIP` frames, for smoothing."""
CLIP = 48
VIEWS = ("views clean", "views mixed")
"""Pairs of cameras that see the same moment, for fusion."""

_DAMAGE = {"clean": CLEAN, "unseen": UNSEEN}


@dataclass(frozen=True)
class HostPlan:
    """A host of the study.

    Args:
        net: Arguments of `benchmarks.error_estimate.hosts.make_host`.
        steps: Number of training steps.
        batch_size: Samples of a batch.
        seeds: Seeds; the fold is trained once with each, beside a critic of that seed.
        folds: Folds that are trained.
        frames: Frames of a window.
        centre: Whether a window's target is its centre frame.
        finished: Name of the host whose finished runs are taken as they are; the critic alone is fitted. None trains.
    """

    net: dict[str, Any]
    steps: int
    batch_size: int = 256
    seeds: list[int] = field(default_factory=lambda: [0])
    folds: list[int] = field(default_factory=lambda: [0])
    frames: int = 1
    centre: bool = False
    finished: str | None = None


@dataclass(frozen=True)
class CriticStudy:
    """Folds by skeleton, and the hosts.

    Args:
        mocap: Names of the motion-capture files.
        kinect: Name of the file of real detections.
        folds: Test skeletons of every fold. The next fold's test skeletons are this one's validation skeletons, all
            others train.
        hosts: The hosts by name.
        data_dir: Folder of the files.
    """

    mocap: list[str]
    kinect: str
    folds: list[list[str]]
    hosts: dict[str, HostPlan]
    data_dir: str = "."

    @classmethod
    def read(cls, path: Path, data_dir: str | None = None) -> CriticStudy:
        """Read a study from a YAML file."""
        plain = yaml.safe_load(path.read_text())
        hosts = {name: HostPlan(**fields) for name, fields in plain.pop("hosts").items()}
        return cls(**plain, hosts=hosts, data_dir=data_dir or ".")

    def split(self, fold: int) -> dict[str, list[str]]:
        """The skeletons of each side."""
        test, val = self.folds[fold], self.folds[(fold + 1) % len(self.folds)]
        train = [name for names in self.folds for name in names if name not in (*test, *val)]
        return {"train": train, "val": val, "test": test}

    def training(self, plan: HostPlan, fold: int, seed: int) -> MocapDataModule:
        """The training data of a host: detector noise, and damage."""
        return self._mocap(plan, self.split(fold), MIXED, seed=seed)

    def loader(self, plan: HostPlan, fold: int, name: str) -> tuple[Any, list[str]]:
        """The batches of a data set in a fixed order, and the names of its groups.

        Args:
            plan: The host.
            fold: The fold.
            name: One of `SETS`, `CLIPS` and `VIEWS`.
        """
        split = self.split(fold)
        side, _, kind = name.partition(" ")
        data: Any
        if side == "kinect":
            people = {part: [s[1:] for s in split[part] if s.startswith("u")] for part in ("val", "test")}
            data = KeypointsDataModule(
                str(Path(self.data_dir) / self.kinect),
                {"val": people["val"], "test": people["test"]},
                image_size=(1920, 1080),
                positions_unit="mm",
                confidence=True,
                batch_size=512,
                eval_frame_step=60 if plan.frames > 1 and not plan.centre else 20,
                frames=plan.frames,
                centre_target=plan.centre,
            )
            side = kind
        elif side == "train":  # the training skeletons, seen by fixed cameras
            data = self._mocap(plan, {"train": split["val"], "test": split["train"]}, MIXED, step=20)
            side = "test"
        else:
            where = kind if side == "clips" and kind == "val" else side if side == "val" else "test"
            damage = _DAMAGE.get(kind, MIXED)
            options: dict[str, Any] = {"step": 12}
            if side == "clips":
                options = {"step": 8 * CLIP, "frames": CLIP}
            if side == "views":
                options = {"step": 24, "cameras": 2}
            data, side = self._mocap(plan, split, damage, **options), where
        data.setup(None)
        loader: L.LightningDataModule = data.val_dataloader() if side == "val" else data.test_dataloader()
        return loader, data.group_names

    def _mocap(
        self,
        plan: HostPlan,
        split: dict[str, list[str]],
        damage: Mixture,
        *,
        step: int = 12,
        frames: int | None = None,
        cameras: int = 1,
        seed: int = 0,
    ) -> MocapDataModule:
        sequence = plan.frames > 1 and not plan.centre
        return MocapDataModule(
            [str(Path(self.data_dir) / name) for name in self.mocap],
            split=split,
            frames=frames or plan.frames,
            centre_target=plan.centre,
            train_frame_step=3,
            eval_frame_step=5 * step if sequence else step,
            batch_size=plan.batch_size,
            noise=DetectorNoise(),
            corruption=damage,  # type: ignore[arg-type]
            confidence=True,
            eval_cameras_per_clip=cameras,
            seed=seed,
        )
