"""Accuracy and structure of the validation poses, logged beside what a model logs itself."""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning import _distributed as ranks
from seal_lightning._values import is_number
from seal_lightning.functional.poses import Poses
from seal_lightning.metrics import (
    MPJPE,
    PMPJPE,
    AccelerationError,
    AsymmetryError,
    BodySegmentLengthError,
    LimbSymmetryError,
)
from seal_lightning.metrics.base import PoseMean
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.observed import StepObserver

__all__ = ["STRUCTURE_UNITS", "StructureMetrics"]

# The unit of each score, by its name behind "val/" or "test/".
STRUCTURE_UNITS = {
    **{"mpjpe": "mm", "p_mpjpe": "mm", "lse": "%", "bsle": "%", "asymmetry": "mm", "accel": "mm/frame²"},
    "bounded_bsle": "%",
}
_MILLIMETRES = {"mm": 1.0, "m": 1000.0}
_STAGES = {"validate": "val", "test": "test"}


class StructureMetrics(Callback):
    """Logs accuracy and structure of the poses in every validation and test, for every logger the trainer has.

    All are means over the poses of the epoch, in millimetres and percent, whatever the unit of the data; lower is
    better:

    - ``val/mpjpe``, the mean distance of a joint from its true place, both poses aligned at the root, and
      ``val/p_mpjpe``, the same after the best rotation, scale and shift;
    - ``val/lse``, the limb symmetry error: by how many percent left and right bones differ;
    - ``val/bsle``, the body segment length error: by how many percent bones are too long or too short;
    - ``val/asymmetry``, how far the difference between left and right is from that of the true pose, in millimetres;
    - ``val/accel``, the acceleration error in millimetres per frame squared, for clips of three frames or more.

    In a test they are ``test/mpjpe``, and so on. `ModelCheckpoint`, `EarlyStopping` and sweeps can monitor them. A name
    that the model's step logs itself is left to it, and what the skeleton cannot measure (it has no left and right) is
    not logged. Averages are those of all processes together; as always in Lightning, samples that a distributed sampler
    repeats count twice.

    With `mpjpe_bound` there is ``val/bounded_bsle`` too, for a search for better structure that must not pay for it
    with accuracy: ``val/bsle``, and one percent more for each percent by which ``val/mpjpe`` is above the bound.

    Keypoints, prediction and target are those that a SealMixin captures. In the step of any other model they are found
    in the same way. Where they cannot be, a warning says why and nothing is logged. The training and its random numbers
    stay as they are.

    Args:
        unit: Unit of the poses, "m" or "mm"; None means the ``unit`` of the datamodule.
        skeleton: Skeleton of the poses; None means that of a SealMixin, or the datamodule's for any other model.
        mpjpe_bound: Largest ``val/mpjpe`` that is welcome, in millimetres, such as that of the plain model.

    Raises:
        ValueError: If `unit` is unknown or `mpjpe_bound` is not above zero; when the training starts, if no skeleton or
            unit can be found.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[StructureMetrics(unit="m")], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        unit: Literal["m", "mm"] | None = None,
        skeleton: str | Skeleton | None = None,
        mpjpe_bound: float | None = None,
    ) -> None:
        if unit not in (None, "m", "mm"):
            raise ValueError(f"Expected `unit` to be 'm', 'mm' or None, but got {unit!r}.")
        if mpjpe_bound is not None and not (is_number(mpjpe_bound) and 0.0 < mpjpe_bound < math.inf):
            raise ValueError(f"Expected `mpjpe_bound` to be millimetres above zero, but got {mpjpe_bound!r}.")
        self.unit, self.mpjpe_bound = unit, mpjpe_bound
        self.skeleton = None if skeleton is None else get_skeleton(skeleton)
        self._metrics: dict[str, PoseMean] = {}
        self._warned: set[str] = set()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find skeleton and unit now rather than after an epoch of training."""
        if stage == "predict":
            return
        data: Any = getattr(trainer, "datamodule", None)
        own = pl_module.seal if isinstance(pl_module, SealMixin) else data
        skeleton = self.skeleton or getattr(own, "skeleton", None)
        if skeleton is None:
            raise ValueError(
                "Expected StructureMetrics to know the `skeleton` of the poses, but neither model nor datamodule has "
                'one: StructureMetrics(skeleton="h36m17").'
            )
        unit = self.unit or getattr(data, "unit", None)
        if unit not in _MILLIMETRES:
            raise ValueError(
                "Expected StructureMetrics to know the `unit` of the poses, 'm' or 'mm', since the datamodule has "
                f'none, but got {unit!r}: StructureMetrics(unit="m").'
            )
        self._skeleton, self._factor = get_skeleton(skeleton), _MILLIMETRES[unit]
        self._observer = StepObserver(self._skeleton)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with empty metrics, of which all processes have the same, whatever batches they get."""
        root, pairs = self._skeleton.root_joints, self._skeleton.paired_bones
        metrics: dict[str, PoseMean] = {"mpjpe": MPJPE(root), "p_mpjpe": PMPJPE()}
        metrics |= {"bsle": BodySegmentLengthError(self._skeleton), "accel": AccelerationError(root=root)}
        if pairs:
            metrics |= {"lse": LimbSymmetryError(self._skeleton), "asymmetry": AsymmetryError(self._skeleton)}
        self._metrics = {name: metric.to(pl_module.device) for name, metric in metrics.items()}

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Look at the step; a SealMixin does so itself."""
        self._observer.watch(pl_module, "validation_step")

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, *_: Any) -> None:
        """Look at the step, as in validation."""
        self._observer.watch(pl_module, "test_step")

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Measure the poses of one batch."""
        reason = "It compares no predicted pose with a true one."
        try:
            observed = self._observer.read(pl_module)
            if observed is not None and observed.read.target is not None:
                self._update(observed.read, observed.read.target)
                return
        except (ValueError, TypeError, LookupError) as error:  # of SEAL's reading, or of a `seal_batch`
            reason = f"{type(error).__name__}: {error}"
        self._warn(
            f"Expected StructureMetrics to read the poses of {type(pl_module).__name__}'s step, but could not.",
            f"{reason} Nothing is logged of such steps.",
        )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the values of the epoch, over all processes."""
        if not trainer.sanity_checking:
            self._log(pl_module, "validate")
        self._metrics = {}

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the values of the test, over all processes."""
        self._log(pl_module, "test")
        self._metrics = {}

    on_test_epoch_start = on_validation_epoch_start
    on_test_batch_end = on_validation_batch_end  # type: ignore[assignment]

    def _update(self, captured: SealBatch, target: Tensor) -> None:
        visibility = captured.visibility
        poses = (captured.prediction.detach().float() * self._factor, target.float() * self._factor)
        if captured.labelled is not None:
            poses = (poses[0][captured.labelled], poses[1][captured.labelled])
            visibility = None if visibility is None else visibility[captured.labelled]
        clips = poses[0].dim() == 4 and poses[0].shape[1] > 2
        shared = Poses(*poses, visibility)
        for name, metric in self._metrics.items():
            if len(poses[0]) and (clips or name != "accel"):
                metric.update(*poses, visibility, poses=shared)

    def _log(self, module: LightningModule, stage: str) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*before the ``update`` method", category=UserWarning)
            values = {name: metric.compute() for name, metric in self._metrics.items()}  # of all processes
        if self.mpjpe_bound is not None:
            excess = (values["mpjpe"] / self.mpjpe_bound - 1.0).clamp(min=0.0)
            values["bounded_bsle"] = values["bsle"] + 100.0 * excess
        names = [f"{_STAGES[stage]}/{name}" for name in values]
        # Two values of one name would go over each other. Lightning has no public way to ask what is logged.
        results: Any = module.trainer._results
        steps = {item.meta.name for item in results.values() if item.meta.fx.endswith("_step")}
        # A process may have had no batch, of a kind or at all, and all have to log the same.
        counts = [self._metrics.get(name, self._metrics["bsle"]).count.double() for name in values]
        theirs = torch.tensor([name in steps for name in names]).to(counts[0])
        counted, taken = ranks.sum_over_ranks(torch.stack([torch.stack(counts), theirs])).tolist()
        logged = {
            name: value
            for name, value, count, other in zip(names, values.values(), counted, taken, strict=True)
            if count and not other
        }
        if own := [name for name, other in zip(names, taken, strict=True) if other]:
            self._warn(f"{type(module).__name__} logs {own} itself, and StructureMetrics leaves these names to it.")
        # The values are equal on all processes, but without `sync_dist` Lightning would warn that they may differ.
        module.log_dict(logged, sync_dist=True, batch_size=1)

    def _warn(self, message: str, more: str = "") -> None:
        """Warn once, whatever more there is to say of it."""
        if message not in self._warned:
            self._warned.add(message)
            warnings.warn(f"{message} {more}".strip(), stacklevel=2)
