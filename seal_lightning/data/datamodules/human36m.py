"""Human3.6M as VideoPose3D prepared it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seal_lightning.data.datamodules._reading import floats, on_screen, only_file, recording
from seal_lightning.data.datamodules.recorded import RecordedDataModule
from seal_lightning.data.formats.checks import mapping, numbers
from seal_lightning.data.formats.object_arrays import array_names, read_object
from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.human36m_cameras import human36m_cameras

__all__ = ["H36M_ACTIONS", "Human36MDataModule", "merged_action"]

Floats = npt.NDArray[np.floating[Any]]

H36M_ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases", "Sitting"),
    *("SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether"),
)
"""The fifteen actions, under the names that the public files give them."""

_ALSO_CALLED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog", "WalkingTogether": "WalkTogether"}
_TRAIN, _TEST = ("S1", "S5", "S6", "S7", "S8"), ("S9", "S11")
_LEFT_OUT = (4, 5, 9, 10, 11, 16, 20, 21, 22, 23, 24, 28, 29, 30, 31)
_KEPT = [joint for joint in range(32) if joint not in _LEFT_OUT]
# How far most keypoints may be off what the cameras see: projected ones in pixels, detected ones in body sizes.
_PIXELS, _SIZES = 2.0, 0.15
# Videos end a few frames after the motion capture does.
_SPARE = 10


class Human36MDataModule(RecordedDataModule):
    """Human3.6M from the files ``data_3d_h36m.npz`` and ``data_2d_h36m_<keypoints>.npz`` of VideoPose3D.

    Subjects S1, S5, S6, S7 and S8 train, S9 and S11 test, as in the papers. There is no official validation set. The
    default holds back one training subject, so that nothing is chosen by the test subjects; without one
    (``validation_subject: null``) all five train, as papers do that report the final epoch.

    Poses are those of the four calibrated cameras, 50 frames a second, 17 joints. Actions are merged as in the papers:
    "Walking 1" is "Walking". Keypoints beyond the last true pose of a clip are left out. Batches are those of
    `RecordedDataModule`; groups are ``human36m/S9``.

    Args:
        path: Folder of the two files.
        keypoints: Which keypoints: "gt" for projected truth, "cpn_ft_h36m_dbb" for those of the CPN detector, or
            whatever follows ``data_2d_h36m_`` in the name of a file.
        validation_subject: Training subject that is held back to validate on. None trains on all of them.
        kwargs: Arguments of `RecordedDataModule`.

    Raises:
        FileNotFoundError: When the data are loaded, if a file does not exist.
        ValueError: If an argument is out of its range, or a file is not as expected.

    References:
        Ionescu et al., "Human3.6M", TPAMI 2014, https://doi.org/10.1109/TPAMI.2013.248; Pavllo et al., "3D human pose
        estimation in video with temporal convolutions and semi-supervised training", CVPR 2019,
        https://arxiv.org/abs/1811.11742
    """

    benchmark = "human36m"

    def __init__(self, path: str, keypoints: str = "gt", validation_subject: str | None = "S8", **kwargs: Any) -> None:
        super().__init__(skeleton="h36m17", **kwargs)
        if validation_subject is not None and validation_subject not in _TRAIN:
            raise ValueError(
                f"Expected `validation_subject` to be None or one of {list(_TRAIN)}, but got {validation_subject!r}."
            )
        self.path, self.keypoints, self.validation_subject = path, keypoints, validation_subject
        self._files: tuple[Path, Mapping[str, Any], Path, Mapping[str, Any]] | None = None

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the groups of each side, ``human36m/<subject>``."""
        return {side: [f"human36m/{subject}" for subject in self._subjects(side)] for side in ("train", "val", "test")}

    @property
    def action_names(self) -> list[str]:
        """The fifteen actions."""
        return list(H36M_ACTIONS)

    def recordings(self, side: str) -> Sequence[Recording]:
        """One recording per clip and camera."""
        file_3d, positions, file_2d, keypoints = self._load()
        found = []
        for subject in self._subjects(side):
            for file, data in ((file_3d, positions), (file_2d, keypoints)):
                if subject not in data:
                    raise ValueError(f"{file.name}: Expected the subject {subject!r}, but got {list(data)}.")
            seen = mapping(keypoints[subject], f"{file_2d.name}, {subject}")
            for action, world in mapping(positions[subject], f"{file_3d.name}, {subject}").items():
                where = f"{subject} {action}"
                world = floats(world, (None, (17, 32), 3), f"{file_3d.name}, {where}")
                world = world if world.shape[1] == 17 else world[:, _KEPT]
                if action not in seen:
                    raise ValueError(f"{file_2d.name}: Expected keypoints of {where}, but got none.")
                views = seen[action]
                found += self._views(subject, merged_action(action, where), world, views, f"{file_2d.name}, {where}")
        return found

    def _views(
        self, subject: str, action: str, world: npt.NDArray[np.float32], views: Any, where: str
    ) -> list[Recording]:
        """What the four cameras saw of a clip."""
        cameras = human36m_cameras(subject)
        found = len(views) if isinstance(views, Sequence) or np.ndim(views) else type(views).__name__
        if found != len(cameras):
            raise ValueError(f"{where}: Expected keypoints of {len(cameras)} cameras, but got {found}.")
        recordings = []
        for camera, view in zip(cameras, views, strict=True):
            there = f"{where}, camera {camera.name}"
            view = floats(view, (None, 17, (2, 3)), there)
            if not 0 <= len(view) - len(world) <= max(_SPARE, len(world) // 10):
                raise ValueError(
                    f"{there}: Expected keypoints of all {len(world)} frames that have a pose, and of few others, but "
                    f"got {len(view)}."
                )
            view = view[: len(world)]
            target = camera.to_camera(world.astype(np.float64) * 1000.0)
            self._check_seen(view[..., :2], camera.project(target), there)
            screen = on_screen(view, camera.width, camera.height, there)
            group = f"human36m/{subject}"
            recordings.append(recording(there, screen, target.astype(np.float32), group, action, 50.0))
        return recordings

    def _check_seen(self, view: Floats, projected: Floats, where: str) -> None:
        """Raise where keypoints are not what the camera sees of the poses."""
        away = np.linalg.norm(projected - view, axis=-1)
        # A detector takes left for right now and then; a file that does so always has swapped joints.
        swapped = np.linalg.norm(projected[:, list(self.skeleton.partners)] - view, axis=-1)
        size = np.median((projected.max(axis=1) - projected.min(axis=1)).max(axis=-1))
        allowed = _PIXELS if self.keypoints == "gt" else _SIZES * size
        off = float(np.median(away))
        if not off <= allowed or swapped.mean() < away.mean() / 2:
            raise ValueError(
                f"{where}: Expected keypoints that are the projected poses, but half of them are {off:.3g} pixels or "
                f"more away, of {allowed:.3g} allowed, or left and right are exchanged. Poses in metres, keypoints in "
                "pixels, the four cameras in order, and as many frames a second in both files?"
            )

    def _subjects(self, side: str) -> tuple[str, ...]:
        held = () if self.validation_subject is None else (self.validation_subject,)
        train = tuple(subject for subject in _TRAIN if subject not in held)
        return {"train": train, "val": held, "test": _TEST}[side]

    def _load(self) -> tuple[Path, Mapping[str, Any], Path, Mapping[str, Any]]:
        if self._files is None:
            folder = Path(self.path)
            file_3d = only_file(folder, ("data_3d_h36m.npz",), "path")
            file_2d = only_file(folder, (f"data_2d_h36m_{self.keypoints}.npz",), "keypoints")
            positions = mapping(read_object(file_3d, "positions_3d"), file_3d.name)
            keypoints = mapping(read_object(file_2d, "positions_2d"), file_2d.name)
            if "metadata" in array_names(file_2d):
                self._check_symmetry(read_object(file_2d, "metadata"), file_2d)
            self._files = file_3d, positions, file_2d, keypoints
        return self._files

    def _check_symmetry(self, metadata: Any, file: Path) -> None:
        sides = mapping(metadata, f"{file.name}, metadata").get("keypoints_symmetry")
        if sides is None:
            return
        where = f"{file.name}, metadata, keypoints_symmetry"
        found = tuple(sorted(side) for side in numbers(sides, (2, None), where, "iu").tolist())
        wanted = sorted(self.skeleton.left), sorted(self.skeleton.right)
        if found != wanted:
            raise ValueError(
                f"{file.name}: Expected left and right keypoints {wanted}, in the order of the 17 joints of "
                f"Human3.6M, but got {found}."
            )


def merged_action(name: Any, where: str) -> str:
    """One of the fifteen actions: "Walking 1" is "Walking", "TakingPhoto" is "Photo".

    Raises:
        ValueError: If it is none of them.

    Example:
        >>> merged_action("Walking 1", "S1"), merged_action("WalkingDog", "S5")
        ('Walking', 'WalkDog')
    """
    merged = str(name).split(" ")[0].split("_")[0]
    merged = _ALSO_CALLED.get(merged, merged)
    if merged not in H36M_ACTIONS:
        raise ValueError(f"{where}: Expected an action of Human3.6M, {list(H36M_ACTIONS)}, but got {name!r}.")
    return merged
