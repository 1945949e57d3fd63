"""The mirror image of keypoints and of poses."""

from __future__ import annotations

import torch
from torch import Tensor

from seal_lightning.functional.checks import as_pose, check_joints, index_on
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["mirror_keypoints", "mirror_poses"]


def mirror_keypoints(keypoints_2d: Tensor, skeleton: str | Skeleton, *, image_width: float | None = None) -> Tensor:
    r"""Keypoints as the mirrored picture would show them: left and right joints change places, and x is mirrored.

    .. math:: x_j \mapsto -x_{p(j)} \quad\text{or}\quad x_j \mapsto w - x_{p(j)},

    where :math:`p(j)` is the partner of joint j on the other side, or j itself on the middle line.

    Args:
        keypoints_2d: Keypoints (..., J, 2), or (..., J, 3) with a confidence, which moves with its joint.
        skeleton: The joints: a built-in name or a `Skeleton`.
        image_width: Width w of the picture in the unit of the keypoints, where x counts from its left edge. None where
            x is zero on the picture's middle line, as `seal_lightning.data.normalize_screen` makes it.

    Returns:
        The keypoints, of the same shape.

    Raises:
        ValueError: If the shape does not fit the skeleton.

    Example:
        >>> arms = Skeleton(("neck", "left", "right"), (-1, 0, 0), left=(1,), right=(2,))
        >>> mirror_keypoints(torch.tensor([[0.0, 0.0], [0.5, 1.0], [-0.25, 2.0]]), arms).tolist()
        [[-0.0, 0.0], [0.25, 2.0], [-0.5, 1.0]]
        >>> mirror_keypoints(torch.tensor([[50.0, 0.0], [70.0, 1.0], [40.0, 2.0]]), arms, image_width=100.0).tolist()
        [[50.0, 0.0], [60.0, 2.0], [30.0, 1.0]]
    """
    skeleton = get_skeleton(skeleton)
    joints = skeleton.num_joints
    if keypoints_2d.shape[-2:] not in {(joints, 2), (joints, 3)}:
        raise ValueError(
            f"Expected `keypoints_2d` to have shape (..., {joints}, 2) or (..., {joints}, 3), "
            f"but got {tuple(keypoints_2d.shape)}."
        )
    return _mirrored(keypoints_2d, skeleton, image_width or 0.0)


def mirror_poses(pose: Tensor, skeleton: str | Skeleton) -> Tensor:
    """The mirror images of poses: left and right joints change places, and the sign of x is turned.

    Args:
        pose: Poses (..., J, 3) in a frame whose x is zero on the mirror, as relative to the root or to the camera.
        skeleton: The joints: a built-in name or a `Skeleton`.

    Returns:
        The poses, of the same shape.

    Raises:
        ValueError: If the shape does not fit the skeleton.

    Example:
        >>> arms = Skeleton(("neck", "left", "right"), (-1, 0, 0), left=(1,), right=(2,))
        >>> mirror_poses(torch.tensor([[0.0, 0.0, 0.0], [0.5, 1.0, 3.0], [-0.25, 2.0, 4.0]]), arms).tolist()
        [[-0.0, 0.0, 0.0], [0.25, 2.0, 4.0], [-0.5, 1.0, 3.0]]
    """
    skeleton = get_skeleton(skeleton)
    check_joints(as_pose(pose, "pose"), "pose", skeleton.num_joints)
    return _mirrored(pose, skeleton, 0.0)


def _mirrored(joints: Tensor, skeleton: Skeleton, width: float) -> Tensor:
    swapped = joints.index_select(-2, index_on(skeleton.partners, joints.device))
    x, others = swapped[..., :1], swapped[..., 1:]
    return torch.cat((width - x if width else -x, others), dim=-1)
