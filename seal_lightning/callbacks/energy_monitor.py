"""What the energies know, and where they pull a prediction, measured on validation data."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torchmetrics.utilities.distributed import gather_all_tensors

from seal_lightning import _distributed as ranks
from seal_lightning.functional import asymmetry_error, body_segment_length_error, limb_symmetry_error, mpjpe
from seal_lightning.loss.criterion import SealLoss
from seal_lightning.loss.forces import TINY
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.mixin import SealMixin

__all__ = ["EnergyMonitor"]

_ERRORS = ("limb_symmetry_error", "asymmetry_error", "body_segment_length_error", "mpjpe")


class EnergyMonitor(Callback):
    r"""Logs, for every energy and validation epoch, whether it is fit to teach the pose-net.

    Logged as ``seal/monitor/<energy>/<name>``, over all labelled validation poses whose root is visible, are:

    - ``energy_true``, ``energy_prediction``, and ``ranking_accuracy``: how often the truth has the lower of the two;
    - ``spearman_limb_symmetry_error``, ``..._asymmetry_error``, ``..._body_segment_length_error``, ``..._mpjpe``: rank
      correlation over the epoch of the prediction's energy with its errors. NaN where the skeleton has no such error;
    - ``alignment``: :math:`\cos(-\partial E / \partial \hat y,\ y - \hat y)`, 1 where the energy pulls straight to the
      truth, 0 where it pulls at right angles to the way there;
    - ``force_ratio``: length of that pull, times the weight of the last training step, divided by the length of the
      gradient of `mpjpe`, whatever loss the host has.

    It needs a host with validation steps that SEAL can read, costs two passes through every loss-net per validation
    batch, and leaves the training and its random numbers as they are. For a model without SEAL it warns once and does
    nothing.

    Example:
        >>> import lightning as L
        >>> trainer = L.Trainer(callbacks=[EnergyMonitor()], logger=False, enable_checkpointing=False)
    """

    def __init__(self) -> None:
        self._rows: dict[str, list[Tensor]] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Warn if the model has no energies."""
        if not isinstance(pl_module, SealMixin):
            warnings.warn(
                f"Expected the model of EnergyMonitor to be a SealMixin, but got {type(pl_module).__name__}: "
                "there is nothing to monitor.",
                stacklevel=2,
            )

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the epoch before."""
        self._rows = {}

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any
    ) -> None:
        """Measure one batch."""
        if isinstance(pl_module, SealMixin) and not trainer.sanity_checking:
            for name, rows in _measure(pl_module.seal, pl_module.seal_captured).items():
                self._rows.setdefault(name, []).append(rows)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the values of the epoch, gathered from all processes."""
        if not isinstance(pl_module, SealMixin) or trainer.sanity_checking:
            return
        for index, name in enumerate(pl_module.seal.energies):
            nothing = torch.zeros(0, len(_COLUMNS), device=pl_module.device)
            rows = torch.cat([nothing, *self._rows.get(name, [])])
            if ranks.world_size() > 1:
                rows = torch.cat(gather_all_tensors(rows))
            values = _summary(rows.cpu().double(), pl_module.seal.forces.weight[index].cpu())
            # The values are equal on all processes, but without `sync_dist` Lightning would warn that they may differ.
            pl_module.log_dict({f"seal/monitor/{name}/{key}": value for key, value in values.items()}, sync_dist=True)
        self._rows = {}


_COLUMNS = ("energy_true", "energy_prediction", "alignment", "pull", "task", *_ERRORS)


def _measure(criterion: SealLoss, captured: SealBatch) -> dict[str, Tensor]:
    """For each energy the columns above, one row per pose that counts."""
    # Lightning validates in inference mode, in which no gradient can be taken, so it is left here.
    with torch.inference_mode(False), torch.enable_grad():
        clips = _copied(captured)
        counts = _counted(clips, criterion.skeleton.root_joints)
        # Whole clips: a loss-net may see them.
        with torch.no_grad():
            true = criterion.energy(clips.target, clips.keypoints, clips.visibility)  # type: ignore[arg-type]
        predicted = criterion.energy(clips.prediction.requires_grad_(), clips.keypoints, clips.visibility)
        prediction, target, visibility = _rows(clips, counts)
        error = mpjpe(prediction.requires_grad_(), target, visibility=visibility, reduction="none")
        (task,) = torch.autograd.grad(error.sum(), prediction)
        way = target - prediction.detach()
        if visibility is not None:
            way = torch.where(visibility[..., None], way, 0.0)
        errors = _errors(criterion, prediction.detach(), target, visibility)
        measured = {}
        for name, energy in predicted.items():
            (slope,) = torch.autograd.grad(energy[counts].sum(), clips.prediction, retain_graph=True)
            slope = slope[counts]
            alignment = cosine_similarity(-slope.flatten(1), way.flatten(1), eps=TINY)
            forces = slope.flatten(1).norm(dim=1), task.flatten(1).norm(dim=1)
            columns = [true[name][counts], energy[counts].detach(), alignment, *forces, *errors]
            measured[name] = torch.stack(columns, dim=1)
    return measured


def _copied(captured: SealBatch) -> SealBatch:
    """The same in float32, and out of inference mode, whose tensors can be part of no graph."""
    if captured.target is None:
        raise ValueError("Expected `seal_batch` to return a `target` in validation for EnergyMonitor, but got None.")
    visibility = None if captured.visibility is None else captured.visibility.bool().clone()
    pose, target, keypoints_2d = (
        tensor.detach().float().clone() for tensor in (captured.prediction, captured.target, captured.keypoints)
    )
    return SealBatch(keypoints_2d, pose, target, visibility, captured.labelled)


def _counted(clips: SealBatch, root: tuple[int, ...]) -> Tensor:
    """The labelled poses with a visible root, bool (B,) or (B, T)."""
    counts = torch.ones(clips.prediction.shape[:-2], dtype=torch.bool, device=clips.prediction.device)
    if clips.labelled is not None:
        counts[~clips.labelled] = False
    return counts if clips.visibility is None else counts & clips.visibility[..., list(root)].any(-1)


def _rows(clips: SealBatch, counts: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Prediction, target and visibility of the poses that count; clips become frames."""
    prediction, target = clips.prediction.detach()[counts], clips.target[counts]  # type: ignore[index]
    return prediction, target, None if clips.visibility is None else clips.visibility[counts]


def _errors(criterion: SealLoss, prediction: Tensor, target: Tensor, visibility: Tensor | None) -> list[Tensor]:
    skeleton = criterion.skeleton
    options: dict[str, Any] = {"reduction": "none", "visibility": visibility}
    return [
        limb_symmetry_error(prediction, skeleton, **options),
        asymmetry_error(prediction, target, skeleton, **options),
        body_segment_length_error(prediction, target, skeleton, **options),
        mpjpe(prediction, target, **options),
    ]


def _summary(rows: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """The values to log, from the rows of an energy (float64) and its weight."""
    column = dict(zip(_COLUMNS, rows.unbind(1), strict=True))
    true, energy = column["energy_true"], column["energy_prediction"]
    summary = {
        "energy_true": true.mean(),
        "energy_prediction": energy.mean(),
        "ranking_accuracy": (true < energy).double().mean(),
        "alignment": column["alignment"].mean(),
        "force_ratio": weight * column["pull"].sum() / column["task"].sum(),
    }
    for name in _ERRORS:
        known = ~column[name].isnan()
        summary[f"spearman_{name}"] = _spearman(energy[known], column[name][known])
    return {name: value.float() for name, value in summary.items()}


def _spearman(one: Tensor, other: Tensor) -> Tensor:
    """Return Spearman's rank correlation; NaN where one of the two is constant."""
    # Not torchmetrics' `spearman_corrcoef`: that is 0 there, as if the two were known to be unrelated, adds a constant
    # to the denominator, and sums the ranks of equal values in 32 bits, which overflow where 70,000 are equal.
    if len(one) < 2:
        return one.new_tensor(torch.nan)
    return torch.corrcoef(torch.stack([_ranks(one), _ranks(other)]))[0, 1]


def _ranks(values: Tensor) -> Tensor:
    """Return the rank of every value, from 1; equal values share the mean of their ranks."""
    _, place, count = torch.unique(values, return_inverse=True, return_counts=True)
    mean_rank: Tensor = count.cumsum(0) - 0.5 * (count - 1)
    return mean_rank.to(values)[place]
