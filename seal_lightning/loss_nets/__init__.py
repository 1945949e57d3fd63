"""Loss-nets: networks that assign an energy to a pose."""

from seal_lightning.loss_nets.base import LossNet
from seal_lightning.loss_nets.clip import ClipLossNet
from seal_lightning.loss_nets.graph import GraphLossNet
from seal_lightning.loss_nets.kcs import KCSLossNet
from seal_lightning.loss_nets.mlp import MLPLossNet
from seal_lightning.loss_nets.structure import StructureLossNet

__all__ = ["ClipLossNet", "GraphLossNet", "KCSLossNet", "LossNet", "MLPLossNet", "StructureLossNet"]
