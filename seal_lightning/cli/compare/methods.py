"""What is compared: the host, SEAL with one weight or several, and rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seal_lightning.evaluation.runs import HOST

__all__ = ["Method", "methods_of", "set_weight"]


@dataclass(frozen=True)
class Method:
    """A way to train.

    Args:
        label: ``"host"``, ``"SEAL"``, or ``"SEAL 0.1"`` where several weights are compared; or a rival's name.
        weight: The weight asked for by ``--weights``; None leaves that of ``seal``.
        rival: What the host is trained with instead of SEAL, one of those asked for by ``--rivals``.
    """

    label: str
    weight: float | None = None
    rival: str | None = None

    @property
    def is_seal(self) -> bool:
        """Whether SEAL takes part."""
        return self.label != HOST and self.rival is None


def methods_of(weights: Sequence[float] | None, rivals: Sequence[str] = ()) -> list[Method]:
    """The methods to train with every seed, in this order: SEAL with every weight, then the host, then the rivals.

    SEAL comes first because it reads the batches: a step that it cannot read stops the comparison at once, and the
    bone lengths of the training data are known when the host is scored, as its poses are when a rival needs them.

    Args:
        weights: What ``--weights`` says.
        rivals: What ``--rivals`` says.

    Raises:
        ValueError: If there is no weight, one is negative, or a weight or a rival is there twice.
    """
    if len(set(rivals)) != len(rivals):
        raise ValueError(f"Expected `rivals` to be different names, but got {rivals}.")
    others = [Method(HOST), *(Method(name.replace("_", " "), rival=name) for name in rivals)]
    if weights is None:
        return [Method("SEAL"), *others]
    if not weights or len(set(weights)) != len(weights) or min(weights) < 0:
        raise ValueError(f"Expected `weights` to be one or more different numbers of at least 0, but got {weights}.")
    return [*(Method(f"SEAL {weight:g}", weight) for weight in weights), *others]


def set_weight(seal: Any, weight: float) -> None:
    """Put a weight into the parsed section ``seal``: the ratio where that asks for a `ForceRatio`.

    Raises:
        ValueError: If the section lists its energies, which have weights of their own.
    """
    if seal.energies is not None:
        raise ValueError(
            "Expected `seal` to have one energy where `weights` are given, but got `seal.energies`: compare their "
            "weights in calls of their own."
        )
    if hasattr(seal.weight, "ratio"):
        seal.weight.ratio = weight
    else:
        seal.weight = weight
