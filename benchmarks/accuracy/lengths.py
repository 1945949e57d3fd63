"""The primary errors after many rescalings of the bones at once: what is common to all is computed once."""

from __future__ import annotations

import torch
from torch import Tensor

from benchmarks.accuracy.errors import EvaluationSet
from seal_lightning.functional import bone_lengths, root_align
from seal_lightning.skeleton import Skeleton

__all__ = ["RescaledErrors"]


class RescaledErrors:
    """MPJPE, BSLE and asymmetry error of poses whose bones get other lengths, which keep their directions.

    The numbers are those of `rescale` and `pose_errors`, up to rounding, in a small part of their time.

    Args:
        pose: Poses (N, J, 3), in metres.
        data: Their true poses.
    """

    def __init__(self, pose: Tensor, data: EvaluationSet) -> None:
        self.skeleton, self.mean = data.skeleton, data.mean_lengths
        child, parent = torch.tensor(data.skeleton.bones).unbind(1)
        self.lengths, self.true_lengths = (bone_lengths(one, data.skeleton) for one in (pose, data.target))
        vectors = pose[:, child] - pose[:, parent]
        self.directions = vectors / self.lengths.clamp(min=torch.finfo(pose.dtype).tiny)[..., None]
        roots = list(data.skeleton.root_joints)
        path = _path(data.skeleton)
        self.path = path - path[roots].mean(0)  # joints relative to the root, as sums over bones
        self.target = root_align(data.target, data.skeleton.root_joints)
        self.left, self.right = torch.tensor(data.skeleton.paired_bones).unbind(1)

    def of(self, alpha: float, symmetrise: bool) -> Tensor:
        """Return the three errors (3, N), in millimetres, percent and millimetres."""
        lengths = self.lengths + alpha * (self.mean - self.lengths)
        if symmetrise:
            lengths = lengths.clone()
            both = (lengths[:, self.left] + lengths[:, self.right]) / 2
            lengths[:, self.left] = lengths[:, self.right] = both
        joints = torch.einsum("jb,nbc->njc", self.path, self.directions * lengths[..., None])
        mpjpe = 1e3 * (joints - self.target).norm(dim=-1).mean(-1)
        bsle = 100 * ((lengths - self.true_lengths).abs() / self.true_lengths).mean(-1)
        uneven = [one[:, self.left] - one[:, self.right] for one in (lengths, self.true_lengths)]
        return torch.stack((mpjpe, bsle, 1e3 * (uneven[0] - uneven[1]).abs().mean(-1)))


def _path(skeleton: Skeleton) -> Tensor:
    """Matrix (J, J - 1): 1 where a bone lies between the first joint of the tree and a joint."""
    path = torch.zeros(skeleton.num_joints, len(skeleton.bones))
    parents = {child: (parent, bone) for bone, (child, parent) in enumerate(skeleton.bones)}
    for joint in range(skeleton.num_joints):
        at = joint
        while at in parents:
            at, bone = parents[at]
            path[joint, bone] = 1
    return path
