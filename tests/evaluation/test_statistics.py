"""The statistics of a comparison, against NumPy and a numerical integral."""

import math
import sys

import numpy as np
import pytest

from seal_lightning.evaluation.statistics import paired_difference


def above(quantile, degrees):
    """Return the probability above a quantile of Student's t, by integrating the density."""
    x = np.linspace(0, quantile, 20_001)
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    density = np.exp(log_scale - (degrees + 1) / 2 * np.log1p(x**2 / degrees))
    return 0.5 - (density[1:] + density[:-1]) @ np.diff(x) / 2


def quantile_in_use(degrees):
    """Recover the quantile from the interval of differences with mean 0 and a known standard deviation."""
    differences = [-1.0, 1.0] + [0.0] * (degrees - 1)
    result = paired_difference([0.0] * (degrees + 1), differences)
    return result.high / (np.std(differences, ddof=1) / math.sqrt(degrees + 1))


@pytest.mark.parametrize("count", [2, 3, 5, 31])
def test_paired_difference_is_the_paired_t_interval(count):
    rng = np.random.default_rng(count)
    host, seal = rng.normal(70, 5, count), rng.normal(65, 3, count)
    result = paired_difference(host.tolist(), seal.tolist())

    assert result.host_mean == pytest.approx(host.mean())
    assert result.host_std == pytest.approx(host.std(ddof=1))
    assert result.seal_mean == pytest.approx(seal.mean())
    assert result.seal_std == pytest.approx(seal.std(ddof=1))
    assert result.difference == pytest.approx((seal - host).mean())
    assert result.relative == pytest.approx(100 * (seal - host).mean() / host.mean())
    assert result.high - result.difference == pytest.approx(result.difference - result.low)
    error = (seal - host).std(ddof=1) / math.sqrt(count)
    assert above((result.high - result.difference) / error, count - 1) == pytest.approx(0.025, abs=2e-5)


@pytest.mark.parametrize("degrees", [1, 2, 4, 9, 30, 31, 59, 500])
def test_the_quantile_of_students_t(degrees):
    assert above(quantile_in_use(degrees), degrees) == pytest.approx(0.025, abs=2e-6)


def test_the_error_where_scipy_is_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)  # an import of it fails from now on
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seal_lightning\[compare\]'") as raised:
        paired_difference([10.0, 12.0], [9.0, 10.0])
    assert raised.value.name == "scipy.stats"
    assert math.isnan(paired_difference([10.0], [9.0]).low)  # one seed has no interval, and needs no quantile


def test_one_seed_has_no_interval():
    result = paired_difference([10.0], [9.0])
    assert (result.difference, result.relative) == (-1.0, -10.0)
    assert all(math.isnan(value) for value in (result.host_std, result.seal_std, result.low, result.high))


def test_missing_values_stay_missing():
    result = paired_difference([math.nan, math.nan], [math.nan, math.nan])
    assert math.isnan(result.host_mean)
    assert math.isnan(result.low)
    assert math.isnan(paired_difference([0.0, 0.0], [1.0, 1.0]).relative)


@pytest.mark.parametrize(("host", "seal", "counts"), [([], [], "0 and 0"), ([1.0], [1.0, 2.0], "1 and 2")])
def test_seeds_must_pair(host, seal, counts):
    with pytest.raises(ValueError, match=f"Expected one value per seed of both methods, but got {counts}"):
        paired_difference(host, seal)
