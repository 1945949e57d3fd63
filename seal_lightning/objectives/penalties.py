"""Losses on the slope of an energy: `GradientPenalty` and its kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from seal_lightning._values import check_above_zero, is_number, kind_of
from seal_lightning.loss_nets.frame import FramedPoses
from seal_lightning.skeleton import Skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = ["R1", "DenoisingScore", "GradientPenalty", "InterpolatedPenalty", "Probe", "gradient_penalty"]

_FLATTEST = 1e-6  # a flatter slope counts as this steep, because a square root has no derivative at zero


class Probe(NamedTuple):
    """Poses at which the slope of an energy is computed, and the penalty on it."""

    pose: Tensor
    """(N, J, 3); if this is the tensor of true poses itself, their energies are used by the objective too."""
    penalty: Callable[[Tensor, Tensor], Tensor]
    """Given the energies (N,) and the poses (N, J, 3) that they were computed from, returns the penalties (N,)."""


class GradientPenalty(ABC):
    """A loss on the slope of the energy, which is added to the objective.

    To write your own penalty, implement `draw`. All random numbers come from the generator, which is on the CPU.

    Example:
        >>> class SlopeAtNegative(GradientPenalty):
        ...     def draw(self, truth, negative, skeleton, generator):
        ...         return Probe(negative, lambda energy, pose: 0.1 * gradient_penalty(energy, pose))
    """

    @abstractmethod
    def draw(self, truth: FramedPoses, negative: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Probe:
        """Choose the poses at which the slope is computed, and the penalty there.

        Args:
            truth: N true poses in mean bone lengths, with masks.
            negative: The first negative of every true pose, shape ``(N, J, 3)``.
            skeleton: Skeleton of the poses.
            generator: Source of all random numbers, on the CPU.
        """


@dataclass(frozen=True)
class R1(GradientPenalty):
    r"""Penalises a steep energy at the true poses. A number as `gradient_penalty` is the weight of this one.

    .. math:: \tfrac{1}{2}\, \mathrm{weight}\, \lVert \partial E_y / \partial y \rVert^2

    It is the cheapest penalty, because the true poses are scored anyway.

    Args:
        weight: Factor of the penalty; above 0.

    Raises:
        ValueError: If `weight` is not above 0.

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018.
        https://arxiv.org/abs/1801.04406
    """

    weight: float

    def __post_init__(self) -> None:
        check_above_zero(weight=self.weight)

    def draw(self, truth: FramedPoses, negative: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Probe:
        """Return the truth itself and the penalty there."""
        return Probe(truth.pose, lambda energy, pose: self.weight * gradient_penalty(energy, pose))


@dataclass(frozen=True)
class InterpolatedPenalty(GradientPenalty):
    r"""Penalises slopes other than 1 between a true pose and its first negative: WGAN-GP.

    .. math:: \mathrm{weight}\, (\lVert \partial E / \partial \tilde y \rVert - 1)^2, \quad
        \tilde y = y + t\,(y^- - y), \quad t \sim U(0, 1)

    with one `t` per sample. It keeps the energy near one unit per mean bone length, which `WassersteinObjective` needs.
    An invisible joint is zero in all three poses, and the slope there does not count.

    Args:
        weight: Factor of the penalty; above 0.

    Raises:
        ValueError: If `weight` is not above 0.

    Reference:
        Gulrajani et al., "Improved Training of Wasserstein GANs", NeurIPS 2017. https://arxiv.org/abs/1704.00028
    """

    weight: float = 10.0

    def __post_init__(self) -> None:
        check_above_zero(weight=self.weight)

    def draw(self, truth: FramedPoses, negative: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Probe:
        """Return poses between truth and negative, and the penalty there."""
        share = torch.rand((len(negative), 1, 1), generator=generator, device="cpu").to(negative, non_blocking=True)

        def penalty(energy: Tensor, pose: Tensor) -> Tensor:
            slope = _slope(energy, pose) * truth.seen[..., None]
            norm = slope.square().sum((1, 2)).clamp(min=_FLATTEST**2).sqrt()
            return self.weight * (norm - 1).square()

        return Probe(truth.pose + share * (negative - truth.pose), penalty)


@dataclass(frozen=True)
class DenoisingScore(GradientPenalty):
    r"""Makes the slope point along the noise that was added to a true pose: denoising score matching.

    .. math:: \mathrm{weight} \cdot \mathrm{mean}_c \Big( \sigma \frac{\partial E}{\partial \tilde y} -
        \frac{\tilde y - y}{\sigma} \Big)^2_c, \quad \tilde y = y + \sigma z

    with normal `z` per coordinate `c`. The mean is over the coordinates that can move: the root stays in its place,
    because a loss-net sees poses aligned there, and an invisible joint stays at zero.

    It does not use the negatives. With `NoObjective` a loss-net learns from true poses alone, and its energy becomes
    the negative log-density of noised true poses given their keypoints, up to a constant: a prior, which can be trained
    first and frozen afterwards. The loss-net should be smooth, because the slope of a piecewise linear one has jumps.

    Each sample draws its :math:`\sigma` log-uniformly between two bounds. If they differ, the energy is that of a
    mixture of all noise levels, in which :math:`\sigma` has a density in proportion to :math:`\sigma`.

    Args:
        low: Least standard deviation of the noise, in mean bone lengths; above 0.
        high: Largest standard deviation of the noise; equal to `low` for a single level.
        weight: Factor of the penalty; above 0.

    Raises:
        ValueError: If not 0 < `low` <= `high`, or `weight` is not above 0.

    Reference:
        Vincent, "A Connection Between Score Matching and Denoising Autoencoders", Neural Computation 2011.
        https://doi.org/10.1162/NECO_a_00142
    """

    low: float = 0.05
    high: float = 0.2
    weight: float = 1.0

    def __post_init__(self) -> None:
        numbers = is_number(self.low) and is_number(self.high)
        if not numbers or not 0 < self.low <= self.high < float("inf"):
            raise ValueError(f"Expected 0 < `low` <= `high`, both finite, but got {self.low!r} and {self.high!r}.")
        check_above_zero(weight=self.weight)

    def draw(self, truth: FramedPoses, negative: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Probe:
        """Return noised truths and the penalty there."""
        level = torch.rand((len(truth.pose), 1, 1), generator=generator, device="cpu")
        noise = torch.randn(truth.pose.shape, generator=generator, device="cpu")
        sigma = self.low * (self.high / self.low) ** level.to(truth.pose, non_blocking=True)
        noise = _free(noise.to(truth.pose, non_blocking=True), truth, skeleton)

        def penalty(energy: Tensor, pose: Tensor) -> Tensor:
            pull = _free(sigma * _slope(energy, pose), truth, skeleton)
            error = F.mse_loss(pull, noise, reduction="none").sum((1, 2))
            if not truth.masked:
                return error * (self.weight / max(1, 3 * (truth.pose.shape[1] - 1)))  # the root does not move
            return self.weight * error / (3 * (truth.seen.sum(1) - 1)).clamp(min=1)

        return Probe(torch.addcmul(truth.pose, sigma, noise), penalty)


def gradient_penalty(energy_true: Tensor, truth: Tensor) -> Tensor:
    r"""R1 penalty on a steep energy at the true poses.

    .. math:: \tfrac{1}{2} \lVert \partial E_y / \partial y \rVert^2

    The penalty can be differentiated, which differentiates the loss-net twice. The fused attention kernels do not allow
    that: with attention, compute `energy_true` under ``torch.nn.attention.sdpa_kernel(SDPBackend.MATH)``.

    Args:
        energy_true: Energies of the true poses, shape ``(N,)``, each computed from its own pose alone.
        truth: The true poses that they were computed from, shape ``(N, J, 3)``, requiring a gradient.

    Returns:
        Penalties, shape ``(N,)``.

    Raises:
        ValueError: If the shapes do not match, or the energies have no gradient at the poses.

    Example:
        An energy of 2 times the sum of 3 coordinates has the slope (2, 2, 2), and (4 + 4 + 4) / 2 = 6:

        >>> truth = torch.zeros(1, 1, 3, requires_grad=True)
        >>> gradient_penalty(2 * truth.sum((1, 2)), truth).tolist()
        [6.0]

    Reference:
        Mescheder et al., "Which Training Methods for GANs do actually Converge?", ICML 2018.
        https://arxiv.org/abs/1801.04406
    """
    for name, values in (("energy_true", energy_true), ("truth", truth)):
        if not isinstance(values, Tensor):
            raise TypeError(f"Expected `{name}` to be a tensor, but got {kind_of(values)}.")
    if truth.ndim != 3 or energy_true.shape != truth.shape[:1]:
        raise ValueError(
            "Expected `energy_true` and `truth` to have shapes (N,) and (N, J, 3), "
            f"but got {tuple(energy_true.shape)} and {tuple(truth.shape)}."
        )
    if not (truth.requires_grad and energy_true.requires_grad):
        raise ValueError("Expected `truth` to require a gradient before `energy_true` is computed from it.")
    return 0.5 * _slope(energy_true, truth).square().sum((1, 2))


def _slope(energy: Tensor, pose: Tensor) -> Tensor:
    """Gradient of the energies (N,) at the poses (N, J, 3), which can be differentiated once more."""
    ones = torch.ones_like(energy)
    (slope,) = torch.autograd.grad(energy, pose, ones, create_graph=True, allow_unused=True)
    if slope is None:
        raise ValueError("Expected the energies to depend on the poses whose slope is asked for, but they do not.")
    return slope


def _free(shift: Tensor, truth: FramedPoses, skeleton: Skeleton) -> Tensor:
    """The part of a shift (N, J, 3) that moves neither the root nor an invisible joint."""
    if not truth.masked and len(skeleton.root_joints) == 1:
        return shift * _movable(skeleton, truth.pose.device, truth.pose.dtype)
    root = bone_tree(skeleton, truth.pose).root
    shift = shift * truth.seen[..., None]
    seen = truth.seen.index_select(1, root)[..., None]
    mean = shift.index_select(1, root).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
    return shift.index_add(1, root, -mean * seen)


@lru_cache(maxsize=32)
def _movable(skeleton: Skeleton, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(J, 1): 0 for the root, 1 for every other joint."""
    movable = torch.ones(skeleton.num_joints, 1, device="cpu")
    movable[list(skeleton.root_joints)] = 0
    return movable.to(device, dtype)
