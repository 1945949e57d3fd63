import copy
import functools
import pickle
import warnings

import pytest
import torch
from torchmetrics import MetricCollection

from seal_lightning import functional as F
from seal_lightning import metrics as M
from seal_lightning.skeleton import Skeleton, get_skeleton

H36M = get_skeleton("h36m17")
CHAIN = Skeleton.from_parents([-1, 0, 1], limbs=[(0, 1, 2)])


def without_target(function, *arguments, **options):
    def score(prediction, target, **more):
        return function(prediction, *arguments, **options, **more)

    return score


def with_skeleton(function, **options):
    def score(prediction, target, **more):
        return function(prediction, target, H36M, **options, **more)

    return score


# Every metric with the function that it accumulates.
PAIRS = {
    "mpjpe": (M.MPJPE, F.mpjpe),
    "mpjpe_root": (functools.partial(M.MPJPE, (1, 4)), functools.partial(F.mpjpe, root=(1, 4))),
    "p_mpjpe": (M.PMPJPE, F.p_mpjpe),
    "n_mpjpe": (M.NMPJPE, F.n_mpjpe),
    "n_mpjpe_root": (functools.partial(M.NMPJPE, root=0), functools.partial(F.n_mpjpe, root=0)),
    "mpjve": (M.MPJVE, F.mpjve),
    "mpjve_root": (functools.partial(M.MPJVE, root=8), functools.partial(F.mpjve, root=8)),
    "acceleration": (M.AccelerationError, F.acceleration_error),
    "acceleration_fps": (
        functools.partial(M.AccelerationError, 50, root=[11, 14]),
        functools.partial(F.acceleration_error, fps=50, root=[11, 14]),
    ),
    "pck_mm": (functools.partial(M.PCK, unit="mm"), F.pck),
    "pck_m": (functools.partial(M.PCK, 9.0, unit="m", root=2), functools.partial(F.pck, threshold=9.0, root=2)),
    "auc_mm": (functools.partial(M.PCKAUC, unit="mm"), F.pck_auc),
    "auc_m": (
        functools.partial(M.PCKAUC, 9.9, unit="m", steps=7, root=3),
        functools.partial(F.pck_auc, threshold=9.9, steps=7, root=3),
    ),
    "lse": (functools.partial(M.LimbSymmetryError, "h36m17"), without_target(F.limb_symmetry_error, H36M)),
    "lse_mm": (
        functools.partial(M.LimbSymmetryError, H36M, relative=False),
        without_target(F.limb_symmetry_error, H36M, relative=False),
    ),
    "mpsse": (functools.partial(M.MPSSE, H36M), without_target(F.mpsse, H36M)),
    "asymmetry": (functools.partial(M.AsymmetryError, H36M), with_skeleton(F.asymmetry_error)),
    "bsle": (functools.partial(M.BodySegmentLengthError, H36M), with_skeleton(F.body_segment_length_error)),
    "bsle_mm": (
        functools.partial(M.BodySegmentLengthError, H36M, relative=False),
        with_skeleton(F.body_segment_length_error, relative=False),
    ),
    "lle": (functools.partial(M.LimbLengthError, H36M), with_skeleton(F.limb_length_error)),
    "lle_mm": (
        functools.partial(M.LimbLengthError, H36M, relative=False),
        with_skeleton(F.limb_length_error, relative=False),
    ),
    "mpsce": (functools.partial(M.MPSCE, H36M), without_target(F.mpsce, H36M)),
}
every_metric = pytest.mark.parametrize("name", PAIRS)


@pytest.fixture
def clips():
    generator = torch.Generator().manual_seed(1)
    target = torch.randn(11, 4, 17, 3, generator=generator) * 200
    prediction = target + torch.randn(11, 4, 17, 3, generator=generator) * 60
    return prediction, target, torch.rand(11, 4, 17, generator=generator) < 0.8


@every_metric
@pytest.mark.parametrize("masked", [False, True])
def test_unequal_batches_add_up_to_the_whole(clips, name, masked):
    make, function = PAIRS[name]
    prediction, target, visible = clips
    if masked:
        visible[3] = False
        prediction[~visible] = torch.nan
    metric = make()
    for part in (slice(0, 1), slice(1, 8), slice(8, 11)):
        metric.update(prediction[part], target[part], visible[part] if masked else None)
    expected = function(prediction, target, visibility=visible if masked else None)
    torch.testing.assert_close(metric.compute(), expected)


@every_metric
def test_forward_gives_the_batch_and_keeps_the_sum(clips, name):
    make, function = PAIRS[name]
    prediction, target, _ = clips
    metric = make()
    torch.testing.assert_close(metric(prediction[:4], target[:4]), function(prediction[:4], target[:4]))
    torch.testing.assert_close(metric(prediction[4:], target[4:]), function(prediction[4:], target[4:]))
    torch.testing.assert_close(metric.compute(), function(prediction, target))


@every_metric
def test_reset_and_copies(clips, name):
    make, function = PAIRS[name]
    prediction, target, _ = clips
    metric = make()
    metric.update(prediction[:4], target[:4])
    copies = [copy.deepcopy(metric), pickle.loads(pickle.dumps(metric)), metric.clone()]
    metric.reset()
    metric.update(prediction[4:], target[4:])
    torch.testing.assert_close(metric.compute(), function(prediction[4:], target[4:]))
    for other in copies:
        other.update(prediction[4:], target[4:])
        torch.testing.assert_close(other.compute(), function(prediction, target))


@every_metric
def test_declared_properties(clips, name):
    metric = PAIRS[name][0]()
    percentage = "pck" in name or "auc" in name
    assert metric.higher_is_better is percentage
    assert metric.is_differentiable is not percentage
    assert metric.full_state_update is False
    assert metric.plot_lower_bound == 0
    assert metric.plot_upper_bound == (100 if percentage else None)
    prediction, target, _ = clips
    prediction = prediction.clone().requires_grad_()
    assert metric(prediction, target).requires_grad is not percentage
    assert not metric.total.requires_grad


@every_metric
def test_nothing_to_average_is_nan(clips, name):
    prediction, target, visible = clips
    metric = PAIRS[name][0]()
    with pytest.warns(UserWarning, match="was called before the ``update`` method"):
        assert metric.compute().isnan()
    metric.reset()
    metric.update(prediction, target, torch.zeros_like(visible))
    assert metric.compute().isnan()


@every_metric
def test_diverged_prediction_is_not_hidden(clips, name):
    prediction, target, _ = clips
    prediction[0, 0] = torch.nan
    metric = PAIRS[name][0]()
    metric.update(prediction, target)
    assert metric.compute().isnan() or "pck" in name or "auc" in name


@every_metric
def test_plot_returns_a_figure(clips, name):
    plt = pytest.importorskip("matplotlib.pyplot")
    metric = PAIRS[name][0]()
    values = [metric(*clips[:2]), metric(*clips[:2])]
    figure, axes = metric.plot()
    assert isinstance(figure, plt.Figure)
    own = plt.subplots()[1]
    assert metric.plot(values, ax=own)[1] is own
    assert axes is not own
    plt.close("all")


def test_million_poses_lose_nothing():
    metric = M.MPJPE()
    prediction = torch.full((1, 1, 3), 0.1).mul(torch.eye(3)[0]).expand(1_000_000, 1, 3)
    for part in prediction.split(4000):
        metric.update(part, torch.zeros_like(part))
    assert metric.count == 1_000_000
    assert metric.total.item() == pytest.approx(1e6 * torch.tensor(0.1).double().item(), rel=1e-12)


def test_left_out_lengths_are_counted(clips):
    prediction, target, visible = clips
    collapsed = target.clone()
    collapsed[0, 0] = 0.0
    counts = {"lse": 6, "bsle": 16, "lle": 4, "bsle_mm": 0, "lse_mm": 0, "lle_mm": 0, "asymmetry": 0}
    for name, expected in counts.items():
        metric = PAIRS[name][0]()
        for _ in range(2):
            metric.update(*((collapsed, target) if name.startswith("lse") else (prediction, collapsed)))
        assert metric.left_out == 2 * expected
        assert metric.count == 2 * (43 if expected else 44)
    # Invisible bones are not left out for their length.
    metric = M.BodySegmentLengthError(H36M)
    metric.update(prediction, collapsed, torch.zeros_like(visible))
    assert metric.left_out == 0


@pytest.mark.parametrize(
    ("metric", "missing"),
    [
        (M.LimbSymmetryError, "paired bones"),
        (M.MPSSE, "paired bones"),
        (M.AsymmetryError, "paired bones"),
        (M.LimbLengthError, "limbs"),
        (M.BodySegmentLengthError, "bones"),
    ],
)
def test_skeleton_without_the_segments_warns_once(metric, missing):
    skeleton = Skeleton.from_parents([-1] if missing == "bones" else [-1, 0, 1])
    with pytest.warns(UserWarning, match=f"The skeleton has no {missing}: {metric.__name__} will be NaN") as caught:
        made = metric(skeleton)
    assert len(caught) == 1
    pose = torch.ones(2, skeleton.num_joints, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.update(pose, pose)
        assert made.compute().isnan()


def test_structure_metrics_ignore_the_target(clips):
    prediction, target, visible = clips
    for name in ("lse", "mpsse", "mpsce"):
        with_truth, without = PAIRS[name][0](), PAIRS[name][0]()
        with_truth.update(prediction, target, visible)
        without.update(prediction, visibility=visible)
        assert with_truth.compute() == without.compute()


def test_sums_survive_a_model_cast_to_half_precision(clips):
    prediction, target, _ = clips
    model = torch.nn.ModuleDict({"metric": M.MPJPE(), "tail": M.ErrorPercentile(50, unit="mm")})
    for cast in (lambda m: m.to(torch.bfloat16), lambda m: m.half(), lambda m: m.double(), lambda m: m.cpu()):
        cast(model)
        assert model["metric"].total.dtype == torch.float64
        assert model["tail"].sums.dtype == torch.float64
    model["metric"].update(prediction, target)
    torch.testing.assert_close(model["metric"].compute(), F.mpjpe(prediction, target))


def test_device_without_float64_gets_single_precision(clips):
    prediction, target, _ = clips

    def move(tensor):
        if tensor.dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64."
            )
        return tensor.clone()

    for metric, exact in ((M.MPJPE(), M.MPJPE()), (M.ErrorCVaR(unit="mm"), M.ErrorCVaR(unit="mm"))):
        metric._apply(move)
        assert {state.dtype for state in metric.metric_state.values()} == {torch.float32, torch.int64}
        metric.update(prediction, target)
        metric.reset()
        assert {state.dtype for state in metric.metric_state.values()} == {torch.float32, torch.int64}
        metric.update(prediction, target)
        exact.update(prediction, target)
        torch.testing.assert_close(metric.compute(), exact.compute())


def test_metrics_stand_in_a_collection(clips):
    prediction, target, visible = clips
    collection = MetricCollection({name: make() for name, (make, _) in PAIRS.items()})
    collection.update(prediction, target, visible)
    results = collection.compute()
    assert set(results) == set(PAIRS)
    for name, (_, function) in PAIRS.items():
        torch.testing.assert_close(results[name], function(prediction, target, visibility=visible))


@pytest.mark.parametrize("metric", [M.PCK, M.PCKAUC])
def test_threshold_is_150_mm_or_in_the_unit_of_the_poses(metric):
    distances = torch.tensor([0.0, 20.0, 149.0, 150.0, 151.0, 400.0])
    poses = distances.reshape(6, 1, 1) * torch.eye(3)[0]
    truth = torch.zeros(6, 1, 3)
    for unit, scale in (("mm", 1.0), ("m", 0.001)):
        default, given = metric(unit=unit), metric(50.0 * scale, unit=unit)
        assert metric(threshold=None, unit=unit).threshold == default.threshold == pytest.approx(150 * scale)
        assert given.threshold == 50.0 * scale
        scaled = poses * scale
        if metric is M.PCK:
            assert default(scaled[[0, 1, 2, 4, 5]], truth[1:]) == 60
            assert given(scaled, truth) == pytest.approx(100 / 3)
        else:
            # Of 31 thresholds those above: 30, 26 of 0, 5, ..., and 1 for 149; or of 0, 1.67, ..., 50.
            assert default(scaled[[0, 1, 2, 4, 5]], truth[1:]) == pytest.approx(100 * (30 + 26 + 1) / 31 / 5)
            assert given(scaled[[0, 1, 5]], truth[:3]) == pytest.approx(100 * (30 + 18) / 31 / 3)
    exactly = metric(unit="mm")
    exactly.update(poses[3], truth[3])
    assert exactly.compute() == 0


@pytest.mark.parametrize("metric", [M.PCK, M.PCKAUC])
@pytest.mark.parametrize(
    ("threshold", "unit", "message"),
    [
        (150.0, "m", r"to be in m like the poses, at least 0\.001 and below 10, but got 150\.0\. Did you mean 0\.15\?"),
        (150, "m", r"but got 150\. Did you mean 0\.15\?"),
        (50.0, "m", r"Did you mean 0\.05\?"),
        (10.0, "m", r"Did you mean 0\.01\?"),
        (1e6, "m", r"but got 1000000\.0\.$"),
        (0.15, "mm", r"to be in mm like the poses, at least 1 and below 10000, but got 0\.15\. Did you mean 150\?"),
        (150_000, "mm", r"but got 150000\. Did you mean 150\?"),
        (float("inf"), "mm", r"but got inf\.$"),
        (0, "mm", "Expected `threshold` to be above zero, but got 0"),
        (-0.15, "m", "Expected `threshold` to be above zero, but got -0.15"),
        (float("nan"), "m", "Expected `threshold` to be above zero, but got nan"),
        ("150", "mm", "Expected `threshold` to be above zero, but got '150'"),
        (150.0, "cm", "Expected `unit` to be 'mm' or 'm', but got 'cm'"),
    ],
)
def test_threshold_of_another_unit_is_refused(metric, threshold, unit, message):
    with pytest.raises(ValueError, match=message):
        metric(threshold, unit=unit)


def test_bad_arguments(clips):
    prediction, target, _ = clips
    for metric in (M.PCK, M.PCKAUC, M.ErrorTail, M.ErrorCVaR, functools.partial(M.ErrorPercentile, 50)):
        with pytest.raises(ValueError, match="Expected `unit` to be 'mm' or 'm', but got 'cm'"):
            metric(unit="cm")
        with pytest.raises(TypeError, match="unit"):
            metric()
    for fps in (0, -25, "25"):
        with pytest.raises(ValueError, match=f"Expected `fps` to be above zero, but got {fps!r}"):
            M.AccelerationError(fps)
    with pytest.raises(ValueError, match="Expected `steps` to be above zero, but got 0"):
        M.PCKAUC(unit="mm", steps=0)
    with pytest.raises(ValueError, match="Expected `skeleton` to be one of"):
        M.MPSSE("nobody")
    with pytest.raises(TypeError, match="Expected `target` to be a tensor, but got NoneType"):
        M.MPJPE().update(prediction)
    with pytest.raises(ValueError, match="`root` to be None or joint indices from 0 to 16, but got 17"):
        M.MPJPE(root=17).update(prediction, target)
    with pytest.raises(ValueError, match="to have 3 joints like the skeleton"):
        M.LimbLengthError(CHAIN).update(prediction, target)
