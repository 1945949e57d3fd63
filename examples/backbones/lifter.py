"""A plain Lightning module that trains any of the backbones. It knows nothing of any learned loss."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn

from examples.backbones.losses import MPJPE
from examples.backbones.skeletons import H36M_LEFT, H36M_RIGHT

__all__ = ["LitLifter"]

Batch = dict[str, Tensor]


class LitLifter(L.LightningModule):
    """Trains a lifting network.

    A batch is a dict with "keypoints_2d" (B, J, 2), or (B, J, 3) with confidences, and "target" (B, J, 3); windows of
    T frames are (B, T, J, ...). A network without `frames` lifts windows frame by frame. One with `centre_frame_only`
    predicts a window's centre frame, and is trained and tested on that frame of the target; where it also gives the
    poses of all frames in training (`pop_sequence`), the loss on these is added. Mirroring turns the sign of x, so x
    must be zero on the image's middle line and on the camera's axis. Errors are logged in the unit of the targets.

    Args:
        net: The network, keypoints in and poses out.
        loss: The training loss of (prediction, target). None is the mean joint distance.
        optimizer: Makes the optimizer of the network's parameters.
        lr_scheduler: Makes the schedule of the optimizer's learning rate. None keeps it constant.
        lr_interval: Whether the schedule goes on with every epoch or every step.
        flip_augmentation: Whether half of the training samples, drawn anew every time, are mirrored.
        flip_test: Whether outside training the mirrored keypoints are lifted too, and the two poses averaged.
        left: Left joints, in the order of their partners in `right`. The default is that of Human3.6M.
        right: Right joints.
    """

    left: Tensor
    right: Tensor

    def __init__(
        self,
        net: nn.Module,
        loss: nn.Module | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        lr_interval: Literal["epoch", "step"] = "epoch",
        flip_augmentation: bool = True,
        flip_test: bool = True,
        left: Sequence[int] = H36M_LEFT,
        right: Sequence[int] = H36M_RIGHT,
    ) -> None:
        super().__init__()
        self.net = net
        self.loss = MPJPE() if loss is None else loss
        self.optimizer, self.lr_scheduler, self.lr_interval = optimizer, lr_scheduler, lr_interval
        self.flip_augmentation, self.flip_test = flip_augmentation, flip_test
        self.register_buffer("left", torch.tensor(left, dtype=torch.long), persistent=False)
        self.register_buffer("right", torch.tensor(right, dtype=torch.long), persistent=False)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift keypoints (B[, T], J, 2|3) to poses (B[, T], J, 3)."""
        if self.training or not self.flip_test:
            return self._lift(keypoints_2d)
        return (self._lift(keypoints_2d) + self.mirror(self._lift(self.mirror(keypoints_2d)))) / 2

    def mirror(self, joints: Tensor) -> Tensor:
        """Mirror keypoints (..., J, 2|3) or poses (..., J, 3): turn the sign of x and swap left and right joints."""
        swapped = joints.index_copy(-2, self.left, joints.index_select(-2, self.right))
        swapped = swapped.index_copy(-2, self.right, joints.index_select(-2, self.left))
        return torch.cat((-swapped[..., :1], swapped[..., 1:]), dim=-1)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mirror half of a training batch, and pick the target's centre frame for a network that predicts only that.

        This is done before the steps, so that batch and prediction belong together in them.
        """
        batch = dict(batch)
        if self.flip_augmentation and self.trainer.training:
            chosen = torch.rand(len(batch["target"]), device=batch["target"].device) < 0.5
            for name in ("keypoints_2d", "target"):
                chosen_rows = chosen.view(-1, *[1] * (batch[name].dim() - 1))
                batch[name] = torch.where(chosen_rows, self.mirror(batch[name]), batch[name])
        if getattr(self.net, "centre_frame_only", False) and "target" in batch and batch["target"].dim() == 4:
            batch["target_sequence"] = batch["target"]
            batch["target"] = batch["target"][:, batch["target"].shape[1] // 2]
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimisation step."""
        loss = self.loss(self(batch["keypoints_2d"]), batch["target"])
        sequence = self.net.pop_sequence() if hasattr(self.net, "pop_sequence") else None
        if sequence is not None:
            if "target_sequence" not in batch:
                raise ValueError(
                    f"Expected `target` to hold all {sequence.shape[1]} frames of a window, since the network has a "
                    f"head for these, but got {tuple(batch['target'].shape)}. Give it all, or leave out the head."
                )
            loss = loss + self.loss(sequence, batch["target_sequence"])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the error on validation data."""
        self.log("val_mpjpe", self._mean_joint_distance(batch), prog_bar=True, batch_size=len(batch["target"]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the error on test data."""
        self.log("test_mpjpe", self._mean_joint_distance(batch), batch_size=len(batch["target"]))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the poses of one batch."""
        return self(batch["keypoints_2d"])

    def configure_optimizers(self) -> dict[str, Any]:
        """Make the optimizer and, if there is one, the schedule of its learning rate."""
        optimizer = self.optimizer(self.parameters())
        if self.lr_scheduler is None:
            return {"optimizer": optimizer}
        schedule = {"scheduler": self.lr_scheduler(optimizer), "interval": self.lr_interval}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _lift(self, keypoints_2d: Tensor) -> Tensor:
        keypoints_2d = keypoints_2d[..., : getattr(self.net, "channels", None)]
        if hasattr(self.net, "frames"):
            return self.net(keypoints_2d)
        return self.net(keypoints_2d.flatten(0, -3)).unflatten(0, keypoints_2d.shape[:-2])

    def _mean_joint_distance(self, batch: Batch) -> Tensor:
        return MPJPE()(self(batch["keypoints_2d"]), batch["target"])
