"""Which keypoints a prediction was made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.choice import OVERRIDE
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.shapes import PoseShapes, centre_frame
from seal_lightning.training.reading.watch import BATCH, NETWORK, NOISE, OPAQUE, RANDOM, Watch

__all__ = ["find_keypoints", "fitting"]


def find_keypoints(
    watch: Watch,
    calls: Sequence[Call],
    made_of: int,
    truth: tuple[int, int],
    leading: tuple[int, ...],
    trusted: Callable[[Tensor], bool],
) -> tuple[Tensor | None, Tensor | None]:
    """What the calls upstream of a prediction were given, two channels before three; else what that is made from.

    Three channels are keypoints with a confidence. Where they are made from the truth they may as well be the truth in
    another form, noised perhaps: then they have to look like it.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        made_of: Bits of all that the prediction is made from.
        truth: The bit of the truth's values, and those of all that it is made from.
        leading: Leading dimensions of the prediction.
        trusted: Whether the third channel of a tensor is a confidence.

    Returns:
        The keypoints (..., J, 2 or 3), and the tensor of the step that they are; None twice where there are none.

    Raises:
        ValueError: If there are keypoints, but none of them fits the frames of the prediction.
    """
    refused = None
    leaves = sum(watch.names)
    for tensor, channels in _candidates(watch, calls, made_of):
        bits = watch.made_of(tensor)
        if channels == 3:
            if watch.pose(tensor).bit == truth[0]:
                continue
            if bits & truth[1] & leaves and (bits & NOISE or not trusted(watch.shapes.batch(tensor))):
                continue
        found = fitting(watch.shapes, tensor, channels, leading)
        if found is not None:
            return found.detach(), tensor
        refused = refused if refused is not None else tensor
    if refused is not None:
        raise ValueError(
            f"Expected the keypoints to have the frames of the prediction {leading}, or an odd number of which it is "
            f"the centre, but got {tuple(refused.shape)}. {OVERRIDE}."
        )
    return None, None


def fitting(shapes: PoseShapes, tensor: Tensor, channels: int, leading: tuple[int, ...]) -> Tensor | None:
    """A tensor as keypoints (..., J, channels) with these leading dimensions, or the centre frame of its windows."""
    keypoints = shapes.batch(tensor, channels)
    own = tuple(keypoints.shape[:-2])
    if own == leading:
        return keypoints
    if _without_units(own) == _without_units(leading):
        return keypoints.reshape(*leading, shapes.joints, channels)
    return centre_frame(keypoints, (*leading, shapes.joints, channels))


def _without_units(leading: tuple[int, ...]) -> tuple[int, ...]:
    return (leading[0], *(size for size in leading[1:] if size != 1))


def _candidates(watch: Watch, calls: Sequence[Call], made_of: int) -> Iterator[tuple[Tensor, int]]:
    """Tensors that may be the keypoints, the likeliest first, each with its number of channels."""
    went_in = [
        tensor
        for call in calls
        if made_of & (call.bit | OPAQUE)
        for tensor in tensors_in(call.inputs)
        if id(tensor) in watch.poses
    ]
    given = [tensor for tensor in went_in if not watch.made_of(tensor) & NETWORK]
    if not given:  # of a network that was called in a way that is not seen, or that was given more besides
        given = [
            pose.tensor
            for pose in reversed(watch.poses.values())
            if made_of & (pose.bit | OPAQUE) and not watch.made_of(pose.tensor) & NETWORK
        ]
    ancestors = [
        pose.tensor
        for tensor in given
        for pose in reversed(watch.poses.values())
        if watch.made_of(tensor) & pose.bit and pose.tensor.numel() == tensor.numel()
        if watch.made_of(pose.tensor) & (BATCH | RANDOM) != RANDOM
    ]
    for tensors in (given, ancestors):
        for channels in (2, 3):
            yield from ((t, channels) for t in tensors if watch.shapes.leading(t, channels) is not None)
    # Last, keypoints that an earlier network found in an image; flattened, they could as well be features.
    yield from ((t, 2) for t in went_in if watch.made_of(t) & NETWORK and t.shape[-2:] == (watch.shapes.joints, 2))
