"""How far the evaluated poses are from the nearest training pose, and which of them are near, farther and farthest."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seal_lightning.functional import procrustes_align

__all__ = ["BINS", "nearest_distances", "thirds"]

BINS = ("nearest third", "middle third", "farthest third")
_TRAINING_POSES = 10_000
_ROWS = 500  # evaluated poses that are compared at once


def nearest_distances(poses: Tensor, training: Tensor) -> Tensor:
    """Distance (N,) to the nearest training pose in millimetres, root mean square over the joints.

    All poses are first moved, turned and scaled to fit one training pose, so that neither the camera nor the size of a
    person counts.

    Args:
        poses: Poses (N, J, 3).
        training: Training poses (M, J, 3) in metres; at most 10,000 of them, evenly spaced, are compared with.
    """
    training = training[:: -(-len(training) // _TRAINING_POSES)]
    like = training[0] - training[0].mean(dim=0)
    fitted = procrustes_align(training, like.expand_as(training)).flatten(1)
    rows = procrustes_align(poses.to(training), like.expand(len(poses), -1, -1)).flatten(1).split(_ROWS)
    nearest = torch.cat([torch.cdist(part.double(), fitted.double()).amin(dim=1) for part in rows])
    return 1e3 * nearest / training.shape[1] ** 0.5


def thirds(distances: Tensor) -> NDArray[np.int64]:
    """Return the bin (N,) of every pose, as an index into `BINS`: each holds a third of the poses."""
    edges = np.quantile(distances.numpy(), [1 / 3, 2 / 3])
    return np.searchsorted(edges, distances.numpy(), side="right")
