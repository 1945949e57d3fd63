"""Trains a SEAL host on two processes, one of which gets bad numbers; started by `test_numbers.py`."""

import os
import sys
import warnings

import lightning as L
import torch

from seal_lightning import SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from tests import hosts

RANK = int(os.environ.get("LOCAL_RANK", 0))


class Host(SealMixin, hosts.ForwardHost):
    def on_train_batch_end(self, *_):
        skipped.append(int(self._seal_optimization.guard.skipped))
        loss_nets.append([parameter.detach().clone() for parameter in self.seal.parameters()])

    def on_after_backward(self):
        for parameter in self.parameters():  # the host goes on: this is about the loss-nets
            parameter.grad.nan_to_num_(0, 0, 0)


def small(skeleton):
    return MLPLossNet(skeleton, hidden=16, stages=1)


def batches():
    generator = torch.Generator().manual_seed(RANK)
    for i in range(6):
        x, y = torch.randn(8, 17, 2, generator=generator), torch.randn(8, 17, 3, generator=generator)
        if (i, RANK) == (2, 1):
            y[3, 3] = float("nan")
        if (i, RANK) == (3, 0):
            x[5, 1] = float("inf")
        yield x, y


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "The true poses")
    skipped, loss_nets = [], []
    L.seed_everything(0, verbose=False)
    model = Host(dropout=0.0, seal=SealConfig(loss_net=small, gradient_clip_val=1.0))
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_epochs=1,
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, torch.utils.data.DataLoader(list(batches()), batch_size=None))
    state = {"skipped": skipped, "loss_nets": loss_nets, "buffers": list(model.seal.buffers())}
    torch.save(state, f"{sys.argv[1]}/{RANK}.pt")
