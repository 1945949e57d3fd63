"""The rotation that brings one pose closest to another, in closed form for many poses at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["best_rotation"]

NEWTON_STEPS = 8


def best_rotation(covariance: Tensor) -> Tensor:
    r"""Rotation closest to a 3x3 matrix: that of the largest :math:`\langle R, M \rangle` with :math:`\det R = +1`.

    If :math:`M = R S` with S symmetric, then R is a polynomial in M whose coefficients follow from the invariants of S,
    :math:`i_1 = \mathrm{tr} S`, :math:`i_2 = (i_1^2 - \|M\|^2) / 2` and :math:`i_3 = \det M`:

    .. math:: R = \frac{(i_1^2 - i_2) M + i_1 \, \mathrm{cof} M - M M^T M}{i_1 i_2 - i_3}

    The trace is the largest root of :math:`(i_1^2 - \|M\|^2)^2 - 8 i_3 i_1 - 4 \|\mathrm{cof} M\|^2`, which is the
    characteristic polynomial of Horn's quaternion matrix; Newton's method finds it from above. The closed form loses
    its precision where two rotations are equally good, or nearly so: where :math:`R R^T` differs from the identity by
    more than the square root of the floating-point precision, a singular value decomposition is used instead.

    Args:
        covariance: Matrices M, shape (3, 3, N). The poses are last, so that operations on an entry run over contiguous
            memory.

    Returns:
        Rotations R, shape (3, 3, N), NaN where a matrix is not finite. The gradient is zero where the best rotation
        is not unique.

    Reference:
        Theobald, Rapid calculation of RMSDs using a quaternion-based characteristic polynomial, 2005,
        https://doi.org/10.1107/S0108767305015266. Hoger and Carlson, Determination of the stretch and rotation in the
        polar decomposition of the deformation gradient, 1984, https://doi.org/10.1090/qam/745423
    """
    # The scale does not change the rotation, but the powers of very small or large numbers would under- or overflow.
    largest = covariance.detach().abs().amax(dim=(0, 1))
    matrix = covariance / torch.where(largest == 0, 1.0, largest)
    rotation: Tensor = _BestRotation.apply(matrix)  # type: ignore[no-untyped-call]
    return rotation


class _BestRotation(torch.autograd.Function):
    """`best_rotation` with a gradient of its own, which is the same for the closed form and for the decomposition."""

    @staticmethod
    def forward(matrix: Tensor) -> Tensor:
        rotation = _closed_form(matrix)
        gram = _product(rotation, rotation.transpose(0, 1))
        accurate = (gram - _identity_like(gram)).abs().amax(dim=(0, 1)) <= torch.finfo(gram.dtype).eps ** 0.5
        # One Newton step towards the nearest orthogonal matrix squares the remaining error.
        rotation = 1.5 * rotation - 0.5 * _product(gram, rotation)
        # `nonzero` synchronises with a GPU, but decomposing all matrices would do so as well, and take far longer.
        left = (~accurate).nonzero().squeeze(-1)
        if left.numel() > 0:
            rotation = rotation.index_copy(-1, left, _by_decomposition(matrix.index_select(-1, left)))
        return rotation

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs, output)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int], matrix: Tensor) -> tuple[Tensor, int]:
        # Under `torch.vmap` the mapped axis becomes part of the last one, which holds the poses.
        matrix = matrix.movedim(in_dims[0], -1)
        rotation: Tensor = _BestRotation.apply(matrix.flatten(2))  # type: ignore[no-untyped-call]
        return rotation.reshape(matrix.shape), matrix.ndim - 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # When M changes by dM, R turns by (tr(S) I - S)^-1 times twice the axis of the skew part of R^T dM.
        matrix, rotation = ctx.saved_tensors
        stretch = _product(rotation.transpose(0, 1), matrix)
        stiffness = stretch.diagonal().sum(dim=-1) * _identity_like(stretch) - stretch
        cofactors = _cofactors(stiffness)
        determinant = (stiffness[0] * cofactors[0]).sum(dim=0)
        moment = torch.linalg.cross(gradient, rotation, dim=1).sum(dim=0)
        unique = determinant > 0
        turn = (cofactors * moment).sum(dim=1) / torch.where(unique, determinant, 1.0)
        pull: Tensor = torch.linalg.cross(rotation, torch.where(unique, turn, 0.0).unsqueeze(0), dim=1)
        return pull


def _closed_form(matrix: Tensor) -> Tensor:
    cofactors = _cofactors(matrix)
    determinant = (matrix[0] * cofactors[0]).sum(dim=0)
    power, cofactor_power = matrix.square().sum(dim=(0, 1)), cofactors.square().sum(dim=(0, 1))
    half_power, twice_determinant = power / 2, 2 * determinant
    # Newton's method starts at the largest trace that is possible with these sums of squares.
    trace = (power + 2 * (3 * cofactor_power).sqrt()).sqrt()
    for step in range(NEWTON_STEPS + 1):
        second = torch.addcmul(-half_power, trace, trace, value=0.5)
        denominator = torch.addcmul(-determinant, trace, second)
        if step < NEWTON_STEPS:
            value = torch.addcmul(torch.addcmul(-cofactor_power, second, second), twice_determinant, trace, value=-1)
            trace = torch.addcdiv(trace, value, denominator, value=-0.5)
    cubic = _product(_product(matrix, matrix.transpose(0, 1)), matrix)
    return ((trace.square() - second) * matrix + trace * cofactors - cubic) / denominator


def _product(left: Tensor, right: Tensor) -> Tensor:
    return (left.unsqueeze(2) * right).sum(dim=1)


def _cofactors(matrix: Tensor) -> Tensor:
    cofactors: Tensor = torch.linalg.cross(matrix.roll(-1, dims=0), matrix.roll(1, dims=0), dim=1)
    return cofactors


def _by_decomposition(matrix: Tensor) -> Tensor:
    finite = matrix.isfinite().all(dim=0).all(dim=0)
    u, _, vh = torch.linalg.svd(torch.where(finite, matrix, _identity_like(matrix)).permute(2, 0, 1))
    # Flipping the direction of the smallest singular value turns a reflection into the best proper rotation.
    u[..., 2] *= torch.linalg.det(u @ vh).sign().unsqueeze(-1)
    return torch.where(finite, (u @ vh).permute(1, 2, 0), torch.nan)


def _identity_like(matrix: Tensor) -> Tensor:
    return torch.eye(3, dtype=matrix.dtype, device=matrix.device).unsqueeze(-1)
