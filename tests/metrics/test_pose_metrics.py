import copy
import pickle

import pytest
import torch

from seal_lightning import functional as F
from seal_lightning.metrics import ErrorTail, PoseMetrics
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")
TAIL = {"mpjpe_p50", "mpjpe_p90", "mpjpe_p95", "mpjpe_p99", "mpjpe_cvar95"}
KEYS = TAIL | {
    "mpjpe",
    "p_mpjpe",
    "n_mpjpe",
    "pck",
    "pck_auc",
    "limb_symmetry_error",
    "asymmetry_error",
    "body_segment_length_error",
    "limb_length_error",
    "mpsse",
}


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(2)
    target = torch.randn(7, 5, 17, 3, generator=generator) * 200
    prediction = target + torch.randn(7, 5, 17, 3, generator=generator) * 60
    return prediction, target, torch.rand(7, 5, 17, generator=generator) < 0.9


def expected(prediction, target, skeleton, mask=None):
    tail = ErrorTail(unit="mm", root=skeleton.root_joints)
    tail.update(prediction, target, mask)
    options, root = {"visibility": mask}, {"visibility": mask, "root": skeleton.root_joints}
    return {f"mpjpe_{name}": value for name, value in tail.compute().items()} | {
        "mpjpe": F.mpjpe(prediction, target, **root),
        "p_mpjpe": F.p_mpjpe(prediction, target, **options),
        "n_mpjpe": F.n_mpjpe(prediction, target, **root),
        "pck": F.pck(prediction, target, **root),
        "pck_auc": F.pck_auc(prediction, target, **root),
        "limb_symmetry_error": F.limb_symmetry_error(prediction, skeleton, **options),
        "asymmetry_error": F.asymmetry_error(prediction, target, skeleton, **options),
        "body_segment_length_error": F.body_segment_length_error(prediction, target, skeleton, **options),
        "limb_length_error": F.limb_length_error(prediction, target, skeleton, **options),
        "mpsse": F.mpsse(prediction, skeleton, **options),
        "mpjve": F.mpjve(prediction, target, **root),
        "acceleration_error": F.acceleration_error(prediction, target, **root),
        "mpsce": F.mpsce(prediction, skeleton, **options),
    }


@pytest.mark.parametrize("skeleton", ["h36m17", "coco17"])
@pytest.mark.parametrize("temporal", [False, True])
def test_results_are_those_of_the_functions(clips, skeleton, temporal):
    prediction, target, visible = clips
    metrics = PoseMetrics(skeleton, unit="mm", temporal=temporal)
    for part in (slice(0, 2), slice(2, 7)):
        metrics.update(prediction[part], target[part], visible[part])
    results = metrics.compute()
    assert set(results) == KEYS | ({"mpjve", "acceleration_error", "mpsce"} if temporal else set())
    reference = expected(prediction, target, get_skeleton(skeleton), visible)
    for name, value in results.items():
        torch.testing.assert_close(value, reference[name])


def test_root_offset_changes_nothing(clips):
    prediction, target, _ = clips
    offset = torch.randn(7, 5, 1, 3, generator=torch.Generator().manual_seed(0)) * 2000
    here = PoseMetrics("coco17", unit="mm", temporal=True)(prediction, target)
    there = PoseMetrics("coco17", unit="mm", temporal=True)(prediction + offset, target)
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-3, atol=1e-2)


def test_metres_give_the_same(clips):
    prediction, target, _ = clips
    here = PoseMetrics(H36M, unit="mm")(prediction, target)
    metres = PoseMetrics(H36M, unit="m")(prediction / 1000, target / 1000)
    same = {"pck", "pck_auc", "limb_symmetry_error", "body_segment_length_error", "limb_length_error"}
    for name in KEYS:
        torch.testing.assert_close(metres[name] * (1 if name in same else 1000), here[name], rtol=1e-4, atol=1e-4)


def test_perfect_first_batch_does_not_tie_metrics_together(clips):
    prediction, target, _ = clips
    metrics = PoseMetrics(H36M, unit="mm", temporal=True)
    metrics.update(target, target)
    metrics.reset()
    metrics.update(target[:2], target[:2])
    metrics.update(prediction[2:], target[2:])
    whole = torch.cat([target[:2], prediction[2:]])
    reference = expected(whole, target, H36M)
    for name, value in metrics.compute().items():
        torch.testing.assert_close(value, reference[name])


def test_keywords_and_copies(clips):
    prediction, target, visible = clips
    metrics = PoseMetrics(H36M, unit="mm")
    metrics.update(prediction=prediction, target=target, visibility=visible)
    reference = metrics.compute()
    for other in (copy.deepcopy(metrics), pickle.loads(pickle.dumps(metrics))):
        assert other.compute() == reference
        other.update(target, target)
        assert other.compute()["mpjpe"] < reference["mpjpe"]
    assert metrics.compute() == reference


def test_skeleton_without_partners_or_limbs_is_scored_as_far_as_it_goes():
    hand = Skeleton.from_parents([-1, 0, 1, 0, 3])
    with pytest.warns(UserWarning, match="will be NaN") as caught:
        metrics = PoseMetrics(hand, unit="m")
    assert len(caught) == 4
    pose = torch.rand(3, 5, 3, generator=torch.Generator().manual_seed(0))
    results = metrics(pose * 1.1, pose)
    missing = {"limb_symmetry_error", "asymmetry_error", "mpsse", "limb_length_error"}
    assert {name for name, value in results.items() if value.isnan()} == missing
    assert results["body_segment_length_error"].item() == pytest.approx(10, rel=1e-4)


def test_plot_returns_figures(clips):
    plt = pytest.importorskip("matplotlib.pyplot")
    metrics = PoseMetrics(H36M, unit="mm")
    steps = [metrics(*clips), metrics(*clips)]
    named = metrics.clone(prefix="val/", postfix="_mm")
    for collection, values in ((metrics, None), (metrics, steps), (named, None)):
        figures = collection.plot(values)
        assert all(isinstance(figure, plt.Figure) for figure, _ in figures)
        labels = [sorted(axes.get_legend_handles_labels()[1]) for _, axes in figures]
        assert len(labels) == len(KEYS)
        plt.close("all")
    assert isinstance(metrics.plot(steps, together=True)[0], plt.Figure)
    plt.close("all")


def test_bad_arguments():
    with pytest.raises(ValueError, match="Expected `unit` to be 'mm' or 'm', but got 'inch'"):
        PoseMetrics(H36M, unit="inch")
    with pytest.raises(TypeError, match="unit"):
        PoseMetrics(H36M)
    with pytest.raises(ValueError, match="Expected `skeleton` to be one of"):
        PoseMetrics("nobody", unit="mm")
