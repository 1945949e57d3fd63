"""Trains the two networks that come with the package for ``seal-lightning score``, on UI-PRMD alone.

    python -m benchmarks.shipped --data-dir DIR

An energy, which tells true poses from damaged ones, and an error critic, which learns beside a small lifter. Subjects 1
to 6 train, 7 and 8 give the percentiles of the energy and the bounds of the critic.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor

from benchmarks.error_estimate.damage import MIXED
from examples.plain_lifter import LitLifter
from seal_lightning import EnergyTerm, SealLoss
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.data import DetectorNoise, MocapDataModule, read_mocap
from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.evaluation import SEVERITIES, auroc, corrupt
from seal_lightning.evaluation.plausibility import MotionEnergy, body_axes, shipped_energy
from seal_lightning.functional import bone_lengths
from seal_lightning.loss_nets import StructureLossNet
from seal_lightning.skeleton import get_skeleton

__all__ = ["fit_critic", "fit_energy", "main", "percentiles"]

H36M = get_skeleton("h36m17")
NET = {"skeleton": "h36m17", "hidden": 64, "depth": 3}
SPLIT = {"train": ["uS01", "uS02", "uS03", "uS04", "uS05", "uS06"], "val": ["uS07", "uS08"]}
DAMAGE = ("bone_length", "limb_scale", "joint_limit", "left_right_swap", "depth_flip", "noise")


def fit_energy(poses: Tensor, held_out: Tensor, steps: int, batch_size: int = 256) -> MotionEnergy:
    """Train an energy of poses (N, J, 3), and measure its percentiles on held-out ones.

    The negatives are truths damaged in every way that `corrupt` knows but for the global scale, at any severity, and
    means of two truths. They are turned to the axes of their own body, as every pose is that is scored: otherwise it
    would be enough to see that the hips are askew.
    """
    torch.manual_seed(0)
    criterion = SealLoss(H36M, [EnergyTerm(lambda skeleton: StructureLossNet(**NET))])  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(criterion.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(0)
    for step in range(steps):
        rows = torch.randint(len(poses), (2, batch_size), generator=generator)
        truth = poses[rows[0]]
        kind = (*DAMAGE, None)[step % (len(DAMAGE) + 1)]
        if kind is None:
            damaged = (truth + poses[rows[1]]) / 2
        else:
            low, high = SEVERITIES[kind][0], SEVERITIES[kind][-1]
            severity = low + (high - low) * float(torch.rand(1, generator=generator))
            damaged = corrupt(kind, truth, H36M, severity, generator)
        framed = [body_axes(part, H36M) for part in (damaged, truth)]
        loss = criterion.ranking_loss(*framed, torch.zeros(batch_size, 17, 2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    net: Any = next(iter(criterion.loss_nets.values()))
    energy = MotionEnergy(net, torch.zeros(101))
    energies = torch.cat([energy.energy(part) for part in held_out.split(48)])
    energy.quantiles = torch.quantile(energies, torch.linspace(0, 1, 101))
    for kind in DAMAGE:
        for severity in SEVERITIES[kind]:
            bad = corrupt(kind, held_out, H36M, severity, torch.Generator().manual_seed(0))
            scores = torch.cat([energy.energy(part) for part in bad.split(48)])
            print(f"{kind} {severity:g}: AUROC {auroc(scores, energies):.3f}")
    return energy


def percentiles(energy: MotionEnergy, path: Path) -> dict[str, tuple[float, float]]:
    """Mean percentile of the poses of every skeleton in a file, and of their mirror images, whose sides are swapped."""
    mocap, found = read_mocap(path), dict[str, tuple[float, float]]()
    for name in sorted(set(mocap.skeleton_id.tolist())):
        clips = [torch.from_numpy(mocap.clip(i)[::6].copy()) for i in np.flatnonzero(mocap.skeleton_id == name)]
        both = [torch.cat([energy.energy(clip * torch.tensor([sign, 1.0, 1.0])) for clip in clips]) for sign in (1, -1)]
        own, mirrored = (float(energy.percentile(part).mean()) for part in both)
        found[name] = own, mirrored
    return found


def fit_critic(path: str, steps: int) -> tuple[ErrorCritic, dict[str, float]]:
    """Train a critic beside a plain lifter, and return it with what it is worth on the held-out subjects."""
    L.seed_everything(0, verbose=False)
    critic = ErrorCritic(H36M, inputs=("keypoints", "confidence", "pose"), hidden=128)
    data = MocapDataModule(
        [path],
        split=SPLIT,
        train_frame_step=2,
        eval_frame_step=12,
        noise=DetectorNoise(),
        corruption=MIXED,  # type: ignore[arg-type]
        confidence=True,
        eval_cameras_per_clip=2,
    )
    trainer = L.Trainer(
        **{"max_steps": steps, "max_epochs": -1, "limit_val_batches": 0, "gradient_clip_val": 1.0},
        **{"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False},
        **{"enable_progress_bar": False, "enable_model_summary": False},
        callbacks=[ErrorEstimate(critic, unit="m")],
    )
    host = LitLifter(channels=3, hidden=256, dropout=0.1)
    trainer.fit(host, data)
    trainer.limit_val_batches = 1.0
    trainer.validate(host, data, verbose=False)
    return critic, {name: float(value) for name, value in trainer.callback_metrics.items()}


def main(arguments: list[str] | None = None) -> None:
    """Train both networks, and write them where the package has them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shipped", description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=Path("."), help="folder of uiprmd_h36m17.npz")
    parser.add_argument(
        "--output", type=Path, default=Path("seal_lightning/evaluation/shipped"), help="folder to write"
    )
    parser.add_argument("--steps", type=int, default=2000, help="steps of each training")
    parser.add_argument("--only", choices=("energy", "critic"), help="train one of the two")
    parser.add_argument(
        "--percentiles", type=Path, nargs="+", help="train nothing: what the shipped energy says of files"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.percentiles:
        for path in options.percentiles:
            for name, (own, mirrored) in percentiles(shipped_energy(), path).items():
                print(f"{name}: {own:.0f}, mirrored {mirrored:.0f}")
        return
    options.output.mkdir(parents=True, exist_ok=True)
    path = str(options.data_dir / "uiprmd_h36m17.npz")
    if options.only != "critic":
        data = MocapDataModule([path], split=SPLIT, eval_frame_step=4, train_frame_step=3, eval_cameras_per_clip=1)
        train, held_out = (_poses(data, side) for side in ("train", "val"))
        fit_energy(train, held_out, options.steps).save(options.output / "energy.npz", NET)
    if options.only != "energy":
        critic, worth = fit_critic(path, options.steps)
        critic.save(options.output / "critic.npz")
        print(json.dumps(worth))


def _poses(data: MocapDataModule, side: str) -> Tensor:
    dataset = data.dataset(side)
    poses = dataset.__getitems__(list(range(len(dataset))))["target"]
    return poses / bone_lengths(poses, H36M).mean()


if __name__ == "__main__":
    main()
