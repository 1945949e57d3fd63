"""The verdict of a comparison, against values worked out by hand and over many invented comparisons."""

import itertools
import math

import numpy as np
import pytest

from seal_lightning.evaluation.verdict import describe_verdicts, judge

NAMES = ("mpjpe", "body_segment_length_error", "asymmetry_error")


def scopes(values, groups):
    """Arrange scores (seeds, groups) or (errors, seeds, groups) as `judge` takes them; one error stands for all."""
    values = np.asarray(values, dtype=float)
    values = np.broadcast_to(values, (3, *values.shape[-2:]))
    return [
        {group: {name: values[e, s, g] for e, name in enumerate(NAMES)} for g, group in enumerate(groups)}
        for s in range(values.shape[1])
    ]


def judged(host, seal, groups):
    return judge(scopes(host, groups), scopes(seal, groups), groups)


def test_change_is_the_geometric_mean_of_the_ratios_of_macro_means():
    groups = ["a/1", "a/2", "b/1"]
    host = [[[40.0, 80.0, 100.0]], [[10.0, 10.0, 10.0]], [[20.0, 20.0, 20.0]]]
    seal = [[[30.0, 50.0, 60.0]], [[10.0, 10.0, 10.0]], [[10.0, 30.0, 80.0]]]
    # MPJPE: (60 + 100) / 2 = 80 -> (40 + 60) / 2 = 50; BSLE stays; asymmetry error: 20 -> (20 + 80) / 2 = 50
    result = judged(host, seal, groups)
    assert result.change == pytest.approx(100 * ((50 / 80 * 1 * 50 / 20) ** (1 / 3) - 1))
    assert result.errors == ("MPJPE", "BSLE", "asymmetry error")
    assert result.groups == {"a": 2, "b": 1}


def test_interval_of_two_seeds_and_two_skeletons():
    host, seal = [[10.0, 10.0], [10.0, 10.0]], [[8.0, 9.0], [7.0, 9.6]]
    result = judged(host, seal, ["a/1", "a/2"])
    # One of two is drawn: half the difference between the two, times t with one degree of freedom.
    seeds = 12.706 * abs(math.log(0.85) - math.log(0.83)) / 2
    skeletons = 12.706 * abs(math.log(0.75) - math.log(0.93)) / 2
    point, half = math.log(0.84), math.hypot(seeds, skeletons)
    assert result.change == pytest.approx(-16.0)
    assert math.log1p(result.low / 100) == pytest.approx(point - half, rel=2e-3)
    assert math.log1p(result.high / 100) == pytest.approx(point + half, rel=2e-3)
    assert result.verdict == "no evidence"


def test_standard_errors_are_those_of_all_draws():
    rng = np.random.default_rng(1)
    host, seal = rng.uniform(8, 12, (2, 3, 3, 5))

    def log_ratio(seeds=(0, 1, 2), first=(0, 1, 2), second=(3, 4)):
        """The log ratio over the drawn seeds and the drawn skeletons of two datasets."""
        host_mean, seal_mean = (
            sum(method[:, list(seeds)][:, :, list(drawn)].mean((1, 2)) for drawn in (first, second))
            for method in (host, seal)
        )
        return np.log(seal_mean / host_mean).mean()

    pairs = list(itertools.product(range(3), repeat=2))
    seeds = np.std([log_ratio(seeds=pair) for pair in pairs])
    first = np.std([log_ratio(first=pair) for pair in pairs])
    second = np.std([log_ratio(second=(kept,)) for kept in (3, 4)])
    half = math.hypot(4.303 * seeds, 4.303 * first, 12.706 * second)
    result = judged(host, seal, ["a/1", "a/2", "a/3", "b/1", "b/2"])
    assert math.log1p(result.low / 100) == pytest.approx(log_ratio() - half, rel=0.03)
    assert math.log1p(result.high / 100) == pytest.approx(log_ratio() + half, rel=0.03)


def test_methods_change_places():
    rng, groups = np.random.default_rng(2), ["a/1", "a/2", "a/3", "a/4"]
    host = rng.uniform(90, 110, (3, 4, 4))
    seal = 0.8 * host * rng.uniform(0.99, 1.01, host.shape)
    better, worse = judged(host, seal, groups), judged(seal, host, groups)
    assert (better.verdict, worse.verdict) == ("helps", "harms")
    assert better.low < better.change < better.high < 0 < worse.low < worse.change < worse.high
    assert (1 + better.low / 100) * (1 + worse.high / 100) == pytest.approx(1)
    assert (1 + better.change / 100) * (1 + worse.change / 100) == pytest.approx(1)


def test_units_of_the_errors_do_not_matter():
    rng, groups = np.random.default_rng(3), ["a/1", "a/2"]
    host, seal = rng.uniform(5, 9, (2, 3, 3, 2))
    scale = np.array([1.0, 10.0, 0.1]).reshape(3, 1, 1)
    plain, scaled = judged(host, seal, groups), judged(scale * host, scale * seal, groups)
    assert (scaled.change, scaled.low, scaled.high) == pytest.approx((plain.change, plain.low, plain.high))


def test_equal_methods_are_no_evidence():
    values = np.random.default_rng(4).uniform(5, 9, (3, 3, 2))
    result = judged(values, values, ["a/1", "a/2"])
    assert (result.verdict, result.change, result.low, result.high) == ("no evidence", 0, 0, 0)


def test_one_seed_has_no_interval():
    result = judged([[10.0, 10.0]], [[5.0, 5.0]], ["a/1", "a/2"])
    assert (result.verdict, result.change) == ("no verdict", pytest.approx(-50))
    assert math.isnan(result.low)
    assert math.isnan(result.high)
    assert result.remark.startswith("Another seed may turn out otherwise: `--seeds 0 1 2`")


@pytest.mark.parametrize(("groups", "counts"), [(["all"], {"all": 1}), (["a/1", "b/1"], {"a": 1, "b": 1})])
def test_skeletons_that_stand_alone_give_no_verdict(groups, counts):
    seal = np.array([[5.0], [5.1], [4.9]]) * np.ones(len(groups))
    result = judged(np.full(seal.shape, 10.0), seal, groups)
    assert result.verdict == "no verdict"
    assert result.high < -40  # over seeds alone
    assert result.groups == counts
    assert result.remark.startswith("No dataset names two skeletons or more, so the interval covers")


def test_dataset_with_one_skeleton_is_named():
    seal = np.array([[5.0, 5.1, 4.9], [5.1, 5.0, 5.0]])
    result = judged(np.full((2, 3), 10.0), seal, ["a/1", "b/1", "b/2"])
    assert result.verdict == "helps"
    assert result.remark.startswith("a has a single skeleton, so the interval does not cover")


@pytest.mark.parametrize("missing", [math.nan, math.inf, 0.0, 0.009])
def test_error_without_a_value_is_left_out(missing):
    host, seal = np.full((3, 2, 2), 10.0), np.full((3, 2, 2), 5.0)
    seal[1], host[2, 0, 1] = 20.0, missing
    result = judged(host, seal, ["a/1", "a/2"])
    assert result.errors == ("MPJPE", "BSLE")
    assert result.change == pytest.approx(0)
    nothing = judged(np.full((3, 2, 2), missing), seal, ["a/1", "a/2"])
    assert (nothing.verdict, nothing.errors) == ("no verdict", ())
    assert math.isnan(nothing.change)


def test_training_that_diverged_is_judged():
    result = judged([[10.0, 10.0], [10.0, 10.0]], [[10.0, 1e38], [10.0, 10.0]], ["a/1", "a/2"])
    assert result.verdict == "no evidence"
    assert math.isfinite(result.high)


def repeat(times, *, seed_spread, skeleton_spread, effect=0.0):
    """Judge invented comparisons of 3 seeds on 2 and 4 skeletons; the true effect and the spreads are in log units."""
    rng, groups = np.random.default_rng(5), ["a/1", "a/2", "b/1", "b/2", "b/3", "b/4"]
    verdicts = []
    for _ in range(times):
        host = 50 * np.exp(rng.normal(0, 0.2, 6) + rng.normal(0, 0.01, (3, 1)))
        log = rng.normal(0, seed_spread, (3, 1)) + rng.normal(0, skeleton_spread, 6) + rng.normal(0, 0.002, (3, 6))
        verdicts.append(judged(host, host * np.exp(effect + log), groups).verdict)
    return verdicts


@pytest.mark.parametrize(("seed_spread", "skeleton_spread"), [(0.02, 0.001), (0.02, 0.02), (0.001, 0.02)])
def test_where_there_is_no_effect_verdicts_are_rare(seed_spread, skeleton_spread):
    verdicts = repeat(300, seed_spread=seed_spread, skeleton_spread=skeleton_spread)
    assert verdicts.count("no evidence") >= 0.93 * 300


def test_effect_is_found_on_its_side():
    spreads = {"seed_spread": 0.005, "skeleton_spread": 0.005}
    assert repeat(50, effect=-0.1, **spreads).count("helps") >= 48
    assert repeat(50, effect=0.1, **spreads).count("harms") >= 48


def test_energy_that_never_acted_is_no_evidence_of_anything():
    values = scopes(np.full((3, 2), 10.0), ["a/1", "a/2"])
    same = judge(values, values, ["a/1", "a/2"], acted=False)
    assert same.verdict == "never acted"
    first, second, _ = describe_verdicts(same, same).splitlines()
    assert first.startswith("SEAL NEVER ACTED: with every seed the weights of host and SEAL are the same bit for bit.")
    assert second.startswith("Verdict: SEAL never acted, +0.0 % [+0.0, +0.0] after each method's own best;")


def test_description():
    groups = ["a/1", "b/1", "b/2"]
    host = np.full((2, 3), 10.0)
    predicted = judged(host, np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]), groups)
    seal = np.full((3, 2, 3), 10.0)
    seal[2] = math.nan
    assert describe_verdicts(judged(host, seal, groups), predicted) == (
        "Verdict: no evidence, +0.0 % [+0.0, +0.0] after each method's own best; helps, -50.0 % [-50.0, -50.0] as "
        "predicted.\n"
        "This is the change by SEAL in the geometric mean of MPJPE, BSLE, asymmetry error; the 95 % intervals are over "
        "2 seeds, 2 skeletons of b. a has a single skeleton, so the interval does not cover how its other skeletons "
        "would differ. Left out, for want of a value above rounding error: asymmetry error after each method's own "
        "best."
    )


def test_one_seed_says_one_thing():
    groups = ["a/1", "a/2"]
    host = np.full((1, 2), 10.0)
    single, nothing = judged(host, host / 2, groups), judged(host, 0 * host, groups)
    said = describe_verdicts(single, nothing)
    assert said.splitlines()[0] == (
        "One seed, no verdict: -50.0 % after each method's own best; nothing to compare as predicted."
    )
    assert "Another seed may turn out otherwise" in said
    assert "evidence" not in said


def test_one_skeleton_says_one_thing():
    host = np.full((2, 1), 10.0)
    half = judged(host, host / 2, ["all"])
    said = describe_verdicts(half, half)
    assert said.startswith("No verdict: -50.0 % [-50.0, -50.0] after each method's own best; ")
    assert "evidence" not in said
