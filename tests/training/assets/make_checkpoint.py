"""Writes the checkpoint that later versions have to load: ``python -m tests.training.assets.make_checkpoint FILE``.

A checkpoint stays as it was written: a new format gets a new file beside the old ones.
"""

import sys
import warnings
from functools import partial

import lightning as L
import torch
from torch import nn

from seal_lightning import EnergyTerm, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet, StructureLossNet
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives
from seal_lightning.objectives import MarginObjective


class TinyLifter(L.LightningModule):
    def __init__(self, hidden: int = 8):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, hidden), nn.ReLU(), nn.Linear(hidden, 51))

    def forward(self, x):
        return self.net(x).view(-1, 17, 3)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self(x) - y).norm(dim=-1).mean()

    def validation_step(self, batch, batch_idx):
        return self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


class SealTinyLifter(SealMixin, TinyLifter):
    pass


def configuration(**fields):
    """Every kind of thing that a checkpoint holds: two loss-nets, a force ratio, a schedule."""
    negatives = (PredictionNegatives(), GaussianNegatives(std=0.2))
    energies = [
        EnergyTerm(partial(MLPLossNet, hidden=8, stages=1), MarginObjective(), negatives, name="points"),
        EnergyTerm(partial(StructureLossNet, hidden=8, depth=2), weight=0.01, gradient_penalty=0.1, name="bones"),
    ]
    schedule = partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.9)
    return SealConfig(energies=energies, lr_scheduler=schedule, warmup_steps=1, seed=3, **fields)


def batches(count=4):
    generator = torch.Generator().manual_seed(0)
    return [tuple(torch.randn(6, 17, n, generator=generator) for n in (2, 3)) for _ in range(count)]


def loader():
    return torch.utils.data.DataLoader(batches(), batch_size=None)


def outcome(model):
    """What a model makes of the first batch: its prediction and the energies of the truth."""
    x, y = batches(1)[0]
    model.eval()
    with torch.no_grad():
        return {"prediction": model(x), **model.seal.energy(y, x)}


def make(path):
    L.seed_everything(0, verbose=False)
    model = SealTinyLifter(seal=configuration())
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(max_epochs=1, accelerator="cpu", enable_model_summary=False, **options)
    trainer.fit(model, loader())
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    torch.save({**checkpoint, "outcome": outcome(model)}, path)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    make(sys.argv[1])
