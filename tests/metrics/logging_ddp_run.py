"""A host that logs metrics in every way; run as a script it validates on two processes. See `test_logging.py`."""

import os
import sys

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from seal_lightning.metrics import (
    MPJPE,
    PCK,
    AccelerationError,
    ErrorCVaR,
    ErrorPercentile,
    LimbSymmetryError,
    PoseMetrics,
)


class Clips(Dataset):
    """Twelve clips of five frames; keypoints are the poses from the front, in metres."""

    def __init__(self, seed=0):
        self.poses = torch.randn(12, 5, 17, 3, generator=torch.Generator().manual_seed(seed)) * 300

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return self.poses[index, ..., :2] / 1000, self.poses[index]


def loader(batch_size, seed=0):
    return DataLoader(Clips(seed), batch_size=batch_size)


def poses_of(host, batch):
    """Prediction, close enough to the truth for every metric to say something, and the truth."""
    keypoints, target = batch
    with torch.no_grad():
        return target + 50 * host.net(keypoints.flatten(2)).unflatten(2, (17, 3)), target


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.net = nn.Linear(34, 51)
        for parameter in self.net.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.train_metrics = PoseMetrics("h36m17", unit="mm", prefix="train/")
        self.val_metrics = PoseMetrics("h36m17", unit="mm", temporal=True).clone(prefix="val/")
        root = (0,)
        self.single = nn.ModuleDict(
            {
                "mpjpe": MPJPE(root),
                "pck": PCK(unit="mm", root=root),
                "mpjpe_p90": ErrorPercentile(90, unit="mm", root=root),
                "mpjpe_cvar95": ErrorCVaR(unit="mm", root=root),
                "limb_symmetry_error": LimbSymmetryError("h36m17"),
                "acceleration_error": AccelerationError(50, root=root),
            }
        )
        self.trained, self.validated = [], []

    def training_step(self, batch, batch_idx):
        keypoints, target = batch
        self.trained.append(poses_of(self, batch))
        self.train_metrics(*self.trained[-1])
        self.log_dict(self.train_metrics, on_step=True, on_epoch=True)
        return (self.net(keypoints.flatten(2)) - target.flatten(2) / 1000).square().mean()

    def validation_step(self, batch, batch_idx):
        poses = poses_of(self, batch)
        if not self.trainer.sanity_checking:
            self.validated.append(poses)
        self.val_metrics.update(*poses)
        self.log_dict(self.val_metrics, on_epoch=True)
        for name, metric in self.single.items():
            metric.update(*poses)
            self.log(f"single/{name}", metric, on_epoch=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


if __name__ == "__main__":
    torch.set_num_threads(1)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.validate(Host(), loader(batch_size=4, seed=1), verbose=False)
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    torch.save(logged, f"{sys.argv[1]}/{os.environ.get('LOCAL_RANK', 0)}.pt")
