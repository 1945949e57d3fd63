"""What makes MixSTE, KTPFormer and MotionAGFormer the networks of their papers."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from examples.backbones import KTPFormer, MixSTE, MotionAGFormer
from examples.backbones.ktp_former import PriorGraphConv
from examples.backbones.skeletons import H36M_PARENTS
from tests.backbones.probes import H36M_NEIGHBOURS, changed, randomise_batch_norms


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer])
def test_the_place_in_time_is_told_before_the_first_temporal_block(backbone):
    net = backbone.tiny(frames=4).eval()
    if backbone is KTPFormer:
        randomise_batch_norms(net)
    entering = {}
    for name in ("space", "time"):
        block = getattr(net, name)[0]
        block.register_forward_hook(lambda _, inputs, __, name=name: entering.update({name: inputs[0].clone()}))
    keypoints = torch.randn(1, 4, 17, 2)
    nn.init.zeros_(net.frame_position)
    net(keypoints)
    before = dict(entering)
    position = nn.init.normal_(net.frame_position).detach()
    net(keypoints)
    assert torch.equal(entering["space"], before["space"])
    torch.testing.assert_close(entering["time"] - before["time"], position.expand(1, 17, 4, 64))


def test_the_trajectory_prior_is_added_to_the_tokens():
    net = KTPFormer.tiny(frames=4).eval()
    outputs, entering = [], []
    net.space_norm.register_forward_hook(lambda _, __, output: outputs.append(output))
    net.time[0].register_forward_hook(lambda _, inputs, __: entering.append(inputs[0]))
    keypoints = torch.randn(1, 4, 17, 2)
    net(keypoints)
    tokens = outputs[0].transpose(1, 2)
    torch.testing.assert_close(entering[0], tokens + net.trajectory(tokens) + net.frame_position)
    assert not torch.allclose(entering[0], tokens)


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer, MotionAGFormer])
def test_positions_start_at_zero_as_the_authors_do_or_spread_as_told(backbone):
    assert not backbone(dim=16, heads=4).joint_position.any()
    assert backbone(dim=256, heads=4, depth=1, position_std=0.5).joint_position.std().item() == pytest.approx(
        0.5, rel=0.1
    )


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer])
def test_space_and_time_alternate(backbone):
    net = backbone.tiny(frames=4)
    seen = []
    for name in ("space", "time"):
        for block in getattr(net, name):
            block.register_forward_hook(lambda _, inputs, __, name=name: seen.append((name, inputs[0].shape[1:3])))
    net(torch.zeros(1, 4, 17, 2))
    assert seen == [("space", (4, 17)), ("time", (17, 4))] * len(net.space)


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer, MotionAGFormer])
def test_without_its_temporal_part_a_network_sees_each_frame_alone(backbone):
    net = backbone.tiny(channels=2, frames=4).eval()
    keypoints = torch.randn(1, 4, 17, 2)
    assert changed(net, keypoints, 2, dim=1) == {0, 1, 2, 3}
    silence(net, "time", "trajectory", "attention_time", "graph_time")
    assert changed(net, keypoints, 2, dim=1) == {2}
    assert changed(net, keypoints, 5, dim=2) == set(range(17))


@pytest.mark.parametrize("backbone", [MixSTE, KTPFormer, MotionAGFormer])
def test_without_its_spatial_part_a_network_sees_each_joint_alone(backbone):
    net = backbone.tiny(channels=2, frames=4).eval()
    silence(net, "space", "attention_space", "graph_space")
    if backbone is KTPFormer:
        net.kinematics = nn.Linear(2, 64)
    keypoints = torch.randn(1, 4, 17, 2)
    assert changed(net, keypoints, 5, dim=2) == {5}
    assert changed(net, keypoints, 2, dim=1) == {0, 1, 2, 3}


def silence(net, *names):
    """Make the parts of these names pass on their input; open up layer scales that start near zero."""
    for name, module in list(net.named_modules()):
        if name.rpartition(".")[2] in names:
            parent = net.get_submodule(name.rpartition(".")[0])
            single = not isinstance(module, nn.ModuleList)
            setattr(parent, name.rpartition(".")[2], nn.Identity() if single else nn.ModuleList(map(as_is, module)))
    for name, parameter in net.named_parameters():
        if name.endswith("_scale"):
            nn.init.ones_(parameter)


def as_is(_):
    return nn.Identity()


@pytest.mark.parametrize("parents", [H36M_PARENTS, (-1, 0, 1, 2)])
def test_prior_convolution_against_a_loop(parents):
    convolution, features = PriorGraphConv(2, 4, parents), torch.randn(3, len(parents), 2)
    nn.init.normal_(convolution.learned)
    nn.init.normal_(convolution.modulation)
    joints = range(len(parents))
    joined = [[float(parents[i] == j or parents[j] == i) for j in joints] for i in joints]
    prior = [[float(i == j) + joined[i][j] / sum(joined[i]) for j in joints] for i in joints]
    expected = torch.zeros(3, len(parents), 4)
    for i in joints:
        for j in joints:
            edge = (prior[i][j] + prior[j][i] + convolution.learned[i, j] + convolution.learned[j, i]) / 2
            matrix = convolution.own if i == j else convolution.others
            expected[:, i] += edge * convolution.modulation[j] * (features[:, j] @ matrix)
    torch.testing.assert_close(convolution(features), expected + convolution.bias)


def test_priors_are_the_skeleton_and_the_path_through_time():
    net = KTPFormer.tiny(frames=4)
    bones = {(i, j) for i, neighbours in H36M_NEIGHBOURS.items() for j in neighbours}
    assert set(map(tuple, net.kinematics.convolution.known.nonzero().tolist())) == bones | {(i, i) for i in range(17)}
    for layer in net.trajectory:
        steps = {(i, j) for i in range(4) for j in range(4) if abs(i - j) <= 1}
        assert set(map(tuple, layer.convolution.known.nonzero().tolist())) == steps


def test_motion_ag_former_joins_the_bones_and_the_most_similar_frames():
    net = MotionAGFormer.tiny(frames=6)
    layer = net.layers[0]
    weights = layer.graph_space.mixer.edges(torch.zeros(1, 6, 17, 48))
    for i in range(17):
        for j in range(17):
            degrees = len(H36M_NEIGHBOURS[i]) * len(H36M_NEIGHBOURS[j])
            assert weights[i, j].item() == pytest.approx(degrees**-0.5 if j in H36M_NEIGHBOURS[i] else 0.0)
    tokens = torch.randn(2, 17, 6, 48)
    weights = layer.graph_time.mixer.edges(tokens).numpy()
    products = np.einsum("bjtd,bjsd->bjts", tokens.numpy(), tokens.numpy())
    for row in np.ndindex(2, 17, 6):
        expected = np.zeros(6)
        expected[np.argsort(products[row])[-2:]] = 0.5
        np.testing.assert_allclose(weights[row], expected)


def test_motion_ag_former_streams_start_as_equals():
    net = MotionAGFormer.tiny(frames=3)
    shares = net.layers[0].fusion(torch.randn(4, 96)).softmax(dim=-1)
    assert torch.equal(shares, torch.full((4, 2), 0.5))


def test_motion_ag_former_adds_the_streams_by_their_shares():
    layer = MotionAGFormer.tiny(frames=3).layers[0]

    class Constant(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, tokens):
            return torch.full_like(tokens, self.value)

    layer.attention_time, layer.graph_time = Constant(1.0), Constant(3.0)
    tokens = torch.randn(2, 3, 17, 48)
    torch.testing.assert_close(layer(tokens), torch.full_like(tokens, 2.0))
    layer.fusion.bias.data = torch.tensor([math.log(3.0), 0.0])
    torch.testing.assert_close(layer(tokens), torch.full_like(tokens, 1.5))


def test_a_graph_convolution_of_motion_ag_former_against_a_loop():
    graph = MotionAGFormer((-1, 0, 1), dim=4, depth=1, heads=2).layers[0].graph_space.mixer.eval()
    randomise_batch_norms(graph)
    tokens = torch.randn(5, 2, 3, 4)
    root_half = 0.5**0.5
    others, own, norm = graph.others(tokens), graph.own(tokens), graph.norm
    gathered = torch.stack((others[..., 1, :], others[..., 0, :] + others[..., 2, :], others[..., 1, :]), dim=-2)
    mixed = root_half * gathered + own
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None]
    expected = tokens + (mixed - norm.running_mean[:, None]) * scale + norm.bias[:, None]
    torch.testing.assert_close(graph(tokens), expected.clamp(min=0))
