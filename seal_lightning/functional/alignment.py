"""Bring poses into one frame before they are compared."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.functional._checks import Root, as_pair, as_pose, as_visible, index_on, root_indices

__all__ = ["procrustes_align", "root_align", "scale_align"]


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
    seen = as_visible(visibility, prediction).unsqueeze(-1)
    x, y = torch.where(seen, prediction, 0.0), torch.where(seen, target, 0.0)
    power = x.square().sum(dim=(-2, -1), keepdim=True)
    overlap = (x * y).sum(dim=(-2, -1), keepdim=True)
    return prediction * (overlap / torch.where(power == 0, 1.0, power))


def procrustes_align(prediction: Tensor, target: Tensor, *, visibility: Tensor | None = None) -> Tensor:
    r"""Fit every predicted pose to the target by translation, rotation and scale, never by reflection.

    .. math:: \min_{s, R, t} \sum_j \| s R \hat y_j + t - y_j \|^2, \quad \det R = +1

    Solved in closed form by one batched singular value decomposition. Degenerate poses are defined: a prediction
    whose joints coincide collapses onto the centroid of the target, and if the joints of the target coincide the
    best scale is zero. Of collinear poses any of the equally good rotations is taken. The result is differentiable
    for poses in general position.

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
    seen = as_visible(visibility, prediction).unsqueeze(-1)
    count = seen.sum(dim=-2, keepdim=True).clamp(min=1)
    centre_x = torch.where(seen, prediction, 0.0).sum(dim=-2, keepdim=True) / count
    centre_y = torch.where(seen, target, 0.0).sum(dim=-2, keepdim=True) / count
    x, y = torch.where(seen, prediction - centre_x, 0.0), torch.where(seen, target - centre_y, 0.0)
    flat = _is_point(x, centre_x) | _is_point(y, centre_y)
    size_x, size_y = _size(x, flat), _size(y, flat)
    # Matrix products under autocast would fall back to half precision, for which there is no decomposition.
    with torch.autocast(device_type=prediction.device.type, enabled=False):
        covariance = (x / size_x).mT @ (y / size_y)
        # Poses without a rotation get a fixed one: the decomposition fails on NaN, and its gradient on equal values.
        solvable = ~flat & covariance.isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
        stand_in = torch.diag(torch.arange(3.0, 0.0, -1.0, dtype=x.dtype, device=x.device))
        u, s, vh = torch.linalg.svd(torch.where(solvable, covariance, stand_in))
        # Flipping the direction of the smallest singular value turns a reflection into the best proper rotation.
        sign = torch.ones_like(s)
        sign[..., 2] = torch.linalg.det(u @ vh).detach().sign()
        rotation = (u * sign.unsqueeze(-2)) @ vh
        fitted = (s * sign).sum(dim=-1)[..., None, None] * (size_y / size_x)
        scale = torch.where(solvable, fitted, torch.where(flat, 0.0, torch.nan))
        aligned: Tensor = scale * ((prediction - centre_x) @ rotation) + centre_y
    return aligned


def _is_point(centred: Tensor, centre: Tensor) -> Tensor:
    """Whether all joints coincide, up to the rounding of the centroid, shape (..., 1, 1)."""
    tolerance = centred.shape[-2] * torch.finfo(centred.dtype).eps * centre.abs().amax(dim=-1, keepdim=True)
    return centred.abs().amax(dim=(-2, -1), keepdim=True) <= tolerance


def _size(centred: Tensor, flat: Tensor) -> Tensor:
    """Root of the summed squares of the coordinates, 1 where there is nothing to divide, shape (..., 1, 1)."""
    return torch.where(flat, 1.0, torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True))
