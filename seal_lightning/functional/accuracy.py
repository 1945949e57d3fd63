"""How far predicted joints are from the true ones."""

from __future__ import annotations

from torch import Tensor

from seal_lightning.functional.checks import Reduction, Root, check_count, check_positive, check_reduction
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import (
    mpjpe_terms,
    n_mpjpe_terms,
    p_mpjpe_terms,
    pck_auc_terms,
    pck_terms,
    reduce_terms,
)

__all__ = ["mpjpe", "n_mpjpe", "p_mpjpe", "pck", "pck_auc"]


def mpjpe(
    prediction: Tensor,
    target: Tensor,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Mean per-joint position error (protocol 1 where `root` names the root joint).

    .. math:: \frac{1}{J} \sum_j \| \hat y_j - y_j \|

    Usable as a training loss: the gradient is zero, not NaN, where prediction and target meet.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., J), boolean or 0/1. Invisible joints change nothing, even as NaN. A pose without a
            visible joint, or without a visible root joint, is left out.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.

    Returns:
        Error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.zeros(2, 3)
        >>> prediction = torch.tensor([[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]])
        >>> mpjpe(prediction, target)
        tensor(3.)

    Reference:
        Ionescu et al., Human3.6M, 2014, https://doi.org/10.1109/TPAMI.2013.248
    """
    check_reduction(reduction)
    return reduce_terms(mpjpe_terms(Poses(prediction, target, visibility), root), reduction)


def p_mpjpe(
    prediction: Tensor, target: Tensor, *, visibility: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    r"""MPJPE after a similarity Procrustes alignment without reflection (protocol 2).

    .. math:: \frac{1}{J} \sum_j \| s R \hat y_j + t - y_j \|

    with scale s, rotation R and translation t of least squares, see `procrustes_align`, which also says what happens to
    degenerate poses.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        visibility: Mask (..., J), boolean or 0/1. Invisible joints change nothing, even as NaN; a pose without a
            visible joint is left out.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.

    Returns:
        Error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> p_mpjpe(3 * target + 1, target).round(decimals=4)
        tensor(0.)

    Reference:
        Umeyama, Least-Squares Estimation of Transformation Parameters Between Two Point Patterns, 1991,
        https://doi.org/10.1109/34.88573
    """
    check_reduction(reduction)
    return reduce_terms(p_mpjpe_terms(Poses(prediction, target, visibility)), reduction)


def n_mpjpe(
    prediction: Tensor,
    target: Tensor,
    *,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""MPJPE after scaling every predicted pose about the origin to fit the target best.

    .. math:: \frac{1}{J} \sum_j \| s \hat y_j - y_j \|, \quad
              s = \frac{\langle \hat y, y \rangle}{\langle \hat y, \hat y \rangle}

    The scale is optimal in the least-squares sense. Nothing else is fitted: pass root-relative poses, or let `root`
    align them.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., J), boolean or 0/1. Invisible joints change nothing, even as NaN. A pose without a
            visible joint, or without a visible root joint, is left out.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.

    Returns:
        Error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]])
        >>> n_mpjpe(4 * target, target), mpjpe(4 * target, target)
        (tensor(0.), tensor(3.))

    Reference:
        Rhodin et al., Learning Monocular 3D Human Pose Estimation from Multi-view Images, 2018,
        https://arxiv.org/abs/1803.04775
    """
    check_reduction(reduction)
    return reduce_terms(n_mpjpe_terms(Poses(prediction, target, visibility), root), reduction)


def pck(
    prediction: Tensor,
    target: Tensor,
    threshold: float = 150.0,
    *,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Percentage of correct keypoints: joints nearer to the truth than a threshold.

    .. math:: \frac{100}{J} \left| \{ j : \| \hat y_j - y_j \| < \tau \} \right|

    A joint exactly at the threshold is not correct, as in the evaluation script of MPI-INF-3DHP; nor is a visible joint
    predicted as NaN.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        threshold: Distance that a correct joint stays below, in the unit of the poses. The default is the usual 150 mm
            for poses in millimetres: for metres pass 0.15.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., J), boolean or 0/1. Invisible joints change nothing, even as NaN. A pose without a
            visible joint, or without a visible root joint, is left out.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.

    Returns:
        Percentage, float32 at least; it has no gradient.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `threshold`, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target = torch.zeros(2, 3)
        >>> pck(torch.tensor([[100.0, 0.0, 0.0], [200.0, 0.0, 0.0]]), target)
        tensor(50.)

    Reference:
        Mehta et al., Monocular 3D Human Pose Estimation In The Wild, 2017, https://arxiv.org/abs/1611.09813
    """
    check_reduction(reduction)
    check_positive("threshold", threshold)
    return reduce_terms(pck_terms(Poses(prediction, target, visibility), threshold, root), reduction)


def pck_auc(
    prediction: Tensor,
    target: Tensor,
    threshold: float = 150.0,
    *,
    steps: int = 30,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Area under the PCK curve: mean of the PCK at evenly spaced thresholds.

    .. math:: \frac{1}{n + 1} \sum_{k=0}^{n} \mathrm{PCK}(k \tau / n)

    With the defaults the thresholds are 0, 5, ..., 150, those of the evaluation script of MPI-INF-3DHP. No distance is
    below threshold 0, so that even a perfect prediction scores n / (n + 1): 96.8 with the defaults.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        threshold: Largest threshold, in the unit of the poses. The default is the usual 150 mm for poses in
            millimetres: for metres pass 0.15.
        steps: Number of steps from 0 to the largest threshold.
        root: Joint, or several whose mean, both poses are aligned to first. None aligns nothing.
        visibility: Mask (..., J), boolean or 0/1. Invisible joints change nothing, even as NaN. A pose without a
            visible joint, or without a visible root joint, is left out.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.

    Returns:
        Percentage, float32 at least; it has no gradient.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes, `threshold`, `steps`, `root` or `reduction` do not fit.

    Example:
        >>> import torch
        >>> target, prediction = torch.zeros(1, 3), torch.tensor([[80.0, 0.0, 0.0]])
        >>> pck_auc(prediction, target, steps=2)  # below 150, but neither below 75 nor below 0
        tensor(33.3333)

    Reference:
        Mehta et al., Monocular 3D Human Pose Estimation In The Wild, 2017, https://arxiv.org/abs/1611.09813
    """
    check_reduction(reduction)
    check_positive("threshold", threshold)
    check_count("steps", steps)
    return reduce_terms(pck_auc_terms(Poses(prediction, target, visibility), threshold, steps, root), reduction)
