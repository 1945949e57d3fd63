"""Data: motion capture, real or synthetic, projected through cameras into batches for 2D-to-3D lifting."""

from __future__ import annotations

from seal_lightning.data.asf_amc import read_amc
from seal_lightning.data.bvh import read_bvh
from seal_lightning.data.cameras import CameraRig, Cameras, look_at, normalize_screen
from seal_lightning.data.datamodule import MocapDataModule
from seal_lightning.data.dataset import Clips, DrawSampler, PoseDataset
from seal_lightning.data.detections import Detections, read_detections
from seal_lightning.data.draws import Draws
from seal_lightning.data.h3wb import H3WBDataModule
from seal_lightning.data.human36m import Human36MDataModule
from seal_lightning.data.human36m_cameras import H36MCamera, human36m_cameras
from seal_lightning.data.keypoint_file import KeypointFileDataModule
from seal_lightning.data.keypoints import KeypointsDataModule
from seal_lightning.data.mapping import KeypointMapping, get_mapping
from seal_lightning.data.mocap import Mocap, read_mocap
from seal_lightning.data.motion import Motion
from seal_lightning.data.mpi_inf_3dhp import MPIINF3DHPDataModule
from seal_lightning.data.noise import DetectorNoise
from seal_lightning.data.object_arrays import array_names, read_object
from seal_lightning.data.recorded import RecordedDataModule, RecordedDataset, Recording
from seal_lightning.data.robustness import KeypointCorruption
from seal_lightning.data.splits import MOCAP_SPLIT, resolve_split
from seal_lightning.data.synthetic import JOINT_LIMITS, SyntheticMocap
from seal_lightning.data.windows import resample, window_starts

__all__ = [
    "JOINT_LIMITS",
    "MOCAP_SPLIT",
    "CameraRig",
    "Cameras",
    "Clips",
    "Detections",
    "DetectorNoise",
    "DrawSampler",
    "Draws",
    "H3WBDataModule",
    "H36MCamera",
    "Human36MDataModule",
    "KeypointCorruption",
    "KeypointFileDataModule",
    "KeypointMapping",
    "KeypointsDataModule",
    "MPIINF3DHPDataModule",
    "Mocap",
    "MocapDataModule",
    "Motion",
    "PoseDataset",
    "RecordedDataModule",
    "RecordedDataset",
    "Recording",
    "SyntheticMocap",
    "array_names",
    "get_mapping",
    "human36m_cameras",
    "look_at",
    "normalize_screen",
    "read_amc",
    "read_bvh",
    "read_detections",
    "read_mocap",
    "read_object",
    "resample",
    "resolve_split",
    "window_starts",
]
