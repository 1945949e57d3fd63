"""How an error critic learns: its loss, its own optimizer, and their state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seal_lightning import _distributed as ranks
from seal_lightning._values import check_above_zero
from seal_lightning.error_estimate.critic import ErrorCritic, LogErrors
from seal_lightning.training.reading.containers import tensors_in

__all__ = ["CriticTraining", "View", "true_errors"]

_LEAST = 1e-3  # in mean bone lengths: an error of zero, that of the root, counts as this much
_CLIP = 1.0  # largest norm of a gradient


@dataclass(frozen=True)
class View:
    """What a host predicted for some view, and the truth.

    Args:
        inputs: The critic's inputs by name, without a graph: keypoints (..., J, 2), confidence (..., J), pose
            (..., J, 3) and flip (..., J, 3).
        target: True poses (..., J, 3).
        visibility: Bool (..., J); an invisible joint counts nowhere.
        labelled: Bool (B,); False for a sample whose target is not to be read.
    """

    inputs: Mapping[str, Tensor]
    target: Tensor
    visibility: Tensor | None = None
    labelled: Tensor | None = None

    def empty(self) -> View:
        """The same without a sample."""
        return View(
            {name: value[:0] for name, value in self.inputs.items()},
            self.target[:0],
            None if self.visibility is None else self.visibility[:0],
            None if self.labelled is None else self.labelled[:0],
        )


def true_errors(critic: ErrorCritic, view: View) -> tuple[LogErrors, Tensor, Tensor]:
    """Errors of the predictions, in units of the mean bone length, relative to the root.

    Args:
        critic: The critic, for its frame.
        view: N poses.

    Returns:
        The errors themselves, not their logarithms, of poses (N,) and joints (N, J); which joints count (N, J), and
        which poses (N,), both 0 or 1.
    """
    pose, none = view.inputs["pose"], view.target.new_zeros(*view.target.shape[:-1], 2)
    predicted, true = (critic.frame(which, none, view.visibility) for which in (pose, view.target))
    distance = torch.linalg.vector_norm(predicted.pose - true.pose, dim=-1)
    finite = torch.where(true.seen > 0, distance, 0.0).isfinite().all(-1)
    valid = true.valid * finite
    if view.labelled is not None:
        valid = valid * view.labelled.to(valid).repeat_interleave(valid.numel() // max(1, len(view.labelled)))
    # Zero where it does not count, for NaN times zero is NaN.
    joints = torch.where((true.seen * valid[:, None]) > 0, distance, 0.0)
    return LogErrors(joints.sum(-1) / true.seen.sum(-1).clamp(min=1), joints), true.seen * valid[:, None], valid


class CriticTraining:
    r"""One update of a critic after the other, outside of any trainer.

    The loss of an expected error :math:`\mu` where the true one is e is the gamma deviance

    .. math:: \frac{e}{\mu} - 1 - \log \frac{e}{\mu},

    zero at :math:`\mu = e`, whose minimum over many poses is their mean error: unlike the squared difference of
    logarithms, it does not underestimate. That of the joints is their mean, and counts as much as that of the pose.

    Args:
        critic: The critic.
        lr: Learning rate of its AdamW.

    Raises:
        ValueError: If the learning rate is not above zero.
    """

    def __init__(self, critic: ErrorCritic, lr: float = 1e-3) -> None:
        check_above_zero(lr=lr)
        self.critic, self.lr = critic, lr
        self._optimizer: torch.optim.AdamW | None = None
        self._restored: Mapping[str, Any] | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the tensors out of memory that spawned processes share; Lightning does so for modules alone."""
        vars(self).update(state)
        optimizer = None if self._optimizer is None else self._optimizer.state
        shared = tensors_in((optimizer, self._restored))
        ranks.unshare((*self.critic.parameters(), *self.critic.buffers(), *shared))

    def step(self, view: View) -> Tensor:
        """Learn from a view on all processes; those without poses bring an empty one.

        Returns:
            The loss before the update, the mean over the poses of all processes.
        """
        optimizer = self._prepare()
        self.critic.frame.update(view.target, view.visibility, view.labelled)
        with torch.enable_grad():
            loss = self.loss(view)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        for parameter in self.critic.parameters():  # a host that predicts infinity teaches nothing, and breaks nothing
            if parameter.grad is not None:
                parameter.grad.nan_to_num_(0.0, 0.0, 0.0)
        ranks.average_gradients(self.critic.parameters())
        torch.nn.utils.clip_grad_norm_(self.critic.parameters(), _CLIP)
        optimizer.step()
        return ranks.sum_over_ranks(loss) / ranks.world_size()

    def loss(self, view: View) -> Tensor:
        """The loss on a view: this process's part of the mean over the poses of all processes."""
        errors, counted, valid = true_errors(self.critic, view)
        usable = valid.bool().view(view.target.shape[:-2])[..., None, None]
        inputs = {
            name: torch.where(usable if value.dim() == usable.dim() else usable[..., 0], value, 0.0)
            for name, value in view.inputs.items()
        }
        logs = self.critic(**inputs)  # of invisible joints too: in `predict` nobody says whose truth would be missing
        of_pose = _deviance(errors.pose, logs.pose.flatten())
        of_joints = _deviance(errors.joints, logs.joints.flatten(0, -2))
        of_joints = (of_joints * counted).sum(-1) / counted.sum(-1).clamp(min=1)
        share = ranks.world_size() / ranks.sum_over_ranks(valid.sum()).clamp(min=1)
        return ((of_pose + of_joints) * valid).sum() * share

    def state_dict(self) -> dict[str, Any]:
        """Weights, running statistics and the optimizer's state."""
        optimizer = self._restored if self._optimizer is None else self._optimizer.state_dict()
        return {"critic": dict(self.critic.state_dict()), "optimizer": optimizer}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` returned.

        Raises:
            ValueError: If it is of another critic.
        """
        try:
            self.critic.load_state_dict(state["critic"])
        except (RuntimeError, KeyError, TypeError) as error:
            raise ValueError(
                f"Expected the checkpoint to hold the critic of this configuration, but it holds another: {error}"
            ) from error
        self._restored, self._optimizer = state["optimizer"], None

    def _prepare(self) -> torch.optim.AdamW:
        """Before the first step, make the critics equal on all processes, and the optimizer."""
        if self._optimizer is None:
            ranks.broadcast((*self.critic.parameters(), *self.critic.buffers()))
            self._optimizer = torch.optim.AdamW(self.critic.parameters(), lr=self.lr)
            if self._restored is not None:
                self._optimizer.load_state_dict(dict(self._restored))
        return self._optimizer


def _deviance(error: Tensor, log_expected: Tensor) -> Tensor:
    error = error.clamp(min=_LEAST)
    return error * (-log_expected).exp() - 1.0 - error.log() + log_expected
