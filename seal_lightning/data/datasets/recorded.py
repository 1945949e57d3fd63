"""Windows of recordings as a map-style dataset that builds whole batches at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from seal_lightning.data.formats.recording import Recording
from seal_lightning.data.views.draws import Draws
from seal_lightning.data.windows import window_starts
from seal_lightning.skeleton import Skeleton

__all__ = ["RecordedDataset"]

Bools = npt.NDArray[np.bool_]


class RecordedDataset(Dataset[dict[str, Tensor]]):
    """Windows of recordings: 2D keypoints, root-relative target, group, action, and visibility where there is any.

    A list of indices gives a whole batch. The recordings' arrays are read where they lie and never joined, so that
    memory-mapped files stay on disk. As in `PoseDataset` the index ``k * len(dataset) + i`` asks for draw k of sample
    i; draws differ in what is mirrored.

    In evaluation every frame counts once, and only if it is scored. Single frames, and windows around one, are left
    out where it is not. Frames of a window that are not scored, that repeat the end of a clip, or that an earlier
    window had already, stay in the keypoints and are invisible in ``visibility``. Samples without a visible root are
    left out everywhere.

    Args:
        recordings: The recordings, all with a target or none.
        skeleton: Their joints.
        group_names: Names that ``group`` indexes.
        action_names: Names that ``action`` indexes.
        frames: Frames T of a window; 1 gives single frames without a time axis.
        step: Frames between the starts of neighbouring windows of a recording.
        centre_target: Whether windows are centred on a frame and the target is that frame alone.
        confidence: Whether keypoints have their confidence as third channel, 1 where the recording has none.
        scale: Factor from millimetres to the unit of the targets.
        evaluation: Whether to count only frames that are scored, and each once.
        flip: Whether half of the samples are mirrored, drawn anew in every draw.
        seed: Seed of these draws.

    Raises:
        ValueError: If joints do not fit, only some recordings have a target, or no frame is left.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        skeleton: Skeleton,
        *,
        group_names: Sequence[str],
        action_names: Sequence[str],
        frames: int,
        step: int,
        centre_target: bool,
        confidence: bool,
        scale: float,
        evaluation: bool,
        flip: bool = False,
        seed: int = 0,
    ) -> None:
        self.recordings, self.skeleton, self.frames, self.centre_target = recordings, skeleton, frames, centre_target
        self.confidence, self.scale, self.evaluation, self.flip = confidence, scale, evaluation, flip
        self.seed = seed
        if wrong := [clip.num_joints for clip in recordings if clip.num_joints != skeleton.num_joints]:
            raise ValueError(f"Expected recordings of {skeleton.num_joints} joints, but got one of {wrong[0]}.")
        labelled = {clip.target is not None for clip in recordings}
        if len(labelled) > 1:
            raise ValueError("Expected all recordings of a side to have a target, or none, but only some have one.")
        self.labelled = labelled == {True}
        groups = {name: index for index, name in enumerate(group_names)}
        actions = {name: index for index, name in enumerate(action_names)}
        self._group = torch.tensor([groups[clip.group] for clip in recordings], dtype=torch.long)
        self._action = torch.tensor([actions[clip.action] for clip in recordings], dtype=torch.long)
        self._length = np.array([len(clip) for clip in recordings], dtype=np.int64)
        self._single = frames == 1 or centre_target
        self._clip, self._start, self._new_from = self._samples(step)
        if len(self._clip) == 0:
            raise ValueError(
                f"Expected at least one frame with a visible root{' that is scored' if evaluation else ''}, but the "
                f"{len(recordings)} recordings have none."
            )
        repeats = evaluation and not self._single and self._repeats_frames()
        masks = any(clip.visibility is not None or self._scored(clip) is not None for clip in recordings)
        self.masked = repeats or (masks if not self._single else any(r.visibility is not None for r in recordings))

    def __len__(self) -> int:
        return len(self._clip)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return one sample of draw 0, without the batch dimension."""
        if not 0 <= index < len(self):
            raise IndexError(f"Expected `index` to be from 0 to {len(self) - 1}, but got {index}.")
        return {name: values[0] for name, values in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Return a batch.

        Its entries are ``keypoints_2d`` (B[, T], J, 2|3), ``target`` (B[, T], J, 3) unless there is no truth, ``group``
        and ``action`` (B,), and ``visibility`` (B[, T], J) where it says anything.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        draw, sample = wanted // len(self), wanted % len(self)
        clip, start = self._clip[sample], self._start[sample]
        moment = start[:, None] + np.arange(self.frames)
        frame = moment.clip(0, self._length[clip, None] - 1)
        aimed = frame[:, self.frames // 2, None] if self._single else frame

        channels = 3 if self.confidence else 2
        keypoints = np.ones((*frame.shape, self.skeleton.num_joints, channels), dtype=np.float32)
        target = np.zeros((*aimed.shape, self.skeleton.num_joints, 3), dtype=np.float32)
        seen = np.ones(keypoints.shape[:-1], dtype=np.bool_)
        counts = np.ones(aimed.shape, dtype=np.bool_)
        for number in np.unique(clip):
            rows, recording = np.flatnonzero(clip == number), self.recordings[number]
            found = recording.keypoints_2d[frame[rows]][..., :channels]
            keypoints[rows, ..., : found.shape[-1]] = found
            if recording.target is not None:
                target[rows] = recording.target[aimed[rows]]
            if recording.visibility is not None:
                seen[rows] = recording.visibility[frame[rows]]
            if (scored := self._scored(recording)) is not None:
                counts[rows] = scored[aimed[rows]]
        if self.evaluation and not self._single:
            counts &= (moment >= self._new_from[sample, None]) & (moment < self._length[clip, None])

        keypoints[~seen] = 0.0
        visible = seen[:, self.frames // 2, None] if self._single else seen
        target, visible = self._about_root(target, visible)
        parts = {"keypoints_2d": keypoints, "target": target * np.float32(self.scale)}
        parts["visibility"] = visible & counts[..., None]
        batch = {name: torch.from_numpy(values) for name, values in parts.items()}
        if self.flip:
            self._mirror_some(batch, Draws(self.seed, torch.from_numpy(sample), torch.from_numpy(draw)))
        for name in ("target", "visibility") if self._single else ():
            batch[name] = batch[name][:, 0]
        if self.frames == 1:
            batch["keypoints_2d"] = batch["keypoints_2d"][:, 0]
        for name, wanted_in in (("target", self.labelled), ("visibility", self.masked)):
            if not wanted_in:
                del batch[name]
        return batch | {"group": self._group[clip], "action": self._action[clip]}

    def _samples(self, step: int) -> tuple[npt.NDArray[np.int64], ...]:
        """Recording, first frame, and first frame that no earlier window had, of every sample."""
        clips, starts, new_from = [], [], []
        for number, recording in enumerate(self.recordings):
            start = window_starts(len(recording), self.frames, step, centred=self.centre_target)
            new = np.concatenate(([0], start[:-1] + self.frames)).clip(0)
            if self._single:
                keep = self._counting(recording)[start + self.frames // 2]
                start, new = start[keep], new[keep]
            clips.append(np.full(len(start), number))
            starts.append(start)
            new_from.append(new)
        none = np.zeros(0, dtype=np.int64)
        return tuple(np.concatenate([none, *parts]) for parts in (clips, starts, new_from))

    def _counting(self, recording: Recording) -> Bools:
        """Which frames can be a sample of their own: those with a visible root that are scored."""
        keep = np.ones(len(recording), dtype=np.bool_)
        if recording.visibility is not None:
            keep &= recording.visibility[:, list(self.skeleton.root_joints)].any(axis=1)
        scored = self._scored(recording)
        return keep if scored is None else keep & scored

    def _scored(self, recording: Recording) -> Bools | None:
        return recording.scored if self.evaluation else None

    def _repeats_frames(self) -> bool:
        outside = (self._start < 0) | (self._start + self.frames > self._length[self._clip])
        return bool((outside | (self._start < self._new_from)).any())

    def _about_root(self, target: npt.NDArray[np.float32], visible: Bools) -> tuple[npt.NDArray[np.float32], Bools]:
        """Poses about the mean of their visible root joints; invisible joints are zero, all of them without a root."""
        root = list(self.skeleton.root_joints)
        weight = visible[..., root, None].astype(np.float32)
        count = weight.sum(axis=-2, keepdims=True)
        origin = np.where(weight > 0, target[..., root, :], 0.0).sum(axis=-2, keepdims=True) / count.clip(1.0)
        visible = visible & (count[..., 0] > 0)
        return np.where(visible[..., None], target - origin, np.float32(0.0)), visible

    def _mirror_some(self, batch: dict[str, Tensor], draws: Draws) -> None:
        """Mirror half of the samples: the sign of x turns, left and right joints swap."""
        chosen = draws.uniform("flip", 1)[:, 0] < 0.5
        for name, values in batch.items():
            if name == "visibility":
                values[chosen] = values[chosen][..., list(self.skeleton.partners)]
            else:
                mirrored = values[chosen][..., list(self.skeleton.partners), :]
                mirrored[..., 0] *= -1.0
                values[chosen] = mirrored
