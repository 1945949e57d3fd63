"""The contract of torchmetrics: collections with compute groups, prefixes and clones, trackers and other wrappers."""

import functools
import subprocess
import sys
import warnings

import pytest
import torch
from torchmetrics import MetricCollection, MetricTracker
from torchmetrics.wrappers import BootStrapper, MinMaxMetric, MultitaskWrapper, Running

from seal_lightning import metrics as M
from seal_lightning.metrics import MPJPE, PCK, PCKAUC, PoseMetrics
from seal_lightning.skeleton import get_skeleton

H36M = get_skeleton("h36m17")
LONGER = torch.tensor([1.0, 1.5, 1.0])

# For every metric the options it may be given, each different from all others.
VARIANTS = {
    "MPJPE": [{}, {"root": 0}, {"root": (1, 4)}],
    "PMPJPE": [{}],
    "NMPJPE": [{}, {"root": 0}],
    "MPJVE": [{}, {"root": 0}],
    "AccelerationError": [{}, {"fps": 25}, {"fps": 50}, {"root": 0}],
    "PCK": [{"unit": "mm"}, {"unit": "mm", "threshold": 50.0}, {"unit": "m"}, {"unit": "mm", "root": 0}],
    "PCKAUC": [{"unit": "mm"}, {"unit": "mm", "threshold": 50.0}, {"unit": "mm", "steps": 7}, {"unit": "m"}],
    "LimbSymmetryError": [{"skeleton": H36M}, {"skeleton": H36M, "relative": False}],
    "MPSSE": [{"skeleton": H36M}, {"skeleton": "mpi_inf_3dhp17"}],
    "MPSCE": [{"skeleton": H36M}, {"skeleton": "coco17"}],
    "AsymmetryError": [{"skeleton": H36M}, {"skeleton": "coco17"}],
    "BodySegmentLengthError": [{"skeleton": H36M}, {"skeleton": H36M, "relative": False}, {"skeleton": "coco17"}],
    "LimbLengthError": [{"skeleton": H36M}, {"skeleton": H36M, "relative": False}],
    "ErrorPercentile": [{"unit": "mm", "percent": p, "root": root} for p in (50, 90) for root in (None, 0)],
    "ErrorCVaR": [{"unit": "mm"}, {"unit": "mm", "percent": 50}, {"unit": "mm", "root": (1, 4)}],
}
MAKE = {
    f"{name}_{number}": functools.partial(getattr(M, name), **options)
    for name, variants in VARIANTS.items()
    for number, options in enumerate(variants)
}


def batches():
    """A first batch on which many metrics agree, and an ordinary one."""
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(3, 4, 17, 3, generator=generator) * 200
    ordinary = target + torch.randn(3, 4, 17, 3, generator=generator) * 60
    return {
        "perfect": [(target, target), (ordinary, target)],
        "nowhere near": [(target + 5000, target), (ordinary, target)],
        "one pose for all": [(torch.zeros_like(target), target), (ordinary, target)],
        "mirrored root": [(ordinary - ordinary[..., :1, :], target - target[..., :1, :]), (ordinary, target)],
    }


def test_every_public_metric_is_tried():
    public = {name for name in M.__all__ if name not in ("ErrorTail", "PoseMetrics")}
    assert set(VARIANTS) == public


@pytest.mark.parametrize("first", batches())
def test_compute_groups_never_merge_what_differs_later(first):
    collection = MetricCollection({name: make() for name, make in MAKE.items()})
    alone = {name: make() for name, make in MAKE.items()}
    for batch in batches()[first]:
        collection.update(*batch)
        for metric in alone.values():
            metric.update(*batch)
    results = collection.compute()
    for name, metric in alone.items():
        torch.testing.assert_close(results[name], metric.compute(), rtol=0, atol=0, msg=name)
    members = [{name.split("_")[0] for name in group} for group in collection.compute_groups.values()]
    tails = {"ErrorPercentile", "ErrorCVaR"}
    assert all(len(group) == 1 or group <= tails for group in members)


def test_equal_classes_of_another_name_stay_apart():
    """A subclass counts other terms under the options of its parent."""

    class Nearest(MPJPE):
        def _terms(self, poses):
            terms = super()._terms(poses)
            return terms._replace(errors=terms.errors.amin(-1, keepdim=True).expand_as(terms.errors))

    target = torch.zeros(2, 3, 3)
    collection = MetricCollection([MPJPE(), Nearest()])
    collection.update(target, target)
    collection.update(target + torch.arange(3.0)[:, None], target)
    results = collection.compute()
    assert results["Nearest"] == 0
    assert results["MPJPE"] == pytest.approx(3**0.5 / 2)


def test_percentiles_share_one_histogram():
    """They read different values off the same state, which is what compute groups are for."""
    collection = MetricCollection({f"p{p}": M.ErrorPercentile(p, unit="mm") for p in (10, 50, 90)})
    errors = torch.arange(1.0, 102.0).reshape(101, 1, 1) * torch.eye(3)[0]
    for part in errors.chunk(3):
        collection.update(part, torch.zeros_like(part))
    assert len(collection.compute_groups) == 1
    assert {name: round(value.item()) for name, value in collection.compute().items()} == {
        "p10": 11,
        "p50": 51,
        "p90": 91,
    }


def test_names_of_states_are_the_same_in_every_process():
    """What one process saves another loads; Python's own hash of a string would differ."""
    code = "from seal_lightning.metrics import PCK; print(sorted(PCK(unit='mm').metric_state))"
    names = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert names == f"{sorted(PCK(unit='mm').metric_state)}\n"
    saved, loaded = PCK(unit="mm"), PCK(unit="mm")
    for metric in (saved, loaded):
        metric.persistent(True)
    saved.update(torch.zeros(2, 3), torch.zeros(2, 3))
    loaded.load_state_dict(saved.state_dict())
    assert loaded.total == 100


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(6, 17, 3, generator=generator) * 200
    return target + torch.randn(6, 17, 3, generator=generator) * 60, target


def test_prefix_and_postfix(batch):
    plain = PoseMetrics(H36M, unit="mm")(*batch)
    named = PoseMetrics(H36M, unit="mm", prefix="val/", postfix="_mm")
    assert named(*batch) == {f"val/{name}_mm": value for name, value in plain.items()}
    assert set(named.keys()) == set(named.compute())
    renamed = named.clone(prefix="test/")
    assert type(renamed) is PoseMetrics
    assert set(renamed.compute()) == {f"test/{name}_mm" for name in plain}
    assert renamed["test/mpjpe_p90_mm"].compute() == plain["mpjpe_p90"]
    renamed.reset()
    assert named.compute()["val/mpjpe_mm"] == plain["mpjpe"]
    with pytest.raises(ValueError, match="Expected input `prefix` to be a string"):
        PoseMetrics(H36M, unit="mm", prefix=3)


def test_collections_of_collections(batch):
    alone, nested = (
        PoseMetrics(H36M, unit="mm"),
        MetricCollection({"body": PoseMetrics(H36M, unit="mm"), "own": MPJPE()}),
    )
    for metrics in (alone, alone, nested, nested):
        metrics.update(*batch)
    results = nested.compute()
    assert {name: results[f"body_{name}"] for name in alone} == alone.compute()
    assert results["own"] == MPJPE()(*batch)


def test_tracker_finds_the_best_of_every_value(batch):
    prediction, target = batch
    steps = [target + factor * (prediction - target) for factor in (1.0, 0.25, 0.5)]
    tracker = MetricTracker(PoseMetrics(H36M, unit="mm"), maximize=None)  # the default since torchmetrics 1.7
    for step in steps:
        tracker.increment()
        tracker.update(step, target)
    best, which = tracker.best_metric(return_step=True)
    assert set(best) == set(tracker.compute())
    values = ("mpjpe", "p_mpjpe", "mpjpe_p50", "mpjpe_p99", "mpjpe_cvar95", "body_segment_length_error", "pck_auc")
    assert {which[name] for name in values} == {1}
    assert best["pck"] == pytest.approx(float(PCK(unit="mm", root=0)(steps[1], target)))
    assert best["mpjpe_p95"] < tracker.compute()["mpjpe_p95"]


def test_wrappers(batch):
    prediction, target = batch
    running, alone = Running(MPJPE(), window=2), MPJPE()
    for step in range(3):
        running.update(prediction, target + step)
        if step:
            alone.update(prediction, target + step)
    torch.testing.assert_close(running.compute(), alone.compute())
    lowest = MinMaxMetric(PCKAUC(unit="mm"))
    assert set(lowest(prediction, target)) == {"raw", "min", "max"}
    tasks = MultitaskWrapper({"one": PoseMetrics(H36M, unit="mm"), "two": MPJPE()})
    results = tasks({"one": prediction, "two": target}, {"one": target, "two": target})
    assert results["two"] == 0
    assert results["one"]["mpjpe"] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spread = BootStrapper(MPJPE(), num_bootstraps=20)
    spread.update(prediction, target)
    assert 0 < spread.compute()["std"] < spread.compute()["mean"]
    assert (MPJPE() + MPJPE())(prediction, target) == 2 * MPJPE()(prediction, target)
