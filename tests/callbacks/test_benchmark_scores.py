"""The tables of the benchmarks against loops over their definitions."""

import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn

from seal_lightning import SealBatch, SealConfig, SealMixin
from seal_lightning.callbacks.benchmark_scores import BenchmarkScores, format_scores
from seal_lightning.cli import main
from seal_lightning.data import MocapDataModule, SyntheticMocap
from seal_lightning.data.datamodules.h3wb import H3WBDataModule
from seal_lightning.data.datamodules.human36m import Human36MDataModule
from seal_lightning.data.datamodules.mpi_inf_3dhp import MPIINF3DHPDataModule
from seal_lightning.data.formats.object_arrays import read_object
from tests.data.miniature import as_object, write_h3wb, write_human36m, write_mpi_inf_3dhp

SKELETONS = {Human36MDataModule: "h36m17", MPIINF3DHPDataModule: "mpi_inf_3dhp17", H3WBDataModule: "h3wb133"}


class Host(L.LightningModule):
    """Lifts every frame by one linear layer, and remembers what it was asked and what it said."""

    def __init__(self, joints: int = 17, scale: float = 0.3):
        super().__init__()
        self.net = nn.Linear(2 * joints, 3 * joints)
        self.scale = scale
        self.said = []

    def forward(self, keypoints):
        return self.scale * self.net(keypoints.flatten(-2)).unflatten(-1, (-1, 3))

    def training_step(self, batch, batch_idx):
        return (self(batch["keypoints_2d"]) - batch["target"]).norm(dim=-1).mean()

    def test_step(self, batch, batch_idx):
        pose = self(batch["keypoints_2d"])
        self.said.append((pose.detach().clone(), {name: value.clone() for name, value in batch.items()}))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SealHost(SealMixin, Host):
    pass


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    writers = {Human36MDataModule: write_human36m, MPIINF3DHPDataModule: write_mpi_inf_3dhp, H3WBDataModule: write_h3wb}
    folders = {kind: tmp_path_factory.mktemp(kind.__name__) for kind in writers}
    for kind, write in writers.items():
        write(folders[kind])
    return folders


@pytest.fixture
def test(folders, make_trainer):
    """Test a host, and give the callback, the host, the data and what was logged."""

    def run(kind, host=None, **options):
        data = kind(str(folders[kind]), **{"batch_size": 7} | options)
        host = host or SealHost(data.skeleton.num_joints, seal=SealConfig(skeleton=SKELETONS[kind]))
        scores = BenchmarkScores()
        trainer = make_trainer(callbacks=[scores])
        trainer.test(host, datamodule=data, verbose=False)
        return scores, host, data, {name: float(value) for name, value in trainer.callback_metrics.items()}

    return run


def poses_of(host, data, factor):
    """Every scored pose: action, prediction and truth in millimetres."""
    for prediction, batch in host.said:
        shown = batch.get("visibility", torch.ones(prediction.shape[:-1], dtype=torch.bool))
        for row in range(len(prediction)):
            action = data.action_names[batch["action"][row]]
            pose, truth = prediction[row].double().numpy() * factor, batch["target"][row].double().numpy() * factor
            seen = shown[row].numpy()
            for frame in np.ndindex(pose.shape[:-2]):
                if seen[frame].any():
                    yield action, pose[frame], truth[frame]


def distances(pose, truth, root):
    pose, truth = (value - value[list(root)].mean(axis=0) for value in (pose, truth))
    return np.array([np.sqrt(((pose[joint] - truth[joint]) ** 2).sum()) for joint in range(len(pose))])


def procrustes(pose, truth):
    """Similarity without reflection, by the singular value decomposition of one pose."""
    x, y = pose - pose.mean(axis=0), truth - truth.mean(axis=0)
    u, s, vt = np.linalg.svd(x.T @ y)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    aligned = (s * sign).sum() / (x**2).sum() * x @ (u * sign) @ vt
    return np.sqrt(((aligned - y) ** 2).sum(axis=1)).mean()


@pytest.mark.parametrize("options", [{}, {"unit": "mm"}, {"frames": 5}, {"frames": 8, "eval_frame_step": 8}])
def test_human36m_by_action(test, options):
    factor = 1.0 if options.get("unit") == "mm" else 1000.0
    scores, host, data, logged = test(Human36MDataModule, **options)
    errors = {}
    for action, pose, truth in poses_of(host, data, factor):
        errors.setdefault(action, []).append((distances(pose, truth, [0]).mean(), procrustes(pose, truth)))
    assert {action: len(found) for action, found in errors.items()} == {
        **{"Directions": 4 * 12 * 3, "Walking": 4 * 12 * 2, "SittingDown": 4 * 12 * 2}
    }  # S9 has two of Directions and S11 one
    wanted = {action: np.mean(found, axis=0) for action, found in errors.items()}
    wanted["average"] = np.mean(list(wanted.values()), axis=0)
    assert set(scores.scores) == set(wanted)
    for action, values in wanted.items():
        np.testing.assert_allclose(list(scores.scores[action].values()), values, rtol=1e-4)
    assert list(scores.scores["average"]) == ["mpjpe", "p_mpjpe"]
    assert logged["test/human36m/mpjpe"] == pytest.approx(wanted["average"][0], rel=1e-4)
    assert logged["test/human36m/SittingDown/p_mpjpe"] == pytest.approx(wanted["SittingDown"][1], rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"frames": 4}, {"frames": 3, "centre_target": True}])
def test_mpi_inf_3dhp_by_scene(test, folders, options):
    # Around the threshold of 150 mm, so that a shifted one, or another set of joints, would show.
    kind = Centre if "centre_target" in options else Near
    scores, host, data, logged = test(MPIINF3DHPDataModule, kind(seal=SealConfig(skeleton="mpi_inf_3dhp17")), **options)
    rows = {}
    for scene, pose, truth in poses_of(host, data, 1000.0):
        error = distances(pose, truth, [14])
        within = [100.0 * np.mean(error[:14] < threshold) for threshold in range(0, 151, 5)]
        rows.setdefault(scene, []).append((within[-1], np.mean(within), error.mean()))
    assert {scene: len(found) for scene, found in rows.items()} == dict.fromkeys(data.action_names[2:], 12)
    wanted = {scene: np.mean(found, axis=0) for scene, found in rows.items()}
    wanted["average"] = np.mean([row for found in rows.values() for row in found], axis=0)
    assert 1.0 < wanted["average"][0] < 99.0
    assert list(scores.scores) == [*data.action_names[2:], "average"]
    for scene, values in wanted.items():
        np.testing.assert_allclose(list(scores.scores[scene].values()), values, rtol=1e-4)
    assert list(scores.scores["average"]) == ["pck", "pck_auc", "mpjpe"]
    assert logged["test/mpi_inf_3dhp/outdoor/pck"] == pytest.approx(wanted["outdoor"][0], rel=1e-4)


class Near(SealMixin, Host):
    """Says the truth with an error of about 150 mm."""

    def test_step(self, batch, batch_idx):
        self.net(batch["keypoints_2d"].flatten(-2))
        generator = torch.Generator().manual_seed(batch_idx)
        error = 0.1 * torch.randn(batch["target"].shape, generator=generator)
        self.said.append((batch["target"] + error, {name: value.clone() for name, value in batch.items()}))

    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch["keypoints_2d"], self.said[-1][0], batch["target"])


class Centre(Near):
    """The same of the centre frame."""

    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch["keypoints_2d"][:, 1], self.said[-1][0], batch["target"])


def test_h3wb_by_part(test):
    scores, host, data, logged = test(H3WBDataModule)
    rows = []
    for _, pose, truth in poses_of(host, data, 1000.0):
        pelvis, nose = distances(pose, truth, [11, 12]), distances(pose, truth, [0])
        left, right = distances(pose, truth, [91])[91:112], distances(pose, truth, [112])[112:]
        hands = (left.mean() + right.mean()) / 2
        parts = [pelvis, pelvis[:23], pelvis[23:91], nose[23:91], pelvis[91:]]
        rows.append([*(part.mean() for part in parts), hands])
    assert len(rows) == 24
    names = ["whole_body", "body", "face", "face_nose_aligned", "hands", "hands_wrist_aligned"]
    assert list(scores.scores) == ["average"]
    assert list(scores.scores["average"]) == names
    np.testing.assert_allclose(list(scores.scores["average"].values()), np.mean(rows, axis=0), rtol=1e-4)
    assert logged["test/h3wb/face_nose_aligned"] == pytest.approx(np.mean(rows, axis=0)[3], rel=1e-4)
    assert len(set(np.round(np.mean(rows, axis=0), 3))) == 6


def test_an_excluded_joint_and_unlabelled_samples_count_nowhere(folders, tmp_path, make_trainer):
    source = read_object(folders[MPIINF3DHPDataModule] / "data_test_3dhp.npz", "data")
    for arrays in source.values():
        arrays["data_3d"][:, 0] = arrays["data_3d"][:, 14] + (0.0, 0.0, 2500.0)
    np.savez(tmp_path / "data_test_3dhp.npz", data=as_object(source))

    class Some(Near):
        def seal_batch(self, batch, inputs, output):
            labelled = torch.arange(len(batch["target"])) % 2 == 0
            return SealBatch(batch["keypoints_2d"], self.said[-1][0], batch["target"], None, labelled)

    host, scores = Some(seal=SealConfig(skeleton="mpi_inf_3dhp17")), BenchmarkScores()
    data = MPIINF3DHPDataModule(str(tmp_path), camera_slot="exclude", batch_size=8)
    make_trainer(callbacks=[scores]).test(host, datamodule=data, verbose=False)
    errors = []
    for prediction, batch in host.said:
        for row in range(0, len(prediction), 2):
            pose, truth = (value[row].double().numpy() * 1000 for value in (prediction, batch["target"]))
            errors.append(distances(pose, truth, [14])[1:].mean())
    assert scores.scores["average"]["mpjpe"] == pytest.approx(np.mean(errors), rel=1e-4)


def test_a_diverged_prediction_is_not_left_out(test):
    class Lost(Near):
        def test_step(self, batch, batch_idx):
            super().test_step(batch, batch_idx)
            self.said[-1][0][0] = torch.nan

    scores, *_ = test(MPIINF3DHPDataModule, Lost(seal=SealConfig(skeleton="mpi_inf_3dhp17")))
    assert np.isnan(scores.scores["average"]["mpjpe"])
    assert 0.0 < scores.scores["average"]["pck"] < 100.0


def test_the_table_is_printed(test, capsys):
    scores, *_ = test(Human36MDataModule)
    printed = capsys.readouterr().out
    assert format_scores(scores.scores, "human36m") in printed
    assert [line.split()[0] for line in printed.splitlines()[-5:]] == [
        *("human36m", "Directions", "SittingDown", "Walking", "average")
    ]


def test_sums_begin_anew_with_every_test(folders, make_trainer):
    data = Human36MDataModule(str(folders[Human36MDataModule]))
    host, scores = SealHost(seal=SealConfig()), BenchmarkScores()
    trainer = make_trainer(callbacks=[scores], max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.test(host, datamodule=data, verbose=False)
    first = scores.scores
    trainer.fit(host, datamodule=data)  # nothing is scored in training
    assert scores.scores is first
    host.said.clear()
    trainer.test(host, datamodule=data, verbose=False)
    errors = [
        distances(pose, truth, [0]).mean()
        for action, pose, truth in poses_of(host, data, 1000.0)
        if action == "Walking"
    ]
    assert scores.scores["Walking"]["mpjpe"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert scores.scores != first


def test_refused(folders, make_trainer):
    data = Human36MDataModule(str(folders[Human36MDataModule]))
    with pytest.raises(TypeError, match="Expected the model of BenchmarkScores to be a SealMixin, but got Host"):
        make_trainer(callbacks=[BenchmarkScores()]).test(Host(), datamodule=data, verbose=False)
    host = SealHost(seal=SealConfig())
    synthetic = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=4))
    with pytest.raises(
        TypeError, match=r"of a benchmark, \['h3wb', 'human36m', 'mpi_inf_3dhp'\], but got MocapDataModule"
    ):
        make_trainer(callbacks=[BenchmarkScores()]).test(host, datamodule=synthetic, verbose=False)

    class Blind(SealHost):
        def seal_batch(self, batch, inputs, output):
            return SealBatch(batch["keypoints_2d"], output)

    with pytest.raises(ValueError, match="to return a `target` in the test for BenchmarkScores, but got None"):
        make_trainer(callbacks=[BenchmarkScores()]).test(Blind(seal=SealConfig()), datamodule=data, verbose=False)
    with pytest.raises(ValueError, match="Expected the test to yield poses to score, but got none"):
        make_trainer(callbacks=[BenchmarkScores()]).test(host, datamodule=Empty(data), verbose=False)

    class Wrong(SealHost):
        def seal_batch(self, batch, inputs, output):
            return SealBatch(
                batch["keypoints_2d"], output, batch["target"], torch.ones(len(output), 3, dtype=torch.bool)
            )

    with pytest.raises(
        ValueError, match=r"Expected `visibility` to be \(256, 17\) like the prediction, but got \(256, 3\)"
    ):
        make_trainer(callbacks=[BenchmarkScores()]).test(Wrong(seal=SealConfig()), datamodule=data, verbose=False)


class Empty(L.LightningDataModule):
    """The data of another module with nothing to be seen."""

    def __init__(self, data):
        super().__init__()
        self.benchmark, self.action_names, self.unit = data.benchmark, data.action_names, data.unit
        self.loader = data.test_dataloader()

    def test_dataloader(self):
        for batch in self.loader:
            hidden = torch.zeros(batch["target"].shape[:-1], dtype=torch.bool)
            return torch.utils.data.DataLoader([batch | {"visibility": hidden}], batch_size=None)


def test_a_sampler_that_repeats_is_refused():
    class Ranks:
        world_size = 2
        datamodule = type("Data", (), {"benchmark": "h3wb", "action_names": [], "unit": "m"})
        test_dataloaders = torch.utils.data.DataLoader(
            [1, 2, 3], sampler=torch.utils.data.DistributedSampler([1, 2, 3], num_replicas=2, rank=0)
        )

    with pytest.raises(ValueError, match="one of 2 processes, but its sampler, DistributedSampler, repeats some"):
        BenchmarkScores().on_test_epoch_start(Ranks(), nn.Linear(1, 1))


def test_two_processes_score_as_one(folders, tmp_path):
    source = read_object(folders[MPIINF3DHPDataModule] / "data_test_3dhp.npz", "data")
    source["TS6"]["valid"][1] = 0  # 35 frames for two processes
    np.savez(tmp_path / "data_test_3dhp.npz", data=as_object(source))
    script = Path(__file__).with_name("benchmark_scores_ddp_run.py")
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("LOCAL_", "NODE_", "MASTER_", "WORLD_"))
    }
    options = {"env": env | {"OMP_NUM_THREADS": "1"}, "stderr": subprocess.PIPE, "text": True}
    folder = str(tmp_path)
    started = [subprocess.Popen([sys.executable, str(script), folder, folder, str(n)], **options) for n in (1, 2)]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    alone, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1"))
    assert first == second
    assert set(first[0]) == set(alone[0])
    for row, scores in alone[0].items():
        assert first[0][row] == pytest.approx(scores, rel=1e-6)
    assert first[1] == pytest.approx(alone[1], rel=1e-5)


def test_the_checkpoint_of_a_plain_host_loads_into_its_seal_class(test, folders, tmp_path, make_trainer):
    plain, path = Host(), tmp_path / "plain.ckpt"
    data = Human36MDataModule(str(folders[Human36MDataModule]))
    trainer = make_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(plain, datamodule=data)
    trainer.save_checkpoint(path)
    scores, model = BenchmarkScores(), SealHost(seal=SealConfig())
    make_trainer(callbacks=[scores]).test(model, datamodule=data, ckpt_path=path, verbose=False)
    same = SealHost(seal=SealConfig())
    same.load_state_dict(plain.state_dict())
    assert test(Human36MDataModule, same)[0].scores["average"] == pytest.approx(scores.scores["average"], rel=1e-5)


def test_by_command(folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = f"""
model:
  class_path: examples.seal_lifter.SealLifter
  init_args: {{hidden: 16, stages: 1}}
data:
  class_path: seal_lightning.data.Human36MDataModule
  init_args: {{path: {folders[Human36MDataModule]}, batch_size: 64}}
trainer:
  max_steps: 2
  accelerator: cpu
  enable_progress_bar: false
  enable_model_summary: false
  logger: false
  callbacks: [{{class_path: seal_lightning.callbacks.benchmark_scores.BenchmarkScores}}]
"""
    (tmp_path / "run.yaml").write_text(config)
    main(["fit", "--config", "run.yaml"])
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    assert "SittingDown" not in capsys.readouterr().out
    main(["test", "--config", "run.yaml", "--ckpt_path", str(checkpoint)])
    assert "SittingDown" in capsys.readouterr().out
