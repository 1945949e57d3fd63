"""Networks that make true poses as well as predicted ones, as a body model that has parameters."""

from __future__ import annotations

from torch import nn

__all__ = ["Layers"]


class Layers:
    """The calls of a step by their modules: those on its batch alone, and those on what another network made."""

    def __init__(self) -> None:
        self._calls = 0
        self._of: dict[int, tuple[int, int]] = {}  # by the identity of modules, which calls hold

    def note(self, module: nn.Module, bit: int, *, batch: bool, network: bool) -> None:
        """Note a call.

        Args:
            module: The module.
            bit: The bit of the call.
            batch: Whether it was given tensors of the batch alone, and neither keypoints nor images.
            network: Whether it was given what a network made.
        """
        self._calls |= bit
        on_batch, on_network = self._of.get(id(module), (0, 0))
        self._of[id(module)] = on_batch | bit * batch, on_network | bit * network

    def make(self, truth: int, prediction: int) -> bool:
        """Whether a layer made the one of the batch, and the other of what a network made.

        Args:
            truth: Bits of all that the one is made from.
            prediction: Bits of all that the other is made from.
        """
        calls = truth & self._calls
        return bool(calls) and any(not calls & ~batch and prediction & network for batch, network in self._of.values())
