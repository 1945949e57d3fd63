"""Trains SEAL hosts in many ways on as many processes as asked; `test_ddp.py` starts it and compares what is written.

Every step sees the same 16 samples, of which each process has its part. The host's loss is so weighted that DDP's mean
over the processes is the mean over the samples, however they are spread: what is left to differ is SEAL's doing.
"""

import os
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy, FSDPStrategy, ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from seal_lightning import EnergyTerm, SealBatch, SealConfig, SealMixin
from seal_lightning.loss_nets import ClipLossNet, MLPLossNet
from seal_lightning.negatives import GaussianNegatives, PredictionNegatives
from seal_lightning.objectives import MarginObjective, NCEObjective
from seal_lightning.objectives.penalties import R1

RANK = int(os.environ.get("LOCAL_RANK", 0))
SAMPLES, STEPS, FRAMES = 16, 6, 3
UNEVEN = {1: [16], 2: [11, 5], 4: [7, 5, 3, 1]}
NOTHING = {1: [16], 2: [16, 0], 4: [8, 5, 3, 0]}


class SmallLossNet(MLPLossNet):
    def __init__(self, skeleton):
        torch.manual_seed(RANK)  # every process starts from other weights: SEAL has to make them equal
        super().__init__(skeleton, hidden=16, stages=1)


class SmallClipNet(ClipLossNet):
    def __init__(self, skeleton):
        torch.manual_seed(RANK)
        super().__init__(skeleton, hidden=8)


class UnevenLossNet(SmallLossNet):
    """Of its parameters the last process uses only some in one step, and none in another."""

    def __init__(self, skeleton):
        super().__init__(skeleton)
        self.calls, self.extra = 0, nn.Parameter(torch.ones(()))

    def forward(self, keypoints_2d, pose):
        self.calls += self.training
        if RANK == 0 or self.calls // 2 not in (2, 3):  # called twice a step
            return super().forward(keypoints_2d, pose) * self.extra
        return super().forward(keypoints_2d, pose) if self.calls // 2 == 2 else pose.square().mean((-1, -2))


class Host(L.LightningModule):
    """Batch: keypoints, poses, visibility, labelled."""

    def __init__(self, case):
        super().__init__()
        self.case = case
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 32), nn.ReLU(), nn.Linear(32, 51))
        if "find_unused_parameters" in case.strategy:
            self.unused = nn.Linear(2, 2)

    def configure_model(self):
        if self.case.sharded and not isinstance(self.net, FSDPModule):
            for layer in (self.net[1], self.net[3], self.net):
                fully_shard(layer, mesh=self.device_mesh["data_parallel"])

    def predict(self, x):
        return self.net(x.reshape(-1, 17, 2)).view(*x.shape[:-1], 3)

    def training_step(self, batch, batch_idx):
        x, y, visible, labelled = batch
        error = torch.where(visible, (self.predict(x) - torch.nan_to_num(y)).norm(dim=-1), 0.0)
        total = torch.where(labelled, error.flatten(1).mean(1), 0.0).sum()
        return total * self.trainer.world_size / SAMPLES

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class SealHost(SealMixin, Host):
    def seal_batch(self, batch, inputs, output):
        x, y, visible, labelled = batch
        masks = visible if self.case.hidden else None, labelled if self.case.unlabelled else None
        return SealBatch(x, output.view_as(y), y, *masks)


class ManualHost(SealHost):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss, optimizer = super().training_step(batch, batch_idx), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()


class Stats(L.Callback):
    """The values that SEAL logs, step by step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        logged = {key: value for key, value in trainer.callback_metrics.items() if key.startswith("seal/")}
        assert len(logged) >= 5
        self.steps.append(torch.stack([*logged.values()]))


@dataclass
class Case:
    """One way to train."""

    energy: dict[str, Any] = field(default_factory=dict)
    seal: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict)
    strategy: dict[str, Any] = field(default_factory=dict)
    host: type = SealHost
    frames: int | None = None
    rows: dict[int, list[int]] | None = None
    hidden: bool = False
    unlabelled: bool = False
    broken: bool = False
    sharded: bool = False
    resumed: bool = False

    def batches(self, world):
        generator = torch.Generator().manual_seed(7)
        rows = (self.rows or {world: [SAMPLES // world] * world})[world]
        mine = slice(sum(rows[:RANK]), sum(rows[: RANK + 1]))
        shape = (SAMPLES,) if self.frames is None else (SAMPLES, self.frames)
        for i in range(STEPS):
            x = torch.randn(*shape, 17, 2, generator=generator)
            y = torch.randn(*shape, 17, 3, generator=generator)
            visible = torch.ones(*shape, 17, dtype=torch.bool)
            labelled = torch.ones(SAMPLES, dtype=torch.bool)
            if self.hidden:
                visible = torch.rand(visible.shape, generator=generator) < 0.7
                visible[8:] &= torch.tensor(i not in (0, 3))  # nothing is seen by the second half of the processes
            if self.unlabelled:
                labelled = torch.rand(SAMPLES, generator=generator) < 0.6
                labelled[0] = True
                labelled[8:] &= torch.tensor(i not in (0, 4))  # nor has that half any label
                y[~labelled] = torch.nan
            if self.broken and i == 2:
                y[-1] = torch.nan  # said to be a label: no process can learn from this step
            yield x[mine], y[mine], visible[mine], labelled[mine]

    def model(self):
        energies = [EnergyTerm(**({"loss_net": SmallLossNet, "optimizer": momentum} | self.energy))]
        return self.host(case=self, seal=SealConfig(**({"energies": energies} | self.seal)))


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def two_energies():
    energies = [
        EnergyTerm(SmallLossNet, objective=MarginObjective(), optimizer=momentum, weight=0.01),
        EnergyTerm(SmallLossNet, objective=NCEObjective(), optimizer=momentum),
    ]
    return {"energies": energies, "warmup_steps": 2, "lr_scheduler": decay}


def decay(optimizer):
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)


def random_energies():
    """The project's default, whose denoising draws, and a second that draws its negatives."""
    drawn = (PredictionNegatives(), GaussianNegatives())
    return {"energies": [*SealConfig().terms(), EnergyTerm(SmallLossNet, negatives=drawn)]}


CASES = {
    "plain": Case(),
    "adam": Case({"optimizer": torch.optim.Adam}),
    "clipped": Case(seal={"gradient_clip_val": 0.1}, trainer={"gradient_clip_val": 0.05}),
    "accumulated": Case(seal={"gradient_clip_val": 0.1}, trainer={"accumulate_grad_batches": 2}),
    "simultaneous": Case(seal={"update": "simultaneous"}),
    "bfloat16": Case(seal={"precision": "bfloat16"}),
    "penalty": Case({"gradient_penalty": R1(1.0)}),
    "clips": Case(frames=FRAMES),
    "hidden": Case(hidden=True),
    "unlabelled": Case(unlabelled=True),
    "clips_hidden_unlabelled": Case(frames=FRAMES, hidden=True, unlabelled=True, seal={"update": "simultaneous"}),
    "uneven": Case(rows=UNEVEN),
    "uneven_hidden_unlabelled": Case(rows=UNEVEN, hidden=True, unlabelled=True),
    "nothing": Case(rows=NOTHING, hidden=True, unlabelled=True),
    "broken": Case(broken=True),
    "seen_clips": Case({"loss_net": SmallClipNet}, frames=FRAMES, hidden=True, unlabelled=True),
    "two_energies": Case(seal=two_energies()),
    "every_second": Case(seal={"every_n_steps": 2}),
    "manual": Case(host=ManualHost),
    "find_unused": Case(strategy={"find_unused_parameters": True}),
    "static_graph": Case(strategy={"static_graph": True, "gradient_as_bucket_view": True}),
    "resumed": Case(resumed=True, seal={"lr_scheduler": decay}),
    "sharded": Case(sharded=True, trainer={"gradient_clip_val": 0.05}),
    "sharded_resumed": Case(sharded=True, resumed=True),
    "random": Case(seal=random_energies()),
    "random_clips": Case(seal=random_energies() | {"frames_per_clip": 2}, frames=FRAMES),
    "other_graphs": Case({"loss_net": UnevenLossNet}),
}


def trainer_for(case, world, epochs):
    strategy = "auto"
    if world > 1:
        sharded = ModelParallelStrategy(data_parallel_size=world, tensor_parallel_size=1)
        strategy = sharded if case.sharded else DDPStrategy(**case.strategy)
    options = {"max_epochs": epochs, "callbacks": [Stats()], "use_distributed_sampler": False, "logger": False}
    quiet = dict.fromkeys(("enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    return L.Trainer(accelerator="cpu", devices=world, strategy=strategy, **options, **quiet, **case.trainer)


def run(name, world, folder):
    """Train; two epochs where a run is resumed, which one process does without a stop."""
    case = CASES[name]
    if case.sharded and world == 1:
        case = replace(case, sharded=False)
    loader = torch.utils.data.DataLoader(list(case.batches(world)), batch_size=None)
    L.seed_everything(0, verbose=False)
    model, path = case.model(), None
    if case.resumed and world > 1:
        trainer = trainer_for(case, world, 1)
        trainer.fit(model, loader)
        path = f"{folder}/{name}_{world}.ckpt"
        trainer.save_checkpoint(path)
        model = case.model()
    trainer = trainer_for(case, world, 1 + case.resumed)
    trainer.fit(model, loader, ckpt_path=path, weights_only=False if path else None)
    state = {"host": model.state_dict(), "seal": model.seal.state_dict(), "moments": model.seal_optimizer.state_dict()}
    state["host_moments"] = trainer.optimizers[0].state_dict()["state"]
    stats = trainer.callbacks[0].steps[-STEPS:]
    return {key: tensors(value) for key, value in state.items()} | {"stats": stats}


def tensors(value):
    """All tensors in nested containers, whole."""
    if isinstance(value, torch.Tensor):
        return [(value.full_tensor() if isinstance(value, DTensor) else value).detach().clone().float()]
    if isinstance(value, dict | list | tuple):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in tensors(item)]
    return []


class Sharded(FSDPStrategy):
    """By another class than its own, FSDP gets past Lightning's question for a GPU."""


def refusal(world):
    """What FSDP is told, and whether a step was taken."""
    case, strategy = CASES["plain"], Sharded(process_group_backend="gloo")
    model = case.model()
    loader = torch.utils.data.DataLoader(list(case.batches(world)), batch_size=None)
    try:
        L.Trainer(accelerator="cpu", devices=world, strategy=strategy, logger=False).fit(model, loader)
    except TypeError as error:
        return str(error), model.seal.draws
    return None


if __name__ == "__main__":
    folder, world, names = sys.argv[1], int(sys.argv[2]), sys.argv[3:] or [*CASES]
    torch.set_num_threads(1)
    runs = {name: run(name, world, folder) for name in names}
    if world > 1:
        runs["refusal"] = refusal(world)
    torch.save(runs, f"{folder}/{world}_{RANK}.pt")
