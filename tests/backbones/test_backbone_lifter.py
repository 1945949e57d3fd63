"""`LitLifter` with every backbone in a real Trainer, alone and with SEAL; mirroring; centre frames; YAML."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from examples.backbones import (
    PSTMO,
    KTPFormer,
    LitLifter,
    MixSTE,
    MotionAGFormer,
    PoseFormerV2,
    SemGCN,
    SimpleBaseline,
    VideoPose3D,
)
from examples.backbones.layers import SelfAttention
from examples.backbones.losses import MPJPE, VelocityLoss
from seal_lightning import SealMixin

FRAME = (SimpleBaseline, SemGCN)
CENTRE = (VideoPose3D, PoseFormerV2, PSTMO)
SEQUENCE = (MixSTE, KTPFormer, MotionAGFormer)
FRAMES = 9
everyone = pytest.mark.parametrize("backbone", FRAME + CENTRE + SEQUENCE)


class Clips(Dataset):
    """Four samples, made anew alike by every test."""

    def __init__(self, frames, channels=2, centre_target=False):
        generator = torch.Generator().manual_seed(0)
        window = () if frames is None else (frames,)
        self.keypoints = torch.randn(4, *window, 17, channels, generator=generator)
        self.keypoints[..., 2:] = self.keypoints[..., 2:].sigmoid()  # confidences
        self.target = torch.randn(4, *(() if centre_target else window), 17, 3, generator=generator)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return {"keypoints_2d": self.keypoints[index], "target": self.target[index]}


def tiny(backbone, **options):
    window = {"frames": FRAMES} if "frames" in inspect.signature(backbone.tiny).parameters else {}
    return backbone.tiny(**window, **options)


def loader_for(backbone, batch_size=2, **options):
    return DataLoader(Clips(None if backbone in FRAME else FRAMES, **options), batch_size=batch_size)


def batch_of(backbone, **options):
    return next(iter(loader_for(backbone, batch_size=4, **options)))


def in_stage(model, training):
    """A model that believes to be in a Trainer's training or validation."""
    model._trainer = SimpleNamespace(training=training, barebones=True)
    return model


class SealLifter(SealMixin, LitLifter):
    pass


@everyone
def test_trains_validates_tests_and_predicts(backbone, make_trainer):
    model = LitLifter(tiny(backbone, channels=2), optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    trainer, loader = make_trainer(fast_dev_run=True), loader_for(backbone)
    trainer.fit(model, loader, loader)
    assert trainer.callback_metrics["val_mpjpe"] > 0
    assert any(not torch.equal(before[name], parameter) for name, parameter in model.named_parameters())
    (result,) = trainer.test(model, loader, verbose=False)
    assert result["test_mpjpe"] > 0
    (poses,) = trainer.predict(model, loader)
    assert poses.shape == ((2, FRAMES, 17, 3) if backbone in SEQUENCE else (2, 17, 3))


@everyone
@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.filterwarnings("ignore:The true poses' left and right bones differ")
def test_a_learned_loss_reads_the_step(backbone, channels, make_trainer):
    """With confidences keypoints and target have one shape; what is mirrored is mirrored in both."""
    model = SealLifter(tiny(backbone, channels=channels), flip_test=False)
    loader = loader_for(backbone, batch_size=4, channels=channels)
    given = next(iter(loader))
    if backbone in CENTRE:
        given = {name: value[:, FRAMES // 2] for name, value in given.items()}

    make_trainer(fast_dev_run=True).fit(model, loader)
    read = model.seal_captured
    assert read.prediction.shape == given["target"].shape
    for sample in range(4):
        pair = read.keypoints_2d[sample], read.target[sample]
        straight = given["keypoints_2d"][sample], given["target"][sample]
        mirrored = tuple(map(model.mirror, straight))
        assert any(all(map(torch.equal, pair, either)) for either in (straight, mirrored))

    make_trainer(fast_dev_run=True).validate(model, loader, verbose=False)
    read = model.seal_captured
    assert torch.equal(read.target, given["target"])
    assert torch.equal(read.keypoints_2d, given["keypoints_2d"])
    torch.testing.assert_close(read.prediction, model.net.eval()(next(iter(loader))["keypoints_2d"]))


@everyone
def test_outside_training_mirrored_keypoints_give_the_mirrored_pose(backbone):
    model = LitLifter(tiny(backbone, channels=2)).eval()
    keypoints = batch_of(backbone)["keypoints_2d"]
    mirrored = model(model.mirror(keypoints))
    torch.testing.assert_close(mirrored, model.mirror(model(keypoints)), atol=1e-5, rtol=1e-4)
    model.flip_test = False
    assert torch.equal(model(keypoints), model.net(keypoints))
    assert not torch.allclose(model(model.mirror(keypoints)), model.mirror(model(keypoints)), atol=1e-3)


def test_mirrors_x_and_swaps_sides():
    model = LitLifter(nn.Identity(), left=[1, 4], right=[3, 2])
    pose = torch.arange(15.0).view(1, 5, 3)
    expected = [[[-0, 1, 2], [-9, 10, 11], [-12, 13, 14], [-3, 4, 5], [-6, 7, 8]]]
    assert model.mirror(pose).tolist() == expected
    assert torch.equal(model.mirror(model.mirror(pose)), pose)
    assert model.mirror(pose[..., :2]).tolist() == [[joint[:2] for joint in expected[0]]]
    assert LitLifter(nn.Identity(), left=[], right=[]).mirror(pose)[..., 1:].equal(pose[..., 1:])


@pytest.mark.parametrize("backbone", [SimpleBaseline, VideoPose3D, MixSTE])
def test_mirrors_whole_samples_of_the_training_batch(backbone):
    model = in_stage(LitLifter(tiny(backbone)), training=True)
    batch = batch_of(backbone)
    untouched = {name: value.clone() for name, value in batch.items()}
    mirrored = 0
    for _ in range(25):
        given = model.on_after_batch_transfer(batch, 0)
        target = given.get("target_sequence", given["target"])
        for sample in range(4):
            flip = not torch.equal(target[sample], batch["target"][sample])
            for name, value in (("keypoints_2d", given["keypoints_2d"]), ("target", target)):
                expected = model.mirror(batch[name][sample]) if flip else batch[name][sample]
                assert torch.equal(value[sample], expected)
            mirrored += flip
    assert 30 <= mirrored <= 70
    assert all(torch.equal(batch[name], value) for name, value in untouched.items())


@pytest.mark.parametrize(("training", "flip_augmentation"), [(False, True), (True, False)])
def test_mirrors_nothing_elsewhere(training, flip_augmentation):
    model = in_stage(LitLifter(tiny(MixSTE), flip_augmentation=flip_augmentation), training)
    batch = batch_of(MixSTE)
    for _ in range(10):
        given = model.on_after_batch_transfer(batch, 0)
        assert all(torch.equal(given[name], value) for name, value in batch.items())


@pytest.mark.parametrize("backbone", CENTRE)
def test_a_centre_frame_network_learns_the_centre_frame(backbone):
    model = in_stage(LitLifter(tiny(backbone), flip_augmentation=False), training=True)
    batch = batch_of(backbone)
    given = model.on_after_batch_transfer(batch, 0)
    assert torch.equal(given["target"], batch["target"][:, 4])
    given_centre = model.on_after_batch_transfer(batch | {"target": batch["target"][:, 4]}, 0)
    assert torch.equal(given_centre["target"], given["target"])
    assert "target_sequence" not in given_centre


@everyone
def test_keypoints_alone_are_enough_to_predict(backbone):
    model = in_stage(LitLifter(tiny(backbone)), training=False)
    assert list(model.on_after_batch_transfer({"keypoints_2d": torch.zeros(1)}, 0)) == ["keypoints_2d"]


@pytest.mark.parametrize("backbone", [SimpleBaseline, MixSTE])
def test_the_mask_is_mirrored_with_its_joints(backbone):
    """A joint is missing after mirroring where its partner was before."""
    model = in_stage(LitLifter(tiny(backbone)), training=True)
    batch = batch_of(backbone)
    partner = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]
    batch["visibility"] = torch.rand(batch["target"].shape[:-1]) > 0.3
    mirrored = 0
    for _ in range(25):
        given = model.on_after_batch_transfer(batch, 0)
        for sample in range(4):
            flip = not torch.equal(given["target"][sample], batch["target"][sample])
            expected = batch["visibility"][sample][..., partner] if flip else batch["visibility"][sample]
            assert torch.equal(given["visibility"][sample], expected)
            mirrored += flip
    assert 30 <= mirrored <= 70


def test_a_frame_without_visible_joints_stays_context():
    """Frames that an evaluation counts elsewhere are invisible as a whole, and the others are lifted in their light."""
    model = LitLifter(tiny(MixSTE), flip_test=False).eval()
    keypoints = batch_of(MixSTE)["keypoints_2d"]
    visibility = torch.ones(keypoints.shape[:-1], dtype=torch.bool)
    visibility[:, 0] = False
    assert torch.equal(model(keypoints, visibility), model(keypoints))
    broken = keypoints.clone()
    broken[:, 0, 3] = torch.nan
    assert model(broken, visibility).isfinite().all()
    visibility[:, 0, 1:] = True
    assert not torch.equal(model(keypoints, visibility), model(keypoints))


@pytest.mark.parametrize("of_the_window", [False, True])
def test_a_centre_frame_network_counts_the_joints_of_the_centre_frame(of_the_window):
    model = in_stage(LitLifter(tiny(VideoPose3D), flip_augmentation=False), training=False).eval()
    batch = batch_of(VideoPose3D)
    window = torch.rand(4, FRAMES, 17) > 0.3
    batch["visibility"] = window if of_the_window else window[:, 4]
    given = model.on_after_batch_transfer(batch, 0)
    shown = batch["keypoints_2d"] * window[..., None] if of_the_window else batch["keypoints_2d"]
    distance = (model(shown) - batch["target"][:, 4]).norm(dim=-1)
    torch.testing.assert_close(model._mean_joint_distance(given), distance[window[:, 4]].mean())


def test_the_sequence_head_of_pstmo_minds_the_mask():
    model = in_stage(LitLifter(tiny(PSTMO), flip_augmentation=False), training=True)
    batch = batch_of(PSTMO)
    batch["visibility"] = torch.rand(4, FRAMES, 17) > 0.3
    hidden = ~batch["visibility"][..., None]
    losses = []
    for filler in (0.0, float("nan")):
        torch.manual_seed(0)
        filled = batch | {name: batch[name].masked_fill(hidden, filler) for name in ("keypoints_2d", "target")}
        losses.append(model.training_step(model.on_after_batch_transfer(filled, 0), 0))
    assert torch.equal(*losses)
    assert losses[0].isfinite()


def test_the_loss_is_the_one_given():
    net = tiny(MixSTE)
    batch = batch_of(MixSTE)
    prediction = net(batch["keypoints_2d"])
    for loss, expected in ((None, MPJPE()), (VelocityLoss(), VelocityLoss())):
        model = in_stage(LitLifter(net, loss), training=True)
        torch.testing.assert_close(model.training_step(batch, 0), expected(prediction, batch["target"]))


def test_the_sequence_head_of_pstmo_learns_too():
    model = in_stage(LitLifter(tiny(PSTMO), flip_augmentation=False), training=True)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        elif isinstance(module, SelfAttention):
            module.dropout = 0.0
    batch = batch_of(PSTMO)
    pose = model.net(batch["keypoints_2d"])
    sequence = model.net.pop_sequence()
    loss = model.training_step(model.on_after_batch_transfer(batch, 0), 0)
    expected = MPJPE()(pose, batch["target"][:, 4]) + MPJPE()(sequence, batch["target"])
    torch.testing.assert_close(loss, expected)
    assert model.net.pop_sequence() is None


def test_the_sequence_head_of_pstmo_asks_for_all_frames(make_trainer):
    loader = loader_for(PSTMO, centre_target=True)
    with pytest.raises(ValueError, match=r"Expected `target` to hold all 9 frames .* but got \(2, 17, 3\)"):
        make_trainer(fast_dev_run=True).fit(LitLifter(tiny(PSTMO)), loader)
    make_trainer(fast_dev_run=True).fit(LitLifter(tiny(PSTMO, sequence_head=False)), loader)


@pytest.mark.parametrize("backbone", FRAME)
def test_a_single_frame_network_lifts_windows_frame_by_frame(backbone):
    model = LitLifter(tiny(backbone)).eval()
    window = torch.randn(2, 3, 17, 2)
    poses = model(window)
    assert poses.shape == (2, 3, 17, 3)
    torch.testing.assert_close(poses[:, 1], model(window[:, 1]))


@everyone
def test_a_network_without_confidence_leaves_it_out(backbone):
    model = LitLifter(tiny(backbone, channels=2)).eval()
    keypoints = batch_of(backbone, channels=3)["keypoints_2d"]
    assert torch.equal(model(keypoints), model(keypoints[..., :2]))


@pytest.mark.parametrize(("interval", "expected"), [("epoch", [1.0, 0.5]), ("step", [1.0, 0.25])])
def test_schedule_goes_on_with_epochs_or_steps(interval, expected, make_trainer):
    rates = []

    class Record(LitLifter):
        def on_train_epoch_start(self):
            rates.append(self.optimizers().param_groups[0]["lr"])

    model = Record(
        tiny(SimpleBaseline),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1.0),
        lr_scheduler=lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        lr_interval=interval,
    )
    make_trainer().fit(model, loader_for(SimpleBaseline))
    assert rates == expected
