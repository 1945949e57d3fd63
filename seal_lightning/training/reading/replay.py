"""The call that made a prediction, once more: on other keypoints, or in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.shapes import PoseShapes
from seal_lightning.training.reading.watch import Watch

__all__ = ["Replay", "call_upstream", "predicted_again", "recorded_call"]


class Replay:
    """Runs a network once more, as it was called in the step, on other keypoints.

    There is no gradient, and nothing is left behind: training flags, buffers and random numbers are what they were, bit
    for bit. The module itself is called, not what a strategy has wrapped it in.

    Args:
        call: The call.
        place: Which of the tensors of its inputs are the keypoints.
        output: Which of the tensors of its output is the prediction.
        shapes: What is a pose.
    """

    def __init__(self, call: Call, place: int, output: int, shapes: PoseShapes) -> None:
        # Not the call itself: what came out of it would keep the graph of a step until the next.
        self._call, self._inputs = replace(call, inputs=None, output=None), _replaced(call.inputs, {})
        self._place, self._output, self._shapes = place, output, shapes

    @property
    def keypoints_2d(self) -> Tensor:
        """What the network was given in the step: keypoints, or windows of them whose centre frame is predicted."""
        return list(tensors_in(self._inputs))[self._place]

    def mirrored(self, partners: Sequence[int]) -> Replay:
        """The same call as the mirror image asks for it: masks of joints (..., J) among its inputs change sides.

        Args:
            partners: Per joint its mirror image: the joint on the other side, or the joint itself.
        """
        other = copy(self)
        order = list(partners)
        masks = {
            number: tensor[..., order]
            for number, tensor in enumerate(tensors_in(self._inputs))
            if tensor.dtype == torch.bool and tensor.dim() > 1 and tensor.shape[-1] == len(order)
        }
        other._inputs = _replaced(self._inputs, masks)
        return other

    def __call__(self, keypoints_2d: Tensor, *, eval_mode: bool = False) -> Tensor:
        """Predict poses (..., J, 3) from keypoints of the shape of those of the step.

        Args:
            keypoints_2d: The keypoints.
            eval_mode: Whether to run the network in evaluation mode, rather than in that of the step.

        Raises:
            ValueError: If the keypoints have another shape.
        """
        given = self.keypoints_2d
        if keypoints_2d.numel() != given.numel():
            raise ValueError(
                f"Expected `keypoints_2d` to have the shape {tuple(given.shape)} of those of the step, but got "
                f"{tuple(keypoints_2d.shape)}."
            )
        inputs = _replaced(self._inputs, {self._place: keypoints_2d.detach().to(given).reshape(given.shape)})
        output = _run(self._call, inputs, given.device, eval_mode)
        return self._shapes.batch(list(tensors_in(output))[self._output]).detach()


def predicted_again(watch: Watch, calls: Sequence[Call], prediction: Tensor) -> Tensor | str:
    """What the call that made a prediction predicts of the same inputs in evaluation mode; or why there is none.

    As with `Replay` there is no gradient, and nothing is left behind.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        prediction: The tensor that is the prediction.
    """
    pose = watch.poses.get(id(prediction))
    if pose is None:
        return "no network was seen to make the prediction"
    for call in calls:
        for number, tensor in enumerate(tensors_in(call.output)):
            if _bit(watch, tensor) != pose.bit:
                continue
            if any(watch.made_of(given) & other.bit for given in tensors_in(call.inputs) for other in calls):
                return "what it was given was made by another network of the step"  # in the mode of the step
            output = _run(call, _replaced(call.inputs, {}), prediction.device, True)
            return watch.shapes.batch(list(tensors_in(output))[number]).detach()
    return "the step changes the poses after its call"


def _run(call: Call, inputs: Any, device: torch.device, eval_mode: bool) -> Any:
    """What a call returns, once more, for such inputs, in the precision of the step."""
    args, kwargs = (inputs[:-1], inputs[-1]) if call.named else (inputs, {})
    kind, dtype = call.autocast
    same_precision = torch.autocast(kind, dtype, enabled=dtype is not None)
    with torch.no_grad(), _unchanged(call.module, device, eval_mode), same_precision:
        return call.module(*args, **kwargs)


def recorded_call(watch: Watch, calls: Sequence[Call], prediction: Tensor, keypoints: Tensor | None) -> Replay | str:
    """The call that can be run once more; or why there is none.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        prediction: The tensor that is the prediction.
        keypoints: The tensor of the step that is the keypoints.
    """
    pose = watch.poses.get(id(prediction))
    if keypoints is None or pose is None:
        return "the prediction is made from no keypoints"
    for call in calls:
        outputs = [number for number, tensor in enumerate(tensors_in(call.output)) if _bit(watch, tensor) == pose.bit]
        inputs = _places(watch, call, keypoints)
        if outputs and inputs:
            return Replay(call, inputs[0], outputs[0], watch.shapes)
    return "the step changes the keypoints before, or the poses after the call of the network that makes them"


def call_upstream(watch: Watch, calls: Sequence[Call], prediction: Tensor, keypoints: Tensor | None) -> Replay | None:
    """The first call that gives poses from these keypoints, out of which the step makes its prediction, as a mean.

    What it predicts has to be compared with the prediction of the step.
    """
    made_of = watch.made_of(prediction)
    for call in calls:
        outputs = [n for n, tensor in enumerate(tensors_in(call.output)) if watch.shapes.leading(tensor) is not None]
        inputs = [] if keypoints is None else _places(watch, call, keypoints)
        if made_of & call.bit and outputs and inputs:
            return Replay(call, inputs[0], outputs[0], watch.shapes)
    return None


def _places(watch: Watch, call: Call, keypoints: Tensor) -> list[int]:
    """Which of the tensors that a call was given are the keypoints."""
    bit = _bit(watch, keypoints)
    if bit is None:  # with other joints than the prediction
        return []
    return [number for number, tensor in enumerate(tensors_in(call.inputs)) if _bit(watch, tensor) == bit]


def _bit(watch: Watch, tensor: Tensor) -> int | None:
    pose = watch.poses.get(id(tensor))
    return None if pose is None else pose.bit


def _replaced(value: Any, new: Mapping[int, Tensor]) -> Any:
    """The same containers with other tensors in the places that are named, and all of them without a graph."""
    count = iter(range(10**9))

    def without_graph(item: Any) -> Any:
        if isinstance(item, Tensor):
            return new.get(next(count), item.detach())
        if isinstance(item, tuple) and hasattr(item, "_fields"):
            return type(item)(*(without_graph(inner) for inner in item))
        if type(item) in (tuple, list):
            return type(item)(without_graph(inner) for inner in item)
        if type(item) is dict:
            return {key: without_graph(inner) for key, inner in item.items()}
        for _ in tensors_in(item):
            next(count)
        return item

    return without_graph(value)


@contextmanager
def _unchanged(module: nn.Module, device: torch.device, eval_mode: bool) -> Iterator[None]:
    """Put training flags, buffers and random state back afterwards."""
    modules = list(module.modules())
    flags = [inner.training for inner in modules]
    buffers = [(inner, name, buffer) for inner in modules for name, buffer in inner._buffers.items()]
    values = [None if buffer is None else buffer.clone() for _, _, buffer in buffers]
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            if eval_mode:
                for inner in modules:
                    inner.training = False
            yield
        finally:
            for inner, flag in zip(modules, flags, strict=True):
                inner.training = flag
            for (inner, name, buffer), value in zip(buffers, values, strict=True):
                inner._buffers[name] = buffer
                if buffer is not None and value is not None:
                    # Past autograd's count of changes: in a training step the backward pass is still to come, and the
                    # running statistics of a batch normalisation are part of its graph.
                    buffer.data.copy_(value)
