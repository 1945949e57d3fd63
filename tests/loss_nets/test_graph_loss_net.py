import math

import numpy as np
import pytest
import torch

from seal_lightning.loss_nets import GraphLossNet
from seal_lightning.loss_nets.graph import AttentionBias
from seal_lightning.skeleton import Skeleton, get_skeleton

# 0 is the middle; 1-2 the left arm, 3-4 the right arm, 5-6 a tail.
CROSS = Skeleton(("hub", "l1", "l2", "r1", "r2", "t1", "t2"), (-1, 0, 1, 0, 3, 0, 5), (1, 2), (3, 4))


def reference_bias(coefficients: dict[str, np.ndarray], skeleton: Skeleton, heads: int) -> np.ndarray:
    """Entry by entry, with hops found by walking up to the common ancestor."""
    count = skeleton.num_joints
    bias = np.zeros((heads, count + 1, count + 1))

    def ancestors(joint):
        path = [joint]
        while skeleton.parents[path[-1]] >= 0:
            path.append(skeleton.parents[path[-1]])
        return path

    def hops(a, b):
        up_a, up_b = ancestors(a), ancestors(b)
        return min(up_a.index(common) + up_b.index(common) for common in set(up_a) & set(up_b))

    for h in range(heads):
        c = {name: values[h] for name, values in coefficients.items()}
        bias[h, 0, 0] = c["graph_to_graph"]
        for i in range(count):
            bias[h, 0, i + 1] = c["graph_to_joints"]
            bias[h, i + 1, 0] = c["joints_to_graph"]
            for j in range(count):
                degree = sum(hops(j, k) == 1 for k in range(count))
                value = -c["hops"] * hops(i, j) + c["degree"] * degree
                if hops(i, j) > 1:
                    value += c["not_neighbours"]
                if hops(i, j) == 1:
                    child, direction = (i, "to_parent") if skeleton.parents[i] == j else (j, "to_child")
                    side = "left" if child in skeleton.left else "right" if child in skeleton.right else "middle"
                    value += c[f"{side}_{direction}"]
                bias[h, i + 1, j + 1] = value
    return bias


def scrambled(net: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter values that no symmetry of the start hides."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return net


@pytest.mark.parametrize("skeleton", [get_skeleton("h36m17"), CROSS], ids=["h36m17", "cross"])
def test_bias_matches_an_entry_by_entry_reference(skeleton):
    bias = scrambled(AttentionBias(skeleton, heads=3))
    coefficients = {name: values.detach().numpy() for name, values in zip(bias.names, bias.coefficients, strict=True)}
    assert len(coefficients) == 12
    np.testing.assert_allclose(bias().detach().numpy(), reference_bias(coefficients, skeleton, 3), rtol=1e-5, atol=1e-5)


def test_bias_starts_at_the_published_values():
    bias = AttentionBias(CROSS, heads=2)
    start = dict(zip(bias.names, bias.coefficients.tolist(), strict=True))
    published = {"hops": 0.8, "not_neighbours": -2.0, "degree": 0.2}
    assert start == {name: pytest.approx([published.get(name, 0.0)] * 2) for name in bias.names}
    # From the tip of the left arm: to itself, to its parent of degree 2, to the hub of degree 3 two bones away.
    expected = [0.2, -0.8 + 0.4, -1.6 - 2.0 + 0.6]
    torch.testing.assert_close(bias()[0, 3, [3, 2, 1]].tolist(), expected)


def test_relations_that_a_skeleton_lacks_are_left_out():
    pair = AttentionBias(Skeleton.from_parents([-1, 0]), heads=2)
    assert pair.names == (
        *("hops", "degree", "middle_to_parent", "middle_to_child"),
        *("graph_to_joints", "joints_to_graph", "graph_to_graph"),
    )
    assert AttentionBias(CROSS, heads=2, graph_only=True).names == ("graph_to_joints", "graph_to_graph")
    assert AttentionBias(CROSS, heads=2, graph_only=True)().shape == (2, 1, 8)


def reference_energy(net: GraphLossNet, keypoints: np.ndarray, pose: np.ndarray, depth: int, heads: int) -> float:
    """One sample, all tokens in all blocks, float64."""
    p = {name: value.detach().double().numpy() for name, value in net.named_parameters()}
    skeleton = net.skeleton

    def norm(x, weight, bias):
        return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) * weight + bias

    def gelu(x):
        return np.vectorize(lambda v: v * 0.5 * (1 + math.erf(v / math.sqrt(2))))(x)

    names = sorted(skeleton.names)
    rows = [p["graph_token"]]
    for j, name in enumerate(skeleton.names):
        token = np.concatenate([keypoints[j], [1.0], pose[j], p["joint_embedding"][names.index(name)]])
        rows.append(p["embed.weight"] @ token + p["embed.bias"])
    tokens = np.stack(rows)
    dim = tokens.shape[1]
    bias = reference_bias(
        dict(zip(net.attention_bias.names, p["attention_bias.coefficients"], strict=True)), skeleton, heads
    )
    for b in range(depth):
        w = {name.removeprefix(f"blocks.{b}."): value for name, value in p.items() if name.startswith(f"blocks.{b}.")}
        normed = norm(tokens, w["attention_norm.weight"], w["attention_norm.bias"])
        q, k, v = (normed @ part.T for part in np.split(w["query_key_value.weight"], 3))
        width = dim // heads
        attended = np.zeros_like(tokens)
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            logits = q[:, part] @ k[:, part].T / math.sqrt(width) + bias[h]
            attention = np.exp(logits - logits.max(-1, keepdims=True))
            attended[:, part] = attention / attention.sum(-1, keepdims=True) @ v[:, part]
        tokens = tokens + attended @ w["project.0.weight"].T + w["project.0.bias"]
        hidden = gelu(norm(tokens, w["mlp.0.weight"], w["mlp.0.bias"]) @ w["mlp.1.weight"].T + w["mlp.1.bias"])
        tokens = tokens + hidden @ w["mlp.4.weight"].T + w["mlp.4.bias"]
    return float(norm(tokens[0], p["head.norm.weight"], p["head.norm.bias"]) @ p["head.weight"] + p["head.bias"])


@pytest.mark.parametrize("depth", [2, 3])
def test_energy_matches_a_numpy_transformer(depth):
    torch.manual_seed(0)
    net = scrambled(GraphLossNet(CROSS, dim=12, depth=depth, heads=3, mlp_ratio=1.5))
    generator = torch.Generator().manual_seed(1)
    keypoints_2d = torch.randn(4, 7, 2, generator=generator)
    pose = torch.randn(4, 7, 3, generator=generator)
    expected = [
        reference_energy(net, k, y, depth, heads=3)
        for k, y in zip(keypoints_2d.double().numpy(), pose.double().numpy(), strict=True)
    ]
    np.testing.assert_allclose(net(keypoints_2d, pose).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_parameters_at_the_published_size():
    net = GraphLossNet("h36m17")
    block = 3 * 256**2 + 3 * (256**2 + 256) + 2 * 2 * 256
    embedding = 17 * 32 + 256 + 38 * 256 + 256
    relations, head = 12 * 8, 3 * 256 + 1
    assert sum(parameter.numel() for parameter in net.parameters()) == 6 * block + embedding + relations + head
    assert 2.3e6 < 6 * block + embedding + relations + head < 2.5e6


def test_the_bias_is_made_once_and_never_per_sample(monkeypatch):
    shapes = []
    add = torch.add

    def spy(bias, logits, alpha):
        shapes.append((bias.shape, logits.shape, bias.untyped_storage().data_ptr()))
        return add(bias, logits, alpha=alpha)

    monkeypatch.setattr(torch, "add", spy)
    GraphLossNet(CROSS, dim=16, depth=3, heads=4)(torch.zeros(5, 7, 2), torch.zeros(5, 7, 3))
    biases, logits, storages = zip(*shapes, strict=True)
    assert logits == ((5, 4, 8, 8), (5, 4, 8, 8), (5, 4, 1, 8))
    assert biases == ((4, 8, 8), (4, 8, 8), (4, 1, 8))
    assert len(set(storages)) == 1


def test_depth_counts_blocks_and_mlp_ratio_their_width():
    net = GraphLossNet(CROSS, dim=16, depth=4, heads=2, mlp_ratio=2.5)
    assert len(net.blocks) == 4
    assert net.blocks[0].mlp[1].out_features == 40
