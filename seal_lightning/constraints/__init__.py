"""Explicit constraints on a prediction: the hand-written rivals of a learned loss."""

from seal_lightning.constraints.in_training import constrain
from seal_lightning.constraints.losses import (
    BoneDirectionConstraint,
    BoneLengthConstraint,
    Constraint,
    PairwiseDistanceConstraint,
    SymmetryConstraint,
    TemporalVarianceConstraint,
)
from seal_lightning.constraints.pose_pca import PosePCAConstraint

__all__ = [
    "BoneDirectionConstraint",
    "BoneLengthConstraint",
    "Constraint",
    "PairwiseDistanceConstraint",
    "PosePCAConstraint",
    "SymmetryConstraint",
    "TemporalVarianceConstraint",
    "constrain",
]
