"""Reading a step whose loss cannot be followed, as one that was compiled, by what went into it."""

from __future__ import annotations

from collections.abc import Sequence

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.choice import OVERRIDE
from seal_lightning.training.reading.containers import tensors_in
from seal_lightning.training.reading.watch import BATCH, NETWORK, NOISE, OPAQUE, Pose, Watch

__all__ = ["read_unseen"]


def read_unseen(watch: Watch, calls: Sequence[Call], trained: bool) -> tuple[Pose, Pose] | None:
    """The one prediction and the one truth that nothing else of the step was made from.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        trained: Whether the prediction has to require a gradient.

    Returns:
        Prediction and truth; None where no pose was predicted.

    Raises:
        ValueError: If there are several pairs of one shape, or none.
    """
    given = {id(tensor) for call in calls for tensor in tensors_in(call.inputs) if not _compares(watch, call)}
    fed = {watch.poses[key].bit for key in given if key in watch.poses}
    poses = [pose for pose in watch.poses.values() if pose.leading is not None]
    compared = watch.meetings.bits  # what is left of a comparison is no prediction
    predictions = [pose for pose in poses if (made := watch.made_of(pose.tensor)) & NETWORK and not made & compared]
    if trained:
        predictions = [pose for pose in predictions if pose.tensor.requires_grad]
    if not predictions:
        return None
    truths = [pose for pose in poses if not watch.made_of(pose.tensor) & (NETWORK | NOISE) and pose.bit not in fed]
    truths = [pose for pose in truths if watch.made_of(pose.tensor) & BATCH] or (truths if watch.arrays else [])
    pairs = [
        (prediction, truth)
        for prediction in _last(watch, predictions)
        for truth in _last(watch, truths)
        if prediction.leading == truth.leading
    ]
    if len(pairs) == 1:
        return pairs[0]
    outputs = [tuple(pose.tensor.shape) for pose in _last(watch, predictions)]
    shapes = [tuple(pose.tensor.shape) for pose in _last(watch, truths)]
    raise ValueError(
        "Expected one prediction and one truth of its shape in a step whose comparison of the two cannot be seen, but "
        f"found {len(pairs)} such pairs among predictions {outputs} and truths {shapes}. {OVERRIDE}."
    )


def _compares(watch: Watch, call: Call) -> bool:
    """Whether a module may be a loss, whose inputs are truths: it was given a prediction, or returned a loss."""
    inputs = tensors_in(call.inputs)
    if any(watch.made_of(tensor) & NETWORK and watch.shapes.leading(tensor) is not None for tensor in inputs):
        return True
    return any(watch.made_of(tensor) & OPAQUE and not tensor.dim() for tensor in tensors_in(call.output))


def _last(watch: Watch, poses: Sequence[Pose]) -> list[Pose]:
    """Of these, one view each of those that none of the others was made from."""
    last = [
        pose
        for pose in poses
        if not any(other.bit != pose.bit and watch.made_of(other.tensor) & pose.bit for other in poses)
    ]
    return list({pose.bit: pose for pose in reversed(last)}.values())[::-1]
