"""The mixture of damaged views: its shares, and that it depends on the draws alone."""

import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.data import Draws
from seal_lightning.data.views.robustness import KeypointCorruption
from seal_lightning.error_estimate import ViewDamage
from seal_lightning.skeleton import Skeleton

H36M = get_skeleton("h36m17")


def views(count, frames=1, skeleton=H36M):
    keypoints = torch.rand(count, frames, skeleton.num_joints, 3)
    return keypoints, Draws(5, torch.arange(count))


def test_shares_of_the_mixture():
    keypoints, draws = views(4000)
    damage = ViewDamage(undamaged=0.3, levels=("mild", "severe"))
    seen = damage(keypoints, H36M, draws)
    unchanged = (seen == keypoints).flatten(1).all(1)
    assert unchanged.float().mean() == pytest.approx(0.3, abs=0.03)
    shares = []
    for level in ("mild", "severe"):
        corrupted = KeypointCorruption(level, level, level)(keypoints, H36M, draws)
        shares.append(((seen == corrupted).flatten(1).all(1) & ~unchanged).float().mean())
    assert shares == [pytest.approx(0.175, abs=0.03)] * 2
    assert torch.equal(ViewDamage(undamaged=1.0)(keypoints, H36M, draws), keypoints)


def test_noise_and_drop_out():
    """Joints move by up to the strength, relative to the size; those that drop out lie in the box or at zero."""
    keypoints, draws = views(2000, frames=4)
    seen = ViewDamage(undamaged=0.0, levels=(), noise=0.02, dropout=0.4)(keypoints, H36M, draws)
    lost = seen[..., 2] == 0
    assert lost.float().mean() == pytest.approx(0.2, abs=0.02)  # evenly from 0 to 0.4
    assert torch.equal(seen[..., 2][~lost], keypoints[..., 2][~lost])
    place = keypoints[..., :2]
    low, high = place.amin(2, keepdim=True), place.amax(2, keepdim=True)
    size = (high - low).amax(-1, keepdim=True)
    error = ((seen[..., :2] - place) / size)[~lost]
    strength = torch.logspace(torch.tensor(0.002).log10().item(), torch.tensor(0.02).log10().item(), 1001)
    assert error.square().mean().sqrt() == pytest.approx(float(strength.square().mean().sqrt()), rel=0.05)
    inside = (seen[..., :2] >= low) & (seen[..., :2] <= high)
    at_zero = (seen[..., :2] == 0).all(-1)
    assert inside[lost & ~at_zero].all()
    assert (lost | ~at_zero).all()
    views_at_zero = at_zero.any(2).any(1)
    assert views_at_zero.float().mean() == pytest.approx(0.5, abs=0.05)
    assert at_zero[views_at_zero][lost[views_at_zero]].all()  # all that drop out of a view


def test_the_same_draws_give_the_same_damage_in_any_batch():
    keypoints, draws = views(20, frames=3)
    seen = ViewDamage()(keypoints, H36M, draws)
    state = torch.get_rng_state()
    alone = ViewDamage()(keypoints[7:9], H36M, Draws(5, torch.arange(7, 9)))
    assert torch.equal(seen[7:9], alone)
    assert torch.equal(state, torch.get_rng_state())


def test_a_skeleton_without_limbs_or_sides():
    chain = Skeleton.from_parents([-1, 0, 1])
    keypoints, draws = views(50, skeleton=chain)
    assert (ViewDamage(undamaged=0.0)(keypoints, chain, draws) != keypoints).flatten(1).any(1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"undamaged": 1.5}, "Expected `undamaged` to be from 0 to 1, but got 1.5"),
        ({"noise": 0.0}, "Expected `noise` to be 0.002 or more, but got 0.0"),
        ({"dropout": -1}, "Expected `dropout` to be from 0 to 1, but got -1"),
        ({"levels": "mild"}, "Expected `levels` to be some of .* but got 'mild'"),
        ({"levels": ("none",)}, "Expected `levels` to be some of"),
    ],
)
def test_what_is_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        ViewDamage(**options)
