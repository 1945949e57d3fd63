"""The LightningDataModule of keypoints and poses of one's own, from npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from seal_lightning.data.datamodules.recorded import RecordedDataModule
from seal_lightning.data.datasets.splits import SIDES, check_split
from seal_lightning.data.formats._checks import image_size as check_image_size
from seal_lightning.data.formats.keypoints_npz import read_keypoint_arrays
from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping

__all__ = ["KeypointsDataModule"]


class KeypointsDataModule(RecordedDataModule):
    """Keypoints of one's own, with 3D poses to train on or without.

    A file has ``keypoints_2d`` (N, J, 2), or (N, J, 3) with confidences, and optionally ``positions_3d`` (N, J, 3) in
    the camera's frame (x right, y down, z away), ``visibility`` (N, J), ``clip_start`` and ``clip_length`` (C,),
    ``subject`` and ``clip`` (C,), texts that name person and clip, and ``fps``, one number. A joint is missing where
    its visibility is 0 or one of its numbers is NaN. Without ``clip_start`` all frames are one clip.

    Batches are those of `RecordedDataModule`; groups are called ``file/subject``. What lies in a file uncompressed
    stays on disk and is normalised and mapped where it is read.

    Args:
        path: An npz file to be split, or one file each under train, val and test.
        split: Lists of subjects, or of clips, under train, val and test. Those that no list names are left out.
        split_by: What `split` names: "subject" or "clip".
        image_size: Width and height of the pictures in pixels; keypoints are then pixels. None: keypoints are
            normalised, x from -1 to 1 across the picture, y by the same factor from the picture's middle.
        positions_unit: Unit of ``positions_3d``, "m" or "mm"; needed where there are some.
        skeleton: The joints of the files. None is "h36m17", or what `mapping` starts from.
        mapping: How keypoints and poses of another skeleton are made from these: a name like "coco17_to_h36m17", or a
            `KeypointMapping`. None keeps the skeleton.
        frames: Frames T of a window; 1 gives single frames without a time axis.
        centre_target: Whether the target of a window is its centre frame alone (frames // 2), for every frame of a
            clip; windows reach beyond the ends of a clip by repeating its first or last frame.
        train_frame_step: Frames between the starts of neighbouring training samples of a clip.
        eval_frame_step: The same for validation and test. None covers every frame once: the length of a window, or 1
            with `centre_target`.
        batch_size: Samples of a batch. An incomplete last training batch is left out, unless it is the only one.
        unit: Unit of the targets, "m" or "mm".
        confidence: Whether keypoints carry their confidence as third channel, 1 where the files have none.
        flip: Whether half of the training samples are mirrored, drawn anew every time. Leave it out where the model
            mirrors them itself.
        rate: Frames per second that windows are resampled to. None takes them as they are; single frames always are.
        num_workers: Worker processes of a loader.
        seed: Seed of the training order and of what is mirrored.
        samples_per_epoch: Training samples of an epoch. None takes every sample once.

    Raises:
        FileNotFoundError: When the data are loaded, if a path does not exist.
        ValueError: If an argument is out of its range, a file is not as expected, or the split does not fit the data.

    Example:
        >>> import tempfile, numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> keypoints = np.random.default_rng(0).uniform(-0.5, 0.5, (6, 17, 2))
        >>> np.savez(f"{folder}/mine.npz", keypoints_2d=keypoints, clip_start=[0, 2], clip_length=[2, 4])
        >>> data = KeypointsDataModule(f"{folder}/mine.npz", split={"test": ["1"]}, split_by="clip", skeleton="coco17")
        >>> len(data.dataset("test")), data.group_names
        (4, ['mine/all'])
    """

    def __init__(
        self,
        path: str | dict[str, str],
        split: dict[str, list[str]] | None = None,
        split_by: Literal["subject", "clip"] = "subject",
        image_size: tuple[int, int] | None = None,
        positions_unit: Literal["m", "mm"] | None = None,
        skeleton: str | Skeleton | None = None,
        mapping: str | KeypointMapping | None = None,
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
        made = None if mapping is None else get_mapping(mapping)
        if made is not None and skeleton is not None and get_skeleton(skeleton) != made.source:
            raise ValueError("Expected `skeleton` to be what `mapping` starts from, or None, but got another one.")
        given = get_skeleton(made.source if made is not None else skeleton or "h36m17")
        super().__init__(
            given if made is None else made.target,
            frames=frames,
            centre_target=centre_target,
            train_frame_step=train_frame_step,
            eval_frame_step=eval_frame_step,
            batch_size=batch_size,
            unit=unit,
            confidence=confidence,
            flip=flip,
            rate=rate,
            num_workers=num_workers,
            seed=seed,
            samples_per_epoch=samples_per_epoch,
        )
        if isinstance(path, str) == (split is None):
            raise ValueError(
                "Expected one file as `path` and a `split`, or a file each under train, val and test and no `split`, "
                f"but got {path!r} and {split!r}."
            )
        if split_by not in ("subject", "clip"):
            raise ValueError(f"Expected `split_by` to be 'subject' or 'clip', but got {split_by!r}.")
        if positions_unit not in (None, "m", "mm"):
            raise ValueError(f"Expected `positions_unit` to be 'm' or 'mm', but got {positions_unit!r}.")
        if isinstance(path, dict):
            if not path or set(path) - set(SIDES) or not all(isinstance(file, str) for file in path.values()):
                raise ValueError(f"Expected `path` to be a file, or one each under some of {SIDES}, but got {path!r}.")
        else:
            check_split(split, f"{split_by}s")
        self.path, self.split, self.split_by = path, split, split_by
        self._options: dict[str, Any] = {
            **{"skeleton": given, "image_size": check_image_size(image_size)},
            **{"positions_unit": positions_unit, "mapping": made},
            "timed": rate is not None and frames > 1,
        }
        self._clips: dict[str, list[tuple[str, str, Recording]]] = {}

    def recordings(self, side: str) -> Sequence[Recording]:
        """The clips of ``train``, ``val`` or ``test``.

        Raises:
            FileNotFoundError: If a path does not exist.
            ValueError: If a file is not as expected, or the split does not fit it.
        """
        if isinstance(self.path, dict):
            return [clip for *_, clip in self._read(self.path[side])] if side in self.path else []
        clips = self._read(self.path)
        names = [subject if self.split_by == "subject" else name for subject, name, _ in clips]
        split = check_split(self.split, f"{self.split_by}s", names)
        return [clip for name, (*_, clip) in zip(names, clips, strict=True) if name in split.get(side, [])]

    def _read(self, path: str) -> list[tuple[str, str, Recording]]:
        if path not in self._clips:
            self._clips[path] = read_keypoint_arrays(Path(path), **self._options)
        return self._clips[path]
