import numpy as np
import pytest
import torch

from seal_lightning.functional import procrustes_align, root_align, scale_align


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def horn_alignment(x, y, weights):
    """Best proper similarity by the largest eigenvector of Horn's quaternion matrix: no singular values involved."""
    total = weights.sum()
    mean_x, mean_y = (weights[:, None] * x).sum(0) / total, (weights[:, None] * y).sum(0) / total
    a, b = (x - mean_x) * weights[:, None], y - mean_y
    m = np.zeros((3, 3))
    for j in range(len(x)):
        m += np.outer(a[j], b[j])
    delta = np.array([m[1, 2] - m[2, 1], m[2, 0] - m[0, 2], m[0, 1] - m[1, 0]])
    n = np.empty((4, 4))
    n[0, 0], n[0, 1:], n[1:, 0] = np.trace(m), delta, delta
    n[1:, 1:] = m + m.T - np.trace(m) * np.eye(3)
    w, qx, qy, qz = np.linalg.eigh(n)[1][:, -1]
    rotation = np.array(
        [
            [1 - 2 * (qy**2 + qz**2), 2 * (qx * qy - w * qz), 2 * (qx * qz + w * qy)],
            [2 * (qx * qy + w * qz), 1 - 2 * (qx**2 + qz**2), 2 * (qy * qz - w * qx)],
            [2 * (qx * qz - w * qy), 2 * (qy * qz + w * qx), 1 - 2 * (qx**2 + qy**2)],
        ]
    )
    turned = (x - mean_x) @ rotation.T
    scale = (weights[:, None] * turned * b).sum() / (weights[:, None] * (x - mean_x) ** 2).sum()
    return scale * turned + mean_y


def random_similarity(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return q, rng.uniform(0.2, 5.0), rng.normal(size=3) * 1000


def test_root_align_moves_joint_or_mean_to_origin(rng):
    pose = torch.from_numpy(rng.normal(size=(2, 5, 17, 3)))
    for root, origin in ((4, pose[..., 4, :]), ((1, 4, 2), (pose[..., 1, :] + pose[..., 4, :] + pose[..., 2, :]) / 3)):
        torch.testing.assert_close(root_align(pose, root), pose - origin[..., None, :])
    assert root_align(pose, None) is pose


def test_root_align_uses_visible_roots_only(rng):
    pose = torch.from_numpy(rng.normal(size=(3, 5, 3)))
    visible = torch.ones(3, 5, dtype=torch.bool)
    visible[1, 0] = False
    visible[2, :2] = False
    pose[1, 0] = torch.nan
    aligned = root_align(pose, (0, 1), visibility=visible)
    torch.testing.assert_close(aligned[0], pose[0] - pose[0, :2].mean(0))
    torch.testing.assert_close(aligned[1, 1:], pose[1, 1:] - pose[1, 1])
    assert aligned[2].isnan().all()


def test_scale_align_is_the_least_squares_scale(rng):
    prediction, target = rng.normal(size=(2, 6, 17, 3))
    aligned = scale_align(torch.from_numpy(prediction), torch.from_numpy(target)).numpy()
    for x, y, result in zip(prediction, target, aligned, strict=True):
        scale = np.linalg.lstsq(x.reshape(-1, 1), y.reshape(-1), rcond=None)[0]
        np.testing.assert_allclose(result, scale * x)


def test_scale_align_without_extent_stays_at_zero():
    zero, target = torch.zeros(2, 4, 3), torch.ones(2, 4, 3)
    assert torch.equal(scale_align(zero, target), zero)


def test_scale_align_ignores_invisible_joints(rng):
    prediction, target = torch.from_numpy(rng.normal(size=(2, 1, 6, 3)))
    visible = torch.tensor([[1, 1, 1, 0, 1, 0]])
    expected = scale_align(prediction[:, [0, 1, 2, 4]], target[:, [0, 1, 2, 4]])
    prediction[:, [3, 5]] = torch.nan
    torch.testing.assert_close(scale_align(prediction, target, visibility=visible)[:, [0, 1, 2, 4]], expected)


@pytest.mark.parametrize("masked", [False, True])
def test_procrustes_equals_horns_quaternions(rng, masked):
    prediction, target = rng.normal(size=(2, 40, 17, 3)) * 300
    # Every second prediction is close to a mirror image, where the best rotation is not the best reflection.
    prediction[::2] = target[::2] * [-1, 1, 1] + rng.normal(size=(20, 17, 3)) * 10
    weights = (rng.random((40, 17)) < 0.6) if masked else np.ones((40, 17), dtype=bool)
    aligned = procrustes_align(
        torch.from_numpy(prediction),
        torch.from_numpy(target),
        visibility=torch.from_numpy(weights) if masked else None,
    ).numpy()
    for i in range(40):
        expected = horn_alignment(prediction[i], target[i], weights[i].astype(float))
        np.testing.assert_allclose(aligned[i], expected, atol=1e-8)


def test_procrustes_undoes_a_similarity_transform_in_single_precision(rng):
    target = rng.normal(size=(30, 17, 3)) * 300
    moved = np.empty_like(target)
    for i in range(30):
        rotation, scale, shift = random_similarity(rng)
        moved[i] = scale * target[i] @ rotation.T + shift
    aligned = procrustes_align(torch.from_numpy(moved).float(), torch.from_numpy(target).float())
    np.testing.assert_allclose(aligned.numpy(), target, atol=5e-2)


def test_procrustes_of_degenerate_poses_is_defined(rng):
    target = torch.from_numpy(rng.normal(size=(17, 3)) * 300 + 1000).float()
    centroid = target.mean(0).expand(17, 3)
    for point in (torch.zeros(17, 3), torch.full((17, 3), 1234.567), torch.tensor([0.1, 7e4, -3.0]).expand(17, 3)):
        torch.testing.assert_close(procrustes_align(point, target), centroid, atol=1e-3, rtol=0)
        torch.testing.assert_close(procrustes_align(target, point), point, atol=1e-2, rtol=0)
        torch.testing.assert_close(procrustes_align(point, point), point, atol=1e-2, rtol=0)


@pytest.mark.parametrize("rank", [1, 2])
def test_procrustes_of_collinear_and_planar_poses_fits_exactly(rng, rank):
    target = torch.from_numpy(rng.normal(size=(20, 9, rank)) @ rng.normal(size=(20, rank, 3)))
    moved = torch.empty_like(target)
    for i in range(20):
        rotation, scale, shift = random_similarity(rng)
        moved[i] = torch.from_numpy(scale * target[i].numpy() @ rotation.T + shift)
    torch.testing.assert_close(procrustes_align(moved, target), target, atol=1e-8, rtol=0)


def test_procrustes_passes_nan_on_to_its_own_pose_only(rng):
    prediction, target = torch.from_numpy(rng.normal(size=(2, 3, 17, 3)))
    expected = procrustes_align(prediction, target)
    prediction[1, 4, 2] = torch.nan
    target[2, 0, 0] = torch.inf
    aligned = procrustes_align(prediction, target)
    assert aligned[1].isnan().all()
    assert aligned[2].isnan().all()
    torch.testing.assert_close(aligned[0], expected[0])


def test_procrustes_moves_invisible_joints_along(rng):
    target = torch.from_numpy(rng.normal(size=(1, 8, 3)))
    rotation, scale, shift = random_similarity(rng)
    prediction = scale * target @ torch.from_numpy(rotation).T + torch.from_numpy(shift)
    visible = torch.ones(1, 8, dtype=torch.bool)
    visible[0, 3] = False
    noisy = target.clone()
    noisy[0, 3] += 50.0
    torch.testing.assert_close(procrustes_align(prediction, noisy, visibility=visible), target, atol=1e-6, rtol=0)


def test_procrustes_under_autocast_keeps_single_precision(rng):
    prediction, target = torch.from_numpy(rng.normal(size=(2, 4, 17, 3)) * 300).float()
    expected = procrustes_align(prediction, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        aligned = procrustes_align(prediction, target)
    assert torch.equal(aligned, expected)


def test_procrustes_gradient(rng):
    prediction, target = torch.from_numpy(rng.normal(size=(2, 2, 6, 3)))
    assert torch.autograd.gradcheck(procrustes_align, (prediction.requires_grad_(), target.requires_grad_()))
    collapsed = torch.zeros(2, 6, 3, dtype=torch.float64, requires_grad=True)
    procrustes_align(collapsed, target.detach()).square().sum().backward()
    assert collapsed.grad.isfinite().all()


def test_index_cached_in_inference_mode_serves_training():
    root = (2, 9, 5, 11)
    with torch.inference_mode():
        root_align(torch.zeros(1, 17, 3), root)
    pose = torch.rand(1, 17, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    root_align(pose, root)[0, 0, 0].backward()
    expected = torch.zeros(17)
    expected[list(root)] = -0.25
    expected[0] += 1
    torch.testing.assert_close(pose.grad[0, :, 0], expected)
