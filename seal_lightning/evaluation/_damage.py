"""The ways in which `corrupt` damages poses; each returns by how much the joints move, before the root is put back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize

from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = ["DAMAGE"]

_HINGES = ("kne", "elb")  # in the names of joints that bend one way: RKnee, left_elbow, LKNE
_BENT = math.radians(10.0)  # a hinge that is straighter hardly shows which way it bends


def _bone_length(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    return _stretch(poses, skeleton, severity, torch.eye(len(skeleton.bones)), generator)


def _limb_scale(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    if not skeleton.limbs:
        raise ValueError("Expected `skeleton` to have limbs, but got none.")
    limbs = torch.tensor([[float(bone in limb) for bone in range(len(skeleton.bones))] for limb in skeleton.limb_bones])
    return _stretch(poses, skeleton, severity, limbs, generator)


def _stretch(poses: Tensor, skeleton: Skeleton, severity: float, sets: Tensor, generator: torch.Generator) -> Tensor:
    """Lengthen or shorten the bones of one of several sets (S, J - 1), drawn for every pose."""
    tree = bone_tree(skeleton, poses)
    chosen = sets[torch.randint(len(sets), (len(poses),), generator=generator)].to(poses)
    return tree.above @ (severity * _sign(poses, generator) * chosen[..., None] * tree.bones(poses))


def _joint_limit(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    hinges = _hinges(skeleton)
    upper, pivot, lower = torch.tensor(hinges, device=poses.device).unbind(1)
    branches = [_branch(skeleton, hinge) - {hinge} for _, hinge, _ in hinges]
    below = torch.tensor([[joint in branch for joint in range(skeleton.num_joints)] for branch in branches])
    thigh = normalize(poses[:, pivot] - poses[:, upper], dim=-1)
    shank = normalize(poses[:, lower] - poses[:, pivot], dim=-1)
    axis = torch.linalg.cross(thigh, shank)
    bend = torch.atan2(axis.norm(dim=-1), (thigh * shank).sum(-1))
    draw = torch.rand(bend.shape, generator=generator).to(poses)
    hinge = torch.where(bend >= _BENT, _BENT + draw, bend).argmax(1)  # of all that are bent one at random
    rows = torch.arange(len(poses), device=poses.device)
    # A straight limb bends about any axis across it: that with the coordinate axis which it is furthest from.
    across = torch.eye(3).to(poses)[thigh[rows, hinge].abs().argmin(-1)]
    any_axis = torch.linalg.cross(thigh[rows, hinge], across)
    axis = normalize(torch.where(bend[rows, hinge, None] > 1e-4, axis[rows, hinge], any_axis), dim=-1)[:, None]
    arm = poses - poses[rows, pivot[hinge]][:, None]
    angle = -(bend[rows, hinge] + math.radians(severity))[:, None, None]
    along = (arm * axis).sum(-1, keepdim=True) * axis
    turned = along + (arm - along) * angle.cos() + torch.linalg.cross(axis.expand_as(arm), arm) * angle.sin()
    turns: Tensor = below.to(poses.device)[hinge]
    return torch.where(turns[..., None], turned - arm, 0.0)


def _left_right_swap(poses: Tensor, skeleton: Skeleton, severity: float, generator: torch.Generator) -> Tensor:
    partners, parents = skeleton.partners, skeleton.parents
    middle = {-1, *(joint for joint in range(skeleton.num_joints) if partners[joint] == joint)}
    pairs = zip(skeleton.left, skeleton.right, strict=True)
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
    """Of every knee and elbow the upper end of its limb, itself, and the lower end."""
    depth = skeleton.hops[skeleton.tree_root].tolist()
    hinges = []
    for limb in skeleton.limbs:
        upper, lower = sorted((limb[0], limb[-1]), key=depth.__getitem__)
        inner = (joint for joint in limb[1:-1] if any(name in skeleton.names[joint].lower() for name in _HINGES))
        hinges += [(upper, joint, lower) for joint in inner]
    if not hinges:
        raise ValueError(
            "Expected `skeleton` to have limbs with a joint inside that is named a knee or an elbow (a name with "
            f"{' or '.join(map(repr, _HINGES))}), but got the joints {skeleton.names} and limbs {skeleton.limbs}."
        )
    return hinges


def _branch(skeleton: Skeleton, top: int) -> set[int]:
    """A joint and all that lies below it."""
    members = {top}
    for joint in skeleton.order:
        if skeleton.parents[joint] in members:
            members.add(joint)
    return members


def _sign(poses: Tensor, generator: torch.Generator) -> Tensor:
    """1 or -1 for every pose, (N, 1, 1)."""
    sign: Tensor = 2 * torch.randint(2, (len(poses), 1, 1), generator=generator) - 1
    return sign.to(poses)


def _some(count: int, share: float, poses: Tensor, generator: torch.Generator) -> Tensor:
    """Ones for a share, rounded up, of `count` things drawn for every pose, zeros for the others, (N, count)."""
    order = torch.rand(len(poses), count, generator=generator).argsort(1).argsort(1)
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
