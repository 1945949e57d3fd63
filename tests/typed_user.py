"""Typed code as users write it, which `make type` checks too. What is ignored here is wrong, and has to be told."""

from pathlib import Path
from typing import assert_type

import lightning as L
import torch
from torch import Tensor, nn

from seal_lightning import EnergyTerm, ForceRatio, SealBatch, SealConfig, SealLoss, SealMixin
from seal_lightning.callbacks import MetricDirections, PoseWriter, SealSummary, StructureMetrics
from seal_lightning.functional import mpjpe
from seal_lightning.loss_nets import GraphLossNet
from seal_lightning.metrics import PoseMetrics
from seal_lightning.negatives import BoneLengthNegatives, PredictionNegatives
from seal_lightning.training import seal_class


class LitLifter(L.LightningModule):
    """A plain host."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, hidden), nn.ReLU(), nn.Linear(hidden, 51))
        self.metrics = PoseMetrics("h36m17", unit="m", prefix="val/")

    def forward(self, x: Tensor) -> Tensor:
        """Lift keypoints."""
        y: Tensor = self.net(x)
        return y.view(-1, 17, 3)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Compare prediction and truth."""
        x, y = batch
        loss: Tensor = (self(x) - y).norm(dim=-1).mean()
        return loss


class SealLifter(SealMixin, LitLifter):
    """The two lines."""


class Told(SealMixin, LitLifter):
    """One that says what is what."""

    def seal_batch(self, batch: tuple[Tensor, Tensor], inputs: tuple[Tensor, ...], output: Tensor) -> SealBatch | None:
        """Name the three."""
        return SealBatch(batch[0], output, batch[1])


def right() -> None:
    """What a checker has nothing to say against; it is never run."""
    model = SealLifter(hidden=64, seal=SealConfig(skeleton="h36m17", weight=0.01))
    assert_type(model.seal, SealLoss)
    assert_type(model.seal_reading, str | None)
    assert_type(mpjpe(torch.zeros(1, 17, 3), torch.zeros(1, 17, 3)), Tensor)
    Told(64, seal=SealConfig(weight=ForceRatio(0.2)))
    seal_class(LitLifter)

    SealConfig(mode="static", checkpoint=Path("some.ckpt"))
    SealConfig(mode="static", checkpoint="some.ckpt")
    for sources in ((PredictionNegatives(),), [PredictionNegatives(), BoneLengthNegatives()]):
        SealConfig(negatives=sources)
        SealConfig(energies=[EnergyTerm(GraphLossNet, negatives=sources, name="graph")])
    SealConfig(loss_net=GraphLossNet, optimizer=torch.optim.Adam)
    L.Trainer(callbacks=[StructureMetrics(unit="m"), SealSummary(), MetricDirections(), PoseWriter(smooth=2.0)])


def wrong() -> None:
    """What it has to refuse: an `ignore` that is not needed is an error itself."""
    SealConfig(weight="abc")  # type: ignore[arg-type]
    SealConfig(precision="bf16")  # type: ignore[arg-type]
    SealConfig(negatives=PredictionNegatives())  # type: ignore[arg-type]
    SealLifter(hidden=64, seal="x")  # type: ignore[arg-type]
    StructureMetrics(unit="cm")  # type: ignore[arg-type]
