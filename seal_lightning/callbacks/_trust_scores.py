"""How well the error estimate of a host tells the errors of a test's poses, beside scores that cost nothing."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seal_lightning.callbacks.error_estimate import Estimated
from seal_lightning.evaluation.calibration import Bin, assess, calibration_by_bin, risk_coverage
from seal_lightning.evaluation.free_scores import TrainingPoses, free_scores
from seal_lightning.functional import mpjpe
from seal_lightning.skeleton import Skeleton

__all__ = ["KEPT", "TrustScores"]

KEPT = (1.0, 0.95, 0.9, 0.8, 0.5)
"""Shares of the poses for which the mean error of those that are trusted most is reported."""


class TrustScores:
    """Estimated errors, free scores and true errors of poses, collected group by group.

    Args:
        skeleton: The joints.
        millimetres: Millimetres in the unit of the poses.
        training: Poses of the training; None leaves out the scores that know them.
    """

    def __init__(self, skeleton: Skeleton, millimetres: float, training: TrainingPoses | None = None) -> None:
        self.skeleton, self.millimetres, self.training = skeleton, millimetres, training
        self._rows: dict[str, list[dict[str, Tensor]]] = {}

    def add(self, groups: Mapping[str, Tensor], estimated: Estimated) -> None:
        """Take the poses of a step.

        Args:
            groups: Samples (B,) of every group, bool, by its name.
            estimated: What the critic says of them.
        """
        read = estimated.observed.read
        if read.target is None:
            return
        pose, target = estimated.pose.float(), read.target.float()
        error = mpjpe(pose, target, root=self.skeleton.root_joints, visibility=read.visibility, reduction="none")
        keypoints = read.keypoints.float()
        if read.visibility is not None:  # a joint that nobody saw counts as one of confidence 0
            sure = keypoints[..., 2:] if keypoints.shape[-1] == 3 else torch.ones_like(keypoints[..., :1])
            seen = read.visibility.bool().unsqueeze(-1)
            keypoints = torch.cat((keypoints[..., :2], sure), dim=-1).where(seen, 0.0)
        judged, seen_at, flip = (part.reshape(-1, *part.shape[-2:]) for part in (pose, keypoints, estimated.flip))
        rows = {
            "error": self.millimetres * error.flatten(),
            "bound": estimated.bounds.pose.flatten(),
            "estimate": estimated.errors.pose.flatten(),
            **free_scores(judged, seen_at, self.skeleton, mirrored=judged - flip.float(), training=self.training),
        }
        for name, members in groups.items():
            chosen = members if read.labelled is None else members & read.labelled
            frames = chosen.repeat_interleave(len(rows["error"]) // max(1, len(chosen)))
            frames = frames & rows["error"].isfinite()
            if frames.any():
                self._rows.setdefault(name, []).append({key: value[frames].cpu() for key, value in rows.items()})

    def compute(self) -> tuple[dict[str, dict[str, float]], list[Bin]]:
        """Values by group and name, and the calibration of the estimate over all poses.

        Of every score there is ``.../auroc``, how well it tells the worst tenth, and ``.../risk_50``, the mean error in
        millimetres of the half that it trusts most, likewise 80, 90, 95 and 100; of the estimate ``.../bias``, in
        percent of the mean error, and ``.../covered``, the share in percent of errors that are below their bound.
        """
        values, everything = dict[str, dict[str, float]](), list[dict[str, Tensor]]()
        for group, parts in self._rows.items():
            rows = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
            error, bound = rows.pop("error"), rows.pop("bound")
            everything.append({"error": error, "estimate": rows["estimate"]})
            found = values.setdefault(group, {})
            for name, score in rows.items():
                score = score.nan_to_num(0.0)
                found[f"{name}/auroc"] = assess(score, error).auroc
                risks = risk_coverage(score, error, KEPT)
                found |= {f"{name}/risk_{100 * kept:.0f}": risk for kept, risk in zip(KEPT, risks, strict=True)}
            found["estimate/bias"] = 100.0 * assess(rows["estimate"], error).bias
            covered = (error <= bound).float().masked_fill(bound.isnan(), torch.nan)
            found["estimate/covered"] = 100.0 * float(covered.mean())
        if not everything:
            return {}, []
        error, estimate = (torch.cat([part[name] for part in everything]) for name in ("error", "estimate"))
        return values, calibration_by_bin(estimate, error)
