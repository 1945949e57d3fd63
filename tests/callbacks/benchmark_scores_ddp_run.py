"""Tests a SEAL host on as many processes as asked; started by `test_benchmark_scores.py`, which compares."""

import os
import sys

import lightning as L
import torch
from torch import nn

from seal_lightning import SealConfig, SealMixin
from seal_lightning.callbacks.benchmark_scores import BenchmarkScores
from seal_lightning.data.datamodules.mpi_inf_3dhp import MPIINF3DHPDataModule


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 51), nn.Unflatten(1, (17, 3)))

    def training_step(self, batch, batch_idx):
        return (self.net(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def test_step(self, batch, batch_idx):
        self.net(batch["keypoints_2d"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SealHost(SealMixin, Host):
    pass


if __name__ == "__main__":
    data, output, world = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    scores = BenchmarkScores()
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[scores],
    )
    # 35 samples: the processes have different numbers of them and of batches.
    datamodule = MPIINF3DHPDataModule(data, batch_size=5)
    trainer.test(SealHost(seal=SealConfig(skeleton="mpi_inf_3dhp17")), datamodule=datamodule, verbose=False)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    torch.save((scores.scores, logged), f"{output}/{world}_{os.environ.get('LOCAL_RANK', 0)}.pt")
