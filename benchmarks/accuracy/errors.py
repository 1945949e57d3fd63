"""The errors of every predicted pose, before and after what anybody can do to it afterwards.

The abbreviations are those of docs/accuracy.md: mean per joint position error (MPJPE), after Procrustes alignment
(P-MPJPE), at the best scale (N-MPJPE), limb symmetry error (LSE), body segment length error (BSLE) and limb length
error (LLE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from seal_lightning.functional import (
    asymmetry_error,
    body_segment_length_error,
    bone_lengths,
    limb_length_error,
    limb_symmetry_error,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    rescale_bones,
    root_align,
    scale_align,
    shrink_bones,
    smooth,
    symmetrise_bones,
)
from seal_lightning.skeleton import Skeleton

__all__ = ["FRAME_RESCALINGS", "RESCALINGS", "EvaluationSet", "Rescaling", "angle_error", "pose_errors", "rescale"]


class Rescaling(NamedTuple):
    """What is done to finished predictions; the order is `flips`, `sigma`, `clip_mean`, `alpha`, `symmetrise`."""

    alpha: float = 0.0
    """Share of the way that every length moves to its mean over the training data."""
    symmetrise: bool = False
    """Whether the left and the right bone of a pair get their mean length."""
    clip_mean: bool = False
    """Whether every bone gets its mean length over all poses of a clip that are seen by one camera."""
    sigma: float = 0.0
    """Standard deviation of a Gaussian filter over these poses, in evaluated frames."""
    flips: bool = False
    """Whether the predictions were averaged with the mirrored ones of mirrored keypoints, which `rescale` cannot do."""

    def __str__(self) -> str:
        parts = ["flips"] * self.flips + [f"filter {self.sigma:g}"] * (self.sigma > 0)
        parts += ["clip mean"] * self.clip_mean
        parts += [f"shrink {self.alpha:g}"] * (self.alpha > 0)
        return " + ".join(parts + ["symmetrise"] * self.symmetrise) or "as predicted"


FRAME_RESCALINGS = tuple(
    Rescaling(alpha, both, flips=flips)
    for flips, alpha, both in product((False, True), (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (False, True))
)
"""The choices for single frames: what anybody can do to a prediction without knowing the frames before and after."""

RESCALINGS = tuple(
    how._replace(clip_mean=steady, sigma=sigma)
    for sigma, steady, how in product((0.0, 1.0, 2.0), (False, True), FRAME_RESCALINGS)
)
"""All of them: those where a whole clip is at hand, which can be filtered and has a mean length of each bone."""


@dataclass(frozen=True)
class EvaluationSet:
    """The true poses of a split, and where each comes from.

    Args:
        target: True poses (N, J, 3), in metres.
        group: For each pose the person's skeleton (N,), as an index into ``names``.
        clip: For each pose the number of its clip (N,).
        view: For each pose the number of its pair of clip and camera (N,).
        names: Names of the skeletons, in the form "dataset/skeleton".
        mean_lengths: Mean bone lengths (J - 1,) of the training data, in metres; every skeleton counts the same.
        skeleton: Joints and bones of the poses.
    """

    target: Tensor
    group: Tensor
    clip: Tensor
    view: Tensor
    names: Sequence[str]
    mean_lengths: Tensor
    skeleton: Skeleton


def rescale(pose: Tensor, how: Rescaling, data: EvaluationSet) -> Tensor:
    """Filter and rescale poses (N, J, 3), in the order of `data.target`, which is that of time within a view."""
    if how.sigma:
        filtered = torch.empty_like(pose)
        for view in data.view.unique():
            rows = data.view == view
            filtered[rows] = smooth(pose[rows], sigma=how.sigma)
        pose = filtered
    if how.clip_mean:
        lengths = bone_lengths(pose, data.skeleton)
        total = lengths.new_zeros(int(data.view.max()) + 1, lengths.shape[1]).index_add_(0, data.view, lengths)
        count = torch.bincount(data.view).clamp(min=1).to(lengths)
        pose = rescale_bones(pose, (total / count[:, None])[data.view], data.skeleton)
    if how.alpha:
        pose = shrink_bones(pose, data.mean_lengths, data.skeleton, how.alpha)
    return symmetrise_bones(pose, data.skeleton) if how.symmetrise else pose


def pose_errors(pose: Tensor, data: EvaluationSet, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return errors (N,) of poses (N, J, 3), all or those in `names`, in millimetres, percent or degrees."""
    root = data.skeleton.root_joints
    pose, target = 1e3 * root_align(pose, root), 1e3 * root_align(data.target, root)
    return {name: ERRORS[name](pose, target, data) for name in names or ERRORS}


def angle_error(pose: Tensor, target: Tensor, skeleton: Skeleton) -> Tensor:
    """Mean angle (N,) between predicted and true bones, in degrees. No rescaling changes it."""
    child, parent = torch.tensor(skeleton.bones).unbind(1)
    bone, true_bone = (joints[:, child] - joints[:, parent] for joints in (pose, target))
    # atan2 of sine and cosine: the arc cosine alone would lose half of its digits near zero degrees.
    crossed = torch.linalg.cross(bone, true_bone).norm(dim=-1)
    return torch.rad2deg(torch.atan2(crossed, (bone * true_bone).sum(-1))).mean(1)


def _symmetry(pose: Tensor, skeleton: Skeleton, without: Sequence[str]) -> Tensor:
    """LSE (N,) in percent, without the pairs of bones that lead to a joint whose name ends in one of `without`."""
    kept = [
        (left, right)
        for left, right in skeleton.paired_bones
        if not skeleton.names[skeleton.bones[left][0]].endswith(tuple(without))
    ]
    lengths = bone_lengths(pose, skeleton)
    left, right = lengths[:, [pair[0] for pair in kept]], lengths[:, [pair[1] for pair in kept]]
    return 100 * ((left - right).abs() / (left + right)).mean(1)


def _best_scale_error(pose: Tensor, target: Tensor, data: EvaluationSet) -> Tensor:
    """BSLE (N,) in percent after every pose is scaled to fit its target best."""
    pose, target = pose - pose.mean(1, keepdim=True), target - target.mean(1, keepdim=True)
    return body_segment_length_error(scale_align(pose, target), target, data.skeleton, reduction="none")


def _usual_length_error(pose: Tensor, target: Tensor, data: EvaluationSet) -> Tensor:
    """BSLE (N,) in percent against each subject's median lengths: measured bones change their length between frames."""
    lengths, true_lengths = bone_lengths(pose, data.skeleton), bone_lengths(target, data.skeleton)
    usual = torch.zeros_like(lengths)
    for group in data.group.unique():
        members = data.group == group
        usual[members] = true_lengths[members].median(0).values
    return 100 * ((lengths - usual).abs() / usual).mean(1)


ERRORS: dict[str, Callable[[Tensor, Tensor, EvaluationSet], Tensor]] = {
    "MPJPE": lambda pose, target, data: mpjpe(pose, target, reduction="none"),
    "P-MPJPE": lambda pose, target, data: p_mpjpe(pose, target, reduction="none"),
    "N-MPJPE": lambda pose, target, data: n_mpjpe(pose, target, reduction="none"),
    "bone angle": lambda pose, target, data: angle_error(pose, target, data.skeleton),
    "LSE": lambda pose, target, data: limb_symmetry_error(pose, data.skeleton, reduction="none"),
    "LSE, no hips": lambda pose, target, data: _symmetry(pose, data.skeleton, ("Hip",)),
    "LSE, no hips, no shoulders": lambda pose, target, data: _symmetry(pose, data.skeleton, ("Hip", "Shoulder")),
    "asymmetry": lambda pose, target, data: asymmetry_error(pose, target, data.skeleton, reduction="none"),
    "BSLE": lambda pose, target, data: body_segment_length_error(pose, target, data.skeleton, reduction="none"),
    "BSLE, best scale": _best_scale_error,
    "BSLE, subject's median": _usual_length_error,
    "LLE": lambda pose, target, data: limb_length_error(pose, target, data.skeleton, reduction="none"),
}
"""The errors by name; each is a function of root-aligned poses and targets, both in millimetres."""
