"""A plain Lightning lifter: 2D keypoints in, 3D pose out. It knows nothing of a learned loss."""

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

__all__ = ["H36M_PARTNERS", "LitLifter", "SimpleBaseline", "flip_averaged", "mirror"]

Batch = dict[str, Tensor]

H36M_PARTNERS = (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13)
"""Per joint of Human3.6M its mirror image: the left knee for the right knee, the head for the head."""


def mirror(joints: Tensor, partners: Sequence[int]) -> Tensor:
    """Mirror keypoints (..., J, 2|3) or poses (..., J, 3): swap left and right joints, turn the sign of x."""
    swapped = joints[..., list(partners), :]
    return torch.cat((-swapped[..., :1], swapped[..., 1:]), dim=-1)


def flip_averaged(lift: Callable[[Tensor], Tensor], keypoints_2d: Tensor, partners: Sequence[int]) -> Tensor:
    """Mean of the pose that is lifted and of the one that is lifted in the mirror, mirrored back."""
    return (lift(keypoints_2d) + mirror(lift(mirror(keypoints_2d, partners)), partners)) / 2


class SimpleBaseline(nn.Module):
    """The lifting network of Martinez et al., "A simple yet effective baseline for 3d human pose estimation", 2017.

    One linear layer widens the flattened keypoints, residual stages of two linear layers follow, and one linear layer
    gives the pose. 4,296,755 parameters for 17 joints at 1024 x 2 (4.29 M for the 16 joints of the paper). The paper's
    max-norm constraint and Kaiming initialisation are left out: PyTorch's own start suits targets in metres better.

    Args:
        num_joints: Number of joints J.
        channels: Values per keypoint: 2 for its position, 3 for position and confidence.
        hidden: Width of the linear layers.
        stages: Number of residual stages.
        dropout: Dropout probability after every hidden layer.
    """

    def __init__(
        self, num_joints: int = 17, channels: int = 2, hidden: int = 1024, stages: int = 2, dropout: float = 0.5
    ) -> None:
        super().__init__()

        def layer(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout))

        self.widen = layer(num_joints * channels)
        self.stages = nn.ModuleList(nn.Sequential(layer(hidden), layer(hidden)) for _ in range(stages))
        self.output = nn.Linear(hidden, num_joints * 3)

    def forward(self, keypoints_2d: Tensor) -> Tensor:
        """Lift (B, J, channels) keypoints to (B, J, 3) poses."""
        features = self.widen(keypoints_2d.flatten(1))
        for stage in self.stages:
            features = features + stage(features)
        return self.output(features).unflatten(1, (-1, 3))


class LitLifter(L.LightningModule):
    """Trains `SimpleBaseline` on the mean joint distance.

    A batch is a dict with "keypoints_2d" (B, J, 2) or, with confidences, (B, J, 3), and "target" (B, J, 3). Windows of
    T frames, (B, T, J, ...), are lifted frame by frame. Errors are logged in the unit of the targets. A batch may have
    "visibility", bool (B, J) or (B, T, J): the network sees zeros for a joint that is missing, and no error counts it.

    Predictions are averaged over the keypoints and their mirror image, which costs a second forward and makes them more
    accurate. Mirroring turns the sign of x, so x must be zero on the image's middle line and on the camera's axis.

    Args:
        num_joints: Number of joints J.
        channels: Keypoint channels that the network sees: 2 for positions only, 3 for positions and confidences.
        hidden: Width of the linear layers.
        stages: Number of residual stages.
        dropout: Dropout probability after every hidden layer.
        lr: Highest learning rate of the one-cycle schedule.
        flip_predict: Whether predictions are averaged over the mirror image.
        flip_test: Whether the poses of validation and test are averaged too.
        partners: Per joint its mirror image: the joint on the other side, or the joint itself. None means Human3.6M's.
    """

    def __init__(
        self,
        num_joints: int = 17,
        channels: int = 2,
        hidden: int = 1024,
        stages: int = 2,
        dropout: float = 0.5,
        lr: float = 1e-3,
        flip_predict: bool = True,
        flip_test: bool = False,
        partners: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.channels = channels
        self.lr = lr
        self.flip_predict, self.flip_test = flip_predict, flip_test
        self.partners = H36M_PARTNERS if partners is None and num_joints == 17 else partners
        self.net = SimpleBaseline(num_joints, channels, hidden, stages, dropout)

    def forward(self, keypoints_2d: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Lift (B, J, 2|3) or (B, T, J, 2|3) keypoints to poses (B, J, 3) or (B, T, J, 3)."""
        if visibility is not None:
            keypoints_2d = torch.where(visibility[..., None], keypoints_2d, 0.0)
        frames = keypoints_2d[..., : self.channels].flatten(0, -3)
        return self.net(frames).unflatten(0, keypoints_2d.shape[:-2])

    def lift(self, batch: Batch, flip: bool) -> Tensor:
        """Poses of a batch, averaged over its mirror image if `flip`."""
        keypoints_2d, visibility = batch["keypoints_2d"], batch.get("visibility")
        if not flip:
            return self(keypoints_2d, visibility)
        if self.partners is None:
            joints = keypoints_2d.shape[-2]
            raise ValueError(
                f"Expected `partners` to name the mirror image of each of the {joints} joints, but got None. Give "
                "them, or set `flip_predict` and `flip_test` to False."
            )
        if visibility is not None:  # before mirroring, because what stands in a joint that is missing is moved with it
            keypoints_2d = torch.where(visibility[..., None], keypoints_2d, 0.0)
        return flip_averaged(self, keypoints_2d, self.partners)

    def mean_joint_distance(self, batch: Batch) -> Tensor:
        """Mean distance between predicted and true joints, of those that are visible."""
        visibility = batch.get("visibility")
        error = self.lift(batch, self.flip_test and not self.training) - batch["target"]
        if visibility is None:
            return error.norm(dim=-1).mean()
        error = torch.where(visibility[..., None], error, 0.0)
        return error.norm(dim=-1).sum() / visibility.sum().clamp(min=1)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """One optimisation step."""
        loss = self.mean_joint_distance(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the error on validation data."""
        self.log("val_mpjpe", self.mean_joint_distance(batch), prog_bar=True, batch_size=len(batch["target"]))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the error on test data."""
        self.log("test_mpjpe", self.mean_joint_distance(batch), batch_size=len(batch["target"]))

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the poses of one batch."""
        return self.lift(batch, self.flip_predict)

    def configure_optimizers(self) -> dict[str, Any]:
        """Adam, its learning rate warmed up and annealed over the whole training."""
        optimizer = torch.optim.Adam(self.parameters(), lr=self.lr)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=self.lr, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
