"""What is averaged: one error per joint, bone, pair or limb, and whether it counts.

The public functions reduce these terms at once; the metrics sum them up over batches. What is marked as shared is
computed once for all metrics of a `PoseMetrics`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from seal_lightning.functional._checks import Root, as_clip, as_pair, as_pose, as_visible, index_on, root_indices
from seal_lightning.functional._sharing import shared
from seal_lightning.functional.alignment import procrustes_distances, root_align, scale_align
from seal_lightning.skeleton import Skeleton

__all__ = [
    "Terms",
    "asymmetry_terms",
    "body_segment_terms",
    "limb_length_terms",
    "mpjpe_terms",
    "mpjve_terms",
    "mpsce_terms",
    "n_mpjpe_terms",
    "p_mpjpe_terms",
    "pck_auc_terms",
    "pck_terms",
    "pose_means",
    "reduce_terms",
    "segment_lengths",
    "symmetry_terms",
]


# Half precision is converted once, and what is computed of the results is shared in turn.
_pair, _pose = shared(as_pair), shared(as_pose)


class Terms(NamedTuple):
    """Errors (..., n) of n joints or bones, those of them that count, and those that are visible at all."""

    errors: Tensor
    counted: Tensor
    visible: Tensor


@shared
def pose_means(terms: Terms) -> tuple[Tensor, Tensor]:
    """Mean over the terms that count, 0 where none does, and whether any does; both (...)."""
    count, any_counted = _counts(terms.counted)
    return torch.where(terms.counted, terms.errors, 0.0).sum(dim=-1) / count, any_counted


@shared
def _counts(counted: Tensor) -> tuple[Tensor, Tensor]:
    """Number of terms that count, 1 where none does, and whether any does."""
    count = counted.sum(dim=-1)
    return count.clamp(min=1), count > 0


def reduce_terms(terms: Terms, reduction: str) -> Tensor:
    """Mean over poses of the mean over their terms, or the latter alone, NaN where nothing counts."""
    values, any_counted = pose_means(terms)
    if reduction == "none":
        return values.masked_fill(~any_counted, torch.nan)
    return values.sum() / any_counted.sum()


@shared
def _aligned(
    prediction: Tensor, target: Tensor, root: Root = None, visibility: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Root-align both poses and set invisible joints to zero, so that their NaN reaches neither value nor gradient."""
    prediction, target = _pair(prediction, target)
    visible = as_visible(visibility, prediction)
    if root is not None:
        prediction = root_align(prediction, root, visibility=visibility)
        target = root_align(target, root, visibility=visibility)
        if visibility is not None:
            index = index_on(root_indices(root, visible.shape[-1]), visible.device)
            visible = visible & visible.index_select(-1, index).any(dim=-1, keepdim=True)
    if visibility is not None:
        prediction = torch.where(visible.unsqueeze(-1), prediction, 0.0)
        target = torch.where(visible.unsqueeze(-1), target, 0.0)
    return prediction, target, visible


def _distances(difference: Tensor, visible: Tensor) -> Terms:
    return Terms(torch.linalg.vector_norm(difference, dim=-1), visible, visible)


@shared
def mpjpe_terms(prediction: Tensor, target: Tensor, root: Root, visibility: Tensor | None) -> Terms:
    """Distance of every joint."""
    prediction, target, visible = _aligned(prediction, target, root, visibility)
    return _distances(prediction - target, visible)


def p_mpjpe_terms(prediction: Tensor, target: Tensor, visibility: Tensor | None) -> Terms:
    """Distance of every joint after the best similarity transform."""
    prediction, target, visible = _aligned(prediction, target, None, visibility)
    return Terms(procrustes_distances(prediction, target, visibility), visible, visible)


def n_mpjpe_terms(prediction: Tensor, target: Tensor, root: Root, visibility: Tensor | None) -> Terms:
    """Distance of every joint after the best scale."""
    prediction, target, visible = _aligned(prediction, target, root, visibility)
    return _distances(scale_align(prediction, target) - target, visible)


def mpjve_terms(prediction: Tensor, target: Tensor, root: Root, visibility: Tensor | None) -> Terms:
    """Distance of every joint's velocities; a joint counts where it is visible in both frames."""
    prediction, target, visible = _aligned(as_clip(as_pose(prediction)), target, root, visibility)
    velocity = (prediction - target).diff(dim=-3)
    return _distances(velocity, visible[..., 1:, :] & visible[..., :-1, :])


def pck_terms(prediction: Tensor, target: Tensor, threshold: float, root: Root, visibility: Tensor | None) -> Terms:
    """100 for a joint within the threshold, else 0."""
    distance, counted, visible = mpjpe_terms(prediction, target, root, visibility)
    return Terms(100.0 * (distance <= threshold).to(distance.dtype), counted, visible)


def pck_auc_terms(
    prediction: Tensor, target: Tensor, threshold: float, steps: int, root: Root, visibility: Tensor | None
) -> Terms:
    """Percentage of the thresholds that a joint is within."""
    distance, counted, visible = mpjpe_terms(prediction, target, root, visibility)
    missed = (distance.detach() / (threshold / steps)).ceil().nan_to_num(nan=torch.inf).clamp(max=steps + 1)
    return Terms(100.0 * (1.0 - missed / (steps + 1)), counted, visible)


def segment_lengths(pose: Tensor, skeleton: Skeleton) -> Tensor:
    """Lengths (..., n_bones) of all bones."""
    child, parent = _bone_ends(skeleton, pose.device)
    lengths: Tensor = torch.linalg.vector_norm(pose.index_select(-2, child) - pose.index_select(-2, parent), dim=-1)
    return lengths


def _bone_ends(skeleton: Skeleton, device: torch.device) -> tuple[Tensor, Tensor]:
    ends = tuple(child for child, _ in skeleton.bones), tuple(parent for _, parent in skeleton.bones)
    return index_on(ends[0], device), index_on(ends[1], device)


@shared
def _bones(pose: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> Tensor:
    """Lengths (..., n_bones) of all bones, free of the NaN of invisible joints."""
    if visibility is not None:
        pose = torch.where(as_visible(visibility, pose).unsqueeze(-1), pose, 0.0)
    return segment_lengths(pose, skeleton)


@shared
def _bones_seen(pose: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> Tensor:
    """Whether both ends of a bone are visible, for all bones."""
    visible = as_visible(visibility, pose)
    child, parent = _bone_ends(skeleton, pose.device)
    return visible.index_select(-1, child) & visible.index_select(-1, parent)


@shared
def _pairs(pose: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> tuple[Tensor, Tensor]:
    """Lengths (..., n_pairs) of the left and of the right bones of all pairs."""
    return _sides(_bones(pose, skeleton, visibility), skeleton)


@shared
def _pairs_seen(pose: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> Tensor:
    """Whether all ends of a pair of bones are visible, for all pairs."""
    left, right = _sides(_bones_seen(pose, skeleton, visibility), skeleton)
    return left & right


def _sides(values: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    left = tuple(pair[0] for pair in skeleton.paired_bones)
    right = tuple(pair[1] for pair in skeleton.paired_bones)
    return (
        values.index_select(-1, index_on(left, values.device)),
        values.index_select(-1, index_on(right, values.device)),
    )


def _limbs(values: Tensor, skeleton: Skeleton, merge: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Merge values per bone (..., n_bones) into one per limb."""
    if not skeleton.limbs:
        return values[..., :0]
    bones = values.unbind(dim=-1)
    return torch.stack([reduce(merge, (bones[bone] for bone in limb)) for limb in skeleton.limb_bones], dim=-1)


def _percent(errors: Tensor, reference: Tensor, visible: Tensor) -> Terms:
    """Errors in percent of a length; a length of zero does not count, a NaN does."""
    nonzero = reference != 0
    return Terms(100.0 * errors / torch.where(nonzero, reference, 1.0), visible & nonzero, visible)


def symmetry_terms(prediction: Tensor, skeleton: Skeleton, relative: bool, visibility: Tensor | None) -> Terms:
    """Difference in length of left and right, for every pair of bones."""
    prediction = _pose(prediction, joints=skeleton.num_joints)
    left, right = _pairs(prediction, skeleton, visibility)
    errors, visible = (left - right).abs(), _pairs_seen(prediction, skeleton, visibility)
    return _percent(errors, left + right, visible) if relative else Terms(errors, visible, visible)


def asymmetry_terms(prediction: Tensor, target: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> Terms:
    """Predicted minus true difference in length of left and right, for every pair of bones."""
    prediction, target = _pair(prediction, target, skeleton.num_joints)
    (left, right), truth = _pairs(prediction, skeleton, visibility), _pairs(target, skeleton, visibility)
    visible = _pairs_seen(prediction, skeleton, visibility)
    return Terms(((left - right) - (truth[0] - truth[1])).abs(), visible, visible)


def body_segment_terms(
    prediction: Tensor, target: Tensor, skeleton: Skeleton, relative: bool, visibility: Tensor | None
) -> Terms:
    """Error of the length of every bone."""
    prediction, target = _pair(prediction, target, skeleton.num_joints)
    lengths, truth = _bones(prediction, skeleton, visibility), _bones(target, skeleton, visibility)
    return _length_terms(lengths, truth, _bones_seen(prediction, skeleton, visibility), relative)


def limb_length_terms(
    prediction: Tensor, target: Tensor, skeleton: Skeleton, relative: bool, visibility: Tensor | None
) -> Terms:
    """Error of the length of every limb."""
    prediction, target = _pair(prediction, target, skeleton.num_joints)
    bones, true_bones = _bones(prediction, skeleton, visibility), _bones(target, skeleton, visibility)
    lengths, truth = _limbs(bones, skeleton, torch.add), _limbs(true_bones, skeleton, torch.add)
    visible = _limbs(_bones_seen(prediction, skeleton, visibility), skeleton, torch.logical_and)
    return _length_terms(lengths, truth, visible, relative)


def _length_terms(lengths: Tensor, truth: Tensor, visible: Tensor, relative: bool) -> Terms:
    errors = (lengths - truth).abs()
    return _percent(errors, truth, visible) if relative else Terms(errors, visible, visible)


def mpsce_terms(prediction: Tensor, skeleton: Skeleton, visibility: Tensor | None) -> Terms:
    """Standard deviation of the length of every bone over the frames; it counts if visible in two frames or more."""
    prediction = as_clip(_pose(prediction, joints=skeleton.num_joints))
    lengths = _bones(prediction, skeleton, visibility)
    present = _bones_seen(prediction, skeleton, visibility)
    frames = present.sum(dim=-2)
    mean = torch.where(present, lengths, 0.0).sum(dim=-2) / frames.clamp(min=1)
    deviation = torch.where(present, lengths - mean.unsqueeze(-2), 0.0)
    # The norm has a gradient of zero where a length is constant; that of a square root would be infinite.
    spread = torch.linalg.vector_norm(deviation, dim=-2) / frames.clamp(min=1).to(lengths.dtype).sqrt()
    return Terms(spread, frames > 1, frames > 1)
