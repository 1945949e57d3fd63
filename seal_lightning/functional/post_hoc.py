"""What rescaling the bones of finished predictions gains: the rivals of a learned loss that cost no training.

All three keep the directions of the bones and the place of the root that poses are aligned to, and they chain:
``symmetrise_bones(shrink_bones(pose, lengths, skeleton), skeleton)``.
"""

from __future__ import annotations

from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.functional._checks import as_pose, index_on
from seal_lightning.functional.rescale import as_lengths, rescale_bones
from seal_lightning.functional.structure import bone_lengths
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["clip_mean_bones", "shrink_bones", "symmetrise_bones"]


def shrink_bones(pose: Tensor, lengths: Tensor, skeleton: str | Skeleton, alpha: float = 0.25) -> Tensor:
    r"""Move the length of every bone a share of the way to a given one, say its mean over the training data.

    .. math:: l' = (1 - \alpha)\, l + \alpha\, \bar l

    Lengths are absolute: with ``alpha=1`` all bodies become one. To move towards the proportions of a body and leave
    each pose its own size, scale `lengths` to the pose's mean bone length first.

    Args:
        pose: Poses, shape (..., J, 3).
        lengths: Length per bone to move to, shape (..., J - 1), in the order of ``skeleton.bones`` and the unit of the
            pose, e.g. ``bone_lengths(training_poses, skeleton).mean(0)``.
        skeleton: Skeleton or name of a built-in one.
        alpha: Share of the way, from 0 (nothing moves) to 1.

    Returns:
        Poses (..., J, 3) with the broadcast leading dimensions, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes do not fit, or `alpha` is not from 0 to 1.

    Example:
        >>> import torch
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> pose = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0]])
        >>> shrink_bones(pose, torch.tensor([2.0]), bone, alpha=0.5).tolist()
        [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]
    """
    if not is_number(alpha) or not 0 <= alpha <= 1:
        raise ValueError(f"Expected `alpha` to be from 0 to 1, but got {alpha!r}.")
    skeleton = get_skeleton(skeleton)
    own = bone_lengths(pose, skeleton)
    return _with_lengths(pose, own + alpha * (as_lengths(lengths, pose, skeleton) - own), skeleton)


def symmetrise_bones(pose: Tensor, skeleton: str | Skeleton) -> Tensor:
    r"""Give the left and the right bone of every pair their mean length; the limb symmetry error becomes 0.

    .. math:: l_L' = l_R' = \tfrac{1}{2} (l_L + l_R)

    Args:
        pose: Poses, shape (..., J, 3).
        skeleton: Skeleton or name of a built-in one. Without paired bones nothing moves.

    Returns:
        Poses (..., J, 3), float32 at least.

    Raises:
        TypeError: If the pose is not a floating-point tensor.
        ValueError: If its shape does not fit the skeleton.

    Example:
        >>> import torch
        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> pose = torch.tensor([[0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> symmetrise_bones(pose, arms).tolist()
        [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """
    skeleton = get_skeleton(skeleton)
    partner = list(range(len(skeleton.bones)))
    for left, right in skeleton.paired_bones:
        partner[left], partner[right] = right, left
    own = bone_lengths(pose, skeleton)
    mirrored = own.index_select(-1, index_on(tuple(partner), own.device))
    return _with_lengths(pose, (own + mirrored) / 2, skeleton)


def clip_mean_bones(pose: Tensor, skeleton: str | Skeleton) -> Tensor:
    r"""Give every bone of a clip the mean of its lengths over the frames; its variance in time becomes 0.

    .. math:: l_t' = \frac{1}{T} \sum_s l_s

    Args:
        pose: Clips, shape (..., T, J, 3). The third axis from the end is time: a batch of single poses is not a clip.
        skeleton: Skeleton or name of a built-in one.

    Returns:
        Clips (..., T, J, 3), float32 at least.

    Raises:
        TypeError: If the pose is not a floating-point tensor.
        ValueError: If its shape does not fit the skeleton, or there is no time axis.

    Example:
        >>> import torch
        >>> bone = Skeleton.from_parents([-1, 0])
        >>> clip = torch.tensor([[[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]], [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0]]])
        >>> clip_mean_bones(clip, bone)[:, 1].tolist()
        [[4.0, 0.0, 0.0], [0.0, 4.0, 0.0]]
    """
    skeleton = get_skeleton(skeleton)
    own = bone_lengths(pose, skeleton)
    if pose.ndim < 3:
        raise ValueError(f"Expected `pose` to have shape (..., T, J, 3), but got {tuple(pose.shape)}.")
    return _with_lengths(pose, own.mean(dim=-2, keepdim=True), skeleton)


def _with_lengths(pose: Tensor, lengths: Tensor, skeleton: Skeleton) -> Tensor:
    """Rescale the bones, then move the pose so that its root, which need not be the root of the tree, is in place."""
    moved = rescale_bones(pose, lengths, skeleton)
    root = index_on(skeleton.root_joints, moved.device)
    shift = as_pose(pose, "pose").index_select(-2, root) - moved.index_select(-2, root)
    return moved + shift.mean(dim=-2, keepdim=True)
