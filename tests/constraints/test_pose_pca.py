"""`PosePCAConstraint`: its components, residuals and tolerance against closed forms."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from seal_lightning.constraints import PosePCAConstraint
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")


def shapes(count=200, seed=0):
    """Poses that are a mean and two directions of change, neither of which moves, turns or scales the mean pose."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(size=(17, 3))
    mean -= mean.mean(0)
    axes = np.eye(3)
    rigid = [np.tile(axis, (17, 1)) for axis in axes] + [np.cross(mean, axis) for axis in axes] + [mean]
    basis, _ = np.linalg.qr(np.stack([*rigid, *rng.normal(size=(3, 17, 3))]).reshape(10, -1).T)
    directions = basis.T[7:].reshape(3, 17, 3)
    weights = rng.normal(size=(count, 2)) * [0.3, 0.1]
    return mean, directions, mean + np.einsum("nk,kjc->njc", weights, directions[:2])


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array)).float()


def test_mean_and_components_of_a_linear_set_of_shapes_are_found():
    _, directions, poses = shapes(2000)
    constraint = PosePCAConstraint.fit("h36m17", tensor(poses), variance=0.99)
    assert constraint.components.shape == (2, 17, 3)
    flat = constraint.components.flatten(1)
    torch.testing.assert_close(flat @ flat.T, torch.eye(2), atol=1e-5, rtol=0)
    # Both span the same plane, up to what the alignment of every pose to the mean changes.
    overlap = np.linalg.svd(flat.numpy() @ directions[:2].reshape(2, -1).T)[1]
    np.testing.assert_allclose(overlap, 1, atol=0.02)
    one = PosePCAConstraint.fit("h36m17", tensor(poses), variance=0.5).components
    assert one.shape == (1, 17, 3)
    assert abs((one[0].numpy() * directions[0]).sum()) > 0.99


def test_residual_in_closed_form():
    mean, directions, _ = shapes()
    constraint = PosePCAConstraint(H36M, tensor(mean), tensor(directions[:2]), tolerance=0.0)
    inside = mean + 0.2 * directions[0] - 0.1 * directions[1]
    # These poses are at the place, turn and size that fit the mean best, up to the second order.
    assert constraint(tensor(inside), tensor(mean)).item() < 0.01
    outside = mean + 1e-3 * directions[2]
    expected = 1e-3 * np.linalg.norm(directions[2], axis=-1)
    found = constraint.residuals(tensor(outside).double()).norm(dim=-1).numpy()
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=2e-6)
    limit = float(np.median(expected))
    half = PosePCAConstraint(H36M, tensor(mean), tensor(directions[:2]), tolerance=limit)
    loss = half(tensor(outside).double(), tensor(mean).double()).item()
    assert loss == pytest.approx(np.maximum(0, expected - limit).mean(), rel=0.02)


def test_place_turn_and_size_do_not_matter():
    mean, directions, poses = shapes()
    constraint = PosePCAConstraint(H36M, tensor(mean), tensor(directions[:1]))
    pose = tensor(poses[:5]).double()
    turn = torch.from_numpy(Rotation.random(5, random_state=0).as_matrix())
    moved = 3 * pose @ turn + torch.randn(5, 1, 3, dtype=torch.double)
    torch.testing.assert_close(constraint(moved, pose), constraint(pose, pose))


def test_the_tolerance_is_the_percentile_of_the_training_residuals():
    rng = np.random.default_rng(0)
    poses = tensor(shapes()[2] + 0.05 * rng.normal(size=(200, 17, 3)))
    for percentile in (50.0, 90.0, 100.0):
        constraint = PosePCAConstraint.fit("h36m17", poses, variance=0.8, percentile=percentile)
        residuals = constraint.residuals(poses.double()).norm(dim=-1)
        assert constraint.tolerance == pytest.approx(np.percentile(residuals.numpy(), percentile), rel=1e-5)
    assert constraint(poses, poses).max() < 1e-6


def test_variance_of_one_keeps_all_and_leaves_no_residual():
    poses = tensor(np.random.default_rng(0).normal(size=(300, 17, 3)))
    constraint = PosePCAConstraint.fit("h36m17", poses, variance=1.0)
    assert constraint.residuals(poses.double()).abs().max() < 1e-5


def test_gradient():
    mean, directions, poses = shapes()
    constraint = PosePCAConstraint(H36M, tensor(mean), tensor(directions[:2]), tolerance=0.01)
    pose = (tensor(poses[:2]) + 0.3 * torch.randn(2, 17, 3)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: constraint(x, x.detach()), pose)
    collapsed = torch.zeros(2, 17, 3, requires_grad=True)
    constraint(collapsed, collapsed.detach()).sum().backward()
    assert collapsed.grad.isfinite().all()


def test_a_pose_with_an_invisible_joint_has_no_loss():
    mean, directions, poses = shapes()
    constraint = PosePCAConstraint(H36M, tensor(mean), tensor(directions[:1]))
    visible = torch.ones(2, 17, dtype=torch.bool)
    visible[1, 3] = False
    pose = tensor(poses[:2])
    pose[1, 3] = torch.nan
    pose.requires_grad_()
    loss = constraint(pose, pose.detach(), visible)
    assert loss[0] > 0
    assert loss[1] == 0
    loss.sum().backward()
    assert not pose.grad[1].any()


def test_two_are_equal_only_if_they_are_one():
    mean, directions, _ = shapes()
    one, other = (PosePCAConstraint(H36M, tensor(mean), tensor(directions[:n])) for n in (1, 2))
    assert one == one
    assert one != other
    assert hash(one) != hash(other)


def test_errors():
    mean, directions, poses = map(tensor, shapes())
    with pytest.raises(ValueError, match=r"`mean` to have shape \(17, 3\), but got \(16, 3\)"):
        PosePCAConstraint(H36M, mean[:16], directions)
    with pytest.raises(ValueError, match=r"`components` to have shape \(K, 17, 3\), but got \(3, 51\)"):
        PosePCAConstraint(H36M, mean, directions.flatten(1))
    with pytest.raises(ValueError, match="`tolerance` to be 0 or more, but got -1"):
        PosePCAConstraint(H36M, mean, directions, tolerance=-1)
    for broken in (poses[:1], poses[0], poses / 0):
        with pytest.raises(ValueError, match="`poses` to be two or more finite poses"):
            PosePCAConstraint.fit(H36M, broken)
    for option in ({"variance": 0.0}, {"variance": 1.1}, {"percentile": 101}):
        with pytest.raises(ValueError, match=f"Expected `{next(iter(option))}` to be above 0"):
            PosePCAConstraint.fit(H36M, poses, **option)
    with pytest.raises(ValueError, match="`poses` to have 2 joints"):
        PosePCAConstraint.fit(Skeleton.from_parents([-1, 0]), poses)
