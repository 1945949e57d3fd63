"""What an estimate is good for: weights in smoothing clips, and in joining two views."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.rivals import errors
from benchmarks.error_estimate.stored import Arrays
from benchmarks.error_estimate.study import CLIP
from seal_lightning.functional import fuse_views, smooth

__all__ = ["fusion", "smoothing"]

SIGMAS = (2.0, 3.0, 5.0)  # frames
POWERS = (1.0, 2.0, 4.0)
Table: TypeAlias = dict[str, dict[str, float]]
Weights: TypeAlias = Mapping[str, Tensor]


def smoothing(run: Mapping[str, Arrays], weights: Mapping[str, Weights]) -> Table:
    """MPJPE of smoothed clips by how joints are weighted; width and power are chosen on the validation clips.

    Args:
        run: What is stored of a host.
        weights: Weights (N, J) of the joints by data set and name.
    """
    table: Table = {"as predicted": {}}
    for data in ("clips clean", "clips mixed"):
        table["as predicted"][data] = _error(torch.from_numpy(run[data]["pose"]), run[data])
    for name in weights["clips val"]:
        powers = POWERS if name not in ("equal",) else (1.0,)
        choice = min(
            product(SIGMAS, powers),
            key=lambda how: _smoothed(run["clips val"], weights["clips val"][name], *how),
        )
        table[name] = {
            data: _smoothed(run[data], weights[data][name], *choice) for data in ("clips clean", "clips mixed")
        }
    return table


def fusion(run: Mapping[str, Arrays], weights: Mapping[str, Weights]) -> Table:
    """MPJPE of two views joined, by how joints are weighted; the square of the weights counts.

    Args:
        run: What is stored of a host.
        weights: Weights (N, J) of the joints by data set and name.
    """
    table: Table = {}
    for data in ("views clean", "views mixed"):
        arrays = run[data]
        pose, target = (torch.from_numpy(arrays[name]).double().unflatten(0, (-1, 2)) for name in ("pose", "target"))
        table.setdefault("one view", {})[data] = _error(torch.from_numpy(arrays["pose"]), arrays)
        # How the second camera is turned against the first follows from the same pose in both frames.
        turn = torch.stack([_rotation(first, second) for first, second in target])
        for name, weight in weights[data].items():
            pairs = weight.double().square().unflatten(0, (-1, 2))
            joined = torch.stack(
                [
                    fuse_views(both, torch.stack((torch.eye(3).double(), rotation)), trust)
                    for both, rotation, trust in zip(pose, turn, pairs, strict=True)
                ]
            )
            group = arrays["group"].reshape(-1, 2)[:, 0]
            first_view = {"target": target[:, 0].float().numpy(), "group": group}
            table.setdefault(name, {})[data] = _error(joined.float(), first_view)
    return table


def _smoothed(arrays: Arrays, weight: Tensor, sigma: float, power: float) -> float:
    clips = torch.from_numpy(arrays["pose"]).unflatten(0, (-1, CLIP))
    result = smooth(clips, weight.pow(power).unflatten(0, (-1, CLIP)), sigma=sigma)
    return _error(result.flatten(0, 1), arrays)


def _error(pose: Tensor, arrays: Arrays) -> float:
    error, _ = errors(pose.numpy(), arrays)
    group = torch.from_numpy(arrays["group"])
    return float(np.mean([float(error[group == one].mean()) for one in group.unique()]))


def _rotation(first: Tensor, second: Tensor) -> Tensor:
    """The rotation that takes the joints of the first frame (J, 3) to those of the second."""
    u, _, vt = torch.linalg.svd(second.mT @ first)
    flip = torch.diag(torch.tensor([1.0, 1.0, float(torch.linalg.det(u @ vt))], dtype=u.dtype))
    rotation: Tensor = u @ flip @ vt
    return rotation
