"""A lifter with labels of one domain and the keypoints alone of another, on which it is tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.accuracy.few_labels import Batch, FewLabelsLifter
from benchmarks.accuracy.self_training import fitted_critic
from seal_lightning import SealBatch, SealMixin
from seal_lightning.error_estimate.critic import ErrorCritic

__all__ = ["OtherDomainLifter", "SealOtherDomainLifter", "reprojection_error"]

ADAPTING_BATCHES = 30  # training batches that the statistics of the target are measured on


class OtherDomainLifter(FewLabelsLifter):
    """A `FewLabelsLifter` whose batch normalisation has statistics of each domain; all weights are shared.

    The people with labels are the source, those without are the target. Validation data are of the source, test data of
    the target.

    Args:
        norms: When the target's statistics are measured. "afterwards": training sees the source alone, then the
            target's keypoints pass through the finished network once ("Revisiting batch normalization for practical
            domain adaptation", Li et al., 2017). "apart": the target's half of every training batch is normalised by
            itself, so that losses without labels can act on its poses.
        loss: A loss on the target's poses, besides `structure`. "reprojection": how far the pose, seen from where it
            fits best, lies from the keypoints. "estimate": the error that a fixed network expects of the pose. It is
            fitted to the errors that lifters make for people of the source that they were trained without.
        loss_weight: Weight of that loss.
        arguments: Arguments of `FewLabelsLifter`.
    """

    def __init__(
        self,
        norms: Literal["afterwards", "apart"] = "apart",
        loss: Literal["none", "reprojection", "estimate"] = "none",
        loss_weight: float = 0.1,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self.norms, self.loss, self.loss_weight = norms, loss, loss_weight
        # A copy with statistics of its own but the same parameters: a copied parameter is the one in the memo.
        self.target_net = deepcopy(self.net, {id(parameter): parameter for parameter in self.net.parameters()})
        self._in_target = False
        # In lists, since they are neither parameters of the lifter nor part of its state.
        self._priors: list[tuple[nn.Module, list[str]]] = []
        self._critics: list[ErrorCritic] = []

    def learn_from(self, priors: Sequence[Mapping[str, Any]]) -> None:
        """Take the lifters that the error estimate is fitted to; arguments as in `SelfTrainedLifter`."""
        for prior in priors:
            net = deepcopy(self.net)
            net.load_state_dict(prior["net"])
            self._priors.append((net.eval().requires_grad_(False), list(prior["labelled"])))

    @contextmanager
    def in_domain(self, split: str) -> Iterator[None]:
        """Use the statistics that belong to the data of a split."""
        self._in_target = split == "test"
        try:
            yield
        finally:
            self._in_target = False

    def on_fit_start(self) -> None:
        """Fit the network that estimates errors."""
        if self.loss == "estimate":
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self._critics = [fitted_critic(data, self._priors, self.labelled, ("keypoints", "pose"))]

    def forward(self, keypoints_2d: Tensor, rows: Tensor | None = None) -> Tensor:
        """Lift keypoints (B, J, 2 or 3), of which `rows` (B,) are of the source, or all of one domain where None."""
        frames = keypoints_2d[..., : self.channels]
        if rows is None:
            pose: Tensor = (self.target_net if self._in_target else self.net)(frames)
            return pose
        poses = frames.new_empty(*frames.shape[:-1], 3)
        poses = poses.index_put((rows,), self.net(frames[rows]))
        return poses.index_put((~rows,), self.target_net(frames[~rows]))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step."""
        rows = self.rows(batch)
        if self.norms == "afterwards":
            loss = (self(batch["keypoints_2d"][rows]) - batch["target"][rows]).norm(dim=-1).mean()
            self.log("train_loss", loss)
            return loss
        prediction = self(batch["keypoints_2d"], rows)
        error = torch.where(rows[:, None, None], prediction - batch["target"], 0.0)
        loss = error.norm(dim=-1).mean(-1).sum() / rows.sum().clamp(min=1)
        self.log("train_loss", loss)
        if self.structure != "none":
            loss = loss + self.structure_weight * self.structural(prediction, batch["target"], rows)
        if self.loss != "none":
            loss = loss + self.loss_weight * self._target_loss(prediction[~rows], batch["keypoints_2d"][~rows, :, :2])
        return loss

    def _target_loss(self, prediction: Tensor, keypoints_2d: Tensor) -> Tensor:
        """The loss on the target's poses, in the unit of the poses."""
        if self.loss == "reprojection":
            return reprojection_error(prediction, keypoints_2d).mean()
        critic = self._critics[0]
        return critic(keypoints=keypoints_2d, pose=prediction).pose.exp().mean() * critic.frame.bone_length

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Measure the target's statistics, where no training step did."""
        if self.norms != "afterwards":
            return
        norms = [module for module in self.target_net.modules() if isinstance(module, nn.BatchNorm1d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches, not a moving one
        self.target_net.eval()
        for norm in norms:
            norm.train()  # dropout stays off
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for batch in islice(data.train_dataloader(), ADAPTING_BATCHES):
            self.target_net(batch["keypoints_2d"][~self.rows(batch)][..., : self.channels])


class SealOtherDomainLifter(SealMixin, OtherDomainLifter):
    """`OtherDomainLifter` with SEAL: the source trains the loss-net, the energy acts on all predicted poses."""

    def seal_batch(self, batch: Any, inputs: Any, output: Any) -> SealBatch:
        """Tell SEAL which samples have a label, so that it never uses the other targets."""
        if not self.trainer.training:
            return SealBatch(batch["keypoints_2d"], output, batch["target"])
        rows = self.rows(batch)
        if self.norms == "afterwards":
            return SealBatch(batch["keypoints_2d"][rows], output, batch["target"][rows])
        return SealBatch(batch["keypoints_2d"], output, batch["target"], labelled=rows)


def reprojection_error(pose: Tensor, keypoints_2d: Tensor) -> Tensor:
    """Mean distance (B,) between keypoints (B, J, 2) and poses (B, J, 3) that are scaled and moved to fit them best.

    The camera is a weak perspective: a pose without its z, times a scale, plus a translation. The two are those of
    least squares. Distances are given in the unit of the pose, at its own size, so that no smaller pose fits better.
    """
    seen, flat = (points - points.mean(-2, keepdim=True) for points in (keypoints_2d, pose[..., :2]))
    size, spread = flat.square().sum((-2, -1)), seen.square().sum((-2, -1))
    scale = (seen * flat).sum((-2, -1)) / size.clamp(min=1e-9)
    left = (scale[:, None, None] * flat - seen).norm(dim=-1).mean(-1)
    unit: Tensor = (size / spread.clamp(min=1e-9)).sqrt()
    return left * unit.detach()
