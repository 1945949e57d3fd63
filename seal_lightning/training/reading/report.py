"""What is read of a step, in words."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.meeting import Meeting
from seal_lightning.training.reading.watch import Watch

__all__ = ["met", "origin"]


def met(watch: Watch, calls: Sequence[Call], meeting: Meeting) -> str:
    """Prediction and truth of a meeting."""
    prediction, truth = meeting.prediction, meeting.truth
    where = f"`{meeting.operation}`" + (f", the first of {meeting.passes} passes" if meeting.passes > 1 else "")
    return (
        f"prediction = {origin(watch, calls, prediction, meeting.made_of)} {tuple(prediction.shape)}, "
        f"truth = {origin(watch, calls, truth, meeting.truth_made_of)} {tuple(truth.shape)} in {where}"
    )


def origin(watch: Watch, calls: Sequence[Call], tensor: Tensor, made_of: int) -> str:
    """Where a tensor comes from."""
    pose = watch.poses.get(id(tensor))
    if pose is not None and pose.bit in watch.names:
        return watch.names[pose.bit]
    made = [call for call in calls if made_of & call.bit]
    for call in made:
        bits = [watch.poses[id(output)].bit for output in tensors_in(call.output) if id(output) in watch.poses]
        if pose is not None and pose.bit in bits:
            return f"output of `{call.name}`"
    if made:
        return f"made from the output of `{made[-1].name}`"
    leaves = [name for bit, name in watch.names.items() if made_of & bit]
    if not leaves:
        return "a tensor that comes from neither the batch nor a network"
    more = f" and {len(leaves) - 1} more" if len(leaves) > 1 else ""
    return f"made from {leaves[0]}{more}"
