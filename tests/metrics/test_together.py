"""All metrics together give what each gives alone, for less work and with a state that does not grow."""

import pytest
import torch
import torchmetrics

from seal_lightning.functional import poses, terms
from seal_lightning.metrics import MPJPE, PoseMetrics, tail


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(6)
    target = torch.randn(9, 4, 17, 3, generator=generator) * 200
    prediction = target + torch.randn(9, 4, 17, 3, generator=generator) * 60
    return prediction, target, torch.rand(9, 4, 17, generator=generator) < 0.8


def make():
    return PoseMetrics("h36m17", unit="mm", temporal=True)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_together_equals_apart_to_the_bit(clips, dtype, masked):
    prediction, target = clips[0].to(dtype), clips[1]
    visible = clips[2] if masked else None
    together, apart = make(), make()
    for part in (slice(0, 2), slice(2, 9)):
        batch = (prediction[part], target[part], None if visible is None else visible[part])
        together.update(*batch)
        for metric in apart.values():
            metric.update(*batch)
    states = together.metric_state
    for name, metric in apart.items():
        for state, value in metric.metric_state.items():
            assert torch.equal(states[name][state], value), (name, state)
    batch_values = make()(prediction, target, visible)
    for name, metric in apart.items():
        values = metric(prediction, target, visible)
        for key, value in values.items() if isinstance(values, dict) else [(name, values)]:
            assert torch.equal(batch_values[key], value)


def test_bones_and_distances_are_measured_once(clips, monkeypatch):
    calls = []
    for module, name in ((poses, "segment_lengths"), (poses, "root_align"), (terms, "_norms"), (tail, "pose_means")):
        original = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, name=name, original=original, **k: calls.append(name) or original(*a, **k)
        )
    metrics = PoseMetrics("h36m17", unit="mm")
    for run in (metrics.update, metrics):
        calls.clear()
        run(*clips)
        # Bones and roots of prediction and target; distances as they are and after scaling; one histogram of the tail.
        counts = {"segment_lengths": 2, "root_align": 2, "_norms": 2, "pose_means": 1}
        assert {name: calls.count(name) for name in calls} == counts


def test_a_batch_changed_in_place_is_measured_anew(clips):
    prediction, target, _ = clips
    metrics, fresh = make(), make()
    metrics.update(prediction, target)
    metrics.reset()
    prediction.mul_(1.5)
    metrics.update(prediction, target)
    fresh.update(prediction.clone(), target)
    assert metrics.compute() == fresh.compute()


def test_gradient_reaches_the_prediction_through_shared_terms(clips):
    prediction, target, _ = clips
    prediction.requires_grad_()
    values = make()(prediction, target)
    (values["mpjpe"] + values["p_mpjpe"] + values["mpsse"] + values["limb_length_error"]).backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad != 0).any(dim=-1).all()


def test_gradient_reaches_the_prediction_when_ranks_sync_at_every_step(clips):
    """Then every metric updates twice, first without a gradient: its results must not be those of the second time."""
    prediction, target, _ = clips
    prediction.requires_grad_()
    metrics = PoseMetrics("h36m17", unit="mm", dist_sync_on_step=True)
    values = metrics(prediction, target)
    for name in ("mpjpe", "n_mpjpe", "mpsse", "limb_length_error"):
        (gradient,) = torch.autograd.grad(values[name], prediction, retain_graph=True)
        assert (gradient != 0).any(), name
    assert metrics["mpjpe"].count == 36


def test_results_of_a_batch_are_kept_once_for_each_question(clips):
    prediction, target, _ = clips
    calls = []

    def distance(poses, scale, root):
        calls.append((scale, root))
        return (poses.prediction - poses.target) * scale

    batch = poses.Poses(prediction, target)
    first = batch.once(distance, 2.0, None)
    assert batch.once(distance, 2.0, None) is first
    assert batch.once(distance, 3.0, None) is not first
    assert batch.once(distance, 2.0, (0,)) is not first
    assert poses.Poses(prediction, target).once(distance, 2.0, None) is not first
    assert calls == [(2.0, None), (3.0, None), (2.0, (0,)), (2.0, None)]


def test_a_metric_of_another_library_joins(clips):
    """It knows neither visibility nor shared results."""

    class Count(torchmetrics.Metric):
        full_state_update = False

        def __init__(self):
            super().__init__()
            self.add_state("seen", torch.tensor(0), dist_reduce_fx="sum")

        def update(self, prediction, target):
            self.seen = self.seen + len(prediction)

        def compute(self):
            return self.seen

    metrics = make()
    metrics.add_metrics({"clips": Count(), "raw": MPJPE([3, 4])})
    metrics.update(*clips)
    values = metrics(*clips)
    assert (values["clips"], metrics.compute()["clips"]) == (9, 18)
    alone = MPJPE([3, 4])
    assert values["raw"] == alone(*clips)


def test_state_does_not_grow(clips):
    metrics = make()

    def size():
        return sum(
            value.numel() * value.element_size()
            for states in metrics.metric_state.values()
            for value in states.values()
        )

    metrics.update(*clips)
    after_one = size()
    for _ in range(20):
        metrics.update(*clips)
    metrics.update(*(tensor.repeat(50, *(1,) * (tensor.ndim - 1)) for tensor in clips))
    assert size() == after_one < 400_000
    assert metrics["mpjpe"].count > 0
