"""Self-training with few labels: a student learns the poses that a teacher predicts for people without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.accuracy.few_labels import Batch, FewLabelsLifter, SealFewLabelsLifter
from examples.plain_lifter import H36M_PARTNERS, flip_averaged
from seal_lightning import SealMixin
from seal_lightning.error_estimate.critic import ErrorCritic
from seal_lightning.error_estimate.training import CriticTraining, View
from seal_lightning.functional import bone_lengths

__all__ = ["SealSelfTrainedLifter", "SelfTrainedLifter", "fitted_critic"]

CRITIC_STEPS = 400

Keep = Literal[
    "all",
    "random",
    "bones",
    "estimate",
    "estimate, 80 %",
    "estimate, half of each person",
    "weights of poses",
    "weights of joints",
]


class SelfTrainedLifter(FewLabelsLifter):
    """A `FewLabelsLifter` that learns from labels and, as if they were labels, from the poses of a trained teacher.

    The teacher is trained beforehand on the labels alone, and predicts the mean over a view and its mirror image.

    Args:
        keep: Which of the poses without a label are learned from, in every batch. "all"; "random": half of them;
            "bones": the half whose predicted bones are nearest to those of the people with labels; "estimate": the half
            with the smallest estimated error. The network that estimates it is fitted to the errors of lifters that
            were trained without the person whose pose they predict. "estimate, 80 %": not half but four in five;
            "estimate, half of each person": the half of every person's poses, so that no person is left out;
            "weights of poses" and "weights of joints": all, each with a weight that falls as its estimated error grows.
        arguments: Arguments of `FewLabelsLifter`.
    """

    def __init__(self, keep: Keep = "all", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.keep = keep
        # In lists, since they are neither parameters of the student nor part of its state.
        self._teachers: list[tuple[nn.Module, list[str]]] = []
        self._critics: list[ErrorCritic] = []

    def learn_from(self, priors: Sequence[Mapping[str, Any]]) -> None:
        """Take the teacher, the first, and the lifters that an error estimate is fitted to.

        Args:
            priors: Of each the state of its network, "net", and the people whose labels it had, "labelled".
        """
        for prior in priors:
            net = deepcopy(self.net)
            net.load_state_dict(prior["net"])
            self._teachers.append((net.eval().requires_grad_(False), list(prior["labelled"])))

    def on_fit_start(self) -> None:
        """Fit the network that estimates errors."""
        if self.keep.startswith(("estimate", "weights")):
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self._critics = [fitted_critic(data, self._teachers[1:], self.labelled, ("keypoints", "pose", "flip"))]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step: the mean distance to labels and to poses that are kept."""
        rows, keypoints_2d = self.rows(batch), batch["keypoints_2d"]
        taught, flip = _predict(self._teachers[0][0], keypoints_2d)
        weights = torch.where(rows[:, None], 1.0, self._weights(rows, taught, flip, batch))
        goal = torch.where(rows[:, None, None], batch["target"], taught)
        prediction = self(keypoints_2d)
        loss = (weights * (prediction - goal).norm(dim=-1)).sum() / weights.sum().clamp(min=1)
        self.log("train_loss", loss)
        if self.structure != "none":
            loss = loss + self.structure_weight * self.structural(prediction, batch["target"], rows)
        return loss

    def _weights(self, rows: Tensor, taught: Tensor, flip: Tensor, batch: Batch) -> Tensor:
        """How much every joint (B, J) of the teacher's poses counts; those of `rows` are not used."""
        everything, keypoints_2d = torch.ones_like(taught[..., 0]), batch["keypoints_2d"]
        if self.keep == "all":
            return everything
        if self.keep == "random":
            return everything * _least(torch.rand(len(rows), device=rows.device), ~rows)[:, None]
        if self.keep == "bones":
            known = bone_lengths(batch["target"][rows], "h36m17").mean(0)
            doubt = (bone_lengths(taught, "h36m17") / known - 1).abs().mean(-1)
            return everything * _least(doubt, ~rows)[:, None]
        log_errors = self._critics[0](keypoints=keypoints_2d[..., :2], pose=taught, flip=flip)
        if self.keep == "weights of poses":
            return everything * _falling(log_errors.pose[:, None].exp(), ~rows)
        if self.keep == "weights of joints":
            return _falling(log_errors.joints.exp(), ~rows)
        if self.keep == "estimate, half of each person":
            people = [~rows & (batch["group"] == person) for person in batch["group"][~rows].unique()]
        else:
            people = [~rows]
        share = 0.8 if self.keep == "estimate, 80 %" else 0.5
        kept = [_least(log_errors.pose, members, share) for members in people]
        return everything * torch.stack(kept).any(0)[:, None]


class SealSelfTrainedLifter(SealMixin, SelfTrainedLifter):
    """`SelfTrainedLifter` with SEAL: the labels alone train the loss-net, and the energy acts on all samples."""

    seal_batch = SealFewLabelsLifter.seal_batch


def fitted_critic(
    data: Any, lifters: Sequence[tuple[nn.Module, list[str]]], labelled: Sequence[str], inputs: Sequence[str]
) -> ErrorCritic:
    """A network that estimates errors, fitted to predictions for people that a lifter had no labels of.

    Args:
        data: The datamodule.
        lifters: Networks and the names of the people whose labels they had.
        labelled: Names of all people with labels.
        inputs: What the network sees.
    """
    critic = ErrorCritic("h36m17", inputs=inputs)
    training, step = CriticTraining(critic), 0
    while step < CRITIC_STEPS:
        for batch in data.train_dataloader():
            for net, known in lifters:
                out = [data.group_names.index(name) for name in labelled if name not in known]
                rows = torch.isin(batch["group"], torch.tensor(out))
                keypoints_2d, target = batch["keypoints_2d"][rows], batch["target"][rows]
                pose, flip = _predict(net, keypoints_2d)
                seen = {"keypoints": keypoints_2d[..., :2], "pose": pose, "flip": flip}
                training.step(View({name: seen[name] for name in inputs}, target))
            step += 1
            if step == CRITIC_STEPS:
                break
    return critic.eval().requires_grad_(False)


@torch.no_grad()
def _predict(net: nn.Module, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of a network's prediction and its mirrored prediction of the mirrored view, and their difference."""

    def lift(keypoints_2d: Tensor) -> Tensor:
        pose: Tensor = net(keypoints_2d[..., :2])
        return pose

    mean = flip_averaged(lift, keypoints_2d, H36M_PARTNERS)
    return mean, 2 * (lift(keypoints_2d) - mean)


def _least(doubt: Tensor, members: Tensor, share: float = 0.5) -> Tensor:
    """Mask (B,) of the share of `members` (B,) with the least doubt (B,)."""
    if not members.any():
        return members
    mask: Tensor = members & (doubt <= doubt[members].quantile(share, interpolation="lower"))
    return mask


def _falling(errors: Tensor, members: Tensor) -> Tensor:
    """Weights of estimated errors (B, J or 1): their mean over `members` (B,) by the error, a third to three."""
    return (errors[members].mean(0) / errors).clamp(1 / 3, 3)
