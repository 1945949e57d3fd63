import numpy as np
import pytest
import torch

from seal_lightning.functional import _rotation, p_mpjpe, procrustes_align
from seal_lightning.functional._rotation import best_rotation


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def reference_rotation(matrix):
    """Best proper rotation of one matrix by NumPy, in float64."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt


def reference_alignment(x, y):
    """Best proper similarity of one pose by NumPy, in float64."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    centre_x, centre_y = x.mean(0), y.mean(0)
    x, y = x - centre_x, y - centre_y
    power = (x**2).sum()
    if power == 0:
        return np.broadcast_to(centre_y, x.shape)
    covariance = x.T @ y
    rotation = reference_rotation(covariance)
    return (rotation * covariance).sum() / power * x @ rotation + centre_y


def with_singular_values(rng, values):
    left, right = np.linalg.qr(rng.normal(size=(2, 3, 3)))[0]
    return left @ np.diag(values) @ right * np.sign(np.linalg.det(left) * np.linalg.det(right))


def poses(rng, kind, joints, count=60):
    """Predictions and targets (N, J, 3) of about 300 mm."""
    target = rng.normal(size=(count, joints, 3)) * 300
    noise = rng.normal(size=target.shape)
    if kind == "general":
        return target + 60 * noise, target
    if kind == "unrelated":
        return 300 * noise, target
    if kind == "mirrored":
        return target * [-1, 1, 1] + noise, target
    axes = np.linalg.qr(rng.normal(size=(2, count, 3, 3)))[0]
    if kind == "planar":
        flat = target * [1, 1, 0]
    elif kind == "collinear":
        flat = target * [1, 0, 0]
    elif kind == "nearly collinear":
        flat = target * ([1, 0, 0] + 10.0 ** rng.uniform(-8, -1, size=(count, 1, 1)) * [0, 1, 1])
    return (flat + (kind == "planar") * 30 * noise) @ axes[0] + 2000, flat @ axes[1] + 5000


KINDS = ["general", "unrelated", "mirrored", "planar", "collinear", "nearly collinear"]


@pytest.mark.parametrize("values", [(3, 2, 1), (3, 2, -1), (3, 2, 0), (1, 1, 1), (5, 5, -1), (1, 1e-3, -1e-5)])
def test_equals_the_decomposition(rng, values):
    matrices = np.stack([with_singular_values(rng, values) for _ in range(30)])
    rotation = best_rotation(torch.from_numpy(matrices).permute(1, 2, 0)).permute(2, 0, 1).numpy()
    for matrix, result in zip(matrices, rotation, strict=True):
        np.testing.assert_allclose(result, reference_rotation(matrix), atol=1e-10)


@pytest.mark.parametrize("values", [(1, 0, 0), (3, 1, -1), (2, 2, -2), (1, 1e-13, 0), (0, 0, 0), (1, 1e-9, -1e-9)])
def test_where_rotations_are_equally_good_one_of_them_is_taken(rng, values):
    matrices = np.stack([with_singular_values(rng, values) for _ in range(30)])
    rotation = best_rotation(torch.from_numpy(matrices).permute(1, 2, 0)).permute(2, 0, 1).numpy()
    for matrix, result in zip(matrices, rotation, strict=True):
        np.testing.assert_allclose(result @ result.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(result) > 0
        assert (result * matrix).sum() == pytest.approx(sum(values), abs=1e-12)


def test_only_poses_without_a_clear_rotation_are_decomposed(rng, monkeypatch):
    decomposed = []
    original = _rotation._by_decomposition
    monkeypatch.setattr(
        _rotation, "_by_decomposition", lambda matrix: decomposed.append(matrix.shape[-1]) or original(matrix)
    )
    counts = {}
    for kind in ("general", "planar", "collinear"):
        decomposed.clear()
        procrustes_align(*(torch.from_numpy(pose) for pose in poses(rng, kind, 17)))
        counts[kind] = sum(decomposed)
    assert counts == {"general": 0, "planar": 0, "collinear": 60}


def test_scale_of_the_matrix_does_not_matter(rng):
    matrix = torch.from_numpy(rng.normal(size=(3, 3, 20)))
    for scale in (1e-150, 1e150):
        torch.testing.assert_close(best_rotation(matrix * scale), best_rotation(matrix))


def test_matrix_that_is_not_finite_is_nan_alone(rng):
    matrix = torch.from_numpy(rng.normal(size=(3, 3, 4)))
    expected = best_rotation(matrix)
    matrix[0, 1, 1], matrix[2, 2, 2] = torch.nan, torch.inf
    rotation = best_rotation(matrix)
    assert rotation[..., 1:3].isnan().all()
    assert torch.equal(rotation[..., [0, 3]], expected[..., [0, 3]])


@pytest.mark.parametrize("values", [(3, 2, 1), (2, 2, 2), (3, 2, 0), (3, 2, -1)])
def test_gradients(rng, values):
    matrices = np.stack([with_singular_values(rng, values) for _ in range(2)])
    matrix = torch.from_numpy(matrices).permute(1, 2, 0).contiguous().requires_grad_()
    assert torch.autograd.gradcheck(best_rotation, (matrix,))
    assert torch.autograd.gradgradcheck(best_rotation, (matrix,))


def test_gradient_where_the_rotation_is_not_unique_is_zero():
    matrix = torch.diag(torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)).unsqueeze(-1).requires_grad_()
    best_rotation(matrix)[1, 2].sum().backward()
    assert torch.equal(matrix.grad, torch.zeros_like(matrix))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("joints", [1, 2, 3, 17])
def test_alignment_equals_that_of_double_precision(rng, kind, dtype, joints):
    if dtype in (torch.float16, torch.bfloat16) and kind == "nearly collinear":
        pytest.skip("rounded to half precision no pose is nearly collinear")
    prediction, target = (torch.from_numpy(pose).to(dtype) for pose in poses(rng, kind, joints))
    aligned = procrustes_align(prediction, target)
    rounding = 4 * torch.finfo(aligned.dtype).eps * 5000
    aligned = aligned.double().numpy()
    errors = p_mpjpe(prediction, target, reduction="none").double().numpy()
    for x, y, result, error in zip(prediction.double(), target.double(), aligned, errors, strict=True):
        x, y = x.numpy(), y.numpy()
        expected = reference_alignment(x, y)
        tolerance = 1e-4 * np.linalg.norm(y - y.mean(0), axis=-1).max() + rounding
        # Of poses of few joints several alignments fit equally well.
        assert np.linalg.norm(result - y) == pytest.approx(np.linalg.norm(expected - y), abs=tolerance)
        if joints > 3:
            np.testing.assert_allclose(result, expected, atol=tolerance)
            assert error == pytest.approx(np.linalg.norm(expected - y, axis=-1).mean(), abs=tolerance)


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_alignment_of_very_small_and_large_poses(rng, scale):
    prediction, target = (torch.from_numpy(pose).float() for pose in poses(rng, "general", 17))
    expected = procrustes_align(prediction, target)
    for x, y in ((prediction * scale, target), (prediction, target * scale), (prediction * scale, target * scale)):
        times = y.double().abs().max() / target.double().abs().max()
        torch.testing.assert_close(procrustes_align(x, y).double() / times, expected.double(), atol=1e-2, rtol=1e-4)


def test_batches_are_cut_without_a_trace(rng, monkeypatch):
    prediction, target = (torch.from_numpy(pose) for pose in poses(rng, "general", 5))
    visible = torch.from_numpy(rng.random((60, 5)) < 0.8)
    expected = procrustes_align(prediction, target, visibility=visible)
    monkeypatch.setattr("seal_lightning.functional.alignment.JOINTS_AT_ONCE", 36)
    torch.testing.assert_close(procrustes_align(prediction, target, visibility=visible), expected, rtol=0, atol=1e-9)
    assert procrustes_align(prediction[:0], target[:0]).shape == (0, 5, 3)
