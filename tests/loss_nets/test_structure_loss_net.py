"""`StructureLossNet` sees what it says it sees, and nothing else."""

import pytest
import torch
from torch import nn

from seal_lightning.loss_nets import StructureLossNet
from seal_lightning.skeleton import get_skeleton


def seen(pose, keypoints_2d=None):
    """The features that reach the first layer."""
    net = StructureLossNet("h36m17", hidden=8, depth=1)
    features = []
    net.layers[0].register_forward_pre_hook(lambda module, args: features.append(args[0]))
    net(torch.zeros(1, 17, 2) if keypoints_2d is None else keypoints_2d, pose)
    return features[0][0], net


def test_features_against_loops():
    skeleton = get_skeleton("h36m17")
    torch.manual_seed(0)
    pose, keypoints_2d = torch.randn(1, 17, 3), torch.randn(1, 17, 2)
    features, net = seen(pose, keypoints_2d)
    names, (joints,) = skeleton.names, pose.tolist()
    vector, length = {}, {}
    for child, parent in skeleton.bones:
        vector[child] = [a - b for a, b in zip(joints[child], joints[parent], strict=True)]
        length[child] = sum(value**2 for value in vector[child]) ** 0.5
    order = sorted(vector, key=names.__getitem__)
    expected = [value for child in order for value in vector[child]]
    expected += [3 * torch.tensor(length[child]).log().item() for child in order]
    for left in sorted(skeleton.left, key=names.__getitem__):
        right = skeleton.right[skeleton.left.index(left)]
        expected.append(10 * torch.tensor(length[left] / length[right]).log().item())
    for child in order:
        parent = skeleton.parents[child]
        if parent in vector:
            dot = sum(a * b for a, b in zip(vector[child], vector[parent], strict=True))
            expected.append(dot / length[child] / length[parent])
    for joint in sorted(range(17), key=names.__getitem__):
        expected += [*keypoints_2d[0, joint].tolist(), 1.0]
    torch.testing.assert_close(features, torch.tensor(expected), rtol=1e-4, atol=1e-5)
    assert net.layers[0].in_features == len(expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_depth_is_the_number_of_hidden_layers(depth):
    net = StructureLossNet("coco17", hidden=8, depth=depth)
    assert sum(isinstance(layer, nn.Linear) for layer in net.layers) == depth


@pytest.mark.parametrize("sizes", [{"hidden": 0}, {"depth": 0}, {"depth": 1.5}])
def test_errors(sizes):
    (name,) = sizes
    with pytest.raises(ValueError, match=f"Expected `{name}` to be a positive integer, but got {sizes[name]}"):
        StructureLossNet("h36m17", **sizes)
