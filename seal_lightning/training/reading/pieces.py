"""One pair that a step compares in several pieces or passes: sample by sample, frame by frame, dropout twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.meeting import Meeting, version_of
from seal_lightning.training.reading.takes import Take
from seal_lightning.training.reading.watch import Watch

__all__ = ["of_one_network", "put_together"]


def put_together(watch: Watch, meetings: Sequence[Meeting]) -> Meeting | None:
    """The pair of batches out of which the pairs that met were taken, each with its like; None where that is not so."""
    places = [(_place(watch, one.prediction), _place(watch, one.truth)) for one in meetings]
    taken = [(place, of_truth) for place, of_truth in places if place is not None and of_truth is not None]
    if len(taken) < len(meetings) or any(one.overwritten for one in meetings):
        return None
    (prediction, numbers), (truth, _) = taken[0]
    if prediction.shape != truth.shape or watch.shapes.leading(prediction) is None:
        return None
    compared = torch.zeros(watch.shapes.leading(prediction) or (), dtype=torch.bool)
    for (source, numbers), (true_source, true_numbers) in taken:
        if source is not prediction or true_source is not truth or not torch.equal(numbers, true_numbers):
            return None
        compared.view(-1)[numbers.reshape(-1)] = True
    return replace(
        meetings[0],
        prediction=prediction,
        truth=truth,
        bit=sum(one.bit for one in meetings),
        plain=0,  # what no piece of a mask names counts anyway
        made_of=watch.made_of(prediction),
        truth_made_of=watch.made_of(truth),
        bits=(watch.pose(prediction).bit, watch.pose(truth).bit),
        edge=get_gradient_edge(prediction) if prediction.requires_grad else None,
        rows={None},
        versions=(version_of(prediction), version_of(truth)),
        parts=[part for one in meetings for part in one.parts],
        compared=None if bool(compared.all()) else compared.to(prediction.device),
    )


def of_one_network(watch: Watch, calls: Sequence[Call], meetings: Sequence[Meeting]) -> Meeting | None:
    """The first of the pairs, where passes of one network made them of the same input: they differ by dropout alone.

    None where that is not so. Several poses of a single pass, such as refinements or hypotheses, are no such passes.
    """
    first, *others = meetings
    made = [[call for call in calls if one.made_of & call.bit] for one in meetings]
    if any(len(of_one) != 1 for of_one in made) or any(one.bits[1] != first.bits[1] for one in others):
        return None
    passes = [of_one[0] for of_one in made]
    if len({call.bit for call in passes}) < len(passes):
        return None
    module, given, place = passes[0].module, list(tensors_in(passes[0].inputs)), _returned_as(watch, passes[0], first)
    for one, call in zip(meetings, passes, strict=True):
        own = list(tensors_in(call.inputs))
        alike = len(own) == len(given) > 0 and all(a is b for a, b in zip(own, given, strict=True))
        if call.module is not module or not alike or place is None or _returned_as(watch, call, one) != place:
            return None
    bit, plain = sum(one.bit for one in meetings), sum(one.plain for one in meetings)
    return replace(first, passes=len(meetings), bit=bit, plain=plain)


def _returned_as(watch: Watch, call: Call, meeting: Meeting) -> int | None:
    """Which of the tensors that a call returned a prediction is; None where it is none of them."""
    outputs = [watch.poses.get(id(tensor)) for tensor in tensors_in(call.output)]
    places = (number for number, pose in enumerate(outputs) if pose is not None and pose.bit == meeting.bits[0])
    return next(places, None)


def _place(watch: Watch, tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """The batch of poses out of which a tensor was taken in the end, and the numbers of its poses there."""
    takes: list[Take] = []
    while (take := next((one for one in watch.takes if one.bit == watch.pose(tensor).bit), None)) is not None:
        takes.append(take)
        tensor = take.source
    leading = watch.shapes.leading(tensor)
    if not takes or leading is None:
        return None
    numbers = torch.arange(torch.Size(leading).numel()).view(leading)
    for take in reversed(takes):
        rows = take.rows(numbers.dim())
        if rows is not None and any(isinstance(row, Tensor) and row.device.type != "cpu" for row in rows):
            return None  # no look at another device's values
        numbers = numbers if rows is None else numbers[rows]
        if tuple(numbers.shape) != take.leading:
            return None
    return tensor, numbers
