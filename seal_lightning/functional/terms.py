"""The terms of every error: one value per joint, bone, pair or limb, and whether it counts.

The public functions return the mean of the terms; the metrics add it up over batches.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from seal_lightning.functional.alignment import procrustes_distances, scale_align
from seal_lightning.functional.checks import Root, check_clip, index_on
from seal_lightning.functional.poses import (
    Poses,
    align,
    bones_visible,
    lengths_alone,
    lengths_of_pair,
    pair_of,
    prediction_of,
    root_of,
)
from seal_lightning.skeleton import Skeleton

__all__ = [
    "Terms",
    "acceleration_terms",
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
    "symmetry_terms",
]


class Terms(NamedTuple):
    """Errors (..., n) of n joints or bones, and two masks (..., n): those that count, and those that are visible.

    The two differ where a visible bone of length zero has no error in percent.
    """

    errors: Tensor
    counted: Tensor
    visible: Tensor


def pose_means(terms: Terms) -> tuple[Tensor, Tensor]:
    """Return the mean (...) over the terms that count, 0 where none does, and whether any does (...)."""
    count = terms.counted.sum(dim=-1)
    return torch.where(terms.counted, terms.errors, 0.0).sum(dim=-1) / count.clamp(min=1), count > 0


def reduce_terms(terms: Terms, reduction: str) -> Tensor:
    """Return the mean of every pose over its terms, NaN where none counts, or the mean of these over the poses."""
    values, any_counted = pose_means(terms)
    if reduction == "none":
        return values.masked_fill(~any_counted, torch.nan)
    return values.sum() / any_counted.sum()


def mpjpe_terms(poses: Poses, root: Root) -> Terms:
    """Return the distance of every joint from its true position."""
    return poses.once(_mpjpe_terms, root_of(poses, root))


def _mpjpe_terms(poses: Poses, root: Root) -> Terms:
    prediction, target, visible = align(poses, root)
    return _norms(prediction - target, visible)


def _norms(difference: Tensor, visible: Tensor) -> Terms:
    return Terms(torch.linalg.vector_norm(difference, dim=-1), visible, visible)


def p_mpjpe_terms(poses: Poses) -> Terms:
    """Return the distance of every joint after the best similarity transform."""
    prediction, target, visible = align(poses, None)
    return Terms(procrustes_distances(prediction, target, poses.visibility), visible, visible)


def n_mpjpe_terms(poses: Poses, root: Root) -> Terms:
    """Return the distance of every joint after the best scale."""
    prediction, target, visible = align(poses, root)
    return _norms(scale_align(prediction, target) - target, visible)


def mpjve_terms(poses: Poses, root: Root) -> Terms:
    """Return the distance of the velocities of every joint that is visible in both frames."""
    check_clip(pair_of(poses)[0], frames=2)
    prediction, target, visible = align(poses, root)
    return _norms((prediction - target).diff(dim=-3), visible[..., 1:, :] & visible[..., :-1, :])


def acceleration_terms(poses: Poses, fps: float | None, root: Root) -> Terms:
    """Return the distance of the accelerations of every joint that is visible in all three frames."""
    check_clip(pair_of(poses)[0], frames=3)
    prediction, target, visible = align(poses, root)
    acceleration = (prediction - target).diff(n=2, dim=-3)
    per_second = 1.0 if fps is None else fps**2
    return _norms(per_second * acceleration, visible[..., 2:, :] & visible[..., 1:-1, :] & visible[..., :-2, :])


def pck_terms(poses: Poses, threshold: float, root: Root) -> Terms:
    """Return 100 for a joint nearer than the threshold, else 0."""
    distance, counted, visible = mpjpe_terms(poses, root)
    return Terms(100.0 * (distance < threshold).to(distance.dtype), counted, visible)


def pck_auc_terms(poses: Poses, threshold: float, steps: int, root: Root) -> Terms:
    """Return the percentage of the thresholds that a joint is nearer than."""
    distance, counted, visible = mpjpe_terms(poses, root)
    distance = distance.detach()
    # The distance is not below threshold 0 ... k and below all others. Rounding gives the nearest threshold, and only a
    # comparison with its value tells on which side of it the distance lies: a quotient may be rounded across.
    nearest = (distance / (threshold / steps)).round()
    missed = nearest + (distance >= nearest * threshold / steps)
    missed = missed.nan_to_num(nan=torch.inf).clamp(max=steps + 1)
    return Terms(100.0 * (1.0 - missed / (steps + 1)), counted, visible)


def _sides(values: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """Return the values (..., n_pairs) of the left and of the right bones, of values (..., n_bones)."""
    left = tuple(pair[0] for pair in skeleton.paired_bones)
    right = tuple(pair[1] for pair in skeleton.paired_bones)
    return (
        values.index_select(-1, index_on(left, values.device)),
        values.index_select(-1, index_on(right, values.device)),
    )


def _pairs_visible(poses: Poses, skeleton: Skeleton) -> Tensor:
    left, right = _sides(bones_visible(poses, skeleton), skeleton)
    return left & right


def symmetry_terms(poses: Poses, skeleton: Skeleton, relative: bool) -> Terms:
    """Return the difference in length of left and right, for every pair of bones."""
    left, right = _sides(lengths_alone(poses, skeleton), skeleton)
    errors, visible = (left - right).abs(), poses.once(_pairs_visible, skeleton)
    return _percent(errors, left + right, visible) if relative else Terms(errors, visible, visible)


def asymmetry_terms(poses: Poses, skeleton: Skeleton) -> Terms:
    """Return the predicted minus the true difference in length of left and right, for every pair of bones."""
    predicted, true = (_sides(lengths, skeleton) for lengths in lengths_of_pair(poses, skeleton))
    errors = ((predicted[0] - predicted[1]) - (true[0] - true[1])).abs()
    visible = poses.once(_pairs_visible, skeleton)
    return Terms(errors, visible, visible)


def body_segment_terms(poses: Poses, skeleton: Skeleton, relative: bool) -> Terms:
    """Return the error of the length of every bone."""
    lengths, truth = lengths_of_pair(poses, skeleton)
    return _length_terms(lengths, truth, bones_visible(poses, skeleton), relative)


def limb_length_terms(poses: Poses, skeleton: Skeleton, relative: bool) -> Terms:
    """Return the error of the length of every limb."""
    lengths, truth = (_limbs(bones, skeleton, torch.add) for bones in lengths_of_pair(poses, skeleton))
    visible = _limbs(bones_visible(poses, skeleton), skeleton, torch.logical_and)
    return _length_terms(lengths, truth, visible, relative)


def _limbs(values: Tensor, skeleton: Skeleton, merge: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Merge values per bone (..., n_bones) into one per limb."""
    if not skeleton.limbs:
        return values[..., :0]
    bones = values.unbind(dim=-1)
    return torch.stack([reduce(merge, (bones[bone] for bone in limb)) for limb in skeleton.limb_bones], dim=-1)


def _length_terms(lengths: Tensor, truth: Tensor, visible: Tensor, relative: bool) -> Terms:
    errors = (lengths - truth).abs()
    return _percent(errors, truth, visible) if relative else Terms(errors, visible, visible)


def _percent(errors: Tensor, reference: Tensor, visible: Tensor) -> Terms:
    """Return errors in percent of a length.

    A length of zero does not count. A length of NaN does, so that the mean becomes NaN and the fault is noticed.
    """
    nonzero = reference != 0
    return Terms(100.0 * errors / torch.where(nonzero, reference, 1.0), visible & nonzero, visible)


def mpsce_terms(poses: Poses, skeleton: Skeleton) -> Terms:
    """Return the standard deviation of the length of every bone over the frames; it counts if seen in two or more."""
    check_clip(prediction_of(poses, skeleton), frames=2)
    lengths, present = lengths_alone(poses, skeleton), bones_visible(poses, skeleton)
    frames = present.sum(dim=-2)
    mean = torch.where(present, lengths, 0.0).sum(dim=-2) / frames.clamp(min=1)
    deviation = torch.where(present, lengths - mean.unsqueeze(-2), 0.0)
    # The norm has a gradient of zero where a length is constant; that of a square root would be infinite.
    spread = torch.linalg.vector_norm(deviation, dim=-2) / frames.clamp(min=1).to(lengths.dtype).sqrt()
    return Terms(spread, frames > 1, frames > 1)
