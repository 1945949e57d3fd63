"""The frame in which loss-nets see poses: aligned at the root, in units of the mean bone length."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seal_lightning import _distributed as ranks
from seal_lightning.skeleton import Skeleton

__all__ = ["BodyFrame", "FramedPoses", "weighted_mean"]

_MEMORY = 1e8  # number of bones after which the running mean becomes an exponential one
_LONGEST = 4.0  # times the usual mean bone length: nobody is that tall, so a longer pose is an error in the data


class FramedPoses(NamedTuple):
    """Poses in the loss-nets' frame, one row per pose: N = B, or B * T for clips."""

    pose: Tensor
    """(N, J, 3), zero where invisible."""
    keypoints_2d: Tensor
    """(N, J, 2 or 3), zero where invisible."""
    seen: Tensor
    """(N, J), 1 where visible, else 0."""
    valid: Tensor
    """(N,), 1 where the root is visible, else 0: without a root there is no frame."""
    masked: bool = True
    """Whether anything can be invisible; if not, operations with the masks can be left out."""
    unit: Tensor | None = None
    """Scalar: the mean bone length that the poses were divided by; None where it is not known."""
    frames: int = 1
    """T for clips: so many rows in a row are one of them."""

    def with_poses(self, *poses: Tensor) -> FramedPoses:
        """Other poses (N, J, 3) of the same keypoints and masks, one set of them after the other."""
        if len(poses) == 1:
            return self._replace(pose=poses[0])
        keypoints_2d = torch.cat([self.keypoints_2d] * len(poses))
        stacked = self._replace(pose=torch.cat(poses), keypoints_2d=keypoints_2d)
        if not self.masked:
            return stacked
        seen, valid = torch.cat([self.seen] * len(poses)), torch.cat([self.valid] * len(poses))
        return stacked._replace(seen=seen, valid=valid)

    def clips(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keypoints and poses (B, T, J, .), and what is seen of frames with a root, (B, T, J); None where all is."""
        seen = self.seen * self.valid[:, None] if self.masked else None
        shape = len(self.pose) // self.frames, self.frames
        keypoints_2d, pose = (tensor.view(*shape, *tensor.shape[1:]) for tensor in (self.keypoints_2d, self.pose))
        return keypoints_2d, pose, None if seen is None else seen.view(*shape, *seen.shape[1:])

    def distance_to(self, others: Tensor) -> Tensor:
        """Mean distance over the visible joints to other poses (K, N, J, 3), (K, N)."""
        distance: Tensor = torch.linalg.vector_norm(others - self.pose, dim=-1)
        if not self.masked:
            return distance.mean(-1)
        return (distance * self.seen).sum(-1) / self.seen.sum(-1).clamp(min=1)

    def per_sample(self, energy: Tensor, slope: Tensor, batch: int) -> tuple[Tensor, Tensor]:
        """Mean energy of the poses of each sample (B,), and its gradient at the poses.

        Args:
            energy: Energies of the poses (N,).
            slope: Gradients of these at the poses (N, J, 3).
            batch: Number of samples B; the poses of a clip are one sample.
        """
        frames = max(1, len(energy) // max(1, batch))
        if self.masked:
            energy, slope = energy * self.valid, slope * self.valid[:, None, None]
        if frames == 1:
            return energy, slope
        return energy.view(batch, frames).mean(1), slope / frames

    def weights(self, labelled: Tensor | None = None) -> Tensor | None:
        """Weight of each pose (N,) in a mean over the poses that are valid and, if that is given, labelled (B,).

        A sum with these weights, averaged over the ranks, is the mean over the poses of all ranks, whatever their share
        of the poses. None on a single rank where all poses have the same weight.
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

    ends: Tensor
    root: Tensor
    one: Tensor
    bone_length: Tensor
    bone_count: Tensor

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        ends = torch.tensor(skeleton.bones, dtype=torch.long).reshape(-1, 2)
        self.register_buffer("ends", ends.T.flatten(), persistent=False)  # all children, then all parents
        self.register_buffer("root", torch.tensor(skeleton.root_joints), persistent=False)
        self.register_buffer("one", torch.ones(()), persistent=False)
        self.register_buffer("bone_length", torch.zeros(()))
        self.register_buffer("bone_count", torch.zeros(()))
        self._surely_known = False  # known without asking the device
        self._updated = False  # together with other ranks

    @property
    def surely_known(self) -> bool:
        """Whether there is a running mean of the bone length, as far as the device need not be asked."""
        return self._surely_known

    def forward(
        self, pose: Tensor, keypoints_2d: Tensor, visibility: Tensor | None = None, unit: Tensor | None = None
    ) -> FramedPoses:
        """Flatten clips to poses, align at the root (differentiably), divide by the mean bone length.

        Before the first truth was seen, the mean bone length is that of the poses given.

        Args:
            pose: Poses (..., J, 3).
            keypoints_2d: Keypoints (..., J, 2 or 3).
            visibility: Bool (..., J).
            unit: The mean bone length, where it was found for other poses of this step.

        Returns:
            The poses and keypoints in float32 with masks.
        """
        frames = pose.shape[1] if pose.dim() == 4 else 1
        pose, keypoints_2d = pose.float().flatten(0, -3), keypoints_2d.float().flatten(0, -3)
        if visibility is None:
            unit = self._unit(pose, None) if unit is None else unit
            seen = self.one.expand(pose.shape[:-1])
            return FramedPoses((pose - self._origin(pose)) / unit, keypoints_2d, seen, seen[:, 0], False, unit, frames)
        seen = visibility.bool().to(pose).flatten(0, -2)
        pose = torch.where(seen[..., None] > 0, pose, 0.0)
        keypoints_2d = torch.where(seen[..., None] > 0, keypoints_2d, 0.0)
        unit = self._unit(pose, seen) if unit is None else unit
        count = self._seen_roots(seen)
        origin = pose.index_select(1, self.root).sum(-2, keepdim=True) / count.clamp(min=1)[:, None, None]
        framed = (pose - origin) / unit * seen[..., None]
        return FramedPoses(framed, keypoints_2d, seen, (count > 0).to(pose), True, unit, frames)

    def pull(self, slope: Tensor, poses: FramedPoses) -> Tensor:
        """Gradient at the poses that were given to `forward`, from the gradient at the framed poses (N, J, 3).

        It is `forward` transposed, in closed form: divided by the unit, and at the root less by the sum over all
        joints, which move against the root when it moves.
        """
        if poses.unit is None:
            raise ValueError("Expected `poses` to be what `BodyFrame` returned, but their unit is not known.")
        pull = slope / poses.unit
        if not poses.masked and len(self.root) == 1:
            total = pull.sum(1, keepdim=True)
            self._origin(pull).sub_(total)
            return pull
        pull = pull * poses.seen[..., None]
        share = pull.sum(1, keepdim=True) / self._seen_roots(poses.seen).clamp(min=1)[:, None, None]
        return pull.index_add(1, self.root, -share.expand(-1, len(self.root), -1)) * poses.seen[..., None]

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
        # What the two flags leave open is a batch that was not finite: the next one is then taken as it is.
        longest = (_LONGEST * self.bone_length).masked_fill(first, torch.inf)
        # The medians of a first batch take all ranks, so these have to come to the same answer.
        if not (self._surely_known if ranks.world_size() == 1 else self._updated):
            longest = torch.where(first, _LONGEST * _typical(length), longest)
            # Left out, not shortened: the medians of two ranks are not that of one with both batches, and the length
            # that a pose is shortened to would be another one.
            bones = (~first | (length <= longest)).to(length) * bones
        # Infinity times zero is NaN, which the minimum alone would hide.
        length = torch.add(torch.minimum(length, longest), length, alpha=0)
        if isinstance(bones, int) and ranks.world_size() == 1 and len(length):
            self._take(length.mean(), bones * len(length))
        else:
            number = bones if isinstance(bones, Tensor) else torch.full_like(length, bones)
            sums = torch.stack([(length * number).sum(), number.sum()])
            total, count = ranks.sum_over_ranks(sums).unbind()
            self._take(total / count, count)
        self._surely_known = self._surely_known or (seen is None and len(truth) > 0)
        self._updated = self._updated or ranks.world_size() > 1

    def _take(self, mean: Tensor, count: Tensor | int) -> None:
        """Take the mean length of so many bones into the running mean, unless it is NaN."""
        counted = (self.bone_count + count).clamp(max=_MEMORY)
        length = torch.addcdiv(self.bone_length, (mean - self.bone_length) * count, counted)
        known = length == length
        torch.where(known, length, self.bone_length, out=self.bone_length)
        torch.where(known, counted, self.bone_count, out=self.bone_count)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._surely_known = self._updated = False

    def _origin(self, pose: Tensor) -> Tensor:
        """Mean of the root joints (N, 1, 3); a view where there is one."""
        if len(self.root) == 1:
            return pose.narrow(1, self.skeleton.root_joints[0], 1)
        return pose.index_select(1, self.root).mean(-2, keepdim=True)

    def _seen_roots(self, seen: Tensor) -> Tensor:
        """Number of visible root joints (N,)."""
        return seen.index_select(1, self.root).sum(-1)

    def _unit(self, pose: Tensor, seen: Tensor | None) -> Tensor:
        """Mean bone length so far; that of the poses given if there is none, which only the device may know."""
        unit = self.bone_length
        if not self._surely_known:
            length, bones = self._lengths(pose.detach(), seen)
            number = bones if isinstance(bones, Tensor) else torch.full_like(length, bones)
            unit = torch.where(unit > 0, unit, (length * number).sum() / number.sum().clamp(min=1))
        return unit.clamp(min=torch.finfo(unit.dtype).tiny)

    def _lengths(self, pose: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor | int]:
        """Mean length of the visible bones of every pose (N,), zero where there are none, and their number."""
        children, parents = pose.flatten(0, -3).index_select(1, self.ends).chunk(2, dim=1)
        lengths = torch.linalg.vector_norm(children - parents, dim=-1)
        if seen is None:
            return lengths.mean(-1) if lengths.shape[1] else lengths.sum(-1), lengths.shape[1]
        child_seen, parent_seen = seen.flatten(0, -2).index_select(1, self.ends).chunk(2, dim=1)
        visible = child_seen * parent_seen > 0
        count = visible.sum(-1).float()
        return torch.where(visible, lengths, 0.0).sum(-1) / count.clamp(min=1), count


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
