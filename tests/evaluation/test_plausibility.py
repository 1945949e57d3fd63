"""The networks that come with the package: frames, percentiles, and what they tell apart."""

import json

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from seal_lightning.data import SyntheticMocap
from seal_lightning.evaluation import corrupt
from seal_lightning.evaluation.plausibility import (
    MotionEnergy,
    body_axes,
    shipped_card,
    shipped_critic,
    shipped_energy,
)
from seal_lightning.loss_nets import StructureLossNet
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture(scope="module")
def poses():
    motion = SyntheticMocap(subjects=1, clips_per_subject=1, frames=60).generate()
    return torch.from_numpy(motion.clip(0).copy())


def test_axes_of_the_body_do_not_depend_on_those_of_the_file(poses):
    turned = poses @ torch.from_numpy(Rotation.random(random_state=0).as_matrix()).float() + 500.0
    own = body_axes(poses, H36M)
    torch.testing.assert_close(body_axes(turned, H36M), own, atol=0.1, rtol=0)
    hips = own[:, H36M.names.index("LHip")] - own[:, H36M.names.index("RHip")]
    assert (hips[:, 0] > 0).all()
    torch.testing.assert_close(hips[:, 1:], torch.zeros(60, 2), atol=0.1, rtol=0)
    assert (own[:, H36M.names.index("Thorax"), 1] < 0).all()  # up
    distances = [torch.cdist(part, part) for part in (own, poses)]
    torch.testing.assert_close(*distances, atol=0.2, rtol=0)


def test_neither_unit_nor_camera_changes_an_energy(poses):
    energy = shipped_energy()
    turned = poses @ torch.from_numpy(Rotation.random(random_state=1).as_matrix()).float() - 100.0
    torch.testing.assert_close(energy.energy(turned / 1000), energy.energy(poses), atol=1e-3, rtol=1e-3)


def test_percentiles_are_those_of_numpy():
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    energy = MotionEnergy(StructureLossNet(H36M, 4, 1), torch.quantile(values, torch.linspace(0, 1, 101)))
    asked = torch.linspace(-3, 3, 13)
    expected = [100 * (values < value).double().mean() for value in asked]
    np.testing.assert_allclose(energy.percentile(asked), expected, atol=0.5)
    assert energy.percentile(torch.tensor([-1e3, 1e3])).tolist() == [0.0, 100.0]


def test_a_saved_energy_is_the_same(poses, tmp_path):
    net = StructureLossNet("h36m17", hidden=8, depth=2)
    energy = MotionEnergy(net, torch.linspace(0, 1, 101))
    energy.save(tmp_path / "energy.npz", {"skeleton": "h36m17", "hidden": 8, "depth": 2})
    with np.load(tmp_path / "energy.npz", allow_pickle=False) as file:
        assert json.loads(str(file["settings"]))["hidden"] == 8
        np.testing.assert_array_equal(file["quantiles"], energy.quantiles.numpy())
        assert set(net.state_dict()) < set(file.files)


@pytest.mark.parametrize(
    ("kind", "severity"), [("noise", 0.2), ("limb_scale", 0.4), ("left_right_swap", 1.0), ("depth_flip", 1.0)]
)
def test_the_shipped_energy_tells_damage(poses, kind, severity):
    energy = shipped_energy()
    damaged = corrupt(kind, poses, H36M, severity, torch.Generator().manual_seed(0))
    before, after = (energy.percentile(energy.energy(part)).mean() for part in (poses, damaged))
    assert after > before
    assert after > 90.0


def test_the_shipped_critic_knows_that_certain_keypoints_are_better(poses):
    critic = shipped_critic()
    assert critic.inputs == ("keypoints", "confidence", "pose")
    assert critic.fitted
    metres = body_axes(poses, H36M) / 1000
    seen = metres[..., :2] / 4
    sure = critic.errors(pose=metres, keypoints=seen, confidence=torch.ones(60, 17))
    lost = critic.errors(pose=metres, keypoints=0 * seen, confidence=torch.zeros(60, 17))
    assert lost.pose.mean() > sure.pose.mean() > 5.0
    assert critic.bounds(sure).pose.gt(sure.pose).all()


def test_the_card_says_on_what_and_what_not():
    card = shipped_card()
    for words in ("UI-PRMD", "public domain", "Human3.6M", "cannot know"):
        assert words in card


def test_other_skeletons_have_no_body_axes():
    with pytest.raises(ValueError, match="Expected a skeleton with hips and a thorax"):
        body_axes(torch.zeros(1, 17, 3), "coco17")
