"""What a host says of its step by calling the criterion itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

from seal_lightning.loss.criterion import SealLoss

__all__ = ["CRITERION", "Stated", "stated"]


class Stated(NamedTuple):
    """A call of the criterion by the host itself."""

    bit: int
    prediction: Tensor
    target: Tensor | None
    keypoints_2d: Tensor
    visibility: Tensor | None
    labelled: Tensor | None


def stated(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], bit: int) -> Stated:
    """What a call of one of the `CRITERION` says.

    Args:
        func: The method that was called.
        args: Its positional arguments, the criterion first.
        kwargs: Its arguments by name.
        bit: The bit of what comes out.
    """
    return Stated(bit, **CRITERION[func](*args[1:], **kwargs))


def _of_forward(
    prediction: Tensor, target: Tensor, keypoints_2d: Tensor, visibility: Any = None, labelled: Any = None
) -> dict[str, Any]:
    return {**locals()}


def _of_energy_loss(
    prediction: Tensor,
    keypoints_2d: Tensor,
    task_gradient: Tensor,
    *,
    at: Any = None,
    visibility: Any = None,
    labelled: Any = None,
) -> dict[str, Any]:
    masks = {"visibility": visibility, "labelled": labelled}
    return {"prediction": prediction, "target": None, "keypoints_2d": keypoints_2d, **masks}


CRITERION: dict[Any, Callable[..., dict[str, Any]]] = {
    SealLoss.forward: _of_forward,
    SealLoss.energy_loss: _of_energy_loss,
}
