"""The critic: what it sees, what its numbers mean, and its file."""

import numpy as np
import pytest
import torch

from seal_lightning import get_skeleton
from seal_lightning.error_estimate import ErrorCritic, Errors
from seal_lightning.error_estimate.critic import INPUTS
from seal_lightning.skeleton import Skeleton

H36M = get_skeleton("h36m17")


def some(count=6, skeleton=H36M, leading=()):
    joints = (*leading, count, skeleton.num_joints)
    return {
        "keypoints": torch.randn(*joints, 2),
        "confidence": torch.rand(*joints),
        "pose": torch.randn(*joints, 3),
        "flip": torch.randn(*joints, 3),
    }


def trained(skeleton=H36M, **options):
    critic = ErrorCritic(skeleton, hidden=12, depth=2, **options)
    torch.nn.init.normal_(critic.head.weight, std=0.1)
    critic.millimetres.fill_(1000.0)
    critic.frame.update(torch.randn(50, skeleton.num_joints, 3))
    return critic


@pytest.mark.parametrize("skeleton", ["h36m17", "coco17", "h3wb133", Skeleton.from_parents([-1, 0, 1])])
def test_any_skeleton_and_any_leading_dimensions(skeleton):
    skeleton = get_skeleton(skeleton)
    critic, inputs = trained(skeleton), some(6, skeleton, (2,))
    logs = critic(**inputs)
    assert logs.pose.shape == (2, 6)
    assert logs.joints.shape == (2, 6, skeleton.num_joints)
    flat = critic(**{name: value.flatten(0, 1) for name, value in inputs.items()})
    assert torch.equal(logs.joints.flatten(0, 1), flat.joints)


def test_millimetres_do_not_depend_on_unit_and_place_of_the_poses():
    critic, inputs = trained(), some()
    errors = critic.errors(**inputs)
    moved = {**inputs, "pose": inputs["pose"] + torch.randn(6, 1, 3)}
    torch.testing.assert_close(critic.errors(**moved), errors, rtol=1e-3, atol=1e-3)
    in_mm = trained()
    in_mm.load_state_dict(critic.state_dict())
    in_mm.millimetres.fill_(1.0)
    in_mm.frame.bone_length.mul_(1000.0)
    scaled = {**inputs, "pose": 1000 * inputs["pose"], "flip": 1000 * inputs["flip"]}
    torch.testing.assert_close(in_mm.errors(**scaled), errors, rtol=1e-4, atol=1e-4)
    logs = critic(**inputs)
    torch.testing.assert_close(errors.joints, logs.joints.exp() * critic.frame.bone_length * 1000)


def test_weights_follow_the_names_of_the_joints():
    order = torch.randperm(17)
    place = order.argsort().tolist()
    parents = [-1 if H36M.parents[j] < 0 else place[H36M.parents[j]] for j in order.tolist()]
    sides = {side: [place[joint] for joint in getattr(H36M, side)] for side in ("left", "right")}
    other = Skeleton([H36M.names[j] for j in order], parents, root=place[H36M.tree_root], **sides)
    critic, inputs = trained(), some()
    shuffled = trained(other)
    shuffled.load_state_dict(critic.state_dict())
    errors, moved = critic.errors(**inputs), shuffled.errors(**{name: v[:, order] for name, v in inputs.items()})
    torch.testing.assert_close(moved.pose, errors.pose)
    torch.testing.assert_close(moved.joints, errors.joints[:, order])


@pytest.mark.parametrize("name", INPUTS)
def test_it_sees_its_inputs_and_no_others(name):
    one, rest = trained(inputs=(name,)), trained(inputs=tuple(other for other in INPUTS if other != name))
    inputs = some()
    changed = {**inputs, name: some()[name]}
    assert not torch.equal(one(**inputs).pose, one(**changed).pose)
    assert torch.equal(rest(**inputs).joints, rest(**changed).joints)


def test_its_file_holds_plain_arrays_and_makes_it_anew(tmp_path):
    critic = trained(Skeleton(("neck", "l", "r"), (-1, 0, 0), (1,), (2,), root=(1, 2)), inputs=("pose", "flip"), seed=3)
    critic.factor_90.copy_(torch.tensor([1.5, 2.0]))
    critic.save(tmp_path / "critic")
    with np.load(tmp_path / "critic", allow_pickle=False) as file:
        assert all(array.dtype != object for array in file.values())
    loaded = ErrorCritic.load(tmp_path / "critic")
    assert loaded.skeleton == critic.skeleton
    assert loaded.inputs == ("pose", "flip")
    inputs = some(skeleton=critic.skeleton)
    errors = critic.errors(**inputs)
    assert all(torch.equal(a, b) for a, b in zip(loaded.errors(**inputs), errors, strict=True))
    bounds = loaded.bounds(errors)
    torch.testing.assert_close(bounds, Errors(1.5 * errors.pose, 2.0 * errors.joints))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other.npz' to be a file that `ErrorCritic.save` wrote"):
        ErrorCritic.load(tmp_path / "other.npz")


def test_its_first_weights_leave_the_random_state_alone():
    state = torch.get_rng_state()
    one, other = ErrorCritic("h36m17", hidden=8), ErrorCritic("h36m17", hidden=8, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one.layers[0].weight, ErrorCritic("h36m17", hidden=8).layers[0].weight)
    assert not torch.equal(one.layers[0].weight, other.layers[0].weight)


def test_what_does_not_fit_is_told():
    with pytest.raises(ValueError, match=r"Expected `inputs` to be one or more of .*, but got \['pse'\]"):
        ErrorCritic("h36m17", inputs=("pse",))
    with pytest.raises(ValueError, match="Expected `hidden` to be a positive integer, but got 0"):
        ErrorCritic("h36m17", hidden=0)
    inputs = some()
    with pytest.raises(ValueError, match="fitted, but this one was not: its weights are random"):
        ErrorCritic("h36m17").errors(**inputs)
    with pytest.raises(ValueError, match=r"Expected `flip`, which is among the critic's inputs .*, but got none"):
        trained()(**{**inputs, "flip": None})
    with pytest.raises(ValueError, match=r"Expected `confidence` to have shape \(6, 17\), but got \(6, 17, 1\)"):
        trained()(**{**inputs, "confidence": inputs["confidence"][..., None]})
