"""Move the bones of many poses at once."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from seal_lightning.skeleton.skeleton import Skeleton

__all__ = ["BoneTree", "bone_tree"]


class BoneTree(NamedTuple):
    """The tree of a skeleton as tensors, with which bones are measured and moved.

    Args:
        child: The child joint of every bone (J - 1,).
        parent: The parent joint of every bone (J - 1,).
        root: The joints that poses are aligned to.
        side: 1 for paired bones on the left, -1 on the right, else 0; shape (J - 1, 1).
        above: 1 where the bone lies between the tree root and the joint, else 0; shape (J, J - 1).
    """

    child: Tensor
    parent: Tensor
    root: Tensor
    side: Tensor
    above: Tensor

    def bones(self, pose: Tensor) -> Tensor:
        """Return the vectors (..., J - 1, 3) from parent to child of poses (..., J, 3)."""
        return pose.index_select(-2, self.child) - pose.index_select(-2, self.parent)

    def move(self, pose: Tensor, change: Tensor) -> Tensor:
        """Add a change (..., J - 1, 3) to the bone vectors. All joints below a bone move along; the root stays put."""
        return pose + self.hold_root(self.above @ change)

    def hold_root(self, shift: Tensor) -> Tensor:
        """Take the shift of the root from the shifts (..., J, 3) of all joints, so that the root stays where it is.

        A loss-net could otherwise tell negatives from true poses by their displaced root alone.
        """
        return shift - shift.index_select(-2, self.root).mean(-2, keepdim=True)


def bone_tree(skeleton: Skeleton, pose: Tensor) -> BoneTree:
    """Return the tree of a skeleton on the device and in the dtype of a pose; it is made once and kept."""
    return _tree(skeleton, pose.device, pose.dtype)


@lru_cache(maxsize=32)
def _tree(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> BoneTree:
    joints, bones = skeleton.num_joints, skeleton.bones
    above = torch.zeros(joints, joints, device="cpu")
    for joint in skeleton.order[1:]:
        above[joint] = above[skeleton.parents[joint]]
        above[joint, joint] = 1
    children = torch.tensor([child for child, _ in bones], dtype=torch.long, device="cpu")
    parents = torch.tensor([parent for _, parent in bones], dtype=torch.long, device="cpu")
    side = torch.zeros(len(bones), 1, device="cpu")
    for left, right in skeleton.paired_bones:
        side[left], side[right] = 1, -1
    return BoneTree(
        child=children.to(device),
        parent=parents.to(device),
        root=torch.tensor(skeleton.root_joints, device=device),
        side=side.to(device, dtype),
        above=above[:, children].to(device, dtype),
    )
