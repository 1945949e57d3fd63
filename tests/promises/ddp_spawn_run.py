"""Trains a SEAL host by strategies that spawn or fork their processes; `test_ddp.py` starts it and compares."""

import atexit
import sys

import lightning as L
import torch
from torch import nn

from seal_lightning import EnergyTerm, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from seal_lightning.training.reading.containers import tensors_in


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 51), nn.Unflatten(1, (17, 3)))

    def setup(self, stage):
        # Lightning leaves the group to the end of a spawned process, which its threads now and then abort.
        if torch.distributed.is_initialized():
            atexit.register(torch.distributed.destroy_process_group)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.net(x) - y).norm(dim=-1).mean()

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("error", (self.net(x) - y).norm(dim=-1).mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def loader(self):
        """Four batches of 16, of which each process has its part."""
        generator = torch.Generator().manual_seed(7)
        size = 16 // self.trainer.world_size
        rows = slice(self.trainer.global_rank * size, (self.trainer.global_rank + 1) * size)
        x, y = (torch.randn(4, 16, 17, channels, generator=generator)[:, rows] for channels in (2, 3))
        return torch.utils.data.DataLoader([*zip(x, y, strict=True)], batch_size=None)

    train_dataloader = test_dataloader = loader


class SealHost(SealMixin, Host):
    pass


def loss_net(skeleton):
    return MLPLossNet(skeleton, hidden=16, stages=1)


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def trainer_for(strategy):
    devices = 1 if strategy == "auto" else 2
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(
        accelerator="cpu", devices=devices, strategy=strategy, max_epochs=1, use_distributed_sampler=False, **quiet
    )


def train(strategy):
    """Fit, fit on in a new trainer, test; what the process that asked for it has afterwards."""
    L.seed_everything(0, verbose=False)
    model = SealHost(seal=SealConfig(energies=[EnergyTerm(loss_net, optimizer=momentum)]))
    for _ in range(2):
        trainer = trainer_for(strategy)
        trainer.fit(model)
    tester = trainer_for("auto") if strategy == "ddp_spawn" else trainer  # a spawned process takes seconds to start
    (error,) = tester.test(model, verbose=False)
    seal = model.seal.state_dict()
    state = {"host": model.state_dict(), "seal": seal, "moments": model.seal_optimizer.state_dict()["state"]}
    numbers = {"draws": [torch.tensor(model.seal.draws)], "error": [torch.tensor(error["error"])]}
    return {key: list(tensors_in(value)) for key, value in state.items()} | numbers


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save({name: train(name) for name in ("ddp_notebook", "ddp_spawn", "auto")}, f"{sys.argv[1]}/spawned.pt")
