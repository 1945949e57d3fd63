"""Change the bone lengths of poses."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.functional.checks import as_pose, index_on
from seal_lightning.functional.structure import bone_lengths
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["as_lengths", "clip_mean_bones", "rescale_bones", "shrink_bones", "symmetrise_bones"]


def rescale_bones(pose: Tensor, lengths: Tensor, skeleton: str | Skeleton) -> Tensor:
    r"""Set the length of every bone and keep its direction, walking outwards from the tree root.

    .. math:: y'_c = y'_p + l_c \frac{y_c - y_p}{\| y_c - y_p \|}

    The tree root stays where it is. A bone of length zero has no direction: its joint stays on its parent.

    Args:
        pose: Poses, shape (..., J, 3).
        lengths: New length per bone, shape (..., J - 1), in the order of ``skeleton.bones`` and the unit of the pose.
            Leading dimensions broadcast against those of the pose.
        skeleton: Skeleton or name of a built-in one.

    Returns:
        Poses (..., J, 3) with the broadcast leading dimensions, float32 at least.

    Raises:
        TypeError: If an input is not a floating-point tensor.
        ValueError: If shapes do not fit.

    Example:
        >>> chain = Skeleton.from_parents([-1, 0, 1])
        >>> pose = torch.tensor([[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, 4.0, 0.0]])
        >>> rescale_bones(pose, torch.tensor([1.0, 2.0]), chain).tolist()
        [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0], [2.0, 2.0, 0.0]]
    """
    skeleton = get_skeleton(skeleton)
    pose = as_pose(pose, "pose", skeleton.num_joints)
    lengths = as_lengths(lengths, pose, skeleton)
    dtype = torch.promote_types(pose.dtype, lengths.dtype)
    pose, lengths = pose.to(dtype), lengths.to(dtype)
    leading = torch.broadcast_shapes(pose.shape[:-2], lengths.shape[:-1])  # type: ignore[no-untyped-call]
    joints = list(pose.expand(*leading, *pose.shape[-2:]).unbind(dim=-2))
    moved = list(joints)
    bone_of = {child: bone for bone, (child, _) in enumerate(skeleton.bones)}
    for child in skeleton.order[1:]:
        parent = skeleton.parents[child]
        bone = joints[child] - joints[parent]
        length = torch.linalg.vector_norm(bone, dim=-1, keepdim=True)
        direction = bone / torch.where(length == 0, 1.0, length)
        moved[child] = moved[parent] + lengths[..., bone_of[child], None] * direction
    return torch.stack(moved, dim=-2)


def as_lengths(lengths: Tensor, pose: Tensor, skeleton: Skeleton) -> Tensor:
    """Check that `lengths` is a floating tensor (..., J - 1) that broadcasts against the pose."""
    if not isinstance(lengths, Tensor):
        raise TypeError(f"Expected `lengths` to be a tensor, but got {type(lengths).__name__}.")
    if not lengths.is_floating_point():
        raise TypeError(f"Expected `lengths` to be a floating-point tensor, but got {lengths.dtype}.")
    bones = len(skeleton.bones)
    fits = lengths.ndim > 0 and lengths.shape[-1] == bones
    pairs = zip(lengths.shape[-2::-1], pose.shape[-3::-1], strict=False)
    if not fits or any(size != other and 1 not in (size, other) for size, other in pairs):
        raise ValueError(
            f"Expected `lengths` to have one entry per bone, shape (..., {bones}), and leading dimensions that "
            f"broadcast against {tuple(pose.shape[:-2])}, but got {tuple(lengths.shape)}."
        )
    return lengths


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
        pose: Clips, shape (..., T, J, 3). The third axis from the end is time, so do not pass a batch of single poses.
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
    """Rescale the bones, then move the pose so that its root joints are where they were.

    `rescale_bones` holds the root of the tree in place, but poses may be aligned to other joints.
    """
    moved = rescale_bones(pose, lengths, skeleton)
    root = index_on(skeleton.root_joints, moved.device)
    shift = as_pose(pose, "pose").index_select(-2, root) - moved.index_select(-2, root)
    return moved + shift.mean(dim=-2, keepdim=True)
