"""Estimated beside true errors of a validation: how good the estimates are, and the factors that make them bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors

from seal_lightning import _distributed as ranks
from seal_lightning.error_estimate.critic import ErrorCritic, Errors
from seal_lightning.error_estimate.training import View, true_errors
from seal_lightning.evaluation.calibration import assess, conformal_factor
from seal_lightning.training.batch import SealBatch

__all__ = ["Calibration"]


class Calibration:
    """Collects the poses of an epoch, and calibrates a critic on them.

    Args:
        critic: The critic.
    """

    def __init__(self, critic: ErrorCritic) -> None:
        self.critic = critic
        # Group, estimated and true error of every pose that counts, then those of its joints, NaN where they do not.
        self._rows: list[Tensor] = []

    def add(self, pose: Tensor, errors: Errors, read: SealBatch, batch: Any) -> None:
        """Take the poses of a batch.

        Args:
            pose: The poses that were judged.
            errors: What the critic said.
            read: The step, for truth and masks.
            batch: The batch, for its entry ``group``.

        Raises:
            ValueError: If there is no truth.
        """
        if read.target is None:
            raise ValueError("Expected a target in the validation for ErrorEstimate, but got none.")
        true, counted, valid = true_errors(
            self.critic, View({"pose": pose}, read.target, read.visibility, read.labelled)
        )
        unit = self.critic.frame.bone_length * self.critic.millimetres
        group = _group(batch, len(read.prediction), pose.device)
        group = group.repeat_interleave(len(valid) // max(1, len(group)))
        columns = torch.stack((group, errors.pose.flatten(), true.pose * unit), dim=1)
        both = errors.joints.flatten(0, -2), true.joints * unit
        joints = (torch.where(counted > 0, part, torch.nan) for part in both)
        self._rows.append(torch.cat((columns, *joints), dim=1)[(valid > 0) & columns.isfinite().all(1)])

    def compute(self, device: torch.device) -> dict[str, float]:
        """Set the scale of the critic's estimates and the factors of its bounds, and return values to log.

        Both are of the poses of all processes.

        Args:
            device: Where processes exchange what they have.

        Returns:
            The values by name, the same on all processes; none where there are no poses.
        """
        width = 3 + 2 * self.critic.skeleton.num_joints
        rows = torch.cat([torch.zeros(0, width, device=device), *self._rows])
        if ranks.world_size() > 1:
            rows = torch.cat(gather_all_tensors(rows))
        return self._calibrate(rows.cpu()) if len(rows) else {}

    def _calibrate(self, rows: Tensor) -> dict[str, float]:
        group, estimate, error = rows[:, :3].unbind(1)
        joint_estimate, joint_error = rows[:, 3:].chunk(2, dim=1)
        counted = joint_error.isfinite()
        if len(self.critic.skeleton.root_joints) == 1:  # whose error is always zero
            counted[:, self.critic.skeleton.root_joints[0]] = False
        members = group[:, None].expand_as(counted)[counted]
        found = assess(estimate, error, group)
        pose = _factors(estimate, error, group)
        joints = _factors(joint_estimate[counted], joint_error[counted], members) if counted.any() else (1.0, torch.nan)
        scales, factors = (torch.tensor(part) for part in zip(pose, joints, strict=True))
        self.critic.scale.mul_(scales.to(self.critic.scale))  # the estimates had that of the validation before
        self.critic.factor_90.copy_(factors)
        return {"spearman": found.spearman, "auroc": found.auroc, "bias": found.bias, "factor_90": pose[1]}


def _factors(estimate: Tensor, error: Tensor, group: Tensor) -> tuple[float, float]:
    """What takes the bias from estimates, and what makes a bound of those without a bias."""
    ratio = 1.0 + assess(estimate, error, group).bias
    scale = 1.0 / ratio if 0.0 < ratio < math.inf else 1.0  # infinite where a person has no error at all
    return scale, conformal_factor(estimate, error, group) / scale


def _group(batch: Any, count: int, device: torch.device) -> Tensor:
    """The number of the person of each sample; 0 where the batch does not tell."""
    group = batch.get("group") if isinstance(batch, Mapping) else None
    known = isinstance(group, Tensor) and group.shape == (count,)
    return group.float() if known else torch.zeros(count, device=device)  # type: ignore[union-attr]
