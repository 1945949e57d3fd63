"""One run of a study: train a method with a seed, and keep the poses that it predicts for validation and test."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from jsonargparse import ArgumentParser
from jsonargparse.util import import_object
from torch import Tensor

from benchmarks.accuracy.energies import energy_knowledge
from benchmarks.accuracy.study import Study
from benchmarks.measure import versions
from seal_lightning import SealMixin
from seal_lightning.callbacks import EnergyMonitor
from seal_lightning.constraints import constrain
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training.subclass import seal_class

__all__ = ["Fit", "fit", "make_data", "mirrored", "predict", "train"]

CURVE_POINTS = 5  # validations in the course of a training
FITTED_BATCHES = 60  # training batches that a constraint with a method `fit` is fitted to


class LearningCurve(L.Callback):
    """Records the validation error that the host logs, as training goes on."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Add a point to the curve: the step, and the error in metres."""
        if not trainer.sanity_checking:
            self.points.append((trainer.global_step, float(trainer.callback_metrics["val_mpjpe"])))


class ForceRatios(L.Callback):
    """Records how hard the energy pulls, as a share of the task's force, every 20 steps."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Add the ratio of this step, once the energy is felt."""
        if trainer.global_step % 20 == 0 and "force_ratio" in (stats := pl_module.seal.stats):
            self.values.append(float(stats["force_ratio"]))


def train(study: Study, method: str, seed: int, predictions: Path, accelerator: str = "cpu") -> dict[str, Any]:
    """Train one method with one seed.

    Nothing is scored here: the report does that, from the predicted poses.

    Args:
        study: The study.
        method: Name of the method.
        seed: Seed of the initial weights and of the order of the data.
        predictions: File (npz) to which the predicted poses of both evaluation splits are written: "val" and "test" as
            the model predicts them, "val_flips" and "test_flips" with flip averaging.
        accelerator: That of the trainer.

    Returns:
        What a line of ``results.jsonl`` holds, as plain data.
    """
    predictions.parent.mkdir(parents=True, exist_ok=True)
    fields = study.methods[method]
    prior = None
    if fields.prior is not None:
        prior = predictions.with_suffix(".prior.pt")
        torch.save(fit(study, fields.prior, seed, accelerator).model.seal.state_dict(), prior)
    teachers = [_teacher(study, name, seed, accelerator, predictions.parent) for name in fields.teachers or ()]
    made = fit(study, method, seed, accelerator, prior, teachers)
    poses = {}
    for split, loader in _loaders(made.data).items():
        # A model that knows several domains is told which one comes.
        with made.model.in_domain(split) if hasattr(made.model, "in_domain") else nullcontext():
            poses[split], poses[f"{split}_flips"] = predict(made.model, loader, get_skeleton(study.skeleton))
    # Under another name first: a file of the final name is always whole.
    partial = predictions.with_suffix(".part.npz")
    np.savez(partial, **poses)  # type: ignore[arg-type]
    partial.rename(predictions)
    return {
        **{"method": method, "family": fields.family, "seed": seed, "steps": fields.steps or study.steps},
        **{"seconds": made.seconds, "accelerator": accelerator, "curve": made.curve, "logged": made.logged},
        "force_ratio": made.force_ratio,
        "versions": versions(),
        **(energy_knowledge(made.model, made.data) if _judges_poses(made.model) else {"knowledge": None}),
    }


def _judges_poses(model: Any) -> bool:
    """Whether a model has energies, and these can be asked about single poses."""
    return isinstance(model, SealMixin) and not any(map(model.seal.loss_nets.sees_clips, model.seal.loss_nets))


class Fit(NamedTuple):
    """What is left of a training; `logged` are the last values that were logged.

    `force_ratio` is the mean over the steps in which the energy was felt; None for a plain training.
    """

    model: Any
    data: Any
    seconds: float
    curve: list[tuple[int, float]]
    logged: dict[str, float]
    force_ratio: float | None


def _teacher(study: Study, method: str, seed: int, accelerator: str, folder: Path) -> dict[str, Any]:
    """The trained network of a method and the people whose labels it had; students share it, so it is kept."""
    path = folder / f"{study.run_key(method, seed)}.teacher.pt"
    if not path.exists():
        model = fit(study, method, seed, accelerator).model
        torch.save({"net": model.net.state_dict(), "labelled": model.labelled}, path)
    teacher: dict[str, Any] = torch.load(path, weights_only=True)
    return teacher


def fit(
    study: Study,
    method: str,
    seed: int,
    accelerator: str,
    prior: Path | None = None,
    teachers: Sequence[dict[str, Any]] = (),
) -> Fit:
    """Train one method; `prior` is a file of loss-nets to be used frozen, `teachers` is what to learn from."""
    steps = study.methods[method].steps or study.steps
    L.seed_everything(seed, verbose=False)
    data = make_data(study, method, seed)
    model = _make_model(study, method, seed, data, prior)
    if teachers:
        model.learn_from(teachers)
    curve, ratios = LearningCurve(), ForceRatios()
    trainer = L.Trainer(
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=max(1, steps // CURVE_POINTS),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=study.gradient_clip_val,
        callbacks=[curve, *([EnergyMonitor(), ratios] if isinstance(model, SealMixin) else [])],
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, data)
    seconds = time.perf_counter() - start
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    model.to("cpu").eval()
    felt = [value for value in ratios.values if value > 0]
    return Fit(model, data, seconds, curve.points, logged, float(np.mean(felt)) if felt else None)


def make_data(study: Study, method: str, seed: int) -> Any:
    """Make the datamodule of a run; only its training data depend on the seed."""
    arguments = {**study.data["init_args"], **(study.methods[method].data or {}), "seed": seed}
    return _instantiate("data", L.LightningDataModule, {**study.data, "init_args": arguments})


def _make_model(study: Study, method: str, seed: int, data: Any, prior: Path | None) -> Any:
    fields = study.methods[method]
    config = {**study.host, "init_args": {**study.host.get("init_args", {}), **(fields.host or {})}}
    if fields.host_class is not None:
        config["class_path"] = fields.host_class
    if fields.seal is not None:
        made = seal_class(import_object(config["class_path"]))
        config["class_path"] = fields.seal_class or f"{made.__module__}.{made.__qualname__}"
        frozen = {} if prior is None else {"mode": "static", "checkpoint": str(prior)}
        config["init_args"]["seal"] = {"seed": seed, "skeleton": study.skeleton, **fields.seal, **frozen}
    model: L.LightningModule = _instantiate("host", L.LightningModule, config)
    if fields.constraint is not None:
        kind = import_object(fields.constraint)
        fitted = hasattr(kind, "fit")
        constraint = kind.fit(study.skeleton, _true_poses(data)) if fitted else kind(study.skeleton)
        constrain(model, constraint, fields.weight or 0.0)
    return model


def _true_poses(data: Any) -> Tensor:
    """Return the true poses (N, J, 3) of the first training batches, for a constraint that is fitted to them."""
    data.setup("fit")
    batches = [batch["target"].flatten(0, -3) for batch in islice(data.train_dataloader(), FITTED_BATCHES)]
    return torch.cat(batches)


def _instantiate(name: str, base: type, config: dict[str, Any]) -> Any:
    """Make an object from its ``class_path`` and ``init_args``, as the command line of Lightning does."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, name)
    parsed = parser.parse_object({name: deepcopy(config)})  # the parser writes into what it is given
    return parser.instantiate_classes(parsed)[name]


def _loaders(data: Any) -> dict[str, Any]:
    data.setup("test")
    return {"val": data.val_dataloader(), "test": data.test_dataloader()}


@torch.no_grad()
def predict(
    model: Callable[[Tensor], Tensor], loader: Any, skeleton: Skeleton
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the predicted poses of all batches, and their means with the mirrored poses of mirrored keypoints."""
    plain, averaged = [], []
    for batch in loader:
        pose = model(batch["keypoints_2d"])
        plain.append(pose)
        averaged.append((pose + mirrored(model(mirrored(batch["keypoints_2d"], skeleton)), skeleton)) / 2)
    return torch.cat(plain).numpy(), torch.cat(averaged).numpy()


def mirrored(joints: Tensor, skeleton: Skeleton) -> Tensor:
    """Mirror joints (..., J, C) about x = 0, the middle of the picture, and swap left and right."""
    joints = joints[..., list(skeleton.partners), :]
    return torch.cat((-joints[..., :1], joints[..., 1:]), dim=-1)
