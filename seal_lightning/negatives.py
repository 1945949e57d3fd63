"""Sources of implausible poses for a loss-net: the prediction, and damaged versions of the truth."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from seal_lightning._values import check_above_zero, check_counts, is_number, kind_of
from seal_lightning.skeleton import Skeleton, get_skeleton
from seal_lightning.skeleton.bone_tree import bone_tree

__all__ = [
    "AsymmetryNegatives",
    "BoneDirectionNegatives",
    "BoneLengthNegatives",
    "GaussianNegatives",
    "InterpolationNegatives",
    "Negatives",
    "OtherPoseNegatives",
    "PredictionNegatives",
]


class Negatives(ABC):
    """A source of negatives: poses that should get a higher energy than the truth.

    To write your own source, implement `draw`, and set `count` to K if it makes K negatives per truth. All random
    numbers come from the generator, so that the host draws the same random numbers as without SEAL.

    Example:
        >>> class MirroredNegatives(Negatives):
        ...     def draw(self, truth, prediction, skeleton, generator):
        ...         return (truth[:, list(skeleton.partners)] * torch.tensor([-1.0, 1.0, 1.0]))[None]
        >>> pose, skeleton = torch.ones(1, 2, 3), Skeleton.from_parents([-1, 0])
        >>> MirroredNegatives()(pose, pose, skeleton, torch.Generator())[0, 0, 0].tolist()
        [-1.0, 1.0, 1.0]
    """

    count: int = 1

    def __call__(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the negatives of every truth.

        Args:
            truth: True poses, root-aligned, in mean bone lengths, shape ``(N, J, 3)``.
            prediction: The predictions for the same samples, shape ``(N, J, 3)``.
            skeleton: Skeleton of the poses.
            generator: Source of all random numbers, on the CPU.

        Returns:
            Detached negatives, shape ``(K, N, J, 3)``.

        Raises:
            TypeError: If `truth` or `prediction` is not a floating-point tensor.
            ValueError: If the shapes do not fit each other or the skeleton.
        """
        skeleton = get_skeleton(skeleton)
        for name, poses in (("truth", truth), ("prediction", prediction)):
            if not isinstance(poses, Tensor) or not poses.is_floating_point():
                raise TypeError(f"Expected `{name}` to be a floating-point tensor, but got {kind_of(poses)}.")
        if truth.ndim != 3 or truth.shape[1:] != (skeleton.num_joints, 3):
            expected = f"(N, {skeleton.num_joints}, 3)"
            raise ValueError(f"Expected `truth` to have shape {expected}, but got {tuple(truth.shape)}.")
        if prediction.shape != truth.shape:
            shapes = f"{tuple(prediction.shape)} and {tuple(truth.shape)}"
            raise ValueError(f"Expected `prediction` and `truth` to have the same shape, but got {shapes}.")
        with torch.no_grad(), torch.autocast(truth.device.type, enabled=False):
            negatives = self.draw(truth.detach(), prediction.detach(), skeleton, generator)
        if negatives.shape != (self.count, *truth.shape):
            raise ValueError(
                f"Expected `{type(self).__name__}.draw` to return the shape {(self.count, *truth.shape)}, "
                f"but got {tuple(negatives.shape)}."
            )
        return negatives

    @abstractmethod
    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return negatives ``(count, N, J, 3)`` given truths and predictions ``(N, J, 3)``; runs without gradients."""


@dataclass(frozen=True)
class PredictionNegatives(Negatives):
    """The prediction of the pose-net, which the loss-net learns to tell from the truth.

    Args:
        eval: Whether to take what the pose-net predicts in evaluation mode: without dropout, and with the running
            statistics of its batch normalisation. Published training scripts do so. The pose-net then runs once more in
            every step, for these negatives alone.

    Raises:
        TypeError: If `eval` is not True or False.

    Example:
        >>> truth, prediction = torch.zeros(1, 1, 3), torch.ones(1, 1, 3)
        >>> PredictionNegatives()(truth, prediction, Skeleton.from_parents([-1]), torch.Generator()).tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """

    eval: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.eval, bool):
            raise TypeError(f"Expected `eval` to be True or False, but got {self.eval!r}.")

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the predictions ``(1, N, J, 3)``, in the mode that they were made in."""
        return prediction.unsqueeze(0)


@dataclass(frozen=True)
class BoneLengthNegatives(Negatives):
    r"""The truth with the length of every bone changed independently: :math:`l' = l\,e^{\sigma z}` with normal `z`.

    Directions are kept, and everything below a bone moves with it.

    Args:
        scale: Standard deviation of the logarithm of the length; 0.1 is about 10 percent.
        count: Number of negatives per truth.

    Raises:
        ValueError: If `scale` is not above 0 or `count` is not a positive integer.

    Example:
        >>> along_x = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> BoneLengthNegatives()(along_x, along_x, Skeleton.from_parents([-1, 0]), torch.Generator())[0, 0, 1, 1:]
        tensor([0., 0.])
    """

    scale: float = 0.1
    count: int = 1

    def __post_init__(self) -> None:
        check_counts(count=self.count)
        check_above_zero(scale=self.scale)

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the stretched poses ``(K, N, J, 3)``."""
        tree = bone_tree(skeleton, truth)
        bones = tree.bones(truth)
        stretch = self.scale * _normal((self.count, *bones.shape[:2], 1), generator, truth)
        return tree.move(truth, bones * torch.expm1(stretch))


@dataclass(frozen=True)
class BoneDirectionNegatives(Negatives):
    r"""The truth with every bone turned independently, by an angle whose root mean square is `angle`.

    .. math:: b' = l\,(u \cos\theta + v \sin\theta), \quad \theta = \mathrm{angle} \cdot \lVert t \rVert / \sqrt 2

    where `u` is the direction of the bone and `v` that of `t`, normal noise in the plane orthogonal to the bone.
    Lengths are kept. Everything below a bone moves with it but does not turn, so its error is not passed down.

    Args:
        angle: Root mean square of the turn, in degrees; at most 180.
        count: Number of negatives per truth.

    Raises:
        ValueError: If `angle` is not above 0 and at most 180, or `count` is not a positive integer.

    Example:
        A bone of length 2 keeps its length however it turns:

        >>> truth = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]])
        >>> turned = BoneDirectionNegatives(angle=90.0)(truth, truth, Skeleton.from_parents([-1, 0]), torch.Generator())
        >>> round(turned[0, 0, 1].norm().item(), 4)
        2.0
    """

    angle: float = 15.0
    count: int = 1

    def __post_init__(self) -> None:
        if not is_number(self.angle) or not 0 < self.angle <= 180:
            raise ValueError(f"Expected `angle` to be above 0 and at most 180 degrees, but got {self.angle!r}.")
        check_counts(count=self.count)

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the turned poses ``(K, N, J, 3)``."""
        tree = bone_tree(skeleton, truth)
        bones = tree.bones(truth)
        length = bones.norm(dim=-1, keepdim=True)
        direction = bones / length.clamp_min(torch.finfo(bones.dtype).tiny)
        noise = _normal((self.count, *bones.shape), generator, truth)
        across = noise - (noise * direction).sum(-1, keepdim=True) * direction
        unit = math.radians(self.angle) / math.sqrt(2)
        theta = unit * across.norm(dim=-1, keepdim=True)
        # `unit * sinc(theta / pi)` is sin(theta) / |across|, and is defined for noise of zero too.
        turned = length * (direction * theta.cos() + across * unit * torch.sinc(theta / math.pi))
        return tree.move(truth, turned - bones)


@dataclass(frozen=True)
class GaussianNegatives(Negatives):
    """The truth with normal noise on every coordinate, moved so that the root keeps its place.

    Args:
        std: Standard deviation of the noise, in mean bone lengths.

    Raises:
        ValueError: If `std` is not above 0.

    Example:
        >>> truth = torch.zeros(1, 2, 3)
        >>> GaussianNegatives()(truth, truth, Skeleton.from_parents([-1, 0]), torch.Generator())[0, 0, 0].tolist()
        [0.0, 0.0, 0.0]
    """

    std: float = 0.1

    def __post_init__(self) -> None:
        check_above_zero(std=self.std)

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the noisy poses ``(1, N, J, 3)``."""
        return truth + bone_tree(skeleton, truth).hold_root(self.std * _normal((1, *truth.shape), generator, truth))


@dataclass(frozen=True)
class AsymmetryNegatives(Negatives):
    r"""The truth with the paired bones of one side longer and those of the other shorter by the same factor.

    One factor :math:`e^{\sigma z}` with normal `z` is drawn per pose, so either side can be the longer one. Directions
    are kept, and so is the product of the two lengths.

    Args:
        scale: Standard deviation of the logarithm of the factor; 0.1 is about 10 percent on either side.

    Raises:
        ValueError: If `scale` is not above 0, or the skeleton has no paired bones.

    Example:
        Hips at a distance of 2 to the left and right of the root: the product of the two distances stays 4.

        >>> truth = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [-2.0, 0.0, 0.0]]])
        >>> hips = Skeleton.from_parents([-1, 0, 0], left=[1], right=[2])
        >>> round(AsymmetryNegatives()(truth, truth, hips, torch.Generator())[0, 0, 1:].norm(dim=-1).prod().item(), 4)
        4.0
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        check_above_zero(scale=self.scale)

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the asymmetric poses ``(1, N, J, 3)``."""
        if not skeleton.paired_bones:
            raise ValueError("Expected `skeleton` to have paired bones on the left and right, but got none.")
        tree = bone_tree(skeleton, truth)
        stretch = self.scale * _normal((1, len(truth), 1, 1), generator, truth) * tree.side
        return tree.move(truth, tree.bones(truth) * torch.expm1(stretch))


@dataclass(frozen=True)
class OtherPoseNegatives(Negatives):
    """A plausible pose for other keypoints: the truth of another sample of the batch.

    Every sample gets the pose of the next one on a random cycle through the whole batch, so none gets its own. In a
    batch of a single sample there is no other pose, and the prediction is used instead.

    Example:
        Two samples always exchange their poses:

        >>> truth = torch.tensor([[[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]])
        >>> OtherPoseNegatives()(truth, truth, Skeleton.from_parents([-1]), torch.Generator())[0, :, 0, 0].tolist()
        [2.0, 1.0]
    """

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the poses of others ``(1, N, J, 3)``."""
        if len(truth) == 1:
            return prediction[None]
        cycle = torch.randperm(len(truth), generator=generator, device="cpu")
        other = torch.empty_like(cycle).index_copy(0, cycle, cycle.roll(1))
        return truth.index_select(0, other.to(truth.device, non_blocking=True)).unsqueeze(0)


@dataclass(frozen=True)
class InterpolationNegatives(Negatives):
    r"""A pose between the truth and the prediction: :math:`y + t\,(\hat y - y)` with uniform `t`.

    Args:
        low: Smallest `t`; above 0, because 0 is the truth.
        high: Largest `t`; at most 1, which is the prediction.

    Raises:
        ValueError: If not 0 < `low` <= `high` <= 1.

    Example:
        >>> truth, prediction, skeleton = torch.zeros(1, 1, 3), torch.full((1, 1, 3), 2.0), Skeleton.from_parents([-1])
        >>> InterpolationNegatives(low=0.5, high=0.5)(truth, prediction, skeleton, torch.Generator()).tolist()
        [[[[1.0, 1.0, 1.0]]]]
    """

    low: float = 0.25
    high: float = 0.75

    def __post_init__(self) -> None:
        if not is_number(self.low) or not is_number(self.high) or not 0 < self.low <= self.high <= 1:
            raise ValueError(f"Expected 0 < `low` <= `high` <= 1, but got {self.low!r} and {self.high!r}.")

    def draw(self, truth: Tensor, prediction: Tensor, skeleton: Skeleton, generator: torch.Generator) -> Tensor:
        """Return the poses in between ``(1, N, J, 3)``."""
        share = torch.rand((1, len(truth), 1, 1), generator=generator, device="cpu").to(truth, non_blocking=True)
        return truth + (self.low + (self.high - self.low) * share) * (prediction - truth)


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device="cpu").to(like, non_blocking=True)
