"""Scores of predicted poses that need no true poses."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.functional.checks import (
    Reduction,
    as_pose,
    as_visible,
    check_clip,
    check_reduction,
    check_segments,
)
from seal_lightning.functional.poses import Poses, bones_visible, lengths_alone, prediction_of
from seal_lightning.functional.terms import Terms, reduce_terms
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["bone_length_variation", "joint_reprojection", "reprojection_error"]


def bone_length_variation(
    prediction: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""How much the bones of one person change in length over the frames, in percent.

    .. math:: 100 \cdot \frac{1}{\bar l} \sqrt{ \frac{1}{T} \sum_t (l_t - \bar l)^2 }
        \quad \text{with} \quad \bar l = \frac{1}{T} \sum_t l_t

    The value is the mean over the bones. It is `mpsce` divided by each bone's own mean length, so that it has no unit
    and bodies of any size can be compared. True bones keep their length; markers on the skin move a little.

    Args:
        prediction: Predicted poses of one person each, shape (..., T, J, 3), at least 2 frames in any order.
        skeleton: Skeleton or name of a built-in one.
        reduction: ``"mean"`` over people, or ``"none"`` for one value each, shape (...), NaN for those left out.
        visibility: Mask (..., T, J), boolean or 0/1. A bone is measured in the frames that show both its ends, and
            counts if these are two or more and its mean length is not zero.

    Returns:
        Percentage, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> lengths = torch.tensor([3.0, 5.0]).reshape(2, 1, 1)
        >>> bone_length_variation(lengths * torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), bone)
        tensor(25.)

    Reference:
        Rommel et al., ManiPose: Manifold-Constrained Multi-Hypothesis 3D Human Pose Estimation, 2024,
        https://arxiv.org/abs/2312.06386
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.bones, "bones")
    poses = Poses(prediction, None, visibility)
    check_clip(prediction_of(poses, skeleton))
    lengths, seen = lengths_alone(poses, skeleton), bones_visible(poses, skeleton)
    count = seen.sum(dim=-2)
    some = count.clamp(min=1)
    mean = torch.where(seen, lengths, 0.0).sum(dim=-2) / some
    deviation = torch.where(seen, lengths - mean.unsqueeze(-2), 0.0)
    spread = torch.linalg.vector_norm(deviation, dim=-2) / some.to(lengths.dtype).sqrt()
    counted = (count > 1) & (mean != 0)
    percent = 100.0 * spread / torch.where(counted, mean, 1.0)
    return reduce_terms(Terms(percent, counted, count > 1), reduction)


def reprojection_error(
    prediction: Tensor,
    keypoints_2d: Tensor,
    *,
    focal: float | None = None,
    reduction: Reduction = "mean",
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Distance of a predicted pose, projected by the best camera, from the keypoints it was lifted from, in percent.

    .. math:: 100 \cdot \frac{1}{J} \sum_j \frac{\lVert \pi(p_j) - k_j \rVert}{d}

    with :math:`k_j` the keypoints and :math:`d` the larger side of the box around those that count. The pose is
    expected in the frame of the camera up to a shift: x to the right and y down like the keypoints, z away from the
    camera. It is projected by

    - without ``focal`` a weak-perspective camera, :math:`\pi(p) = s\,(x, y) + t`, with the s and t of least squares:
      :math:`s = \sum_j \langle q_j, k_j \rangle / \sum_j \lVert q_j \rVert^2` for :math:`q_j = (x_j, y_j)`, both about
      their means. A true camera has perspective, so that even the true pose has an error of some percent: compare with
      that error;
    - with ``focal`` a pinhole, :math:`\pi(p) = f\,(x + t_x, y + t_y) / (z + t_z)`, with the shift t that solves the
      linear equations :math:`f\,(x + t_x) = u\,(z + t_z)`, :math:`f\,(y + t_y) = v\,(z + t_z)` of the keypoints (u, v)
      best. The error of the true pose is that of the keypoints alone. A pose with a joint that ends up beside or behind
      the camera has no error and is left out.

    A low error says that a prediction agrees with its input, but nothing about its depth.

    Args:
        prediction: Predicted poses, shape (..., J, 3), in any unit.
        keypoints_2d: Keypoints, shape (..., J, 2 or 3), the origin where the optical axis meets the image if ``focal``
            is given. A joint whose third channel, the confidence, is 0 does not count.
        focal: Focal length in the unit of the keypoints: ``2 f / w`` for keypoints from -1 to 1 over an image of w
            pixels. None stands for weak perspective.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1, of the joints that count. A pose needs two of them, with ``focal``
            three.

    Returns:
        Percentage of the person's size, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `focal` or `reduction` do not fit.

    Example:
        >>> pose = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 5.0], [0.0, 2.0, -3.0], [2.0, 2.0, 1.0]])
        >>> keypoints = torch.tensor([[0.1, 0.0], [0.5, 0.0], [0.1, 0.4], [0.5, 0.4]])
        >>> round(reprojection_error(pose, keypoints).item(), 4)
        0.0

    References:
        Weak perspective: Kanazawa et al., End-to-end Recovery of Human Shape and Pose, CVPR 2018,
        https://arxiv.org/abs/1712.06584. Pinhole: Kolotouros et al., Learning to Reconstruct 3D Human Pose and Shape
        via Model-fitting in the Loop, ICCV 2019, https://arxiv.org/abs/1909.12828
    """
    check_reduction(reduction)
    return reduce_terms(_reprojection_terms(prediction, keypoints_2d, focal, visibility), reduction)


def joint_reprojection(prediction: Tensor, keypoints_2d: Tensor) -> Tensor:
    """The terms (..., J) of `reprojection_error` by weak perspective, in percent; NaN for joints that do not count."""
    terms = _reprojection_terms(prediction, keypoints_2d, None, None)
    return torch.where(terms.counted, terms.errors, torch.nan)


def _reprojection_terms(
    prediction: Tensor, keypoints_2d: Tensor, focal: float | None, visibility: Tensor | None
) -> Terms:
    prediction = as_pose(prediction)
    if not isinstance(keypoints_2d, Tensor) or not keypoints_2d.is_floating_point():
        kind = keypoints_2d.dtype if isinstance(keypoints_2d, Tensor) else type(keypoints_2d).__name__
        raise TypeError(f"Expected `keypoints_2d` to be a floating-point tensor, but got {kind}.")
    if keypoints_2d.shape[:-1] != prediction.shape[:-1] or keypoints_2d.shape[-1] not in (2, 3):
        expected = f"{tuple(prediction.shape[:-1])} + (2 or 3,)"
        raise ValueError(f"Expected `keypoints_2d` to have shape {expected}, but got {tuple(keypoints_2d.shape)}.")
    if focal is not None and not focal > 0:
        raise ValueError(f"Expected `focal` to be above zero, but got {focal!r}.")
    counted = as_visible(visibility, prediction)
    if keypoints_2d.shape[-1] == 3:
        counted = counted & (keypoints_2d[..., 2] != 0)
    # In float64, because the normal equations of a pinhole square the small ratio of a body's size to its distance.
    mask = counted.unsqueeze(-1)
    pose = torch.where(mask, prediction, 0.0).double()
    seen = torch.where(mask, keypoints_2d[..., :2], 0.0).double()
    projected, possible = _weak(pose, seen, mask) if focal is None else _pinhole(pose, seen, mask, focal)
    low = torch.where(mask, seen, torch.inf).amin(dim=-2)
    high = torch.where(mask, seen, -torch.inf).amax(dim=-2)
    size = (high - low).amax(dim=-1, keepdim=True)
    possible = possible & (size > 0)
    distance = torch.linalg.vector_norm(projected - seen, dim=-1)
    percent = 100.0 * distance / torch.where(possible, size, 1.0)
    return Terms(percent.to(prediction.dtype), counted & possible, counted)


def _weak(pose: Tensor, seen: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the image of every joint by the best weak-perspective camera, and whether there is one (..., 1)."""
    count = mask.sum(dim=-2, keepdim=True)
    flat, middle = (x.sum(dim=-2, keepdim=True) / count.clamp(min=1) for x in (pose[..., :2], seen))
    q, k = (torch.where(mask, x - m, 0.0) for x, m in ((pose[..., :2], flat), (seen, middle)))
    extent = q.square().sum(dim=(-2, -1), keepdim=True)
    scale = (q * k).sum(dim=(-2, -1), keepdim=True) / torch.where(extent > 0, extent, 1.0)
    return scale * q + middle, (count > 1).squeeze(-2)


def _pinhole(pose: Tensor, seen: Tensor, mask: Tensor, focal: float) -> tuple[Tensor, Tensor]:
    """Return the image of every joint by a pinhole after the best shift, and whether there is one (..., 1)."""
    one = mask.double()
    zero = torch.zeros_like(one)
    u, v, depth = seen[..., :1], seen[..., 1:], pose[..., 2:]
    rows = torch.cat((torch.cat((focal * one, zero, -u), -1), torch.cat((zero, focal * one, -v), -1)), dim=-2)
    sides = torch.cat((u * depth - focal * pose[..., :1], v * depth - focal * pose[..., 1:2]), dim=-2)
    normal = rows.mT @ rows
    solvable = (mask.sum(dim=-2) > 2) & (torch.linalg.det(normal).abs() > 0).unsqueeze(-1)
    normal = torch.where(solvable.unsqueeze(-1), normal, torch.eye(3, dtype=normal.dtype, device=normal.device))
    shifted = pose + torch.linalg.solve(normal, rows.mT @ sides).mT
    away = shifted[..., 2:]
    before = torch.where(mask, away > 0, True).all(dim=-2)
    return focal * shifted[..., :2] / torch.where(away > 0, away, 1.0), solvable & before
