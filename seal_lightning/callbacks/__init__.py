"""Lightning callbacks that look at a SEAL training."""

from seal_lightning.callbacks.energy_monitor import EnergyMonitor
from seal_lightning.callbacks.pose_plot import PosePlot

__all__ = ["EnergyMonitor", "PosePlot"]
