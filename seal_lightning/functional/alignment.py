"""Bring poses into one frame before they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import torch
from torch import Tensor

from seal_lightning.functional._rotation import best_rotation
from seal_lightning.functional.checks import Root, as_pair, as_pose, as_visible, index_on, root_indices

__all__ = ["procrustes_align", "root_align", "scale_align"]

# Poses are fitted in blocks of about this many joints, which fit into the CPU cache with all intermediate results.
JOINTS_AT_ONCE = 2**16


def root_align(pose: Tensor, root: Root = 0, *, visibility: Tensor | None = None) -> Tensor:
    r"""Move poses so that their root joint, or the mean of several, lies in the origin.

    .. math:: \hat y_j = y_j - \frac{1}{|R|} \sum_{r \in R} y_r

    Args:
        pose: Poses, shape (..., J, 3), in any unit.
        root: Joint index, several indices (their mean is the origin), or None to move nothing.
        visibility: Mask (..., J), boolean or 0/1. Only visible root joints enter the mean; a pose without any
            becomes NaN.

    Returns:
        Poses of the same shape, float32 at least.

    Raises:
        TypeError: If the pose is not a floating-point tensor.
        ValueError: If a shape or a root index does not fit.

    Example:
        >>> pose = torch.tensor([[1.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> root_align(pose, root=0).tolist()
        [[0.0, 0.0, 0.0], [2.0, 4.0, 0.0]]
        >>> root_align(pose, root=(0, 1)).tolist()
        [[-1.0, -2.0, 0.0], [1.0, 2.0, 0.0]]
    """
    pose = as_pose(pose, "pose")
    if root is None:
        return pose
    index = index_on(root_indices(root, pose.shape[-2]), pose.device)
    joints = pose.index_select(-2, index)
    if visibility is None:
        return pose - joints.mean(dim=-2, keepdim=True)
    seen = as_visible(visibility, pose).index_select(-1, index).unsqueeze(-1)
    return pose - torch.where(seen, joints, 0.0).sum(dim=-2, keepdim=True) / seen.sum(dim=-2, keepdim=True)


def scale_align(prediction: Tensor, target: Tensor, *, visibility: Tensor | None = None) -> Tensor:
    r"""Scale every predicted pose about the origin to fit the target in the least-squares sense.

    .. math:: \hat y' = s \hat y, \quad s = \frac{\langle \hat y, y \rangle}{\langle \hat y, \hat y \rangle}

    Nothing is moved: poses are expected root-relative. A prediction whose joints all lie in the origin stays there.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        visibility: Mask (..., J), boolean or 0/1; invisible joints do not enter the scale.

    Returns:
        Scaled predictions of the same shape, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes do not fit.

    Example:
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> scale_align(target / 4, target).tolist()
        [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]

    Reference:
        Rhodin et al., Learning Monocular 3D Human Pose Estimation from Multi-view Images, 2018,
        https://arxiv.org/abs/1803.04775
    """
    prediction, target = as_pair(prediction, target)
    seen = None if visibility is None else as_visible(visibility, prediction).unsqueeze(-1)
    x, y = _seen(prediction, seen), _seen(target, seen)
    power = x.square().sum(dim=(-2, -1), keepdim=True)
    overlap = (x * y).sum(dim=(-2, -1), keepdim=True)
    return prediction * (overlap / torch.where(power == 0, 1.0, power))


def procrustes_align(prediction: Tensor, target: Tensor, *, visibility: Tensor | None = None) -> Tensor:
    r"""Fit every predicted pose to the target by translation, rotation and scale, never by reflection.

    .. math:: \min_{s, R, t} \sum_j \| s R \hat y_j + t - y_j \|^2, \quad \det R = +1

    The rotation is found in closed form, in float64, for many poses at once. Degenerate poses are defined: a
    prediction whose joints coincide collapses onto the centroid of the target, and if the joints of the target
    coincide the best scale is zero. Collinear poses have many equally good rotations, of which one is taken. The result
    is differentiable wherever the best rotation is unique.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        visibility: Mask (..., J), boolean or 0/1; invisible joints do not enter the fit but are moved along.

    Returns:
        Aligned predictions of the same shape, float32 at least. A pose with NaN at a visible joint is NaN.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes do not fit.

    Example:
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> turned = torch.tensor([[5.0, 0.0, 0.0], [5.0, 1.0, 0.0], [4.0, 0.0, 0.0]])
        >>> bool(torch.allclose(procrustes_align(turned, target), target, atol=1e-5))
        True

    Reference:
        Umeyama, Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, 1991,
        https://doi.org/10.1109/34.88573
    """
    prediction, target = as_pair(prediction, target)
    aligned = [_poses_first(moved + centre) for moved, _, centre in _fits(prediction, target, visibility)]
    return torch.cat(aligned).reshape(prediction.shape)


def procrustes_distances(prediction: Tensor, target: Tensor, visibility: Tensor | None = None) -> Tensor:
    """Distance (..., J) of every joint of two poses of one shape and dtype after `procrustes_align`."""
    powers = [(moved - y).square().sum(dim=1).t() for moved, y, _ in _fits(prediction, target, visibility)]
    power = torch.cat(powers).reshape(prediction.shape[:-1])
    # The gradient of a square root is infinite at zero; that of the clamp is zero below its bound.
    return power.clamp(min=torch.finfo(power.dtype).tiny).sqrt()


def _fits(prediction: Tensor, target: Tensor, visibility: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield fitted predictions and targets (J, 3, N) about their centroids, and the targets' centroids, by blocks.

    The poses are the last axis, so that operations on one coordinate run over contiguous memory.
    """
    shape = (-1, *prediction.shape[-2:])
    poses_at_once = max(1, JOINTS_AT_ONCE // prediction.shape[-2])
    batches = [torch.split(pose.reshape(shape), poses_at_once) for pose in (prediction, target)]
    masks: Iterable[Tensor | None] = repeat(None)
    if visibility is not None:
        masks = torch.split(as_visible(visibility, prediction).reshape(shape[:-1]), poses_at_once)
    for x, y, mask in zip(*batches, masks, strict=False):
        yield _fit(_poses_last(x), _poses_last(y), None if mask is None else mask.t().unsqueeze(1))


def _fit(x: Tensor, y: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    (x, centre_x), (y, centre_y) = _centred(x, seen), _centred(y, seen)
    covariance, power = _moments(_seen(x, seen), _seen(y, seen))
    # Joints that coincide differ by rounding errors, which grow with the distance from the origin.
    rounding = x.shape[0] * torch.finfo(x.dtype).eps * centre_x.abs().amax(dim=0)
    is_point = power <= rounding.to(power.dtype).square()
    rotation = best_rotation(covariance)
    scale = (rotation * covariance).sum(dim=(0, 1)) / torch.where(is_point, 1.0, power)
    transform = (torch.where(is_point, 0.0, scale) * rotation).to(x.dtype)
    moved = x[:, 0, None] * transform[0]
    for axis in (1, 2):
        moved.addcmul_(x[:, axis, None], transform[axis])
    return moved, y, centre_y


def _centred(pose: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the pose about its centroid, and the centroid.

    The mean of a pose far from the origin is rounded coarsely; a second subtraction removes what the first one left.
    """
    first = _centroid(pose, seen)
    centred = pose - first
    second = _centroid(centred, seen)
    return centred.sub_(second), first + second


def _centroid(pose: Tensor, seen: Tensor | None) -> Tensor:
    if seen is None:
        return pose.mean(dim=0)
    return _seen(pose, seen).sum(dim=0) / seen.sum(dim=0).clamp(min=1)


def _seen(pose: Tensor, seen: Tensor | None) -> Tensor:
    return pose if seen is None else torch.where(seen, pose, 0.0)


def _moments(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over joints of x y^T (3, 3, N) and of x^T x (N,).

    They are in float64, because the rotation of a thin pose follows from small differences between large sums.
    """
    exact = torch.float32 if x.device.type == "mps" else torch.float64  # Apple's MPS has no float64
    covariance, power = (x.new_zeros(*size, x.shape[-1], dtype=exact) for size in ((3, 3), (3,)))
    for joint in range(x.shape[0]):
        x_joint, y_joint = x[joint].to(exact), y[joint].to(exact)
        covariance.addcmul_(x_joint.unsqueeze(1), y_joint)
        power.addcmul_(x_joint, x_joint)
    return covariance, power.sum(dim=0)


def _poses_last(pose: Tensor) -> Tensor:
    return pose.flatten(1).t().contiguous().view(*pose.shape[1:], -1)


def _poses_first(pose: Tensor) -> Tensor:
    return pose.flatten(0, 1).t().reshape(-1, *pose.shape[:2])
