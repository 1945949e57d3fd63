"""`KCSLossNet` sees the products of all bone vectors; its other promises are those of every loss-net."""

import numpy as np
import pytest
import torch

from seal_lightning.loss_nets import KCSLossNet
from seal_lightning.skeleton import get_skeleton


def seen(pose, keypoints_2d, skeleton="h36m17"):
    """What reaches the first layer of either path."""
    net = KCSLossNet(skeleton, hidden=8, pose_hidden=4)
    inputs = []
    for path in net.paths:
        path[0].register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    net(keypoints_2d, pose)
    return inputs


def test_inputs_against_the_matrix_of_the_paper():
    skeleton = get_skeleton("h36m17")
    pose, keypoints_2d = torch.randn(5, 17, 3), torch.randn(5, 17, 2)
    joints, gram = seen(pose, keypoints_2d)
    order = sorted(range(17), key=skeleton.names.__getitem__)
    incidence = np.zeros((17, 16))  # a column a bone: +1 at its child, -1 at its parent
    for column, child in enumerate(joint for joint in order if skeleton.parents[joint] >= 0):
        incidence[child, column], incidence[skeleton.parents[child], column] = 1, -1
    for n in range(5):
        bones = pose[n].double().numpy().T @ incidence
        psi = bones.T @ bones
        expected = [psi[i, j] for i in range(16) for j in range(i, 16)]
        np.testing.assert_allclose(gram[n].numpy(), expected, rtol=1e-4, atol=1e-5)
        expected = [value for joint in order for value in (*keypoints_2d[n, joint], 1.0, *pose[n, joint])]
        np.testing.assert_allclose(joints[n].numpy(), np.array(expected), rtol=1e-6)


def test_the_matrix_turns_neither_with_the_body_nor_with_its_mirror_image():
    pose, keypoints_2d = torch.randn(3, 17, 3), torch.randn(3, 17, 2)
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    for moved in (pose @ turn.T, pose * torch.tensor([-1.0, 1.0, 1.0]), pose + torch.randn(3, 1, 3)):
        torch.testing.assert_close(seen(moved, keypoints_2d)[1], seen(pose, keypoints_2d)[1], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(seen(1.1 * pose, keypoints_2d)[1], seen(pose, keypoints_2d)[1], atol=0.1)


def test_published_size():
    net = KCSLossNet("h36m17")
    sizes = [(layer.in_features, layer.out_features) for layer in net.modules() if isinstance(layer, torch.nn.Linear)]
    assert sizes == [(102, 100), (100, 100), (100, 100), (136, 1000), (1000, 1000), (1000, 1000), (1100, 100)]


@pytest.mark.parametrize("sizes", [{"hidden": 0}, {"pose_hidden": -1}, {"hidden": 1.5}])
def test_errors(sizes):
    (name,) = sizes
    with pytest.raises(ValueError, match=f"Expected `{name}` to be a positive integer, but got {sizes[name]}"):
        KCSLossNet("h36m17", **sizes)
