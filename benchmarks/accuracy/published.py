"""The published recipe: its loss-nets, its margin and its host, as public training scripts write them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from examples.plain_lifter import Batch, LitLifter, mirror
from seal_lightning.loss_nets import GraphLossNet, LossNet
from seal_lightning.objectives import Objective
from seal_lightning.skeleton import Skeleton

__all__ = ["METRES", "BatchMarginObjective", "PublishedGraphLossNet", "PublishedLifter", "PublishedMLPLossNet"]

METRES = 0.255
"""Mean bone length of the training split of UI-PRMD and CMU, in metres."""


class PublishedMLPLossNet(LossNet):
    """A residual perceptron with ReLU and dropout, without normalisation, that sees keypoints and poses in metres.

    Args:
        skeleton: Skeleton of the poses.
        hidden: Width of its layers; 1024 as published.
        stages: Residual stages of two layers.
        dropout: Probability of dropping a feature after every hidden layer.
    """

    def __init__(self, skeleton: str | Skeleton, hidden: int = 1024, stages: int = 2, dropout: float = 0.5) -> None:
        super().__init__(skeleton)

        def layer(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(dropout))

        self.widen = layer(5 * self.skeleton.num_joints)
        self.stages = nn.ModuleList(nn.Sequential(layer(hidden), layer(hidden)) for _ in range(stages))
        self.output = nn.Linear(hidden, 1)

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies (...) of poses (..., J, 3), in mean bone lengths, given keypoints (..., J, 2 or 3)."""
        keypoints_2d, pose, leading = self.flatten(keypoints_2d, pose)
        features: Tensor = self.widen(torch.cat([keypoints_2d[..., :2], METRES * pose], dim=-1).flatten(1))
        for stage in self.stages:
            features = features + stage(features)
        energy: Tensor = self.output(features)
        return energy.reshape(leading)


class PublishedGraphLossNet(GraphLossNet):
    """The graph transformer, which sees poses in metres; its attention biases are per head, the published shared."""

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies (...) of poses (..., J, 3), in mean bone lengths, given keypoints (..., J, 2 or 3)."""
        return super().forward(keypoints_2d, METRES * pose)


@dataclass(frozen=True)
class BatchMarginObjective(Objective):
    """Keep every negative above its truth by one margin for the whole batch: the mean distance, in metres."""

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses (N,)."""
        return F.relu(METRES * distance.mean() - energy_negative + energy_true).mean(0)


class PublishedLifter(LitLifter):
    """A `LitLifter` with the published training: half of the samples mirrored, and a rate that decays exponentially.

    Args:
        task: "mse", the mean square of all coordinates, or "mpjpe".
        final_rate: Learning rate at the end, as a share of that at the start.
        arguments: Arguments of `LitLifter`.
    """

    def __init__(self, task: Literal["mse", "mpjpe"] = "mse", final_rate: float = 0.05, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.task, self.final_rate = task, final_rate

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step."""
        keypoints_2d, target = batch["keypoints_2d"], batch["target"]
        chosen = torch.rand(len(target), 1, 1, device=target.device) < 0.5
        keypoints_2d = torch.where(chosen, mirror(keypoints_2d, self.partners), keypoints_2d)
        target = torch.where(chosen, mirror(target, self.partners), target)
        error = self(keypoints_2d) - target
        loss = error.square().mean() if self.task == "mse" else error.norm(dim=-1).mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam, its learning rate lowered by the same factor in every step."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        factor = self.final_rate ** (1 / int(self.trainer.estimated_stepping_batches))
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
