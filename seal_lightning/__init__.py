"""seal_lightning: a learned loss for structural plausibility, for any PyTorch Lightning pose model.

Names and rooms are imported when they are first asked for, so `SealLoss` alone never loads Lightning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from seal_lightning._lazy import lazy_names
from seal_lightning._version import __version__

if TYPE_CHECKING:
    from seal_lightning.loss.criterion import SealLoss
    from seal_lightning.loss.forces import ForceRatio
    from seal_lightning.loss.terms import EnergyTerm
    from seal_lightning.skeleton import Skeleton, get_skeleton
    from seal_lightning.training.batch import SealBatch
    from seal_lightning.training.config import SealConfig
    from seal_lightning.training.mixin import SealMixin

__all__ = [
    "EnergyTerm",
    "ForceRatio",
    "SealBatch",
    "SealConfig",
    "SealLoss",
    "SealMixin",
    "Skeleton",
    "__version__",
    "get_skeleton",
]

_ROOMS = (
    *("callbacks", "cli", "constraints", "data", "error_estimate", "evaluation", "functional", "loss"),
    *("loss_nets", "metrics", "negatives", "objectives", "plotting", "skeleton", "training"),
)

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        **dict.fromkeys(_ROOMS, ""),
        "EnergyTerm": "loss.terms",
        "ForceRatio": "loss.forces",
        "SealBatch": "training.batch",
        "SealConfig": "training.config",
        "SealLoss": "loss.criterion",
        "SealMixin": "training.mixin",
        "Skeleton": "skeleton",
        "get_skeleton": "skeleton",
    },
)
