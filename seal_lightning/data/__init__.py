"""Data: motion capture, real or synthetic, projected through cameras into batches for 2D-to-3D lifting."""

from __future__ import annotations

from seal_lightning.data.cameras import CameraRig, Cameras, look_at, normalize_screen
from seal_lightning.data.datamodule import MocapDataModule
from seal_lightning.data.dataset import Clips, DrawSampler, PoseDataset
from seal_lightning.data.draws import Draws
from seal_lightning.data.mocap import Mocap, read_mocap
from seal_lightning.data.noise import DetectorNoise
from seal_lightning.data.splits import MOCAP_SPLIT, resolve_split
from seal_lightning.data.synthetic import JOINT_LIMITS, SyntheticMocap
from seal_lightning.data.windows import resample, window_starts

__all__ = [
    "JOINT_LIMITS",
    "MOCAP_SPLIT",
    "CameraRig",
    "Cameras",
    "Clips",
    "DetectorNoise",
    "DrawSampler",
    "Draws",
    "Mocap",
    "MocapDataModule",
    "PoseDataset",
    "SyntheticMocap",
    "look_at",
    "normalize_screen",
    "read_mocap",
    "resample",
    "resolve_split",
    "window_starts",
]
