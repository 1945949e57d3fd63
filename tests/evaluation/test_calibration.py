"""Scores of trust against SciPy and torchmetrics, and bounds whose coverage can be foretold."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu, spearmanr
from torchmetrics.functional.classification import binary_auroc

from seal_lightning.evaluation import (
    assess,
    auroc,
    calibration_by_bin,
    conformal_factor,
    risk_coverage,
    worst_tenth_auroc,
)


def draws(count=500, seed=0):
    """Scores with ties, and errors that grow with them."""
    generator = torch.Generator().manual_seed(seed)
    score = (10 * torch.rand(count, generator=generator)).round() / 10
    return score, score + torch.rand(count, generator=generator) + 0.1


def test_auroc_is_that_of_the_libraries():
    score, error = draws()
    worst = error >= error.sort().values[-50]
    expected = binary_auroc(score, worst.long()).item()
    assert worst_tenth_auroc(score, error) == pytest.approx(expected, abs=1e-6)
    high, low = score[worst], score[~worst]
    statistic = mannwhitneyu(high.numpy(), low.numpy()).statistic / (len(high) * len(low))
    assert auroc(high, low) == pytest.approx(statistic, abs=1e-6)
    assert math.isnan(auroc(high, low[:0]))


def test_assessment_is_the_mean_over_groups():
    parts = [draws(300, seed=1), draws(40, seed=2)]
    score, error = (torch.cat(values) for values in zip(*parts, strict=True))
    result = assess(score, error, torch.tensor([7] * 300 + [3] * 40))
    rank = np.mean([spearmanr(s.numpy(), e.numpy()).statistic for s, e in parts])
    assert result.spearman == pytest.approx(rank, abs=1e-6)
    assert result.bias == pytest.approx(np.mean([s.mean().item() / e.mean().item() - 1 for s, e in parts]), abs=1e-6)
    assert result.deviation == pytest.approx(np.mean([(s - e).abs().mean().item() for s, e in parts]), abs=1e-6)
    assert result.auroc == pytest.approx(np.mean([worst_tenth_auroc(s.double(), e.double()) for s, e in parts]))
    assert result.risk == pytest.approx(np.mean([risk_coverage(s.double(), e.double(), (0.5,)) for s, e in parts]))


def test_a_better_score_has_less_risk():
    _, error = draws()
    perfect, blind = risk_coverage(error, error), risk_coverage(error[torch.randperm(500)], error)
    assert perfect == sorted(perfect, reverse=True)
    assert perfect[0] == pytest.approx(blind[0], rel=1e-5)
    assert perfect[-1] < blind[-1] - 0.2


def test_bins_hold_all_poses_in_order():
    score, error = draws(103)
    bins = calibration_by_bin(score, error)
    assert [b.poses for b in bins] == [11, 11, 11, *[10] * 7]
    assert [b.estimate for b in bins] == sorted(b.estimate for b in bins)
    assert sum(b.poses * b.error for b in bins) == pytest.approx(error.sum().item(), rel=1e-5)
    assert len(calibration_by_bin(score[:3], error[:3])) == 3


def test_bounds_of_people_alike_hold_as_often_as_promised():
    """Over many calibrations, exactly 1 - 1 / (K + 1) of new people have a factor below that of K others."""
    generator = torch.Generator().manual_seed(0)
    covered, enough = [], []
    for _ in range(400):
        person = torch.rand(4, 1, generator=generator) + 0.5  # how wrong the estimate is for three people and a new one
        errors = person * torch.rand(4, 200, generator=generator)
        group = torch.arange(3).repeat_interleave(200)
        factor = conformal_factor(torch.ones(600), errors[:3].flatten(), group)
        covered.append((errors[3] <= factor).double().mean().item())
        enough.append(covered[-1] >= 0.9)
    assert np.mean(covered) > 0.9
    assert np.mean(enough) == pytest.approx(0.75, abs=0.06)
    alone = [conformal_factor(torch.ones(9), torch.rand(9, generator=generator)) for _ in range(300)]
    assert (torch.rand(300, generator=generator) <= torch.tensor(alone)).double().mean() == pytest.approx(0.9, abs=0.05)


def test_a_factor_scales_with_the_estimate_and_is_infinite_for_too_few():
    score, error = draws()
    factor = conformal_factor(score + 0.1, error)
    assert conformal_factor(2 * (score + 0.1), error) == pytest.approx(factor / 2)
    assert (error <= factor * (score + 0.1)).double().mean() >= 0.9
    assert conformal_factor(torch.ones(8), torch.rand(8)) == math.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: assess(torch.ones(3), torch.ones(4)), r"got the shapes \(3,\), \(4,\), \(4,\)"),
        (lambda: assess(torch.ones(0), torch.ones(0)), "Expected one score, error and group"),
        (lambda: assess(torch.tensor([1.0, math.nan]), torch.ones(2)), "to be finite"),
        (lambda: conformal_factor(torch.zeros(4), torch.ones(4)), "Expected `estimate` to be above zero"),
        (lambda: conformal_factor(torch.ones(4), torch.ones(4), coverage=90), "Expected `coverage` to be between"),
    ],
)
def test_refuses_what_cannot_be_compared(call, message):
    with pytest.raises(ValueError, match=message):
        call()
