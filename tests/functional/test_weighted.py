"""Weighted smoothing against SciPy and a loop; fusion of views against rotated truths."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from seal_lightning.functional import fuse_views, smooth


def by_loop(clip, weights, sigma, causal):
    """The formula, frame by frame."""
    result = np.empty_like(clip)
    for t in range(len(clip)):
        reach = [s for s in range(len(clip)) if abs(t - s) <= 4 * sigma and (s <= t or not causal)]
        factor = np.array([np.exp(-((t - s) ** 2) / (2 * sigma**2)) for s in reach])[:, None] * weights[reach]
        result[t] = (factor[..., None] * clip[reach]).sum(0) / factor.sum(0)[..., None]
    return result


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sigma", [0.5, 2.0, 50.0])
def test_smoothing_is_the_formula(sigma, causal):
    rng = np.random.default_rng(0)
    clip, weights = rng.normal(size=(20, 4, 3)), rng.uniform(0.1, 5.0, size=(20, 4))
    found = smooth(torch.from_numpy(clip), torch.from_numpy(weights), sigma=sigma, causal=causal)
    np.testing.assert_allclose(found.numpy(), by_loop(clip, weights, sigma, causal), rtol=1e-9)


def test_without_weights_it_is_the_filter_of_scipy_inside_of_a_clip():
    clip = np.random.default_rng(0).normal(size=(60, 4, 3))
    expected = gaussian_filter1d(clip, 2.5, axis=0, truncate=4.0)
    np.testing.assert_allclose(smooth(torch.from_numpy(clip), sigma=2.5).numpy()[12:-12], expected[12:-12], rtol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_clips_of_a_batch_do_not_meet_and_the_future_is_not_seen(causal):
    clips, weights = torch.randn(2, 3, 15, 4, 3), torch.rand(2, 3, 15, 4)
    together = smooth(clips, weights, sigma=1.5, causal=causal)
    torch.testing.assert_close(together[1, 2], smooth(clips[1, 2], weights[1, 2], sigma=1.5, causal=causal))
    later = clips.clone()
    later[..., 8:, :, :] += 1.0
    assert (
        torch.equal(smooth(later, weights, sigma=1.5, causal=causal)[..., :8, :, :], together[..., :8, :, :]) == causal
    )


def test_what_stands_at_weight_zero_is_not_seen():
    clip, weights = torch.randn(9, 2, 3), torch.ones(9, 2)
    weights[4, 0] = 0.0
    expected = smooth(clip, weights, sigma=1.0)
    clip[4, 0] = torch.nan
    assert torch.equal(smooth(clip, weights, sigma=1.0), expected)
    weights[:, 1] = 0.0
    assert smooth(clip, weights, sigma=1.0)[:, 1].isnan().all()


def test_weights_of_inverse_squared_errors_are_the_best():
    generator = torch.Generator().manual_seed(0)
    error = torch.rand(4000, 8, 5, generator=generator) * 0.9 + 0.1
    clip = error.unsqueeze(-1) * torch.randn(4000, 8, 5, 3, generator=generator)  # of a person who stands still
    left = {power: smooth(clip, error**-power, sigma=100.0).square().mean() for power in (0.0, 1.0, 2.0, 3.0)}
    assert min(left, key=left.get) == 2.0


def test_fusion_brings_every_view_to_the_axes_of_the_world():
    truth = torch.randn(6, 5, 4, 3, dtype=torch.double)
    rotations = torch.from_numpy(Rotation.random(3, random_state=0).as_matrix())
    views = torch.stack([truth @ rotation.T + torch.randn(3) for rotation in rotations])
    fused = fuse_views(views, rotations, torch.rand(3, 6, 5, 4).double())
    torch.testing.assert_close(fused, truth - truth[..., :1, :])
    hips = fuse_views(views, rotations, root=(1, 2))
    torch.testing.assert_close(hips, truth - truth[..., 1:3, :].mean(dim=-2, keepdim=True))
    only = torch.zeros(3, 6, 5, 4).double()
    only[1] = 1.0
    views[0] = torch.nan
    torch.testing.assert_close(fuse_views(views, rotations, only), truth - truth[..., :1, :])
    assert fuse_views(views, rotations, 0 * only).isnan().all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: smooth(x, sigma=0.0), ValueError, "Expected `sigma` to be above zero"),
        (lambda x: smooth(x, torch.ones(5, 2, 3), sigma=1.0), ValueError, r"shape \(5, 2\), but got \(5, 2, 3\)"),
        (lambda x: smooth(x, torch.ones(5, 2).long(), sigma=1.0), TypeError, "Expected `weights` to be a floating"),
        (lambda x: smooth(x, -torch.ones(5, 2), sigma=1.0), ValueError, "finite and not negative"),
        (lambda x: smooth(x, torch.full((5, 2), torch.inf), sigma=1.0), ValueError, "finite and not negative"),
        (lambda x: smooth(x[0], sigma=1.0), ValueError, r"Expected `prediction` to have shape \(..., T, J, 3\)"),
        (
            lambda x: fuse_views(x, torch.eye(3)),
            ValueError,
            r"`rotations` \(V, 3, 3\), but got \(5, 2, 3\) and \(3, 3\)",
        ),
        (lambda x: fuse_views(x, torch.ones(5, 3, 3)), ValueError, "Expected `rotations` to be orthogonal"),
        (lambda x: fuse_views(x, torch.eye(3).expand(5, 3, 3), root=7), ValueError, "Expected `root`"),
    ],
)
def test_refuses_what_does_not_fit(call, error, message):
    with pytest.raises(error, match=message):
        call(torch.randn(5, 2, 3))
