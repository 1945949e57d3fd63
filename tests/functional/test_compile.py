"""Under `torch.compile` the functions that serve as losses are one graph; under `torch.func` all work."""

import warnings
from functools import partial

import pytest
import torch

from seal_lightning import functional as F
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 5, 17, 3, generator=generator) * 100
    return target + torch.randn(3, 5, 17, 3, generator=generator) * 20, target


LENGTHS = torch.rand(16, generator=torch.Generator().manual_seed(1))
ONE_GRAPH = {
    "mpjpe": F.mpjpe,
    "mpjpe, aligned": partial(F.mpjpe, root=(1, 4)),
    "mpjpe, one value a pose": partial(F.mpjpe, root=[0], reduction="none"),
    "n_mpjpe": F.n_mpjpe,
    "pck": F.pck,
    "pck_auc": F.pck_auc,
    "mpjve": F.mpjve,
    "acceleration_error": partial(F.acceleration_error, fps=50, root=0),
    "limb_symmetry_error": lambda prediction, target, **options: F.limb_symmetry_error(prediction, H36M, **options),
    "limb_symmetry_error, by name": lambda prediction, target, **options: F.limb_symmetry_error(
        prediction, "h36m17", relative=False, **options
    ),
    "asymmetry_error": partial(F.asymmetry_error, skeleton="h36m17"),
    "body_segment_length_error": partial(F.body_segment_length_error, skeleton="coco17"),
    "limb_length_error": partial(F.limb_length_error, skeleton=H36M),
    "mpsce": lambda prediction, target, **options: F.mpsce(prediction, H36M, **options),
    "bone_lengths": lambda prediction, target: F.bone_lengths(prediction, "h36m17"),
    "rescale_bones": lambda prediction, target: F.rescale_bones(prediction, LENGTHS, "h36m17"),
}


@pytest.mark.parametrize("name", ONE_GRAPH)
def test_one_graph_without_a_warning(pair, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that a cache is not seen, for one
        compiled = torch.compile(ONE_GRAPH[name], fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*pair), ONE_GRAPH[name](*pair))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["mpjpe, aligned", "limb_symmetry_error, by name"])
def test_the_gradient_is_that_of_eager(pair, name, masked):
    prediction, target = pair
    seen = torch.rand(3, 5, 17, generator=torch.Generator().manual_seed(2)) < 0.9 if masked else None
    function = partial(ONE_GRAPH[name], visibility=seen)
    values, gradients = [], []
    for run in (torch.compile(function, fullgraph=True, backend="aot_eager"), function):
        pose = prediction.clone().requires_grad_()
        values.append(run(pose, target))
        values[-1].backward()
        gradients.append(pose.grad)
    assert (gradients[1] != 0).any()
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(*gradients)


def test_a_skeleton_of_ones_own_compiles_at_its_first_use(pair):
    """Nothing of it has been asked for before."""
    own = type(H36M)(H36M.names, H36M.parents, H36M.left, H36M.right, H36M.root, H36M.limbs)
    compiled = torch.compile(F.limb_symmetry_error, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(pair[0], own), F.limb_symmetry_error(pair[0], H36M))


@pytest.mark.parametrize("name", ["mpjpe", "n_mpjpe", "p_mpjpe", "pck", "pck_auc"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap_is_the_value_of_every_pose(pair, name):
    function = getattr(F, name)
    prediction, target = (pose.flatten(0, 1) for pose in pair)
    torch.testing.assert_close(torch.vmap(function)(prediction, target), function(prediction, target, reduction="none"))


@pytest.mark.parametrize("function", [F.mpjpe, F.n_mpjpe, F.p_mpjpe, F.mpjve, F.acceleration_error])
def test_functional_gradient_is_that_of_backward(pair, function):
    prediction = pair[0].clone().requires_grad_()
    function(prediction, pair[1]).backward()
    torch.testing.assert_close(torch.func.grad(function)(*pair), prediction.grad)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_gradient_of_every_pose_by_vmap(pair):
    prediction, target = (pose.flatten(0, 1) for pose in pair)
    each = torch.vmap(torch.func.grad(F.p_mpjpe))(prediction, target)
    prediction = prediction.clone().requires_grad_()
    F.p_mpjpe(prediction, target, reduction="none").sum().backward()
    torch.testing.assert_close(each, prediction.grad)
