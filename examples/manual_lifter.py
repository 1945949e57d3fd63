"""SEAL training written out by hand: two optimizers, stepped one after the other in the training step.

This is Lightning's manual optimization as the textbook has it, and it trains to the very same weights as `SealMixin`
over the automatic `LitLifter` does. What the style costs is why the mixin exists:

- `Trainer(gradient_clip_val=...)` and `Trainer(accumulate_grad_batches=...)` are refused;
- learning-rate schedulers stand still unless the step advances them;
- `global_step` counts the steps of both optimizers, so `max_steps` is reached in half the batches, and checkpoints
  that are written every n steps come twice as often;
- the loss-nets are in the `state_dict`, so a checkpoint does not fit the plain lifter.
"""

import lightning as L
import torch
from torch import Tensor
from torch.optim import Optimizer

from examples.plain_lifter import H36M_PARTNERS, Batch, SimpleBaseline, flip_averaged
from seal_lightning import SealLoss

__all__ = ["ManualLifter", "mean_joint_distance"]


def mean_joint_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean distance between predicted and true joints."""
    return (prediction - target).norm(dim=-1).mean()


class ManualLifter(L.LightningModule):
    """Trains `SimpleBaseline` on the mean joint distance and a learned energy.

    A batch is a dict with "keypoints_2d" (B, J, 2) and "target" (B, J, 3).

    Args:
        hidden: Width of the linear layers.
        stages: Number of residual stages.
        dropout: Dropout probability after every hidden layer.
        lr: Learning rate of the pose-net.
    """

    def __init__(self, hidden: int = 1024, stages: int = 2, dropout: float = 0.5, lr: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        self.net = SimpleBaseline(hidden=hidden, stages=stages, dropout=dropout)
        self.criterion = SealLoss("h36m17", task_loss=mean_joint_distance)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift (B, J, 2) keypoints to poses (B, J, 3)."""
        return self.net(keypoints_2d)

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One step of the loss-net, then one of the pose-net, which feels the new loss-net."""
        pose_optimizer, loss_net_optimizer = self.optimizers()
        keypoints_2d, target = batch["keypoints_2d"], batch["target"]
        prediction = self(keypoints_2d)

        with self.toggled_optimizer(loss_net_optimizer):
            ranking_loss = self.criterion.ranking_loss(prediction, target, keypoints_2d)
            loss_net_optimizer.zero_grad()
            self.manual_backward(ranking_loss)
            loss_net_optimizer.step()

        with self.toggled_optimizer(pose_optimizer):
            loss = self.criterion(prediction, target, keypoints_2d)
            pose_optimizer.zero_grad()
            self.manual_backward(loss)
            pose_optimizer.step()
        self.log("train_loss", loss, prog_bar=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the poses of one batch, averaged over its mirror image."""
        return flip_averaged(self, batch["keypoints_2d"], H36M_PARTNERS)

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam for the pose-net, and for the loss-net the optimizer that comes with its energy."""
        (energy,) = self.criterion.energies.values()
        pose_optimizer = torch.optim.Adam(self.net.parameters(), lr=self.hparams.lr)
        return [pose_optimizer, energy.optimizer(self.criterion.parameters())]
