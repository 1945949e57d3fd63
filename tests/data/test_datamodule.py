"""The data module with its loaders, a Trainer and the command line."""

import json
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.cli import LightningCLI

from seal_lightning.data import CameraRig, DetectorNoise, MocapDataModule, SyntheticMocap
from seal_lightning.data.views.robustness import KeypointCorruption
from seal_lightning.functional import bone_lengths
from seal_lightning.skeleton import get_skeleton

DATA = Path(__file__).resolve().parents[2] / "../shared/data"
SMALL = SyntheticMocap(subjects=3, clips_per_subject=3, frames=20)
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)


def module(**options):
    return MocapDataModule(**{"synthetic": SMALL, "batch_size": 16, "noise": DetectorNoise()} | options)


def batches(loader):
    return [{name: value.clone() for name, value in batch.items()} for batch in loader]


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


class TinyHost(L.LightningModule):
    def __init__(self, width: int = 8):
        super().__init__()
        self.net = torch.nn.Linear(34, 51)
        self.seen = []

    def training_step(self, batch, index):
        self.seen.append({name: value.clone() for name, value in batch.items()})
        prediction = self.net(batch["keypoints_2d"].flatten(1)).reshape(-1, 17, 3)
        return (prediction - batch["target"]).norm(dim=-1).mean()

    def validation_step(self, batch, index):
        self.log("val", (self.net(batch["keypoints_2d"].flatten(1)).reshape(-1, 17, 3) - batch["target"]).norm())

    test_step = validation_step

    def predict_step(self, batch, index):
        return batch["group"]

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def trainer(tmp_path, **options):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    return L.Trainer(accelerator="cpu", default_root_dir=tmp_path, enable_model_summary=False, **quiet | options)


def test_same_seed_same_data_whatever_the_global_state():
    torch.manual_seed(0)
    first = batches(module(seed=4).train_dataloader())
    torch.manual_seed(99)
    torch.rand(7)
    assert_same(first, batches(module(seed=4).train_dataloader()))
    other = batches(module(seed=5).train_dataloader())
    assert not torch.isclose(first[0]["keypoints_2d"], other[0]["keypoints_2d"]).any()


def test_evaluation_is_the_same_for_every_seed_and_batch_size():
    for side in ("val", "test"):
        first = batches(getattr(module(seed=0), f"{side}_dataloader")())
        again = batches(getattr(module(seed=7), f"{side}_dataloader")())
        assert_same(first, again)
        small = batches(getattr(module(batch_size=5), f"{side}_dataloader")())
        for name in ("keypoints_2d", "target", "group"):
            assert torch.equal(torch.cat([b[name] for b in first]), torch.cat([b[name] for b in small]))


def test_global_random_state_is_untouched():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data = module()
    data.setup()
    for loader in (data.train_dataloader(), data.val_dataloader(), data.predict_dataloader()):
        batches(loader)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(numpy_before, np.random.get_state()[1])  # noqa: NPY002


def test_workers_give_the_same_batches():
    alone, helped = module(), module(num_workers=2)
    assert_same(batches(alone.test_dataloader()), batches(helped.test_dataloader()))
    loaders = alone.train_dataloader(), helped.train_dataloader()
    for epoch in (0, 1):  # the workers persist from the first epoch to the second
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        assert_same(*(batches(loader) for loader in loaders))


def test_incomplete_batches():
    data = module(batch_size=50)
    assert [len(b["group"]) for b in data.train_dataloader()] == [50]
    assert sum(len(b["group"]) for b in data.val_dataloader()) == 240
    assert [len(b["group"]) for b in module(batch_size=500).train_dataloader()] == [60]
    assert [len(b["group"]) for b in module(samples_per_epoch=40).train_dataloader()] == [16, 16]


def focal_lengths(dataset):
    """Focal lengths in pixels that explain clean samples, by least squares."""
    batch = dataset.__getitems__(list(range(0, len(dataset), 9)))
    found = []
    for keypoints, target in zip(batch["keypoints_2d"].double().numpy(), batch["target"].double().numpy(), strict=True):
        rows = np.array(
            [row for (u, v), (x, y, _) in zip(keypoints, target, strict=True) for row in ([x, 1, 0, -u], [y, 0, 1, -v])]
        )
        sides = np.array([c * z for point, (_, _, z) in zip(keypoints, target, strict=True) for c in point])
        found.append(500 * np.linalg.lstsq(rows, sides, rcond=None)[0][0])
    return np.array(found)


def test_cameras_of_training_and_evaluation():
    long, short = CameraRig(focal=(1790.0, 1810.0)), CameraRig(focal=(795.0, 805.0))
    for options, training, evaluation in (
        ({}, (1100, 1190), (1100, 1190)),
        ({"cameras": long}, (1790, 1810), (1790, 1810)),
        ({"eval_cameras": long}, (1100, 1190), (1790, 1810)),
        ({"cameras": short, "eval_cameras": long}, (795, 805), (1790, 1810)),
    ):
        data = module(noise=None, **options)
        for side, (low, high) in (("train", training), ("val", evaluation), ("test", evaluation)):
            focal = focal_lengths(data.dataset(side))
            assert 0.98 * low < focal.min() < focal.max() < 1.02 * high


def test_noise_of_training_and_evaluation():
    loud = DetectorNoise(scale=0.05)
    plain, other, noiseless = module(), module(eval_noise=loud), module(noise=None, eval_noise=loud)
    indices = list(range(30))
    for side in ("train", "val", "test"):
        ours, theirs = (data.dataset(side).__getitems__(indices)["keypoints_2d"] for data in (plain, other))
        assert torch.equal(ours, theirs) == (side == "train")
    clean = module(noise=None).dataset("train").__getitems__(indices)["keypoints_2d"]
    assert torch.equal(noiseless.dataset("train").__getitems__(indices)["keypoints_2d"], clean)
    everywhere = module(noise=loud).dataset("test").__getitems__(indices)["keypoints_2d"]
    assert torch.equal(noiseless.dataset("test").__getitems__(indices)["keypoints_2d"], everywhere)


def test_setup_is_idempotent_and_lazy():
    data = module()
    data.setup("test")
    assert set(data._datasets) == {"test"}
    dataset = data.dataset("test")
    data.setup("fit")
    data.setup()
    assert set(data._datasets) == {"train", "val", "test"}
    assert data.dataset("test") is dataset
    assert (data.skeleton.num_joints, data.unit) == (17, "m")
    assert data.group_names == ["synthetic/y01", "synthetic/y02", "synthetic/y03"]
    assert next(iter(data.test_dataloader()))["group"].unique().tolist() == [2]


def test_trainer_runs_every_stage(tmp_path):
    runner, host, data = trainer(tmp_path, fast_dev_run=True), TinyHost(), module()
    runner.fit(host, data)
    runner.validate(host, data)
    runner.test(host, data)
    assert runner.predict(host, data)[0].unique().tolist() == [2]
    assert host.seen[0]["keypoints_2d"].shape == (16, 17, 2)


def test_two_trainings_see_identical_data(tmp_path):
    seen = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        host = TinyHost()
        trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(host, module())
        seen.append(host.seen)
    assert len(seen[0]) == 6
    assert_same(*seen)
    assert not torch.isclose(seen[0][0]["keypoints_2d"], seen[0][3]["keypoints_2d"]).any()


def test_a_resumed_training_sees_what_an_uninterrupted_one_does(tmp_path):
    whole, first, second = TinyHost(), TinyHost(), TinyHost()
    trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(whole, module())
    runner = trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    runner.fit(first, module())
    runner.save_checkpoint(tmp_path / "half.ckpt")
    trainer(tmp_path, max_epochs=2, limit_val_batches=0).fit(second, module(), ckpt_path=tmp_path / "half.ckpt")
    assert_same(whole.seen, first.seen + second.seen)


@pytest.mark.filterwarnings("ignore:.*overfit_batches.*", "ignore:You requested to overfit")
def test_overfitting_replaces_the_sampler(tmp_path):
    host = TinyHost()
    trainer(tmp_path, max_epochs=2, overfit_batches=1).fit(host, module())
    assert_same(host.seen[:1], host.seen[1:])


def test_command_line_from_yaml(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["program"])
    config = tmp_path / "config.yaml"
    config.write_text(
        """
model:
  width: 8
data:
  class_path: seal_lightning.data.MocapDataModule
  init_args:
    synthetic: {subjects: 4, clips_per_subject: 1, frames: 12, seed: 2}
    split: {train: [y01, y02], val: [y03], test: [y04]}
    noise:
      scale: 0.02
      joint_scales: {wrist: 3.0}
    confidence: true
    train_cameras: fixed
    eval_noise: {scale: 0.03}
    eval_corruption: {occlusion: severe}
    eval_cameras: {focal: [1700.0, 1800.0], aim: 0.1}
    unit: mm
    batch_size: 4
trainer: {accelerator: cpu, fast_dev_run: true, enable_progress_bar: false, logger: false}
"""
    )
    cli = LightningCLI(
        TinyHost,
        MocapDataModule,
        subclass_mode_data=True,
        run=False,
        save_config_callback=None,
        args=[
            *("--config", str(config), "--data.init_args.noise.tail", "5"),
            *("--data.init_args.eval_corruption.swap", "mild"),
        ],
    )
    data = cli.datamodule
    assert data.noise == DetectorNoise(scale=0.02, tail=5.0, joint_scales={"wrist": 3.0})
    assert data.eval_noise == DetectorNoise(scale=0.03)
    assert data.eval_corruption == KeypointCorruption(occlusion="severe", swap="mild")
    assert data.eval_cameras == CameraRig(focal=(1700.0, 1800.0), aim=0.1)
    assert data.corruption is data.cameras is None
    assert data.synthetic == SyntheticMocap(subjects=4, clips_per_subject=1, frames=12, seed=2)
    assert data.groups["train"] == ["synthetic/y01", "synthetic/y02"]
    batch = next(iter(data.train_dataloader()))
    assert batch["keypoints_2d"].shape == (4, 17, 3)

    printed = cli.parser.parse_string(cli.parser.dump(cli.config))
    assert printed.data.init_args.noise.tail == 5.0


def test_command_line_flags(monkeypatch):
    monkeypatch.setattr("sys.argv", ["program"])
    arguments = ["--data.frames", "9", "--data.split", json.dumps({"train": ["y01"]}), "--data.paths", "[a.npz,b.npz]"]
    cli = LightningCLI(TinyHost, MocapDataModule, run=False, save_config_callback=None, args=arguments)
    assert cli.datamodule.frames == 9
    assert cli.datamodule.split == {"train": ["y01"]}
    assert cli.datamodule.paths == ["a.npz", "b.npz"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": "a.npz"}, r"Expected `paths` to be a list of at least one file, or None, but got 'a\.npz'\."),
        ({"paths": []}, r"Expected `paths` to be a list of at least one file, or None, but got \[\]\."),
        (
            {"skeleton": "coco17"},
            r"Expected `paths` for a `skeleton` that is not 'h36m17', but got None and 'coco17'\.",
        ),
        ({"paths": ["a"], "synthetic": SMALL}, r"Expected either `paths` or `synthetic`, but got both\."),
        ({"unit": "cm"}, r"Expected `unit` to be 'm' or 'mm', but got 'cm'\."),
        ({"train_cameras": "own"}, r"Expected `train_cameras` to be 'random' or 'fixed', but got 'own'\."),
        ({"centre_target": True}, r"Expected `frames` above 1 with `centre_target`, but got 1\."),
        ({"frames": 0}, r"Expected `frames` to be 1 or more, but got 0\."),
        ({"batch_size": 0}, r"Expected `batch_size` to be 1 or more, but got 0\."),
        ({"train_frame_step": 0}, r"Expected `train_frame_step` to be 1 or more, but got 0\."),
        ({"eval_frame_step": 0}, r"Expected `eval_frame_step` to be 1 or more, but got 0\."),
        ({"eval_cameras_per_clip": 0}, r"Expected `eval_cameras_per_clip` to be 1 or more, but got 0\."),
        ({"samples_per_epoch": -1}, r"Expected `samples_per_epoch` to be 1 or more, but got -1\."),
        ({"rate": 0.0}, r"Expected `rate` to be positive, but got 0\.0\."),
        ({"seed": -1}, r"Expected `seed` to be 0 or more, but got -1\."),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        MocapDataModule(**options)


def save(path, mocap):
    arrays = ("positions", "clip_start", "clip_length", "skeleton_id")
    np.savez(path, fps=mocap.fps, **{name: getattr(mocap, name) for name in arrays})
    return str(path)


def test_a_missing_file_and_a_repeated_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent_h36m17\.npz', but there is none; docs/data\.md says"):
        MocapDataModule(["absent_h36m17.npz"]).setup("fit")
    mocap = SMALL.generate()
    paths = [save(tmp_path / f"mine_{part}.npz", mocap) for part in "ab"]
    with pytest.raises(ValueError, match=r"differ in name before the first `_`, but got \['mine', 'mine'\]\."):
        MocapDataModule(paths).setup("fit")
    data = MocapDataModule(paths[:1], split={"train": ["y01"], "val": ["y02"], "test": ["y03"]})
    data.setup()
    assert data.group_names == ["mine/y01", "mine/y02", "mine/y03"]


def test_a_clip_keeps_its_cameras_whatever_stands_beside_it(tmp_path):
    first, second = (save(tmp_path / f"{name}.npz", SMALL.generate()) for name in ("one", "two"))
    split = {"train": ["y01"], "test": ["y03", "y02"]}
    alone, joined, turned = (
        batches(MocapDataModule(paths, split=split, batch_size=240, noise=DetectorNoise()).test_dataloader())
        for paths in ([second], [first, second], [second, first])
    )
    # Clips come in the order of the files: 6 clips of 20 frames and 4 cameras each.
    for name in ("keypoints_2d", "target"):
        of_second = torch.cat([b[name] for b in alone])
        assert torch.equal(of_second, torch.cat([b[name] for b in joined])[480:])
        assert torch.equal(of_second, torch.cat([b[name] for b in turned])[:480])
        assert not torch.isclose(of_second, torch.cat([b[name] for b in joined])[:480])[:, 1:].all(dim=-1).any()


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the real motion capture in ../shared/data")
def test_real_data_have_the_asymmetry_they_are_known_for():
    """UI-PRMD's true left and right bones differ by 5 to 16 mm by subject, some CMU skeletons' by about 3 mm."""
    data = MocapDataModule([str(DATA / f"{name}_h36m17.npz") for name in ("uiprmd", "cmu")], unit="mm")
    data.setup()
    asymmetry = {}
    for side in ("train", "val", "test"):
        dataset = data.dataset(side)
        chosen = dataset.__getitems__(list(range(0, len(dataset), 25)))
        target, group = chosen["target"].double().numpy(), chosen["group"].numpy()
        bones = {j: np.linalg.norm(target[:, j] - target[:, PARENTS[j]], axis=-1) for j in range(1, 17)}
        pairs = ((1, 4), (2, 5), (3, 6), (14, 11), (15, 12), (16, 13))
        error = np.mean([np.abs(bones[right] - bones[left]) for right, left in pairs], axis=0)
        asymmetry |= {data.group_names[g]: error[group == g].mean() for g in np.unique(group)}
        keypoints = chosen["keypoints_2d"]
        assert (keypoints.abs() > 1.0).float().mean() < 1e-3  # the subject is in the picture
        size = (keypoints.amax(dim=1) - keypoints.amin(dim=1)).amax(dim=-1)
        assert 0.5 < size.median() < 1.0
    uiprmd = [value for name, value in asymmetry.items() if name.startswith("uiprmd")]
    assert len(uiprmd) == 8
    assert min(uiprmd) > 4.5
    assert max(uiprmd) < 16.5
    assert min(value for name, value in asymmetry.items() if name.startswith("cmu")) < 4.0


def test_other_skeletons(tmp_path):
    """A file of another skeleton is cut, projected and aligned like any other."""
    skeleton = get_skeleton("plug_in_gait39")
    start = torch.randn(39, 3, generator=torch.Generator().manual_seed(0)).numpy() * 200 + 1000
    np.savez(
        tmp_path / "mine.npz",
        positions=start + np.arange(20)[:, None, None],
        clip_start=np.array([0, 10]),
        clip_length=np.array([10, 10]),
        subject=np.array(["a", "b"]),
        fps=25.0,
    )
    split = {"train": ["a"], "val": ["b"]}
    data = MocapDataModule([str(tmp_path / "mine.npz")], split=split, batch_size=4, skeleton="plug_in_gait39")
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["keypoints_2d"].shape == (4, 39, 2)
    assert torch.equal(batch["target"][:, skeleton.root_joints], torch.zeros(4, 1, 3))
    lengths = bone_lengths(torch.from_numpy(start), skeleton) / 1000
    torch.testing.assert_close(bone_lengths(batch["target"], skeleton), lengths.float().expand(4, -1))
