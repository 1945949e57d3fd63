"""Free scores against their definitions in NumPy."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from seal_lightning.evaluation import TrainingPoses, free_scores, joint_free_scores
from seal_lightning.functional import limb_symmetry_error, reprojection_error
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture
def scene():
    generator = torch.Generator().manual_seed(0)
    poses = torch.randn(400, 17, 3, generator=generator).double()
    keypoints = torch.cat((poses[..., :2] + 0.1, torch.rand(400, 17, 1, generator=generator)), dim=-1)
    return poses, keypoints, TrainingPoses.of(poses[200:], H36M)


def test_every_score_is_its_definition(scene):
    poses, keypoints, training = scene
    pose, seen, mirrored = poses[:5], keypoints[:5], poses[5:10]
    scores = free_scores(pose, seen, "h36m17", mirrored=mirrored, training=training)
    expected = {
        "flip": (pose - mirrored).norm(dim=-1).mean(1),
        "reprojection": reprojection_error(pose, seen, reduction="none"),
        "asymmetry": limb_symmetry_error(pose, H36M, reduction="none"),
        "confidence": 1 - seen[..., 2].mean(1),
    }
    for name, values in expected.items():
        torch.testing.assert_close(scores[name], values, msg=name)
    child, parent = np.array(H36M.bones).T
    lengths = np.linalg.norm(poses.numpy()[:, child] - poses.numpy()[:, parent], axis=-1)
    usual = lengths[200:].mean(0)
    np.testing.assert_allclose(scores["bone deviation"], 100 * np.abs(lengths[:5] / usual - 1).mean(1))


def test_mahalanobis_is_that_of_scipy(scene):
    poses, _, training = scene
    free = (poses - poses[:, :1])[:, 1:].numpy().reshape(400, 48)  # the root is at zero
    mean, covariance = free[200:].mean(0), np.cov(free[200:].T)
    expected = [mahalanobis(x, mean, np.linalg.inv(covariance)) / np.sqrt(51) for x in free[:5]]
    np.testing.assert_allclose(training.distance(poses[:5]), expected, rtol=0.02)  # the ridge shrinks it a little
    one = slice(3 * 4, 3 * 5)
    expected = [mahalanobis(x[one], mean[one], np.linalg.inv(covariance[one, one])) / np.sqrt(3) for x in free[:5]]
    np.testing.assert_allclose(training.joint_distance(poses[:5])[:, 5], expected, rtol=0.01)
    assert (training.joint_distance(poses[:5])[:, 0] == 0).all()


def test_joints_have_the_scores_whose_mean_the_pose_has(scene):
    poses, keypoints, training = scene
    keypoints[0, 3, 2] = 0.0  # a joint that nobody saw has no reprojection
    options = {"mirrored": poses[10:20], "training": training}
    pose = free_scores(poses[:10], keypoints[:10], H36M, **options)
    joint = joint_free_scores(poses[:10], keypoints[:10], H36M, **options)
    assert pose.keys() == joint.keys()
    assert joint["reprojection"][0].isnan().tolist() == [index == 3 for index in range(17)]
    for name in ("flip", "reprojection", "confidence"):
        torch.testing.assert_close(pose[name], joint[name].nanmean(dim=1))
    torch.testing.assert_close(pose["asymmetry"], joint["asymmetry"].sum(1) / 12)
    torch.testing.assert_close(pose["bone deviation"], joint["bone deviation"].sum(1) / 16)


def test_nothing_is_made_up_where_something_is_not_given(scene):
    poses, keypoints, _ = scene
    assert list(free_scores(poses, keypoints[..., :2], H36M)) == ["reprojection", "asymmetry"]
    with pytest.raises(ValueError, match="Expected `poses` to have shape"):
        TrainingPoses.of(poses[:1], H36M)
    with pytest.raises(ValueError, match="17 joints"):
        free_scores(poses[:, :16], keypoints[:, :16], H36M)
