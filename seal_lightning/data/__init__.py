"""Data for 2D-to-3D lifting: motion capture seen by cameras, recorded benchmarks, and keypoints of detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seal_lightning._lazy import lazy_names
from seal_lightning.skeleton.mapping import KeypointMapping, get_mapping

if TYPE_CHECKING:
    from seal_lightning.data.datamodules.h3wb import H3WBDataModule
    from seal_lightning.data.datamodules.human36m import Human36MDataModule
    from seal_lightning.data.datamodules.keypoint_file import KeypointFileDataModule
    from seal_lightning.data.datamodules.keypoints import KeypointsDataModule
    from seal_lightning.data.datamodules.mocap import MocapDataModule
    from seal_lightning.data.datamodules.mpi_inf_3dhp import MPIINF3DHPDataModule
    from seal_lightning.data.datamodules.recorded import RecordedDataModule, RecordedDataset, Recording
    from seal_lightning.data.datasets.poses import Clips, DrawSampler, PoseDataset
    from seal_lightning.data.datasets.splits import MOCAP_SPLIT, resolve_split
    from seal_lightning.data.datasets.synthetic import JOINT_LIMITS, SyntheticMocap
    from seal_lightning.data.formats.asf_amc import read_amc
    from seal_lightning.data.formats.bvh import read_bvh
    from seal_lightning.data.formats.detections import Detections, read_detections
    from seal_lightning.data.formats.mocap_npz import Mocap, read_mocap
    from seal_lightning.data.formats.motion import Motion
    from seal_lightning.data.formats.object_arrays import array_names, read_object
    from seal_lightning.data.views.augmentation import BoneAugmentation
    from seal_lightning.data.views.cameras import CameraRig, Cameras, look_at, normalize_screen
    from seal_lightning.data.views.draws import Draws
    from seal_lightning.data.views.human36m_cameras import H36MCamera, human36m_cameras
    from seal_lightning.data.views.noise import DetectorNoise
    from seal_lightning.data.views.robustness import KeypointCorruption
    from seal_lightning.data.windows import resample, window_starts

__all__ = [
    "JOINT_LIMITS",
    "MOCAP_SPLIT",
    "BoneAugmentation",
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

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BoneAugmentation": "views.augmentation",
        "CameraRig": "views.cameras",
        "Cameras": "views.cameras",
        "Clips": "datasets.poses",
        "Detections": "formats.detections",
        "DetectorNoise": "views.noise",
        "DrawSampler": "datasets.poses",
        "Draws": "views.draws",
        "H36MCamera": "views.human36m_cameras",
        "H3WBDataModule": "datamodules.h3wb",
        "Human36MDataModule": "datamodules.human36m",
        "JOINT_LIMITS": "datasets.synthetic",
        "KeypointCorruption": "views.robustness",
        "KeypointFileDataModule": "datamodules.keypoint_file",
        "KeypointsDataModule": "datamodules.keypoints",
        "MOCAP_SPLIT": "datasets.splits",
        "MPIINF3DHPDataModule": "datamodules.mpi_inf_3dhp",
        "Mocap": "formats.mocap_npz",
        "MocapDataModule": "datamodules.mocap",
        "Motion": "formats.motion",
        "PoseDataset": "datasets.poses",
        "RecordedDataModule": "datamodules.recorded",
        "RecordedDataset": "datamodules.recorded",
        "Recording": "datamodules.recorded",
        "SyntheticMocap": "datasets.synthetic",
        "array_names": "formats.object_arrays",
        "human36m_cameras": "views.human36m_cameras",
        "look_at": "views.cameras",
        "normalize_screen": "views.cameras",
        "read_amc": "formats.asf_amc",
        "read_bvh": "formats.bvh",
        "read_detections": "formats.detections",
        "read_mocap": "formats.mocap_npz",
        "read_object": "formats.object_arrays",
        "resample": "windows",
        "resolve_split": "datasets.splits",
        "window_starts": "windows",
    },
)
