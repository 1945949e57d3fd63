"""Metrics of poses as `torchmetrics.Metric`: sums that stream over batches and sync over processes.

Every metric takes ``update(prediction, target, visibility=None)``.
"""

from seal_lightning.metrics.accuracy import MPJPE, NMPJPE, PCK, PCKAUC, PMPJPE
from seal_lightning.metrics.collection import PoseMetrics
from seal_lightning.metrics.motion import MPJVE, AccelerationError
from seal_lightning.metrics.structure import (
    MPSCE,
    MPSSE,
    AsymmetryError,
    BodySegmentLengthError,
    LimbLengthError,
    LimbSymmetryError,
)
from seal_lightning.metrics.tail import ErrorCVaR, ErrorPercentile, ErrorTail

__all__ = [
    "MPJPE",
    "MPJVE",
    "MPSCE",
    "MPSSE",
    "NMPJPE",
    "PCK",
    "PCKAUC",
    "PMPJPE",
    "AccelerationError",
    "AsymmetryError",
    "BodySegmentLengthError",
    "ErrorCVaR",
    "ErrorPercentile",
    "ErrorTail",
    "LimbLengthError",
    "LimbSymmetryError",
    "PoseMetrics",
]
