import re

import pytest
import torch
from torch import Tensor, nn

from seal_lightning.loss_nets import LossNet
from seal_lightning.loss_nets.base import EnergyHead
from seal_lightning.skeleton import Skeleton


class SumLossNet(LossNet):
    """Ten times the summed keypoint channels plus the summed pose."""

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        assert keypoints_2d.shape == pose.shape == (leading.numel(), self.skeleton.num_joints, 3)
        return (10 * keypoints_2d.sum((1, 2)) + pose.sum((1, 2))).reshape(leading)


@pytest.fixture
def chain() -> Skeleton:
    return Skeleton.from_parents([-1, 0])


@pytest.mark.parametrize("leading", [(), (5,), (2, 3), (2, 3, 4), (0,)])
def test_leading_dimensions_come_back_in_order(chain, leading):
    pose = torch.randn(*leading, 2, 3, generator=torch.Generator().manual_seed(0))
    energy = SumLossNet(chain)(torch.zeros(*leading, 2, 2), pose)
    assert energy.shape == leading
    torch.testing.assert_close(energy, pose.sum((-1, -2)) + 20)  # two missing confidences of 1, ten times each


def test_given_confidence_is_used(chain):
    keypoints_2d = torch.zeros(4, 2, 3)
    keypoints_2d[..., 2] = 0.25
    torch.testing.assert_close(SumLossNet(chain)(keypoints_2d, torch.zeros(4, 2, 3)), torch.full((4,), 5.0))


def test_flatten_does_not_write_to_its_inputs(chain):
    keypoints_2d, pose = torch.zeros(4, 2, 2), torch.ones(4, 2, 3)
    SumLossNet(chain)(keypoints_2d, pose)
    assert keypoints_2d.shape == (4, 2, 2)
    assert not keypoints_2d.any()
    assert pose.eq(1).all()


def test_skeleton_by_name_and_as_object():
    assert SumLossNet("h36m17").skeleton.num_joints == 17
    own = Skeleton.from_parents([-1, 0, 0])
    assert SumLossNet(own).skeleton is own
    with pytest.raises(ValueError, match="Expected `skeleton` to be one of"):
        SumLossNet("nobody")


@pytest.mark.parametrize(
    ("keypoints_2d", "pose", "message"),
    [
        ((4, 2, 2), (4, 3, 3), "Expected `pose` to have shape (..., 2, 3), but got (4, 3, 3)."),
        ((4, 2, 2), (4, 2, 2), "Expected `pose` to have shape (..., 2, 3), but got (4, 2, 2)."),
        ((4, 2, 2), (4, 6), "Expected `pose` to have shape (..., 2, 3), but got (4, 6)."),
        (
            (4, 2, 4),
            (4, 2, 3),
            "Expected `keypoints_2d` to have shape (..., 2, 2) or (..., 2, 3), but got (4, 2, 4).",
        ),
        (
            (4, 3, 2),
            (4, 2, 3),
            "Expected `keypoints_2d` to have shape (..., 2, 2) or (..., 2, 3), but got (4, 3, 2).",
        ),
        (
            (1, 2, 2),
            (4, 2, 3),
            "Expected `keypoints_2d` and `pose` to have the same leading dimensions, but got (1, 2, 2) and (4, 2, 3).",
        ),
        (
            (4, 2, 2),
            (2, 2, 2, 3),
            "Expected `keypoints_2d` and `pose` to have the same leading dimensions, "
            "but got (4, 2, 2) and (2, 2, 2, 3).",
        ),
    ],
)
def test_wrong_shapes(chain, keypoints_2d, pose, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        SumLossNet(chain)(torch.zeros(keypoints_2d), torch.zeros(pose))


def test_the_base_class_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        LossNet("h36m17")


def test_head_keeps_what_bfloat16_would_round_away():
    torch.manual_seed(0)
    head = EnergyHead(8)
    nn.init.constant_(head.bias, 100.0)  # bfloat16 has steps of 0.5 here
    features = torch.randn(64, 8)
    expected = head(features)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.is_autocast_enabled("cpu")
        energy = head(features)
    assert torch.equal(energy, expected)
    assert (energy != energy.bfloat16().float()).any()


def test_head_widens_its_features_before_it_normalises_them():
    torch.manual_seed(0)
    head, features = EnergyHead(8), torch.randn(64, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(features), head(features.float()))
