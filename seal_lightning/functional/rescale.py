"""Give a pose other bone lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.functional._checks import as_pose
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["as_lengths", "rescale_bones"]


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
