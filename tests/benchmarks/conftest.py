"""Toy files for the studies on real 2D keypoints."""

import numpy as np
import pytest

from benchmarks.real_2d import SUBJECTS
from seal_lightning.data import SyntheticMocap


@pytest.fixture
def recording(tmp_path):
    """Files like that of the sensor and that of the poses, with eight made-up people."""
    motion = SyntheticMocap(subjects=8, clips_per_subject=1, frames=12).generate()
    clips = {"clip_start": motion.clip_start, "clip_length": motion.clip_length}
    x, depth, up = np.moveaxis(motion.positions.astype(float), -1, 0)
    position = np.stack((x, 1000 - up, depth + 5000), axis=-1)
    keypoints = 1060 * position[..., :2] / position[..., 2:] + np.array([960, 540])
    np.savez(
        tmp_path / "kinect.npz",
        keypoints_2d=keypoints.astype(np.float32),
        positions_3d=position.astype(np.float32),
        subject=np.array(SUBJECTS),
        clip=np.array([f"clip of {subject}" for subject in SUBJECTS]),
        **clips,
    )
    people = np.array([f"u{subject}" for subject in SUBJECTS])
    np.savez(tmp_path / "uiprmd.npz", positions=motion.positions, skeleton_id=people, fps=25.0, **clips)
    return tmp_path
