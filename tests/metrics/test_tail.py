import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from seal_lightning.metrics import ErrorCVaR, ErrorPercentile, ErrorTail

PERCENTILES = (50, 90, 95, 99)


def poses_of_error(errors):
    """One-joint poses at these distances from the origin."""
    distance = torch.as_tensor(errors).double()
    return torch.stack([distance, torch.zeros_like(distance), torch.zeros_like(distance)], dim=-1).unsqueeze(-2)


def tail_of(errors, unit="mm", parts=1):
    metric = ErrorTail(unit=unit)
    for part in poses_of_error(errors).chunk(parts):
        metric.update(part, torch.zeros_like(part))
    return {name: value.item() for name, value in metric.compute().items()}


def exact_cvar(errors):
    """Mean of the worst twentieth; the last pose in it enters with the share that is left."""
    wanted, total = len(errors) / 20, 0.0
    left = wanted
    for error in sorted(errors, reverse=True):
        total += min(left, 1.0) * error
        left -= min(left, 1.0)
    return total / wanted


def check(errors, unit="mm", parts=1):
    result = tail_of(errors, unit, parts)
    assert list(result) == ["p50", "p90", "p95", "p99", "cvar95"]
    for percent in PERCENTILES:
        assert result[f"p{percent}"] == pytest.approx(np.percentile(errors, percent), rel=0.005)
    assert result["cvar95"] == pytest.approx(exact_cvar(errors), rel=0.005)


@pytest.mark.parametrize("size", [1, 2, 7, 19, 20, 21, 1000])
@pytest.mark.parametrize("unit", ["mm", "m"])
def test_within_half_a_percent_of_numpy(size, unit):
    rng = np.random.default_rng(size)
    check(rng.lognormal(4, 1.5, size) * (1 if unit == "mm" else 0.001), unit, parts=3)


@given(arrays(np.float64, st.integers(1, 60), elements=st.floats(0.002, 9e4)))
def test_any_errors(errors):
    check(errors)


def test_many_poses_and_few_different_errors():
    check(np.repeat([1.0, 3.0, 10.0, 500.0], [500_000, 300_000, 150_000, 50_000]), parts=4)


def test_errors_outside_the_range():
    assert tail_of([0.0] * 50) == dict.fromkeys(("p50", "p90", "p95", "p99", "cvar95"), 0.0)
    huge = tail_of([1e7] * 50)
    assert huge["p99"] == pytest.approx(1e7)
    assert huge["cvar95"] == pytest.approx(1e7)


def test_nan_and_infinity_are_the_worst():
    errors = np.concatenate([np.linspace(1, 50, 90), [np.nan] * 10])
    result = tail_of(errors)
    assert result["p50"] == pytest.approx(np.percentile(np.nan_to_num(errors, nan=1e9), 50), rel=0.005)
    assert np.isnan([result["p95"], result["p99"], result["cvar95"]]).all()
    assert tail_of([1.0] * 10 + [np.inf] * 10)["cvar95"] == np.inf
    assert tail_of([1.0] * 10 + [np.inf] * 10)["p99"] == np.inf


def test_root_and_visibility():
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(200, 17, 3, generator=generator) * 100
    prediction = target + torch.randn(200, 17, 3, generator=generator) * 20 + 1000
    visible = torch.rand(200, 17, generator=generator) < 0.7
    visible[:, 0] = True
    visible[5:9] = False
    prediction[~visible] = torch.nan
    metric = ErrorTail(unit="mm", root=0)
    metric.update(prediction, target, visible)
    assert metric.counts.sum() == 196
    difference = (prediction - prediction[:, :1] - target + target[:, :1]).norm(dim=-1).numpy()
    errors = [np.mean(d[v]) for d, v in zip(difference, visible.numpy(), strict=True) if v.any()]
    assert metric.compute()["p90"].item() == pytest.approx(np.percentile(errors, 90), rel=0.005)


def test_state_is_a_small_histogram_that_adds_up():
    errors = np.random.default_rng(0).lognormal(4, 1, 300)
    first, second, both = ErrorTail(unit="mm"), ErrorTail(unit="mm"), ErrorTail(unit="mm")
    for metric, part in ((first, errors[:100]), (second, errors[100:]), (both, errors)):
        metric.update(poses_of_error(part), torch.zeros(len(part), 1, 3))
    assert torch.equal(first.counts + second.counts, both.counts)
    torch.testing.assert_close(first.sums + second.sums, both.sums)
    assert both.counts.numel() < 4000
    assert both.sums.sum().item() == pytest.approx(errors.sum())


def test_forward_reset_and_copies():
    errors = np.random.default_rng(0).lognormal(4, 1, 300)
    metric = ErrorTail(unit="mm")
    poses = poses_of_error(errors)
    batch = metric(poses[:100], torch.zeros_like(poses[:100]))
    assert batch["p95"].item() == pytest.approx(np.percentile(errors[:100], 95), rel=0.005)
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric):
        other.update(poses[100:], torch.zeros_like(poses[100:]))
        assert other.compute()["p95"].item() == pytest.approx(np.percentile(errors, 95), rel=0.005)
    metric.reset()
    assert metric.counts.sum() == 0


def test_without_poses_it_is_nan_with_a_warning():
    with pytest.warns(UserWarning, match="metric ErrorTail was called before the ``update`` method"):
        result = ErrorTail(unit="mm").compute()
    assert all(value.isnan() for value in result.values())


@pytest.mark.parametrize("unit", ["mm", "m"])
def test_single_values_are_those_of_the_tail(unit):
    errors = np.random.default_rng(3).lognormal(4, 1, 500) * (1 if unit == "mm" else 0.001)
    poses = poses_of_error(errors)
    together = tail_of(errors, unit)
    for percent in PERCENTILES:
        assert ErrorPercentile(percent, unit=unit)(poses, torch.zeros_like(poses)).item() == together[f"p{percent}"]
    assert ErrorCVaR(unit=unit)(poses, torch.zeros_like(poses)).item() == together["cvar95"]


@pytest.mark.parametrize("percent", [0, 12.5, 50, 99.9, 100])
def test_any_percentile(percent):
    errors = np.random.default_rng(4).lognormal(4, 1, 400)
    poses = poses_of_error(errors)
    value = ErrorPercentile(percent, unit="mm")(poses, torch.zeros_like(poses))
    assert value.item() == pytest.approx(np.percentile(errors, percent), rel=0.005)


@pytest.mark.parametrize("percent", [0, 50, 90, 99])
def test_mean_of_any_worst_share(percent):
    errors = np.random.default_rng(5).lognormal(4, 1, 400)
    poses = poses_of_error(errors)
    value = ErrorCVaR(percent, unit="mm")(poses, torch.zeros_like(poses))
    worst = np.sort(errors)[round(len(errors) * percent / 100) :]
    assert value.item() == pytest.approx(worst.mean(), rel=0.005)


@pytest.mark.parametrize(
    ("metric", "percents"), [(ErrorPercentile, (-1, 100.1, np.nan, "95", None)), (ErrorCVaR, (-1, 100, np.nan, "95"))]
)
def test_bad_percentage(metric, percents):
    for percent in percents:
        with pytest.raises(ValueError, match="Expected `percent` to be from 0 to"):
            metric(percent, unit="mm")


def test_plot_returns_a_figure():
    plt = pytest.importorskip("matplotlib.pyplot")
    metric = ErrorTail(unit="mm")
    metric.update(poses_of_error([1.0, 2.0]), torch.zeros(2, 1, 3))
    assert isinstance(metric.plot()[0], plt.Figure)
    plt.close("all")
