"""Mirror images against a loop that shares no code, and what they leave as it is."""

import numpy as np
import pytest
import torch

from seal_lightning.functional import bone_lengths, limb_symmetry_error, mirror_keypoints, mirror_poses
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


def by_hand(joints, width=None):
    mirrored = np.array(joints)
    for joint in range(joints.shape[-2]):
        partner = joint
        if joint in H36M.left:
            partner = H36M.right[H36M.left.index(joint)]
        elif joint in H36M.right:
            partner = H36M.left[H36M.right.index(joint)]
        mirrored[..., joint, :] = joints[..., partner, :]
        mirrored[..., joint, 0] = (0 if width is None else width) - joints[..., partner, 0]
    return mirrored


@pytest.mark.parametrize("shape", [(17,), (4, 17), (2, 5, 17)])
@pytest.mark.parametrize("width", [None, 1.0, 640.0])
def test_as_by_hand(shape, width):
    keypoints, pose = torch.rand(*shape, 3), torch.randn(*shape, 3)
    mirrored = mirror_keypoints(keypoints, "h36m17", image_width=width)
    np.testing.assert_array_equal(mirrored, by_hand(keypoints.numpy(), width))
    np.testing.assert_array_equal(mirror_keypoints(keypoints[..., :2], H36M, image_width=width), mirrored[..., :2])
    np.testing.assert_array_equal(mirror_poses(pose, H36M), by_hand(pose.numpy()))


def test_twice_is_the_original_and_the_body_stays_a_body():
    pose, keypoints = torch.randn(4, 17, 3), torch.rand(4, 17, 3)
    assert torch.equal(mirror_poses(mirror_poses(pose, H36M), H36M), pose)
    again = mirror_keypoints(mirror_keypoints(keypoints, H36M, image_width=2.0), H36M, image_width=2.0)
    torch.testing.assert_close(again, keypoints)
    mirrored = mirror_poses(pose, H36M)
    torch.testing.assert_close(limb_symmetry_error(mirrored, H36M), limb_symmetry_error(pose, H36M))
    left, right = zip(*H36M.paired_bones, strict=True)
    torch.testing.assert_close(bone_lengths(mirrored, H36M)[:, list(left)], bone_lengths(pose, H36M)[:, list(right)])


def test_shapes_that_do_not_fit_are_told():
    with pytest.raises(ValueError, match=r"shape \(..., 17, 2\) or \(..., 17, 3\), but got \(4, 16, 2\)"):
        mirror_keypoints(torch.zeros(4, 16, 2), H36M)
    with pytest.raises(ValueError, match=r"Expected `pose` to have 17 joints like the skeleton"):
        mirror_poses(torch.zeros(4, 16, 3), H36M)
