"""The rivals of a comparison that need no training: what can be done to finished predictions.

What both methods gain from them for nothing, a learned loss need not be trained for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from torch import Tensor

from seal_lightning.evaluation.rescaling import SHARE, clip_lengths, rescale
from seal_lightning.functional import smooth
from seal_lightning.skeleton import Skeleton
from seal_lightning.training.batch import SealBatch
from seal_lightning.training.observed import Observed, StepObserver, flip_averaged

__all__ = ["STANDARD", "Finish", "Finisher", "candidates", "describe_finishing"]

_SIGMAS = (0.0, 1.0, 2.0, 4.0)  # standard deviations of the Gaussian filter to choose from, in frames


@dataclass(frozen=True)
class Finish:
    """What is done to finished predictions, in this order.

    Args:
        flip: Average with the mirrored prediction of the mirrored keypoints.
        smooth: Standard deviation of a Gaussian filter over the frames of a clip; 0 smooths nothing.
        clip_lengths: Give every bone of a clip the mean of its lengths over the frames.
        mean_lengths: Move the length of every bone 25 % of the way to its mean in the training data.
        symmetrise: Give left and right bones their common mean.
    """

    flip: bool = False
    smooth: float = 0.0
    clip_lengths: bool = False
    mean_lengths: bool = False
    symmetrise: bool = False

    def __str__(self) -> str:
        words = {
            "flip": "flip averaging",
            "smooth": f"Gaussian filter of {self.smooth:g} frame{'s' * (self.smooth != 1)}",
            "clip_lengths": "mean lengths of the clip",
            "mean_lengths": "mean lengths of the training",
            "symmetrise": "symmetrising",
        }
        return ", ".join(words[field.name] for field in fields(self) if getattr(self, field.name)) or "nothing"


STANDARD = Finish(mean_lengths=True, symmetrise=True)  # where there is no validation data to choose by


class Finisher:
    """Applies finishings to the predictions of a step.

    Args:
        lengths: Mean bone lengths (J - 1,) of the training data, in the unit of the poses.
    """

    def __init__(self, lengths: Tensor) -> None:
        self.lengths = lengths
        self.no_flip: str | None = None  # why a prediction could not be flip-averaged
        self._observer: StepObserver | None = None

    def observe(self, module: Any) -> Observed | None:
        """What the step did that has just ended, of a SEAL model."""
        if self._observer is None:
            self._observer = StepObserver(module.seal.skeleton)
        return self._observer.read(module)

    def flipped(self, observed: Observed | None) -> Tensor | None:
        """The flip-averaged prediction of a step; None where there is none, and `no_flip` then says why."""
        if self.no_flip is not None:
            return None
        if observed is None:
            self.no_flip = "the step compares no pose with a true one"
            return None
        try:
            return flip_averaged(observed)
        except ValueError as error:
            self.no_flip = str(error)
            return None

    def __call__(self, finish: Finish, read: SealBatch, flipped: Tensor | None, skeleton: Skeleton) -> Tensor:
        """Finish the prediction of a step.

        Args:
            finish: What to do.
            read: The step.
            flipped: Its flip-averaged prediction.
            skeleton: The skeleton of the poses.

        Returns:
            Poses of the shape of the prediction.
        """
        if finish.flip and flipped is None:
            raise ValueError(f"Expected a prediction that can be flip-averaged, but it cannot: {self.no_flip}")
        pose = flipped if finish.flip and flipped is not None else read.prediction
        if finish.smooth:
            weights = None if read.visibility is None else read.visibility.to(pose.dtype)
            pose = smooth(pose, weights, sigma=finish.smooth)
        if finish.clip_lengths:
            pose = clip_lengths(pose, skeleton, read.visibility)
        lengths, how = self.lengths.to(pose.device), {"mean": finish.mean_lengths, "symmetric": finish.symmetrise}
        return rescale(pose, lengths, skeleton, read.visibility, **how) if any(how.values()) else pose


def candidates(*, flips: bool, clips: bool, paired: bool) -> Iterator[Finish]:
    """Return all combinations, the plainest first: of several that are equally good, that one is chosen.

    Args:
        flips: Whether predictions can be flip-averaged.
        clips: Whether they are clips.
        paired: Whether the skeleton has left and right bones.
    """
    no, either = (False,), (False, True)
    choices = (
        either if flips else no,
        _SIGMAS if clips else (0.0,),
        either if clips else no,
        either,
        either if paired else no,
    )
    found = [Finish(*values) for values in product(*choices)]
    yield from sorted(found, key=lambda finish: sum(bool(getattr(finish, field.name)) for field in fields(finish)))


def describe_finishing(*, flips: bool, clips: bool, no_flip: str | None = None) -> str:
    """Say in words what was tried on the finished predictions of both methods."""
    sigmas = ", ".join(f"{sigma:g}" for sigma in _SIGMAS[1:])
    tried = [
        *(["flip averaging"] if flips else []),
        *([f"a Gaussian filter over the frames (standard deviation {sigmas})"] if clips else []),
        *(["mean bone lengths of the clip"] if clips else []),
        f"bone lengths moved {100 * SHARE:.0f} % of the way to their mean in training",
        "left and right bones made equal",
    ]
    said = f"Own best: each training with what is best for it on validation data, of {', '.join(tried)}."
    return said if no_flip is None else f"{said} No flip averaging: {no_flip}"
