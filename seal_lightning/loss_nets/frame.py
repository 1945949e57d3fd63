"""The frame in which loss-nets see poses: aligned at the root, in units of the mean bone length."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seal_lightning import _distributed as ranks
from seal_lightning.skeleton import Skeleton

__all__ = ["BodyFrame", "FramedPoses", "weighted_mean"]

_MEMORY = 1e8  # bones after which the running mean becomes an exponential one
_LONGEST = 4.0  # times the usual mean bone length: nobody is that tall, so a longer pose is an error in the data


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
    masked: bool = True
    """Whether anything can be invisible; if not, what the masks would do can be left out."""

    def distance_to(self, others: Tensor) -> Tensor:
        """Mean distance over the visible joints to other poses (K, N, J, 3), (K, N)."""
        distance: Tensor = torch.linalg.vector_norm(others - self.pose, dim=-1)
        if not self.masked:
            return distance.mean(-1)
        return (distance * self.seen).sum(-1) / self.seen.sum(-1).clamp(min=1)

    def weights(self, labelled: Tensor | None = None) -> Tensor | None:
        """Weight of each pose (N,) in a mean over those valid, and labelled (B,) where that is given.

        A sum so weighted, averaged over the processes, is the mean over the poses of them all, however many each of
        them has. None where all poses of a single process count alike.
        """
        processes = ranks.world_size()
        if not self.masked and labelled is None and processes == 1:
            return None
        counted = self.valid
        if labelled is not None:
            counted = counted * labelled.to(counted).repeat_interleave(counted.numel() // max(1, labelled.numel()))
        return counted * (processes / ranks.sum_over_ranks(counted.sum()).clamp(min=1))


def weighted_mean(values: Tensor, weights: Tensor | None) -> Tensor:
    """Mean of one value a pose (N,), with what `FramedPoses.weights` returned; zero where there are no poses."""
    if weights is None:
        return values.mean() if len(values) else values.sum()
    return (values * weights).sum()


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
        self._surely_known = False  # known without asking the device

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
        if visibility is None:
            origin, one = pose.index_select(1, self.root).mean(-2, keepdim=True), torch.ones_like(self.bone_length)
            framed = (pose - origin) / self._unit(pose, None)
            return FramedPoses(framed, keypoints_2d, one.expand(pose.shape[:-1]), one.expand(len(pose)), masked=False)
        seen = visibility.bool().to(pose).flatten(0, -2)
        pose = torch.where(seen[..., None] > 0, pose, 0.0)
        keypoints_2d = torch.where(seen[..., None] > 0, keypoints_2d, 0.0)
        count = seen.index_select(1, self.root).sum(-1)
        origin = pose.index_select(1, self.root).sum(-2, keepdim=True) / count.clamp(min=1)[:, None, None]
        framed = (pose - origin) / self._unit(pose, seen) * seen[..., None]
        return FramedPoses(framed, keypoints_2d, seen, (count > 0).to(pose))

    def update(self, truth: Tensor, visibility: Tensor | None = None, labelled: Tensor | None = None) -> None:
        """Take true poses (..., J, 3) of all ranks into the running mean of the bone length, if all are finite.

        A pose counts with its mean bone length, and as no longer than four times the running mean: a single wrong
        number in the data would otherwise change the unit of the loss-nets for hundreds of steps. The first batch,
        which has no running mean to be compared with, leaves out the poses longer than four times its median pose.
        """
        seen = None if visibility is None else visibility.bool().to(torch.float32)
        if labelled is not None:
            rows = labelled.to(torch.float32).view(-1, *[1] * (truth.dim() - 2))
            seen = rows.expand(truth.shape[:-1]) if seen is None else seen * rows
        length, bones = self._lengths(truth.detach().float(), seen)
        first = self.bone_length == 0
        # What "surely known" leaves open is a batch that was not finite: the next one is then taken as it is.
        longest = torch.where(first, torch.inf, _LONGEST * self.bone_length)
        if not self._surely_known:
            longest = torch.where(first, _LONGEST * _typical(length), longest)
            # Left out, not shortened: the medians of two ranks are not that of one with both batches, and the length
            # that a pose is shortened to would be another one.
            bones = torch.where(first & (length > longest), 0.0, bones)
        kept = (torch.minimum(length, longest) * bones).sum()
        # The sum of all lengths comes along to tell whether they are finite, which the shortened ones always are.
        total, count, check = ranks.sum_over_ranks(torch.stack([kept, bones.sum(), length.sum()])).unbind()
        finite = torch.isfinite(check)
        total, count = torch.where(finite, total, 0.0), torch.where(finite, count, 0.0)
        self.bone_count.add_(count).clamp_(max=_MEMORY)
        self.bone_length.add_((total - self.bone_length * count) / self.bone_count.clamp(min=1))
        # All ranks have to come to the same answer, or one of them would wait for the medians of the others.
        counted = ranks.world_size() > 1 or (seen is None and len(truth) > 0)
        self._surely_known = self._surely_known or counted

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._surely_known = False

    def _unit(self, pose: Tensor, seen: Tensor | None) -> Tensor:
        """Mean bone length so far; that of the poses given if there is none, which only the device may know."""
        unit = self.bone_length
        if not self._surely_known:
            length, bones = self._lengths(pose.detach(), seen)
            unit = torch.where(unit > 0, unit, (length * bones).sum() / bones.sum().clamp(min=1))
        return unit.clamp(min=torch.finfo(unit.dtype).tiny)

    def _lengths(self, pose: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean length of the visible bones of every pose, zero where there are none, and their number; (N,) each."""
        bones = (pose.index_select(-2, self.child) - pose.index_select(-2, self.parent)).flatten(0, -3)
        lengths = torch.linalg.vector_norm(bones, dim=-1)
        if seen is None:
            count = lengths.new_full((len(lengths),), lengths.shape[1])
        else:
            visible = seen.index_select(-1, self.child) * seen.index_select(-1, self.parent) > 0
            visible = visible.flatten(0, -2)
            lengths, count = torch.where(visible, lengths, 0.0), visible.sum(-1).float()
        return lengths.sum(-1) / count.clamp(min=1), count


def _typical(length: Tensor) -> Tensor:
    """Median of the lengths above zero; of several ranks the geometric mean of their medians, weighted by poses."""
    counted = length > 0
    poses = counted.sum()
    if len(length):
        ordered = torch.where(counted, length, torch.inf).sort().values
        median = ordered.index_select(0, ((poses - 1).clamp(min=0) // 2)[None])[0]
    else:
        median = length.new_ones(())
    log_median = torch.where(poses > 0, median.log(), 0.0)
    total, count = ranks.sum_over_ranks(torch.stack([poses * log_median, poses.float()])).unbind()
    return (total / count.clamp(min=1)).exp()
