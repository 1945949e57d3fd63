"""The frame in which loss-nets see poses: aligned at the root, in units of the mean bone length."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seal_lightning import _distributed as ranks
from seal_lightning.functional import bone_lengths
from seal_lightning.skeleton import Skeleton

__all__ = ["BodyFrame", "FramedPoses"]

_MEMORY = 1e8  # bones after which the running mean becomes an exponential one


class FramedPoses(NamedTuple):
    """Poses in the loss-nets' frame, one row a pose: N = B, or B * T for clips."""

    pose: Tensor
    """(N, J, 3), zero where invisible."""
    keypoints_2d: Tensor
    """(N, J, 2 or 3), zero where invisible."""
    seen: Tensor
    """(N, J), 1 where visible, else 0."""
    valid: Tensor
    """(N,), 1 where the root is visible, else 0: without a root there is no frame."""

    def distance_to(self, others: Tensor) -> Tensor:
        """Mean distance over the visible joints to other poses (K, N, J, 3), (K, N)."""
        distance: Tensor = torch.linalg.vector_norm(others - self.pose, dim=-1) * self.seen
        return distance.sum(-1) / self.seen.sum(-1).clamp(min=1)


class BodyFrame(nn.Module):
    """Brings poses to the loss-nets' frame, so that energies do not depend on position and unit.

    Args:
        skeleton: The skeleton of the poses.

    Example:
        >>> from seal_lightning.skeleton import Skeleton
        >>> frame = BodyFrame(Skeleton.from_parents([-1, 0]))
        >>> pose, keypoints_2d = torch.tensor([[[1.0, 1.0, 1.0], [1.0, 1.0, 3.0]]]), torch.zeros(1, 2, 2)
        >>> frame.update(pose)
        >>> frame(2 * pose, keypoints_2d).pose
        tensor([[[0., 0., 0.],
                 [0., 0., 2.]]])
    """

    child: Tensor
    parent: Tensor
    root: Tensor
    bone_length: Tensor
    bone_count: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        ends = torch.tensor(skeleton.bones, dtype=torch.long).reshape(-1, 2)
        self.register_buffer("child", ends[:, 0].clone(), persistent=False)
        self.register_buffer("parent", ends[:, 1].clone(), persistent=False)
        self.register_buffer("root", torch.tensor(skeleton.root_joints), persistent=False)
        self.register_buffer("bone_length", torch.zeros(()))
        self.register_buffer("bone_count", torch.zeros(()))

    def forward(self, pose: Tensor, keypoints_2d: Tensor, visibility: Tensor | None = None) -> FramedPoses:
        """Flatten clips to poses, align at the root (differentiably), divide by the mean bone length.

        Before the first truth was seen, the mean bone length is that of the poses given.

        Args:
            pose: Poses (..., J, 3).
            keypoints_2d: Keypoints (..., J, 2 or 3).
            visibility: Bool (..., J).

        Returns:
            The poses and keypoints in float32 with masks.
        """
        pose, keypoints_2d = pose.float().flatten(0, -3), keypoints_2d.float().flatten(0, -3)
        seen = torch.ones(pose.shape[:-1], dtype=pose.dtype, device=pose.device)
        if visibility is not None:
            seen = visibility.bool().to(seen).flatten(0, -2)
            pose = torch.where(seen[..., None] > 0, pose, 0.0)
            keypoints_2d = torch.where(seen[..., None] > 0, keypoints_2d, 0.0)
        count = seen.index_select(1, self.root).sum(-1)
        origin = pose.index_select(1, self.root).sum(-2, keepdim=True) / count.clamp(min=1)[:, None, None]
        total, bones = self._bones(pose.detach(), seen)
        unit = torch.where(self.bone_length > 0, self.bone_length, total / bones.clamp(min=1))
        tiny = torch.finfo(unit.dtype).tiny
        return FramedPoses(
            (pose - origin) / unit.clamp(min=tiny) * seen[..., None], keypoints_2d, seen, (count > 0) * 1.0
        )

    def update(self, truth: Tensor, visibility: Tensor | None = None, labelled: Tensor | None = None) -> None:
        """Take true poses (..., J, 3) of all processes into the running mean of the bone length."""
        seen = torch.ones(truth.shape[:-1], dtype=torch.float32, device=truth.device)
        if visibility is not None:
            seen = visibility.bool().to(seen)
        if labelled is not None:
            seen = seen * labelled.to(seen).view(-1, *[1] * (seen.dim() - 1))
        total, count = ranks.sum_over_ranks(torch.stack(self._bones(truth.detach().float(), seen))).unbind()
        self.bone_count.add_(count).clamp_(max=_MEMORY)
        self.bone_length.add_((total - self.bone_length * count) / self.bone_count.clamp(min=1))

    def _bones(self, pose: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Sum of the lengths of the visible bones, and their number."""
        visible = seen.index_select(-1, self.child) * seen.index_select(-1, self.parent) > 0
        return torch.where(visible, bone_lengths(pose, self.skeleton), 0.0).sum(), visible.sum().float()
