"""Why a training step is left alone, in words."""

from __future__ import annotations

from collections.abc import Sequence

from seal_lightning.training.reading.calls import Call
from seal_lightning.training.reading.report import met, origin
from seal_lightning.training.reading.watch import BATCH, NETWORK, Watch

__all__ = ["why_left_alone"]


def why_left_alone(watch: Watch, calls: Sequence[Call], automatic: bool) -> str:
    """What there is to say of a step in which no energy joined a loss: a sentence, or nothing.

    Args:
        watch: The watch of the step.
        calls: Its calls.
        automatic: Whether Lightning takes the loss that the step returns.
    """
    trained = [one for one in watch.meetings if one.prediction.requires_grad]
    compared = next((one for one in trained if one.truth_made_of & BATCH), None)
    if compared is not None:
        pair = f"The step compares {met(watch, calls, compared)}, but "
        if automatic:
            return f"{pair}the loss that it returns is not made from that."
        return (
            f"{pair}no loss that is made from that came to `self.manual_backward(loss)` or `loss.backward()`: call one "
            "of them in place of `torch.autograd.backward` or of gradients that the step sets itself."
        )
    if any(not one.truth_made_of & BATCH for one in watch.meetings):
        return (
            "What it is compared with comes from neither the batch nor a network: a mean pose, noise or an earlier "
            "prediction is no truth."
        )
    return _side_by_side(watch, calls)


def _side_by_side(watch: Watch, calls: Sequence[Call]) -> str:
    """A prediction and a truth of one shape, where there are any that were not seen to be compared."""
    poses = [pose for pose in watch.poses.values() if pose.leading is not None]
    for pose in reversed(poses):
        made_of = watch.made_of(pose.tensor)
        if not (made_of & NETWORK and pose.tensor.requires_grad):
            continue
        for truth in poses:
            if truth.bit in watch.names and truth.leading == pose.leading and not made_of & truth.bit:
                return (
                    f"Of what comes by, prediction = {origin(watch, calls, pose.tensor, made_of)} "
                    f"{tuple(pose.tensor.shape)}, truth = {watch.names[truth.bit]} may be meant, but nothing is seen "
                    "that compares them: if the loss does, write `prediction - truth` or a loss function of PyTorch."
                )
    return ""
