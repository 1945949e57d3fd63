"""How a step is read: what is found, and what is refused rather than guessed."""

import pytest
import torch

from seal_lightning import SealBatch
from seal_lightning.training.batch import infer_batch
from seal_lightning.training.capture import ModuleCall, tensors_in

J = 17


def pose(*leading, channels=3):
    return torch.randn(*leading, J, channels)


def test_tensors_in_nested_structures():
    a, b, c = torch.zeros(1), torch.zeros(2), torch.zeros(3)
    assert list(tensors_in({"a": [a, ("text", 3, {"b": b})], "c": c, "d": None})) == [a, b, c]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("leading", [(4,), (4, 5)])
def test_plain(leading, flat):
    x, y, out = pose(*leading, channels=2), pose(*leading), pose(*leading)
    given = [t.flatten(-2) if flat else t for t in (x, y, out)]
    found = infer_batch(given[:2], [ModuleCall((given[0],), given[2])], J)
    for have, want in zip((found.keypoints_2d, found.target, found.prediction), (x, y, out), strict=True):
        assert torch.equal(have, want)


def test_flat_prediction_against_unflattened_truth():
    x, y, out = pose(4, channels=2), pose(4), pose(4)
    found = infer_batch((x, y), [ModuleCall((x.flatten(1),), out.flatten(1))], J)
    assert torch.equal(found.prediction, out)
    assert torch.equal(found.target, y)


@pytest.mark.parametrize("keep_axis", [False, True])
def test_centre_frame(keep_axis):
    x, y = pose(4, 5, channels=2), pose(4, 1) if keep_axis else pose(4)
    found = infer_batch((x, y), [ModuleCall((x,), torch.randn_like(y))], J)
    assert torch.equal(found.keypoints_2d.reshape(4, J, 2), x[:, 2])
    assert found.keypoints_2d.shape[:-1] == y.shape[:-1]


def test_confidence_channel_is_not_taken_for_the_truth():
    x, y, out = pose(4), pose(4), pose(4)
    assert infer_batch({"x": x, "y": y}, [ModuleCall(({"keypoints": x},), {"joints": out})], J).target is y
    assert infer_batch({"x": x, "y": y}, [ModuleCall((x[..., :2],), out)], J).target is y


def test_other_calls_and_extras_do_not_matter():
    x, y, out = pose(4, channels=2), pose(4), pose(4)
    calls = [
        ModuleCall((x,), pose(4, channels=2)),
        ModuleCall((x, {"mask": None}), (torch.zeros(4), [out])),
        ModuleCall((), None),
    ]
    found = infer_batch((x, y, torch.arange(4), ["name"] * 4), calls, J)
    assert found.prediction is out


@pytest.mark.parametrize(
    ("batch", "call", "count"),
    [
        (lambda x, y: (x, y, y.clone()), lambda x, y: ModuleCall((x,), pose(4)), 2),
        (lambda x, y: (x, y), lambda x, y: ModuleCall((x,), (pose(4), pose(4))), 2),
        (lambda x, y: (x, y), lambda x, y: ModuleCall((x,), pose(3)), 0),
        (lambda x, y: (x, y), lambda x, y: ModuleCall((x, y), pose(4)), 0),
        (lambda x, y: (x, y.long()), lambda x, y: ModuleCall((x,), pose(4)), 0),
        (lambda x, y: (x,), lambda x, y: ModuleCall((x,), pose(4)), 0),
    ],
)
def test_anything_else_is_refused(batch, call, count):
    x, y = pose(4, channels=2), pose(4)
    with pytest.raises(
        ValueError, match=rf"found {count} such pairs .*Override `seal_batch\(self, batch, inputs, output\)`"
    ):
        infer_batch(batch(x, y), [call(x, y)], J)


@pytest.mark.parametrize("frames", [4, 6])
def test_an_even_window_has_no_centre(frames):
    x, y = pose(4, frames, channels=2), pose(4)
    with pytest.raises(
        ValueError, match=rf"or an odd number of which it is the centre, but got \(4, {frames}, 17, 2\)"
    ):
        infer_batch((x, y), [ModuleCall((x,), pose(4))], J)


def test_no_keypoints_among_the_inputs():
    x, y = torch.randn(4, 9), pose(4)
    with pytest.raises(ValueError, match=r"to be given keypoints .* but got inputs \[\(4, 9\)\]"):
        infer_batch((x, y), [ModuleCall((x,), pose(4))], J)


@pytest.mark.parametrize("leading", [(4,), (4, 5)])
def test_masks_are_read(leading):
    x, y, out = pose(*leading, channels=2), pose(*leading), pose(*leading)
    visibility, labelled = torch.rand(*leading, J) > 0.5, torch.tensor([True, False, True, True])
    calls = [ModuleCall((x,), out)]
    found = infer_batch({"x": x, "y": y, "visibility": visibility, "labelled": labelled}, calls, J)
    assert torch.equal(found.visibility, visibility)
    assert torch.equal(found.labelled, labelled)
    for batch in ({"x": x, "y": y}, {"x": x, "y": y, "visibility": None, "labelled": None}, (x, y, visibility)):
        found = infer_batch(batch, calls, J)
        assert found.target is y
        assert found.visibility is None
        assert found.labelled is None


@pytest.mark.parametrize("keep_axis", [False, True])
@pytest.mark.parametrize("of_the_window", [False, True])
def test_visibility_of_the_centre_frame(keep_axis, of_the_window):
    x, y = pose(4, 5, channels=2), pose(4, 1) if keep_axis else pose(4)
    window = torch.rand(4, 5, J) > 0.5
    centre = window[:, 2].reshape(y.shape[:-1])
    given = {"x": x, "y": y, "visibility": window if of_the_window else centre}
    assert torch.equal(infer_batch(given, [ModuleCall((x,), torch.randn_like(y))], J).visibility, centre)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"visibility": torch.ones(4, J)},
            r"`visibility` of the batch to be a bool tensor, but got torch.float32. Override",
        ),
        ({"visibility": [True] * J}, r"`visibility` of the batch to be a bool tensor, but got list. Override"),
        ({"labelled": torch.ones(4)}, r"`labelled` of the batch to be a bool tensor, but got torch.float32"),
        (
            {"visibility": torch.ones(4, J - 1).bool()},
            r"`visibility` .* to be \(4, 17\) like the prediction, but got \(4, 16\)",
        ),
        (
            {"visibility": torch.ones(4, J, 1).bool()},
            r"to be \(4, 17\) like the prediction, but got \(4, 17, 1\). Override",
        ),
        ({"visibility": torch.ones(4, 4, J).bool()}, r"to be \(4, 17\) like the prediction, but got \(4, 4, 17\)"),
        (
            {"labelled": torch.ones(3).bool()},
            r"`labelled` of the batch to be \(4,\) like the prediction, but got \(3,\)",
        ),
    ],
)
def test_masks_of_another_kind_are_refused(masks, message):
    x, y = pose(4, channels=2), pose(4)
    with pytest.raises(ValueError, match=message):
        infer_batch({"x": x, "y": y, **masks}, [ModuleCall((x,), pose(4))], J)


def test_some_frames():
    batch = SealBatch(pose(2, 5, channels=2), pose(2, 5).requires_grad_(), visibility=torch.ones(2, 5, J))
    kept = batch.some_frames(2, seed=0, draw=0)
    chosen = []
    for clip in range(2):
        where = [
            frame for frame in range(5) for x in kept.prediction[clip] if torch.equal(x, batch.prediction[clip, frame])
        ]
        assert where == sorted(set(where))
        assert torch.equal(kept.keypoints_2d[clip], batch.keypoints_2d[clip, where])
        chosen.append(where)
    assert [len(where) for where in chosen] == [2, 2]
    assert len({tuple(batch.some_frames(2, 0, draw).prediction[0, 0, 0].tolist()) for draw in range(20)}) > 2
    assert batch.some_frames(5, 0, 0) is batch
    assert batch.some_frames(None, 0, 0) is batch
    assert kept.keypoints_2d.shape == (2, 2, J, 2)
    assert kept.visibility.shape == (2, 2, J)
    assert kept.target is None
    assert kept.prediction.requires_grad
    assert not kept.detach().prediction.requires_grad
