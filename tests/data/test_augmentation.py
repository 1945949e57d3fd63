"""`BoneAugmentation`: bodies of other lengths in the same motion, seen by the same camera."""

import math

import numpy as np
import pytest
import torch

from seal_lightning.data import BoneAugmentation, CameraRig, DetectorNoise, Draws, MocapDataModule, SyntheticMocap
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")
SMALL = SyntheticMocap(subjects=3, clips_per_subject=1, frames=12)


def windows(batch=3, frames=2):
    return 300 * torch.randn(batch, frames, 17, 3, generator=torch.Generator().manual_seed(0))


def bones(poses):
    child, parent = (list(ends) for ends in zip(*H36M.bones, strict=True))
    return (poses[..., child, :] - poses[..., parent, :]).numpy()


def factors(augmentation, world, draws):
    """Factors on the lengths of the bones (B, T, J - 1), measured in the poses themselves."""
    before, after = bones(world), bones(augmentation(world, H36M, draws))
    return np.linalg.norm(after, axis=-1) / np.linalg.norm(before, axis=-1)


def test_left_and_right_share_their_factor_and_all_frames_do():
    world = windows()
    found = factors(BoneAugmentation(0.3, 0.2), world, Draws(0, torch.arange(3)))
    np.testing.assert_allclose(found[:, 0], found[:, 1], rtol=1e-4)
    for left, right in H36M.paired_bones:
        np.testing.assert_allclose(found[..., left], found[..., right], rtol=1e-4)
    unpaired = found[:, 0][:, sorted(set(range(16)) - {left for left, _ in H36M.paired_bones})]
    assert len(np.unique(unpaired.round(4))) == unpaired.size


def test_directions_stay():
    world = windows()
    before, after = bones(world), bones(BoneAugmentation(0.3, 0.3)(world, H36M, Draws(0, torch.arange(3))))
    cosine = (before * after).sum(-1) / np.linalg.norm(before, axis=-1) / np.linalg.norm(after, axis=-1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_log_factors_are_uniform():
    world = windows(1, 1).expand(4000, -1, -1, -1)
    draws = Draws(0, torch.arange(4000))
    size = np.log(factors(BoneAugmentation(0.0, 0.2), world, draws)[:, 0])
    np.testing.assert_allclose(size, size[:, :1].repeat(16, axis=1), atol=1e-4)  # one factor for the whole body
    both = np.log(factors(BoneAugmentation(0.1, 0.2), world, draws)[:, 0])
    for drawn, most in ((size[:, 0], math.log(1.2)), ((both - size)[:, 7], math.log(1.1))):
        assert np.abs(drawn).max() <= most + 1e-4
        np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), [-0.8 * most, 0, 0.8 * most], atol=0.05 * most)
    (left, _), (other_left, _), *_ = H36M.paired_bones
    assert abs(np.corrcoef((both - size)[:, left], (both - size)[:, other_left])[0, 1]) < 0.05


def test_feet_stay_on_the_floor_and_the_root_above_its_place():
    world = windows()
    moved = BoneAugmentation(0.3, 0.3)(world, H36M, Draws(0, torch.arange(3)))
    torch.testing.assert_close(moved[..., 2].amin(dim=(1, 2)), world[..., 2].amin(dim=(1, 2)))
    torch.testing.assert_close(moved[:, :, H36M.order[0], :2], world[:, :, H36M.order[0], :2])


def test_ranges_of_zero_change_nothing_and_a_row_has_its_own_draws():
    world = windows()
    torch.testing.assert_close(BoneAugmentation(0.0, 0.0)(world, H36M, Draws(0, torch.arange(3))), world)
    together = BoneAugmentation()(world, H36M, Draws(0, torch.arange(3)))
    alone = BoneAugmentation()(world[1:2], H36M, Draws(0, torch.tensor([1])))
    torch.testing.assert_close(alone, together[1:2])


def module(**options):
    return MocapDataModule(**{"synthetic": SMALL, "batch_size": 6, "frames": 3, "train_frame_step": 2} | options)


def one_batch(data, side, monkeypatch):
    """The first batch of a side, and the cameras that saw it."""
    cameras = []
    draw = CameraRig.draw
    monkeypatch.setattr(CameraRig, "draw", lambda *args: cameras.append(draw(*args)) or cameras[-1])
    data.setup()
    return data.dataset(side).__getitems__(range(4)), cameras[0]


def test_keypoints_are_the_projection_of_the_changed_body(monkeypatch):
    data = module(augmentation=BoneAugmentation(0.2, 0.2))
    batch, camera = one_batch(data, "train", monkeypatch)
    plain, same_camera = one_batch(module(), "train", monkeypatch)
    assert torch.equal(camera.position, same_camera.position)  # the camera is the one of the recorded body
    assert (batch["target"] - plain["target"]).norm(dim=-1).mean() > 0.01
    # With the depth z of the root unknown, x and y of every joint have to be (target + root) projected: solve for the
    # root by least squares, and nothing is left over.
    focal = camera.focal[:, None, None, None] * 2 / camera.width
    x, target = batch["keypoints_2d"].double(), batch["target"].double() * 1000
    for row in range(4):
        for frame in range(3):
            f, u, y = focal[row].item(), x[row, frame], target[row, frame]
            # f (y_x + r_x) = u (y_z + r_z), for x and y of each joint
            zero, f_column = torch.zeros(17, dtype=torch.double), torch.full((17,), f, dtype=torch.double)
            matrix = torch.cat([torch.stack([f_column, zero, -u[:, 0]], 1), torch.stack([zero, f_column, -u[:, 1]], 1)])
            side = torch.cat([u[:, 0] * y[:, 2] - f * y[:, 0], u[:, 1] * y[:, 2] - f * y[:, 1]])
            root = torch.linalg.lstsq(matrix, side[:, None]).solution
            assert (matrix @ root - side[:, None]).abs().max() / root[2] < 1e-4
            assert root[2] > 1000


def test_validation_and_test_keep_the_recorded_bodies():
    plain, changed = module(noise=DetectorNoise()), module(noise=DetectorNoise(), augmentation=BoneAugmentation())
    for side in ("val", "test"):
        for one, other in zip(
            getattr(plain, f"{side}_dataloader")(), getattr(changed, f"{side}_dataloader")(), strict=True
        ):
            assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_epoch_has_other_bodies():
    data = module(augmentation=BoneAugmentation()).dataset("train")
    first, again, later = (data.__getitems__([index]) for index in (1, 1, 1 + len(data)))
    assert torch.equal(first["target"], again["target"])
    lengths = [np.linalg.norm(bones(batch["target"][0, 0]), axis=-1) for batch in (first, later)]
    assert np.abs(lengths[0] / lengths[1] - 1).max() > 0.01


@pytest.mark.parametrize("options", [{"proportions": -0.1}, {"size": math.inf}, {"size": True}])
def test_errors(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"Expected `{name}` to be 0 or more"):
        BoneAugmentation(**options)


def test_the_data_module_wants_an_instance():
    with pytest.raises(TypeError, match=r"Expected `augmentation` to be a BoneAugmentation, but got 0\.1"):
        module(augmentation=0.1)
