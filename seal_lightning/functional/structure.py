"""How plausible predicted skeletons are: the lengths of bones and limbs, and their symmetry."""

from __future__ import annotations

from torch import Tensor

from seal_lightning.functional.checks import Reduction, as_pose, check_segments
from seal_lightning.functional.poses import Poses, segment_lengths
from seal_lightning.functional.terms import (
    asymmetry_terms,
    body_segment_terms,
    limb_length_terms,
    mpsce_terms,
    reduce_terms,
    symmetry_terms,
)
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = [
    "asymmetry_error",
    "body_segment_length_error",
    "bone_lengths",
    "limb_length_error",
    "limb_symmetry_error",
    "mpsce",
    "mpsse",
]


def bone_lengths(pose: Tensor, skeleton: str | Skeleton) -> Tensor:
    r"""Length of every bone, the distance of a joint from its parent.

    Args:
        pose: Poses, shape (..., J, 3), in any unit.
        skeleton: Skeleton or name of a built-in one.

    Returns:
        Lengths (..., J - 1) in the order of ``skeleton.bones`` and the unit of the input, float32 at least. The
        gradient at length zero is zero.

    Raises:
        TypeError: If the pose is not a floating-point tensor.
        ValueError: If its shape does not fit the skeleton.

    Example:
        >>> import torch
        >>> chain = Skeleton.from_parents([-1, 0, 1])
        >>> bone_lengths(torch.tensor([[0.0, 0.0, 0.0], [3.0, 4.0, 0.0], [3.0, 4.0, 2.0]]), chain)
        tensor([5., 2.])
    """
    skeleton = get_skeleton(skeleton)
    return segment_lengths(as_pose(pose, "pose", skeleton.num_joints), skeleton)


def limb_symmetry_error(
    prediction: Tensor,
    skeleton: str | Skeleton,
    relative: bool = True,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Limb symmetry error (LSE): how much left and right bones of a prediction differ in length.

    .. math:: 100 \cdot \frac{|l_L - l_R|}{l_L + l_R} \quad \text{or} \quad |l_L - l_R|

    Every bone counts whose child joint has a left/right partner. A pair of two zero lengths has no relative error and
    is left out; the metric `LimbSymmetryError` counts such pairs. True bodies are not quite symmetric either, see
    `asymmetry_error`.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        skeleton: Skeleton or name of a built-in one. Without paired bones the error is NaN, with a warning.
        relative: Percent of the sum of both lengths if true, else the unit of the input.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1. A pair counts if all its joints are visible.

    Returns:
        Percentage, or error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> pose = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> limb_symmetry_error(pose, arms), limb_symmetry_error(pose, arms, relative=False)
        (tensor(50.), tensor(2.))

    Reference:
        Kim et al., SEAL-pose, 2026, https://arxiv.org/abs/2602.20051
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.paired_bones, "paired bones")
    return reduce_terms(symmetry_terms(Poses(prediction, None, visibility), skeleton, relative), reduction)


def asymmetry_error(
    prediction: Tensor,
    target: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Asymmetry error: how far the asymmetry of a prediction is from that of the truth.

    .. math:: | (l_L - l_R) - (l^*_L - l^*_R) |

    A prediction that gives left and right their mean length has no limb symmetry error, but an asymmetry error as large
    as the true asymmetry.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        skeleton: Skeleton or name of a built-in one. Without paired bones the error is NaN, with a warning.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1. A pair counts if all its joints are visible.

    Returns:
        Error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> averaged = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
        >>> limb_symmetry_error(averaged, arms), asymmetry_error(averaged, target, arms)
        (tensor(0.), tensor(2.))
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.paired_bones, "paired bones")
    return reduce_terms(asymmetry_terms(Poses(prediction, target, visibility), skeleton), reduction)


def body_segment_length_error(
    prediction: Tensor,
    target: Tensor,
    skeleton: str | Skeleton,
    relative: bool = True,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Body segment length error (BSLE): how far the lengths of all bones are from the true ones.

    .. math:: 100 \cdot \frac{|l - l^*|}{l^*} \quad \text{or} \quad |l - l^*|

    A bone whose true length is zero has no relative error and is left out; the metric `BodySegmentLengthError` counts
    such bones.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        skeleton: Skeleton or name of a built-in one.
        relative: Percent of the true length if true, else the unit of the input.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1. A bone counts if both its ends are visible.

    Returns:
        Percentage, or error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> chain = Skeleton.from_parents([-1, 0])
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
        >>> body_segment_length_error(1.5 * target, target, chain)
        tensor(50.)

    Reference:
        Kim et al., SEAL-pose, 2026, https://arxiv.org/abs/2602.20051
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.bones, "bones")
    return reduce_terms(body_segment_terms(Poses(prediction, target, visibility), skeleton, relative), reduction)


def limb_length_error(
    prediction: Tensor,
    target: Tensor,
    skeleton: str | Skeleton,
    relative: bool = True,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Limb length error (LLE): how far the lengths of whole limbs are from the true ones.

    .. math:: 100 \cdot \frac{|l - l^*|}{l^*} \quad \text{or} \quad |l - l^*|, \quad l = \sum_{b \in \text{limb}} l_b

    Limbs are the chains of ``Skeleton.limbs``: hip-knee-ankle and shoulder-elbow-wrist on the built-in bodies. The
    formula of the SEAL-pose paper is not public; this is the definition of this package. A limb whose true length is
    zero has no relative error and is left out; the metric `LimbLengthError` counts such limbs.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        target: True poses, same shape and unit.
        skeleton: Skeleton or name of a built-in one. Without limbs the error is NaN, with a warning.
        relative: Percent of the true length if true, else the unit of the input.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1. A limb counts if all its joints are visible.

    Returns:
        Percentage, or error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> arm = Skeleton.from_parents([-1, 0, 1], limbs=[(0, 1, 2)])
        >>> target = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 0.0]])
        >>> longer = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 2.0, 0.0]])
        >>> limb_length_error(longer, target, arm)
        tensor(25.)
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.limbs, "limbs")
    return reduce_terms(limb_length_terms(Poses(prediction, target, visibility), skeleton, relative), reduction)


def mpsce(
    prediction: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Mean per-segment consistency error: standard deviation of the length of a bone over the frames of a clip.

    .. math:: \sqrt{ \frac{1}{T} \sum_t (l_t - \bar l)^2 }

    The value depends on the length of the clips. Lengths vary about their mean within each clip, and in a longer clip
    they have more time to drift: compare figures over clips of one length only. The script published with ManiPose cuts
    every video into windows that do not overlap, each as long as the input of the model, drops the shorter rest, and
    divides by T - 1 where this function divides by T.

    Args:
        prediction: Predicted clips, shape (..., T, J, 3), at least 2 frames.
        skeleton: Skeleton or name of a built-in one.
        reduction: ``"mean"`` over clips, or ``"none"`` for one value per clip, shape (...), NaN for those left out.
        visibility: Mask (..., T, J), boolean or 0/1. A bone is measured in the frames that show both its ends, and
            counts if these are two or more.

    Returns:
        Standard deviation in the unit of the input, float32 at least. Its gradient is zero where a length is constant.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> lengths = torch.tensor([3.0, 5.0]).reshape(2, 1, 1)
        >>> mpsce(lengths * torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), bone)
        tensor(1.)

    Reference:
        Rommel et al., ManiPose: Manifold-Constrained Multi-Hypothesis 3D Human Pose Estimation, 2024,
        https://arxiv.org/abs/2312.06386
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.bones, "bones")
    return reduce_terms(mpsce_terms(Poses(prediction, None, visibility), skeleton), reduction)


def mpsse(
    prediction: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Mean per-segment symmetry error: absolute difference in length of left and right bones.

    .. math:: | l_L - l_R |

    It is the limb symmetry error with ``relative=False``, under its name in the literature on consistency.

    Args:
        prediction: Predicted poses, shape (..., J, 3).
        skeleton: Skeleton or name of a built-in one. Without paired bones the error is NaN, with a warning.
        reduction: ``"mean"`` over poses, or ``"none"`` for one value per pose, shape (...), NaN for those left out.
        visibility: Mask (..., J), boolean or 0/1. A pair counts if all its joints are visible.

    Returns:
        Error in the unit of the input, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes or `reduction` do not fit.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> mpsse(torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), arms)
        tensor(2.)

    Reference:
        Rommel et al., ManiPose: Manifold-Constrained Multi-Hypothesis 3D Human Pose Estimation, 2024,
        https://arxiv.org/abs/2312.06386
    """
    skeleton = get_skeleton(skeleton)
    check_segments(reduction, skeleton.paired_bones, "paired bones")
    return reduce_terms(symmetry_terms(Poses(prediction, None, visibility), skeleton, False), reduction)
