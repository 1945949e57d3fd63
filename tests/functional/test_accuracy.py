import numpy as np
import pytest
import torch

from seal_lightning.functional import mpjpe, mpjve, n_mpjpe, p_mpjpe, pck, pck_auc, procrustes_align, scale_align


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.fixture
def pair(rng):
    target = rng.normal(size=(5, 4, 17, 3)) * 300
    return target + rng.normal(size=target.shape) * 80, target


def tensors(*arrays):
    return tuple(torch.from_numpy(array) for array in arrays)


def distance(a, b):
    return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5)


def loop_mean(prediction, target, score, visible=None):
    """Mean over poses of the mean over joints, one joint at a time, and the value of every pose."""
    poses, joints = prediction.reshape(-1, *prediction.shape[-2:]), prediction.shape[-2]
    truths = target.reshape(poses.shape)
    seen = np.ones(poses.shape[:2], bool) if visible is None else visible.reshape(poses.shape[:2])
    values = []
    for i in range(len(poses)):
        scores = [score(distance(poses[i, j], truths[i, j])) for j in range(joints) if seen[i, j]]
        values.append(sum(scores) / len(scores) if scores else float("nan"))
    kept = [value for value in values if not np.isnan(value)]
    return sum(kept) / len(kept), np.array(values).reshape(prediction.shape[:-2])


def area(error):
    return sum(100.0 * (error < 5 * k) for k in range(31)) / 31


SCORES = {
    mpjpe: lambda error: error,
    pck: lambda error: 100.0 * (error < 150),
    pck_auc: area,
}


@pytest.mark.parametrize("function", SCORES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("masked", [False, True])
def test_against_loop(pair, rng, function, masked):
    visible = rng.random(pair[0].shape[:-1]) < 0.5 if masked else None
    if masked:
        visible[2, 1] = False
        pair[0][~visible] = np.nan
        pair[1][~visible] = np.nan
    mean, each = loop_mean(*pair, SCORES[function], visible)
    mask = None if visible is None else torch.from_numpy(visible)
    assert function(*tensors(*pair), visibility=mask).item() == pytest.approx(mean, rel=1e-10)
    result = function(*tensors(*pair), visibility=mask, reduction="none")
    np.testing.assert_allclose(result.numpy(), each, rtol=1e-10)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("function", "align"), [(p_mpjpe, procrustes_align), (n_mpjpe, scale_align)])
def test_aligning_errors_against_loop(pair, rng, function, align, masked):
    prediction, target = pair
    visible = rng.random(prediction.shape[:-1]) < 0.7 if masked else np.ones(prediction.shape[:-1], bool)
    expected = np.empty(prediction.shape[:-2])
    for i in np.ndindex(expected.shape):
        x, y = prediction[i][visible[i]], target[i][visible[i]]
        expected[i] = np.mean(np.sqrt((((align(*tensors(x[None], y[None]))[0].numpy()) - y) ** 2).sum(-1)))
    prediction[~visible] = np.nan
    mask = torch.from_numpy(visible) if masked else None
    result = function(*tensors(prediction, target), visibility=mask, reduction="none")
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-9)
    assert function(*tensors(prediction, target), visibility=mask).item() == pytest.approx(expected.mean(), rel=1e-9)


@pytest.mark.parametrize("root", [0, 8, (1, 4), [11, 14]])
@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, pck, pck_auc, mpjve], ids=lambda f: f.__name__)
def test_root_aligns_both_poses(pair, rng, function, root):
    prediction, target = pair
    joints = [root] if isinstance(root, int) else list(root)
    moved = [pose - pose[..., joints, :].mean(-2, keepdims=True) for pose in (prediction, target)]
    expected = function(*tensors(*moved))
    shifted = prediction + rng.normal(size=(5, 4, 1, 3)) * 1000
    torch.testing.assert_close(function(*tensors(shifted, target), root=root), expected)
    assert not torch.isclose(function(*tensors(shifted, target)), expected)


def test_pose_without_visible_root_is_left_out(pair):
    prediction, target = (array[:, 0] for array in pair)
    visible = torch.ones(5, 17)
    visible[1, 0] = 0
    prediction[1, 0] = np.nan
    each = mpjpe(*tensors(prediction, target), root=0, visibility=visible, reduction="none")
    assert each.isnan().tolist() == [False, True, False, False, False]
    kept = [0, 2, 3, 4]
    expected = mpjpe(*tensors(prediction[kept], target[kept]), root=0)
    torch.testing.assert_close(mpjpe(*tensors(prediction, target), root=0, visibility=visible), expected)


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc, mpjve], ids=lambda f: f.__name__)
def test_joint_order_does_not_matter(pair, rng, function):
    order = rng.permutation(17)
    expected = function(*tensors(*pair))
    torch.testing.assert_close(function(*tensors(pair[0][..., order, :], pair[1][..., order, :])), expected)


def test_similarity_transform_has_no_p_mpjpe_and_mirror_image_has(pair):
    target = torch.from_numpy(pair[1])
    turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    assert p_mpjpe(0.3 * target @ turn.T + 500, target) < 1e-9
    mirrored = target * torch.tensor([-1.0, 1.0, 1.0])
    assert p_mpjpe(mirrored, target, reduction="none").min() > 30


def test_scale_alone_has_no_n_mpjpe_and_a_shift_has(pair):
    target = torch.from_numpy(pair[1])
    assert n_mpjpe(7 * target, target) < 1e-9
    assert n_mpjpe(target + 100, target) > 1
    assert n_mpjpe(7 * target + 100, target, root=0) < 1e-9


def test_pck_threshold_is_in_the_unit_of_the_input(pair):
    prediction, target = tensors(*pair)
    metres = prediction / 1000, target / 1000
    for function in (pck, pck_auc):
        assert 10 < function(prediction, target) < 100
        torch.testing.assert_close(function(*metres, threshold=0.15), function(prediction, target))
        assert function(*metres) > function(prediction, target)


def along_x(*distances):
    """One-joint poses at these distances from the origin."""
    return torch.tensor([[[distance, 0.0, 0.0]] for distance in distances])


def test_pck_counts_neither_the_threshold_itself_nor_nan():
    prediction = along_x(149.99, 150.0, 150.01, 0.0, torch.nan, torch.inf)
    each = pck(prediction, torch.zeros(6, 1, 3), reduction="none")
    assert each.tolist() == [100, 0, 0, 100, 0, 0]


@pytest.mark.parametrize("scale", [1.0, 0.001])
def test_pck_auc_counts_the_thresholds_above_a_distance(scale):
    """On and beside every threshold, where a rounded quotient could fall on either side."""
    thresholds = torch.arange(31) * (150 * scale) / 30
    just_below, just_above = (torch.nextafter(thresholds, torch.tensor(end)) for end in (-1.0, 1e9))
    for distances, missed in ((thresholds, range(1, 32)), (just_below[1:], range(1, 31)), (just_above, range(1, 32))):
        prediction = along_x(*distances.tolist())
        each = pck_auc(prediction, torch.zeros(len(distances), 1, 3), 150 * scale, reduction="none")
        expected = [100 * (31 - count) / 31 for count in missed]
        assert each.tolist() == pytest.approx(expected, abs=1e-4), scale


def test_pck_auc_of_a_perfect_prediction_misses_threshold_zero_alone():
    target = torch.zeros(4, 1, 3)
    assert pck_auc(target, target).item() == pytest.approx(100 * 30 / 31)
    assert pck_auc(target, target, steps=1).item() == 50
    assert pck_auc(along_x(torch.nan, torch.inf), target[:2], reduction="none").tolist() == [0, 0]


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc, mpjve], ids=lambda f: f.__name__)
def test_dtypes(pair, function):
    prediction, target = tensors(*pair)
    exact = function(prediction, target)
    assert exact.dtype == torch.float64
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 3e-2)):
        result = function(prediction.to(dtype), target.to(dtype))
        assert result.dtype == torch.float32
        assert result.item() == pytest.approx(exact.item(), rel=tolerance)
    assert function(prediction.half(), target).dtype == torch.float64


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc, mpjve], ids=lambda f: f.__name__)
def test_nan_at_a_visible_joint_is_not_hidden(pair, function):
    prediction, target = tensors(*pair)
    prediction[0, 0, 3] = torch.nan
    result = function(prediction, target)
    # A percentage of correct joints has an answer for a missing one: it is not correct.
    assert result.isfinite() if function in (pck, pck_auc) else result.isnan()


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc, mpjve], ids=lambda f: f.__name__)
def test_nothing_visible_is_nan(pair, function):
    prediction, target = tensors(*pair)
    visible = torch.zeros(5, 4, 17)
    assert function(prediction, target, visibility=visible).isnan()
    assert function(prediction, target, visibility=visible, reduction="none").isnan().all()


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe], ids=lambda f: f.__name__)
def test_degenerate_predictions_are_defined(function):
    target = torch.rand(3, 17, 3, generator=torch.Generator().manual_seed(0))
    for prediction in (torch.zeros(3, 17, 3), torch.ones(3, 17, 3)):
        assert function(prediction, target).isfinite()
        assert function(target, prediction).isfinite()
        assert function(prediction, prediction) < 1e-6


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, mpjve], ids=lambda f: f.__name__)
def test_gradients(pair, rng, function, masked):
    prediction, target = (torch.from_numpy(array[:2, :3, :6] / 300) for array in pair)
    visible = torch.from_numpy(rng.random((2, 3, 6)) < 0.8) if masked else None
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda pose: function(pose, target, visibility=visible), (prediction,))


def test_root_aligned_gradient(pair):
    prediction, target = (torch.from_numpy(array[:1, 0, :5] / 300) for array in pair)
    prediction.requires_grad_()
    assert torch.autograd.gradcheck(lambda pose: mpjpe(pose, target, root=(0, 3)), (prediction,))


def test_mpjpe_gradient_at_zero_distance_is_zero():
    prediction = torch.ones(2, 4, 3, requires_grad=True)
    mpjpe(prediction, torch.ones(2, 4, 3), root=0).backward()
    assert torch.equal(prediction.grad, torch.zeros(2, 4, 3))


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, mpjve], ids=lambda f: f.__name__)
def test_invisible_nan_leaves_the_gradient_clean(pair, function):
    prediction, target = tensors(*pair)
    visible = torch.ones(5, 4, 17, dtype=torch.bool)
    visible[0, 1, 3:6] = False
    visible[1] = False
    prediction[~visible] = torch.nan
    target[~visible] = torch.nan
    prediction.requires_grad_()
    root = {} if function is p_mpjpe else {"root": (0, 3)}
    function(prediction, target, visibility=visible, **root).backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[~visible] == 0).all()
    assert (prediction.grad[visible] != 0).any()


def test_huge_batch_shapes_and_single_pose(rng):
    prediction, target = tensors(rng.normal(size=(2, 3, 4, 5, 3)), rng.normal(size=(2, 3, 4, 5, 3)))
    assert mpjpe(prediction, target, reduction="none").shape == (2, 3, 4)
    assert p_mpjpe(prediction[0, 0, 0], target[0, 0, 0], reduction="none").shape == ()
    assert p_mpjpe(prediction[:0], target[:0], reduction="none").shape == (0, 3, 4)


POSE = torch.zeros(2, 17, 3)
BAD = [
    (POSE, torch.zeros(2, 16, 3), {}, ValueError, r"same shape, but got \(2, 17, 3\) and \(2, 16, 3\)\."),
    (torch.zeros(2, 17, 2), POSE, {}, ValueError, r"`prediction` to have shape \(\.\.\., J, 3\), but got \(2, 17, 2\)"),
    (POSE, torch.zeros(3), {}, ValueError, r"`target` to have shape \(\.\.\., J, 3\), but got \(3,\)"),
    (POSE.long(), POSE, {}, TypeError, r"`prediction` to be a floating-point tensor, but got torch\.int64"),
    (POSE, None, {}, TypeError, r"`target` to be a tensor, but got NoneType"),
    (POSE, POSE, {"reduction": "sum"}, ValueError, r"`reduction` to be 'mean' or 'none', but got 'sum'"),
    (POSE, POSE, {"visibility": torch.ones(2, 16)}, ValueError, r"shape \(2, 17\), but got \(2, 16\)"),
    (POSE, POSE, {"visibility": [1] * 17}, TypeError, r"`visibility` to be a tensor, but got list"),
]


@pytest.mark.parametrize("function", [mpjpe, n_mpjpe, p_mpjpe, pck, pck_auc], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("prediction", "target", "options", "error", "message"), BAD)
def test_bad_input(function, prediction, target, options, error, message):
    with pytest.raises(error, match=message):
        function(prediction, target, **options)


@pytest.mark.parametrize("root", [17, -1, (0, 17), (), 0.5, "hip"])
def test_bad_root(root):
    with pytest.raises(ValueError, match="Expected `root` to be None or joint indices from 0 to 16, but got"):
        mpjpe(POSE, POSE, root=root)


def test_bad_thresholds_and_clips():
    for function in (pck, pck_auc):
        with pytest.raises(ValueError, match="Expected `threshold` to be above zero, but got -1"):
            function(POSE, POSE, threshold=-1.0)
    with pytest.raises(ValueError, match="Expected `steps` to be above zero, but got 0"):
        pck_auc(POSE, POSE, steps=0)
    with pytest.raises(ValueError, match=r"at least 2 frames, but got \(4, 1, 17, 3\)"):
        mpjve(torch.zeros(4, 1, 17, 3), torch.zeros(4, 1, 17, 3))
    with pytest.raises(ValueError, match=r"shape \(\.\.\., T, J, 3\) with at least 2 frames, but got \(17, 3\)"):
        mpjve(POSE[0], POSE[0])
