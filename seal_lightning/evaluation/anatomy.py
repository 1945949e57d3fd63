"""Where a prediction errs: the mean error of every joint and every bone, and poses to look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from seal_lightning.functional import root_align
from seal_lightning.functional.poses import Poses
from seal_lightning.functional.terms import Terms, body_segment_terms, mpjpe_terms
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch

__all__ = ["JointErrors", "PoseSample", "pick"]

_A_BATCH, _IN_ALL = 64, 2000  # poses that are kept to look at


class JointErrors:
    """The mean error of each joint, and the mean length error of each bone in percent, over all labelled poses.

    Args:
        skeleton: The skeleton of the poses.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self.skeleton = skeleton
        self._joints = _Mean(skeleton.num_joints)
        self._bones = _Mean(len(skeleton.bones))

    def update(self, prediction: Tensor, target: Tensor, visibility: Tensor | None) -> None:
        """Add poses (..., J, 3); joints are compared after the roots are aligned, as in MPJPE."""
        poses = Poses(prediction, target, visibility)
        self._joints.add(mpjpe_terms(poses, self.skeleton.root_joints))
        self._bones.add(body_segment_terms(poses, self.skeleton, relative=True))

    def joints(self) -> dict[str, float]:
        """The mean error of each joint, by its name, in the unit of the poses; NaN where it was never visible."""
        return dict(zip(self.skeleton.names, self._joints.values(), strict=True))

    def bones(self) -> dict[str, float]:
        """The mean length error of each bone in percent, by the name of its outer joint."""
        names = [self.skeleton.names[child] for child, _ in self.skeleton.bones]
        return dict(zip(names, self._bones.values(), strict=True))


class PoseSample:
    """Some true and predicted poses, spread evenly over what was scored, with their roots at the origin."""

    def __init__(self, skeleton: Skeleton) -> None:
        self.root = skeleton.root_joints
        self._kept: list[Tensor] = []

    def add(self, read: SealBatch, factor: float) -> None:
        """Keep some labelled poses of a batch of which all joints are visible; of a window, its middle frame."""
        if read.target is None:
            return
        pair = torch.stack((read.target, read.prediction), dim=1).detach().float().cpu() * factor  # (B, 2, ...)
        middle = None if pair.dim() == 4 else pair.shape[2] // 2
        pair = pair if middle is None else pair[:, :, middle]
        usable = pair.flatten(1).isfinite().all(dim=1)
        if read.labelled is not None:
            usable &= read.labelled.cpu()
        if read.visibility is not None:
            seen = read.visibility if middle is None else read.visibility[:, middle]
            usable &= seen.bool().cpu().all(dim=-1)
        pair = pair[usable]
        self._kept.append(root_align(pair[_spread(_A_BATCH, len(pair))], self.root))

    def poses(self) -> Tensor:
        """The true and the predicted poses (N, 2, J, 3)."""
        kept = torch.cat(self._kept) if self._kept else torch.zeros(0, 2, 0, 3)
        return kept[_spread(_IN_ALL, len(kept))]


def pick(errors: Sequence[Tensor]) -> dict[str, int]:
    """Name the best, the median and the worst pose by the mean of both methods' errors, which favours neither.

    Args:
        errors: The error of every pose (N,), for each method.

    Example:
        >>> pick([torch.tensor([3.0, 1.0, 9.0]), torch.tensor([3.0, 2.0, 0.0])])
        {'best': 1, 'median': 0, 'worst': 2}
    """
    order = torch.stack(list(errors)).mean(dim=0).argsort(stable=True).tolist()
    return {"best": order[0], "median": order[(len(order) - 1) // 2], "worst": order[-1]}


class _Mean:
    def __init__(self, size: int) -> None:
        self._sum, self._count = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.int64)

    def add(self, terms: Terms) -> None:
        errors, counted = torch.where(terms.counted, terms.errors, 0.0).flatten(0, -2), terms.counted.flatten(0, -2)
        self._sum += errors.double().sum(dim=0).cpu()
        self._count += counted.sum(dim=0).cpu()

    def values(self) -> list[float]:
        return torch.where(self._count > 0, self._sum / self._count.clamp(min=1), torch.nan).tolist()


def _spread(wanted: int, available: int) -> list[int]:
    """Return at most ``wanted`` different indices below ``available``, spread evenly."""
    count = min(wanted, available)
    return [(2 * i + 1) * available // (2 * count) for i in range(count)]  # the middle of each of `count` equal parts
