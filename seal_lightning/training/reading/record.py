"""What the steps so far were read as: the line that says so, and the steps that trained no pose."""

from __future__ import annotations

import warnings
from typing import Any

from torch import Tensor

from seal_lightning.skeleton import Skeleton
from seal_lightning.training import host
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.reading.choice import OVERRIDE
from seal_lightning.training.reading.left_alone import why_left_alone
from seal_lightning.training.reading.meeting import Meeting
from seal_lightning.training.reading.mixtures import mixed_from, why_mixed
from seal_lightning.training.reading.other_skeletons import which_fit
from seal_lightning.training.reading.step import Found, WatchedStep
from seal_lightning.training.reading.watch import BATCH
from seal_lightning.training.warmup import never_felt

__all__ = ["Record"]

_PATIENCE = 200  # steps without a pose, from the first on, after which the training stops


class Record:
    """Says once what is read, and once that steps are sat out.

    Args:
        skeleton: The skeleton of the poses.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self.line: str | None = None
        self.met = False  # whether a loss of this host was ever seen to compare prediction and truth
        self.idle = 0
        self._warned: set[str] = set()
        self._told = False  # that a step was sat out
        self._masks: set[tuple[int, ...]] = set()  # shapes of masks that were looked at
        self._mixed: set[str] = set()  # operations that mixed a truth into what met it, each looked at once

    def read(self, module: Any, step: WatchedStep, found: Found, read: SealBatch) -> None:
        """Note what a training step was read as; the first time, say it.

        Raises:
            ValueError: If what meets the truth was mixed with it before.
        """
        if found.meeting is not None and not module._seal_overridden:
            self._look_at_mixture(step, found.meeting, read.visibility)
        if found.meeting is not None and not (found.meeting.truth_made_of & BATCH or module._seal_overridden):
            self.warn(
                "The loss compares the prediction with a tensor that comes from neither the batch nor a network, and "
                "it is taken for the true pose. If it is a mean pose, noise or an earlier prediction, the loss-nets "
                f"learn nothing from it: {OVERRIDE}."
            )
        if len(step.fitting_keypoints) > 1:
            self.warn(
                f"Of the tensors that the prediction was made from, {len(step.fitting_keypoints)} may be its "
                f"keypoints: {', '.join(step.fitting_keypoints)}. The first is taken; to be sure: {OVERRIDE}."
            )
        for mask in step.unread_masks if not module._seal_overridden else ():
            self._look_at_mask(mask)
        if self.line is None:
            self.line = f"SEAL reads: {step.said(found, read)}"
            host.tell(module, self.line)
            if late := never_felt(module):
                self.warn(late)

    def _look_at_mixture(self, step: WatchedStep, meeting: Meeting, visibility: Tensor | None) -> None:
        """Look once, since that waits for the device, at what an operation made of a prediction and its own truth."""
        made_by = meeting.prediction.grad_fn.name() if meeting.prediction.grad_fn is not None else ""
        if not meeting.made_of & meeting.bits[1] or made_by in self._mixed:
            return
        self._mixed.add(made_by)
        prediction = mixed_from(step.watch, meeting)
        if prediction is None:
            return
        shapes = step.watch.shapes
        mixed, truth = shapes.batch(meeting.prediction), shapes.batch(meeting.truth)
        why = why_mixed(mixed, shapes.batch(prediction), truth, visibility)
        if why is not None:
            raise ValueError(
                f"Expected the loss to compare a prediction with the truth, but what it compares {why}. Compare the "
                f"prediction, or say what it is: {OVERRIDE}."
            )

    def _look_at_mask(self, mask: Tensor) -> None:
        """Look once, of each shape, whether a weight or places leave something out of which it cannot be told what."""
        shape = tuple(mask.shape)
        if shape in self._masks:
            return
        self._masks.add(shape)
        places = not mask.is_floating_point() and bool((mask > 1).any())
        if places or (bool((mask == 0).any()) and not bool((mask == 0).all())):
            self.warn(
                f"The loss weighs or picks errors by numbers of the batch {shape}: which joints or samples it leaves "
                "out cannot be told, and all are taken to count. Override `seal_batch(self, batch, inputs, output)` "
                "and return a `visibility` or `labelled` that says which do."
            )

    def sat_out(self, step: WatchedStep, automatic: bool) -> None:
        """Note a training step in which no energy joined a loss.

        Args:
            step: The step.
            automatic: Whether Lightning takes the loss that the step returns.

        Raises:
            ValueError: If poses of another skeleton were compared, or none in too many steps.
        """
        self.idle += 1
        if self.line is not None:
            return
        if misfit := which_fit(self.skeleton, step.watch.meetings.misfits):
            raise ValueError(misfit)
        if not self._told:
            self._told = True
            what = "The step returned no" if automatic else "No backward pass of this step had a"
            why = why_left_alone(step.watch, step.calls, automatic)
            self.warn(
                f"{what} loss that depends on the prediction and compares it with a truth: no energy joined it, and "
                f"SEAL sits out each step like it. {why + ' ' if why else ''}If it trains poses: {OVERRIDE}."
            )
        if self.idle >= _PATIENCE:
            raise ValueError(
                f"Expected a loss to compare a predicted pose of {self.skeleton.num_joints} joints with a true one, "
                f"but in {self.idle} steps none did. {OVERRIDE}; a skeleton of another number of joints is set by "
                "`skeleton` in SealConfig."
            )

    def warn(self, message: str) -> None:
        """Warn once."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(message, stacklevel=2)
