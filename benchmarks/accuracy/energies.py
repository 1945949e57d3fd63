"""What trained energies know of damaged poses, and how much of it they take from the 2D keypoints."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from seal_lightning.evaluation.corruptions import energy_report
from seal_lightning.functional import mpjpe

__all__ = ["KEYPOINTS", "energy_knowledge"]

KEYPOINTS = ("their own", "zero", "of another pose")
"""The keypoints that an energy is shown with a pose."""


@torch.no_grad()
def energy_knowledge(model: Any, data: Any) -> dict[str, dict[str, Any]]:
    """Measure on validation how well every energy sees damage to poses, and what is left of it without the keypoints.

    Args:
        model: A trained SEAL model.
        data: Its LightningDataModule.

    Returns:
        Under "knowledge" the scores of `energy_report` by the name of the energy. Under "keypoints", by the name of the
        energy and then by what it was shown (`KEYPOINTS`), the mean AUROC over the kinds of damage at their worst, and
        Spearman's correlation of the energy of predictions with their MPJPE.
    """
    batches = list(data.val_dataloader())
    truths = torch.cat([batch["target"].flatten(0, -3) for batch in batches])
    predictions = torch.cat([model(batch["keypoints_2d"]).flatten(0, -3) for batch in batches])
    keypoints_2d = torch.cat([_scored_frames(batch).flatten(0, -3) for batch in batches])
    other = torch.randperm(len(truths), generator=torch.Generator().manual_seed(0))
    shown = dict(zip(KEYPOINTS, (keypoints_2d, torch.zeros_like(keypoints_2d), keypoints_2d[other]), strict=True))
    errors = mpjpe(predictions, truths, root=data.skeleton.root_joints, reduction="none")
    knowledge: dict[str, Any] = {}
    use: dict[str, Any] = {}
    for name in model.seal.energies:

        def energy(keypoints_2d: Tensor, poses: Tensor, name: str = name) -> Tensor:
            scored: Tensor = model.seal.energy(poses, keypoints_2d)[name]
            return scored

        use[name] = {}
        for label, keypoints in shown.items():
            scores = energy_report(energy, keypoints, truths, data.skeleton)
            if label == KEYPOINTS[0]:
                knowledge[name] = {kind: asdict(score) for kind, score in scores.items()}
            use[name][label] = {
                "auroc": sum(score.auroc[-1] for score in scores.values()) / len(scores),
                "spearman_mpjpe": float(spearmanr(energy(keypoints, predictions), errors).statistic),
            }
    return {"knowledge": knowledge, "keypoints": use}


def _scored_frames(batch: dict[str, Tensor]) -> Tensor:
    """Return the keypoints of the frames that have a target: all frames of a window, or only its centre."""
    keypoints_2d = batch["keypoints_2d"]
    if keypoints_2d.dim() == batch["target"].dim():
        return keypoints_2d
    return keypoints_2d[:, keypoints_2d.shape[1] // 2]
