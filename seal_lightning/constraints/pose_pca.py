"""A rival that is learned, but linear: how far a prediction is from the principal components of the training poses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from seal_lightning._values import is_number
from seal_lightning.constraints.losses import Constraint
from seal_lightning.functional import procrustes_align
from seal_lightning.functional.checks import as_pose
from seal_lightning.skeleton import Skeleton, get_skeleton

__all__ = ["PosePCAConstraint"]

_ALIGNMENTS = 5  # of all poses to their mean, which has settled by then


@dataclass(frozen=True, eq=False)
class PosePCAConstraint(Constraint):
    r"""Asks for poses that are a mean pose plus few principal components of the training poses.

    .. math:: \frac{1}{J} \sum_j \max(0, \| r_j \| - \epsilon), \quad r = (I - C^\top C)(\hat y' - \bar y)

    The prediction :math:`\hat y'` is first moved, turned and scaled to fit the mean pose :math:`\bar y`, since people
    stand anywhere, face any way and differ in size. The rows of C are the components. A residual within the tolerance
    :math:`\epsilon` is no error: true poses have it too. The truth of the sample is not looked at.

    Make it from training poses with `fit`. Every residual depends on all joints, so a pose with an invisible joint has
    no loss.

    Args:
        skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
        mean: Mean pose, shape (J, 3).
        components: Orthonormal components, shape (K, J, 3).
        tolerance: Residual of a joint that is no error yet, in the unit of the mean pose.

    Raises:
        ValueError: If the shapes do not fit the skeleton, or the tolerance is negative.

    Example:
        Two arms that are always of one length: a pose that is lopsided by a third of it has an error.

        >>> arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
        >>> angle = torch.linspace(0.2, 1.2, 50)
        >>> left = torch.stack((angle.cos(), angle.sin(), 0 * angle), dim=-1)
        >>> poses = torch.stack((0 * left, left, left * torch.tensor([-1.0, 1.0, 1.0])), dim=1)
        >>> constraint = PosePCAConstraint.fit(arms, poses)
        >>> lopsided = poses[:1] * torch.tensor([1.0, 1.0, 0.67])[:, None]
        >>> bool(constraint(poses[:1], poses[:1]) < 0.01), bool(constraint(lopsided, poses[:1]) > 0.01)
        (True, True)

    Reference:
        The pose PCA loss of Lightning Pose: Biderman, Whiteway et al., "Lightning Pose: improved animal pose estimation
        via semi-supervised learning, Bayesian ensembling and cloud-native open-source tools", Nature Methods 2024,
        https://doi.org/10.1038/s41592-024-02319-1. Theirs is for 2D poses before one camera and needs no alignment.
    """

    mean: Tensor
    components: Tensor
    tolerance: float = 0.0
    _copies: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = field(
        default_factory=dict, init=False, repr=False
    )

    # Two are equal if they are one: tensors have no truth value, and the parent's fields alone do not tell them apart.
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        super().__post_init__()
        shape = (get_skeleton(self.skeleton).num_joints, 3)
        if self.mean.shape != shape:
            raise ValueError(f"Expected `mean` to have shape {shape}, but got {tuple(self.mean.shape)}.")
        if self.components.shape[1:] != shape:
            raise ValueError(
                f"Expected `components` to have shape (K, {shape[0]}, 3), but got {tuple(self.components.shape)}."
            )
        if not is_number(self.tolerance) or not self.tolerance >= 0:
            raise ValueError(f"Expected `tolerance` to be 0 or more, but got {self.tolerance!r}.")

    @classmethod
    def fit(
        cls, skeleton: str | Skeleton, poses: Tensor, *, variance: float = 0.99, percentile: float = 90.0
    ) -> PosePCAConstraint:
        """Find mean, components and tolerance of true training poses.

        Args:
            skeleton: Skeleton of the poses: a built-in name or a `Skeleton`.
            poses: True poses, shape (N, J, 3), finite, in any place and direction, in the unit of the predictions.
            variance: Least share of their variance that the components have to hold; as few are kept as do.
            percentile: Percentile of the training residuals of all joints that is the tolerance.

        Raises:
            TypeError: If the poses are not a floating-point tensor.
            ValueError: If the shape does not fit, there are fewer than two poses, one is not finite, or an option is
                out of its range.
        """
        skeleton = get_skeleton(skeleton)
        poses = as_pose(poses, "poses", skeleton.num_joints).detach()
        if poses.dim() != 3 or len(poses) < 2 or not poses.isfinite().all():
            raise ValueError(
                f"Expected `poses` to be two or more finite poses, shape (N, {skeleton.num_joints}, 3), but got shape "
                f"{tuple(poses.shape)} with {int((~poses.isfinite()).sum())} numbers that are not finite."
            )
        for name, value, most in (("variance", variance, 1), ("percentile", percentile, 100)):
            if not is_number(value) or not 0 < value <= most:
                raise ValueError(f"Expected `{name}` to be above 0 and at most {most}, but got {value!r}.")
        poses = poses.double()
        size = _sizes(poses).mean()
        mean = poses[0]
        for _ in range(_ALIGNMENTS):
            # The mean of poses that differ is smaller than they are, and would shrink from one alignment to the next.
            mean = (mean - mean.mean(dim=0)) * (size / _sizes(mean))
            aligned = procrustes_align(poses, mean.expand_as(poses))
            mean = aligned.mean(dim=0)
        offset = (aligned - mean).flatten(1)
        power, axes = torch.linalg.eigh(offset.T @ offset)  # ascending
        power = power.clamp(min=0).flip(0)
        held = power.cumsum(0) / power.sum().clamp(min=torch.finfo(power.dtype).tiny)
        kept = min(int((held < variance).sum()) + 1, len(power))
        components = axes.flip(1)[:, :kept].T.reshape(kept, -1, 3)
        fitted = cls(skeleton, mean.float(), components.float(), 0.0)
        residuals = torch.linalg.vector_norm(fitted.residuals(poses), dim=-1)
        return cls(skeleton, fitted.mean, fitted.components, float(np.percentile(residuals.cpu(), percentile)))

    def residuals(self, poses: Tensor) -> Tensor:
        """Return what the components cannot hold of poses (..., J, 3) that were fitted to the mean pose."""
        mean, components = self._like(poses)
        offset = (procrustes_align(poses, mean.expand_as(poses)) - mean).flatten(-2)
        return (offset - (offset @ components.T) @ components).reshape(poses.shape)

    def terms(self, prediction: Tensor, target: Tensor, visible: Tensor, skeleton: Skeleton) -> tuple[Tensor, Tensor]:
        """Return one error per joint, which counts if all joints of the pose are visible."""
        distance = torch.linalg.vector_norm(self.residuals(prediction), dim=-1)
        return (distance - self.tolerance).clamp(min=0), visible.all(dim=-1, keepdim=True).expand_as(visible)

    def _like(self, poses: Tensor) -> tuple[Tensor, Tensor]:
        """Mean pose and flat components in the dtype and on the device of poses; copied only once."""
        key = poses.device, poses.dtype
        if key not in self._copies:
            self._copies[key] = self.mean.to(poses), self.components.to(poses).flatten(1)
        return self._copies[key]


def _sizes(poses: Tensor) -> Tensor:
    """Root mean square distance (...) of the joints from their centroid."""
    return (poses - poses.mean(dim=-2, keepdim=True)).square().sum(dim=-1).mean(dim=-1).sqrt()
