"""An error estimate beside any host: what it learns, and that the host is bit for bit what it was."""

import copy
import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch

from examples.plain_lifter import LitLifter
from seal_lightning import SealConfig, SealMixin, get_skeleton
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.cli import main
from seal_lightning.data import MocapDataModule, SyntheticMocap
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


SMOOTH = ("--trainer.callbacks=PoseWriter", "--trainer.callbacks.smooth=1.5", "--trainer.callbacks+=ErrorEstimate")
SMOOTH += ("--trainer.callbacks.critic=ErrorCritic", "--trainer.callbacks.critic.skeleton=h36m17")
SMOOTH += ("--trainer.callbacks.unit=m", "--trainer.callbacks.flip_averaged=true")


def predicted(trained, folder, checkpoint=None, config="predict_errors", *options):
    data = [f"--data.path={trained[0] / 'mine.npz'}", "--data.mapping=null", "--data.fps=10", "--data.batch_size=4"]
    run("predict", config, folder, *data, f"--ckpt_path={checkpoint or trained[1]}", "--model.hidden=16", *options)
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


def test_smoothing_weighs_joints_by_their_errors(trained, tmp_path):
    plain, _ = predicted(trained, tmp_path / "plain")
    smoothed, _ = predicted(trained, tmp_path / "smooth", None, "predict_errors", *SMOOTH)
    somebody = np.arange(7) != 3
    weights = np.where(somebody[:, None], np.nan_to_num(plain["joint_error_mm"], nan=1.0).clip(1.0) ** -2.0, 0.0)
    kernel = np.exp(-0.5 * np.subtract.outer(np.arange(7), np.arange(7)) ** 2 / 1.5**2)[..., None] * weights
    wanted = np.einsum("tsj,sjc->tjc", kernel, np.nan_to_num(plain["poses"])) / kernel.sum(1)[..., None]
    np.testing.assert_allclose(smoothed["poses"][somebody], wanted[somebody], rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(smoothed["error_mm"], plain["error_mm"])


def test_a_critic_that_nobody_asks_says_so(trained, tmp_path):
    with pytest.warns(UserWarning, match="holds a critic that estimates the errors of the poses, but no ErrorEstimate"):
        arrays, _ = predicted(trained, tmp_path, config="predict")
    assert "error_mm" not in arrays


def test_a_critic_fitted_on_a_finished_host(trained, tmp_path, capsys, recwarn):
    host = torch.load(trained[1], weights_only=True)
    del host["callbacks"]
    torch.save(host, tmp_path / "host.ckpt")
    options = [f"--ckpt_path={tmp_path / 'host.ckpt'}", "--model.hidden=16", *SYNTHETIC]
    with pytest.raises(ValueError, match=r"fitted, but this one was not. Give the `ckpt_path` of a `fit` with"):
        predicted(trained, tmp_path / "before", tmp_path / "host.ckpt")
    run("fit-critic", "error_estimate", tmp_path, *options, "--trainer.max_steps=5")
    printed = capsys.readouterr().out
    assert re.search(r"^error_estimate/auroc +-?[\d.e-]+$", printed, flags=re.MULTILINE)  # a small table, no 14 digits
    assert not re.search(r"\d\.\d{7}", printed)
    assert not [one for one in recwarn if "shuffling" in str(one.message)]
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
    again = [f"--ckpt_path={tmp_path / 'host-critic.ckpt'}", "--model.hidden=16", *SYNTHETIC]
    run("fit-critic", "error_estimate", tmp_path, *again, "--trainer.max_steps=2")
    further = torch.load(tmp_path / "host-critic-critic.ckpt", weights_only=True)["callbacks"]["ErrorEstimate"]
    assert further["steps"] == 7


def test_every_nth_step_and_no_other(make_trainer):
    callback, host = estimate(every_n_steps=4), type("Host", (hosts.ForwardHost,), {"predictions": 0})
    plain = host.forward

    def counted(self, x):
        type(self).predictions += 1
        return plain(self, x)

    host.forward = counted
    fitted(make_trainer, host, [callback], validate=False, max_epochs=4)  # of three steps
    assert callback.steps == 3
    assert host.predictions == 12 + 3 * 2


def test_estimates_of_windows_and_of_their_centre_frames(make_trainer):
    """The critic sees the keypoints of the frames that are predicted, damaged as the host saw them."""
    for host, shape in ((hosts.SequenceHost, (16, 5)), (hosts.CentreHost, (16,))):
        seen = []
        callback = estimate(damage=ViewDamage(undamaged=0.0))
        learn, damage = callback._training.step, callback._views.damage

        def step(view, learn=learn, seen=seen):
            seen.append(view)
            return learn(view)

        callback._training.step = step
        object.__setattr__(callback._views, "damage", lambda *args, d=damage, s=seen: s.append(d(*args)) or s[-1])
        host = type(host.__name__, (host,), {"validation_step": None})
        fitted(make_trainer, host, [callback], validate=False, max_epochs=1)
        damaged, view = seen[0], seen[1]
        assert damaged.shape == (16, 5, 17, 3)
        wanted = damaged if len(shape) == 2 else damaged[:, 2]
        assert torch.equal(view.inputs["keypoints"], wanted[..., :2])
        assert torch.equal(view.inputs["confidence"], torch.ones(*shape, 17))
        assert view.inputs["pose"].shape == view.target.shape == (*shape, 17, 3)


def test_missing_joints(make_trainer):
    """NaN in keypoints and truth, with a mask of the joints: the critic learns, and judges what is left."""

    class Missing(hosts.ForwardHost):
        def forward(self, x):
            return super().forward(torch.nan_to_num(x, nan=0.0))

        def training_step(self, batch, batch_idx):
            error = torch.where(batch["visibility"], (self(batch["x"]) - batch["y"].nan_to_num()).norm(dim=-1), 0.0)
            return error.sum() / batch["visibility"].sum()

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.training_step(batch, batch_idx), batch_size=len(batch["x"]))

        @staticmethod
        def loader(**kwargs):
            def pack(x, y, i):
                seen = (torch.arange(17) + i) % 5 != 1
                seen[0] = True
                hidden = ~seen[:, None]
                return {
                    "x": x.masked_fill(hidden, torch.nan),
                    "y": y.masked_fill(hidden, torch.nan),
                    "visibility": seen,
                }

            return hosts.loader(pack, **kwargs)

    callback = estimate(damage=ViewDamage(undamaged=0.0))
    before = copy.deepcopy(callback.critic)
    plain, *_ = fitted(make_trainer, Missing)
    beside, *_ = fitted(make_trainer, Missing, [callback])
    assert same(plain, beside)
    changed = [not torch.equal(a, b) for a, b in zip(before.parameters(), callback.critic.parameters(), strict=True)]
    assert all(changed)
    assert callback.critic.factor_90.isfinite().all()
    assert all(parameter.isfinite().all() for parameter in callback.critic.parameters())


def test_a_validation_takes_the_bias_out_of_the_estimates_and_leaves_the_bounds(make_trainer):
    host, callback = hosts.ForwardHost, estimate()
    model, trainer, _ = fitted(make_trainer, host, [callback], max_epochs=1)
    first, logged = copy.deepcopy(callback.critic), trainer.callback_metrics["error_estimate/bias"]
    assert abs(logged) > 0.01  # after six steps
    inputs = {"keypoints": torch.rand(4, 17, 2), "pose": torch.rand(4, 17, 3), "flip": torch.zeros(4, 17, 3)}
    raw = copy.deepcopy(first)
    raw.scale.fill_(1.0)
    without, found = (c.errors(confidence=torch.ones(4, 17), **inputs) for c in (raw, first))
    torch.testing.assert_close(found.pose * (1 + logged), without.pose)
    torch.testing.assert_close(found.joints, first.scale[1] * without.joints)
    trainer.validate(model, host.loader(count=32, shuffle=False, seed=1), verbose=False)
    assert trainer.callback_metrics["error_estimate/bias"] == pytest.approx(0.0, abs=1e-5)
    torch.testing.assert_close(callback.critic.scale, first.scale)
    torch.testing.assert_close(callback.critic.factor_90, first.factor_90)


@pytest.mark.parametrize("seal", [False, True], ids=["plain", "SEAL"])
def test_a_host_that_averages_over_the_mirror_image(seal, make_trainer):
    class Averaging(hosts.ForwardHost):
        def lift(self, x):
            return (self(x) + mirror_poses(self(mirror_keypoints(x, H36M)), H36M)) / 2

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", hosts.distance(self.lift(batch[0]), batch[1]))

        def predict_step(self, batch, batch_idx):
            return self.lift(batch[0])

    class SealAveraging(SealMixin, Averaging):
        pass

    host, options = (SealAveraging, {"seal": SealConfig()}) if seal else (Averaging, {})
    callback = estimate(flip_averaged=True)
    model, trainer, _ = fitted(make_trainer, host, [callback], model_options=options)
    assert "error_estimate/auroc" in trainer.callback_metrics
    (poses,) = make_trainer(callbacks=[callback]).predict(model, host.loader(count=16, shuffle=False))
    assert torch.allclose(callback.estimated(model).pose, poses, atol=1e-5)
    wrong = estimate()
    fitted(make_trainer, host, [wrong], model_options=options)
    loader = host.loader(count=16, shuffle=False)

    class Asking(L.Callback):
        def on_predict_batch_end(self, trainer, module, *_):
            wrong.estimated(module)

    with pytest.raises(
        ValueError, match="Expected `flip_averaged=True`, since `predict_step` averages over the mirror"
    ):
        make_trainer(callbacks=[wrong, Asking()]).predict(model, loader)


def test_what_does_not_fit_is_told(make_trainer):
    with pytest.raises(ValueError, match="Expected `unit` to be 'm' or 'mm', but got 'cm'"):
        estimate(unit="cm")
    with pytest.raises(TypeError, match="unit"):
        ErrorEstimate(ErrorCritic("h36m17"))
    with pytest.raises(ValueError, match="Expected `every_n_steps` to be a positive integer, but got 0"):
        estimate(every_n_steps=0)
    data = MocapDataModule(synthetic=SyntheticMocap(subjects=3, clips_per_subject=1, frames=5))
    with pytest.raises(ValueError, match="Expected `unit` to be 'm', that of the data, but got 'mm'"):
        make_trainer(callbacks=[estimate(unit="mm")]).fit(LitLifter(hidden=8), data)
    with pytest.raises(ValueError, match="Expected `skeleton` of the ErrorCritic to be that of the data"):
        make_trainer(callbacks=[ErrorEstimate(ErrorCritic("coco17"), unit="m")]).fit(LitLifter(hidden=8), data)
    with pytest.raises(ValueError, match="Expected an ErrorCritic that was fitted, but this one was not"):
        make_trainer(callbacks=[estimate()]).predict(StillHost(), StillHost.loader(count=16))

    class Residual(hosts.ForwardHost):
        def training_step(self, batch, batch_idx):
            return hosts.distance(self(batch[0]) + batch[0].mean(), batch[1])

    with pytest.raises(ValueError, match=r"run once more, but the step changes .* Do all that makes the poses in the"):
        fitted(make_trainer, Residual, [estimate()], validate=False)


def test_keypoints_that_count_from_the_left_edge(make_trainer):
    class Screen(hosts.ForwardHost):
        @staticmethod
        def loader(**kwargs):
            return hosts.loader(lambda x, y, i: (x.sigmoid(), y), **kwargs)

    with pytest.warns(UserWarning, match="has an x below zero. If x counts from the left edge of the pictures, set"):
        fitted(make_trainer, Screen, [estimate()], max_epochs=1)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*x below zero.*")
        fitted(make_trainer, Screen, [estimate(image_width=1.0)], max_epochs=1)
        fitted(make_trainer, Screen, [estimate(inputs=("keypoints", "pose"))], max_epochs=1)


def test_confidences_in_training_and_none_in_predict(make_trainer):
    class Either(hosts.ForwardHost):
        def forward(self, x):
            return super().forward(x[..., :2])

        def predict_step(self, batch, batch_idx):
            return self(batch[0])

    callback = estimate()
    model, *_ = fitted(make_trainer, Either, [callback], max_epochs=1)
    sure = hosts.loader(lambda x, y, i: (torch.cat((x, torch.rand(17, 1)), 1),), count=16)

    class Asking(L.Callback):
        def on_predict_batch_end(self, trainer, module, *_):
            callback.estimated(module)

    with pytest.raises(ValueError, match=r"Expected keypoints of 2 channels, as the critic learned from, but got"):
        make_trainer(callbacks=[callback, Asking()]).predict(model, sure)
