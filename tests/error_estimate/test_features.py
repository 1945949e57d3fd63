"""What the critic is shown beside its inputs, against the functions of the free scores and against closed forms."""

import math

import torch

from seal_lightning.error_estimate.features import BoneFeatures, reprojection_features
from seal_lightning.functional.label_free import joint_reprojection
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")


def test_bones_and_how_they_differ_from_left_to_right():
    arm = Skeleton(("neck", "l", "r", "head"), (-1, 0, 0, 0), left=(1,), right=(2,))
    pose = torch.tensor([[[1.0, 0.0, 0.0], [3.0, 0.0, 0.0], [1.0, 0.0, -8.0], [1.0, 1.0, 0.0]]])
    wanted = [[0.0, 0.0], [math.log(2), math.log(4)], [math.log(8), math.log(4)], [0.0, 0.0]]
    torch.testing.assert_close(BoneFeatures(arm)(pose), torch.tensor([wanted]))


def test_differences_are_those_of_the_reprojection_error():
    generator = torch.Generator().manual_seed(0)
    pose, keypoints = (torch.randn(5, 17, n, generator=generator) for n in (3, 2))
    keypoints = pose[..., :2] * 0.3 + 0.05 * keypoints + 2.0
    found = reprojection_features(pose, keypoints, None)
    torch.testing.assert_close(found[..., 2], found[..., :2].norm(dim=-1).log())
    # One is in units of the standard deviation of the keypoints, the other in percent of the larger side of their box.
    box = (keypoints.amax(1) - keypoints.amin(1)).amax(-1)
    size = (keypoints - keypoints.mean(1, keepdim=True)).square().sum(-1).mean(1).sqrt()
    length = found[..., :2].norm(dim=-1) * (size / box)[:, None]
    torch.testing.assert_close(100 * length, joint_reprojection(pose, keypoints), rtol=1e-4, atol=1e-4)


def test_joints_that_nobody_saw_do_not_move_the_camera():
    pose = torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0))
    keypoints, confidence = pose[..., :2].clone(), torch.ones(4, 17)
    confidence[:, 3] = 0.0
    keypoints[:, 3] += 1.0
    found = reprojection_features(pose, keypoints, confidence)[..., :2].norm(dim=-1)
    others = [joint for joint in range(17) if joint != 3]
    assert found[:, others].max() < 0.01 < 0.5 < found[:, 3].min()


def test_points_without_a_size_and_poses_without_bones_are_no_error():
    nothing = torch.zeros(2, 17, 3)
    for confidence in (None, torch.zeros(2, 17)):
        assert reprojection_features(nothing, nothing[..., :2], confidence).isfinite().all()
    assert BoneFeatures(H36M)(nothing).isfinite().all()
    pose, far = torch.randn(2, 17, 3), torch.full((2, 17, 2), 0.1)
    far[:, 5] = 1e6
    assert reprojection_features(pose, far, None).abs().max() < 10
