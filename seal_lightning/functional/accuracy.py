"""How far predicted joints are from the true ones."""

from __future__ import annotations

from torch import Tensor

from seal_lightning.functional._checks import Reduction, Root, check_count, check_positive, check_reduction
from seal_lightning.functional._terms import (
    mpjpe_terms,
    mpjve_terms,
    n_mpjpe_terms,
    p_mpjpe_terms,
    pck_auc_terms,
    pck_terms,
    reduce_terms,
)

__all__ = ["mpjpe", "mpjve", "n_mpjpe", "p_mpjpe", "pck", "pck_auc"]


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
    return reduce_terms(mpjpe_terms(prediction, target, root, visibility), reduction)


def p_mpjpe(
    prediction: Tensor, target: Tensor, *, visibility: Tensor | None = None, reduction: Reduction = "mean"
) -> Tensor:
    r"""MPJPE after a similarity Procrustes alignment without reflection (protocol 2).

    .. math:: \frac{1}{J} \sum_j \| s R \hat y_j + t - y_j \|

    with scale s, rotation R and translation t of least squares, see `procrustes_align`. Degenerate poses are defined.

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
    return reduce_terms(p_mpjpe_terms(prediction, target, visibility), reduction)


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

    The scale is optimal in the least-squares sense and is all that is fitted: poses are expected root-relative,
    or are made so by `root`.

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
    return reduce_terms(n_mpjpe_terms(prediction, target, root, visibility), reduction)


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
    return reduce_terms(mpjve_terms(prediction, target, root, visibility), reduction)


def pck(
    prediction: Tensor,
    target: Tensor,
    threshold: float = 150.0,
    *,
    root: Root = None,
    visibility: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Percentage of correct keypoints: joints within a threshold of the truth.

    .. math:: \frac{100}{J} \left| \{ j : \| \hat y_j - y_j \| \le \tau \} \right|

    A visible joint predicted as NaN is not correct.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        threshold: Largest distance of a correct joint, in the unit of the poses. The usual 150 mm fit millimetres
            only: for metres pass 0.15.
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
    return reduce_terms(pck_terms(prediction, target, threshold, root, visibility), reduction)


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

    With the defaults the thresholds are 0, 5, ..., 150. As in `pck` a threshold includes its own value, so that a
    perfect prediction scores 100. The MATLAB script of MPI-INF-3DHP compares strictly: it differs where a distance
    equals a threshold, in practice for the aligned root joint at threshold 0.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        threshold: Largest threshold, in the unit of the poses. The usual 150 mm fit millimetres only: for metres
            pass 0.15.
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
        >>> pck_auc(prediction, target, steps=2)  # within 150, but neither within 75 nor 0
        tensor(33.3333)

    Reference:
        Mehta et al., Monocular 3D Human Pose Estimation In The Wild, 2017, https://arxiv.org/abs/1611.09813
    """
    check_reduction(reduction)
    check_positive("threshold", threshold)
    check_count("steps", steps)
    return reduce_terms(pck_auc_terms(prediction, target, threshold, steps, root, visibility), reduction)
