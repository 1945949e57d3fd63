"""Fits a critic beside a host on as many processes as asked; started by `test_error_estimate.py`, which compares."""

import os
import sys

import lightning as L
import torch
from torch import nn

from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.error_estimate import ErrorCritic, ViewDamage

RANK = int(os.environ.get("LOCAL_RANK", 0))


class Host(L.LightningModule):
    """Its weights stay, so that critics of one and of two processes learn the same errors."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 51), nn.Unflatten(1, (17, 3)))

    def training_step(self, batch, batch_idx):
        x, y, _ = batch
        if len(x) == 0:  # a process that has no pose in this step
            return sum(parameter.sum() for parameter in self.parameters()) * 0.0
        return (self.net(x) - y).norm(dim=-1).mean()

    def validation_step(self, batch, batch_idx):
        (self.net(batch["x"]) - batch["y"]).norm(dim=-1).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def batches(world):
    """Four batches of 16; of two processes one has 10 and the other 6, or one has them all."""
    generator = torch.Generator().manual_seed(7)
    rows = {1: [slice(0, 16)], 2: [slice(0, 10), slice(10, 16)]}[world][RANK]
    everything = {1: [slice(0, 16)], 2: [slice(0, 16), slice(0, 0)]}[world][RANK]
    for number in range(4):
        x, y = torch.randn(16, 17, 2, generator=generator), torch.randn(16, 17, 3, generator=generator)
        own = everything if number == 1 else rows
        yield x[own], y[own], torch.arange(16)[own] % 2


if __name__ == "__main__":
    folder, world = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(1)
    L.seed_everything(0, verbose=False)
    model, torch_seed = Host(), torch.manual_seed(RANK)
    critic = ErrorCritic("h36m17", hidden=8, depth=1)
    if world > 1 and RANK:
        nn.init.ones_(critic.head.weight)  # another start, which is made equal
    callback = ErrorEstimate(critic, unit="mm", damage=ViewDamage(undamaged=1.0))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp" if world > 1 else "auto",
        use_distributed_sampler=False,
        max_epochs=1,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback],
    )
    training = torch.utils.data.DataLoader(list(batches(world)), batch_size=None)
    validation = [{"x": x, "y": y, "group": group} for x, y, group in batches(world) if len(x)]
    validation = validation[:1] + validation[-2:]  # as many on both
    trainer.fit(model, training, torch.utils.data.DataLoader(validation, batch_size=None))
    values = {name: float(value) for name, value in trainer.callback_metrics.items()}
    torch.save({"critic": critic.state_dict(), "values": values}, f"{folder}/{world}_{RANK}.pt")
