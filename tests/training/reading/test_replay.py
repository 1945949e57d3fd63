"""The recorded call once more: what it predicts, and that it leaves nothing behind."""

import copy

import pytest
import torch
from torch import nn

from seal_lightning import SealConfig, SealMixin
from tests import hosts
from tests.training.reading.styles import STYLES, seal


class SealHost(SealMixin, hosts.ForwardHost):
    pass


@pytest.fixture
def stepped():
    torch.manual_seed(0)
    model = SealHost(seal=SealConfig())  # batch norm and dropout
    model.log = lambda *args, **kwargs: None
    x, y = torch.randn(8, 17, 2), torch.randn(8, 17, 3)
    model.training_step((x, y), 0)
    return model, x


def state(model):
    return copy.deepcopy(model.state_dict()), torch.get_rng_state(), [module.training for module in model.modules()]


@pytest.mark.parametrize("eval_mode", [False, True])
def test_it_predicts_and_leaves_nothing_behind(stepped, eval_mode):
    model, x = stepped
    assert torch.equal(model.seal_replay_keypoints, x)
    other = torch.randn_like(x)
    before = state(model)
    prediction = model.seal_replay(other, eval_mode=eval_mode)
    after = state(model)
    assert all(torch.equal(before[0][key], after[0][key]) for key in before[0])
    assert torch.equal(before[1], after[1])
    assert before[2] == after[2]
    with torch.no_grad():
        expected = (model.eval() if eval_mode else model)(other)
    assert torch.equal(prediction, expected)
    assert not prediction.requires_grad


def test_a_buffer_that_is_replaced_comes_back(stepped):
    model, x = stepped

    class Counting(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner, self.weight = inner, nn.Parameter(torch.zeros(()))
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen = self.seen + 1
            return self.inner(x)

    model.net = Counting(model.net)
    model.training_step((x, torch.randn(8, 17, 3)), 0)
    model.seal_replay(x)
    assert model.net.seen == 1


@pytest.mark.parametrize("name", ["residual", "image_to_pose", "encoder_and_head"])
def test_where_the_call_alone_does_not_predict_it_says_so(name):
    model = seal(STYLES[name])
    model.training_step(STYLES[name].batch(), 1)
    with pytest.raises(ValueError, match="Expected a step whose network can be run once more, but the"):
        model.seal_replay(torch.zeros(8, 17, 2))


def test_keypoints_of_another_shape_are_refused(stepped):
    model, x = stepped
    with pytest.raises(ValueError, match=r"shape \(8, 17, 2\) of those of the step, but got \(4, 17, 2\)"):
        model.seal_replay(x[:4])


def test_before_any_step():
    with pytest.raises(RuntimeError, match="before `seal_replay`"):
        SealHost(seal=SealConfig()).seal_replay(torch.zeros(1))
