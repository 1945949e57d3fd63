"""The examples do what they say, and the configs run."""

import ast
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from seal_lightning import SealMixin
from seal_lightning.cli import main

ROOT = Path(__file__).resolve().parents[2]
SMALL_DATA = ["--data.synthetic.subjects=3", "--data.synthetic.clips_per_subject=1", "--data.synthetic.frames=10"]
QUICK = ["--trainer.max_steps=2", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SMALL = [*SMALL_DATA, "--data.batch_size=6", *QUICK, "--model.hidden=8"]


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)


@pytest.fixture
def lifters():
    from examples import plain_lifter

    return plain_lifter


def batch_of(*shape, channels=2):
    return {"keypoints_2d": torch.randn(*shape, 17, channels), "target": torch.randn(*shape, 17, 3)}


def loader(*batches):
    return torch.utils.data.DataLoader(batches, batch_size=None)


def test_plain_lifter_knows_nothing_of_seal():
    tree = ast.parse((ROOT / "examples" / "plain_lifter.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"collections.abc", "typing", "lightning", "torch"}


def test_simple_baseline_has_the_size_of_the_paper(lifters):
    def size(network):
        return sum(parameter.numel() for parameter in network.parameters())

    assert size(lifters.SimpleBaseline()) == 4_296_755
    assert size(lifters.SimpleBaseline(num_joints=16)) == 4_291_632  # published as 4.29 M


def test_simple_baseline_is_residual(lifters):
    network = lifters.SimpleBaseline(hidden=32).eval()
    for stage in network.stages:  # a batch norm without weight makes a layer return its bias, here zero
        for layer in stage:
            layer[1].weight.data.zero_()
    x = torch.randn(3, 17, 2)
    torch.testing.assert_close(network(x), network.output(network.widen(x.flatten(1))).reshape(3, 17, 3))


@pytest.mark.parametrize("shape", [(4,), (2, 5)])
@pytest.mark.parametrize(("channels", "used"), [(2, 2), (3, 2), (3, 3)])
def test_lifter_takes_frames_and_windows(lifters, shape, channels, used):
    model = lifters.LitLifter(hidden=16, channels=used).eval()
    x = torch.randn(*shape, 17, channels)
    poses = model(x)
    assert poses.shape == (*shape, 17, 3)
    one_by_one = [model(frame[None])[0] for frame in x.reshape(-1, 17, channels)]
    torch.testing.assert_close(poses.reshape(-1, 17, 3), torch.stack(one_by_one))
    if channels == 3:
        x[..., 2] += 1
        assert torch.equal(model(x), poses) == (used == 2)


def test_lifter_trains_on_the_mean_joint_distance(lifters):
    model, batch = lifters.LitLifter(hidden=16).eval(), batch_of(2, 5)
    loss = model.mean_joint_distance(batch)
    predicted, true = model(batch["keypoints_2d"]).detach().numpy(), batch["target"].numpy()
    assert float(loss.detach()) == pytest.approx(np.sqrt(((predicted - true) ** 2).sum(-1)).mean(), rel=1e-5)


@pytest.mark.parametrize("shape", [(4,), (2, 5)])
def test_lifter_leaves_missing_joints_out(lifters, shape):
    """Zeros for the network, nothing for the error, whatever stands there."""
    model, batch = lifters.LitLifter(hidden=16, channels=3, flip_predict=False).eval(), batch_of(*shape, channels=3)
    seen = torch.rand(*shape, 17) > 0.3
    poses = model(batch["keypoints_2d"] * seen[..., None]).detach().numpy()
    distances = [np.linalg.norm(poses[tuple(i)] - batch["target"].numpy()[tuple(i)]) for i in np.argwhere(seen.numpy())]
    for filler in (1e6, float("nan")):
        filled = {name: value.masked_fill(~seen[..., None], filler) for name, value in batch.items()}
        loss = model.mean_joint_distance({**filled, "visibility": seen})
        assert float(loss.detach()) == pytest.approx(np.mean(distances), rel=1e-5)
        assert torch.equal(model.predict_step({**filled, "visibility": seen}, 0), torch.from_numpy(poses))


def test_lifter_logs_and_predicts(lifters, make_trainer):
    model, batch = lifters.LitLifter(hidden=16, lr=0.01, flip_test=True), batch_of(8)
    batches = loader(batch, batch, batch)
    trainer = make_trainer(max_epochs=1)
    trainer.fit(model, batches, batches)
    assert {"train_loss", "val_mpjpe"} <= set(trainer.callback_metrics)
    (tested,) = trainer.test(model, batches, verbose=False)
    poses = trainer.predict(model, batches)
    error = (poses[0] - batch["target"]).norm(dim=-1).mean()
    assert tested["test_mpjpe"] == pytest.approx(float(error), rel=1e-5)
    assert len(poses) == 3


def mirrored(batch, lifters):
    partners = torch.tensor(lifters.H36M_PARTNERS)
    flipped = {name: batch[name][..., partners, :].clone() for name in ("keypoints_2d", "target")}
    for joints in flipped.values():
        joints[..., 0] *= -1
    return flipped | ({"visibility": batch["visibility"][..., partners]} if "visibility" in batch else {})


@pytest.mark.parametrize("missing", [False, True])
def test_what_is_seen_in_the_mirror_is_predicted_in_the_mirror(lifters, missing):
    model, batch = lifters.LitLifter(hidden=16, channels=3).eval(), batch_of(2, 5, channels=3)
    if missing:
        batch["visibility"] = torch.rand(2, 5, 17) > 0.3
        batch["keypoints_2d"][~batch["visibility"]] = float("nan")
    flipped = mirrored(batch, lifters)
    poses = model.predict_step(batch, 0)
    expected = mirrored({**batch, "target": poses}, lifters)["target"]
    assert torch.equal(model.predict_step(flipped, 0), expected)
    model.flip_predict = False
    alone = model.predict_step(batch, 0)
    assert torch.equal(alone, model(batch["keypoints_2d"], batch.get("visibility")))
    assert not torch.allclose(model.predict_step(flipped, 0), mirrored({**batch, "target": alone}, lifters)["target"])
    in_the_mirror = mirrored({**batch, "target": model.predict_step(flipped, 0)}, lifters)["target"]
    torch.testing.assert_close(poses, (alone + in_the_mirror) / 2)


def test_mirror_images_of_other_joints_have_to_be_named(lifters):
    batch = {"keypoints_2d": torch.randn(4, 3, 2)}
    with pytest.raises(ValueError, match="Expected `partners` to name the mirror image of each of the 3 joints"):
        lifters.LitLifter(num_joints=3, hidden=8).eval().predict_step(batch, 0)
    poses = lifters.LitLifter(num_joints=3, hidden=8, partners=[0, 2, 1]).eval().predict_step(batch, 0)
    assert poses.shape == (4, 3, 3)


def test_the_pose_of_both_views_is_the_one_that_is_scored(lifters, make_trainer):
    """A test reads the average where `flip_test` asks for it, and training never does."""
    from examples.seal_lifter import SealLifter

    model, batch = SealLifter(hidden=16, dropout=0.0, flip_test=True), batch_of(8)
    trainer = make_trainer(max_steps=1, max_epochs=1)
    trainer.fit(model, loader(batch))
    trained = model.seal_captured.prediction
    trainer.test(model, loader(batch), verbose=False)
    model.eval()
    assert torch.equal(model.seal_captured.prediction, model.predict_step(batch, 0))
    assert not torch.equal(model.seal_captured.prediction, model(batch["keypoints_2d"]))
    assert trained.shape == (8, 17, 3)


def test_lifter_learns_and_its_rate_is_annealed(lifters, make_trainer):
    keypoints = torch.randn(32, 17, 2)
    batch = {"keypoints_2d": keypoints, "target": torch.cat((keypoints, keypoints[..., :1]), dim=-1)}
    model = lifters.LitLifter(hidden=64, dropout=0.0, lr=0.01)
    before = float(model.eval().mean_joint_distance(batch).detach())
    trainer = make_trainer(max_epochs=60)
    trainer.fit(model.train(), loader(batch))
    assert float(model.eval().mean_joint_distance(batch).detach()) < before / 3
    assert trainer.optimizers[0].param_groups[0]["lr"] < 0.01 / 100


def test_seal_lifter_is_three_lines(lifters):
    from examples.seal_lifter import SealLifter

    assert SealLifter.__bases__ == (SealMixin, lifters.LitLifter)
    tree = ast.parse((ROOT / "examples" / "seal_lifter.py").read_text())
    code = [node for node in tree.body if isinstance(node, ast.ImportFrom | ast.ClassDef)]
    assert len(code) == 3
    assert len(code[-1].body) == 1


def test_lines_of_the_readme_train(lifters, make_trainer):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "examples" / "README.md").read_text(), re.DOTALL)
    names = {"__name__": "readme"}
    sys.modules["readme"] = type(sys)("readme")
    exec(code, names)
    model = names["model"]
    trainer = make_trainer(max_steps=2, max_epochs=1)
    trainer.fit(model, loader(batch_of(8), batch_of(8)))
    assert "seal/energy" in trainer.callback_metrics
    lifters.LitLifter(hidden=256).load_state_dict(model.state_dict())


@pytest.mark.parametrize("name", ["plain", "seal", "paper_simple_baseline", "robustness"])
def test_fit_configs_run(name, tmp_path):
    logger = [
        "--trainer.logger=false",
        "--trainer.enable_checkpointing=false",
        f"--trainer.default_root_dir={tmp_path}",
    ]
    main(["fit", "--config", f"examples/configs/{name}.yaml", *SMALL, *logger])
    assert (tmp_path / "config.yaml").exists()


def test_own_keypoints_config_runs(tmp_path):
    """On pixels of COCO's joints, some of them missing."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(100, 900, size=(24, 17, 3))
    keypoints[..., 2] = rng.uniform(size=(24, 17)) > 0.1
    people = {"clip_start": np.arange(0, 24, 8), "clip_length": np.full(3, 8), "subject": np.array(["a", "b", "c"])}
    positions = rng.normal(scale=300, size=(24, 17, 3))
    np.savez(
        tmp_path / "mine.npz", keypoints_2d=keypoints, positions_3d=positions, visibility=keypoints[..., 2], **people
    )
    data = [f"--data.path={tmp_path / 'mine.npz'}", "--data.batch_size=4"]
    data += ['--data.split={"train": ["a"], "val": ["b"], "test": ["c"]}', f"--trainer.default_root_dir={tmp_path}"]
    logger = ["--trainer.logger=false", "--trainer.enable_checkpointing=false", "--model.hidden=8"]
    for command in ("fit", "test"):
        main([command, "--config", "examples/configs/own_keypoints.yaml", *data, *QUICK, *logger])


def test_plain_and_seal_config_differ_in_the_model_alone():
    plain, seal = (yaml.safe_load((ROOT / f"examples/configs/{name}.yaml").read_text()) for name in ("plain", "seal"))
    assert seal["model"]["init_args"].pop("seal")["skeleton"] == "h36m17"
    assert seal["model"].pop("class_path") == "examples.seal_lifter.SealLifter"
    assert plain["model"].pop("class_path") == "examples.plain_lifter.LitLifter"
    assert plain == seal


@pytest.mark.parametrize("name", ["demo", "compare_mocap"])
def test_compare_configs_run(name, tmp_path, capsys):
    args = ["--config", f"examples/configs/{name}.yaml", *SMALL, "--seeds", "0", "--output", str(tmp_path / "out")]
    args += ["--seal.warmup_steps", "0"]  # it would outlast two steps
    if name == "compare_mocap":
        args += ["--data.samples_per_epoch=12", "--trainer.check_val_every_n_epoch=1"]
    main(["compare", *args])
    assert "| MPJPE (mm)" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {run["steps"] for run in content["runs"]} == {2}
