"""Metrics of poses as `torchmetrics.Metric`: sums that stream over batches and sync over ranks.

Every metric takes ``update(prediction, target, visibility=None)``. In a `torchmetrics.MetricCollection` of your own
pass ``compute_groups=False``: otherwise metrics that agree on the first batch share one state from then on.
"""

from seal_lightning.metrics.accuracy import MPJPE, MPJVE, NMPJPE, PCK, PCKAUC, PMPJPE
from seal_lightning.metrics.collection import PoseMetrics
from seal_lightning.metrics.structure import (
    MPSCE,
    MPSSE,
    AsymmetryError,
    BodySegmentLengthError,
    LimbLengthError,
    LimbSymmetryError,
)
from seal_lightning.metrics.tail import ErrorTail

__all__ = [
    "MPJPE",
    "MPJVE",
    "MPSCE",
    "MPSSE",
    "NMPJPE",
    "PCK",
    "PCKAUC",
    "PMPJPE",
    "AsymmetryError",
    "BodySegmentLengthError",
    "ErrorTail",
    "LimbLengthError",
    "LimbSymmetryError",
    "PoseMetrics",
]
