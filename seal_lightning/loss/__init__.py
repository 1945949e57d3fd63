"""`SealLoss` and what it is made of: all of SEAL without Lightning. `seal_lightning` itself hands the names on."""

from seal_lightning.loss.criterion import SealLoss
from seal_lightning.loss.forces import ForceRatio
from seal_lightning.loss.terms import EnergyTerm

__all__ = ["EnergyTerm", "ForceRatio", "SealLoss"]
