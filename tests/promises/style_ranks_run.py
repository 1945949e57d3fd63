"""Trains a host of each style on two processes and on one; started by `test_host_styles.py`.

Every step sees the same 16 samples, of which each process has its part.
"""

import copy
import os
import sys

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from seal_lightning import EnergyTerm, SealConfig
from tests.host_styles import STYLES, StyleHost
from tests.hosts import JOINTS, net
from tests.promises.twins import seal, small, weights

RANK = int(os.environ.get("LOCAL_RANK", 0))
STEPS = 4


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


class NormedStyle(StyleHost):
    """Batch norm, whose buffers the wrapper hands to the other processes in each forward pass; dropout."""

    def make_net(self):
        return nn.Sequential(net(), nn.Unflatten(1, (JOINTS, 3)))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return self.compare(x, self(x), y)


class Replaying(L.Callback):
    """Runs the network of a step once more, in the first process alone, before the backward pass of that step."""

    def __init__(self):
        self.replays = 0

    def on_before_backward(self, trainer, module, loss):
        if RANK != 0:
            return
        pose = module.seal_replay(module.seal_replay_keypoints.clone(), eval_mode=True)
        with torch.no_grad():
            expected = copy.deepcopy(module.net).eval()(module.seal_replay_keypoints)
        self.replays += torch.equal(pose, expected)


def trained(host, world, *callbacks):
    L.seed_everything(0, verbose=False)
    energies = [EnergyTerm(small, optimizer=momentum)]
    model = seal(host)(seal=SealConfig(skeleton=host.skeleton, energies=energies))
    size = 16 // world
    mine = slice(RANK * size, (RANK + 1) * size)
    batches = [[part[mine] for part in batch] for batch in host.loader(count=16 * STEPS, shuffle=False)]
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=world,
        strategy=DDPStrategy(find_unused_parameters=True) if world > 1 else "auto",  # a GAN's two losses need it
        max_epochs=1,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **quiet,
    )
    trainer.fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
    seal_state = [tensor.detach().clone() for tensor in (*model.seal.parameters(), *model.seal.buffers())]
    ratio = float(model.seal.stats["force_ratio"]) if host.reads else None
    return {"host": weights(model), "seal": seal_state, "ratio": ratio, "reading": model.seal_reading}


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = sys.argv[1]
    if "LOCAL_RANK" not in os.environ:  # the first process, before it starts the second
        torch.save({host.__name__: trained(host, 1) for host in STYLES}, f"{folder}/alone.pt")
    runs = {host.__name__: trained(host, 2) for host in STYLES}
    runs["not replayed"], replaying = trained(NormedStyle, 2), Replaying()
    runs["replayed"] = trained(NormedStyle, 2, replaying) | {"replays": replaying.replays}
    torch.save(runs, f"{folder}/{RANK}.pt")
