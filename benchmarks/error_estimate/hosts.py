"""The hosts of the study, and their training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

import examples.backbones as backbones
from benchmarks.error_estimate.study import CriticStudy, HostPlan
from examples.plain_lifter import LitLifter
from seal_lightning.cli.fit_critic import fit_critic

__all__ = ["Heteroscedastic", "fit", "fit_critic_of", "make_host"]


class Heteroscedastic(LitLifter):
    r"""A plain lifter that says of each joint how far off it expects to be, and is trained on the likelihood.

    The errors are Laplacian, with the scale :math:`b_j` as a 52nd to 68th output: the loss is
    :math:`\log b_j + \lVert \hat y_j - y_j \rVert / b_j` (Kendall and Gal, 2017).
    """

    def __init__(self, hidden: int = 256, dropout: float = 0.1) -> None:
        super().__init__(channels=3, hidden=hidden, dropout=dropout)
        self.net.output = nn.Linear(hidden, 17 * 4)

    def both(self, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
        """Poses (..., J, 3) and expected errors (..., J)."""
        frames = keypoints_2d.flatten(0, -3)
        features = self.net.widen(frames.flatten(1))
        for stage in self.net.stages:
            features = features + stage(features)
        out = self.net.output(features).unflatten(1, (17, 4)).unflatten(0, keypoints_2d.shape[:-2])
        return out[..., :3], out[..., 3].exp()

    def forward(self, keypoints_2d: Tensor, visibility: Tensor | None = None) -> Tensor:
        """Lift keypoints to poses."""
        return self.both(keypoints_2d)[0]

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """One optimisation step on the likelihood."""
        pose, scale = self.both(batch["keypoints_2d"])
        return (scale.log() + (pose - batch["target"]).norm(dim=-1) / scale).mean()


def make_host(name: str, **arguments: Any) -> L.LightningModule:
    """A host: `plain`, `heteroscedastic`, or the name of a backbone with the arguments of its network."""
    if name == "plain":
        return LitLifter(channels=3, **arguments)
    if name == "heteroscedastic":
        return Heteroscedastic(**arguments)
    # Predictions are averaged over the mirror image where they are kept, so that both views can be compared.
    return backbones.LitLifter(
        getattr(backbones, name)(channels=3, **arguments),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3),
        flip_test=False,
    )


def fit(
    study: CriticStudy, plan: HostPlan, fold: int, seed: int, callbacks: list[Any], checkpoint: Path | None = None
) -> Any:
    """Train a host, and return it in evaluation mode; its checkpoint is written where one is asked for."""
    L.seed_everything(seed, verbose=False)
    host, trainer = make_host(**plan.net), _trainer(plan, callbacks)
    trainer.fit(host, study.training(plan, fold, seed))
    if checkpoint is not None:
        trainer.save_checkpoint(checkpoint)
    return host.eval()


def fit_critic_of(
    study: CriticStudy, plan: HostPlan, fold: int, seed: int, callbacks: list[Any], finished: Path, checkpoint: Path
) -> Any:
    """Fit a critic to the host of a checkpoint as ``seal-lightning fit-critic`` does, and return the host."""
    content = torch.load(finished, weights_only=True)
    bare = checkpoint.with_suffix(".bare.ckpt")
    torch.save({**content, "callbacks": {}}, bare)  # without the critic that it was trained beside
    host: Any = make_host(**plan.net)
    checkpoint.unlink(missing_ok=True)  # of a run that was stopped
    fit_critic(_trainer(plan, callbacks), host, study.training(plan, fold, seed), bare, checkpoint)
    bare.unlink()
    return host.eval()


def _trainer(plan: HostPlan, callbacks: list[Any]) -> L.Trainer:
    return L.Trainer(
        **{"max_steps": plan.steps, "max_epochs": -1, "limit_val_batches": 0, "gradient_clip_val": 1.0},
        **{"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False, "callbacks": callbacks},
    )
