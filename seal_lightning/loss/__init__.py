"""`SealLoss` and its parts: all of SEAL that needs no Lightning. Import the names from `seal_lightning` itself."""

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import EnergyTerm

__all__ = ["EnergyTerm", "ForceRatio", "SealLoss"]
