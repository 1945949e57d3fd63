import math

import numpy as np
import torch
from torch import nn

from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.skeleton import Skeleton


def reference_energy(net: MLPLossNet, keypoints_2d: np.ndarray, pose: np.ndarray, stages: int) -> float:
    p = {name: value.detach().double().numpy() for name, value in net.named_parameters()}

    def norm(x, prefix):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * p[f"{prefix}.weight"] + p[f"{prefix}.bias"]

    def gelu(x):
        return np.array([v * 0.5 * (1 + math.erf(v / math.sqrt(2))) for v in x])

    features = []
    for name in sorted(net.skeleton.names):
        joint = net.skeleton.names.index(name)
        features += [*keypoints_2d[joint], 1.0, *pose[joint]]
    x = p["embed.weight"] @ np.array(features) + p["embed.bias"]
    for stage in range(stages):
        hidden = x
        for layer in (0, 4):
            weight, bias = (p[f"stages.{stage}.{layer + 3}.{kind}"] for kind in ("weight", "bias"))
            hidden = weight @ gelu(norm(hidden, f"stages.{stage}.{layer}")) + bias
        x = x + hidden
    return float(norm(x, "head.norm") @ p["head.weight"] + p["head.bias"])


def test_energy_matches_a_numpy_perceptron():
    torch.manual_seed(0)
    net = MLPLossNet(Skeleton(("c", "a", "b"), (-1, 0, 1)), hidden=10, stages=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    keypoints_2d = torch.randn(4, 3, 2, generator=generator)
    pose = torch.randn(4, 3, 3, generator=generator)
    expected = [
        reference_energy(net, k, y, stages=3)
        for k, y in zip(keypoints_2d.double().numpy(), pose.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(net(keypoints_2d, pose).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_parameters_at_the_published_size():
    net = MLPLossNet("h36m17")
    total = sum(parameter.numel() for parameter in net.parameters())
    assert total == (102 + 1) * 1024 + 2 * 2 * (1024**2 + 1024 + 2 * 1024) + 3 * 1024 + 1
    assert 4.2e6 < total < 4.4e6


def test_no_layer_mixes_the_samples_of_a_batch():
    mixing = (nn.BatchNorm1d, nn.SyncBatchNorm)
    assert not any(isinstance(module, mixing) for module in MLPLossNet("h36m17", hidden=8).modules())
