"""Fits an estimate of the error of a host's poses beside its training, and gives it for what the host predicts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from seal_lightning import _distributed as ranks
from seal_lightning._values import check_above_zero, check_counts
from seal_lightning.callbacks._error_calibration import Calibration
from seal_lightning.callbacks._training_poses import TrainingPoseMoments
from seal_lightning.error_estimate.critic import ErrorCritic, Errors
from seal_lightning.error_estimate.damage import ViewDamage
from seal_lightning.error_estimate.training import CriticTraining, View
from seal_lightning.error_estimate.views import Views
from seal_lightning.evaluation.free_scores import TrainingPoses
from seal_lightning.skeleton import get_skeleton
from seal_lightning.training.mixin import SealMixin
from seal_lightning.training.observed import Observed, StepObserver

__all__ = ["ErrorEstimate", "Estimated", "error_estimate_of"]

_MILLIMETRES = {"m": 1000.0, "mm": 1.0}


class Estimated(NamedTuple):
    """What a critic says of the poses of a step."""

    pose: Tensor
    """The pose (..., J, 3) that is judged, as predicted."""
    flip: Tensor
    """Prediction minus mirrored prediction of the mirrored view (..., J, 3); zero where that was not needed."""
    errors: Errors
    """Expected errors in millimetres, of poses (...) and joints (..., J)."""
    bounds: Errors
    """What nine in ten errors stay below, likewise; NaN where the critic was not calibrated."""
    observed: Observed
    """The step."""


class ErrorEstimate(Callback):
    """Fits an `ErrorCritic` beside a host: an estimate in millimetres of how far off each predicted pose and joint is.

    Any LightningModule that lifts keypoints to poses can be the host, with SEAL or without, in automatic or manual
    optimization. It is trained bit for bit as without the callback: after its step, the callback runs the host's
    network twice more in evaluation mode, for the step's keypoints as `damage` changes them and for their mirror image,
    and the critic learns the errors of these predictions. Critic and optimizer are in the checkpoint, as this
    callback's state.

    Logged are ``error_estimate/loss``, and in validation, over all poses: ``error_estimate/spearman``, the rank
    correlation of estimated and true error; ``error_estimate/auroc``, how well it tells the worst tenth of the poses;
    and ``error_estimate/bias``, the mean estimate over the mean error, less one. Each is the mean over the groups of
    the batches' entry ``group`` where there is one. The validation data also set the factor that makes an estimate a
    bound which nine in ten errors stay below (`conformal_factor`), the largest of the groups: they have to be of
    people whom neither host nor critic learns from.

    `PoseWriter` writes the estimates in ``seal-lightning predict``.

    Args:
        critic: The critic.
        unit: Unit of the poses, "m" or "mm".
        damage: How the views that the critic learns from are damaged. None is the default of `ViewDamage`.
        every_n_steps: Learn in every n-th training step only: each of these costs two forwards of the host.
        lr: Learning rate of the critic's AdamW.
        flip_averaged: Whether the host's `predict_step` averages over the mirror image, so that the error of the mean
            is what is estimated.
        image_width: Width of the pictures in the unit of the keypoints, where x counts from their left edge. None where
            x is zero on the middle line, as `seal_lightning.data.normalize_screen` makes it.

    Raises:
        ValueError: If an argument is out of its range, or, later, a step cannot be read or its network not be run once
            more; the message says why.

    Example:
        >>> import lightning as L
        >>> callback = ErrorEstimate(ErrorCritic("h36m17"), unit="m")
        >>> trainer = L.Trainer(callbacks=[callback], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        critic: ErrorCritic,
        unit: Literal["m", "mm"],
        damage: ViewDamage | None = None,
        every_n_steps: int = 1,
        lr: float = 1e-3,
        flip_averaged: bool = False,
        image_width: float | None = None,
    ) -> None:
        if unit not in _MILLIMETRES:
            raise ValueError(f"Expected `unit` to be 'm' or 'mm', but got {unit!r}.")
        check_counts(every_n_steps=every_n_steps)
        if image_width is not None:
            check_above_zero(image_width=image_width)
        self.critic, self.unit, self.every_n_steps = critic, unit, every_n_steps
        self._training = CriticTraining(critic, lr)
        self._views = Views(critic, ViewDamage() if damage is None else damage, flip_averaged, image_width)
        self._moments = TrainingPoseMoments(critic.skeleton)
        self._observer = StepObserver(critic.skeleton)
        self._batches = self._steps = 0
        self._learns = False  # in validation too, for a host that is not trained
        self._calibration = Calibration(critic)
        self._estimated: Estimated | None = None

    @property
    def steps(self) -> int:
        """How many updates the critic has had."""
        return self._steps

    @property
    def training_poses(self) -> TrainingPoses | None:
        """The true poses that the critic learned from, measured; None before there were two."""
        return self._moments.poses()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that critic, host and data are of one skeleton and unit.

        Raises:
            ValueError: If they are not.
        """
        self._estimated = None
        data: Any = getattr(trainer, "datamodule", None)
        own = pl_module.seal if isinstance(pl_module, SealMixin) else data
        skeleton = getattr(own, "skeleton", None)
        if skeleton is not None and get_skeleton(skeleton) != self.critic.skeleton:
            raise ValueError("Expected `skeleton` of the ErrorCritic to be that of the data, but it is another one.")
        if getattr(data, "unit", self.unit) not in (None, self.unit):
            raise ValueError(f"Expected `unit` to be {data.unit!r}, that of the data, but got {self.unit!r}.")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Look at the step, if the critic learns in it."""
        if self._batches % self.every_n_steps == 0:
            self._observer.watch(pl_module, "training_step")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Let the critic learn."""
        due, self._batches = self._batches % self.every_n_steps == 0, self._batches + 1
        loss = self._learn(pl_module) if due else None
        if loss is not None and not trainer.barebones:
            pl_module.log("error_estimate/loss", loss)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the step."""
        self._watch(pl_module, "validation_step")

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the step."""
        self._watch(pl_module, "test_step")

    def on_predict_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """Look at the step."""
        self._watch(pl_module, "predict_step")

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there is a critic to ask.

        Raises:
            ValueError: If the critic was not fitted.
        """
        if not self.critic.fitted:
            raise ValueError(
                "Expected an ErrorCritic that was fitted, but this one was not. Give the `ckpt_path` of a `fit` with "
                "ErrorEstimate; to fit a critic for a finished host, run `seal-lightning fit-critic`."
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the epoch before."""
        self._calibration = Calibration(self.critic)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Compare estimated with true errors."""
        if self._learns:
            self._learn(pl_module)
        elif self.critic.fitted and not trainer.sanity_checking:
            estimated = self.estimated(pl_module)
            if estimated is not None:
                self._calibration.add(estimated.pose, estimated.errors, estimated.observed.read, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log how good the estimates are, and calibrate the bounds; both over the poses of all processes."""
        if self._learns or not self.critic.fitted or trainer.sanity_checking:
            return
        values, self._calibration = self._calibration.compute(pl_module.device), Calibration(self.critic)
        # Equal on all processes, but without `sync_dist` Lightning would warn that they may differ.
        pl_module.log_dict({f"error_estimate/{name}": value for name, value in values.items()}, sync_dist=True)

    def estimated(self, pl_module: LightningModule) -> Estimated | None:
        """What the critic says of the poses of the validation, test or predict step that ended last.

        Args:
            pl_module: The host.

        Returns:
            Estimates of the shape of the prediction; None where the step compared no pose with a true one.

        Raises:
            ValueError: If the step cannot be read, or its network not be run once more.
        """
        if self._estimated is None:
            observed = self._observer.read(pl_module)
            if observed is None:
                return None
            inputs = self._views.as_they_are(observed)
            if observed.read.target is None:
                self._views.check_averaged(observed, inputs["pose"])
            errors = self.critic.to(observed.read.prediction.device).errors(**inputs)
            self._estimated = Estimated(inputs["pose"], inputs["flip"], errors, self.critic.bounds(errors), observed)
        return self._estimated

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave a step alone that was never called."""
        self._observer.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave a step alone that was never called."""
        self._observer.close()

    @contextmanager
    def learning_in_validation(self) -> Iterator[None]:
        """Inside the block the critic learns from validation steps, in which a host is not trained."""
        self._learns = True
        try:
            yield
        finally:
            self._learns = False

    def state_dict(self) -> dict[str, Any]:
        """The critic, its optimizer, and how far it has come."""
        counts = {"batches": self._batches, "steps": self._steps, "channels": self._views.channels}
        return {**self._training.state_dict(), "training_poses": self._moments.state_dict(), **counts}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` returned.

        Raises:
            ValueError: If it is of another critic.
        """
        self._training.load_state_dict(state_dict)
        self._moments.load_state_dict(state_dict["training_poses"])
        self._batches, self._steps = state_dict["batches"], state_dict["steps"]
        self._views.channels = state_dict["channels"]

    def _watch(self, module: LightningModule, name: Literal["validation_step", "test_step", "predict_step"]) -> None:
        self._estimated = None
        self._observer.watch(module, name)

    def _learn(self, module: LightningModule) -> Tensor | None:
        """One update of the critic; every process takes part in it, with poses or without."""
        observed = self._observer.read(module)
        if observed is None and ranks.world_size() == 1:
            return None
        self.critic.to(module.device)
        self.critic.millimetres.fill_(_MILLIMETRES[self.unit])
        view = self._views.nothing(module.device)
        if observed is not None:
            view = self._views.damaged(observed, self.critic.seed, ranks.rank(), self._steps)
        self._steps += 1
        # Validation may be in inference mode, in which nothing can be learned.
        with torch.inference_mode(False):
            view = _outside_of_inference(view)
            self._moments.update(view)
            return self._training.step(view)


def error_estimate_of(trainer: Trainer) -> ErrorEstimate | None:
    """The trainer's `ErrorEstimate`, if it has one."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback for callback in callbacks if isinstance(callback, ErrorEstimate)), None)


def _outside_of_inference(view: View) -> View:
    inputs = {name: value.clone() for name, value in view.inputs.items()}
    masks = (None if mask is None else mask.clone() for mask in (view.visibility, view.labelled))
    return View(inputs, view.target.clone(), *masks)
