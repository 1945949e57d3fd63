"""The kinds of damage that `corrupt` can do to a pose, one function each.

Every function takes poses (N, J, 3), a skeleton, a severity and a random generator, and returns the displacement of
every joint, shape (N, J, 3). It may move the root as well: `corrupt` shifts the whole pose back afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = ["DAMAGE"]

_HINGES = ("kne", "elb")  # a knee or an elbow has one of these in its name: RKnee, left_elbow, LKNE
_BENT = math.radians(10.0)  # in a limb that is straighter than this, the way in which it bends is hardly defined


def _bone_length(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    return _stretch(poses, skeleton, severity, torch.eye(len(skeleton.bones)), generator)


def _limb_scale(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    if not skeleton.limbs:
        raise ValueError("Expected `skeleton` to have limbs, but got none.")
    limbs = torch.tensor([[float(bone in limb) for bone in range(len(skeleton.bones))] for limb in skeleton.limb_bones])
    return _stretch(poses, skeleton, severity, limbs, generator)


def _stretch(poses: Tensor, skeleton: Skeleton, severity: float, sets: Tensor, generator: torch.Generator) -> Tensor:
    """Lengthen or shorten one set of bones per pose, drawn from the rows of `sets` (S, J - 1) of 0 and 1."""
    tree = bone_tree(skeleton, poses)
    chosen = sets[torch.randint(len(sets), (len(poses),), generator=generator)].to(poses)
    # `above` adds up the changes of all bones between the root and a joint, so whatever hangs on a bone moves with it.
    return tree.above @ (severity * _sign(poses, generator) * chosen[..., None] * tree.bones(poses))


def _joint_limit(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    """Turn the lower half of one limb per pose about its knee or elbow, to the side to which it cannot bend."""
    hinges = _hinges(skeleton)
    upper, pivot, lower = torch.tensor(hinges, device=poses.device).unbind(1)
    branches = [_branch(skeleton, hinge) - {hinge} for _, hinge, _ in hinges]
    below = torch.tensor([[joint in branch for joint in range(skeleton.num_joints)] for branch in branches])
    # `thigh` and `shank` are the upper and the lower half of any limb, arms included.
    thigh = normalize(poses[:, pivot] - poses[:, upper], dim=-1)
    shank = normalize(poses[:, lower] - poses[:, pivot], dim=-1)
    axis = torch.linalg.cross(thigh, shank)
    bend = torch.atan2(axis.norm(dim=-1), (thigh * shank).sum(-1))
    draw = torch.rand(bend.shape, generator=generator).to(poses)
    # One of the bent hinges at random: each of them scores above `_BENT`, and a straighter one below. Where no hinge is
    # bent, the least straight one is taken.
    hinge = torch.where(bend >= _BENT, _BENT + draw, bend).argmax(1)
    rows = torch.arange(len(poses), device=poses.device)
    # A straight limb has no plane in which it bends, so any axis across it will do. Of the three coordinate axes, take
    # the one most nearly at right angles to the limb: its cross product with the limb is safely far from zero.
    across = torch.eye(3).to(poses)[thigh[rows, hinge].abs().argmin(-1)]
    any_axis = torch.linalg.cross(thigh[rows, hinge], across)
    # Below 1e-4 radians, the axis in which the limb bends is lost in rounding errors.
    axis = normalize(torch.where(bend[rows, hinge, None] > 1e-4, axis[rows, hinge], any_axis), dim=-1)[:, None]
    arm = poses - poses[rows, pivot[hinge]][:, None]
    angle = -(bend[rows, hinge] + math.radians(severity))[:, None, None]  # back to straight, then `severity` beyond it
    along = (arm * axis).sum(-1, keepdim=True) * axis  # the rotation formula of Rodrigues, about the hinge's axis
    turned = along + (arm - along) * angle.cos() + torch.linalg.cross(axis.expand_as(arm), arm) * angle.sin()
    turns: Tensor = below.to(poses.device)[hinge]
    return torch.where(turns[..., None], turned - arm, 0.0)


def _left_right_swap(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    partners, parents = skeleton.partners, skeleton.parents
    middle = {-1, *(joint for joint in range(skeleton.num_joints) if partners[joint] == joint)}  # -1: the root's parent
    pairs = zip(skeleton.left, skeleton.right, strict=True)
    # Branches swap as a whole, so only the pairs where one starts are drawn: hips and shoulders, not knees.
    tops = [pair for pair in pairs if parents[pair[0]] in middle or parents[pair[1]] in middle]
    if not tops:
        raise ValueError("Expected `skeleton` to have paired joints on the left and right, but got none.")
    members = [_branch(skeleton, left) | _branch(skeleton, right) for left, right in tops]
    inside = torch.tensor([[j in branch for j in range(skeleton.num_joints)] for branch in members]).to(poses)
    swapped = _some(len(tops), severity, poses, generator) @ inside > 0
    return torch.where(swapped[..., None], poses[:, list(partners)] - poses, 0.0)


def _depth_flip(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    tree = bone_tree(skeleton, poses)
    flipped = _some(len(skeleton.bones), severity, poses, generator)
    return tree.above @ (-2 * flipped[..., None] * tree.bones(poses) * torch.tensor([0.0, 0.0, 1.0]).to(poses))


def _noise(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    unit: Tensor = bone_tree(skeleton, poses).bones(poses).norm(dim=-1).mean(-1)[:, None, None]
    return severity * unit * torch.randn(poses.shape, generator=generator).to(poses)


def _global_scale(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    return severity * _sign(poses, generator) * poses


def _hinges(skeleton: Skeleton) -> list[tuple[int, int, int]]:
    """Return a triple for every knee and elbow: the upper end of its limb, the joint itself, the limb's lower end."""
    depth = skeleton.hops[skeleton.tree_root].tolist()
    hinges = []
    for limb in skeleton.limbs:
        upper, lower = sorted((limb[0], limb[-1]), key=depth.__getitem__)
        inner = (joint for joint in limb[1:-1] if any(name in skeleton.names[joint].lower() for name in _HINGES))
        hinges += [(upper, joint, lower) for joint in inner]
    if not hinges:
        raise ValueError(
            "Expected `skeleton` to have a limb with a knee or an elbow between its ends (a joint with "
            f"{' or '.join(map(repr, _HINGES))} in its name), but got the joints {skeleton.names} and the limbs "
            f"{skeleton.limbs}."
        )
    return hinges


def _branch(skeleton: Skeleton, top: int) -> set[int]:
    """Return a joint and all joints below it in the tree."""
    members = {top}
    for joint in skeleton.order:
        if skeleton.parents[joint] in members:
            members.add(joint)
    return members


def _sign(poses: Tensor, generator: torch.Generator) -> Tensor:
    """Draw 1 or -1 for every pose, shape (N, 1, 1)."""
    sign: Tensor = 2 * torch.randint(2, (len(poses), 1, 1), generator=generator) - 1
    return sign.to(poses)


def _some(count: int, share: float, poses: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a share of `count` things, rounded up, for every pose: 1 for a drawn one, else 0, shape (N, count)."""
    order = torch.rand(len(poses), count, generator=generator).argsort(1).argsort(1)  # ranks: a random permutation
    # Without the 1e-9, a product that rounds up to 3.0000000000000004 would draw four things instead of three.
    return (order < math.ceil(share * count - 1e-9)).to(poses)


DAMAGE: dict[str, Callable[[Tensor, Skeleton, float, torch.Generator], Tensor]] = {
    "bone_length": _bone_length,
    "limb_scale": _limb_scale,
    "joint_limit": _joint_limit,
    "left_right_swap": _left_right_swap,
    "depth_flip": _depth_flip,
    "noise": _noise,
    "global_scale": _global_scale,
}
