"""The parts that backbones share, and the default skeleton."""

import math

import numpy as np
import pytest
import torch

from examples.backbones import PSTMO, KTPFormer, MixSTE, SemGCN
from examples.backbones.layers import DropPath, SelfAttention
from examples.backbones.skeletons import H36M_LEFT, H36M_PARENTS, H36M_RIGHT
from tests.backbones.probes import H36M_NEIGHBOURS, empty


def test_default_skeleton_is_human36m_with_mirrored_sides():
    for joint, neighbours in H36M_NEIGHBOURS.items():
        parent = H36M_PARENTS[joint]
        assert neighbours == {other for other, above in enumerate(H36M_PARENTS) if above == joint} | ({parent} - {-1})
    for left, right in zip(H36M_LEFT, H36M_RIGHT, strict=True):
        assert len(H36M_NEIGHBOURS[left]) == len(H36M_NEIGHBOURS[right])


def test_attention_is_the_softmax_of_scaled_products():
    attention = SelfAttention(6, heads=2, bias=True)
    tokens = torch.randn(2, 3, 4, 6)
    query, key, value = attention.query_key_value(tokens).chunk(3, dim=-1)
    mixed = torch.empty(2, 3, 4, 6)
    for head in (slice(0, 3), slice(3, 6)):
        for row in np.ndindex(2, 3):
            logits = query[row][:, head] @ key[row][:, head].T / math.sqrt(3)
            mixed[row][:, head] = torch.exp(logits) / torch.exp(logits).sum(1, keepdim=True) @ value[row][:, head]
    torch.testing.assert_close(attention(tokens), attention.output(mixed))


def test_attention_drops_weights_in_training_only():
    attention, tokens = SelfAttention(8, heads=2, dropout=0.5), torch.randn(2, 5, 8)
    assert not torch.equal(attention(tokens), attention(tokens))
    attention.eval()
    assert torch.equal(attention(tokens), attention(tokens))


def test_blocks_carry_over_what_their_branches_leave_out():
    tokens = torch.randn(2, 9, 64)
    block = MixSTE.tiny().space[0]
    empty(block.attention.output, block.mlp[-1])
    assert torch.equal(block(tokens), tokens)
    block = PSTMO.tiny().layers[0]
    empty(block.attention.output, block.merge)
    assert torch.equal(block(tokens), tokens)
    block = SemGCN((-1, 0), hidden=8).layers[1]
    empty(block.layers[1].norm)
    features = torch.randn(2, 2, 8)
    assert torch.equal(block(features), features)
    encoder = PSTMO.tiny().frame_mlp.eval()
    frames = torch.randn(2, 9, 34)
    empty(encoder.residual[1][1])
    torch.testing.assert_close(encoder(frames), encoder.output(encoder.widen(frames.flatten(0, 1))).view(2, 9, 64))


def test_drop_path_drops_whole_rows_and_keeps_the_mean():
    branch = torch.ones(40, 50, 3, 2)
    dropped = DropPath(0.25)(branch)
    rows = dropped.flatten(2)
    assert torch.equal(rows.amin(dim=2), rows.amax(dim=2))
    assert rows.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(branch), branch)


def test_drop_path_grows_with_depth():
    for net in (MixSTE(dim=8, depth=3, heads=2, frames=3), KTPFormer(dim=8, depth=2, heads=2, frames=3)):
        assert [block.drop_path.probability for block in net.time] == [0.0, 0.05, 0.1]
