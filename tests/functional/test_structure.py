import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seal_lightning import functional as F
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")
VICON39 = Path(__file__).resolve().parents[2] / "../shared/data/uiprmd_vicon39_sample.npz"
LEFT_HALF = {
    "LBHD": "C7",
    "LFHD": "LBHD",
    "LSHO": "C7",
    "LUPA": "LSHO",
    "LELB": "LUPA",
    "LFRM": "LELB",
    "LWRA": "LFRM",
    "LWRB": "LFRM",
    "LFIN": "LWRA",
    "LPSI": "T10",
    "LASI": "LPSI",
    "LTHI": "LASI",
    "LKNE": "LTHI",
    "LTIB": "LKNE",
    "LANK": "LTIB",
    "LHEE": "LANK",
    "LTOE": "LANK",
}
SYMMETRIC = {"limb_symmetry_error", "mpsse", "asymmetry_error"}


def body39(names=None):
    """The 39 surface markers of a Vicon body, in the order of `names`."""
    side = {"R" + name[1:]: "R" + p[1:] if p[0] == "L" else p for name, p in LEFT_HALF.items()}
    parent = {"C7": None, "CLAV": "C7", "STRN": "CLAV", "T10": "C7", "RBAK": "T10"} | LEFT_HALF | side
    names = tuple(parent) if names is None else tuple(names)
    number = {name: i for i, name in enumerate(names)}
    arm, leg = ("SHO", "UPA", "ELB", "FRM", "WRA"), ("ASI", "THI", "KNE", "TIB", "ANK")
    return Skeleton(
        names,
        tuple(-1 if parent[name] is None else number[parent[name]] for name in names),
        left=tuple(number[name] for name in LEFT_HALF),
        right=tuple(number["R" + name[1:]] for name in LEFT_HALF),
        limbs=tuple(tuple(number[s + joint] for joint in chain) for s in "LR" for chain in (arm, leg)),
    )


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def poses(rng, skeleton, *leading):
    """Random bodies whose bones have lengths of some 100 to 500."""
    pose = np.zeros((*leading, skeleton.num_joints, 3))
    for joint in skeleton.order[1:]:
        step = rng.normal(size=(*leading, 3))
        step *= rng.uniform(100, 500, size=(*leading, 1)) / np.linalg.norm(step, axis=-1, keepdims=True)
        pose[..., joint, :] = pose[..., skeleton.parents[joint], :] + step
    return pose


def length(pose, a, b):
    return float(sum((pose[a][k] - pose[b][k]) ** 2 for k in range(3)) ** 0.5)


def loop_terms(name, x, y, skeleton, seen, relative):
    """Errors of one pose, pair by pair and bone by bone, from joint names rather than from bone indices."""
    errors = []
    if name in SYMMETRIC:
        for left, right in zip(skeleton.left, skeleton.right, strict=True):
            ends = (left, skeleton.parents[left]), (right, skeleton.parents[right])
            if any(end == -1 or not seen[end] for bone in ends for end in bone):
                continue
            l_left, l_right = (length(x, *bone) for bone in ends)
            if name == "asymmetry_error":
                errors.append(abs((l_left - l_right) - (length(y, *ends[0]) - length(y, *ends[1]))))
            elif relative and name == "limb_symmetry_error":
                errors += [100 * abs(l_left - l_right) / (l_left + l_right)] if l_left + l_right > 0 else []
            else:
                errors.append(abs(l_left - l_right))
        return errors
    chains = skeleton.limbs if name == "limb_length_error" else [b for b in enumerate(skeleton.parents) if b[1] >= 0]
    for chain in chains:
        if all(seen[joint] for joint in chain):
            own, true = (sum(length(p, a, b) for a, b in pairwise(chain)) for p in (x, y))
            if not relative:
                errors.append(abs(own - true))
            elif true > 0:
                errors.append(100 * abs(own - true) / true)
    return errors


def call(name, prediction, target, skeleton, **options):
    truth = () if name in ("limb_symmetry_error", "mpsse") else (target,)
    return getattr(F, name)(prediction, *truth, skeleton, **options)


CASES = [
    ("limb_symmetry_error", True),
    ("limb_symmetry_error", False),
    ("mpsse", None),
    ("asymmetry_error", None),
    ("body_segment_length_error", True),
    ("body_segment_length_error", False),
    ("limb_length_error", True),
    ("limb_length_error", False),
]
ALL = [name for name, relative in CASES if relative is not False]


@pytest.mark.parametrize("skeleton", [H36M, get_skeleton("h3wb133"), body39()], ids=["17", "133", "39"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("name", "relative"), CASES)
def test_against_loop(rng, skeleton, masked, name, relative):
    prediction, target = poses(rng, skeleton, 3, 2), poses(rng, skeleton, 3, 2)
    seen = (rng.random((3, 2, skeleton.num_joints)) < 0.85) if masked else np.ones((3, 2, skeleton.num_joints), bool)
    if masked:
        seen[1, 1] = False
    # Bones of length zero: a pair of the prediction, and a bone of the truth.
    left, right = skeleton.left[1], skeleton.right[1]
    for joint in (left, right):
        prediction[0, 0, joint] = prediction[0, 0, skeleton.parents[joint]]
    target[2, 0, left] = target[2, 0, skeleton.parents[left]]
    options = {} if relative is None else {"relative": relative}
    each = np.full((3, 2), np.nan)
    for i in np.ndindex(3, 2):
        errors = loop_terms(name, prediction[i], target[i], skeleton, seen[i], relative)
        each[i] = np.mean(errors) if errors else np.nan
    prediction[~seen] = np.nan
    target[~seen] = np.nan
    if masked:
        options["visibility"] = torch.from_numpy(seen)
    prediction, target = torch.from_numpy(prediction), torch.from_numpy(target)
    result = call(name, prediction, target, skeleton, reduction="none", **options)
    np.testing.assert_allclose(result.numpy(), each, rtol=1e-9)
    if not np.isnan(each).all():
        assert call(name, prediction, target, skeleton, **options).item() == pytest.approx(np.nanmean(each), rel=1e-9)


def test_bone_lengths_against_loop(rng):
    pose = poses(rng, H36M, 4)
    expected = [[length(x, child, parent) for child, parent in H36M.bones] for x in pose]
    np.testing.assert_allclose(F.bone_lengths(torch.from_numpy(pose), "h36m17").numpy(), expected)


@given(arrays(np.float64, (2, 17, 3), elements=st.floats(-1e6, 1e6)), st.floats(0.01, 100), st.integers(0, 2**31))
def test_bone_lengths_are_those_of_the_moved_body(pose, scale, seed):
    q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    moved = torch.from_numpy(scale * pose @ q + 77.0)
    lengths = F.bone_lengths(torch.from_numpy(pose), H36M)
    assert lengths.shape == (2, 16)
    assert (lengths >= 0).all()
    torch.testing.assert_close(F.bone_lengths(moved, H36M), scale * lengths, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("name", ALL)
def test_percentages_are_the_same_in_millimetres_and_metres(rng, name):
    prediction, target = torch.from_numpy(poses(rng, H36M, 4)), torch.from_numpy(poses(rng, H36M, 4))
    here = call(name, prediction, target, H36M)
    metres = call(name, prediction / 1000, target / 1000, H36M)
    unit = 1 if name in ("limb_symmetry_error", "body_segment_length_error", "limb_length_error") else 1000
    torch.testing.assert_close(metres * unit, here)


@pytest.mark.parametrize("name", ALL)
def test_joints_permuted_together_with_the_skeleton(rng, name):
    prediction, target = torch.from_numpy(poses(rng, H36M, 4)), torch.from_numpy(poses(rng, H36M, 4))
    order = rng.permutation(17)
    place = {int(old): new for new, old in enumerate(order)}
    parents = [-1 if H36M.parents[old] < 0 else place[H36M.parents[old]] for old in order]
    shuffled = Skeleton.from_parents(
        parents,
        left=[place[j] for j in H36M.left],
        right=[place[j] for j in H36M.right],
        limbs=[[place[j] for j in limb] for limb in H36M.limbs],
    )
    expected = call(name, prediction, target, H36M)
    torch.testing.assert_close(call(name, prediction[:, order], target[:, order], shuffled), expected)


@pytest.mark.parametrize("name", ["asymmetry_error", "body_segment_length_error", "limb_length_error"])
def test_turned_truth_has_no_error(rng, name):
    target = poses(rng, H36M, 4)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert call(name, torch.from_numpy(target @ q + 500), torch.from_numpy(target), H36M) < 1e-9


def test_averaging_left_and_right_is_no_way_to_a_low_asymmetry_error(rng):
    target = torch.from_numpy(poses(rng, H36M, 4))
    lengths = F.bone_lengths(target, H36M)
    for left, right in H36M.paired_bones:
        lengths[:, [left, right]] = lengths[:, [left, right]].mean(-1, keepdim=True)
    averaged = F.rescale_bones(target, lengths, H36M)
    assert F.limb_symmetry_error(averaged, H36M) < 1e-9
    torch.testing.assert_close(F.asymmetry_error(averaged, target, H36M), F.mpsse(target, H36M))


@pytest.mark.parametrize("name", ALL)
def test_all_joints_in_one_point_is_defined(rng, name):
    target, point = torch.from_numpy(poses(rng, H36M, 2)), torch.zeros(2, 17, 3, dtype=torch.float64)
    result = call(name, point, target, H36M)
    if name == "limb_symmetry_error":
        assert result.isnan()  # every pair is 0/0 and left out
    else:
        assert result.isfinite()
    if "length" in name:
        assert result.item() == pytest.approx(100)
        assert call(name, target, point, H36M).isnan()


@pytest.mark.parametrize("name", ALL)
def test_dtypes_and_nan(rng, name):
    prediction, target = torch.from_numpy(poses(rng, H36M, 4)), torch.from_numpy(poses(rng, H36M, 4))
    exact = call(name, prediction, target, H36M)
    assert exact.dtype == torch.float64
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)):
        result = call(name, prediction.to(dtype), target.to(dtype), H36M)
        assert result.dtype == torch.float32
        assert result.item() == pytest.approx(exact.item(), rel=tolerance)
    prediction[0, H36M.left[1], 0] = torch.nan
    assert call(name, prediction, target, H36M).isnan()


@pytest.mark.parametrize("name", ALL)
def test_gradients(rng, name):
    prediction, target = torch.from_numpy(poses(rng, H36M, 2)) / 300, torch.from_numpy(poses(rng, H36M, 2)) / 300
    visible = torch.from_numpy(rng.random((2, 17)) < 0.9)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: call(name, x, target, H36M, visibility=visible), (prediction,))
    masked = torch.where(visible.unsqueeze(-1), prediction.detach(), torch.nan).requires_grad_()
    call(name, masked, target, H36M, visibility=visible).backward()
    assert masked.grad.isfinite().all()
    assert (masked.grad != 0).any()


@pytest.mark.parametrize(
    ("name", "skeleton", "missing"),
    [(name, Skeleton.from_parents([-1, 0, 1]), "paired bones") for name in sorted(SYMMETRIC)]
    + [
        ("limb_length_error", Skeleton.from_parents([-1, 0, 1]), "limbs"),
        ("body_segment_length_error", Skeleton.from_parents([-1]), "bones"),
    ],
)
def test_skeleton_without_the_segments_warns_once_and_is_nan(name, skeleton, missing):
    pose = torch.ones(2, skeleton.num_joints, 3)
    with pytest.warns(UserWarning, match=f"The skeleton has no {missing}: the error is NaN") as caught:
        assert call(name, pose, pose, skeleton).isnan()
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert call(name, pose, pose, skeleton, reduction="none").isnan().all()


@pytest.mark.parametrize("name", [*ALL, "bone_lengths"])
def test_bad_input(name):
    function = F.bone_lengths if name == "bone_lengths" else lambda pose, s: call(name, pose, torch.ones(2, 17, 3), s)
    with pytest.raises(ValueError, match=r"to have 17 joints like the skeleton, but got shape \(2, 16, 3\)"):
        function(torch.ones(2, 16, 3), H36M)
    with pytest.raises(ValueError, match="Expected `skeleton` to be one of"):
        function(torch.ones(2, 17, 3), "h36m18")
    with pytest.raises(TypeError, match=r"to be a floating-point tensor, but got torch\.int64"):
        function(torch.ones(2, 17, 3, dtype=torch.long), H36M)
    if name != "bone_lengths":
        with pytest.raises(ValueError, match="`reduction` to be 'mean' or 'none', but got 'max'"):
            call(name, torch.ones(2, 17, 3), torch.ones(2, 17, 3), H36M, reduction="max")
        with pytest.raises(ValueError, match=r"shape \(2, 17\), but got \(17,\)"):
            call(name, torch.ones(2, 17, 3), torch.ones(2, 17, 3), H36M, visibility=torch.ones(17))


@pytest.mark.skipif(not VICON39.exists(), reason="the sample of 39 surface markers is not there")
def test_real_markers():
    with np.load(VICON39) as data:
        skeleton = body39([str(name) for name in data["marker_names"]])
        markers = data["positions"][::250].astype(np.float64)
    assert markers.shape[1:] == (39, 3)
    assert len(skeleton.paired_bones) == 17
    pose = torch.from_numpy(markers)
    other = pose.roll(1, dims=0)
    for name, relative in CASES:
        options = {} if relative is None else {"relative": relative}
        pairs = zip(markers, np.roll(markers, 1, axis=0), strict=True)
        expected = [np.mean(loop_terms(name, x, y, skeleton, [True] * 39, relative)) for x, y in pairs]
        result = call(name, pose, other, skeleton, reduction="none", **options)
        np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)
    # Neighbouring markers of a person lie within half a metre, and limbs are of much the same length left and right.
    assert F.bone_lengths(pose, skeleton).median(0).values.max() < 500
    assert 0 < F.limb_symmetry_error(pose, skeleton) < 15
