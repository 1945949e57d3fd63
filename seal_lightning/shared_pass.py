"""One pass through a loss-net that serves both nets."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SharedPass", "identity"]

_FLOOR = 1e-6  # least cotangent of a prediction's energy, as a share of the mean one


class SharedPass:
    r"""Reads the slope of the energy at the predictions off the backward pass that trains the loss-net.

    Energies are per sample, so the gradient of the ranking loss `L` at a prediction is
    :math:`\partial L / \partial E_i \cdot \partial E_i / \partial \hat y_i`: divided by its first factor, the
    cotangent, it is the slope. Where the cotangent vanishes (an inactive hinge, a saturated NCE) it is kept at a
    millionth of ``1 / N``, which does not matter to the loss-net and leaves the slope readable.

    Args:
        predicted: Predictions in the loss-nets' frame (N, J, 3).
        row: Which of the negatives the prediction is; None where it is none of them and rides along.
    """

    def __init__(self, predicted: Tensor, row: int | None) -> None:
        self.leaf = predicted.detach().clone().requires_grad_()
        self.row = row
        self.energy = self.cotangent = predicted.new_zeros(())

    @property
    def done(self) -> bool:
        """Whether the backward pass was run."""
        return self.leaf.grad is not None

    @property
    def slope(self) -> Tensor:
        """Gradient of every prediction's energy (N, J, 3)."""
        if self.leaf.grad is None:
            raise RuntimeError("Expected the backward pass of the ranking loss to be run before its slope is read.")
        return self.leaf.grad / self.cotangent[:, None, None]

    def enter(self, poses: list[Tensor], before: int) -> int:
        """Put the predictions among the poses to be scored, whose first ``before`` are not negatives; return where."""
        if self.row is None:
            poses.append(self.leaf)
            return len(poses) - 1
        poses[before + self.row] = self.leaf
        return before + self.row

    def leave(self, energy: Tensor, row: int) -> None:
        """Take note of the predictions' energies among those of all poses (K, N), and of their cotangents to come."""
        floor = _FLOOR / energy.shape[1]
        self.energy = energy[row].detach()

        def keep(gradient: Tensor) -> Tensor:
            cotangent = torch.where(gradient[row].abs() < floor, -floor, gradient[row])
            self.cotangent = cotangent
            return torch.cat([gradient[:row], cotangent[None], gradient[row + 1 :]])

        energy.register_hook(keep)  # type: ignore[no-untyped-call]


def identity(prediction: Tensor) -> tuple[int, ...]:
    """What tells whether two calls were given one and the same prediction."""
    return prediction.data_ptr(), prediction._version, *prediction.shape
