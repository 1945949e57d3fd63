"""Keypoint mappings against joints computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser

from seal_lightning import get_skeleton
from seal_lightning.skeleton.mapping import BUILT_IN, KeypointMapping, get_mapping

H36M, COCO = get_skeleton("h36m17").names, get_skeleton("coco17").names


def test_coco_to_h36m_by_hand():
    coco = np.random.default_rng(0).normal(size=(5, 17, 2))
    nose, left_eye, right_eye, *_ = coco.transpose(1, 0, 2)
    (left_shoulder, right_shoulder), (left_hip, right_hip) = coco[:, 5:7].swapaxes(0, 1), coco[:, 11:13].swapaxes(0, 1)
    hip, thorax = (left_hip + right_hip) / 2, (left_shoulder + right_shoulder) / 2
    # Human3.6M: hip, right leg, left leg, spine, thorax, neck/nose, head, left arm, right arm.
    expected = [hip, coco[:, 12], coco[:, 14], coco[:, 16], coco[:, 11], coco[:, 13], coco[:, 15], (hip + thorax) / 2]
    expected += [thorax, nose, (left_eye + right_eye) / 2, coco[:, 5], coco[:, 7], coco[:, 9]]
    expected += [coco[:, 6], coco[:, 8], coco[:, 10]]
    np.testing.assert_allclose(get_mapping("coco17_to_h36m17")(coco), np.stack(expected, axis=1), rtol=1e-12)


def test_body25_to_h36m_by_hand():
    points = np.arange(25.0)[:, None] * np.ones(2)
    nose, neck, mid_hip, right_eye, left_eye = 0, 1, 8, 15, 16
    expected = [mid_hip, 9, 10, 11, 12, 13, 14, (mid_hip + neck) / 2, neck, nose, (right_eye + left_eye) / 2]
    expected += [5, 6, 7, 2, 3, 4]
    assert get_mapping("body25_to_h36m17")(points)[:, 0].tolist() == expected


def test_mpi_inf_3dhp_to_h36m_and_back():
    points = np.arange(17.0)[:, None] * np.ones(3)
    there, back = get_mapping("mpi_inf_3dhp17_to_h36m17"), get_mapping("h36m17_to_mpi_inf_3dhp17")
    assert there(points)[:, 0].tolist() == [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    assert np.array_equal(back(there(points)), points)


def test_h3wb_begins_with_coco():
    points = np.random.default_rng(0).normal(size=(133, 3))
    assert np.array_equal(get_mapping("h3wb133_to_coco17")(points), points[:17])
    np.testing.assert_array_equal(
        get_mapping("h3wb133_to_h36m17")(points), get_mapping("coco17_to_h36m17")(points[:17])
    )


def test_what_h36m_does_not_have_is_missing():
    mapping = get_mapping("h36m17_to_coco17")
    made = mapping(torch.ones(2, 17, 3), confidence=True)
    eyes_and_ears = [1, 2, 3, 4]
    assert mapping.missing == tuple(COCO[joint] for joint in eyes_and_ears)
    assert made[:, eyes_and_ears, :2].isnan().all()
    assert (made[:, eyes_and_ears, 2] == 0).all()
    seen = mapping.visibility(torch.ones(2, 17, dtype=torch.bool))
    assert (~seen).nonzero()[:, 1].tolist() == 2 * eyes_and_ears
    assert made[seen].isfinite().all()


@pytest.mark.parametrize("name", BUILT_IN)
def test_left_stays_left(name):
    """A mapping of the mirrored body is the mirrored body of the mapping."""
    mapping = get_mapping(name)
    source, target = mapping.source, mapping.target
    body = torch.randn(source.num_joints, 2)
    made = mapping(body)
    mirrored = mapping(body[list(source.partners)])
    torch.testing.assert_close(mirrored, made[list(target.partners)], equal_nan=True)


def test_body25_is_the_skeleton_of_openpose():
    assert get_mapping("body25_to_coco17").source == get_skeleton("openpose25")
    nose = {"nose": "Nose"}
    assert KeypointMapping("openpose25", "coco17", nose).source == KeypointMapping("body25", "coco17", nose).source


@pytest.mark.parametrize("kind", ["numpy", "torch", "double", "read-only"])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_arrays_and_tensors_of_any_leading_shape(kind, leading):
    mapping, values = get_mapping("coco17_to_h36m17"), torch.randn(*leading, 17, 3)
    given_values = {"numpy": values.numpy(), "torch": values, "double": values.double()}.get(
        kind, values.numpy().copy()
    )
    if kind == "read-only":
        given_values.flags.writeable = False
    made = mapping(given_values, confidence=True)
    assert type(made) is type(given_values)
    assert made.dtype == given_values.dtype
    assert made.shape == (*leading, 17, 3)
    one = mapping(given_values[0], confidence=True) if leading else made
    np.testing.assert_array_equal(np.asarray(made[0] if leading else made), np.asarray(one))


def test_a_mean_is_as_sure_as_its_least_sure_joint():
    coco = np.zeros((17, 3))
    coco[:, 2] = np.linspace(0.1, 0.9, 17)
    made = get_mapping("coco17_to_h36m17")(coco, confidence=True)[:, 2]
    assert made[H36M.index("Spine")] == coco[5, 2]  # hips and shoulders: the left shoulder comes first
    assert made[H36M.index("Head")] == coco[1, 2]
    assert made[H36M.index("RWrist")] == coco[10, 2]


@settings(max_examples=60)
@given(st.lists(st.booleans(), min_size=17, max_size=17), st.sampled_from([np.nan, np.inf, 1e6]))
def test_a_missing_joint_reaches_what_is_made_of_it_alone(seen, filler):
    mapping = get_mapping("coco17_to_h36m17")
    clean = np.random.default_rng(0).normal(size=(17, 2))
    broken = np.where(np.array(seen)[:, None], clean, filler)
    visible = mapping.visibility(np.array(seen))
    parts = {"Hip": (11, 12), "Thorax": (5, 6), "Spine": (5, 6, 11, 12), "Head": (1, 2), "Neck": (0,)}
    for joint, name in enumerate(H36M):
        made_of = parts.get(name) or (COCO.index(("left_" if name[0] == "L" else "right_") + name[1:].lower()),)
        assert visible[joint] == all(seen[source] for source in made_of)
    assert np.array_equal(mapping(broken)[visible], mapping(clean)[visible])
    if np.isnan(filler):
        assert np.isnan(mapping(broken)[~visible]).all()


def test_a_mapping_of_ones_own():
    mine = KeypointMapping("coco17", "h36m17", {"Neck": {"nose": 0.5, "left_shoulder": 0.25, "right_shoulder": 0.25}})
    assert get_mapping(mine) is mine
    points = np.zeros((17, 2))
    points[0], points[5], points[6] = 4.0, 8.0, 16.0
    assert mine(points)[H36M.index("Neck")].tolist() == [8.0, 8.0]
    assert len(mine.missing) == 16


def test_a_head_may_lie_beyond_its_sources():
    mine = KeypointMapping("coco17", "h36m17", {"Head": {"nose": 2.0, "left_shoulder": -1.0}})
    points = np.zeros((17, 2))
    points[0], points[5] = (1.0, 5.0), (1.0, 3.0)
    assert mine(points)[10].tolist() == [1.0, 7.0]


def test_a_mapping_in_a_config():
    parser = ArgumentParser()
    parser.add_argument("--mapping", type=str | KeypointMapping)
    mine = {"source": "coco17", "target": "h36m17", "joints": {"Hip": ["left_hip", "right_hip"], "Neck": {"nose": 1.0}}}
    config = parser.parse_object({"mapping": mine})
    again = parser.parse_string(parser.dump(config))
    made = parser.instantiate_classes(again).mapping
    assert made(np.ones((17, 2)))[[0, 9]].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert parser.parse_object({"mapping": "coco17_to_h36m17"}).mapping == "coco17_to_h36m17"


@pytest.mark.parametrize(
    ("joints", "message"),
    [
        ({"Nose": "nose"}, r"Expected the keys of `joints` to be joints of the target, .* but got \['Nose'\]"),
        ({"Hip": "pelvis"}, r"Expected joint 'Hip' to be made of joints of the source, but got \['pelvis'\]"),
        ({"Hip": {"nose": 0.4}}, r"Expected the weights of joint 'Hip' to sum to 1, but got 0.4"),
        ({"Hip": []}, r"Expected the weights of joint 'Hip' to sum to 1, but got 0"),
    ],
)
def test_a_wrong_table_names_the_joint(joints, message):
    with pytest.raises(ValueError, match=message):
        KeypointMapping("coco17", "h36m17", joints)


def test_what_cannot_be_mapped():
    mapping = get_mapping("coco17_to_h36m17")
    with pytest.raises(
        ValueError, match=r"Expected the 17 joints of the mapping's source, shape \(..., 17, C\), but got \(2, 16, 2"
    ):
        mapping(np.zeros((2, 16, 2)))
    with pytest.raises(ValueError, match=r"mapping's source, shape \(..., 17\), but got \(2, 16\)"):
        mapping.visibility(torch.ones(2, 16))
    with pytest.raises(ValueError, match=r"Expected `joints` to be floating-point, but got torch.int64"):
        mapping(np.zeros((17, 2), dtype=np.int64))
    with pytest.raises(
        ValueError,
        match=r"to be one of \['body25_to_coco17', .* but got 'coco_to_h36m'\. Did you mean 'coco17_to_h36m17'\?",
    ):
        get_mapping("coco_to_h36m")
