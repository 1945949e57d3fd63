"""Operands that are given by name are followed as those that are given by their place."""

import pytest
import torch

from tests.training.reading.test_what_counts import KNOWN, SEEN, X, Y, assert_right, error, run

SAME = {
    "add": lambda p, y: torch.add(input=error(p, y).mean(), other=error(2 * p, 2 * y).mean()),
    "neg": lambda p, y: torch.add(input=p, other=torch.neg(input=y)).abs().mean(),
    "sub": lambda p, y: torch.sub(input=p, other=y).abs().mean(),
    "alpha": lambda p, y: torch.add(input=p, other=y, alpha=-1).abs().mean(),
    "unsqueeze": lambda p, y: error(torch.unsqueeze(input=p, dim=1), torch.unsqueeze(input=y, dim=1)).mean(),
    "flatten": lambda p, y: error(torch.flatten(input=p, start_dim=1), torch.flatten(input=y, start_dim=1)).mean(),
    "detach": lambda p, y: error(p, torch.detach(input=y)).mean(),
    "select": lambda p, y: sum((p[..., k] - torch.select(input=y, dim=-1, index=k)).abs().mean() for k in range(3)),
    "split": lambda p, y: sum(
        (a - b).abs().mean()
        for a, b in zip(p.split(1, -1), torch.split(tensor=y, split_size_or_sections=1, dim=-1), strict=True)
    ),
    "diff": lambda p, y: error(p, y).mean() + error(torch.diff(input=p, dim=1), torch.diff(input=y, dim=1)).mean(),
    "cosine": lambda p, y: -torch.cosine_similarity(x1=p, x2=y, dim=-1).mean(),
    "embedding": lambda p, y: torch.nn.functional.cosine_embedding_loss(
        input1=p.flatten(1), input2=y.flatten(1), target=torch.ones(len(p))
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_operands_by_name(name):
    def loss(host, b, i):
        prediction = host.net(b[0])
        host.uses(b[0], prediction, b[1])
        return SAME[name](prediction, b[1])

    assert_right(loss)


MASKED = {
    "where": lambda e, m: torch.where(condition=m, input=e, other=torch.zeros(())).mean(),
    "masked_fill": lambda e, m: torch.masked_fill(input=e, mask=~m, value=0.0).mean(),
    "masked_select": lambda e, m: torch.masked_select(input=e, mask=m).mean(),
    "mul": lambda e, m: torch.mul(input=m.float(), other=e).mean(),
}


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("mask", [SEEN, KNOWN], ids=["joints", "samples"])
def test_masks_by_name(name, mask):
    spread = mask if mask.dim() == 2 else mask[:, None]
    _, read, _ = run(lambda host, b, i: MASKED[name](error(host.net(b[0]), b[1]), b[2]), (X, Y, spread))
    assert torch.equal(read.visibility if mask.dim() == 2 else read.labelled, mask)
