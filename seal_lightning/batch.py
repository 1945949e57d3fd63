"""`SealBatch`: what SEAL needs of a step, and how it is found in a host that knows nothing of SEAL."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from seal_lightning._random import own_random_numbers
from seal_lightning.capture import ModuleCall, tensors_in
from seal_lightning.functional import limb_symmetry_error
from seal_lightning.skeleton import Skeleton

__all__ = ["SealBatch", "gradient_at_prediction", "infer_batch", "warn_unless_a_body"]

_IMPLAUSIBLE_ASYMMETRY = 15.0  # percent; measured bodies have below 5


@dataclass(frozen=True)
class SealBatch:
    """Keypoints, prediction and truth of one step.

    Args:
        keypoints_2d: Keypoints (B, J, 2) or (B, T, J, 2), or with a confidence as third channel.
        prediction: Predicted poses (B, J, 3) or (B, T, J, 3), part of the graph that the loss is made from.
        target: True poses of the same shape and unit; None where a static loss-net needs none.
        visibility: Bool (..., J); an invisible joint counts nowhere.
        labelled: Bool (B,); False for a sample whose target is not to be read.
    """

    keypoints_2d: Tensor
    prediction: Tensor
    target: Tensor | None = None
    visibility: Tensor | None = None
    labelled: Tensor | None = None

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
    predicted, the centre frame.

    Args:
        batch: The batch as the step received it.
        calls: The outermost module calls of the step.
        joints: Number of joints J.

    Returns:
        The batch that was found.

    Raises:
        ValueError: If there is no way to read the step, or more than one.
    """
    found = []
    for call in calls:
        passed = {_identity(tensor) for tensor in tensors_in(call.inputs)}
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
    return SealBatch(_keypoints(call.inputs, prediction.shape[:-2], joints), prediction, target)


def _keypoints(inputs: Any, leading: torch.Size, joints: int) -> Tensor:
    """The first pose-shaped input, or its centre frame, with the leading dimensions of the prediction."""
    for tensor in tensors_in(inputs):
        if tensor.is_floating_point() and tensor.dim() >= 2 and tensor.shape[-1] == 2 * joints:
            tensor = tensor.reshape(*tensor.shape[:-1], joints, 2)
        if not tensor.is_floating_point() or tensor.dim() < 3 or tensor.shape[-2:] not in ((joints, 2), (joints, 3)):
            continue
        shape = tensor.shape[:-2]
        if shape == leading:
            return tensor
        frames = shape[1] if len(shape) == 2 else 0
        if frames % 2 == 1 and leading in ((shape[0],), (shape[0], 1)):
            return tensor[:, frames // 2].reshape(*leading, *tensor.shape[-2:])
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


def warn_unless_a_body(read: SealBatch, skeleton: Skeleton) -> None:
    """Warn where the truth's left and right bones differ as no body's do: the poses are then no coordinates."""
    if read.target is None or not skeleton.paired_bones:
        return
    asymmetry = float(limb_symmetry_error(read.target.float(), skeleton, visibility=read.visibility))
    if asymmetry > _IMPLAUSIBLE_ASYMMETRY:
        warnings.warn(
            f"The true poses' left and right bones differ by {asymmetry:.0f} % on average. If the targets are "
            "normalised by mean and standard deviation, override `seal_batch(self, batch, inputs, output)` and return "
            "`SealBatch(keypoints_2d, prediction * std + mean, target * std + mean)`; if the joints are in another "
            "order, set `skeleton` in SealConfig.",
            stacklevel=2,
        )
