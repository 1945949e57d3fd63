"""Self-training with few labels: a student learns the poses that a teacher predicts for people without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.accuracy.few_labels import Batch, FewLabelsLifter
from examples.plain_lifter import flip_averaged
from seal_lightning.error_estimate.critic import ErrorCritic
from seal_lightning.error_estimate.training import CriticTraining, View
from seal_lightning.functional import bone_lengths

__all__ = ["SelfTrainedLifter"]

CRITIC_STEPS = 400


class SelfTrainedLifter(FewLabelsLifter):
    """A `FewLabelsLifter` that learns from labels and, as if they were labels, from the poses of a trained teacher.

    The teacher is trained beforehand on the labels alone, and predicts the mean over a view and its mirror image.

    Args:
        keep: Which of the poses without a label are learned from, in every batch. "all"; "random": half of them;
            "bones": the half whose predicted bones are nearest to those of the people with labels; "estimate": the half
            with the smallest estimated error. The network that estimates it is fitted to the errors of lifters that
            were trained without the person whose pose they predict.
        arguments: Arguments of `FewLabelsLifter`.
    """

    def __init__(self, keep: Literal["all", "random", "bones", "estimate"] = "all", **arguments: Any) -> None:
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
        if self.keep == "estimate":
            self._critics = [self._fitted_critic()]

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of one optimisation step: the mean distance to labels and to poses that are kept."""
        rows, keypoints_2d = self.rows(batch), batch["keypoints_2d"]
        taught, flip = self._predict(self._teachers[0][0], keypoints_2d)
        kept = rows | self._kept(rows, keypoints_2d, taught, flip, batch["target"])
        goal = torch.where(rows[:, None, None], batch["target"], taught)
        error = torch.where(kept[:, None, None], self(keypoints_2d) - goal, 0.0)
        loss = error.norm(dim=-1).mean(-1).sum() / kept.sum().clamp(min=1)
        self.log("train_loss", loss)
        return loss

    def _kept(self, rows: Tensor, keypoints_2d: Tensor, taught: Tensor, flip: Tensor, target: Tensor) -> Tensor:
        """Which of the samples without a label (B,) are learned from."""
        if self.keep == "all":
            return ~rows
        if self.keep == "random":
            doubt = torch.rand(len(rows), device=rows.device)
        elif self.keep == "bones":
            known = bone_lengths(target[rows], "h36m17").mean(0)
            doubt = (bone_lengths(taught, "h36m17") / known - 1).abs().mean(-1)
        else:
            doubt = self._critics[0](keypoints=keypoints_2d[..., :2], pose=taught, flip=flip).pose
        return ~rows & (doubt <= doubt[~rows].median())

    @torch.no_grad()
    def _predict(self, net: nn.Module, keypoints_2d: Tensor) -> tuple[Tensor, Tensor]:
        """The mean of a network's prediction and its mirrored prediction of the mirrored view, and their difference."""

        def lift(keypoints_2d: Tensor) -> Tensor:
            pose: Tensor = net(keypoints_2d[..., : self.channels])
            return pose

        mean = flip_averaged(lift, keypoints_2d, self.partners)
        return mean, 2 * (lift(keypoints_2d) - mean)

    def _fitted_critic(self) -> ErrorCritic:
        """A network that estimates errors, fitted to predictions for people that a lifter had no labels of."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        critic = ErrorCritic("h36m17", inputs=("keypoints", "pose", "flip"))
        training, step = CriticTraining(critic), 0
        while step < CRITIC_STEPS:
            for batch in data.train_dataloader():
                for net, labelled in self._teachers[1:]:
                    out = [data.group_names.index(name) for name in self.labelled if name not in labelled]
                    rows = torch.isin(batch["group"], torch.tensor(out))
                    keypoints_2d, target = batch["keypoints_2d"][rows], batch["target"][rows]
                    pose, flip = self._predict(net, keypoints_2d)
                    training.step(View({"keypoints": keypoints_2d[..., :2], "pose": pose, "flip": flip}, target))
                step += 1
                if step == CRITIC_STEPS:
                    break
        return critic.eval().requires_grad_(False)
