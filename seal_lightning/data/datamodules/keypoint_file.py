"""The LightningDataModule that feeds a detector's keypoints to a trained model."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seal_lightning._values import is_whole
from seal_lightning.data.formats._keypoints_npz import check_scale, to_screen
from seal_lightning.data.formats.checks import check_joint_names, frame_rate, located
from seal_lightning.data.formats.checks import image_size as check_image_size
from seal_lightning.data.formats.detections import Format, read_detections
from seal_lightning.data.windows import window_starts
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping

__all__ = ["KeypointFileDataModule"]


class KeypointFileDataModule(LightningDataModule):
    """Loads a detector's keypoints for ``trainer.predict``; it has no training, validation or test data.

    Batches are dicts: ``keypoints_2d`` (B[, T], J, 2|3), normalised as in training; ``visibility``, bool (B[, T], J),
    where a joint is missing somewhere, whose keypoint is then zero; and ``frame``, int64 (B,) or (B, T), the frame of
    the file that a prediction is for. Frames of a window that repeat the end of a clip, or that an earlier window had,
    have -1 there.

    Args:
        path: What a detector wrote: a file, or the folder of OpenPose.
        image_size: Width and height of the pictures in pixels. None takes them from the file, where it has them, or,
            for an npz, takes keypoints as normalised.
        format: Format of the file: "coco_results" (AlphaPose and ViTPose write it too), "coco", "mmpose", "openpose"
            or "npz". None tells it by the content.
        skeleton: The joints of the file. None is "h36m17", or what `mapping` starts from.
        mapping: How the joints that the model knows are made from these: a name like "coco17_to_h36m17", or a
            `KeypointMapping`. None keeps the joints.
        person: Track of the person to take (`track_id`, or AlphaPose's `idx`). None takes in every frame the person
            with the highest score, or where the detector gives people none, the highest mean confidence.
        min_confidence: Joints of at most this confidence are missing.
        fps: Frames per second of the video. None: single pictures that do not follow one another.
        frames: Frames T of a window, as the model was trained on.
        centre_target: Whether the model predicts a window's centre frame (frames // 2) alone.
        confidence: Whether keypoints carry their confidence as third channel.
        batch_size: Samples of a batch.

    Raises:
        FileNotFoundError: When the file is read, if there is none.
        ValueError: If an argument is out of its range, or the file is not as expected.

    Example:
        >>> import json, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "people.json")
        >>> someone = {"image_id": 7, "category_id": 1, "keypoints": [320.0, 240.0, 0.9] * 17, "score": 0.8}
        >>> _ = path.write_text(json.dumps([someone]))
        >>> data = KeypointFileDataModule(str(path), image_size=(640, 480), mapping="coco17_to_h36m17")
        >>> batch = next(iter(data.predict_dataloader()))
        >>> batch["keypoints_2d"].shape, batch["keypoints_2d"][0, 0].tolist()
        (torch.Size([1, 17, 3]), [0.0, 0.0, 0.8999999761581421])
    """

    def __init__(
        self,
        path: str,
        image_size: tuple[int, int] | None = None,
        format: Format | None = None,
        skeleton: str | Skeleton | None = None,
        mapping: str | KeypointMapping | None = None,
        person: int | None = None,
        min_confidence: float = 0.0,
        fps: float | None = None,
        frames: int = 1,
        centre_target: bool = False,
        confidence: bool = True,
        batch_size: int = 256,
    ) -> None:
        super().__init__()
        self.mapping = None if mapping is None else get_mapping(mapping)
        if self.mapping is not None and skeleton is not None and get_skeleton(skeleton) != self.mapping.source:
            raise ValueError("Expected `skeleton` to be what `mapping` starts from, or None, but got another one.")
        given = get_skeleton(self.mapping.source if self.mapping is not None else skeleton or "h36m17")
        if fps is not None:
            frame_rate(fps)
        for name, count in (("frames", frames), ("batch_size", batch_size)):
            if not is_whole(count) or count < 1:
                raise ValueError(f"Expected `{name}` to be 1 or more, but got {count!r}.")
        if centre_target and frames == 1:
            raise ValueError("Expected `frames` above 1 with `centre_target`, but got 1.")
        self.path, self.image_size, self.format, self.person = path, check_image_size(image_size), format, person
        self.min_confidence, self.fps, self.frames, self.centre_target = min_confidence, fps, frames, centre_target
        self.confidence, self.batch_size = confidence, batch_size
        self.skeleton = get_skeleton(given if self.mapping is None else self.mapping.target)
        self.names: tuple[str, ...] = ()
        self._given = given
        self._samples: _Windows | None = None

    def setup(self, stage: str | None = None) -> None:
        """Read the file; done once."""
        if self._samples is not None:
            return
        found = read_detections(
            self.path,
            format=self.format,
            person=self.person,
            min_confidence=self.min_confidence,
            video=self.fps is not None,
        )
        seen = np.asarray(np.isfinite(found.keypoints_2d).all(axis=-1))
        with located(self.path):
            remedy = "Say with `skeleton` or `mapping` which joints they are."
            if found.keypoints_2d.shape[1] != (joints := self._given.num_joints):
                raise ValueError(f"Expected {joints} joints, but got {found.keypoints_2d.shape[1]}. {remedy}")
            if found.joint_names is not None:
                check_joint_names(found.joint_names, self._given, remedy)
            size = self._size(found.image_size, np.asarray(seen.any(axis=1)))
            check_scale(found.keypoints_2d, seen, size)
        self.names = found.names
        self.visibility = seen if self.mapping is None else self.mapping.visibility(seen)
        self.keypoints_2d = to_screen(found.keypoints_2d, None, self.mapping)
        keypoints = np.where(self.visibility[..., None], to_screen(self.keypoints_2d, size, None), np.float32(0.0))
        self._samples = _Windows(
            torch.from_numpy(keypoints if self.confidence else keypoints[..., :2]),
            torch.from_numpy(self.visibility),
            self.frames,
            centred=self.centre_target,
            video=self.fps is not None,
        )

    def predict_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """All frames in order."""
        self.setup()
        samples: Any = self._samples
        return DataLoader(samples, batch_size=self.batch_size, generator=torch.Generator())

    def _size(
        self, of_file: npt.NDArray[np.float32] | None, anybody: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32] | None:
        """Width and height of the pictures, or of each (T, 2); None for an npz of normalised keypoints."""
        told = np.zeros((0, 2)) if of_file is None else of_file[anybody]
        known = told[np.isfinite(told).all(axis=-1)]
        if self.image_size is None:
            if of_file is None and str(self.path).endswith(".npz"):
                return None
            if of_file is None or len(known) < len(told):
                raise ValueError(
                    "Expected `image_size` for pixels, since the file does not tell, but got None. Keypoints in json "
                    "files are pixels."
                )
            return of_file
        given = np.array(self.image_size, dtype=np.float32)
        if (known != given).any():
            sizes = sorted(set(map(tuple, known.tolist())))
            raise ValueError(f"Expected `image_size` to be that of the file, {sizes}, or None, but got {given}.")
        return given


class _Windows(Dataset[dict[str, Tensor]]):
    """Windows over the frames of a file; a prediction is asked for every frame once."""

    def __init__(self, keypoints_2d: Tensor, visibility: Tensor, frames: int, *, centred: bool, video: bool) -> None:
        self.keypoints_2d, self.visibility = keypoints_2d, visibility
        self.frames, self.centred = frames, centred
        count = len(keypoints_2d)
        clips = [(0, count)] if video else [(frame, 1) for frame in range(count)]
        self.windows: list[tuple[int, int, int, int]] = []
        for first, length in clips:
            starts = window_starts(length, frames, 1 if centred else frames, centred=centred).tolist()
            # The last window may be moved back, and then begins with frames that the window before it has asked for.
            new_from = [0, *(start + frames for start in starts[:-1])]
            self.windows += [(first, length, start, new) for start, new in zip(starts, new_from, strict=True)]
        self.masked = not bool(visibility.all())

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        first, length, start, new_from = self.windows[index]
        moment = torch.arange(start, start + self.frames)
        frame = moment.clamp(0, length - 1) + first
        wanted = torch.where((moment >= new_from) & (moment < length), frame, -1)
        sample = {"keypoints_2d": self.keypoints_2d[frame], "frame": wanted}
        if self.masked:
            sample["visibility"] = self.visibility[frame]
        if self.frames == 1:
            sample = {name: values[0] for name, values in sample.items()}
        elif self.centred:
            sample["frame"] = frame[self.frames // 2]
        return sample
