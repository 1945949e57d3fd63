"""Which of the meetings of a step is the one of its prediction and its truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from torch import Tensor

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.meeting import Meeting
from seal_lightning.training.reading.pieces import of_one_network, put_together
from seal_lightning.training.reading.report import met
from seal_lightning.training.reading.watch import BATCH, NETWORK, Watch

__all__ = ["OVERRIDE", "choose", "made_by", "meetings_in"]

OVERRIDE = (
    "Override `seal_batch(self, batch, inputs, output)` and `return SealBatch(keypoints_2d, prediction, target)`, or "
    "None for a step that trains no pose"
)


def meetings_in(watch: Watch, loss: Tensor | None) -> list[Meeting]:
    """The meetings that a loss is made from; all of the step where there is no loss, or one that was not followed."""
    made_of = None if loss is None else watch.made_of(loss)
    return [
        meeting
        for meeting in watch.meetings
        if (meeting.whole or meeting.crossed) and (made_of is None or made_of & meeting.bit)
    ]


def choose(watch: Watch, calls: Sequence[Call], meetings: Sequence[Meeting]) -> Meeting | None:
    """The meeting that all others are made from; None where there are none.

    The mean error of the joints, the same after scaling, and the velocities of both are three meetings; prediction and
    truth of the last two are made from those of the first.

    Raises:
        ValueError: If there is no such meeting, or prediction or truth were overwritten after they met.
    """
    # What comes out of a comparison and meets the truth again was no comparison: a noised truth less its noise.
    kept = [one for one in meetings if not any(other.made_of & one.bit for other in meetings)]
    fed, leaves = _fed(watch, calls)
    # A mean pose or an earlier prediction is no truth. What a teacher makes of keypoints is, where there is no other.
    kept = [meeting for meeting in kept if meeting.truth_made_of & BATCH] or (kept if watch.arrays else [])
    kept = [meeting for meeting in kept if not meeting.bits[1] & fed] or kept
    kept = [meeting for meeting in kept if meeting.truth_made_of & sum(watch.names) & ~leaves] or kept
    # What a network keeps for the host beside its output, like the poses of an auxiliary head, is not its prediction.
    returned = sum(call.bit for call in calls)
    kept = [meeting for meeting in kept if meeting.made_of & returned] or kept
    if not kept:
        return None
    for root in kept:
        if all(_follows(watch, other, root) for other in kept):
            last = _last_stage(calls, kept, root)
            if last is not None:
                _expect_no_noise(watch, last)
                return _as_it_met(watch, calls, last)
    together = put_together(watch, kept) or of_one_network(watch, calls, kept)
    if together is not None:
        _expect_no_noise(watch, together)
        return together
    said = Counter(met(watch, calls, meeting) for meeting in kept)
    pairs = "; ".join(f"{pair} ({count} of these)" if count > 1 else pair for pair, count in said.items())
    raise ValueError(
        f"Expected one prediction to meet one truth in the loss, but found several pairs: {pairs}. {OVERRIDE}."
    )


def made_by(calls: Sequence[Call], watch: Watch, made_of: int) -> Call | None:
    """The call that made a prediction: of those that it is made from, the last that returned a pose with a gradient.

    Args:
        calls: The calls of the step.
        watch: The watch of the step.
        made_of: Bits of all that the prediction, or else the loss, is made from.
    """
    made = [call for call in calls if made_of & call.bit]
    posed = [call for call in made if any(watch.shapes.leading(tensor) for tensor in tensors_in(call.output))]
    trained = [call for call in posed if any(tensor.requires_grad for tensor in tensors_in(call.output))]
    chosen = trained or posed or made
    return chosen[-1] if chosen else None


def _expect_no_noise(watch: Watch, meeting: Meeting) -> None:
    """Raise where the network was given a sum of two tensors of the batch, one of which is said to be the truth."""
    poses = [pose for pose in watch.poses.values() if pose.leading is not None]
    leaves = {pose.bit for pose in poses if pose.bit in watch.names}
    of_truth = next((bit for bit in leaves if meeting.truth_made_of & bit), 0)
    for pose in poses if of_truth else ():
        made_of = watch.made_of(pose.tensor)
        if not (pose.bit & watch.sums and meeting.made_of & pose.bit and made_of & of_truth):
            continue
        other = next((bit for bit in leaves if made_of & bit and not meeting.truth_made_of & bit), None)
        if other is not None:
            raise ValueError(
                f"Expected to tell the truth from noise, but the network was given poses that are made from both "
                f"{watch.names[of_truth]} and {watch.names[other]}, and the loss compares the prediction with the "
                f"former: either may be noise that was added to the other. {OVERRIDE}."
            )


def _follows(watch: Watch, other: Meeting, root: Meeting) -> bool:
    """Whether a pair is made from another one; the truths of other samples or frames are other truths."""
    if not (other.made_of & root.bits[0] and other.truth_made_of & root.bits[1]):
        return False
    if other.bits[0] != root.bits[0] or other is root:
        return True
    leading = watch.shapes.leading(root.truth) or ()
    return not any(
        take.bit == other.bits[1] and take.leading == leading and take.rows(len(leading)) is not None
        for take in watch.takes
    )


def _last_stage(calls: Sequence[Call], meetings: Sequence[Meeting], first: Meeting) -> Meeting | None:
    """Of predictions that networks refine one after the other, all compared with one truth, the last."""
    networks = sum(call.bit for call in calls)
    stages = [one for one in meetings if one.bits[1] == first.bits[1]]
    behind = first.made_of & networks
    for stage in stages:
        behind |= stage.made_of & networks
    last = [stage for stage in stages if not behind & ~stage.made_of]
    return next((one for one in last if all(other.made_of & one.bits[0] for other in last)), None)


def _fed(watch: Watch, calls: Sequence[Call]) -> tuple[int, int]:
    """Bits of the poses of the batch that a network was given, and of the tensors of the batch they are made from."""
    fed = leaves = 0
    for call in calls:
        for tensor in tensors_in(call.inputs):
            if not watch.made_of(tensor) & NETWORK:
                leaves |= watch.made_of(tensor)
                fed |= watch.poses[id(tensor)].bit if id(tensor) in watch.poses else 0
    return fed, leaves


def _as_it_met(watch: Watch, calls: Sequence[Call], meeting: Meeting) -> Meeting:
    if meeting.crossed and None not in meeting.parts:
        raise ValueError(
            "Expected the loss to compare each joint with the same joint of the truth, but it compares some with "
            f"others: {met(watch, calls, meeting)}. {OVERRIDE}, both in one order."
        )
    if meeting.overwritten:
        raise ValueError(
            "Expected prediction and truth to stay what they were when the loss compared them, but one of them was "
            f"changed in place afterwards: {met(watch, calls, meeting)}. Change a copy, or: {OVERRIDE}."
        )
    return meeting
