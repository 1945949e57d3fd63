"""The synthetic motion is anatomically sane."""

import numpy as np
import pytest

from seal_lightning.data import JOINT_LIMITS, SyntheticMocap
from seal_lightning.skeleton import get_skeleton

PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)
PAIRS = ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))  # right, left


@pytest.fixture(scope="module")
def mocap():
    return SyntheticMocap(subjects=6, clips_per_subject=12, frames=60, seed=3).generate()


def by_subject(mocap):
    return mocap.positions.reshape(6, -1, 17, 3).astype(np.float64)


def lengths(poses):
    return np.stack([np.linalg.norm(poses[..., j, :] - poses[..., PARENTS[j], :], axis=-1) for j in range(1, 17)], -1)


def bend(poses, a, b, c):
    """Angle in degrees between the bones a-b and b-c: 0 when stretched."""
    first, second = poses[..., b, :] - poses[..., a, :], poses[..., c, :] - poses[..., b, :]
    cosine = (first * second).sum(-1) / np.linalg.norm(first, axis=-1) / np.linalg.norm(second, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def test_shape_and_ids(mocap):
    assert mocap.positions.shape == (6 * 12 * 60, 17, 3)
    assert mocap.name == "synthetic"
    assert mocap.skeleton_id.tolist() == [f"y{s:02d}" for s in range(1, 7) for _ in range(12)]
    assert mocap.fps == 25.0


def test_bone_lengths_are_a_subjects_own(mocap):
    bones = lengths(by_subject(mocap))
    assert bones.std(axis=1).max() < 1e-3  # millimetres
    means = bones.mean(axis=1)
    assert np.unique(means[:, 1].round(1)).size == 6
    stature = means[:, [1, 2, 6, 7, 8, 9]].sum(axis=1)
    assert 0.02 < stature.std() / stature.mean() < 0.12


def test_left_and_right_differ_by_one_to_two_percent(mocap):
    means = lengths(by_subject(mocap)).mean(axis=1)
    for right, left in PAIRS:
        pair = means[:, right - 1], means[:, left - 1]
        difference = (pair[1] - pair[0]) / (0.5 * (pair[0] + pair[1]))
        assert ((np.abs(difference) >= 0.01 - 1e-5) & (np.abs(difference) <= 0.02 + 1e-5)).all()
        assert np.unique(difference.round(5)).size == 6


def test_hinges_stay_within_limits_and_bend_one_way(mocap):
    poses = by_subject(mocap)
    right_axis = poses[..., 1, :] - poses[..., 4, :]
    for hip, knee, ankle in ((1, 2, 3), (4, 5, 6)):
        angle = bend(poses, hip, knee, ankle)
        assert angle.min() >= JOINT_LIMITS["knee"][0]
        assert 60 < angle.max() <= JOINT_LIMITS["knee"][1]
        thigh, shank = poses[..., knee, :] - poses[..., hip, :], poses[..., ankle, :] - poses[..., knee, :]
        assert ((np.cross(thigh, shank) * right_axis).sum(-1) <= 0).all()  # shanks fold to the back
    for shoulder, elbow, wrist in ((14, 15, 16), (11, 12, 13)):
        angle = bend(poses, shoulder, elbow, wrist)
        assert 90 < angle.max() <= JOINT_LIMITS["elbow"][1]


def test_people_are_upright_and_stand_on_the_floor(mocap):
    poses = by_subject(mocap)
    height = poses[..., 2]
    assert (height[..., 10] > height[..., 0]).all()  # head above hip
    np.testing.assert_allclose(height[..., [3, 6]].min(axis=-1), 80.0, atol=1e-2)  # the lower ankle
    assert height.min() > 0.0
    assert height.max() < 2600.0


def test_motion_is_smooth_and_moves(mocap):
    clips = mocap.positions.reshape(72, 60, 17, 3)
    relative = clips - clips[:, :, :1]
    speed = np.linalg.norm(np.diff(relative, axis=1), axis=-1) * 25.0
    assert 50.0 < speed.mean() < 1000.0  # mm/s
    assert speed.max() < 8000.0
    spread = relative.std(axis=(0, 1)).mean()
    assert spread > 60.0


def test_poses_are_not_mirrored(mocap):
    poses = by_subject(mocap)
    front = np.cross(poses[..., 8, :] - poses[..., 0, :], poses[..., 1, :] - poses[..., 4, :])
    nose = poses[..., 9, :] - poses[..., 8, :]
    assert ((front * nose).sum(-1) > 0).mean() > 0.95
    assert get_skeleton("h36m17").names[1] == "RHip"


def test_seeds():
    options = {"subjects": 2, "clips_per_subject": 2, "frames": 5}
    first = SyntheticMocap(**options, seed=1).generate().positions
    np.testing.assert_array_equal(first, SyntheticMocap(**options, seed=1).generate().positions)
    assert np.abs(first - SyntheticMocap(**options, seed=2).generate().positions).mean() > 10.0
    more = SyntheticMocap(**options | {"subjects": 3}, seed=1).generate().positions
    np.testing.assert_array_equal(first, more[: len(first)])


def test_global_random_state_is_untouched():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    SyntheticMocap(subjects=1, clips_per_subject=1, frames=2).generate()
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("name", ["subjects", "clips_per_subject", "frames", "fps"])
def test_wrong_numbers(name):
    with pytest.raises(ValueError, match=rf"Expected `{name}` to be positive, but got 0\."):
        SyntheticMocap(**{name: 0})


def test_wrong_seed():
    with pytest.raises(ValueError, match=r"Expected `seed` to be 0 or more, but got -1\."):
        SyntheticMocap(seed=-1)
