"""A batch of poses, and the quantities that several errors are computed from."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import torch
from torch import Tensor

from seal_lightning.functional.alignment import root_align
from seal_lightning.functional.checks import Root, as_pair, as_pose, as_visible, check_joints, index_on, root_indices
from seal_lightning.skeleton import Skeleton

__all__ = [
    "Poses",
    "align",
    "bone_ends",
    "bones_visible",
    "both_ends",
    "lengths_alone",
    "lengths_of_pair",
    "pair_of",
    "prediction_of",
    "root_of",
    "segment_lengths",
]

Result = TypeVar("Result")


class Poses:
    """Predicted poses, the true ones and their visibility, together with what has been computed from them.

    Errors that are given the same object share its results. Do not change the tensors while it is in use.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit; None for errors that need no truth.
        visibility: Mask (..., J), boolean or 0/1; None if all joints are visible.
    """

    def __init__(self, prediction: Tensor, target: Tensor | None = None, visibility: Tensor | None = None) -> None:
        self.prediction, self.target, self.visibility = prediction, target, visibility
        self._results: dict[tuple[Hashable, ...], Any] = {}

    def once(self, function: Callable[..., Result], *options: Hashable) -> Result:
        """Return ``function(self, *options)``, which is computed at the first call and kept."""
        # A metric with `dist_sync_on_step` updates without a gradient first and then with one.
        key = (function, torch.is_grad_enabled(), *options)
        if key not in self._results:
            self._results[key] = function(self, *options)
        result: Result = self._results[key]
        return result


def prediction_of(poses: Poses, skeleton: Skeleton | None = None) -> Tensor:
    """Return the checked predictions, float32 at least, for errors that need no truth."""
    prediction = poses.once(_prediction)
    if skeleton is not None:
        check_joints(prediction, "prediction", skeleton.num_joints)
    return prediction


def _prediction(poses: Poses) -> Tensor:
    return as_pose(poses.prediction)


def pair_of(poses: Poses, skeleton: Skeleton | None = None) -> tuple[Tensor, Tensor]:
    """Return the checked predictions and truths, of one shape and one dtype, float32 at least."""
    prediction_of(poses, skeleton)
    return poses.once(_pair)


def _pair(poses: Poses) -> tuple[Tensor, Tensor]:
    return as_pair(prediction_of(poses), poses.target)


def align(poses: Poses, root: Root) -> tuple[Tensor, Tensor, Tensor]:
    """Return both poses aligned at the root, and a mask (..., J) of the joints that can be compared.

    Invisible joints are set to zero, so that their NaN reaches neither value nor gradient.
    """
    return poses.once(_align, root_of(poses, root))


def root_of(poses: Poses, root: Root) -> tuple[int, ...] | None:
    """Return the checked root joints as a tuple, since a list cannot be an option of `Poses.once`."""
    prediction, _ = pair_of(poses)
    return None if root is None else root_indices(root, prediction.shape[-2])


def _align(poses: Poses, root: tuple[int, ...] | None) -> tuple[Tensor, Tensor, Tensor]:
    (prediction, target), visible = pair_of(poses), poses.once(_visible)
    if root is not None:
        prediction = root_align(prediction, root, visibility=poses.visibility)
        target = root_align(target, root, visibility=poses.visibility)
        if poses.visibility is not None:
            index = index_on(root, visible.device)
            visible = visible & visible.index_select(-1, index).any(dim=-1, keepdim=True)
    if poses.visibility is not None:
        prediction = torch.where(visible.unsqueeze(-1), prediction, 0.0)
        target = torch.where(visible.unsqueeze(-1), target, 0.0)
    return prediction, target, visible


def _visible(poses: Poses) -> Tensor:
    return as_visible(poses.visibility, prediction_of(poses))


def lengths_alone(poses: Poses, skeleton: Skeleton) -> Tensor:
    """Return the lengths (..., n_bones) of the predicted bones, for errors that need no truth."""
    return poses.once(_predicted_lengths, skeleton, prediction_of(poses, skeleton).dtype)


def lengths_of_pair(poses: Poses, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Return the lengths (..., n_bones) of the predicted and of the true bones."""
    prediction, _ = pair_of(poses, skeleton)
    return poses.once(_predicted_lengths, skeleton, prediction.dtype), poses.once(_true_lengths, skeleton)


def _predicted_lengths(poses: Poses, skeleton: Skeleton, dtype: torch.dtype) -> Tensor:
    return _visible_lengths(poses, prediction_of(poses).to(dtype), skeleton)


def _true_lengths(poses: Poses, skeleton: Skeleton) -> Tensor:
    return _visible_lengths(poses, pair_of(poses)[1], skeleton)


def _visible_lengths(poses: Poses, pose: Tensor, skeleton: Skeleton) -> Tensor:
    if poses.visibility is not None:  # the NaN of an invisible joint must reach neither value nor gradient
        pose = torch.where(poses.once(_visible).unsqueeze(-1), pose, 0.0)
    return segment_lengths(pose, skeleton)


def bones_visible(poses: Poses, skeleton: Skeleton) -> Tensor:
    """Return a mask (..., n_bones) of the bones of which both ends are visible."""
    return poses.once(_bones_visible, skeleton)


def _bones_visible(poses: Poses, skeleton: Skeleton) -> Tensor:
    return both_ends(poses.once(_visible), skeleton)


def both_ends(mask: Tensor, skeleton: Skeleton) -> Tensor:
    """Return a mask (..., n_bones) of the bones of which both ends are in the mask (..., J)."""
    child, parent = bone_ends(skeleton, mask.device)
    return mask.index_select(-1, child) & mask.index_select(-1, parent)


def segment_lengths(pose: Tensor, skeleton: Skeleton) -> Tensor:
    """Return the lengths (..., n_bones) of all bones of poses (..., J, 3)."""
    child, parent = bone_ends(skeleton, pose.device)
    lengths: Tensor = torch.linalg.vector_norm(pose.index_select(-2, child) - pose.index_select(-2, parent), dim=-1)
    return lengths


def bone_ends(skeleton: Skeleton, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the indices of the child and of the parent joint of every bone."""
    children = tuple(child for child, _ in skeleton.bones)
    return index_on(children, device), index_on(tuple(parent for _, parent in skeleton.bones), device)
