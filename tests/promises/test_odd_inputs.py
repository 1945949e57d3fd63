"""Inputs that are odd: what may be meant is warned of or works, and whatever comes, no error is another than ours."""

import io
import re
import tempfile
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from seal_lightning import EnergyTerm, SealBatch, SealConfig, SealLoss, SealMixin, Skeleton, get_skeleton, loss_nets
from seal_lightning import data as seal_data
from seal_lightning import functional as F
from seal_lightning import negatives as sources
from seal_lightning.cli import main
from seal_lightning.constraints import BoneDirectionConstraint, BoneLengthConstraint, SymmetryConstraint
from seal_lightning.training._first_look import FirstLook
from tests import hosts

H36M, TWO = get_skeleton("h36m17"), Skeleton.from_parents([-1, 0])
SMALL = partial(loss_nets.MLPLossNet, hidden=8, stages=1)


@pytest.fixture
def poses():
    """Bodies in metres, what a model may predict of them, and their keypoints."""
    module = seal_data.MocapDataModule(synthetic=seal_data.SyntheticMocap(3, 1, 8), batch_size=8)
    module.setup("fit")
    batch = next(iter(module.train_dataloader()))
    truth, keypoints_2d = batch["target"], batch["keypoints_2d"]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    return (truth + 0.05 * noise).requires_grad_(), truth, keypoints_2d


def criterion(skeleton=H36M, **term):
    return SealLoss(skeleton, [EnergyTerm(**{"loss_net": SMALL} | term)])


def learned(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# What is warned of.
def looked_at(prediction, truth, keypoints_2d, skeleton=H36M, steps=1, **masks):
    look = FirstLook(skeleton)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            look(SealBatch(keypoints_2d, prediction, truth, **masks))
    return [str(warning.message) for warning in caught]


def test_a_usual_batch_is_not_warned_of(poses):
    assert looked_at(*poses) == []
    assert looked_at(*poses, steps=1001) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p, y, x: (p, y, 500 + 400 * x), r"The keypoints are of order \d{3}\. .*normalize_screen"),
        (lambda p, y, x: (p, y * torch.where(torch.arange(8) < 3, torch.nan, 1.0)[:, None, None], x), "3 hold NaN"),
        (lambda p, y, x: (p, y / torch.tensor([0.02, 0.5, 1.0]) + torch.linspace(0, 3, 17)[:, None], x), "differ by"),
        (lambda p, y, x: (p, y[:, torch.randperm(17, generator=torch.Generator().manual_seed(0))], x), "another order"),
    ],
    ids=["pixels", "NaN", "normalised", "order"],
)
def test_the_first_step_is_looked_at(poses, change, message):
    (warning,) = looked_at(*change(*poses))
    assert re.search(message, warning)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_another_unit_shows_once_the_model_has_settled(poses, factor):
    """An untrained model may predict anything: the first step says nothing about its unit."""
    prediction, truth, keypoints_2d = poses
    assert looked_at(prediction * factor, truth, keypoints_2d, steps=999) == []
    (warning,) = looked_at(prediction * factor, truth, keypoints_2d, steps=2000)
    assert "After 1000 steps the predicted bones are" in warning
    assert "in different units" in warning


def test_a_skeleton_without_partners_has_no_sides_to_differ():
    pose, keypoints_2d = torch.randn(4, 2, 3), torch.randn(4, 2, 2)
    assert looked_at(pose, pose, keypoints_2d, TWO) == []
    with pytest.raises(ValueError, match="all joints of each lie in one point"):
        looked_at(pose, 0 * pose, keypoints_2d, TWO)


def test_truths_that_are_no_poses_stop(poses):
    prediction, truth, keypoints_2d = poses
    with pytest.raises(ValueError, match="third coordinate is 1 in all joints, as in homogeneous image points"):
        looked_at(prediction, torch.cat([keypoints_2d, torch.ones(8, 17, 1)], -1), keypoints_2d)
    assert "another order" in looked_at(prediction, torch.randn(8, 17, 3) + torch.tensor([9.0, 0, 50]), keypoints_2d)[0]
    with pytest.raises(ValueError, match=r"but they are bodies where all x come first.*view\(-1, 3, 17\)"):
        looked_at(prediction, truth.mT.reshape(8, 17, 3), keypoints_2d)


def test_a_root_that_never_counts_is_warned_of(poses):
    visibility = torch.ones(8, 17, dtype=torch.bool)
    visibility[1:, 0] = False
    assert looked_at(*poses, visibility=visibility) == []
    visibility[:, 0] = False
    (warning,) = looked_at(*poses, visibility=visibility)
    assert "The root, joint [0], counts in no sample" in warning


def test_what_is_hidden_or_unlabelled_is_not_looked_at(poses):
    prediction, truth, keypoints_2d = poses
    broken, visibility, labelled = truth.clone(), torch.ones(8, 17, dtype=torch.bool), torch.ones(8, dtype=torch.bool)
    broken[0], broken[1, 3] = torch.nan, torch.inf
    visibility[1, 3] = labelled[0] = False
    assert looked_at(prediction, broken, keypoints_2d, visibility=visibility, labelled=labelled) == []
    nothing = torch.zeros(8, 17, dtype=torch.bool)
    assert looked_at(prediction, broken * torch.nan, keypoints_2d, visibility=nothing) == []
    assert looked_at(prediction, broken * 0, keypoints_2d, steps=1000, visibility=nothing) == []


def test_a_pull_at_a_constant_is_warned_of(poses):
    prediction, truth, keypoints_2d = poses
    with pytest.warns(UserWarning, match="`prediction` requires no gradient: the energies will not pull at it"):
        criterion().energy_loss(prediction.detach(), keypoints_2d, truth)


def test_clipping_to_nothing_is_warned_of():
    with pytest.warns(UserWarning, match="`gradient_clip_val=0` leaves the loss-nets no gradient"):
        SealConfig(gradient_clip_val=0)


# What looks odd and works.
NETS = [
    SMALL,
    *(
        partial(net, **{field: 8})
        for net, field in (
            (loss_nets.GraphLossNet, "dim"),
            (loss_nets.KCSLossNet, "hidden"),
            (loss_nets.StructureLossNet, "hidden"),
        )
    ),
]
SOURCES = [getattr(sources, name)() for name in sources.__all__ if name != "Negatives"]


def train(seal, prediction, truth, keypoints_2d, **masks):
    """One step of both; return the two losses and the gradient at the prediction."""
    ranking = seal.ranking_loss(prediction, truth, keypoints_2d, **masks)
    gradients = torch.autograd.grad(ranking, list(seal.parameters()), allow_unused=True)
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients)
    total = seal(prediction, truth, keypoints_2d, **masks)
    (pull,) = torch.autograd.grad(total, prediction)
    assert pull.isfinite().all()
    return ranking, total, pull


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("joints", [2, 17])
def test_a_batch_of_one_and_two_joints(net, joints):
    skeleton = TWO if joints == 2 else H36M
    generator = torch.Generator().manual_seed(0)
    prediction, truth, keypoints_2d = (torch.randn(1, joints, n, generator=generator) for n in (3, 3, 2))
    prediction.requires_grad_()
    paired = [
        source for source in SOURCES if skeleton.paired_bones or not isinstance(source, sources.AsymmetryNegatives)
    ]
    seal = criterion(skeleton, loss_net=net, negatives=paired)
    ranking, total, pull = train(seal, prediction, truth, keypoints_2d)
    assert ranking.isfinite()
    assert total.isfinite()
    assert pull.norm() > 0


def test_a_clip_of_one_frame_is_its_frame(poses):
    prediction, truth, keypoints_2d = poses
    ranking, total, pull = train(criterion(), prediction, truth, keypoints_2d)
    clip = prediction.detach()[:, None].requires_grad_()
    again = train(criterion(), clip, truth[:, None], keypoints_2d[:, None])
    torch.testing.assert_close((ranking, total, pull[:, None]), again)


def test_where_all_is_invisible_nothing_is_learned(poses):
    prediction, truth, keypoints_2d = poses
    seal, nothing = criterion(), torch.zeros(8, 17, dtype=torch.bool)
    before = seal.frame.bone_length.clone()
    ranking, total, pull = train(seal, prediction, truth * torch.nan, keypoints_2d * torch.nan, visibility=nothing)
    assert ranking == 0
    assert total == 0
    assert pull.norm() == 0
    assert torch.equal(seal.frame.bone_length, before)


def test_a_batch_without_samples_leaves_no_trace(make_trainer):
    """The host's own loss of nothing is zero here; a mean would be NaN with SEAL or without."""

    class SumHost(hosts.ForwardHost):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(34, 51))

        def training_step(self, batch, batch_idx):
            x, y = batch
            return (self(x) - y).norm(dim=-1).sum()

    model = type("Seal", (SealMixin, SumHost), {"__module__": __name__})(seal=SealConfig(loss_net=SMALL))
    batches = [(torch.randn(n, 17, 2), torch.randn(n, 17, 3)) for n in (4, 0, 4, 0, 4)]
    make_trainer(max_epochs=1).fit(model, torch.utils.data.DataLoader(batches, batch_size=None))
    assert model.seal.draws == 6
    for values in (learned(model), learned(model.seal), model.seal.frame.bone_length, model.seal.forces.usual_pull):
        assert values.isfinite().all()


def test_no_gradient_of_seal_reaches_a_target_that_asks_for_one(poses):
    prediction, truth, keypoints_2d = poses
    truth = truth.clone().requires_grad_()
    seal = criterion()
    seal.ranking_loss(prediction, truth, keypoints_2d).backward()
    seal.energy_loss(prediction, keypoints_2d, torch.ones_like(prediction)).backward()
    assert truth.grad is None


def test_integer_truths_and_keypoints_are_what_they_say(poses):
    prediction, truth, keypoints_2d = (values.detach() * 1000 for values in poses)
    whole = truth.round(), keypoints_2d.round()
    first, second = criterion(), criterion()
    a = first.ranking_loss(prediction, whole[0], whole[1])
    b = second.ranking_loss(prediction, whole[0].short(), whole[1].int())
    assert torch.equal(a, b)


def strided(tensor):
    """The same values, laid out backwards in memory and with gaps."""
    order = tuple(reversed(range(tensor.ndim)))
    padded = torch.full((*tensor.permute(order).shape, 2), torch.nan, dtype=tensor.dtype)
    padded[..., 0] = tensor.permute(order)
    result = padded[..., 0].permute(order)
    assert not result.is_contiguous()
    return result


def test_the_layout_in_memory_does_not_matter(poses):
    prediction, truth, keypoints_2d = (values.detach() for values in poses)
    loose = [strided(values) for values in (prediction, truth, keypoints_2d)]
    for one, other in zip(
        train(criterion(), prediction.requires_grad_(), truth, keypoints_2d),
        train(criterion(), loose[0].requires_grad_(), *loose[1:]),
        strict=True,
    ):
        torch.testing.assert_close(one, other)
    calls = [
        F.mpjpe,
        F.p_mpjpe,
        F.n_mpjpe,
        F.pck_auc,
        *(kind(H36M) for kind in (BoneLengthConstraint, SymmetryConstraint)),
    ]
    calls += [BoneDirectionConstraint(H36M), *(partial(getattr(F, n), skeleton=H36M) for n in ("asymmetry_error",))]
    for call in calls:
        torch.testing.assert_close(call(prediction, truth), call(*loose[:2]), msg=str(call))
    for net in NETS:
        module = net(H36M).eval()
        torch.testing.assert_close(module(keypoints_2d, prediction), module(loose[2], loose[0]))
    for source in SOURCES:
        one, other = (source(y, p, H36M, torch.Generator()) for y, p in ((truth, prediction), (loose[1], loose[0])))
        torch.testing.assert_close(one, other)


def test_a_host_may_change_its_optimization_in_mid_training(make_trainer):
    class Switching(hosts.ForwardHost):
        def on_train_epoch_start(self):
            self.automatic_optimization = self.current_epoch != 1

        def training_step(self, batch, batch_idx):
            if self.automatic_optimization:
                return super().training_step(batch, batch_idx)
            x, y = batch
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(hosts.distance(self(x), y))
            optimizer.step()
            return None

    model = type("Seal", (SealMixin, Switching), {"__module__": __name__})(seal=SealConfig(loss_net=SMALL))
    felt = []
    pull, model.seal.energy_loss = (
        model.seal.energy_loss,
        lambda *a, **k: felt.append(model.current_epoch) or pull(*a, **k),
    )
    make_trainer(max_epochs=3).fit(model, model.loader())
    assert [felt.count(epoch) for epoch in range(3)] == [6, 6, 6]
    assert model.seal.draws == 19
    assert learned(model).isfinite().all()


# The command line.
@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--model=examples.plain_lifter.Nobody", "Nobody"),
        ("--model.seal.weight=-1", "Expected `weight` to be finite and not negative, but got -1.0"),
        ("--model.seal.weight=x", "seal.*weight"),
        ("--model.seal.skeleton=nobody", "Expected `skeleton` to be one of"),
        ("--model.seal.loss_net=os.system", "os.system"),
        ("--model.seal.weigth=1", "weigth"),
        ("--model.seal.precision=half", "precision"),
        ("--data.batch_size=0", "Expected `batch_size` to be 1 or more, but got 0"),
        ("--data.unit=cm", "unit.*cm"),
        ("--data.noise.scale=-1", "Expected `scale` to be 0 or more, but got -1.0"),
    ],
)
def test_the_command_line_says_which_argument(argument, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).resolve().parents[2] / "examples/configs/seal.yaml"
    with pytest.raises((SystemExit, ValueError)) as stop:
        main(["fit", "--config", str(config), "--trainer.logger=false", argument])
    said = capsys.readouterr().err if isinstance(stop.value, SystemExit) else str(stop.value)
    assert re.search(f"(?s){message}", said)


# Whatever comes: a right value, or one of our errors.
def attempt(call, *args, **kwargs):
    """The result; None where an error of ours refused."""
    try:
        return call(*args, **kwargs)
    except (ValueError, TypeError) as error:
        if "Expected" not in str(error):
            raise
        return None


def numpy_mpjpe(p, y, seen):
    return np.mean(
        [
            np.mean([np.linalg.norm(a - b) for a, b, s in zip(*rows, strict=True) if s])
            for rows in zip(p, y, seen, strict=True)
            if rows[2].any()
        ]
    )


def numpy_n_mpjpe(p, y, seen):
    scaled = [
        a * ((a * b)[s].sum() / (a * a)[s].sum() if (a * a)[s].sum() else 0) for a, b, s in zip(p, y, seen, strict=True)
    ]
    return numpy_mpjpe(np.array(scaled), y, seen)


def numpy_pck(p, y, seen):
    return 100 * np.mean(
        [np.mean(np.linalg.norm(a - b, axis=-1)[s] < 1.5) for a, b, s in zip(p, y, seen, strict=True) if s.any()]
    )


def numpy_bsle(p, y, seen):
    values = []
    for a, b, s in zip(p, y, seen, strict=True):
        bones = [(c, q) for c, q in enumerate(range(-1, len(a) - 1)) if c and s[c] and s[q] and np.any(b[c] != b[q])]
        if bones:
            lengths = [[np.linalg.norm(pose[c] - pose[q]) for c, q in bones] for pose in (a, b)]
            values.append(np.mean([100 * abs(one - other) / other for one, other in zip(*lengths, strict=True)]))
    return np.mean(values)


REFERENCES = {
    "mpjpe": (F.mpjpe, numpy_mpjpe),
    "n_mpjpe": (F.n_mpjpe, numpy_n_mpjpe),
    "pck": (partial(F.pck, threshold=1.5), numpy_pck),
    "bsle": (None, numpy_bsle),
}
COORDINATES = st.integers(-64, 64).map(lambda n: n / 16)  # exact in half precision
DTYPES = st.sampled_from([torch.float16, torch.float32, torch.float64, torch.int32, torch.bool, torch.complex64])


@st.composite
def two_poses(draw):
    """Two poses and a mask, of one shape mostly, of a dtype that is fit mostly."""
    shape = [*draw(st.lists(st.integers(0, 3), max_size=2)), draw(st.integers(0, 4))]
    shape += [3] if draw(st.booleans()) else [draw(st.integers(1, 4))]
    other = shape if draw(st.integers(0, 4)) else draw(st.permutations(shape))
    values = [draw(arrays.arrays(np.float64, tuple(s), elements=COORDINATES)) for s in (shape, other)]
    seen = draw(arrays.arrays(np.bool_, tuple(shape[:-1]))) if draw(st.booleans()) else None
    dtype = draw(DTYPES) if not draw(st.integers(0, 3)) else draw(st.sampled_from([torch.float32, torch.float64]))
    return values, seen, dtype


@pytest.mark.filterwarnings("ignore:The skeleton has no bones")
@pytest.mark.filterwarnings("ignore:.*ComplexWarning")
@pytest.mark.parametrize("name", REFERENCES)
@settings(max_examples=150)
@given(two_poses())
def test_a_metric_is_right_or_refuses(name, case):
    (p, y), seen, dtype = case
    function, reference = REFERENCES[name]
    if function is None:
        joints = p.shape[-2]
        if joints == 0:
            return
        chain = Skeleton.from_parents(range(-1, joints - 1))
        function = partial(F.body_segment_length_error, skeleton=chain)
    visibility = None if seen is None else torch.from_numpy(seen)
    fits = p.shape == y.shape and p.shape[-1] == 3 and p.shape[-2] > 0 and dtype.is_floating_point
    value = attempt(function, torch.from_numpy(p).to(dtype), torch.from_numpy(y).to(dtype), visibility=visibility)
    assert fits == (value is not None)
    if value is None:
        return
    seen = np.ones(p.shape[:-1], bool) if seen is None else seen
    flat = [array.reshape(-1, *array.shape[p.ndim - 2 :]) for array in (p, y, seen)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = reference(*flat) if len(flat[0]) else np.nan
    np.testing.assert_allclose(value.item(), expected, rtol=2e-4, atol=1e-5)


@settings(max_examples=150)
@given(
    st.lists(st.integers(-2, 6), max_size=6),
    st.lists(st.integers(-1, 6), max_size=3),
    st.lists(st.integers(-1, 6), max_size=3),
    st.one_of(st.none(), st.integers(-1, 6), st.lists(st.integers(-1, 6), max_size=2)),
    st.lists(st.lists(st.integers(-1, 6), max_size=3), max_size=2),
)
@example([-1, 0, 0], [1], [2], 0, [[1, 0, 2]])
def test_a_skeleton_is_a_tree_or_refused(parents, left, right, root, limbs):
    skeleton = attempt(Skeleton.from_parents, parents, left=left, right=right, root=root, limbs=limbs)
    if skeleton is None:
        return
    assert len(skeleton.bones) == len(parents) - 1
    assert skeleton.hops.min() == 0  # every joint is reached from every other
    assert [skeleton.partners[p] for p in skeleton.partners] == list(range(len(parents)))
    assert len(skeleton.order) == len(set(skeleton.order)) == len(parents)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=True)
    | st.sampled_from(["", "x", "torch.optim.SGD"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["class_path", "init_args", "x"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from([*vars(SealConfig())]) | st.text(max_size=4), PLAIN, max_size=2))
def test_plain_data_is_a_configuration_or_refused(fields):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = attempt(SealConfig.of, fields)
    if config is None:
        return
    plain = config.plain()
    assert "Expected" in plain if isinstance(plain, str) else SealConfig.of(plain).plain() == plain


# NumPy's texts end at their last character that is not NUL.
TEXTS = st.text(st.characters(exclude_characters="\0"), max_size=3)
ARRAYS = st.one_of(
    arrays.arrays(np.float32, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    arrays.arrays(np.int64, arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=4)),
    arrays.arrays(np.dtype("U3"), arrays.array_shapes(max_dims=1, max_side=3), elements=TEXTS),
    st.just(200.0 * np.arange(51).reshape(1, 17, 3)),
)
KEYS = st.sampled_from(["positions", "clip_start", "clip_length", "skeleton_id", "subject", "description", "fps", "x"])


@settings(max_examples=100)
@given(st.dictionaries(KEYS, ARRAYS, max_size=8), st.booleans())
@example(
    {
        "positions": 200.0 * np.arange(51).reshape(1, 17, 3),
        "clip_start": np.zeros(1, int),
        "clip_length": np.ones(1, int),
        "fps": np.float32(25),
        "subject": np.array(["a"]),
    },
    True,
)
def test_a_mocap_file_is_read_or_refused(content, compressed):
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **content)
    read_or_refused(file.getvalue())


@settings(max_examples=60)
@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"]))
def test_any_bytes_are_no_mocap_file(content, start):
    with pytest.raises(ValueError, match="Expected"):
        read(start + content)


def read(content):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data_h36m17.npz")
        path.write_bytes(content)
        return seal_data.read_mocap(path)


def read_or_refused(content):
    mocap = attempt(read, content)
    if mocap is None:
        return
    assert mocap.positions.shape[1:] == (17, 3)
    assert mocap.clip_length.sum() >= len(mocap.skeleton_id)
