"""A lifter with labels for a few people only; of all others it has nothing but the 2D keypoints."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from examples.backbones.skeletons import H36M_LEFT, H36M_RIGHT
from examples.plain_lifter import LitLifter
from seal_lightning import SealBatch, SealMixin
from seal_lightning.constraints import SymmetryConstraint
from seal_lightning.functional import bone_lengths

__all__ = ["FewLabelsLifter", "SealFewLabelsLifter"]

Batch = dict[str, Tensor]


class FewLabelsLifter(LitLifter):
    """A `LitLifter` that never reads the targets of people (skeletons) without labels.

    Args:
        labelled: Names "dataset/skeleton" of the skeletons with labels.
        unlabelled: What happens to the other samples. "ignored": they are left out of the batch. "seen": the network
            lifts them, so they enter the statistics of its batch normalisation, but not the loss. "teacher": as "seen",
            and their predictions are pulled towards those of a teacher, a moving average of the network that sees their
            mirror image ("Mean teachers are better role models", Tarvainen and Valpola, 2017).
        teacher_weight: Weight of the distance to the teacher's predictions.
        structure: A loss on the bones of all predictions, with labels and without. "symmetry": left and right are to be
            equally long. "bones": bones are to be as long as those of the people with labels, on the mean.
        structure_weight: Weight of that loss.
        arguments: Arguments of `LitLifter`.
    """

    def __init__(
        self,
        labelled: list[str],
        unlabelled: Literal["ignored", "seen", "teacher"] = "seen",
        teacher_weight: float = 0.3,
        structure: Literal["none", "symmetry", "bones"] = "none",
        structure_weight: float = 0.1,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.labelled, self.unlabelled, self.teacher_weight = labelled, unlabelled, teacher_weight
        self.structure, self.structure_weight = structure, structure_weight
        self.teacher = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.995)).requires_grad_(False)
        swapped = list(range(17))
        for left, right in zip(H36M_LEFT, H36M_RIGHT, strict=True):
            swapped[left], swapped[right] = right, left
        self.register_buffer("swapped", torch.tensor(swapped), persistent=False)

    def rows(self, batch: Batch) -> Tensor:
        """Return a mask (B,) of the samples with a label.

        Raises:
            ValueError: If ``labelled`` names a skeleton that the data do not have.
        """
        names = self.trainer.datamodule.group_names  # type: ignore[attr-defined]
        unknown = sorted(set(self.labelled) - set(names))
        if unknown:
            raise ValueError(f"Expected `labelled` to name skeletons of the data, {names}, but got {unknown}.")
        known = torch.tensor([name in self.labelled for name in names], device=batch["group"].device)
        return known[batch["group"]]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step."""
        rows = self.rows(batch)
        if self.unlabelled == "ignored":
            batch = {name: values[rows] for name, values in batch.items()}
            rows = rows[rows]
        prediction = self(batch["keypoints_2d"])
        # The mask comes before the norm: the gradient of a NaN is NaN even where its factor is 0.
        error = torch.where(rows[:, None, None], prediction - batch["target"], 0.0)
        loss = error.norm(dim=-1).mean(-1).sum() / rows.sum().clamp(min=1)
        self.log("train_loss", loss)
        if self.structure != "none":
            loss = loss + self.structure_weight * self.structural(prediction, batch["target"], rows)
        if self.unlabelled == "teacher":
            self.teacher.update_parameters(self.net)
            taught = (prediction - self.teach(batch["keypoints_2d"])).norm(dim=-1).mean(-1)
            loss = loss + self.teacher_weight * torch.where(rows, 0.0, taught).sum() / (~rows).sum().clamp(min=1)
        return loss

    def structural(self, prediction: Tensor, target: Tensor, rows: Tensor) -> Tensor:
        """Return the mean structural loss of all predictions (B, J, 3); of the targets, only labelled rows are read."""
        if self.structure == "symmetry":
            return SymmetryConstraint("h36m17")(prediction, prediction.detach()).mean()
        known = torch.where(rows[:, None], bone_lengths(target, "h36m17"), 0.0).sum(0) / rows.sum().clamp(min=1)
        return (bone_lengths(prediction, "h36m17") - known.detach()).abs().mean()

    @torch.no_grad()
    def teach(self, keypoints_2d: Tensor) -> Tensor:
        """Return the teacher's poses (B, J, 3) for keypoints (B, J, 2 or 3), lifted from their mirror image."""
        self.teacher.eval()  # the host's `train()` puts all its modules in training mode, this one too
        mirrored = self.mirror(keypoints_2d[..., : self.channels])
        pose: Tensor = self.mirror(self.teacher(mirrored))
        return pose

    def mirror(self, joints: Tensor) -> Tensor:
        """Mirror joints (..., J, C): change the sign of x, and swap left and right."""
        joints = joints.index_select(-2, self.swapped)
        return torch.cat((-joints[..., :1], joints[..., 1:]), dim=-1)


class SealFewLabelsLifter(SealMixin, FewLabelsLifter):
    """`FewLabelsLifter` with SEAL: the labelled samples train the loss-net, and the energy acts on all samples."""

    def seal_batch(self, batch: Any, inputs: Any, output: Any) -> SealBatch:
        """Tell SEAL which samples have a label, so that it never uses the other targets."""
        labelled = self.rows(batch) if self.trainer.training else None
        return SealBatch(batch["keypoints_2d"], output, batch["target"], labelled=labelled)
