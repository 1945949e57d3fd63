"""Trains hosts whose processes disagree about a step, on two processes and on one; started by `test_ranks_disagree.py`.

The hosts' learning rate is zero, so that what the loss-nets learn depends on nothing but which steps are read.
"""

import os
import sys
from contextlib import nullcontext

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from seal_lightning import SealBatch, SealMixin
from tests import hosts
from tests.promises.twins import config

RANK = int(os.environ.get("LOCAL_RANK", 0))
STEPS = 5


class Host(L.LightningModule):
    """A pose-net, and a head for something else; `reads` says whether a process compares poses in a step."""

    def __init__(self, reads, rank=None):
        super().__init__()
        self.net, self.heat = nn.Sequential(nn.Flatten(), nn.Linear(34, 51)), nn.Linear(34, 8)
        self.reads, self.rank = reads, RANK if rank is None else rank

    def task(self, batch, batch_idx):
        x, y = batch
        if not self.reads(self.rank, batch_idx):
            return self.heat(x.flatten(1)).square().mean()
        return hosts.distance(self.net(x).view_as(y), y)

    def training_step(self, batch, batch_idx):
        return self.task(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class ManualHost(Host):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.task(batch, batch_idx))
        optimizer.step()


class TwoPasses(ManualHost):
    """The first process goes back twice, the second once."""

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        if self.rank == 0:
            with self.trainer.model.no_sync() if self.trainer.world_size > 1 else nullcontext():
                self.manual_backward(self.task(batch, batch_idx))
        self.manual_backward(self.task(batch, batch_idx))
        optimizer.step()


class Adversary(ManualHost):
    """Another network steps first; the second process then has no poses in every other step."""

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(self.heat(batch[0].flatten(1)).mean())
        self.manual_backward(self.task(batch, batch_idx))
        optimizer.step()


def overridden(host):
    class Said(SealMixin, host):
        def seal_batch(self, batch, inputs, output):
            return SealBatch(batch[0], output.view_as(batch[1]), batch[1]) if self.rank == 0 else None

    return Said


def always(rank, step):
    return True


def first_alone(rank, step):
    return rank == 0


def alternating(rank, step):
    return (rank + step) % 2 == 1


def seldom(rank, step):
    return step % 2 == 0 if rank == 0 else step == 3


def nobody_at_first(rank, step):
    return step > 2


def plain(host):
    return type("Seal", (SealMixin, host), {})


CASES = {
    "one_without_a_meeting": (plain(Host), first_alone),
    "one_returns_none": (overridden(Host), always),
    "alternating": (plain(Host), alternating),
    "nobody_at_first": (plain(Host), nobody_at_first),
    "manual_one_without_a_meeting": (plain(ManualHost), first_alone),
    "manual_one_returns_none": (overridden(ManualHost), always),
    "manual_alternating": (plain(ManualHost), alternating),
    "two_passes": (plain(TwoPasses), always),
    "adversary": (plain(Adversary), seldom),
}


def batches(rank):
    generator = torch.Generator().manual_seed(10 + rank)
    return [(torch.randn(8, 17, 2, generator=generator), torch.randn(8, 17, 3, generator=generator))] * STEPS


def trained(cls, loader, reads, devices, rank=None):
    L.seed_everything(0, verbose=False)
    model = cls(reads, rank, seal=config())
    strategy = DDPStrategy(find_unused_parameters=True) if devices > 1 else "auto"
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_epochs=1, use_distributed_sampler=False, **quiet
    )
    trainer.fit(model, torch.utils.data.DataLoader(loader, batch_size=None))
    ratio = model.seal.stats["force_ratio"]
    return {"seal": [p.detach().clone() for p in model.seal.parameters()], "ratio": ratio, "draws": model.seal.draws}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = sys.argv[1]
    if "LOCAL_RANK" not in os.environ:  # the first process, before it starts the second
        alone = trained(plain(Host), batches(0), always, 1, rank=0)
        fresh = plain(Host)(always, seal=config()).seal.parameters()
        torch.save(alone | {"fresh": [parameter.detach() for parameter in fresh]}, f"{folder}/alone.pt")
    runs = {name: trained(cls, batches(RANK), reads, 2) for name, (cls, reads) in CASES.items()}
    torch.save(runs, f"{folder}/{RANK}.pt")
