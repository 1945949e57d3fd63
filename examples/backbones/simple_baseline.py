"""SimpleBaseline: a residual network of linear layers on single frames."""

from __future__ import annotations

from torch import Tensor

from examples.backbones.layers import check_keypoints
from examples.plain_lifter import SimpleBaseline as PlainSimpleBaseline

__all__ = ["SimpleBaseline"]


class SimpleBaseline(PlainSimpleBaseline):
    r"""The network of Martinez et al., 2017, a single frame in, its pose out, with the checks of the other backbones.

    4,296,755 parameters at 17 joints with 2 stages of width 1024; published: 4.29 M, for 16 joints. The wider network
    that is often run, 3 stages of width 2048, has 25,382,963.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        hidden: Width of the linear layers.
        stages: Number of residual stages.
        dropout: Dropout probability after every hidden layer.

    Reference:
        Martinez, Hossain, Romero, Little, "A simple yet effective baseline for 3d human pose estimation", ICCV 2017,
        https://arxiv.org/abs/1705.03098.
    """

    def __init__(
        self, num_joints: int = 17, channels: int = 2, hidden: int = 1024, stages: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__(num_joints, channels, hidden, stages, dropout)
        self.num_joints, self.channels = num_joints, channels

    @classmethod
    def tiny(cls, num_joints: int = 17, channels: int = 2) -> SimpleBaseline:
        """A size for the CPU: 0.29 M parameters."""
        return cls(num_joints, channels, hidden=256, stages=2, dropout=0.1)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift keypoints (B, J, channels) to poses (B, J, 3)."""
        check_keypoints(keypoints_2d, self.num_joints, self.channels)
        return super().forward(keypoints_2d)
