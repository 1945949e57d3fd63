"""MPI-INF-3DHP as P-STMO prepared it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seal_lightning.data.datamodules._reading import floats, on_screen, only_file, recording
from seal_lightning.data.datamodules.recorded import RecordedDataModule
from seal_lightning.data.formats.checks import frame_rate, mapping, numbers
from seal_lightning.data.formats.object_arrays import read_object
from seal_lightning.data.formats.recording import Recording

__all__ = ["SCENES", "MPIINF3DHPDataModule"]

SCENES = {
    **{"TS1": "studio with green screen", "TS2": "studio with green screen"},
    **{"TS3": "studio without green screen", "TS4": "studio without green screen"},
    **{"TS5": "outdoor", "TS6": "outdoor"},
}
"""Where each test subject was filmed: the three scenes that scores are given for."""

_TRAIN = tuple(f"S{number}" for number in range(1, 9))
_SEQUENCES = ("Seq1", "Seq2")
_HEAD_TOP, _PELVIS, _HIPS = 0, 14, [8, 11]
_HIP_MM, _HEAD_MM = 300.0, 1000.0


class MPIINF3DHPDataModule(RecordedDataModule):
    """MPI-INF-3DHP from the files ``data_train_3dhp.npz`` and ``data_test_3dhp.npz`` of P-STMO.

    Subjects S1 to S8 train; the default holds back S8 to validate on, since there is no official validation set. All
    six test subjects TS1 to TS6 test, on their valid frames alone. The keypoints are projected truth: 2048 x 2048
    pixels, 1920 x 1080 for TS5 and TS6. Batches are those of `RecordedDataModule`; groups are ``mpi_inf_3dhp/TS1``,
    and the action of test samples is the scene, one of `SCENES`.

    Some files in use hold the trajectory of the camera, metres away from the body, where a joint belongs. That is an
    error in the pelvis (joint 14), which all else is relative to. In joint 0, the head top, it is an error unless it
    is asked for to exclude the joint.

    Args:
        path: Folder of the two files. Only the one that is needed must be there.
        validation_subject: Training subject that is held back to validate on. None trains on all of them.
        camera_slot: What to do where joint 0 holds the trajectory of the camera: "error", or "exclude" to make that
            joint invisible. Its keypoint and target are then zero: the model must know of ``visibility``, as a SEAL
            model does; a loss that does not will learn the zero.
        kwargs: Arguments of `RecordedDataModule`.

    Raises:
        FileNotFoundError: When the data are loaded, if a file does not exist.
        ValueError: If an argument is out of its range, or a file is not as expected.

    References:
        Mehta et al., "Monocular 3D human pose estimation in the wild using improved CNN supervision", 3DV 2017,
        https://arxiv.org/abs/1611.09813; Shan et al., "P-STMO", ECCV 2022, https://arxiv.org/abs/2203.07628
    """

    benchmark = "mpi_inf_3dhp"
    _least_likeness = 0.5

    def __init__(
        self,
        path: str,
        validation_subject: str | None = "S8",
        camera_slot: Literal["error", "exclude"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(skeleton="mpi_inf_3dhp17", **kwargs)
        if validation_subject is not None and validation_subject not in _TRAIN:
            raise ValueError(
                f"Expected `validation_subject` to be None or one of {list(_TRAIN)}, but got {validation_subject!r}."
            )
        if camera_slot not in ("error", "exclude"):
            raise ValueError(f"Expected `camera_slot` to be 'error' or 'exclude', but got {camera_slot!r}.")
        self.path, self.validation_subject, self.camera_slot = path, validation_subject, camera_slot

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the groups of each side, ``mpi_inf_3dhp/<subject>``."""
        held = [subject for subject in _TRAIN if subject == self.validation_subject]
        sides = {"train": [subject for subject in _TRAIN if subject not in held], "val": held, "test": list(SCENES)}
        return {side: [f"mpi_inf_3dhp/{subject}" for subject in subjects] for side, subjects in sides.items()}

    @property
    def action_names(self) -> list[str]:
        """The two sequences of the training subjects, and the three scenes of the test subjects."""
        return [*_SEQUENCES, *dict.fromkeys(SCENES.values())]

    def recordings(self, side: str) -> Sequence[Recording]:
        """One recording per sequence and camera."""
        return self._test() if side == "test" else self._train(side)

    def _train(self, side: str) -> list[Recording]:
        if not self.groups[side]:
            return []
        file = only_file(Path(self.path), ("data_train_3dhp.npz",), "path")
        sequences = mapping(read_object(file, "data"), file.name)
        found = []
        for name, entry in sequences.items():
            subject, _, sequence = str(name).partition(" ")
            if subject not in _TRAIN or sequence not in _SEQUENCES:
                raise ValueError(f"{file.name}: Expected sequences like 'S1 Seq1', from S1 to S8, but got {name!r}.")
            if f"mpi_inf_3dhp/{subject}" in self.groups[side]:
                if not isinstance(entry, list | tuple) or len(entry) != 2:
                    raise ValueError(f"{file.name}, {name}: Expected a list of cameras and frames per second.")
                fps = frame_rate(entry[1], f"{file.name}, {name}, frames per second")
                for camera, arrays in mapping(entry[0], f"{file.name}, {name}").items():
                    where = f"{file.name}, {name}, camera {camera}"
                    found.append(self._recording(arrays, subject, sequence, (2048, 2048), fps, where))
        recorded = {recording.group for recording in found}
        if missing := [group for group in self.groups[side] if group not in recorded]:
            raise ValueError(f"{file.name}: Expected sequences of {missing}, but got {list(sequences)}.")
        return found

    def _test(self) -> list[Recording]:
        file = only_file(Path(self.path), ("data_test_3dhp.npz",), "path")
        subjects = mapping(read_object(file, "data"), file.name)
        if set(subjects) != set(SCENES):
            raise ValueError(f"{file.name}: Expected the test subjects {list(SCENES)}, but got {list(subjects)}.")
        size = {subject: (1920, 1080) if scene == "outdoor" else (2048, 2048) for subject, scene in SCENES.items()}
        return [
            self._recording(subjects[name], name, scene, size[name], None, f"{file.name}, {name}")
            for name, scene in SCENES.items()
        ]

    def _recording(
        self, arrays: Any, subject: str, action: str, size: tuple[int, int], fps: float | None, where: str
    ) -> Recording:
        arrays = mapping(arrays, where)
        wanted = ["data_2d", "data_3d"] + (["valid"] if subject in SCENES else [])
        if missing := [name for name in wanted if name not in arrays]:
            raise ValueError(f"{where}: Expected {wanted}, but {missing} are missing; got {list(arrays)}.")
        keypoints = floats(arrays["data_2d"], (None, 17, 2), f"{where}, data_2d")
        target = floats(arrays["data_3d"], (len(keypoints), 17, 3), f"{where}, data_3d")
        scored = _valid(arrays, len(keypoints), where) if subject in SCENES else None
        excluded = self._holds_camera(target, where)
        visibility = None
        if excluded:
            visibility = np.ones(keypoints.shape[:2], dtype=np.bool_)
            visibility[:, _HEAD_TOP] = False
        group = f"mpi_inf_3dhp/{subject}"
        screen = on_screen(keypoints, *size, where)
        return recording(where, screen, target, group, action, fps, visibility, scored)

    def _holds_camera(self, target: npt.NDArray[np.float32], where: str) -> bool:
        """Whether joint 0 holds the trajectory of the camera, which is an error unless it is to be excluded."""
        hips = float(np.median(np.linalg.norm(target[:, _HIPS].mean(axis=1) - target[:, _PELVIS], axis=-1)))
        if not hips <= _HIP_MM:
            raise ValueError(
                f"{where}: Expected joint 14 to be the pelvis, in millimetres, but it lies {hips:.0f} from the middle "
                "of the hips: it may hold the trajectory of the camera. Prepare the file again from the original "
                "annotations."
            )
        away = float(np.median(np.linalg.norm(target[:, _HEAD_TOP] - target[:, _PELVIS], axis=-1)))
        if away > _HEAD_MM and self.camera_slot == "error":
            raise ValueError(
                f"{where}: Expected joint 0 to be the head top, but it lies {away:.0f} mm from the pelvis: it may hold "
                "the trajectory of the camera. Prepare the file again from the original annotations, or set "
                "`camera_slot` to 'exclude' to leave that joint out."
            )
        return away > _HEAD_MM


def _valid(arrays: Mapping[Any, Any], frames: int, where: str) -> npt.NDArray[np.bool_]:
    given = arrays["valid"]
    valid = numbers(given.reshape(-1) if isinstance(given, np.ndarray) else given, (frames,), f"{where}, valid", "biuf")
    if not np.isin(valid, (0, 1)).all():
        raise ValueError(f"{where}, valid: Expected 0 or 1 for every frame, but got {np.unique(valid)[:5].tolist()}.")
    return valid.astype(np.bool_)
