import numpy as np
import pytest
import torch

from seal_lightning.functional import mpsce, mpsse
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture
def rng():
    return np.random.default_rng(9)


def loop_mpsce(clip, seen):
    spreads = []
    for child, parent in enumerate(H36M.parents):
        frames = [t for t in range(len(clip)) if parent >= 0 and seen[t, child] and seen[t, parent]]
        if len(frames) > 1:
            spreads.append(np.std([np.sqrt(((clip[t, child] - clip[t, parent]) ** 2).sum()) for t in frames]))
    return np.mean(spreads) if spreads else np.nan


@pytest.mark.parametrize("masked", [False, True])
def test_mpsce_against_loop(rng, masked):
    clips = rng.normal(size=(2, 3, 6, 17, 3)) * 300
    seen = (rng.random((2, 3, 6, 17)) < 0.7) if masked else np.ones((2, 3, 6, 17), bool)
    if masked:
        seen[0, 1, 1:] = False
    expected = np.array([[loop_mpsce(clips[i, j], seen[i, j]) for j in range(3)] for i in range(2)])
    clips[~seen] = np.nan
    mask = torch.from_numpy(seen) if masked else None
    result = mpsce(torch.from_numpy(clips), H36M, reduction="none", visibility=mask)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)
    mean = mpsce(torch.from_numpy(clips), "h36m17", visibility=mask)
    assert mean.item() == pytest.approx(np.nanmean(expected), rel=1e-9)


def test_rigid_motion_has_no_mpsce_and_scaling_has(rng):
    pose = torch.from_numpy(rng.normal(size=(17, 3)) * 300)
    turns = torch.from_numpy(np.stack([np.linalg.qr(rng.normal(size=(3, 3)))[0] for _ in range(5)]))
    clip = pose @ turns + torch.from_numpy(rng.normal(size=(5, 1, 3)) * 1000)
    assert mpsce(clip, H36M) < 1e-9
    growing = torch.tensor([1.0, 1.1, 1.2, 1.3, 1.4]).double()[:, None, None] * pose
    lengths = np.linalg.norm(pose.numpy()[1:] - pose.numpy()[list(H36M.parents[1:])], axis=-1)
    assert mpsce(growing, H36M).item() == pytest.approx(lengths.mean() * np.std([1, 1.1, 1.2, 1.3, 1.4]), rel=1e-6)


def test_mpsce_gradient(rng):
    clip = torch.from_numpy(rng.normal(size=(2, 4, 17, 3))).requires_grad_()
    visible = torch.from_numpy(rng.random((2, 4, 17)) < 0.8)
    assert torch.autograd.gradcheck(lambda x: mpsce(x, H36M, visibility=visible), (clip,))
    still = torch.ones(3, 17, 3, requires_grad=True)
    mpsce(still, H36M).backward()
    assert torch.equal(still.grad, torch.zeros(3, 17, 3))


def test_mpsce_precision_and_nan(rng):
    clip = torch.from_numpy(rng.normal(size=(4, 17, 3)) * 300)
    exact = mpsce(clip, H36M)
    assert exact.dtype == torch.float64
    assert mpsce(clip.half(), H36M).dtype == torch.float32
    assert mpsce(clip.half(), H36M).item() == pytest.approx(exact.item(), rel=1e-2)
    clip[2, 5] = torch.nan
    assert mpsce(clip, H36M).isnan()


def test_mpsse_of_a_pair_that_can_be_checked_by_hand():
    arms = Skeleton(("neck", "l", "r"), (-1, 0, 0), left=(1,), right=(2,))
    pose = torch.tensor([[0.0, 0, 0], [3, 4, 0], [0, 0, 2]])
    assert mpsse(torch.stack([pose, 2 * pose]), arms).item() == pytest.approx(4.5)


def test_bad_input():
    with pytest.raises(ValueError, match=r"at least 2 frames, but got \(3, 1, 17, 3\)"):
        mpsce(torch.ones(3, 1, 17, 3), H36M)
    with pytest.raises(ValueError, match=r"\(\.\.\., T, J, 3\) with at least 2 frames, but got \(17, 3\)"):
        mpsce(torch.ones(17, 3), H36M)
    with pytest.raises(ValueError, match="17 joints like the skeleton"):
        mpsce(torch.ones(3, 4, 16, 3), H36M)
    with pytest.raises(ValueError, match="`reduction` to be 'mean' or 'none', but got 'sum'"):
        mpsce(torch.ones(3, 4, 17, 3), H36M, reduction="sum")
    with pytest.warns(UserWarning, match="no bones: the error is NaN"):
        assert mpsce(torch.ones(2, 1, 3), Skeleton.from_parents([-1])).isnan()
