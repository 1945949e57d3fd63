"""A plain Lightning module that trains any of the backbones. It knows nothing of a learned loss."""

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
    must be zero on the image's middle line and on the camera's axis. Errors are logged in the unit of the targets. A
    batch may have "visibility", bool (B[, T], J), of the frames of the keypoints or of the target: no error counts a
    joint that is missing, and the network sees zeros for it. A frame without any visible joint is no part of the error
    either, but the network sees it as it is, beside the others.

    Args:
        net: The network, keypoints in and poses out.
        loss: The training loss of (prediction, target), and of their visibility where batches have one. None is the
            mean joint distance.
        optimizer: Factory of the optimizer, called with the network's parameters.
        lr_scheduler: Factory of the learning rate's schedule, called with the optimizer. None keeps the rate constant.
        lr_interval: Whether the schedule advances with every epoch or with every step.
        flip_augmentation: Whether half of the training samples, drawn anew every time, are mirrored.
        flip_test: Whether, outside training, the mirrored keypoints are lifted as well and the two poses averaged.
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

    def forward(self, keypoints_2d: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Lift keypoints (B[, T], J, 2|3) to poses (B[, T], J, 3)."""
        if visibility is not None and visibility.dim() == keypoints_2d.dim() - 1:
            context = keypoints_2d.isfinite() & ~visibility.any(dim=-1)[..., None, None]
            keypoints_2d = torch.where(visibility[..., None] | context, keypoints_2d, 0.0)
        if self.training or not self.flip_test:
            return self._lift(keypoints_2d)
        return (self._lift(keypoints_2d) + self.mirror(self._lift(self.mirror(keypoints_2d)))) / 2

    def mirror(self, joints: Tensor) -> Tensor:
        """Mirror keypoints (..., J, 2|3) or poses (..., J, 3): turn the sign of x and swap left and right joints."""
        swapped = self._swap_sides(joints, dim=-2)
        return torch.cat((-swapped[..., :1], swapped[..., 1:]), dim=-1)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Mirror half of a training batch, and pick the target's centre frame for a network that predicts only that.

        This is done before the step, so that the batch which the step gets is the one that its prediction belongs to.
        """
        batch = dict(batch)
        if self.flip_augmentation and self.trainer.training:
            chosen = torch.rand(len(batch["target"]), device=batch["target"].device) < 0.5
            for name in ("keypoints_2d", "target"):
                chosen_rows = chosen.view(-1, *[1] * (batch[name].dim() - 1))
                batch[name] = torch.where(chosen_rows, self.mirror(batch[name]), batch[name])
            if "visibility" in batch:
                seen = batch["visibility"]
                chosen_rows = chosen.view(-1, *[1] * (seen.dim() - 1))
                batch["visibility"] = torch.where(chosen_rows, self._swap_sides(seen, dim=-1), seen)
        if getattr(self.net, "centre_frame_only", False) and "target" in batch and batch["target"].dim() == 4:
            batch["target_sequence"] = batch["target"]
            batch["target"] = batch["target"][:, batch["target"].shape[1] // 2]
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimisation step."""
        visibility = batch.get("visibility")
        loss = self.loss(self(batch["keypoints_2d"], visibility), batch["target"], *_seen(batch))
        sequence = self.net.pop_sequence() if hasattr(self.net, "pop_sequence") else None
        if sequence is not None:
            if "target_sequence" not in batch:
                raise ValueError(
                    f"Expected `target` to hold all {sequence.shape[1]} frames of a window, since the network has a "
                    f"head for these, but got {tuple(batch['target'].shape)}. Give it all, or leave out the head."
                )
            loss = loss + self.loss(sequence, batch["target_sequence"], *([] if visibility is None else [visibility]))
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
        return self(batch["keypoints_2d"], batch.get("visibility"))

    def configure_optimizers(self) -> dict[str, Any]:
        """Make the optimizer and the schedule of its learning rate, if there is one."""
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
        return MPJPE()(self(batch["keypoints_2d"], batch.get("visibility")), batch["target"], *_seen(batch))

    def _swap_sides(self, values: Tensor, dim: int) -> Tensor:
        swapped = values.index_copy(dim, self.left, values.index_select(dim, self.right))
        return swapped.index_copy(dim, self.right, values.index_select(dim, self.left))


def _seen(batch: Batch) -> list[Tensor]:
    """The visibility of the target's frames, as the further argument that a loss is called with; none without one."""
    visibility, target = batch.get("visibility"), batch["target"]
    if visibility is None:
        return []
    return [visibility[:, visibility.shape[1] // 2] if visibility.dim() == target.dim() else visibility]
