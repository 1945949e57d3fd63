"""What is kept of a finished host: its predictions for every data set, and what the critic says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.error_estimate.hosts import Heteroscedastic
from seal_lightning.functional import mirror_keypoints, mirror_poses
from seal_lightning.skeleton import get_skeleton

__all__ = ["Arrays", "predict", "run_file"]

Arrays = dict[str, np.ndarray[Any, Any]]
Estimate = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

H36M = get_skeleton("h36m17")
PASSES = 4  # forwards with dropout


def run_file(folder: Path, host: str, fold: int, seed: int) -> Path:
    """The file of a run."""
    return folder / f"{host.replace(' ', '_')}-{fold}-{seed}.npz"


@torch.no_grad()
def predict(host: Any, loader: Any, estimate: Estimate | None, centre: bool) -> Arrays:
    """Predict all batches of a loader.

    Args:
        host: The host, in evaluation mode.
        loader: Batches of keypoints, target and group.
        estimate: The critic: from keypoints (N, J, 3) and the poses of both views (N, J, 3) to errors (N,) and (N, J).
        centre: Whether the host predicts a window's centre frame.

    Returns:
        Arrays over all frames N: ``keypoints`` (N, J, 3), ``target``, ``pose``, the mean of the two views, and
        ``single`` and ``mirrored``, the two views, (N, J, 3), in metres relative to the root; ``group`` (N,);
        ``dropout`` (N, J), how much the forwards with dropout differ; ``head`` (N, J), what a heteroscedastic host
        says; ``critic`` (N,) and ``critic_joint`` (N, J).
    """
    parts: list[dict[str, Tensor]] = []
    for batch in loader:
        keypoints = batch["keypoints_2d"]
        single = host(keypoints)
        mirrored = mirror_poses(host(mirror_keypoints(keypoints, H36M)), H36M)
        pose = (single + mirrored) / 2
        seen = keypoints[:, keypoints.shape[1] // 2] if centre else keypoints
        frames = {"keypoints": seen, "target": batch["target"], "pose": pose, "single": single, "mirrored": mirrored}
        rows = {name: values.reshape(-1, 17, 3) for name, values in frames.items()}
        # Every sample as often as it has frames with a target.
        rows["group"] = batch["group"].repeat_interleave(len(rows["pose"]) // len(batch["group"]))
        rows["dropout"] = _dropout(host, keypoints, rows["pose"])
        if isinstance(host, Heteroscedastic):
            rows["head"] = host.both(keypoints)[1].reshape(-1, 17)
        if estimate is not None:
            rows["critic"], rows["critic_joint"] = estimate(rows["keypoints"], rows["single"], rows["mirrored"])
        parts.append(rows)
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}


def _dropout(host: nn.Module, keypoints: Tensor, pose: Tensor) -> Tensor:
    """Distance of predictions with dropout from their mean, on average, shape (N, J) as that of poses (N, J, 3)."""
    layers = [module for module in host.modules() if isinstance(module, nn.Dropout)]
    if not any(layer.p for layer in layers):
        return pose.new_zeros(pose.shape[:-1])
    for layer in layers:
        layer.train()
    poses = torch.stack([host(keypoints) for _ in range(PASSES)])
    for layer in layers:
        layer.eval()
    return (poses - poses.mean(dim=0)).norm(dim=-1).mean(dim=0).reshape(-1, 17)
