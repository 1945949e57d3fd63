"""Every style of host is read right, or sits out with a word, or stops with an error that names the remedy."""

import warnings

import pytest
import torch

from tests.training.reading.styles import ERROR, RIGHT, SILENT, STYLES, J, seal

REMEDY = r"Override `seal_batch\(self, batch, inputs, output\)`"


def same(read, used):
    if used is None:
        return not read.abs().sum()
    return torch.equal(read.detach().reshape(-1), used.detach().reshape(-1).to(read))


def force_ratio(total, task, prediction):
    """The energy's pull over the task's, both felt by the prediction, in the mean over the samples."""
    pulls = []
    for value in (total - task, task):
        (gradient,) = torch.autograd.grad(value, prediction, retain_graph=True)
        pulls.append(gradient.float().flatten(1).norm(dim=1).mean())
    return float(pulls[0] / pulls[1])


@pytest.mark.parametrize("name", STYLES)
def test_a_style(name):
    host = STYLES[name]
    model = seal(host)
    batch = host.batch()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if host.expected == ERROR:
            with pytest.raises(ValueError, match=REMEDY):
                model.training_step(batch, 0)
            return
        for i in range(3):
            total = model.training_step(batch, i)
            if host.expected == SILENT:
                assert total is model.task
                continue
            x, prediction, truth = model.used
            read = model.seal_captured
            assert same(read.prediction, prediction)
            assert same(read.target, truth)
            assert same(read.keypoints_2d, x)
            assert read.prediction.shape[-2:] == (J, 3)
            assert force_ratio(total, model.task, prediction) == pytest.approx(0.1, rel=0.05)
            assert float(model.seal.stats["force_ratio"]) == pytest.approx(0.1, rel=1e-3)
            total.backward()
    words = [str(warning.message) for warning in caught]
    assert any("no energy joined it" in word for word in words) == (host.expected == SILENT)
    assert (model.seal_reading is None) == (host.expected == SILENT)
    if host.expected == RIGHT:
        assert model.seal_reading.startswith("SEAL reads: keypoints = ")
        assert "none" in model.seal_reading if model.used[0] is None else "batch" in model.seal_reading
    assert model.seal_calls == []
