import copy
import dataclasses
import math
import pickle
import re

import jsonargparse
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seal_lightning.negatives import (
    AsymmetryNegatives,
    BoneDirectionNegatives,
    BoneLengthNegatives,
    GaussianNegatives,
    InterpolationNegatives,
    Negatives,
    OtherPoseNegatives,
    PredictionNegatives,
)
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")
COCO = get_skeleton("coco17")  # aligned to the mean of two joints, neither of them the tree root
ALL = [
    PredictionNegatives(),
    BoneLengthNegatives(),
    BoneLengthNegatives(count=3),
    BoneDirectionNegatives(),
    BoneDirectionNegatives(count=2),
    GaussianNegatives(),
    AsymmetryNegatives(),
    OtherPoseNegatives(),
    InterpolationNegatives(),
]
RANDOM = [source for source in ALL if not isinstance(source, PredictionNegatives)]
each = pytest.mark.parametrize("source", ALL, ids=str)


def poses(samples: int = 6, joints: int = 17, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(samples)
    truth = torch.randn(samples, joints, 3, generator=generator, dtype=torch.float64)
    return truth.to(dtype), (truth + torch.randn(truth.shape, generator=generator, dtype=torch.float64)).to(dtype)


def draw(source: Negatives, truth: Tensor, prediction: Tensor, skeleton: Skeleton = H36M, seed: int = 0) -> Tensor:
    return source(truth, prediction, skeleton, torch.Generator().manual_seed(seed))


def bones_of(pose: Tensor, skeleton: Skeleton) -> np.ndarray:
    """Bone vectors (..., J - 1, 3), bone by bone."""
    return np.stack([(pose[..., c, :] - pose[..., p, :]).numpy() for c, p in skeleton.bones], axis=-2)


def lengths_of(pose: Tensor, skeleton: Skeleton) -> np.ndarray:
    return np.linalg.norm(bones_of(pose, skeleton), axis=-1)


def directions_of(pose: Tensor, skeleton: Skeleton) -> np.ndarray:
    bones = bones_of(pose, skeleton)
    return bones / np.linalg.norm(bones, axis=-1, keepdims=True)


def root_of(pose: Tensor, skeleton: Skeleton) -> Tensor:
    return torch.stack([pose[..., joint, :] for joint in skeleton.root_joints]).mean(0)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shape_dtype_and_no_gradient(source, dtype):
    truth, prediction = (tensor.requires_grad_() for tensor in poses(dtype=dtype))
    negatives = draw(source, truth, prediction)
    assert negatives.shape == (source.count, 6, 17, 3)
    assert negatives.dtype == dtype
    assert not negatives.requires_grad
    assert negatives.isfinite().all()


@each
def test_no_negative_is_the_truth(source):
    truth, prediction = poses()
    distance = (draw(source, truth, prediction) - truth).norm(dim=-1).mean(-1)
    assert distance.shape == (source.count, 6)
    assert distance.min() > 1e-3


@each
def test_inputs_and_global_random_state_are_left_alone(source):
    truth, prediction = poses()
    before, state = (truth.clone(), prediction.clone()), torch.get_rng_state()
    draw(source, truth, prediction)
    assert torch.equal(truth, before[0])
    assert torch.equal(prediction, before[1])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("source", RANDOM, ids=str)
def test_the_generator_decides(source):
    truth, prediction = poses()
    torch.manual_seed(1)
    first = draw(source, truth, prediction, seed=3)
    torch.manual_seed(2)
    assert torch.equal(draw(source, truth, prediction, seed=3), first)
    assert not torch.equal(draw(source, truth, prediction, seed=4), first)
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(source(truth, prediction, H36M, generator), first)
    assert not torch.equal(source(truth, prediction, H36M, generator), first)


@pytest.mark.parametrize("source", [BoneLengthNegatives(count=3), BoneDirectionNegatives(count=3)], ids=str)
def test_several_negatives_of_a_truth_differ(source):
    negatives = draw(source, *poses())
    assert (negatives[0] - negatives[1]).norm(dim=-1).mean(-1).min() > 1e-3
    assert (negatives[1] - negatives[2]).norm(dim=-1).mean(-1).min() > 1e-3


@pytest.mark.parametrize(
    "source",
    [BoneLengthNegatives(), BoneDirectionNegatives(), GaussianNegatives(), AsymmetryNegatives()],
    ids=str,
)
@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_the_root_stays(source, skeleton):
    truth, prediction = poses()
    negatives = draw(source, truth, prediction, skeleton)
    torch.testing.assert_close(root_of(negatives[0], skeleton), root_of(truth, skeleton))


def test_prediction():
    truth, prediction = poses()
    assert torch.equal(draw(PredictionNegatives(), truth, prediction), prediction[None])


@pytest.mark.parametrize("skeleton", [H36M, COCO], ids=["h36m17", "coco17"])
def test_bone_lengths_change_by_the_scale_and_directions_stay(skeleton):
    truth, prediction = poses(500)
    negatives = draw(BoneLengthNegatives(scale=0.2, count=2), truth, prediction, skeleton)
    directions = np.broadcast_to(directions_of(truth, skeleton), (2, 500, 16, 3))
    np.testing.assert_allclose(directions_of(negatives, skeleton), directions, atol=1e-9)
    stretch = np.log(lengths_of(negatives, skeleton) / lengths_of(truth, skeleton))
    assert stretch.std() == pytest.approx(0.2, rel=0.03)
    assert abs(stretch.mean()) < 0.01
    assert stretch.std(axis=(0, 1)) == pytest.approx(0.2, rel=0.1)  # every bone
    correlation = np.corrcoef(stretch.reshape(-1, 16).T) - np.eye(16)
    assert np.abs(correlation).max() < 0.15  # each on its own


def test_bone_directions_turn_by_the_angle_and_lengths_stay():
    truth, prediction = poses(500)
    negatives = draw(BoneDirectionNegatives(angle=20.0, count=2), truth, prediction)
    np.testing.assert_allclose(lengths_of(negatives, H36M), np.broadcast_to(lengths_of(truth, H36M), (2, 500, 16)))
    cosine = (directions_of(negatives, H36M) * directions_of(truth, H36M)).sum(-1)
    turn = np.degrees(np.arccos(cosine.clip(-1, 1)))
    assert np.sqrt((turn**2).mean()) == pytest.approx(20.0, rel=0.03)
    # No side is preferred: across the bone, the mean displacement is small against the turn.
    across = directions_of(negatives, H36M) - cosine[..., None] * directions_of(truth, H36M)
    assert np.abs(across.mean((0, 1, 2))).max() < 0.1 * np.sin(np.radians(20))


def test_descendants_of_a_turned_bone_move_along_without_turning():
    chain = Skeleton.from_parents([-1, 0, 1])
    truth = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]])
    folded = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]])  # a second bone of length zero
    negatives = draw(BoneDirectionNegatives(angle=60.0), folded, folded, chain)[0, 0]
    assert torch.equal(negatives[2], negatives[1])
    both = draw(BoneDirectionNegatives(angle=60.0), truth, truth, chain)[0, 0]
    torch.testing.assert_close(both[1], negatives[1])
    torch.testing.assert_close((both[2] - both[1]).norm(), torch.tensor(2.0))


def test_gaussian_noise_has_the_given_size_and_no_structure():
    truth, prediction = poses(800)
    noise = (draw(GaussianNegatives(std=0.3), truth, prediction) - truth)[0]
    assert not noise[:, 0].any()  # the root of h36m17 is a joint
    # Every joint carries its own noise and that of the root, which was put back: sqrt(2) times the deviation.
    assert noise[:, 1:].std(dim=(0, 2)).tolist() == pytest.approx([0.3 * math.sqrt(2)] * 16, rel=0.08)
    bones = noise[:, 1] - noise[:, 2]
    assert bones.std().item() == pytest.approx(0.3 * math.sqrt(2), rel=0.08)


def test_asymmetry_lengthens_one_side_by_what_it_shortens_the_other():
    truth, prediction = poses(500)
    negatives = draw(AsymmetryNegatives(scale=0.15), truth, prediction)[0]
    np.testing.assert_allclose(directions_of(negatives, H36M), directions_of(truth, H36M), atol=1e-9)
    stretch = np.log(lengths_of(negatives, H36M) / lengths_of(truth, H36M))
    left, right = (list(side) for side in zip(*H36M.paired_bones, strict=True))
    middle = [bone for bone in range(16) if bone not in left + right]
    np.testing.assert_allclose(stretch[:, left], -stretch[:, right], atol=1e-9)
    np.testing.assert_allclose(stretch[:, left], np.repeat(stretch[:, left[:1]], 6, axis=1), atol=1e-9)
    np.testing.assert_allclose(stretch[:, middle], 0, atol=1e-9)
    assert stretch[:, left[0]].std() == pytest.approx(0.15, rel=0.1)
    assert 0.4 < (stretch[:, left[0]] > 0).mean() < 0.6


def test_asymmetry_needs_two_sides():
    message = "Expected `skeleton` to have paired bones on the left and right, but got none."
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(AsymmetryNegatives(), torch.zeros(2, 2, 3), torch.zeros(2, 2, 3), Skeleton.from_parents([-1, 0]))


@settings(max_examples=60)
@given(samples=st.integers(2, 40), seed=st.integers(0, 2**31))
def test_every_sample_gets_the_pose_of_another_and_every_pose_is_used(samples, seed):
    truth = torch.arange(samples, dtype=torch.float32).view(-1, 1, 1).expand(-1, 17, 3)
    other = draw(OtherPoseNegatives(), truth, torch.full_like(truth, -1), seed=seed)[0]
    assert (other == other[:, :1, :1]).all()
    assert sorted(other[:, 0, 0].tolist()) == list(range(samples))
    assert (other != truth).all()


def test_other_poses_come_from_all_over_the_batch():
    truth = torch.arange(5, dtype=torch.float32).view(-1, 1, 1).expand(-1, 17, 3)
    givers = {draw(OtherPoseNegatives(), truth, truth, seed=seed)[0, 0, 0, 0].item() for seed in range(60)}
    assert givers == {1.0, 2.0, 3.0, 4.0}


def test_a_single_sample_takes_its_prediction_for_the_other():
    truth, prediction = poses(1)
    assert torch.equal(draw(OtherPoseNegatives(), truth, prediction), prediction[None])


def test_interpolation_stays_on_the_way():
    truth, prediction = poses(1000)
    negatives = draw(InterpolationNegatives(low=0.2, high=0.6), truth, prediction)[0]
    share = ((negatives - truth) / (prediction - truth)).flatten(1)
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-6, atol=1e-8)
    share = share[:, 0]
    assert 0.2 <= share.min() < 0.21
    assert 0.59 < share.max() <= 0.6
    assert share.mean().item() == pytest.approx(0.4, abs=0.02)


@each
def test_folded_poses_stay_finite(source):
    negatives = draw(source, torch.zeros(4, 17, 3), torch.ones(4, 17, 3))
    assert negatives.isfinite().all()
    if isinstance(source, BoneLengthNegatives | BoneDirectionNegatives | AsymmetryNegatives):
        assert not negatives.any()  # there is no bone to damage


@each
def test_one_long_chain_and_133_joints(source):
    chain = Skeleton.from_parents([3, 0, -1, 2, 1], left=(), right=())
    for skeleton in (chain, get_skeleton("h3wb133")):
        if isinstance(source, AsymmetryNegatives) and not skeleton.paired_bones:
            continue
        truth, prediction = poses(3, skeleton.num_joints)
        negatives = draw(source, truth, prediction, skeleton)
        assert negatives.shape == (source.count, 3, skeleton.num_joints, 3)
        if isinstance(source, BoneDirectionNegatives):
            lengths = np.broadcast_to(lengths_of(truth, skeleton), (source.count, 3, skeleton.num_joints - 1))
            np.testing.assert_allclose(lengths_of(negatives, skeleton), lengths)


@each
def test_empty_batches(source):
    assert draw(source, torch.zeros(0, 17, 3), torch.zeros(0, 17, 3)).shape == (source.count, 0, 17, 3)


@each
def test_autocast_and_inference_mode_change_nothing(source):
    skeleton = dataclasses.replace(H36M, limbs=())  # not seen before, so that what is cached is made in here
    truth, prediction = poses(dtype=torch.float32)
    with torch.inference_mode():
        inside = draw(source, truth, prediction, skeleton)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(draw(source, truth, prediction, skeleton), inside)
    leaf = truth.clone().requires_grad_()
    outside = draw(source, leaf, prediction, skeleton)
    assert torch.equal(outside, inside)
    assert not outside.is_inference()


@each
def test_an_ambient_device_changes_nothing(source):
    truth, prediction = poses()
    expected = draw(source, truth, prediction, H36M)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        assert torch.equal(source(truth, prediction, H36M, generator), expected)


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: BoneLengthNegatives(scale=0.0), "Expected `scale` to be above 0 and finite, but got 0.0."),
        (lambda: BoneLengthNegatives(scale=math.inf), "Expected `scale` to be above 0 and finite, but got inf."),
        (lambda: BoneLengthNegatives(count=0), "Expected `count` to be a positive integer, but got 0."),
        (
            lambda: BoneDirectionNegatives(angle=0.0),
            "Expected `angle` to be above 0 and at most 180 degrees, but got 0.0.",
        ),
        (
            lambda: BoneDirectionNegatives(angle=200.0),
            "Expected `angle` to be above 0 and at most 180 degrees, but got 200.0.",
        ),
        (lambda: BoneDirectionNegatives(count=1.5), "Expected `count` to be a positive integer, but got 1.5."),
        (lambda: GaussianNegatives(std=-0.1), "Expected `std` to be above 0 and finite, but got -0.1."),
        (lambda: AsymmetryNegatives(scale=math.nan), "Expected `scale` to be above 0 and finite, but got nan."),
        (lambda: InterpolationNegatives(low=0.0), "Expected 0 < `low` <= `high` <= 1, but got 0.0 and 0.75."),
        (lambda: InterpolationNegatives(low=0.8), "Expected 0 < `low` <= `high` <= 1, but got 0.8 and 0.75."),
        (lambda: InterpolationNegatives(high=1.5), "Expected 0 < `low` <= `high` <= 1, but got 0.25 and 1.5."),
    ],
)
def test_wrong_arguments(factory, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        factory()


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        ((2, 16, 3), (2, 16, 3), "Expected `truth` to have shape (N, 17, 3), but got (2, 16, 3)."),
        ((2, 4, 17, 3), (2, 4, 17, 3), "Expected `truth` to have shape (N, 17, 3), but got (2, 4, 17, 3)."),
        (
            (2, 17, 3),
            (1, 17, 3),
            "Expected `prediction` and `truth` to have the same shape, but got (1, 17, 3) and (2, 17, 3).",
        ),
    ],
)
@each
def test_wrong_shapes(source, truth, prediction, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(source, torch.zeros(truth), torch.zeros(prediction))


def test_a_source_of_ones_own():
    class Twice(Negatives):
        count = 2

        def draw(self, truth, prediction, skeleton, generator):
            return torch.stack([truth, 2 * prediction]) if skeleton is H36M else truth[None]

    truth, prediction = (tensor.requires_grad_() for tensor in poses(2))
    negatives = draw(Twice(), truth, prediction)
    assert torch.equal(negatives, torch.stack([truth, 2 * prediction]))
    assert not negatives.requires_grad
    message = "Expected `Twice.draw` to return the shape (2, 2, 17, 3), but got (1, 2, 17, 3)."
    with pytest.raises(ValueError, match=re.escape(message)):
        draw(Twice(), truth, prediction, COCO)
    with pytest.raises(TypeError, match="abstract"):
        Negatives()


@each
def test_sources_are_plain_frozen_data(source):
    assert pickle.loads(pickle.dumps(source)) == copy.deepcopy(source) == source
    assert hash(source) == hash(copy.deepcopy(source))
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.count = 4


def test_sources_come_from_a_config():
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--negatives", type=tuple[Negatives, ...])
    specs = [
        {"class_path": "seal_lightning.negatives.PredictionNegatives"},
        {"class_path": "seal_lightning.negatives.BoneLengthNegatives", "init_args": {"scale": 0.3, "count": 2}},
    ]
    config = parser.parse_object({"negatives": specs})
    for again in (config, parser.parse_string(parser.dump(config))):
        negatives = parser.instantiate_classes(again).negatives
        assert tuple(negatives) == (PredictionNegatives(), BoneLengthNegatives(scale=0.3, count=2))
