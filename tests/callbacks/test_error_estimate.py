"""An error estimate beside any host: what it learns, and that the host is bit for bit what it was."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from examples.plain_lifter import LitLifter
from seal_lightning import SealConfig, SealMixin, get_skeleton
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.cli import main
from seal_lightning.error_estimate import ErrorCritic, ViewDamage
from seal_lightning.functional import mirror_keypoints, mirror_poses
from tests import hosts
from tests.training.test_observed import HOSTS

ROOT = Path(__file__).parents[2]
H36M = get_skeleton("h36m17")


def estimate(**options):
    critic = ErrorCritic("h36m17", hidden=16, depth=2, **{k: options.pop(k) for k in ("inputs",) if k in options})
    return ErrorEstimate(critic, **{"unit": "m", **options})


def fitted(make_trainer, host, callbacks=(), validate=True, model_options=None, **options):
    torch.manual_seed(0)
    model = host(**(model_options or {}))
    data = (host.loader(count=48), host.loader(count=32, shuffle=False, seed=1) if validate else None)
    trainer = make_trainer(**{"max_epochs": 2, "callbacks": list(callbacks), **options})
    trainer.fit(model, *data)
    return model, trainer, torch.get_rng_state()


def validates(host):
    return host.__name__ not in ("ChildHost", "FlatHost", "CentreHost")


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("host", HOSTS, ids=lambda host: host.__name__)
def test_the_host_is_bit_for_bit_what_it_was(host, make_trainer):
    """Weights, buffers and random state; for hosts of every style, windows and centre frames among them."""
    host = host if validates(host) else type(host.__name__, (host,), {"validation_step": None})
    callback = estimate()
    before = copy.deepcopy(callback.critic)
    plain, _, state = fitted(make_trainer, host, validate=validates(host))
    beside, trainer, state_beside = fitted(make_trainer, host, [callback], validate=validates(host))
    assert torch.equal(state, state_beside)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), beside.state_dict().values(), strict=True)
    )
    assert not same(before, callback.critic)
    assert float(trainer.callback_metrics["error_estimate/loss"]) > 0
    if validates(host):
        logged = {name.split("/")[1] for name in trainer.callback_metrics if name.startswith("error_estimate/")}
        assert logged == {"loss", "spearman", "auroc", "bias", "factor_90"}


@pytest.mark.parametrize("host", [hosts.ForwardHost, hosts.ManualHost], ids=["automatic", "manual"])
def test_beside_a_seal_host(host, make_trainer):
    seal_host = type("SealHost", (SealMixin, host), {"loader": staticmethod(host.loader)})
    callback, config = estimate(), {"seal": SealConfig()}
    plain, *_ = fitted(make_trainer, seal_host, model_options=config)
    beside, *_ = fitted(make_trainer, seal_host, [callback], model_options=config)
    assert same(plain, beside)
    assert same(plain.seal, beside.seal)
    assert callback.critic.fitted


class StillHost(hosts.ForwardHost):
    """Draws no random numbers, so that it can be resumed bit for bit."""

    def __init__(self):
        super().__init__(dropout=0.0)

    def predict_step(self, batch, batch_idx):
        return self(batch[0])

    @staticmethod
    def loader(**kwargs):
        return hosts.ForwardHost.loader(**{**kwargs, "shuffle": False})


def states_equal(one, other):
    flat = [torch.utils._pytree.tree_leaves(callback.state_dict()) for callback in (one, other)]
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*flat, strict=True))


def test_resumed_bit_for_bit(make_trainer, tmp_path):
    unbroken, before, after = (estimate(every_n_steps=2, damage=ViewDamage(undamaged=0.2)) for _ in range(3))
    fitted(make_trainer, StillHost, [unbroken])
    _, trainer, _ = fitted(make_trainer, StillHost, [before], max_epochs=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    assert "ErrorEstimate" in torch.load(tmp_path / "half.ckpt", weights_only=True)["callbacks"]
    model = StillHost()
    data = StillHost.loader(count=48), StillHost.loader(count=32, seed=1)
    make_trainer(max_epochs=2, callbacks=[after]).fit(model, *data, ckpt_path=tmp_path / "half.ckpt")
    assert states_equal(unbroken, after)
    assert not states_equal(unbroken, before)


def test_two_processes_learn_what_one_does(tmp_path):
    script = Path(__file__).with_name("error_estimate_ddp_run.py")
    left_out = ("LOCAL_", "NODE_", "MASTER_", "WORLD_")
    env = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    options = {"env": env | {"OMP_NUM_THREADS": "1"}, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen([sys.executable, str(script), str(tmp_path), str(n)], **options) for n in (1, 2)]
    for process in started:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors[-3000:]
    one, first, second = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1"))
    for name, value in one["critic"].items():
        assert torch.equal(first["critic"][name], second["critic"][name]), name
        torch.testing.assert_close(first["critic"][name], value, equal_nan=True)
    assert first["values"] == second["values"]
    for name in ("spearman", "auroc", "bias", "loss"):
        wanted = one["values"][f"error_estimate/{name}"]
        assert first["values"][f"error_estimate/{name}"] == pytest.approx(wanted, rel=1e-3, abs=1e-4), name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The example's fit, a few steps long, and a file of keypoints to predict from."""
    folder = tmp_path_factory.mktemp("trained")
    keypoints = np.random.default_rng(0).uniform(-0.9, 0.9, size=(7, 17, 3)).astype(np.float32)
    keypoints[..., 2] = 0.5
    keypoints[3, :, 2] = 0.0  # nobody
    np.savez(folder / "mine.npz", keypoints_2d=keypoints)
    run("fit", "error_estimate", folder / "fit", "--model.hidden=16", "--trainer.max_steps=3", *SYNTHETIC)
    (checkpoint,) = (folder / "fit").rglob("*.ckpt")
    return folder, checkpoint


SYNTHETIC = [f"--data.synthetic.{name}" for name in ("subjects=3", "clips_per_subject=1", "frames=20")]
SYNTHETIC += ["--data.batch_size=16"]


def run(command, config, folder, *options):
    quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.logger=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.syspath_prepend(ROOT)
        path = f"examples/configs/{config}.yaml"
        main([command, "--config", path, f"--trainer.default_root_dir={folder}", *quiet, *options])


def predicted(trained, folder, checkpoint=None, config="predict_errors"):
    data = [f"--data.path={trained[0] / 'mine.npz'}", "--data.mapping=null", "--data.fps=10", "--data.batch_size=4"]
    run("predict", config, folder, *data, f"--ckpt_path={checkpoint or trained[1]}", "--model.hidden=16")
    with np.load(folder / "poses.npz") as found:
        return dict(found), json.loads((folder / "poses.json").read_text())


def test_predict_writes_errors_bounds_and_scores(trained, tmp_path):
    arrays, content = predicted(trained, tmp_path)
    assert arrays["error_mm"].shape == arrays["error_90_mm"].shape == (7,)
    assert arrays["joint_error_mm"].shape == arrays["joint_error_90_mm"].shape == (7, 17)
    nobody = np.arange(7) == 3
    assert (np.isfinite(arrays["error_mm"]) == ~nobody).all()
    assert (arrays["error_mm"][~nobody] > 0).all()
    np.testing.assert_allclose(arrays["score"], np.exp(-arrays["error_mm"] / 100), rtol=1e-6)
    np.testing.assert_allclose(arrays["keypoint_scores"], np.exp(-arrays["joint_error_mm"] / 100), rtol=1e-6)
    frames = content["frames"]
    assert frames[3]["error_mm"] is frames[3]["joint_error_mm"] is frames[3]["score"] is None
    for name in ("error_mm", "joint_error_mm", "error_90_mm", "score", "keypoint_scores"):
        kept = [frame[name] for frame in frames if frame[name] is not None]
        np.testing.assert_allclose(kept, arrays[name][~nobody], rtol=1e-6)
    assert (tmp_path / "poses.png").stat().st_size > 10_000
    assert (tmp_path / "poses.gif").exists()


def test_what_is_written_is_what_the_critic_says(trained, tmp_path):
    arrays, _ = predicted(trained, tmp_path)
    state = torch.load(trained[1], weights_only=True)
    critic = ErrorCritic("h36m17")
    critic.load_state_dict(state["callbacks"]["ErrorEstimate"]["critic"])
    model = LitLifter(channels=3, hidden=16).eval()
    model.load_state_dict(state["state_dict"])
    with np.load(trained[0] / "mine.npz") as mine:
        keypoints = torch.from_numpy(mine["keypoints_2d"])
    keypoints = torch.where(keypoints[..., 2:] > 0, keypoints, 0.0)
    with torch.no_grad():
        pose, other = model(keypoints), mirror_poses(model(mirror_keypoints(keypoints, H36M)), H36M)
    inputs = {"keypoints": keypoints[..., :2], "confidence": keypoints[..., 2], "flip": pose - other}
    errors = critic.errors(pose=(pose + other) / 2, **inputs)
    somebody = np.arange(7) != 3
    np.testing.assert_allclose(arrays["error_mm"][somebody], errors.pose[somebody], rtol=1e-4)
    np.testing.assert_allclose(arrays["joint_error_mm"][somebody], errors.joints[somebody], rtol=1e-4)
    bounds = critic.bounds(errors)
    np.testing.assert_allclose(arrays["error_90_mm"][somebody], bounds.pose[somebody], rtol=1e-4)


def test_a_critic_that_nobody_asks_says_so(trained, tmp_path):
    with pytest.warns(UserWarning, match="holds a critic that estimates the errors of the poses, but no ErrorEstimate"):
        arrays, _ = predicted(trained, tmp_path, config="predict")
    assert "error_mm" not in arrays


def test_a_critic_fitted_on_a_finished_host(trained, tmp_path):
    host = torch.load(trained[1], weights_only=True)
    del host["callbacks"]
    torch.save(host, tmp_path / "host.ckpt")
    options = [f"--ckpt_path={tmp_path / 'host.ckpt'}", "--model.hidden=16", *SYNTHETIC]
    with pytest.raises(ValueError, match=r"fitted, but this one was not. Give the `ckpt_path` of a `fit` with"):
        predicted(trained, tmp_path / "before", tmp_path / "host.ckpt")
    run("fit-critic", "error_estimate", tmp_path, *options, "--trainer.max_steps=5")
    after = torch.load(tmp_path / "host-critic.ckpt", weights_only=True)
    state = after.pop("callbacks")["ErrorEstimate"]
    assert state["steps"] == 5
    assert state["critic"]["factor_90"].isfinite().all()
    leaves = [torch.utils._pytree.tree_leaves(content) for content in (host, after)]
    assert all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b for a, b in zip(*leaves, strict=True))
    arrays, _ = predicted(trained, tmp_path / "after", tmp_path / "host-critic.ckpt")
    assert np.isfinite(arrays["error_mm"]).sum() == 6
    with pytest.raises(SystemExit):
        run("fit-critic", "error_estimate", tmp_path, *options, "--trainer.max_steps=5")  # would write over it
