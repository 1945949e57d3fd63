"""What a critic is given of a host's step: the predictions for a view, damaged or not, and for its mirror image."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from seal_lightning.data.views.draws import Draws
from seal_lightning.error_estimate.critic import ErrorCritic
from seal_lightning.error_estimate.damage import ViewDamage
from seal_lightning.error_estimate.training import View
from seal_lightning.training.observed import Observed

__all__ = ["Views"]


class Views:
    """Makes the inputs of a critic from steps of a host, by running its network once more.

    Args:
        critic: The critic.
        damage: What damages the views that it learns from.
        flip_averaged: Whether the pose is the mean of the prediction and the mirrored one of the mirrored view.
        image_width: Width of the pictures in the unit of the keypoints, where x counts from their left edge.
    """

    def __init__(self, critic: ErrorCritic, damage: ViewDamage, flip_averaged: bool, image_width: float | None) -> None:
        self.critic, self.damage = critic, damage
        self.flip_averaged, self.image_width = flip_averaged, image_width
        self.channels: int | None = None  # of the keypoints that the critic learned from
        self._frame: int | None = None  # of a window, which the host predicts

    def damaged(self, observed: Observed, *key: int) -> View:
        """A view of a training step, damaged or not, with its truth.

        Args:
            observed: The step.
            *key: What the random numbers depend on.

        Raises:
            ValueError: If there is no truth, or the network cannot be run once more.
        """
        given, read = observed.keypoints_2d, observed.read
        if read.target is None:
            raise ValueError("Expected a step with a true pose for an error critic to learn from, but got none.")
        self._look(given)
        missing = ~given.isfinite()  # stays so, and does not make the box around the person NaN
        windows = given.masked_fill(missing, 0.0).reshape(len(given), -1, *given.shape[-2:]).float()
        with_confidence = torch.cat((windows[..., :2], _confidence(windows)[..., None]), dim=-1)
        draws = _DrawsOn(given.device, *key, torch.arange(len(given)))
        damaged = self.damage(with_confidence, self.critic.skeleton, draws)[..., : given.shape[-1]]
        inputs, _ = self._inputs(observed, damaged.reshape(given.shape).masked_fill(missing, torch.nan))
        return View(inputs, read.target.detach(), read.visibility, read.labelled)

    def as_they_are(self, observed: Observed) -> dict[str, Tensor]:
        """The critic's inputs for a step in evaluation mode, once it is clear that the step predicted these poses.

        Raises:
            ValueError: If the network cannot be run once more or predicts something else, or keypoints have another
                number of channels than those that the critic learned from.
        """
        given = observed.keypoints_2d
        if self.channels not in (None, given.shape[-1]):
            raise ValueError(
                f"Expected keypoints of {self.channels} channels, as the critic learned from, but got "
                f"{tuple(given.shape)}. Give them with confidences in both cases or in none (`confidence` of the data)."
            )
        inputs, poses = self._inputs(observed, given)
        observed.check(*poses)
        return inputs

    def check_averaged(self, observed: Observed, pose: Tensor) -> None:
        """Check that a step predicted the very pose that was judged.

        Raises:
            ValueError: If it averages and the judged pose is not averaged, or the other way round.
        """
        if not observed.predicted(pose):
            does, other = ("does not average", False) if self.flip_averaged else ("averages", True)
            raise ValueError(
                f"Expected `flip_averaged={other}`, since `predict_step` {does} over the mirror image: the critic "
                "judges other poses. Set it, and fit the critic anew; `seal-lightning fit-critic` leaves the host as "
                "it is."
            )

    def nothing(self, device: torch.device) -> View:
        """A view without a pose."""
        pose = torch.zeros(0, self.critic.skeleton.num_joints, 3, device=device)
        inputs = {"keypoints": pose[..., :2], "confidence": pose[..., 0], "pose": pose, "flip": pose}
        return View(inputs, pose)

    def _inputs(self, observed: Observed, given: Tensor) -> tuple[dict[str, Tensor], tuple[Tensor, Tensor]]:
        """The inputs, and the poses predicted for the view and for its mirror image."""
        pose = mirrored = observed.predict(given)
        if "flip" in self.critic.inputs or self.flip_averaged:
            mirrored = observed.mirrored(given, image_width=self.image_width)
        keypoints = self._at_prediction(observed, given).float().nan_to_num(0.0, 0.0, 0.0)
        inputs = {
            "keypoints": keypoints[..., :2],
            "confidence": _confidence(keypoints),
            "pose": (pose + mirrored) / 2 if self.flip_averaged else pose,
            "flip": pose - mirrored,
        }
        return inputs, (pose, mirrored)

    def _at_prediction(self, observed: Observed, given: Tensor) -> Tensor:
        """Keypoints of the frames that the host predicts, (..., J, 2 or 3)."""
        leading = observed.read.prediction.shape[:-2]
        if given.shape[:-2].numel() == leading.numel():
            return given.reshape(*leading, *given.shape[-2:])
        if self._frame is None:
            self._frame = _frame_of(observed)
        return given[:, self._frame].reshape(*leading, *given.shape[-2:])

    def _look(self, given: Tensor) -> None:
        """Look at the values of the first step, for which the host waits for the device."""
        if self.channels is not None:
            return
        self.channels = given.shape[-1]
        mirrors = "flip" in self.critic.inputs or self.flip_averaged
        if mirrors and self.image_width is None and len(given) and bool((given[..., 0] >= 0).all()):
            warnings.warn(
                "No keypoint of the first step has an x below zero. If x counts from the left edge of the pictures, "
                "set `image_width`: their width in the unit of the keypoints, 1.0 where x goes from 0 to 1.",
                stacklevel=2,
            )


class _DrawsOn(Draws):
    """The same random numbers, on a device."""

    def __init__(self, device: torch.device, *key: int | Tensor) -> None:
        super().__init__(*key)
        self._device = device

    def uniform(self, stream: str, *shape: int) -> Tensor:
        return super().uniform(stream, *shape).to(self._device, non_blocking=True)

    def normal(self, stream: str, *shape: int) -> Tensor:
        return super().normal(stream, *shape).to(self._device, non_blocking=True)


def _confidence(keypoints: Tensor) -> Tensor:
    """Confidences (..., J); 1 where there are none."""
    return keypoints[..., 2] if keypoints.shape[-1] == 3 else torch.ones_like(keypoints[..., 0])


def _frame_of(observed: Observed) -> int:
    """Which frame of its windows a host predicts: the one whose keypoints are those of the prediction."""
    windows, own = observed.keypoints_2d[..., :2].float(), observed.read.keypoints[..., :2].float()
    frames = windows.shape[1] if windows.dim() == 4 else 0
    if frames and own.numel() * frames == windows.numel():
        same = (windows == own.reshape(len(windows), 1, *own.shape[-2:])).flatten(2).all(-1).all(0)
        fitting: list[int] = same.nonzero().flatten().tolist()
        if fitting:
            return frames // 2 if frames // 2 in fitting else fitting[0]
    raise ValueError(
        f"Expected the prediction {tuple(observed.read.prediction.shape)} to be of all frames or of one frame of the "
        f"windows that the network was given, but these are {tuple(windows.shape)}."
    )
