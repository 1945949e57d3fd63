"""Cameras against a loop in NumPy, and where they are placed."""

import math

import numpy as np
import pytest
import torch

from seal_lightning.data import CameraRig, Draws, look_at, normalize_screen


def rig_cameras(count=200, radius=0.0, seed=0):
    centre = torch.tensor([[400.0, -900.0, 950.0]]).repeat(count, 1)
    return CameraRig().draw(centre, torch.full((count,), radius), Draws(seed, torch.arange(count))), centre


def test_view_against_numpy_loop():
    cameras, centre = rig_cameras(20)
    rng = np.random.default_rng(0)
    points = centre[:, None].numpy() + rng.uniform(-700, 700, size=(20, 5, 3))
    seen = cameras.view(torch.tensor(points, dtype=torch.float32)).numpy()
    turned = cameras.rotate(torch.tensor(points, dtype=torch.float32)).numpy()
    for b in range(20):
        eye, focal = cameras.position[b].double().numpy(), float(cameras.focal[b])
        axes = cameras.rotation[b].double().numpy()
        for n in range(5):
            arm = points[b, n] - eye
            x, y, z = (sum(axes[row][k] * arm[k] for k in range(3)) for row in range(3))
            u, v = focal * x / z + 500.0, focal * y / z + 500.0
            np.testing.assert_allclose(seen[b, n], (u / 1000 * 2 - 1, v / 1000 * 2 - 1), atol=2e-6)
            np.testing.assert_allclose(turned[b, n], axes @ points[b, n], atol=2e-3)


def test_normalize_screen_of_a_wide_image():
    corners = torch.tensor([[0.0, 0.0], [1920.0, 1080.0], [960.0, 540.0]])
    expected = torch.tensor([[-1.0, -0.5625], [1.0, 0.5625], [0.0, 0.0]])
    torch.testing.assert_close(normalize_screen(corners, 1920, 1080), expected)


def test_rotations_are_proper_and_upright():
    cameras, _ = rig_cameras()
    rotation = cameras.rotation.double()
    identity = torch.eye(3, dtype=torch.double).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), identity, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(200, dtype=torch.double), atol=1e-6, rtol=0)
    assert rotation[:, 0, 2].abs().max() < 1e-6  # no roll: the image's x axis is level
    assert (rotation[:, 1, 2] < 0).all()  # the image's y axis points down


def test_aim_lies_on_the_optical_axis():
    eye, aim = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[-4.0, 0.5, 1.0]])
    seen = (look_at(eye, aim) @ (aim - eye)[..., None])[0, :, 0]
    torch.testing.assert_close(seen, torch.tensor([0.0, 0.0, math.dist((1, 2, 3), (-4, 0.5, 1))]))


@pytest.mark.parametrize("radius", [0.0, 1500.0])
def test_rig_keeps_its_law(radius):
    cameras, centre = rig_cameras(2000, radius)
    level = (cameras.position - centre)[:, :2].norm(dim=-1) - radius
    assert level.min() > 2999.0
    if radius == 0.0:
        assert level.max() < 6001.0
    assert 500 <= cameras.position[:, 2].min() < 550
    assert 2450 < cameras.position[:, 2].max() <= 2500
    assert 1100 <= cameras.focal.min() < cameras.focal.max() <= 1190
    azimuth = torch.atan2(cameras.position[:, 1] - centre[:, 1], cameras.position[:, 0] - centre[:, 0])
    assert torch.histc(azimuth, 8, -math.pi, math.pi).min() > 200  # 250 expected in each eighth

    rim = torch.linspace(0, 2 * math.pi, 16)[:-1]
    walk = centre[:, None] + radius * torch.stack((rim.cos(), rim.sin(), 0 * rim), dim=-1)
    assert cameras.view(walk).abs().max() < 0.9  # the hip is in the picture wherever the subject walks
    offset = cameras.view(centre[:, None])[:, 0]
    assert 0.02 < offset.abs().mean() < 0.2  # aimed near the subject, but not at it


def test_draws_decide():
    first, again, other = (rig_cameras(5, seed=seed)[0].position for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.isclose(first[:, 0], other[:, 0]).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"focal": (1200.0, 1100.0)}, r"Expected `focal` to be two positive numbers, the least first, but got"),
        ({"focal": (0.0, 1100.0)}, r"Expected `focal` to be two positive numbers, the least first, but got"),
        ({"distance": (1.0, math.inf)}, r"Expected `distance` to be two positive numbers, the least first, but got"),
        ({"elevation": (2.0, 1.0)}, r"Expected `elevation` to be two finite numbers, the least first, but got"),
        ({"aim": -0.1}, r"Expected `aim` to be 0 or more, but got -0\.1\."),
        ({"width": 0}, r"Expected `width` to be 1 or more, but got 0\."),
    ],
)
def test_rig_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        CameraRig(**options)
    assert CameraRig(elevation=(-1.0, 0.0)).elevation == (-1.0, 0.0)
