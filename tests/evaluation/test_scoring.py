"""The scorer of a comparison, fed with batches such as SEAL captures from a model."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from seal_lightning import SealBatch, get_skeleton
from seal_lightning.evaluation.groups import by_dataset, macro_average
from seal_lightning.evaluation.scoring import PoseScorer

SKELETON = get_skeleton("h36m17")


def captured(*shape, **fields):
    prediction, target = torch.randn(*shape, 17, 3), torch.randn(*shape, 17, 3)
    return SealBatch(torch.randn(*shape, 17, 2), prediction, target, **fields)


def feed(scorer, batch, host_batch=None):
    module = SimpleNamespace(seal_captured=batch, seal=SimpleNamespace(skeleton=SKELETON))
    scorer.on_test_batch_end(None, module, None, host_batch, 0, 0)


def numpy_mpjpe(batch, keep):
    p, t = batch.prediction.double().numpy()[keep], batch.target.double().numpy()[keep]
    p, t = p - p[..., :1, :], t - t[..., :1, :]
    return float(np.sqrt(((p - t) ** 2).sum(-1)).mean())


def test_groups_are_scored_apart():
    scorer, batches = PoseScorer("mm", ["a/1", "empty/1", "b/1"]), [captured(4), captured(3)]
    feed(scorer, batches[0], {"group": torch.tensor([2, 0, 2, 0])})
    feed(scorer, batches[1], {"group": torch.tensor([0, 0, 0])})
    scores = scorer.scores()
    assert list(scores) == ["a/1", "b/1"]
    expected_a = (2 * numpy_mpjpe(batches[0], [1, 3]) + 3 * numpy_mpjpe(batches[1], [0, 1, 2])) / 5
    assert scores["a/1"]["mpjpe"] == pytest.approx(expected_a, rel=1e-5)
    assert scores["b/1"]["mpjpe"] == pytest.approx(numpy_mpjpe(batches[0], [0, 2]), rel=1e-5)


def test_validation_batches_are_scored_alike():
    batch = captured(4)
    by_test, by_validation = PoseScorer("mm"), PoseScorer("mm")
    feed(by_test, batch)
    module = SimpleNamespace(seal_captured=batch, seal=SimpleNamespace(skeleton=SKELETON))
    by_validation.on_validation_batch_end(None, module, None, None, 0)
    assert by_test.scores() == by_validation.scores()


def test_metres_become_millimetres():
    batch = captured(4)
    metres = PoseScorer("m")
    feed(metres, batch)
    assert metres.scores()["all"]["mpjpe"] == pytest.approx(1000 * numpy_mpjpe(batch, slice(None)), rel=1e-5)


def test_unlabelled_rows_and_invisible_joints_count_nowhere():
    labelled = torch.tensor([True, False, True])
    whole = captured(3)
    target = whole.target.clone()
    target[1] = torch.nan
    scorer = PoseScorer("mm")
    feed(scorer, SealBatch(whole.keypoints_2d, whole.prediction, target, labelled=labelled))
    assert scorer.scores()["all"]["mpjpe"] == pytest.approx(numpy_mpjpe(whole, [0, 2]), rel=1e-5)

    visibility = torch.ones(3, 17, dtype=torch.bool)
    visibility[:, 16] = False
    wild = whole.prediction.clone()
    wild[:, 16] = 1e6
    seen, reference = PoseScorer("mm"), PoseScorer("mm")
    feed(reference, SealBatch(whole.keypoints_2d, whole.prediction, whole.target, visibility))
    feed(seen, SealBatch(whole.keypoints_2d, wild, whole.target, visibility))
    for name, value in reference.scores()["all"].items():
        assert seen.scores()["all"][name] == pytest.approx(value, rel=1e-4), name


def test_scaled_bone_lengths_know_neither_size_nor_place():
    target = torch.randn(5, 17, 3)
    scorer = PoseScorer("mm")
    feed(scorer, SealBatch(torch.randn(5, 17, 2), 0.7 * target + 3.0, target))
    scores = scorer.scores()["all"]
    assert scores["body_segment_length_error"] == pytest.approx(30.0, rel=1e-4)
    assert scores["scaled_body_segment_length_error"] == pytest.approx(0.0, abs=1e-3)


def test_symmetry_of_the_truth_is_that_of_the_targets():
    batch = captured(6)
    scorer = PoseScorer("mm")
    feed(scorer, batch)
    target, errors = batch.target.double().numpy(), []
    for left, right in SKELETON.paired_bones:
        pair = SKELETON.bones[left], SKELETON.bones[right]
        a, b = (np.linalg.norm(target[:, child] - target[:, parent], axis=-1) for child, parent in pair)
        errors.append(100 * abs(a - b) / (a + b))
    assert scorer.scores()["all"]["truth_limb_symmetry_error"] == pytest.approx(np.mean(errors), rel=1e-5)


def test_windows_have_temporal_scores_too():
    still, moving = PoseScorer("mm"), PoseScorer("mm")
    feed(still, captured(4))
    feed(moving, captured(4, 5))
    temporal = set(moving.scores()["all"]) - set(still.scores()["all"])
    assert temporal == {"mpjve", "acceleration_error", "mpsce"}


def test_windows_too_short_for_an_acceleration_have_the_scores_of_poses():
    still, moving = PoseScorer("mm"), PoseScorer("mm")
    feed(still, captured(4))
    feed(moving, captured(4, 2))
    assert set(moving.scores()["all"]) == set(still.scores()["all"])


def test_nothing_scored_is_an_error():
    scorer = PoseScorer("mm")
    with pytest.raises(ValueError, match="Expected the loader to yield labelled poses to score, but got none"):
        scorer.scores()


def test_group_of_another_length_is_an_error():
    with pytest.raises(ValueError, match=r"`group` to have shape \(3,\), but got \(3, 1\)"):
        feed(PoseScorer("mm", ["a"]), captured(3), {"group": torch.zeros(3, 1, dtype=torch.long)})


def test_macro_average_weighs_datasets_alike():
    groups = {"a/1": {"x": 1.0}, "a/2": {"x": 2.0}, "a/3": {"x": 6.0}, "b/1": {"x": 10.0}}
    scopes, datasets = macro_average(groups)
    assert datasets == ["a", "b"]
    assert {name: scores["x"] for name, scores in scopes.items()} == {
        "a/1": 1.0, "a/2": 2.0, "a/3": 6.0, "b/1": 10.0, "a": 3.0, "b": 10.0, "mean": 6.5,
    }  # fmt: skip
    assert macro_average({"p": {"x": 1.0}, "q": {"x": 3.0}}) == (
        {"p": {"x": 1.0}, "q": {"x": 3.0}, "mean": {"x": 2.0}},
        [],
    )
    assert by_dataset(["p", "a/1", "b/1", "a/2/x"]) == {"": ["p"], "a": ["a/1", "a/2/x"], "b": ["b/1"]}
