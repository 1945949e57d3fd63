"""Trains a SEAL host on as many processes as asked; started by `test_ddp.py`, which compares what is written."""

import os
import sys

import lightning as L
import torch
from torch import nn

from seal_lightning import EnergyTerm, SealBatch, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives

RANK = int(os.environ.get("LOCAL_RANK", 0))


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(34, 32), nn.ReLU(), nn.Linear(32, 51), nn.Unflatten(1, (17, 3))
        )

    def training_step(self, batch, batch_idx):
        x, y, labelled = batch
        loss = (self.net(x) - torch.nan_to_num(y)).norm(dim=-1).mean(-1)
        return (loss * labelled).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SealHost(SealMixin, Host):
    def seal_batch(self, batch, inputs, output):
        x, y, labelled = batch
        return SealBatch(x, output, y, labelled=labelled if PARTLY else None)


def loss_net(skeleton):
    torch.manual_seed(RANK)  # every process starts from other weights: SEAL has to make them equal
    return MLPLossNet(skeleton, hidden=16, stages=1)


def batches(world):
    generator = torch.Generator().manual_seed(7)
    for i in range(8):
        x = torch.randn(16, 17, 2, generator=generator)
        y = torch.randn(16, 17, 3, generator=generator)
        labelled = torch.ones(16, dtype=torch.bool)
        if PARTLY:  # the second process has no labelled sample in its half of batch 3
            labelled[8:] = torch.tensor(i != 3)
        rows = slice(RANK * 16 // world, (RANK + 1) * 16 // world)
        yield x[rows], y[rows], labelled[rows]


if __name__ == "__main__":
    folder, world, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    PARTLY = kind == "partly"
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    negatives = (PredictionNegatives(), GaussianNegatives()) if kind == "random" else (PredictionNegatives(),)
    term = EnergyTerm(loss_net, negatives=negatives, optimizer=lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    model = SealHost(seal=SealConfig(energies=[term], gradient_clip_val=0.5))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        max_epochs=1,
        gradient_clip_val=0.5,
        accumulate_grad_batches=2,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, torch.utils.data.DataLoader(list(batches(world)), batch_size=None))
    state = {
        "host": model.state_dict(),
        "seal": model.seal.state_dict(),
        "optimizer": model.seal_optimizer.state_dict(),
    }
    torch.save(state, f"{folder}/{kind}_{world}_{RANK}.pt")
