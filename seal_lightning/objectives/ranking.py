"""Objectives: losses that bring the energy of the truth below the energies of its negatives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from seal_lightning._values import is_number, kind_of

__all__ = [
    "LogisticObjective",
    "MarginObjective",
    "NCEObjective",
    "NoObjective",
    "Objective",
    "RegressionObjective",
    "WassersteinObjective",
]


class Objective(ABC):
    """The loss of a loss-net, one value per sample.

    To write your own objective, implement `loss`; the shapes have been checked before it is called. If it does not use
    the distances, say ``needs_distance = False`` beside it, and they are not computed.

    Example:
        >>> class RankingObjective(Objective):
        ...     def loss(self, energy_true, energy_negative, distance):
        ...         return (energy_true - energy_negative).mean(0)
        >>> RankingObjective()(torch.tensor([1.0]), torch.tensor([[3.0], [5.0]]), torch.ones(2, 1)).tolist()
        [-3.0]
    """

    needs_distance: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "loss" in vars(cls) and "needs_distance" not in vars(cls):
            cls.needs_distance = True  # what the parent's `loss` left out, this one may use

    def __call__(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return the loss of every sample.

        Args:
            energy_true: Energies of the N true poses, shape ``(N,)``.
            energy_negative: Energies of K negatives per truth, shape ``(K, N)``.
            distance: Mean joint distance between every negative and its truth, in mean bone lengths, shape ``(K, N)``.

        Returns:
            Losses, shape ``(N,)``.

        Raises:
            TypeError: If one of them is not a floating-point tensor.
            ValueError: If the shapes differ from these. Nothing is broadcast, because ``(B,)`` with ``(B, 1)`` would
                compare every pose with every other one.
        """
        named = {"energy_true": energy_true, "energy_negative": energy_negative, "distance": distance}
        for name, values in named.items():
            if not isinstance(values, Tensor) or not values.is_floating_point():
                raise TypeError(f"Expected `{name}` to be a floating-point tensor, but got {kind_of(values)}.")
        if energy_true.ndim != 1:
            raise ValueError(f"Expected `energy_true` to have shape (N,), but got {tuple(energy_true.shape)}.")
        count = energy_true.shape[0]
        if energy_negative.ndim != 2 or energy_negative.shape[1] != count or energy_negative.shape[0] == 0:
            raise ValueError(
                f"Expected `energy_negative` to have shape (K, {count}), one row per negative, "
                f"but got {tuple(energy_negative.shape)}."
            )
        if distance.shape != energy_negative.shape:
            raise ValueError(
                "Expected `distance` and `energy_negative` to have the same shape, "
                f"but got {tuple(distance.shape)} and {tuple(energy_negative.shape)}."
            )
        return self.loss(energy_true, energy_negative, distance)

    @abstractmethod
    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)`` given energies ``(N,)`` and ``(K, N)`` and distances ``(K, N)``."""


@dataclass(frozen=True)
class LogisticObjective(Objective):
    r"""Classify poses as truths or negatives, with 0 as the threshold of the energy.

    .. math:: \mathrm{softplus}(E_y) + \frac{1}{K} \sum_k \mathrm{softplus}(-E_k)

    Example:
        At energies of 0 both terms are log 2 = 0.6931:

        >>> LogisticObjective()(torch.zeros(1), torch.zeros(1, 1), torch.zeros(1, 1))
        tensor([1.3863])

    Reference:
        Goodfellow et al., "Generative Adversarial Nets", NeurIPS 2014. https://arxiv.org/abs/1406.2661
    """

    needs_distance: ClassVar[bool] = False

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        return F.softplus(energy_true) + F.softplus(-energy_negative).mean(0)


@dataclass(frozen=True)
class NCEObjective(Objective):
    r"""Choose the truth among its negatives: cross-entropy of :math:`-E / T` (noise-contrastive estimation).

    .. math:: -\log \frac{e^{-E_y / T}}{e^{-E_y / T} + \sum_k e^{-E_k / T}}
        = \mathrm{softplus}\Big(\log \sum_k e^{(E_y - E_k) / T}\Big)

    With one negative it is :math:`\mathrm{softplus}((E_y - E_1) / T)`.

    Args:
        temperature: The unit in which differences of energies are measured; above 0.

    Raises:
        ValueError: If `temperature` is not above 0.

    Example:
        Among three equal energies the truth has a probability of one third, and log 3 = 1.0986:

        >>> NCEObjective()(torch.zeros(1), torch.zeros(2, 1), torch.zeros(2, 1))
        tensor([1.0986])

    Reference:
        Lee et al., "Structured Energy Network As a Loss", NeurIPS 2022.
    """

    needs_distance: ClassVar[bool] = False
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.temperature) or not self.temperature > 0:
            raise ValueError(f"Expected `temperature` to be above 0, but got {self.temperature!r}.")

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        return F.softplus(torch.logsumexp((energy_true - energy_negative) / self.temperature, dim=0))


@dataclass(frozen=True)
class MarginObjective(Objective):
    r"""Keep every negative above the truth by a margin that grows with its distance `d` from the truth.

    .. math:: \frac{1}{K} \sum_k \max(0,\ \mathrm{ratio} \cdot d_k - E_k + E_y)

    Args:
        ratio: Energy per mean bone length of distance; above 0.

    Raises:
        ValueError: If `ratio` is not above 0.

    Example:
        A margin of 2 is asked for, and the energies differ by 0.5:

        >>> MarginObjective(ratio=2.0)(torch.tensor([1.0]), torch.tensor([[1.5]]), torch.tensor([[1.0]]))
        tensor([1.5000])

    Reference:
        Kim et al., "SEAL-pose: Enhancing 3D Human Pose Estimation via a Learned Loss for Structural Consistency", 2026.
        https://arxiv.org/abs/2602.20051
    """

    ratio: float = 1.0

    def __post_init__(self) -> None:
        if not is_number(self.ratio) or not 0 < self.ratio < float("inf"):
            raise ValueError(f"Expected `ratio` to be above 0, but got {self.ratio!r}.")

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        return F.relu(self.ratio * distance - energy_negative + energy_true).mean(0)


@dataclass(frozen=True)
class RegressionObjective(Objective):
    r"""Make the energy equal to the distance `d` to the truth, which is 0 at the truth itself.

    .. math:: \frac{1}{K + 1} \Big( E_y^2 + \sum_k (E_k - d_k)^2 \Big)

    Example:
        Errors of 1 at the truth and 2 at the negative, (1 + 4) / 2 = 2.5:

        >>> RegressionObjective()(torch.tensor([1.0]), torch.tensor([[5.0]]), torch.tensor([[3.0]]))
        tensor([2.5000])

    Reference:
        Lee et al., "Structured Energy Network As a Loss", NeurIPS 2022.
    """

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        squares = (energy_negative - distance).square().sum(0) + energy_true.square()
        return squares / (len(energy_negative) + 1)


@dataclass(frozen=True)
class WassersteinObjective(Objective):
    r"""Lower the truth below its negatives as far as the slope of the energy allows.

    .. math:: E_y - \frac{1}{K} \sum_k E_k

    It has no lower bound: unless something limits the slope, the energies grow for ever. An `EnergyTerm` therefore
    accepts it only together with an `InterpolatedPenalty`.

    Example:
        The truth has an energy of 1, its two negatives a mean of 4:

        >>> WassersteinObjective()(torch.tensor([1.0]), torch.tensor([[3.0], [5.0]]), torch.ones(2, 1))
        tensor([-3.])

    References:
        Arjovsky et al., "Wasserstein Generative Adversarial Networks", ICML 2017. https://arxiv.org/abs/1701.07875
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017. https://arxiv.org/abs/1704.00028
    """

    needs_distance: ClassVar[bool] = False

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        return energy_true - energy_negative.mean(0)


@dataclass(frozen=True)
class NoObjective(Objective):
    """Zero: the loss-net learns from its gradient penalty alone, as a prior trained with `DenoisingScore` does.

    Truths and negatives are still scored, which shows how well the loss-net ranks them without having learned it.

    Example:
        >>> NoObjective()(torch.tensor([1.0]), torch.tensor([[3.0]]), torch.ones(1, 1))
        tensor([0.])
    """

    needs_distance: ClassVar[bool] = False

    def loss(self, energy_true: Tensor, energy_negative: Tensor, distance: Tensor) -> Tensor:
        """Return losses ``(N,)``."""
        return torch.zeros_like(energy_true)
