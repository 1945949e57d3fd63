"""One step of a host, watched and read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seal_lightning.training.batch import SealBatch
from seal_lightning.training.reading.calls import Call, Calls
from seal_lightning.training.reading.choice import choose, made_by, meetings_in
from seal_lightning.training.reading.counted import counted
from seal_lightning.training.reading.keypoints import find_keypoints
from seal_lightning.training.reading.masks import find_mask
from seal_lightning.training.reading.meeting import Meeting
from seal_lightning.training.reading.replay import Replay, call_upstream, predicted_again, recorded_call
from seal_lightning.training.reading.report import met, origin
from seal_lightning.training.reading.shapes import PoseShapes
from seal_lightning.training.reading.stated import Stated
from seal_lightning.training.reading.unseen import read_unseen
from seal_lightning.training.reading.watch import BATCH, OPAQUE, Pose, Watch

__all__ = ["Found", "RecordedIterator", "WatchedStep"]


@dataclass
class Found:
    """What was found of prediction and truth in one loss, or in a step without one.

    Args:
        meeting: The pair that the loss compares.
        unseen: A prediction and a truth, where the loss could not be followed.
        stated: What the host told the criterion that it called itself.
        error: Why there is no pair, where there is more than one reading.
        loss: Bits of all that the loss is made from; all bits where there is no loss.
    """

    meeting: Meeting | None = None
    unseen: tuple[Pose, Pose] | None = None
    stated: Stated | None = None
    error: ValueError | None = None
    loss: int = ~0

    def __bool__(self) -> bool:
        return bool(self.meeting or self.unseen or self.stated or self.error)

    @property
    def prediction(self) -> Tensor | None:
        """The very tensor that is the prediction."""
        if self.meeting is not None:
            return self.meeting.prediction
        if self.unseen is not None:
            return self.unseen[0].tensor
        return None if self.stated is None else self.stated.prediction


class RecordedIterator:
    """The iterator that a step with ``dataloader_iter`` draws from; the step is told what was drawn."""

    def __init__(self, iterator: Any) -> None:
        self.iterator = iterator
        self.batches: list[Any] = []
        self.drawn: Callable[[Any], None] = lambda batch: None

    @property
    def batch(self) -> Any:
        """The batch that was drawn; all of them where they are several."""
        return self.batches[0] if len(self.batches) == 1 else self.batches

    def __iter__(self) -> RecordedIterator:
        return self

    def __next__(self) -> Any:
        item = next(self.iterator)
        self.batches.append(item[0])
        self.drawn(item[0])
        return item

    def __getattr__(self, name: str) -> Any:
        return getattr(self.iterator, name)


class WatchedStep:
    """Follows one step of a host and reads it.

    Args:
        host: The module whose step it is.
        joints: Number of joints of a pose.
        source: The batch, or the `RecordedIterator` that it is drawn from.
        trusted: Whether the third channel of keypoints that are made from the truth is a confidence.
        all_kept: Whether to keep what all calls of networks were given and returned, whatever their shapes.
        root: The joints that poses are aligned to. Joints that the loss leaves out of its comparison, but for these,
            are then not visible; without a root, all are.
    """

    def __init__(
        self,
        host: nn.Module,
        joints: int,
        source: Any,
        *,
        trusted: Callable[[Tensor], bool],
        all_kept: bool = False,
        root: Sequence[int] = (),
    ) -> None:
        self.watch = Watch(PoseShapes(joints))
        self._calls = Calls(host, self.watch, all_kept)
        self._source, self._trusted, self._root = source, trusted, list(root)
        self.current = Found()  # what `read` is to make a batch of
        self.keypoints: Tensor | None = None
        self._part = False  # whether these were taken out of more keypoints
        self.unread_masks: list[Tensor] = []  # by which the loss weighs errors, in a way that cannot be told
        self.fitting_keypoints: list[str] = []  # where there are several, none of which the others are made from

    def __reduce__(self) -> Any:
        """A copy of the host that is made inside of its step is in no step."""
        return type(None), ()

    @property
    def batch(self) -> Any:
        """The batch of the step."""
        return self._source.batch if isinstance(self._source, RecordedIterator) else self._source

    @property
    def calls(self) -> list[Call]:
        """The outermost calls of networks so far."""
        return self._calls.found

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Follow what runs in this context."""
        if isinstance(self._source, RecordedIterator):
            self._source.drawn = self.watch.begin
        else:
            self.watch.begin(self._source)
        with self._calls.recorded():
            yield

    def unseen(self) -> Any:
        """A context in which the watch looks away."""
        return self._calls.unseen()

    def find(self, loss: Tensor | None) -> Found:
        """Find prediction and truth in a loss; where there is none, in the whole step."""
        watch, found = self.watch, Found(loss=~0 if loss is None else self.watch.made_of(loss))
        made_of = OPAQUE if loss is None else watch.made_of(loss)
        found.stated = next((stated for stated in watch.stated if made_of & stated.bit), None)
        try:
            found.meeting = choose(watch, self.calls, meetings_in(watch, loss))
            meeting = found.meeting  # with what is no part of the batch, beside a loss that cannot be followed
            if (meeting is None or not meeting.truth_made_of & BATCH) and found.stated is None and made_of & OPAQUE:
                found.unseen = read_unseen(watch, self.calls, trained=loss is not None)
                found.meeting = None if found.unseen is not None else meeting
        except ValueError as error:
            found.error = error
        return found

    def call_of(self, found: Found, loss: Tensor | None) -> Call | None:
        """The call that made the prediction."""
        return made_by(self.calls, self.watch, self._made_of(found, loss))

    def read(self) -> SealBatch:
        """What was found, with keypoints and masks.

        Raises:
            ValueError: If there is no one reading.
        """
        found = self.current
        if found.error is not None:
            raise found.error
        if found.stated is not None:
            return self._as_stated(found.stated, found.meeting)
        shapes, prediction = self.watch.shapes, found.prediction
        if prediction is None:
            raise ValueError("Expected a prediction to meet a truth in this step, but none did.")
        if found.meeting is not None:
            truth, of = found.meeting.truth, (found.meeting.bits[1], found.meeting.truth_made_of)
        else:
            pose = found.unseen[1]  # type: ignore[index]
            truth, of = pose.tensor, (pose.bit, self.watch.made_of(pose.tensor))
        pose_batch = shapes.batch(prediction)
        leading = tuple(pose_batch.shape[:-2])
        made_of = self._made_of(found, None)
        visibility = find_mask("visibility", self.batch, (*leading, shapes.joints))
        labelled = find_mask("labelled", self.batch, leading[:1])
        if found.meeting is not None:
            visibility = _both(visibility, self._compared(found.meeting, leading))
            weighings = self.watch.weighings.found
            what = counted(weighings, found.meeting, found.loss, leading, shapes.joints, self._root)
            visibility, labelled = _both(visibility, what.visibility), _both(labelled, what.labelled)
            self.unread_masks = [one.weight for one in what.unread]
            if (compared := found.meeting.samples) is not None and compared.dim() == 1:
                labelled = _both(labelled, compared)
            elif compared is not None:
                visibility = _both(visibility, compared[..., None].expand(*leading, shapes.joints))
        masks = [mask for mask in (_stated_mask(self.batch), visibility) if mask is not None]
        fit = find_keypoints(self.watch, self.calls, made_of, of, leading, self._trusted, masks)
        keypoints, self.keypoints, self._part = fit[0] if fit else (None, None, False)
        self.fitting_keypoints = [
            f"{origin(self.watch, self.calls, one.tensor, self.watch.made_of(one.tensor))} {tuple(one.tensor.shape)}"
            for one in (fit if len(fit) > 1 else ())
        ]
        return SealBatch(
            None if keypoints is None else _floating(keypoints),
            pose_batch,
            _floating(shapes.batch(truth)).detach(),
            visibility,
            labelled,
        )

    def _compared(self, meeting: Meeting, leading: tuple[int, ...]) -> Tensor | None:
        """The joints that were compared, and the root, at which poses are aligned; None for all of them."""
        joints = meeting.joints(self.watch.shapes.joints) if self._root else None
        if joints is None:
            return None
        joints = joints.index_fill(0, torch.tensor(self._root, device=joints.device), True)
        if joints.device.type == "cpu" and bool(joints.all()):  # no look at another device's values
            return None
        return joints.to(meeting.prediction.device).expand(*leading, -1)

    def replay(self) -> Replay | str:
        """The call that made the prediction, to be run once more; or why it cannot be."""
        prediction = self.current.prediction
        if prediction is None:
            return "the prediction of the step is not known"
        return recorded_call(self.watch, self.calls, prediction, self.keypoints)

    def predicted_again(self) -> Tensor | str:
        """What the call that made the prediction predicts in evaluation mode; or why it cannot be run once more."""
        prediction = self.current.prediction
        if prediction is None:
            return "the prediction of the step is not known"
        with self.unseen():
            return predicted_again(self.watch, self.calls, prediction)

    def upstream(self) -> Replay | None:
        """The first call out of which the step makes its prediction, perhaps as a mean, which has to be checked."""
        prediction = self.current.prediction
        return None if prediction is None else call_upstream(self.watch, self.calls, prediction, self.keypoints)

    def said(self, found: Found, read: SealBatch) -> str:
        """One line on what is read."""
        if read.keypoints_2d is None:
            keypoints = "none, the energy judges poses alone"
        elif self.keypoints is None:
            keypoints = f"as given {tuple(read.keypoints_2d.shape)}"
        else:
            where = origin(self.watch, self.calls, self.keypoints, self.watch.made_of(self.keypoints))
            fewer = read.keypoints_2d.numel() < self.keypoints.numel()
            taken = ("part of " if self._part else "centre frame of ") if fewer else ""
            where = f"what is {where}" if taken and where.startswith("made from") else where
            keypoints = f"{taken}{where} {tuple(self.keypoints.shape)}"
        if found.meeting is not None:
            pair = met(self.watch, self.calls, found.meeting)
        else:
            target = "none" if read.target is None else tuple(read.target.shape)
            pair = f"prediction = {tuple(read.prediction.shape)}, truth = {target}, by their shapes"
        masks = [name for name in ("visibility", "labelled") if getattr(read, name) is not None]
        return f"keypoints = {keypoints}; {pair}" + (f"; masks = {', '.join(masks)}" if masks else "")

    def _made_of(self, found: Found, loss: Tensor | None) -> int:
        if found.meeting is not None:
            return found.meeting.made_of
        prediction = found.prediction
        if prediction is not None:
            return self.watch.made_of(prediction)
        return ~0 if loss is None else self.watch.made_of(loss)

    def _as_stated(self, stated: Stated, meeting: Meeting | None) -> SealBatch:
        target = stated.target
        if target is None and meeting is not None:
            target = self.watch.shapes.batch(meeting.truth)
        return SealBatch(
            stated.keypoints_2d,
            stated.prediction,
            None if target is None else target.detach(),
            stated.visibility,
            stated.labelled,
        )


def _both(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one & other if one is not None and other is not None else (other if one is None else one)


def _floating(tensor: Tensor) -> Tensor:
    return tensor if tensor.is_floating_point() else tensor.float()


def _stated_mask(batch: Any) -> Tensor | None:
    mask = batch.get("visibility") if isinstance(batch, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.dtype == torch.bool else None
