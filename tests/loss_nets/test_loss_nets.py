"""What every loss-net of the package promises."""

import copy
import io
import pickle
import re
from collections.abc import Callable

import jsonargparse
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from seal_lightning.loss_nets import GraphLossNet, KCSLossNet, LossNet, MLPLossNet, StructureLossNet
from seal_lightning.objectives import gradient_penalty
from seal_lightning.skeleton import Skeleton, get_skeleton

SMALL = {
    "graph": lambda skeleton, **kwargs: GraphLossNet(skeleton, **{"dim": 16, "depth": 3, "heads": 4} | kwargs),
    "graph_depth_1": lambda skeleton, **kwargs: GraphLossNet(skeleton, dim=16, depth=1, heads=2, **kwargs),
    "structure": lambda skeleton, **kwargs: StructureLossNet(skeleton, **{"hidden": 24, "depth": 2} | kwargs),
    "kcs": lambda skeleton, **kwargs: KCSLossNet(skeleton, **{"hidden": 24, "pose_hidden": 16} | kwargs),
    "mlp": lambda skeleton, **kwargs: MLPLossNet(skeleton, **{"hidden": 24, "stages": 2} | kwargs),
}

# A star with one long arm: branching of 4, no left and right, tree root in the middle of the numbering.
STAR = Skeleton(("tip", "elbow", "hub", "b", "a", "shoulder"), (1, 5, -1, 2, 2, 2))


@pytest.fixture(params=SMALL)
def build(request) -> Callable[..., LossNet]:
    def seeded(skeleton="h36m17", seed=0, **kwargs):
        torch.manual_seed(seed)
        return SMALL[request.param](skeleton, **kwargs)

    return seeded


def poses(*leading: int, joints: int = 17, channels: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    keypoints_2d = torch.randn(*leading, joints, channels, generator=generator)
    return keypoints_2d, 2 * torch.randn(*leading, joints, 3, generator=generator)


def test_energies_differ_and_depend_on_both_inputs(build):
    net = build()
    keypoints_2d, pose = poses(6)
    energy = net(keypoints_2d, pose)
    assert energy.shape == (6,)
    assert energy.dtype == torch.float32
    assert len(energy.unique()) == 6
    assert not torch.allclose(energy, net(keypoints_2d + 0.5, pose), atol=1e-3)
    assert not torch.allclose(energy, net(keypoints_2d, pose * 1.2), atol=1e-3)


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_energy_of_a_sample_ignores_the_others(build, mode):
    net = getattr(build(), mode)()
    keypoints_2d, pose = poses(5)
    energy = net(keypoints_2d, pose)
    others_2d, others = poses(5, seed=1)
    others_2d[2], others[2] = keypoints_2d[2], 100 * pose[3]
    others[2] = pose[2]
    torch.testing.assert_close(net(others_2d, others)[2], energy[2])
    torch.testing.assert_close(net(keypoints_2d[2:3], pose[2:3])[0], energy[2])


def test_gradient_of_a_sample_ignores_the_others(build):
    keypoints_2d, pose = poses(4)
    pose.requires_grad_()
    net = build()
    (gradient,) = torch.autograd.grad(net(keypoints_2d, pose)[1], pose)
    assert gradient[1].abs().min() > 0
    assert not gradient[[0, 2, 3]].any()


@pytest.mark.parametrize("channels", [2, 3])
def test_clips_are_scored_frame_by_frame(build, channels):
    net = build()
    keypoints_2d, pose = poses(3, 4, channels=channels)
    energy = net(keypoints_2d, pose)
    assert energy.shape == (3, 4)
    for frame in range(4):
        torch.testing.assert_close(energy[:, frame], net(keypoints_2d[:, frame], pose[:, frame]))


def test_missing_confidence_is_one(build):
    net = build()
    keypoints_2d, pose = poses(4)
    confident = torch.cat([keypoints_2d, torch.ones(4, 17, 1)], dim=-1)
    assert torch.equal(net(keypoints_2d, pose), net(confident, pose))
    confident[..., 2] = 0.2
    assert not torch.allclose(net(keypoints_2d, pose), net(confident, pose), atol=1e-3)


def permuted(skeleton: Skeleton, order: list[int]) -> Skeleton:
    """The same skeleton with joint `order[i]` at place `i`."""
    place = {joint: i for i, joint in enumerate(order)}
    parents = [-1 if skeleton.parents[joint] < 0 else place[skeleton.parents[joint]] for joint in order]
    return Skeleton(
        [skeleton.names[joint] for joint in order],
        parents,
        [place[joint] for joint in skeleton.left],
        [place[joint] for joint in skeleton.right],
    )


@pytest.mark.parametrize("skeleton", [get_skeleton("h36m17"), STAR], ids=["h36m17", "star"])
def test_joints_permuted_with_the_skeleton_keep_the_energy(build, skeleton):
    order = torch.randperm(skeleton.num_joints, generator=torch.Generator().manual_seed(3)).tolist()
    net, other = build(skeleton, seed=0), build(permuted(skeleton, order), seed=1)
    keypoints_2d, pose = poses(5, joints=skeleton.num_joints)
    assert not torch.allclose(other(keypoints_2d[:, order], pose[:, order]), net(keypoints_2d, pose), atol=1e-3)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(
        other(keypoints_2d[:, order], pose[:, order]), net(keypoints_2d, pose), rtol=1e-4, atol=1e-5
    )
    # The joints alone are another pose.
    assert not torch.allclose(net(keypoints_2d[:, order], pose[:, order]), net(keypoints_2d, pose), atol=1e-3)


@pytest.mark.parametrize("skeleton", ["h36m17", "coco17", STAR], ids=["h36m17", "coco17", "star"])
def test_every_single_number_of_every_parameter_gets_a_gradient(build, skeleton):
    net = build(skeleton)
    keypoints_2d, pose = poses(16, joints=net.skeleton.num_joints, channels=3)
    net(keypoints_2d, pose).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.ne(0).all(), name
        assert parameter.grad.abs().max() > 1e-6, name


@pytest.mark.parametrize("parents", [[-1], [1, -1], [-1, 0, 1, 2]])
def test_tiny_trees(build, parents):
    net = build(Skeleton.from_parents(parents))
    net(*poses(8, joints=len(parents))).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in net.parameters())


def test_133_joints(build):
    net = build("h3wb133")
    energy = net(*poses(3, joints=133))
    assert energy.shape == (3,)
    assert energy.isfinite().all()
    assert len(energy.unique()) == 3


def test_an_empty_batch_has_no_energies(build):
    assert build()(torch.zeros(0, 17, 2), torch.zeros(0, 17, 3)).shape == (0,)


def test_gradient_penalty_reaches_the_parameters(build):
    net = build().double()
    keypoints_2d, pose = (tensor.double() for tensor in poses(2))
    parameters = list(net.parameters())

    def penalty() -> Tensor:
        truth = pose.clone().requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):
            return gradient_penalty(net(keypoints_2d, truth), truth).sum()

    gradients = torch.autograd.grad(penalty(), parameters, allow_unused=True)
    step = [torch.randn_like(parameter) for parameter in parameters]
    slope = sum((g * d).sum() for g, d in zip(gradients, step, strict=True) if g is not None)
    ends = []
    for size in (1e-6, -1e-6):
        with torch.no_grad():
            for parameter, direction in zip(parameters, step, strict=True):
                parameter.add_(direction, alpha=size)
        ends.append(penalty().detach())
        with torch.no_grad():
            for parameter, direction in zip(parameters, step, strict=True):
                parameter.sub_(direction, alpha=size)
    assert slope.abs() > 1e-5
    torch.testing.assert_close(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-9)


def test_bfloat16_autocast_gives_float32_energies_close_to_float32(build):
    net = build()
    keypoints_2d, pose = poses(32)
    expected = net(keypoints_2d, pose)
    with torch.autocast("cpu", torch.bfloat16):
        energy = net(keypoints_2d, pose)
    assert energy.dtype == torch.float32
    assert not torch.equal(energy, expected)
    assert (energy - expected).abs().max() < 0.1 * expected.std()
    energy.sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_same_seed_same_net(build):
    keypoints_2d, pose = poses(4)
    assert torch.equal(build(seed=5)(keypoints_2d, pose), build(seed=5)(keypoints_2d, pose))
    assert not torch.equal(build(seed=5)(keypoints_2d, pose), build(seed=6)(keypoints_2d, pose))


@pytest.mark.parametrize("kind", ["graph", "graph_depth_1", "mlp"])
def test_dropout_acts_in_training_alone(kind):
    torch.manual_seed(0)
    net = SMALL[kind]("h36m17", dropout=0.5)
    keypoints_2d, pose = poses(4)
    assert not torch.equal(net(keypoints_2d, pose), net(keypoints_2d, pose))
    net.eval()
    torch.manual_seed(0)
    expected = SMALL[kind]("h36m17", dropout=0.0)(keypoints_2d, pose)
    assert torch.equal(net(keypoints_2d, pose), expected)


def test_bones_of_length_zero_have_finite_gradients(build):
    net = build()
    keypoints_2d, pose = poses(3)
    pose[0], pose[1, 5:7] = 0, 0
    pose.requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):
        energy = net(keypoints_2d, pose)
    (slope,) = torch.autograd.grad(energy.sum(), pose, create_graph=True)
    (slope.square().sum() + energy.sum()).backward()
    assert torch.isfinite(slope).all()
    assert torch.isfinite(pose.grad).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in net.parameters())


def test_state_dict_holds_what_is_learned_and_restores_it(build):
    net, other = build(seed=0), build(seed=1)
    assert net.state_dict().keys() == dict(net.named_parameters()).keys()
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(net(*poses(4)), other(*poses(4)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_copies_are_independent(build, duplicate):
    net = build()
    other = duplicate(net)
    expected = net(*poses(4))
    assert torch.equal(other(*poses(4)), expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.5)
    assert not torch.equal(other(*poses(4)), expected)
    assert torch.equal(net(*poses(4)), expected)


def test_nothing_waits_for_the_device_and_no_tensor_stays_behind(build):
    net = build().to("meta")  # meta tensors hold no values: a forward that looked at one would fail
    keypoints_2d, pose = poses(4)
    assert net(keypoints_2d.to("meta"), pose.to("meta")).shape == (4,)
    with torch.device("meta"):
        assert build("coco17")(torch.zeros(4, 17, 2), torch.zeros(4, 17, 3)).shape == (4,)


def test_it_learns_to_rank(build):
    net = build()
    keypoints_2d, truth = poses(64)
    negative = truth + torch.randn(truth.shape, generator=torch.Generator().manual_seed(9))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        energy_true, energy_negative = net(keypoints_2d.repeat(2, 1, 1), torch.cat([truth, negative])).chunk(2)
        loss = torch.nn.functional.softplus(energy_true - energy_negative).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (energy_true < energy_negative).float().mean() > 0.9


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (lambda: GraphLossNet("h36m17", dim=0), "Expected `dim` to be a positive integer, but got 0."),
        (lambda: GraphLossNet("h36m17", depth=0), "Expected `depth` to be a positive integer, but got 0."),
        (lambda: GraphLossNet("h36m17", heads=-2), "Expected `heads` to be a positive integer, but got -2."),
        (lambda: GraphLossNet("h36m17", dim=64.0), "Expected `dim` to be a positive integer, but got 64.0."),
        (
            lambda: GraphLossNet("h36m17", dim=20, heads=8),
            "Expected `dim` to be a multiple of `heads`, but got 20 and 8.",
        ),
        (
            lambda: GraphLossNet("h36m17", dim=16, mlp_ratio=-1.0),
            "Expected `mlp_ratio` times `dim` to be at least 1, but got -1.0 times 16.",
        ),
        (lambda: GraphLossNet("h36m17", dropout=1.0), "Expected `dropout` to be at least 0 and below 1, but got 1.0."),
        (lambda: MLPLossNet("h36m17", hidden=0), "Expected `hidden` to be a positive integer, but got 0."),
        (lambda: MLPLossNet("h36m17", stages=0), "Expected `stages` to be a positive integer, but got 0."),
        (lambda: MLPLossNet("h36m17", dropout=-0.1), "Expected `dropout` to be at least 0 and below 1, but got -0.1."),
    ],
)
def test_wrong_arguments(factory, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        factory()


@pytest.mark.parametrize(
    ("name", "init_args", "width"),
    [("GraphLossNet", {"dim": 32, "depth": 2, "heads": 4}, 32), ("MLPLossNet", {"hidden": 48}, 48)],
)
def test_a_config_leaves_the_skeleton_open(name, init_args, width):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss_net", type=Callable[[Skeleton], LossNet])
    config = parser.parse_object(
        {"loss_net": {"class_path": f"seal_lightning.loss_nets.{name}", "init_args": init_args}}
    )
    assert parser.parse_string(parser.dump(config)) == config
    net = parser.instantiate_classes(config).loss_net(get_skeleton("coco17"))
    assert type(net).__name__ == name
    assert net.skeleton == get_skeleton("coco17")
    assert net.embed.out_features == width
