"""Weighted means of predicted poses: over the frames of a clip, and over the cameras that see one person."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from seal_lightning.functional.alignment import root_align
from seal_lightning.functional.checks import Root, as_pose, check_clip, check_positive

__all__ = ["fuse_views", "smooth"]

_REACH = 4.0  # standard deviations at which the Gaussian is cut off, as in `scipy.ndimage.gaussian_filter1d`


def smooth(prediction: Tensor, weights: Tensor | None = None, *, sigma: float, causal: bool = False) -> Tensor:
    r"""Smooth clips by a Gaussian over time, in which every joint of every frame counts by its weight.

    .. math:: y_{t,j} = \frac{\sum_s g(t - s)\, w_{s,j}\, x_{s,j}}{\sum_s g(t - s)\, w_{s,j}}
        \quad \text{with} \quad g(d) = \exp(-d^2 / 2 \sigma^2)

    over the frames up to :math:`4 \sigma` away; at the ends of a clip it is the mean over the frames that exist. With
    estimated errors :math:`e` in any unit, :math:`w = 1 / e^2` is the best weight for errors that are independent. Do
    not set frames to weight 0 because they look bad: what is left out is filled with its neighbours, which harms clips
    whose frames were good.

    Args:
        prediction: Predicted clips, shape (..., T, J, 3), in any unit.
        weights: Weights, 0 or more, shape (..., T, J). None weighs all alike. What stands at weight 0 does not count.
        sigma: Standard deviation of the Gaussian, in frames.
        causal: Whether a frame is smoothed over itself and earlier frames alone, for use while a video is running. This
            lags behind the motion.

    Returns:
        Clips of the same shape, float32 at least; NaN for a joint without any weight within reach.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `sigma` do not fit, or a weight is negative or not finite.

    Example:
        >>> clip = torch.tensor([0.0, 0.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 3)
        >>> wide = smooth(clip, torch.tensor([[1.0], [1.0], [2.0]]), sigma=1e3)  # so wide that it is the weighted mean
        >>> [round(x, 3) for x in wide[:, 0, 0].tolist()]
        [2.0, 2.0, 2.0]
        >>> [round(x, 3) for x in smooth(clip, sigma=1e3, causal=True)[:, 0, 0].tolist()]
        [0.0, 0.0, 1.333]
    """
    prediction = as_pose(prediction)
    check_clip(prediction, frames=1)
    check_positive("sigma", sigma)
    weights = _weights(weights, prediction)
    frames = prediction.shape[-3]
    reach = min(math.ceil(_REACH * sigma), frames - 1)
    distance = torch.arange(-reach, 1 if causal else reach + 1, device=prediction.device, dtype=prediction.dtype)
    kernel = torch.exp(-0.5 * (distance / sigma).square())

    def total(values: Tensor) -> Tensor:
        """Sums over time, by the Gaussian, of (..., T, J, C)."""
        rows = values.movedim(-3, -1)
        padded = F.pad(rows.reshape(-1, 1, frames), (reach, 0 if causal else reach))
        return F.conv1d(padded, kernel[None, None]).reshape(rows.shape).movedim(-1, -3)

    return total(_counted(prediction, weights)) / total(weights.unsqueeze(-1))


def fuse_views(prediction: Tensor, rotations: Tensor, weights: Tensor | None = None, *, root: Root = 0) -> Tensor:
    r"""Join the poses that several calibrated cameras give of one person, in which every joint counts by its weight.

    .. math:: y_j = \frac{\sum_v w_{v,j}\, R_v^\top (x_{v,j} - x_{v,\mathrm{root}})}{\sum_v w_{v,j}}

    Only how the cameras are turned is needed, not where they stand. With estimated errors :math:`e`,
    :math:`w = 1 / e^2`.

    Args:
        prediction: Poses in the frames of V cameras at the same moments, shape (V, ..., J, 3), in one unit.
        rotations: From the world to each camera, :math:`x_v = R_v\, x_\mathrm{world} + t_v`, shape (V, 3, 3).
        weights: Weights, 0 or more, shape (V, ..., J). None weighs all views alike. What stands at weight 0 does not
            count.
        root: Joint, or several whose mean, the poses are aligned to. None aligns nothing: poses that are so already.

    Returns:
        Poses relative to the root, in the axes of the world, shape (..., J, 3), float32 at least; NaN for a joint
        without weight in any view.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `root` do not fit, a weight is negative or not finite, or there is a matrix in
            `rotations` that is no rotation.

    Example:
        >>> quarter = torch.tensor([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])  # about the y axis
        >>> front = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 5.0]])  # whose depth of 5 is wrong
        >>> side = torch.tensor([[0.0, 0.0, 0.0], [-3.0, 2.0, 1.0]])
        >>> trust = torch.tensor([[1.0, 1.0], [1.0, 3.0]])
        >>> fuse_views(torch.stack((front, side)), torch.stack((torch.eye(3), quarter)), trust)[1]
        tensor([1.0000, 2.0000, 3.5000])
    """
    prediction = as_pose(prediction)
    if prediction.ndim < 3 or not isinstance(rotations, Tensor) or rotations.shape != (len(prediction), 3, 3):
        shape = tuple(rotations.shape) if isinstance(rotations, Tensor) else type(rotations).__name__
        raise ValueError(
            "Expected `prediction` to have shape (V, ..., J, 3) and `rotations` (V, 3, 3), but got "
            f"{tuple(prediction.shape)} and {shape}."
        )
    rotations = rotations.to(prediction)
    if not torch.allclose(rotations @ rotations.mT, torch.eye(3).to(rotations), atol=1e-3):
        raise ValueError("Expected `rotations` to be orthogonal matrices, but at least one is not.")
    weights = _weights(weights, prediction)
    aligned = prediction if root is None else root_align(prediction, root)
    world = torch.einsum("v...ja,vab->v...jb", aligned, rotations)  # the rows p of R^T applied: p R
    return _counted(world, weights).sum(dim=0) / weights.sum(dim=0).unsqueeze(-1)


def _weights(weights: Tensor | None, prediction: Tensor) -> Tensor:
    """The checked weights, in the type of the poses; ones if there are none."""
    if weights is None:
        return prediction.new_ones(prediction.shape[:-1])
    if not isinstance(weights, Tensor) or not weights.is_floating_point():
        kind = weights.dtype if isinstance(weights, Tensor) else type(weights).__name__
        raise TypeError(f"Expected `weights` to be a floating-point tensor, but got {kind}.")
    if weights.shape != prediction.shape[:-1]:
        raise ValueError(
            f"Expected `weights` to have one entry per joint, shape {tuple(prediction.shape[:-1])}, "
            f"but got {tuple(weights.shape)}."
        )
    if not bool(((weights >= 0) & weights.isfinite()).all()):
        raise ValueError("Expected `weights` to be finite and not negative, but at least one is not.")
    return weights.to(prediction)


def _counted(poses: Tensor, weights: Tensor) -> Tensor:
    """Poses times weights; what stands at weight 0, such as NaN, is left out."""
    counted = weights.unsqueeze(-1)
    return torch.where(counted > 0, poses * counted, 0.0)
