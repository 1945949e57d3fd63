"""seal_lightning: a learned loss for structural plausibility, for any PyTorch Lightning pose model."""

from seal_lightning.batch import SealBatch
from seal_lightning.config import SealConfig
from seal_lightning.criterion import SealLoss
from seal_lightning.forces import ForceRatio
from seal_lightning.mixin import SealMixin
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.terms import EnergyTerm

__all__ = [
    "EnergyTerm",
    "ForceRatio",
    "SealBatch",
    "SealConfig",
    "SealLoss",
    "SealMixin",
    "Skeleton",
    "get_skeleton",
]
