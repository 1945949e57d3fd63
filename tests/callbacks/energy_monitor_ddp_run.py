"""Validates a SEAL host on as many processes as asked; `test_energy_monitor.py` starts it and compares the values."""

import os
import sys

import lightning as L
import torch
from torch import nn

from seal_lightning import SealConfig, SealMixin
from seal_lightning.callbacks import EnergyMonitor, StructureMetrics

RANK = int(os.environ.get("LOCAL_RANK", 0))


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 51), nn.Unflatten(1, (17, 3)))

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.net(x) - y).norm(dim=-1).mean()

    def validation_step(self, batch, batch_idx):
        x, _ = batch
        self.net(x)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SealHost(SealMixin, Host):
    pass


def batches(world):
    """Two batches of 16; of two processes one has 10 and the other 6 of each."""
    generator = torch.Generator().manual_seed(7)
    rows = {1: [slice(0, 16)], 2: [slice(0, 10), slice(10, 16)]}[world][RANK]
    for _ in range(2):
        x, y = torch.randn(16, 17, 2, generator=generator), torch.randn(16, 17, 3, generator=generator)
        yield x[rows], y[rows]


if __name__ == "__main__":
    folder, world = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    model = SealHost(seal=SealConfig())
    model.seal.frame.bone_length.fill_(1.5)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[EnergyMonitor(), StructureMetrics(unit="mm")],
    )
    loader = torch.utils.data.DataLoader(list(batches(world)), batch_size=None)
    trainer.validate(model, loader, verbose=False)
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    torch.save(values, f"{folder}/{world}_{RANK}.pt")
