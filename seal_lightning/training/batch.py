"""`SealBatch`: what SEAL needs of a step, and how it is found in a host that knows nothing of SEAL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seal_lightning.loss._random import own_random_numbers
from seal_lightning.training.capture import ModuleCall, tensors_in

__all__ = ["SealBatch", "gradient_at_prediction", "infer_batch"]


@dataclass(frozen=True)
class SealBatch:
    """Keypoints, prediction and truth of one step.

    Args:
        keypoints_2d: Keypoints (B, J, 2) or (B, T, J, 2), or with a confidence as third channel.
        prediction: Predicted poses (B, J, 3) or (B, T, J, 3), part of the graph that the loss is made from.
        target: True poses of the same shape and unit; None where a static loss-net needs none.
        visibility: Bool (..., J); an invisible joint counts nowhere.
        labelled: Bool (B,); False for a sample whose target is not to be read.

    Raises:
        TypeError: If keypoints or prediction are no tensors, or another field is neither a tensor nor None.
    """

    keypoints_2d: Tensor
    prediction: Tensor
    target: Tensor | None = None
    visibility: Tensor | None = None
    labelled: Tensor | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Tensor) and (value is not None or name in ("keypoints_2d", "prediction")):
                raise TypeError(f"Expected `{name}` of SealBatch to be a tensor, but got {type(value).__name__}.")

    def some_frames(self, count: int | None, seed: int, draw: int) -> SealBatch:
        """Keep ``count`` random frames of every clip, in order; all of them where there are no more, or no clips."""
        if count is None or self.prediction.dim() == 3 or count >= self.prediction.shape[1]:
            return self
        device = self.prediction.device
        with own_random_numbers(seed + 1, draw, device) as generator:  # not the stream that negatives draw from
            order = torch.rand(self.prediction.shape[:2], generator=generator).argsort(dim=1)
        index = order[:, :count].sort(dim=1).values.to(device)
        rows = torch.arange(len(index), device=device)[:, None]
        fields = ("keypoints_2d", "prediction", "target", "visibility")
        kept = {field: getattr(self, field)[rows, index] for field in fields if getattr(self, field) is not None}
        return replace(self, **kept)

    def detach(self) -> SealBatch:
        """The same without the graph."""
        return replace(self, prediction=self.prediction.detach())


def infer_batch(batch: Any, calls: Sequence[ModuleCall], joints: int) -> SealBatch:
    """Find keypoints, prediction and target where there is exactly one way to read the step.

    The prediction is the one output of an outermost module call whose shape, ``(..., J, 3)`` or flattened
    ``(..., 3J)``, is that of exactly one tensor of the batch that was not passed into the call: the target. The
    keypoints are the first pose-shaped input of that call; where it is a window and only its centre frame is
    predicted, the centre frame. Where the batch is a mapping, its ``"visibility"``, bool (B[, T], J), marks the joints
    that count, again at the centre frame if only that is predicted, and its ``"labelled"``, bool (B,), the samples
    whose target is to be read.

    Args:
        batch: The batch as the step received it.
        calls: The outermost module calls of the step.
        joints: Number of joints J.

    Returns:
        The batch that was found.

    Raises:
        ValueError: If there is no way to read the step, or more than one, or a mask is not bool or of another shape.
    """
    found = []
    for call in calls:
        passed = {_identity(tensor) for tensor in tensors_in(call.inputs) if tensor.numel()}  # empty ones share a place
        targets = [tensor for tensor in _poses(batch, joints) if _identity(tensor) not in passed]
        for output in _poses(call.output, joints):
            shape = _unflatten(output, joints).shape
            found += [(call, output, target) for target in targets if _unflatten(target, joints).shape == shape]
    if len(found) != 1:
        outputs = [tuple(tensor.shape) for call in calls for tensor in tensors_in(call.output)]
        given = [tuple(tensor.shape) for tensor in tensors_in(batch)]
        raise ValueError(
            f"Expected one module call of the step to return a pose tensor (..., {joints}, 3) or (..., {3 * joints}) "
            "with the shape of exactly one tensor of the batch that was not passed into it, but found "
            f"{len(found)} such pairs among the outputs {outputs} and the batch {given}. "
            "Override `seal_batch(self, batch, inputs, output)` to say which is which."
        )
    ((call, output, target),) = found
    prediction, target = _unflatten(output, joints), _unflatten(target, joints)
    leading = prediction.shape[:-2]
    masks = batch if isinstance(batch, Mapping) else {}
    return SealBatch(
        _keypoints(call.inputs, leading, joints),
        prediction,
        target,
        _mask("visibility", masks, (*leading, joints)),
        _mask("labelled", masks, (leading[0],)),
    )


def _mask(name: str, batch: Mapping[Any, Any], shape: tuple[int, ...]) -> Tensor | None:
    """The mask of that name, or its centre frame, in this shape; None where the batch has none."""
    mask = batch.get(name)
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        found = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"Expected `{name}` of the batch to be a bool tensor, but got {found}. Override "
            "`seal_batch(self, batch, inputs, output)` if it means something else."
        )
    fitting = mask if mask.shape == shape else _centre_frame(mask, shape)
    if fitting is None:
        raise ValueError(
            f"Expected `{name}` of the batch to be {shape} like the prediction, but got {tuple(mask.shape)}. "
            "Override `seal_batch(self, batch, inputs, output)`."
        )
    return fitting


def _centre_frame(window: Tensor, shape: Sequence[int]) -> Tensor | None:
    """The centre frame of windows (B, T, ...) in the shape (B, ...) or (B, 1, ...); None where there is none."""
    centred = window.dim() > 2 and window.shape[1] % 2 == 1
    wanted = (window.shape[0], *window.shape[2:]), (window.shape[0], 1, *window.shape[2:])
    if not centred or tuple(shape) not in wanted:
        return None
    return window[:, window.shape[1] // 2].reshape(tuple(shape))


def _keypoints(inputs: Any, leading: torch.Size, joints: int) -> Tensor:
    """The first pose-shaped input, or its centre frame, with the leading dimensions of the prediction."""
    for tensor in tensors_in(inputs):
        if tensor.is_floating_point() and tensor.dim() >= 2 and tensor.shape[-1] == 2 * joints:
            tensor = tensor.reshape(*tensor.shape[:-1], joints, 2)
        if not tensor.is_floating_point() or tensor.dim() < 3 or tensor.shape[-2:] not in ((joints, 2), (joints, 3)):
            continue
        if tensor.shape[:-2] == leading:
            return tensor
        centre = _centre_frame(tensor, (*leading, *tensor.shape[-2:])) if tensor.dim() == 4 else None
        if centre is not None:
            return centre
        raise ValueError(
            f"Expected the keypoints to have the frames of the prediction {tuple(leading)}, or an odd number of which "
            f"it is the centre, but got {tuple(tensor.shape)}. Override `seal_batch(self, batch, inputs, output)`."
        )
    shapes = [tuple(tensor.shape) for tensor in tensors_in(inputs)]
    raise ValueError(
        f"Expected the call that returned the prediction to be given keypoints (..., {joints}, 2 or 3) or "
        f"(..., {2 * joints}), but got inputs {shapes}. Override `seal_batch(self, batch, inputs, output)`."
    )


def _poses(value: Any, joints: int) -> list[Tensor]:
    """Tensors in `value` that are shaped like batches of poses, flattened or not."""

    def is_pose(tensor: Tensor) -> bool:
        flat = tensor.dim() >= 2 and tensor.shape[-1] == 3 * joints
        return tensor.is_floating_point() and (flat or (tensor.dim() >= 3 and tensor.shape[-2:] == (joints, 3)))

    return [tensor for tensor in tensors_in(value) if is_pose(tensor)]


def _unflatten(tensor: Tensor, joints: int) -> Tensor:
    return tensor if tensor.shape[-2:] == (joints, 3) else tensor.reshape(*tensor.shape[:-1], joints, 3)


def _identity(tensor: Tensor) -> tuple[torch.device, int]:
    return tensor.device, tensor.data_ptr()


def gradient_at_prediction(
    loss: Tensor, prediction: Tensor, calls: list[ModuleCall]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradient of the loss at the prediction, or at the module output nearest to it that both are made from.

    Returns:
        That output, or None where it is the prediction itself; and the gradient, or None where there is neither.
    """
    if not prediction.requires_grad:
        return None, None
    outputs = [tensor for call in reversed(calls) for tensor in tensors_in(call.output)]
    for at in (prediction, *outputs):
        if not at.requires_grad:
            continue
        gradient = _gradient(loss, at)
        if gradient is not None and at is prediction:
            return None, gradient
        if gradient is not None and _gradient(prediction.sum(), at) is not None:
            return at, gradient
    return None, None


def _gradient(value: Tensor, at: Tensor) -> Tensor | None:
    return torch.autograd.grad(value, at, retain_graph=True, allow_unused=True)[0]
