"""Which keypoints a prediction was made from."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.choice import OVERRIDE
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.shapes import PoseShapes, centre_frame
from seal_lightning.training.reading.takes import same_rows
from seal_lightning.training.reading.watch import BATCH, NETWORK, NOISE, OPAQUE, RANDOM, Watch

__all__ = ["find_keypoints", "fitting"]


class Fit(NamedTuple):
    """Keypoints of a prediction.

    Args:
        keypoints: The keypoints, (..., J, 2 or 3).
        tensor: The tensor of the step that they are, or that they were taken out of.
        part: Whether samples, frames or joints were taken out of it, as the step takes them out of a prediction.
    """

    keypoints: Tensor
    tensor: Tensor
    part: bool


def find_keypoints(
    watch: Watch,
    calls: Sequence[Call],
    made_of: int,
    truth: tuple[int, int],
    leading: tuple[int, ...],
    trusted: Callable[[Tensor], bool],
    masks: Sequence[Tensor] = (),
) -> list[Fit]:
    """What the calls upstream of a prediction were given, two channels before three; else what that is made from.

    Three channels are keypoints with a confidence, or poses that a network refines, accelerations or the truth in
    another form: the third has to look like a confidence. Of several, those that the others are made from are taken, as
    the keypoints of which mirrored ones are given beside them.

    Samples and frames that the step took out of the prediction are taken out of the keypoints as well.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        made_of: Bits of all that the prediction is made from.
        truth: The bit of the truth's values, and those of all that it is made from.
        leading: Leading dimensions of the prediction.
        trusted: Whether the third channel of a tensor is a confidence.
        masks: Joints (..., J) that are visible. The third channel of the others may be anything.

    Returns:
        The keypoints: none, one, or several among which nothing tells.

    Raises:
        ValueError: If there are keypoints, but none of them fits the frames of the prediction.
    """
    refused = None
    own = _take(watch, made_of, leading, predicted=True)
    # What was packed stands frame by frame; what is taken out of clips, sample by sample.
    packed = set() if own is None else {id(one.data) for one in _inputs(calls) if isinstance(one, PackedSequence)}
    of_truth = _take(watch, truth[1], leading, predicted=False)
    for tensors, channels in _candidates(watch, calls, made_of):
        found: dict[int, Fit] = {}
        for tensor in tensors:
            same = channels == 3 and watch.pose(tensor).bit == truth[0]
            if (
                same
                or id(tensor) in packed
                or (channels == 3 and not _confident(watch, tensor, truth[1], trusted, masks))
            ):
                continue
            taken = None if own is None else _taken(watch, tensor, channels, own)
            fit = taken
            if fit is None:
                fit = fitting(watch.shapes, tensor, channels, leading, centred=own is None, take=of_truth)
            if fit is not None:
                found.setdefault(watch.pose(tensor).bit, Fit(fit.detach(), tensor, taken is not None))
            elif refused is None:
                refused = tensor
        for bit, fit_of_all in found.items():
            if all(watch.made_of(other.tensor) & bit for other in found.values()):
                return [fit_of_all]
        if found:
            fits = list(found.values())
            return fits[::-1] if _carried_on(calls, [one.tensor for one in fits]) else fits
    if refused is not None:
        raise ValueError(
            f"Expected the keypoints to have the frames of the prediction {leading}, or an odd number of which it is "
            f"the centre, but got {tuple(refused.shape)}. {OVERRIDE}."
        )
    return list(_of_more_joints(watch, calls, made_of, leading, trusted))[:1]


def fitting(
    shapes: PoseShapes,
    tensor: Tensor,
    channels: int,
    leading: tuple[int, ...],
    *,
    centred: bool = True,
    take: _Taken | None = None,
) -> Tensor | None:
    """A tensor as keypoints (..., J, channels) with these leading dimensions, or one frame of its windows.

    Args:
        shapes: What is a pose.
        tensor: The tensor.
        channels: Its channels.
        leading: The leading dimensions.
        centred: Whether the centre frame may be the one.
        take: What the step took out of the truth, which says which frame it is.
    """
    keypoints = shapes.batch(tensor, channels)
    own = tuple(keypoints.shape[:-2])
    if own == leading:
        return keypoints
    if _without_units(own) == _without_units(leading):
        return keypoints.reshape(*leading, shapes.joints, channels)
    if take is not None and take.leading == own:
        return keypoints[take.rows]
    return centre_frame(keypoints, (*leading, shapes.joints, channels)) if centred else None


class _Taken(NamedTuple):
    """Samples or frames that were taken out of poses."""

    source: Tensor
    leading: tuple[int, ...]
    rows: tuple[Any, ...]


def _take(watch: Watch, made_of: int, leading: tuple[int, ...], *, predicted: bool) -> _Taken | None:
    """What was taken out of poses to make these; None where nothing was, or one thing here and another there."""
    found: list[_Taken] = []
    for take in watch.takes:
        if not made_of & take.bit or take.leading != leading:
            continue
        if bool(watch.made_of(take.source) & NETWORK) == predicted:
            before = watch.shapes.leading(take.source) or ()
            rows = take.rows(len(before))
            if rows is not None:
                found.append(_Taken(take.source, before, rows))
    alike = all(one.source is found[0].source and same_rows(one.rows, found[0].rows) for one in found)
    return found[0] if found and alike else None


def _taken(watch: Watch, tensor: Tensor, channels: int, take: _Taken) -> Tensor | None:
    """The same samples or frames of keypoints; None where these do not fit what was taken from."""
    before = _take(watch, watch.made_of(take.source), take.leading, predicted=True)
    whole = None if before is None else _taken(watch, tensor, channels, before)
    if whole is None:
        whole = fitting(watch.shapes, tensor, channels, take.leading, centred=before is None)
    return None if whole is None else whole[take.rows]


def _confident(
    watch: Watch, tensor: Tensor, truth: int, trusted: Callable[[Tensor], bool], masks: Sequence[Tensor]
) -> bool:
    """Whether three channels are keypoints with a confidence."""
    made_of, keypoints = watch.made_of(tensor), watch.shapes.batch(tensor)
    # What is made from the truth may be the truth at the joints that are given, which are not those that are scored.
    if not made_of & truth & sum(watch.names):
        for mask in masks:
            if mask.shape == keypoints.shape[:-1]:
                keypoints = keypoints.masked_fill(~mask[..., None], 0.0)
    return not made_of & NOISE and trusted(keypoints)


def _of_more_joints(
    watch: Watch, calls: Sequence[Call], made_of: int, leading: tuple[int, ...], trusted: Callable[[Tensor], bool]
) -> Iterator[Fit]:
    """Of a prediction that was taken out of one with more joints: the same joints of keypoints with as many."""
    for crop in watch.parts.crops:
        source = crop.source
        if not made_of & crop.bit or not watch.made_of(source) & NETWORK or source.shape[-1] != 3:
            continue
        shapes = PoseShapes(source.shape[-2])
        before = shapes.leading(source) or ()
        rows = crop.rows(len(before) + 1)
        given = [tensor for call in calls if made_of & call.bit for tensor in tensors_in(call.inputs)]
        for tensor in given if rows is not None else ():
            for channels in (2, 3):
                if watch.made_of(tensor) & NETWORK or shapes.leading(tensor, channels) is None:
                    continue
                fit = fitting(shapes, tensor, channels, before)
                part = None if fit is None else fit[rows]
                if part is not None and part.shape[:-2] == leading and (channels == 2 or trusted(part)):
                    yield Fit(part.detach(), tensor, True)


def _inputs(calls: Sequence[Call]) -> Iterator[Any]:
    """All that the calls were given by place."""
    for call in calls:
        yield from call.inputs or ()


def _carried_on(calls: Sequence[Call], tensors: Sequence[Tensor]) -> bool:
    """Whether networks that were given these carry a state on: what is of an earlier frame then comes first."""
    keys = set(map(id, tensors))
    given = [call for call in calls if not keys.isdisjoint(map(id, tensors_in(call.inputs)))]
    return any(later.made_of & earlier.bit for earlier, later in itertools.pairwise(given))


def _without_units(leading: tuple[int, ...]) -> tuple[int, ...]:
    return (leading[0], *(size for size in leading[1:] if size != 1))


def _candidates(watch: Watch, calls: Sequence[Call], made_of: int) -> Iterator[tuple[list[Tensor], int]]:
    """Tensors that may be the keypoints with their number of channels, the likeliest first."""
    went_in = [
        tensor
        for call in calls
        if made_of & (call.bit | OPAQUE)
        for tensor in tensors_in(call.inputs)
        if id(tensor) in watch.poses
    ]
    given = [tensor for tensor in went_in if not watch.made_of(tensor) & NETWORK]
    if not given:  # of a network that was called in a way that is not seen, or that was given more besides
        upstream = [call for call in calls if made_of & call.bit]
        behind = functools.reduce(operator.or_, (call.made_of for call in upstream)) if upstream else made_of
        given = [
            pose.tensor
            for pose in reversed(watch.poses.values())
            if (behind & pose.bit or made_of & OPAQUE) and not watch.made_of(pose.tensor) & NETWORK
        ]
    yield from _with_channels(watch, given)
    ancestors = [
        pose.tensor
        for tensor in given
        for pose in reversed(watch.poses.values())
        if watch.made_of(tensor) & pose.bit and watch.made_of(pose.tensor) & (BATCH | RANDOM) != RANDOM
    ]
    alike = [pose for pose in ancestors if any(pose.numel() == tensor.numel() for tensor in given)]
    for tensors in (alike, ancestors):
        yield from _with_channels(watch, tensors)
    # Last, keypoints that an earlier network found in an image; flattened, they could as well be features.
    yield [t for t in went_in if watch.made_of(t) & NETWORK and t.shape[-2:] == (watch.shapes.joints, 2)], 2


def _with_channels(watch: Watch, tensors: Sequence[Tensor]) -> Iterator[tuple[list[Tensor], int]]:
    for channels in (2, 3):
        yield [tensor for tensor in tensors if watch.shapes.leading(tensor, channels) is not None], channels
