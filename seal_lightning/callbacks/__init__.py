"""Lightning callbacks that watch a training, estimate errors, score a test, and draw or write predictions."""

from seal_lightning.callbacks.benchmark_scores import BenchmarkScores
from seal_lightning.callbacks.collapse_monitor import CollapseMonitor
from seal_lightning.callbacks.energy_monitor import EnergyMonitor
from seal_lightning.callbacks.error_estimate import ErrorEstimate
from seal_lightning.callbacks.metric_directions import MetricDirections
from seal_lightning.callbacks.pose_plot import PosePlot
from seal_lightning.callbacks.pose_report import PoseReport
from seal_lightning.callbacks.pose_writer import PoseWriter
from seal_lightning.callbacks.seal_summary import SealSummary
from seal_lightning.callbacks.structure_metrics import StructureMetrics
from seal_lightning.callbacks.training_watch import TrainingWatch

__all__ = [
    "BenchmarkScores",
    "CollapseMonitor",
    "EnergyMonitor",
    "ErrorEstimate",
    "MetricDirections",
    "PosePlot",
    "PoseReport",
    "PoseWriter",
    "SealSummary",
    "StructureMetrics",
    "TrainingWatch",
]
