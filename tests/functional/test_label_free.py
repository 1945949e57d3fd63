"""Scores without truth against NumPy loops, and what they know and do not know."""

import re

import numpy as np
import pytest
import torch

from seal_lightning.data import CameraRig, Cameras, Draws, normalize_screen
from seal_lightning.functional import mpsce
from seal_lightning.functional.label_free import bone_length_variation, reprojection_error
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture
def rng():
    return np.random.default_rng(3)


def loop_variation(clip, seen):
    shares = []
    for child, parent in enumerate(H36M.parents):
        frames = [t for t in range(len(clip)) if parent >= 0 and seen[t, child] and seen[t, parent]]
        if len(frames) > 1:
            lengths = [np.sqrt(((clip[t, child] - clip[t, parent]) ** 2).sum()) for t in frames]
            shares.append(100 * np.std(lengths) / np.mean(lengths))
    return np.mean(shares) if shares else np.nan


@pytest.mark.parametrize("masked", [False, True])
def test_variation_against_loop(rng, masked):
    clips = rng.normal(size=(2, 3, 6, 17, 3)) * 300
    seen = (rng.random((2, 3, 6, 17)) < 0.7) if masked else np.ones((2, 3, 6, 17), bool)
    if masked:
        seen[0, 1, 1:] = False
    expected = np.array([[loop_variation(clips[i, j], seen[i, j]) for j in range(3)] for i in range(2)])
    clips[~seen] = np.nan
    mask = torch.from_numpy(seen) if masked else None
    result = bone_length_variation(torch.from_numpy(clips), H36M, reduction="none", visibility=mask)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)
    mean = bone_length_variation(torch.from_numpy(clips), "h36m17", visibility=mask)
    assert mean.item() == pytest.approx(np.nanmean(expected), rel=1e-9)


def test_variation_knows_no_unit_and_no_motion(rng):
    pose = torch.from_numpy(rng.normal(size=(17, 3)))
    turns = torch.from_numpy(np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(5)]))
    assert bone_length_variation(pose @ turns, H36M) < 1e-9
    clip = torch.tensor([1.0, 1.1, 1.2]).double()[:, None, None] * pose
    assert bone_length_variation(clip, H36M).item() == pytest.approx(100 * np.std([1, 1.1, 1.2]) / 1.1)
    torch.testing.assert_close(bone_length_variation(1000 * clip, H36M), bone_length_variation(clip, H36M))
    single = Skeleton.from_parents([-1, 0])
    share = mpsce(clip[:, :2], single) / (clip[:, 1] - clip[:, 0]).norm(dim=-1).mean()
    torch.testing.assert_close(bone_length_variation(clip[:, :2], single), 100 * share)


def test_bones_of_no_length_are_left_out():
    chain = Skeleton.from_parents([-1, 0, 1])
    clip = torch.zeros(2, 3, 3)
    clip[0, 2, 0], clip[1, 2, 0] = 3.0, 5.0
    assert bone_length_variation(clip, chain).item() == pytest.approx(25.0)
    assert bone_length_variation(torch.zeros(2, 3, 3), chain, reduction="none").isnan()


def loop_weak(pose, points, joints):
    """Solve for scale and shift by least squares over the stacked equations."""
    rows = [row for j in joints for row in ([pose[j, 0], 1, 0], [pose[j, 1], 0, 1])]
    sides = [value for j in joints for value in points[j, :2]]
    scale, *shift = np.linalg.lstsq(np.array(rows), np.array(sides), rcond=None)[0]
    return [np.hypot(*(scale * pose[j, :2] + shift - points[j, :2])) for j in joints]


def loop_pinhole(pose, points, joints, focal):
    rows, sides = [], []
    for j in joints:
        (x, y, z), (u, v) = pose[j], points[j, :2]
        rows += [[focal, 0, -u], [0, focal, -v]]
        sides += [u * z - focal * x, v * z - focal * y]
    shift = np.linalg.lstsq(np.array(rows), np.array(sides), rcond=None)[0]
    moved = [pose[j] + shift for j in joints]
    if min(m[2] for m in moved) <= 0:
        return [np.nan]
    return [np.hypot(*(focal * m[:2] / m[2] - points[j, :2])) for m, j in zip(moved, joints, strict=True)]


@pytest.mark.parametrize("focal", [None, 2.3])
@pytest.mark.parametrize("masked", [False, True])
def test_reprojection_against_loop(rng, focal, masked):
    pose = rng.normal(size=(4, 5, 17, 3)) * 0.3
    points = pose[..., :2] / 2 + rng.normal(size=(4, 5, 17, 2)) * 0.02
    seen = (rng.random((4, 5, 17)) < 0.6) if masked else np.ones((4, 5, 17), bool)
    certain = (rng.random((4, 5, 17)) < 0.9) if masked else np.ones((4, 5, 17), bool)
    expected = np.zeros((4, 5))
    for place in np.ndindex(4, 5):
        joints = np.flatnonzero(seen[place] & certain[place])
        errors = (
            loop_weak(pose[place], points[place], joints)
            if focal is None
            else loop_pinhole(pose[place], points[place], joints, focal)
        )
        expected[place] = 100 * np.mean(errors) / np.ptp(points[place][joints], axis=0).max()
    channels = np.concatenate((points, certain[..., None] * 0.7), axis=-1)
    pose[~seen], channels[~seen] = np.nan, np.nan
    options = {"focal": focal, "visibility": torch.from_numpy(seen) if masked else None}
    result = reprojection_error(torch.from_numpy(pose), torch.from_numpy(channels), reduction="none", **options)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-8)
    mean = reprojection_error(torch.from_numpy(pose), torch.from_numpy(channels), **options)
    assert mean.item() == pytest.approx(np.nanmean(expected), rel=1e-8)


def views(rng, count=50):
    """Poses in the frame of a rig's cameras, about their root, and their keypoints, for one focal length."""
    body = torch.from_numpy(rng.normal(size=(count, 17, 3)) * 400).float()
    rig = CameraRig(focal=(1150.0, 1150.0))
    cameras = rig.draw(torch.zeros(count, 3), torch.zeros(count), Draws(0, torch.arange(count)))
    return cameras.rotate(body - body[:, :1]), cameras.view(body)


def test_the_true_pose_is_without_error_under_its_own_pinhole(rng):
    pose, keypoints = views(rng)
    assert reprojection_error(pose, keypoints, focal=2.3) < 1e-3
    assert 1.0 < reprojection_error(pose, keypoints) < 30.0
    assert reprojection_error(pose, keypoints, focal=4.6) > 0.1
    far = Cameras(torch.eye(3)[None], torch.tensor([[0.0, 0.0, -1e6]]), torch.tensor([3e5]), 1000, 1000)
    points = normalize_screen(far.project(pose[:1] + torch.tensor([0.0, 0.0, 1e6])), 1000, 1000)
    assert reprojection_error(pose[:1], points) < 0.05  # from afar, perspective is weak


def test_neither_unit_nor_picture_size_counts(rng):
    pose, keypoints = views(rng)
    for focal in (None, 2.3):
        error = reprojection_error(pose + 50 * torch.randn(pose.shape), keypoints, focal=focal)
        assert error > 1.0
    moved = pose + 50.0 * torch.randn(pose.shape)
    torch.testing.assert_close(reprojection_error(moved / 1000, keypoints), reprojection_error(moved, keypoints))
    torch.testing.assert_close(
        reprojection_error(moved, 3 * keypoints + 0.2), reprojection_error(moved, keypoints), rtol=1e-3, atol=0
    )
    torch.testing.assert_close(
        reprojection_error(moved / 1000, 3 * keypoints, focal=6.9),
        reprojection_error(moved, keypoints, focal=2.3),
        rtol=1e-3,
        atol=0,
    )


def test_what_has_no_camera_is_left_out(rng):
    pose, keypoints = views(rng, 4)
    visibility = torch.ones(4, 17, dtype=torch.bool)
    visibility[0, 1:] = False
    visibility[1] = False
    visibility[2, 2:] = False
    weak = reprojection_error(pose, keypoints, reduction="none", visibility=visibility)
    assert weak.isnan().tolist() == [True, True, False, False]
    pinhole = reprojection_error(pose, keypoints, focal=2.3, reduction="none", visibility=visibility)
    assert pinhole.isnan().tolist() == [True, True, True, False]
    behind = reprojection_error(-pose, keypoints, focal=2.3, reduction="none")
    assert behind.isnan().all()
    assert reprojection_error(pose, torch.zeros(4, 17, 2), reduction="none").isnan().all()


def test_precision_and_gradient(rng):
    pose, keypoints = views(rng, 3)
    wrong = pose + 30 * torch.randn(pose.shape)
    for focal in (None, 2.3):
        exact = reprojection_error(wrong.double(), keypoints.double(), focal=focal)
        assert exact.dtype == torch.float64
        single = reprojection_error(wrong, keypoints, focal=focal)
        assert single.dtype == torch.float32
        assert single.item() == pytest.approx(exact.item(), rel=1e-4)
        small = (wrong.double() / 1000).requires_grad_()
        points = keypoints.double()
        assert torch.autograd.gradcheck(lambda x, f=focal, k=points: reprojection_error(x, k, focal=f), (small,))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: reprojection_error(torch.ones(2, 17, 3), torch.ones(2, 16, 2)),
            ValueError,
            "Expected `keypoints_2d` to have shape (2, 17) + (2 or 3,), but got (2, 16, 2).",
        ),
        (
            lambda: reprojection_error(torch.ones(2, 17, 3), torch.ones(2, 17, 2).int()),
            TypeError,
            "Expected `keypoints_2d` to be a floating-point tensor, but got torch.int32.",
        ),
        (
            lambda: reprojection_error(torch.ones(2, 17, 3), [1.0]),
            TypeError,
            "Expected `keypoints_2d` to be a floating-point tensor, but got list.",
        ),
        (
            lambda: reprojection_error(torch.ones(2, 17, 3), torch.ones(2, 17, 2), focal=0.0),
            ValueError,
            "Expected `focal` to be above zero, but got 0.0.",
        ),
        (
            lambda: reprojection_error(torch.ones(2, 17, 3), torch.ones(2, 17, 2), reduction="sum"),
            ValueError,
            "Expected `reduction` to be 'mean' or 'none', but got 'sum'.",
        ),
        (
            lambda: bone_length_variation(torch.ones(1, 17, 3), H36M),
            ValueError,
            "at least 2 frames, but got (1, 17, 3)",
        ),
    ],
)
def test_wrong_input(call, error, message):
    with pytest.raises(error, match=re.escape(message)):
        call()
