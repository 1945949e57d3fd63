"""How far predicted motion is from the true one."""

from __future__ import annotations

from torch import Tensor

from seal_lightning.functional.checks import Reduction, Root, check_positive, check_reduction
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import acceleration_terms, mpjve_terms, reduce_terms

__all__ = ["acceleration_error", "mpjve"]


def mpjve(
    prediction: Tensor,
    target: Tensor,
    *,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Mean per-joint velocity error: distance of the frame-to-frame differences.

    .. math:: \frac{1}{J} \sum_j \| (\hat y_{t+1,j} - \hat y_{t,j}) - (y_{t+1,j} - y_{t,j}) \|

    Args:
        prediction: Predicted clips, shape (..., T, J, 3), at least 2 frames.
        target: True clips, same shape and unit.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., T, J), boolean or 0/1. A joint counts between two frames that both show it.
        reduction: ``"mean"`` over pairs of frames, or ``"none"`` for one value per pair, shape (..., T - 1), NaN for
            those without a joint that counts.

    Returns:
        Error per frame in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.zeros(3, 1, 3)
        >>> prediction = torch.tensor([0.0, 1.0, 4.0]).reshape(3, 1, 1).expand(3, 1, 3) * torch.eye(3)[0]
        >>> mpjve(prediction, target, reduction="none")
        tensor([1., 3.])

    Reference:
        Pavllo et al., 3D Human Pose Estimation in Video with Temporal Convolutions, 2019,
        https://arxiv.org/abs/1811.11742
    """
    check_reduction(reduction)
    return reduce_terms(mpjve_terms(Poses(prediction, target, visibility), root), reduction)


def acceleration_error(
    prediction: Tensor,
    target: Tensor,
    *,
    fps: float | None = None,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Acceleration error (ACCEL): distance of the second differences of a clip, which jitter makes large.

    .. math:: \frac{f^2}{J} \sum_j \| \hat a_{t,j} - a_{t,j} \|, \quad a_t = y_{t+1} - 2 y_t + y_{t-1}

    with f the frames per second, or 1 where ``fps`` is not given.

    Args:
        prediction: Predicted clips, shape (..., T, J, 3), at least 3 frames.
        target: True clips, same shape and unit.
        fps: Frames per second of the clips. With it the error is per second squared, without it per frame squared.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., T, J), boolean or 0/1. A joint counts in three frames in a row that all show it.
        reduction: ``"mean"`` over triples of frames, or ``"none"`` for one value per triple, shape (..., T - 2), NaN
            for those without a joint that counts.

    Returns:
        Error in the unit of the input per frame squared, or per second squared with ``fps``; float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `fps`, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.zeros(4, 1, 3)
        >>> prediction = torch.tensor([0.0, 1.0, 4.0, 9.0]).reshape(4, 1, 1).expand(4, 1, 3) * torch.eye(3)[0]
        >>> acceleration_error(prediction, target), acceleration_error(prediction, target, fps=50)
        (tensor(2.), tensor(5000.))

    Reference:
        Kanazawa et al., Learning 3D Human Dynamics from Video, 2019, https://arxiv.org/abs/1812.01601
    """
    check_reduction(reduction)
    if fps is not None:
        check_positive("fps", fps)
    return reduce_terms(acceleration_terms(Poses(prediction, target, visibility), fps, root), reduction)
