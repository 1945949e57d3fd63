"""How steady and how symmetric the segments of predicted skeletons are, by the names of the literature."""

from __future__ import annotations

from torch import Tensor

from seal_lightning.functional._checks import Reduction, check_segments
from seal_lightning.functional._terms import mpsce_terms, reduce_terms, symmetry_terms
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["mpsce", "mpsse"]


def mpsce(
    prediction: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Mean per-segment consistency error: standard deviation of the length of a bone over the frames of a clip.

    .. math:: \sqrt{ \frac{1}{T} \sum_t (l_t - \bar l)^2 }

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
    return reduce_terms(mpsce_terms(prediction, skeleton, visibility), reduction)


def mpsse(
    prediction: Tensor,
    skeleton: str | Skeleton,
    reduction: Reduction = "mean",
    *,
    visibility: Tensor | None = None,
) -> Tensor:
    r"""Mean per-segment symmetry error: absolute difference in length of left and right bones.

    .. math:: | l_L - l_R |

    The limb symmetry error with ``relative=False``, under the name it has in the literature on consistency.

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
    return reduce_terms(symmetry_terms(prediction, skeleton, False, visibility), reduction)
