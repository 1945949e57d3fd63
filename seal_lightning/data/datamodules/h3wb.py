"""H3WB, Human3.6M with whole-body keypoints, from its npz or json files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seal_lightning.data.datamodules._h3wb_json import read_h3wb_json
from seal_lightning.data.datamodules._reading import floats, on_screen, only_file, recording
from seal_lightning.data.datamodules.human36m import H36M_ACTIONS, merged_action
from seal_lightning.data.datamodules.recorded import RecordedDataModule
from seal_lightning.data.formats.checks import mapping
from seal_lightning.data.formats.object_arrays import array_names, read_object
from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.human36m_cameras import INTRINSICS

__all__ = ["H3WBDataModule"]

_TRAIN, _TEST = ("S1", "S5", "S6", "S7"), "S8"
_TRAIN_FILES = ("h3wb_train.npz", "2Dto3D_train.json")
_TEST_FILES = ("task1_test_3d.npz", "2Dto3D_test_3d.json", "2Dto3D_test_2d.json")
_UNKNOWN = "unknown"


class H3WBDataModule(RecordedDataModule):
    """H3WB: 133 whole-body joints for 100,000 pictures of Human3.6M.

    Subjects S1, S5, S6 and S7 train, S8 tests. There is no official validation set: the default holds back S7. The
    json files may lack the names of the pictures, which say who is seen; then the last fifth of the samples, in their
    order, is held back, the last of the five official folds, and the groups and actions are "unknown".

    Poses are in millimetres in the frame of the camera, relative to the pelvis, the mean of the hips. Pictures are
    taken at uneven times, so that there is no ``rate``. Batches are those of `RecordedDataModule`; groups are
    ``h3wb/S8``. A test file without poses serves for predictions alone.

    Args:
        path: Folder of the files.
        train_file: Name of the training file in the folder. None takes ``h3wb_train.npz`` or ``2Dto3D_train.json``,
            whichever is there.
        test_file: Name of the test file in the folder. None takes ``task1_test_3d.npz``, ``2Dto3D_test_3d.json`` or
            ``2Dto3D_test_2d.json``, whichever is there.
        validation_subject: Training subject that is held back to validate on. None trains on all samples.
        kwargs: Arguments of `RecordedDataModule`.

    Raises:
        FileNotFoundError: When the data are loaded, if a file does not exist.
        ValueError: If an argument is out of its range, or a file is not as expected.

    References:
        Zhu, Samet and Picard, "H3WB: Human3.6M 3D WholeBody dataset and benchmark", ICCV 2023,
        https://arxiv.org/abs/2211.15692
    """

    benchmark = "h3wb"
    _least_likeness = 0.5

    def __init__(
        self,
        path: str,
        train_file: str | None = None,
        test_file: str | None = None,
        validation_subject: str | None = "S7",
        **kwargs: Any,
    ) -> None:
        super().__init__(skeleton="h3wb133", **kwargs)
        if validation_subject is not None and validation_subject not in _TRAIN:
            raise ValueError(
                f"Expected `validation_subject` to be None or one of {list(_TRAIN)}, but got {validation_subject!r}."
            )
        self.path, self.validation_subject = path, validation_subject
        self.train_file, self.test_file = train_file, test_file
        self._trained: list[Recording] | None = None

    @property
    def groups(self) -> dict[str, list[str]]:
        """Names of the groups that each side may have, ``h3wb/<subject>``; "unknown" where the file does not say."""
        held = [subject for subject in _TRAIN if subject == self.validation_subject]
        train = [subject for subject in _TRAIN if subject not in held]
        sides = {"train": [*train, _UNKNOWN], "val": [*held, _UNKNOWN] if held else [], "test": [_TEST, _UNKNOWN]}
        return {side: [f"h3wb/{subject}" for subject in subjects] for side, subjects in sides.items()}

    @property
    def action_names(self) -> list[str]:
        """The fifteen actions of Human3.6M, and "unknown"."""
        return [*H36M_ACTIONS, _UNKNOWN]

    def recordings(self, side: str) -> Sequence[Recording]:
        """One recording per clip and camera; one of all samples where the file does not say whose they are."""
        if side == "test":
            test = self._read(self.test_file, _TEST_FILES, "test_file", "data")
            if strange := sorted({clip.group for clip in test} - set(self.groups["test"])):
                raise ValueError(
                    f"{self.path}: Expected the test file to hold subject {_TEST} alone, but got {strange}."
                )
            return test
        if side == "val" and self.validation_subject is None:
            return []
        if self._trained is None:
            self._trained = self._read(self.train_file, _TRAIN_FILES, "train_file", "train_data")
        if all(clip.group == f"h3wb/{_UNKNOWN}" for clip in self._trained):
            return self._fold(self._trained[0], side)
        found = [clip for clip in self._trained if clip.group in self.groups[side]]
        recorded = {clip.group for clip in found}
        if missing := [group for group in self.groups[side] if group not in recorded and _UNKNOWN not in group]:
            raise ValueError(f"{self.path}: Expected the training file to hold {missing}, but it does not.")
        return found

    def _fold(self, samples: Recording, side: str) -> list[Recording]:
        """The first four of five folds, or the last; all of them where nothing is held back."""
        if self.frames > 1:
            raise ValueError(
                f"Expected `frames` to be 1 for a file that does not say which samples follow each other, but got "
                f"{self.frames}."
            )
        if self.validation_subject is None:
            return [samples]
        start = len(samples) // 5 * 4
        part = slice(0, start) if side == "train" else slice(start, None)
        if len(samples) < 5:
            raise ValueError(f"Expected at least 5 training samples to hold back a fifth, but got {len(samples)}.")
        target = None if samples.target is None else samples.target[part]
        return [Recording(samples.keypoints_2d[part], target, samples.group, samples.action)]

    def _read(self, name: str | None, names: tuple[str, ...], argument: str, array: str) -> list[Recording]:
        file = only_file(Path(self.path), names if name is None else (name,), argument)
        if file.suffix == ".json":
            return read_h3wb_json(file)
        present = array_names(file)
        key = next((key for key in (array, "train_data", "data") if key in present), array)
        found = []
        for subject, actions in mapping(read_object(file, key), f"{file.name}, {key}").items():
            if subject not in (*_TRAIN, _TEST):
                raise ValueError(f"{file.name}: Expected subjects {[*_TRAIN, _TEST]}, but got {subject!r}.")
            for action, entry in mapping(actions, f"{file.name}, {subject}").items():
                found += _clip(subject, action, entry, f"{file.name}, {subject} {action}")
        if argument == "train_file":
            found = [clip for clip in found if clip.group != f"h3wb/{_TEST}"]
        return found


def _clip(subject: str, action: str, entry: Any, where: str) -> list[Recording]:
    """What the cameras saw of a clip."""
    cameras = [name for name in mapping(entry, where) if str(name) in INTRINSICS]
    if not cameras or (unknown := [name for name in entry if name not in cameras and isinstance(entry[name], Mapping)]):
        found = unknown if cameras else [*entry]
        raise ValueError(f"{where}: Expected entries of the cameras {list(INTRINSICS)}, but got {found}.")
    found = []
    for name in cameras:
        there = f"{where}, camera {name}"
        arrays = mapping(entry[name], there)
        if missing := [key for key in ("pose_2d", "camera_3d") if key not in arrays]:
            raise ValueError(f"{there}: Expected `pose_2d` and `camera_3d`, but {missing} are missing.")
        keypoints = floats(arrays["pose_2d"], (None, 133, 2), f"{there}, pose_2d")
        target = floats(arrays["camera_3d"], (len(keypoints), 133, 3), f"{there}, camera_3d")
        screen = on_screen(keypoints, 1000, INTRINSICS[str(name)]["height"], there)
        found.append(recording(there, screen, target, f"h3wb/{subject}", merged_action(action, where)))
    return found
