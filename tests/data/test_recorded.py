"""Recordings, their dataset and the data module that benchmarks are made from."""

import lightning as L
import numpy as np
import pytest
import torch

from seal_lightning.data.datamodules.recorded import RecordedDataModule, RecordedDataset, Recording, ShareSampler
from seal_lightning.skeleton import get_skeleton

COCO = get_skeleton("coco17")  # two root joints, 11 and 12
PARTNER = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15)


def recording(frames=10, seed=0, channels=2, **options):
    random = np.random.default_rng(seed)
    keypoints = random.uniform(-1.0, 1.0, size=(frames, 17, channels)).astype(np.float32)
    target = random.normal(scale=300.0, size=(frames, 17, 3)).astype(np.float32) + np.float32([0.0, 0.0, 4000.0])
    options = {"group": "mine/anna", "action": "walking", "fps": 50.0} | options
    return Recording(keypoints, options.pop("target", target), **options)


def dataset(*recordings, **options):
    defaults = {"frames": 1, "step": 1, "centre_target": False, "confidence": False, "scale": 1.0, "evaluation": True}
    names = {"group_names": ["mine/anna", "mine/bob"], "action_names": ["sitting", "walking"]}
    return RecordedDataset(list(recordings), COCO, **defaults | names | options)


class Data(RecordedDataModule):
    def __init__(self, sides=None, **options):
        super().__init__(skeleton="coco17", **options)
        self.asked = []
        self.sides = sides or {
            "train": [recording(40, seed=1), recording(30, seed=2, group="mine/bob")],
            "val": [recording(20, seed=3, group="mine/carl", action="sitting")],
            "test": [recording(25, seed=4, group="mine/dora", action="jumping")],
        }

    def recordings(self, side):
        self.asked.append(side)
        return self.sides[side]


def relative(target, visible=None):
    """The pose about the mean of its visible hips, in plain loops."""
    result = np.zeros_like(target, dtype=np.float64)
    for index in np.ndindex(target.shape[:-2]):
        seen = np.ones(17, bool) if visible is None else visible[index]
        hips = [target[index][joint].astype(np.float64) for joint in (11, 12) if seen[joint]]
        for joint in range(17):
            if seen[joint] and hips:
                result[index][joint] = target[index][joint] - sum(hips) / len(hips)
    return result


def test_single_frames_are_about_the_root_and_in_the_unit():
    first, second = recording(4, seed=1), recording(3, seed=2, group="mine/bob", action="sitting")
    batch = dataset(first, second, scale=1e-3).__getitems__([0, 3, 4, 6])
    assert set(batch) == {"keypoints_2d", "target", "group", "action"}
    wanted = [first.target[[0, 3]], second.target[[0, 2]]]
    np.testing.assert_allclose(batch["target"], relative(np.concatenate(wanted)) / 1000.0, atol=1e-6)
    keypoints = np.concatenate([first.keypoints_2d[[0, 3]], second.keypoints_2d[[0, 2]]])
    np.testing.assert_array_equal(batch["keypoints_2d"], keypoints)
    assert (batch["group"].tolist(), batch["action"].tolist()) == ([0, 0, 1, 1], [1, 1, 0, 0])
    assert all(value.dtype == torch.float32 for value in (batch["keypoints_2d"], batch["target"]))


def test_one_sample_is_a_row_of_a_batch():
    data = dataset(recording(6), frames=3, centre_target=True)
    batch = data.__getitems__([2, 5])
    assert all(torch.equal(data[5][name], batch[name][1]) for name in batch)
    for index in (-1, 6):
        with pytest.raises(IndexError, match="from 0 to 5"):
            data[index]


def test_centred_windows_repeat_the_ends():
    clip = recording(4)
    data = dataset(clip, frames=5, centre_target=True)
    batch = data.__getitems__(range(len(data)))
    frames = [[0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [0, 1, 2, 3, 3], [1, 2, 3, 3, 3]]
    np.testing.assert_array_equal(batch["keypoints_2d"], clip.keypoints_2d[frames])
    np.testing.assert_allclose(batch["target"], relative(clip.target), atol=1e-3)
    assert "visibility" not in batch


@pytest.mark.parametrize(("length", "step"), [(10, 4), (8, 4), (3, 4), (10, 3), (11, 1), (12, 6)])
def test_evaluation_counts_every_frame_of_a_sequence_once(length, step):
    clip = recording(length)
    data = dataset(clip, frames=4, step=step)
    batch = data.__getitems__(range(len(data)))
    shown = batch.get("visibility", torch.ones(batch["target"].shape[:-1], dtype=torch.bool)).all(-1).flatten(0, 1)
    poses = batch["target"].flatten(0, 1)[shown].double().numpy()
    wanted = relative(clip.target)
    covered = [frame for frame in range(length) if step <= 4 or frame % step < 4]
    np.testing.assert_allclose(poses, wanted[covered], atol=1e-3)


def test_sequences_carry_unscored_frames_as_invisible_in_evaluation_alone():
    scored = np.array([True, True, False, True, True, True, False, False])
    clip = recording(8, scored=scored)
    batch = dataset(clip, frames=4, step=4).__getitems__([0, 1])
    np.testing.assert_array_equal(batch["visibility"].all(-1).flatten(), scored)
    np.testing.assert_array_equal(batch["visibility"].any(-1).flatten(), scored)
    np.testing.assert_array_equal(batch["keypoints_2d"].flatten(0, 1), clip.keypoints_2d)
    assert "visibility" not in dataset(clip, frames=4, step=4, evaluation=False).__getitems__([0, 1])


def test_single_samples_leave_unscored_frames_out_in_evaluation_alone():
    scored = np.array([False, True, True, False, True])
    clip = recording(5, scored=scored)
    for options in ({}, {"frames": 3, "centre_target": True}):
        data = dataset(clip, **options)
        batch = data.__getitems__(range(len(data)))
        np.testing.assert_allclose(batch["target"], relative(clip.target[scored]), atol=1e-3)
        assert len(dataset(clip, evaluation=False, **options)) == 5
    assert len(dataset(clip, step=2)) == 2  # of frames 0, 2 and 4


def test_invisible_joints_are_zero_and_never_make_the_root():
    visible = np.ones((5, 17), dtype=bool)
    visible[0, 11] = visible[1, [3, 12]] = visible[2, [11, 12]] = False
    clip = recording(5)
    target, keypoints = clip.target.copy(), clip.keypoints_2d.copy()
    target[~visible], keypoints[~visible] = np.nan, np.nan
    clip = Recording(keypoints, target, "mine/anna", "walking", visibility=visible)
    data = dataset(clip)
    assert len(data) == 4  # frame 2 has no root
    batch = data.__getitems__(range(4))
    kept = [0, 1, 3, 4]
    np.testing.assert_allclose(batch["target"], relative(target[kept], visible[kept]), atol=1e-3)
    np.testing.assert_array_equal(batch["visibility"], visible[kept])
    assert (batch["keypoints_2d"][~batch["visibility"]] == 0).all()
    window = dataset(clip, frames=5, step=5).__getitems__([0])
    assert not window["visibility"][0, 2].any()
    assert (window["target"][0, 2] == 0).all()
    np.testing.assert_array_equal(window["keypoints_2d"][0, 2, [0, 1]], keypoints[2, [0, 1]])


def test_confidence_is_the_recordings_own_or_one():
    with_it, without = recording(3, channels=3), recording(3, channels=2)
    batch = dataset(with_it, without, confidence=True).__getitems__(range(6))
    np.testing.assert_array_equal(batch["keypoints_2d"][:3], with_it.keypoints_2d)
    assert (batch["keypoints_2d"][3:, :, 2] == 1).all()
    assert dataset(with_it).__getitems__([0])["keypoints_2d"].shape == (1, 17, 2)


def test_flip_mirrors_half_of_the_samples_anew_in_every_draw():
    visible = np.ones((400, 17), dtype=bool)
    visible[:, 9] = False
    clip = recording(400, channels=3, visibility=visible)
    options = {"confidence": True, "evaluation": False, "frames": 3, "centre_target": True}
    plain = dataset(clip, **options).__getitems__(range(400))
    flipped, again = (dataset(clip, flip=True, **options).__getitems__(range(400)) for _ in range(2))
    assert all(torch.equal(flipped[name], again[name]) for name in flipped)
    mirrored = ~flipped["visibility"][:, 10]
    assert 150 < mirrored.sum() < 250
    for name, sign in (("keypoints_2d", [-1, 1, 1]), ("target", [-1, 1, 1])):
        wanted = plain[name][mirrored][..., list(PARTNER), :] * torch.tensor(sign)
        assert torch.equal(flipped[name][mirrored], wanted)
        assert torch.equal(flipped[name][~mirrored], plain[name][~mirrored])
    later = dataset(clip, flip=True, **options).__getitems__(range(400, 800))
    assert 100 < (mirrored != ~later["visibility"][:, 10]).sum() < 300


def test_memory_maps_stay_on_disk(tmp_path):
    clip = recording(20)
    for name in ("keypoints_2d", "target"):
        np.save(tmp_path / f"{name}.npy", getattr(clip, name))
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("keypoints_2d", "target")]
    mapped = Recording(*maps, "mine/anna", "walking", 50.0)
    data, plain = dataset(mapped, frames=4, step=4), dataset(clip, frames=4, step=4)
    assert isinstance(data.recordings[0].target, np.memmap)
    assert torch.equal(data.__getitems__([1, 3])["target"], plain.__getitems__([1, 3])["target"])


def test_resampling_goes_by_time_and_keeps_masks_strict():
    visible, scored = np.ones((7, 17), dtype=bool), np.ones(7, dtype=bool)
    visible[2, 5] = scored[4] = False
    clip = recording(7, fps=30.0, visibility=visible, scored=scored)
    moved = clip.resampled(25.0)
    moments = np.arange(6) * 30.0 / 25.0  # 0, 1.2, 2.4, 3.6, 4.8, 6
    before = np.floor(moments + 1e-9).astype(int).clip(max=5)
    share = (moments - before)[:, None, None]
    wanted = clip.target[before] * (1 - share) + clip.target[before + 1] * share
    np.testing.assert_allclose(moved.target[moved.visibility], wanted[moved.visibility], atol=1e-2)
    assert moved.visibility[:, 5].tolist() == [True, False, False, True, True, True]
    assert moved.scored.tolist() == [True, True, True, False, False, True]
    assert (moved.fps, clip.resampled(30.0)) == (25.0, clip)
    with pytest.raises(ValueError, match="Expected no `rate` for mine/anna 'walking', whose frames per second"):
        recording(7, fps=None).resampled(25.0)


ARRAYS = {"keypoints_2d": np.zeros((4, 17, 2)), "target": np.zeros((4, 17, 3)), "group": "a/b", "action": "x"}
NAN = np.full((4, 17, 3), np.nan)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"keypoints_2d": np.zeros((4, 17))}, ValueError, r"`keypoints_2d` to be \(T, J, 2\) or \(T, J, 3\)"),
        ({"keypoints_2d": np.zeros((0, 17, 2))}, ValueError, "not empty, but got"),
        ({"target": np.zeros((5, 17, 3))}, ValueError, r"`target` to be \(4, 17, 3\) to go with `keypoints_2d`"),
        ({"visibility": np.ones((4, 16), bool)}, ValueError, r"`visibility` to be \(4, 17\)"),
        ({"scored": np.ones(3, bool)}, ValueError, r"`scored` to be \(4,\)"),
        ({"scored": np.ones(4)}, TypeError, "`scored` to hold booleans, but got float64"),
        ({"keypoints_2d": np.zeros((4, 17, 2), int)}, TypeError, "`keypoints_2d` to hold floating-point numbers"),
        ({"fps": 0.0}, ValueError, "`fps` to be positive, but got 0.0"),
        ({"target": NAN}, ValueError, "`target` to be finite where joints are visible, but 68 values"),
    ],
)
def test_recording_refuses(changes, error, text):
    with pytest.raises(error, match=text):
        Recording(**ARRAYS | changes)


@pytest.mark.parametrize(
    ("recordings", "text"),
    [
        ([recording(), recording(target=None)], "Expected all recordings of a side to have a target, or none"),
        ([Recording(np.zeros((2, 5, 2)), None, "mine/anna", "walking")], "recordings of 17 joints, but got one of 5"),
        ([recording(3, scored=np.zeros(3, bool))], "at least one frame with a visible root that is scored"),
    ],
)
def test_dataset_refuses(recordings, text):
    with pytest.raises(ValueError, match=text):
        dataset(*recordings)


def test_without_truth_there_is_no_target():
    batch = dataset(recording(target=None)).__getitems__([0, 1])
    assert set(batch) == {"keypoints_2d", "group", "action"}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"unit": "cm"}, "`unit` to be 'm' or 'mm', but got 'cm'"),
        ({"centre_target": True}, "`frames` above 1 with `centre_target`"),
        ({"batch_size": 0}, "`batch_size` to be 1 or more, but got 0"),
        ({"eval_frame_step": 0}, "`eval_frame_step` to be 1 or more"),
        ({"rate": 0.0}, "`rate` to be positive, but got 0.0"),
        ({"seed": -1}, "`seed` to be 0 or more, but got -1"),
    ],
)
def test_module_refuses(options, text):
    with pytest.raises(ValueError, match=text):
        Data(**options)


def test_module_refuses_metres():
    clip = recording()
    with pytest.raises(
        ValueError, match="Expected targets of mine/anna 'walking' in millimetres, with limb bones of 50 to 1000"
    ):
        Data({"train": [recording(target=clip.target / 1000)]}).setup("fit")


def test_module_names_what_all_sides_have():
    data = Data()
    assert data.group_names == ["mine/anna", "mine/bob", "mine/carl", "mine/dora"]
    assert data.action_names == ["jumping", "sitting", "walking"]
    batch = next(iter(data.test_dataloader()))
    assert (batch["group"].unique().tolist(), batch["action"].unique().tolist()) == ([3], [0])
    assert sorted(data.asked) == ["test", "train", "val"]  # each side once


def test_training_order_goes_by_seed_and_epoch_alone():
    def epoch(seed, number, **options):
        loader = Data(seed=seed, batch_size=16, **options).train_dataloader()
        loader.sampler.set_epoch(number)
        return torch.cat([batch["target"] for batch in loader])

    torch.manual_seed(0)
    first = epoch(0, 0)
    torch.rand(3)
    assert torch.equal(first, epoch(0, 0))
    assert first.shape == (64, 17, 3)  # of 70 samples, the last 6 make no batch
    assert not torch.equal(first, epoch(0, 1))
    assert not torch.equal(first, epoch(1, 0))
    assert torch.equal(first, epoch(0, 0, num_workers=1))
    assert len(epoch(0, 0, samples_per_epoch=32)) == 32


def test_evaluation_ignores_seed_batch_size_and_flip():
    wanted = torch.cat([batch["target"] for batch in Data().test_dataloader()])
    other = torch.cat([batch["target"] for batch in Data(seed=3, batch_size=4, flip=True).test_dataloader()])
    assert torch.equal(wanted, other)
    assert torch.equal(wanted, torch.cat([batch["target"] for batch in Data().predict_dataloader()]))


def test_windows_are_resampled_and_frames_are_not():
    assert len(Data(rate=25.0).dataset("test")) == 25
    assert Data(rate=25.0, frames=13).dataset("test").recordings[0].target.shape == (13, 17, 3)


def test_units_differ_by_a_thousand():
    metres, millimetres = (next(iter(Data(unit=unit).test_dataloader()))["target"] for unit in ("m", "mm"))
    torch.testing.assert_close(metres * 1000, millimetres)


def test_missing_sides(make_trainer):
    data = Data({"train": [recording(40)], "val": [], "test": []}, batch_size=8)
    with pytest.raises(ValueError, match="Expected recordings for the side 'test', but there are none"):
        data.test_dataloader()
    data.setup()
    assert data.val_dataloader() == []
    host = Host()
    make_trainer(max_epochs=1, max_steps=3).fit(host, data)
    assert (host.steps, host.validated) == (3, 0)


class Host(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(34, 51)
        self.steps = self.validated = 0

    def training_step(self, batch, index):
        self.steps += 1
        return (self.net(batch["keypoints_2d"].flatten(1)) - batch["target"].flatten(1)).abs().mean()

    def validation_step(self, batch, index):
        self.validated += len(batch["target"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def test_trainer_reshuffles_and_validates_all(make_trainer):
    host = Host()
    make_trainer(max_epochs=2, num_sanity_val_steps=0).fit(host, Data(batch_size=16))
    assert (host.steps, host.validated) == (8, 40)


@pytest.mark.parametrize(("size", "ranks"), [(10, 3), (9, 3), (2, 3)])
def test_shares_hold_every_sample_once(size, ranks):
    samplers = [ShareSampler(list(range(size)), ranks, rank) for rank in range(ranks)]
    shares = [list(sampler) for sampler in samplers]
    assert sorted(index for share in shares for index in share) == list(range(size))
    assert [len(sampler) for sampler in samplers] == [len(share) for share in shares]


class Ranks:
    world_size, global_rank = 2, 1


def test_a_rank_trains_and_tests_on_its_share():
    alone, second = Data(batch_size=16), Data(batch_size=16)
    second.trainer = Ranks()
    whole = torch.cat([batch["target"] for batch in alone.test_dataloader()])
    assert torch.equal(torch.cat([batch["target"] for batch in second.test_dataloader()]), whole[1::2])
    first = next(iter(Data(batch_size=32).train_dataloader()))["target"]
    assert torch.equal(next(iter(second.train_dataloader()))["target"], first[1::2])
