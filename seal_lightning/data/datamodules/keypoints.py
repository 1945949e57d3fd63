"""The LightningDataModule of your own keypoints and poses, from npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from seal_lightning.data.datamodules.recorded import RecordedDataModule
from seal_lightning.data.datasets.splits import SIDES, check_split
from seal_lightning.data.formats._keypoints_npz import read_keypoint_arrays
from seal_lightning.data.formats.checks import image_size as check_image_size
from seal_lightning.data.formats.recording import Recording
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping

__all__ = ["KeypointsDataModule"]


class KeypointsDataModule(RecordedDataModule):
    """Your own keypoints, with 3D poses to train on or without.

    A file has ``keypoints_2d`` (N, J, 2), or (N, J, 3) with confidences, and optionally ``positions_3d`` (N, J, 3) in
    the camera's frame (x right, y down, z away), ``visibility`` (N, J), ``clip_start`` and ``clip_length`` (C,),
    ``subject`` and ``clip`` (C,), strings that name person and clip, and ``fps``, one number. A joint is missing where
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
        kwargs: Arguments of `RecordedDataModule`.

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
        **kwargs: Any,
    ) -> None:
        made = None if mapping is None else get_mapping(mapping)
        if made is not None and skeleton is not None and get_skeleton(skeleton) != made.source:
            raise ValueError("Expected `skeleton` to be what `mapping` starts from, or None, but got another one.")
        given = get_skeleton(made.source if made is not None else skeleton or "h36m17")
        super().__init__(skeleton=given if made is None else made.target, **kwargs)
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
            "timed": self.rate is not None and self.frames > 1,
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
