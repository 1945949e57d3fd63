"""What the pose-net predicts in evaluation mode, for negatives that are asked for from there."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from seal_lightning.training.batch import SealBatch
from seal_lightning.training.reading.step import WatchedStep

__all__ = ["with_eval_prediction"]

_REMEDY = (
    "Do all that makes the poses in the host's `forward`, or override `seal_batch` and return a SealBatch with "
    "`eval_prediction`; or take PredictionNegatives(), the predictions of the training step."
)


def with_eval_prediction(step: WatchedStep, read: SealBatch, compared: Tensor) -> SealBatch:
    """Add what the network predicts in evaluation mode, by its call of the step, run once more without a gradient.

    Args:
        step: The step, watched.
        read: What was read of the step.
        compared: The prediction that the loss compares with the truth.

    Returns:
        The same with `eval_prediction`; as it is where an override of `seal_batch` has given one.

    Raises:
        ValueError: If the network's call alone is not what made the prediction that was read.
    """
    if read.eval_prediction is not None:
        return read
    if _same_numbers(read.prediction, compared):
        pose = step.predicted_again()
    else:
        pose = "`seal_batch` changes the poses after its call"
    if isinstance(pose, str):
        raise ValueError(
            f"Expected PredictionNegatives(eval=True) to find a network that can be run once more, but {pose}. "
            f"{_REMEDY}"
        )
    return replace(read, eval_prediction=pose.reshape(read.prediction.shape))


def _same_numbers(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same numbers in memory, perhaps in another shape."""
    return one.data_ptr() == other.data_ptr() and one.numel() == other.numel()
