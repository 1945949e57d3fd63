"""What makes SimpleBaseline and SemGCN the networks of their papers, against loops that share no code with them."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from examples.backbones import SemGCN, SimpleBaseline
from examples.backbones.sem_gcn import SemanticGraphConv, joint_pairs
from examples.backbones.skeletons import H36M_PARENTS
from examples.plain_lifter import SimpleBaseline as PlainSimpleBaseline
from tests.backbones.probes import H36M_NEIGHBOURS, changed, randomise_batch_norms


def test_simple_baseline_is_the_plain_lifters_network():
    net, plain = SimpleBaseline(hidden=32), PlainSimpleBaseline(hidden=32)
    plain.load_state_dict(net.state_dict())
    keypoints = torch.randn(3, 17, 2)
    assert torch.equal(net.eval()(keypoints), plain.eval()(keypoints))


@pytest.mark.parametrize("joint", range(17))
def test_semantic_convolution_reaches_exactly_the_neighbours(joint):
    convolution = SemanticGraphConv(2, 4, H36M_PARENTS)
    assert changed(convolution, torch.randn(1, 17, 2), joint, dim=1) == H36M_NEIGHBOURS[joint] | {joint}


def test_semantic_convolution_against_a_loop():
    convolution, features = SemanticGraphConv(2, 4, H36M_PARENTS), torch.randn(3, 17, 2)
    nn.init.normal_(convolution.edge_logits)
    weights = convolution.edge_weights()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(17))
    edges = [(i, j) for i in range(17) for j in range(17) if j == i or j in H36M_NEIGHBOURS[i]]
    logits = dict(zip(edges, convolution.edge_logits.tolist(), strict=True))
    expected = torch.zeros(3, 17, 4)
    for i, j in edges:
        total = sum(math.exp(logit) for (row, _), logit in logits.items() if row == i)
        matrix = convolution.own if i == j else convolution.others
        expected[:, i] += math.exp(logits[i, j]) / total * features[:, j] @ matrix
    torch.testing.assert_close(convolution(features), expected + convolution.bias)


def test_only_non_local_layers_join_what_no_bone_joins():
    keypoints = torch.randn(1, 17, 2)
    for non_local in (False, True):
        net = SemGCN(hidden=16, blocks=0, non_local=non_local).eval()
        randomise_batch_norms(net)
        # Two graph convolutions reach two bones from the hand.
        assert changed(net, keypoints, 16, dim=1) == (set(range(17)) if non_local else {14, 15, 16})


def test_a_non_local_layer_starts_as_the_identity():
    net, keypoints = SemGCN(hidden=16, non_local=True).eval(), torch.randn(1, 17, 2)
    plain = SemGCN(hidden=16).eval()
    convolutions = [layer for layer in net.layers if "_NonLocal" not in type(layer).__name__]
    assert len(net.layers) - len(convolutions) == 5
    plain.layers, plain.output = nn.Sequential(*convolutions), net.output
    assert torch.equal(net(keypoints), plain(keypoints))


def test_a_non_local_layer_against_a_loop():
    layer = SemGCN((-1, 0, 1, 2, 3), hidden=6, non_local=True).layers[1].eval()
    randomise_batch_norms(layer)
    features = torch.randn(2, 5, 6)
    query, key, value = layer.query(features), layer.key(features), layer.value(features)
    pairs = [(3, 4), (1, 2), (0, 0)]
    seen = torch.zeros(2, 5, 3)
    for sample, joint in np.ndindex(2, 5):
        for one, other in pairs:
            score = layer.query_score(query[sample, joint])
            score = score + layer.key_score(torch.maximum(key[sample, one], key[sample, other]))
            seen[sample, joint] += score.clamp(min=0) * torch.maximum(value[sample, one], value[sample, other]) / 3
    expected = features + layer.norm(layer.output(seen).flatten(0, 1)).view(2, 5, 6)
    torch.testing.assert_close(layer(features), expected)


def test_joints_are_pooled_along_the_limbs():
    pairs = {frozenset(pair) for pair in joint_pairs(H36M_PARENTS)}
    limbs = {(2, 3), (5, 6), (7, 8), (9, 10), (12, 13), (15, 16)}
    assert pairs == {frozenset(pair) for pair in limbs | {(1, 4), (11, 14), (0, 0)}}


@pytest.mark.parametrize("parents", [(-1,), (-1, 0), (1, 2, -1), (-1, 0, 0, 0), (-1, 0, 1, 2, 3, 4), (-1, -1, 0)])
def test_every_joint_is_pooled_once(parents):
    joints = sorted(joint for pair in joint_pairs(parents) for joint in set(pair))
    assert joints == list(range(len(parents)))
