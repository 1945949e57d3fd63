"""`SealBatch`: what SEAL needs of a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from seal_lightning.loss.random import own_random_numbers

__all__ = ["SealBatch"]

_TENSORS = ("keypoints_2d", "prediction", "target", "visibility", "eval_prediction")
_ALL_TENSORS = (*_TENSORS, "labelled")


@dataclass(frozen=True)
class SealBatch:
    """Keypoints, prediction and truth of one step.

    Args:
        keypoints_2d: Keypoints (B, J, 2) or (B, T, J, 2), or with a confidence as third channel. None where the
            prediction was made from none: the energy then judges poses alone.
        prediction: Predicted poses (B, J, 3) or (B, T, J, 3), part of the graph that the loss is made from.
        target: True poses of the same shape and unit; None where a static loss-net needs none.
        visibility: Bool (..., J); an invisible joint counts nowhere.
        labelled: Bool (B,); False for a sample whose target is not to be read.
        joints: Where the prediction has more joints than the skeleton: which of them are the skeleton's, in its order.
            Of the other tensors, they are taken from those that have as many joints as the prediction.
        eval_prediction: What the network predicts in evaluation mode, of the shape of the prediction. Only
            ``PredictionNegatives(eval=True)`` reads it; where it is None, the network's call is run once more.

    Raises:
        TypeError: If the prediction is no tensor, or another field but ``joints`` is neither a tensor nor None.
    """

    keypoints_2d: Tensor | None
    prediction: Tensor
    target: Tensor | None = None
    visibility: Tensor | None = None
    labelled: Tensor | None = None
    joints: Sequence[int] | None = None
    eval_prediction: Tensor | None = None

    def __post_init__(self) -> None:
        for name in _ALL_TENSORS:
            value = getattr(self, name)
            if not isinstance(value, Tensor) and (value is not None or name == "prediction"):
                raise TypeError(f"Expected `{name}` of SealBatch to be a tensor, but got {type(value).__name__}.")

    @property
    def keypoints(self) -> Tensor:
        """The keypoints; zeros where there are none."""
        if self.keypoints_2d is not None:
            return self.keypoints_2d
        return torch.zeros_like(self.prediction[..., :2], requires_grad=False)

    def complete(self) -> SealBatch:
        """The same with the joints of the skeleton alone, and with keypoints: zeros where there are none."""
        read = self if self.joints is None else self._with_joints(self.joints)
        return replace(read, keypoints_2d=read.keypoints) if read.keypoints_2d is None else read

    def some_frames(self, count: int | None, seed: int, draw: int, *, in_a_row: bool = False) -> SealBatch:
        """Keep ``count`` random frames of every clip, in order; all of them where there are no more, or no clips.

        With ``in_a_row`` they are a part of the clip without gaps.
        """
        if count is None or self.prediction.dim() == 3 or count >= self.prediction.shape[1]:
            return self
        device = self.prediction.device
        with own_random_numbers(seed + 1, draw, device) as generator:  # not the stream that negatives draw from
            noise = torch.rand(self.prediction.shape[:2], generator=generator)
        if in_a_row:
            starts = self.prediction.shape[1] - count + 1
            index = ((noise[:, :1] * starts).long() + torch.arange(count)).to(device)
        else:
            index = noise.argsort(dim=1)[:, :count].sort(dim=1).values.to(device)
        rows = torch.arange(len(index), device=device)[:, None]
        kept = {field: getattr(self, field)[rows, index] for field in _TENSORS if getattr(self, field) is not None}
        return replace(self, **kept)

    def detach(self) -> SealBatch:
        """The same without the graph."""
        return replace(self, prediction=self.prediction.detach())

    def empty(self) -> SealBatch:
        """The same without a sample."""
        return replace(
            self, **{name: getattr(self, name)[:0] for name in _ALL_TENSORS if getattr(self, name) is not None}
        )

    def _with_joints(self, joints: Sequence[int]) -> SealBatch:
        there = self.prediction.shape[-2]
        if not joints or not all(isinstance(joint, int) and 0 <= joint < there for joint in joints):
            raise ValueError(f"Expected `joints` of SealBatch to be indices from 0 to {there - 1}, but got {joints!r}.")
        index = torch.tensor(list(joints), device=self.prediction.device)
        axes = {"keypoints_2d": -2, "prediction": -2, "target": -2, "visibility": -1, "eval_prediction": -2}
        chosen = {}
        for name, axis in axes.items():
            value = getattr(self, name)
            if value is not None and value.shape[axis] == there:
                chosen[name] = value.index_select(axis, index)
        return replace(self, joints=None, **chosen)
