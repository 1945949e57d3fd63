"""What the mixin promises, on hosts of every style, with a real Trainer."""

import copy
import pickle
import warnings

import lightning as L
import pytest
import torch

from seal_lightning import EnergyTerm, ForceRatio, SealBatch, SealConfig, SealMixin
from seal_lightning.loss_nets import MLPLossNet
from tests import hosts


def seal(host):
    return type(f"Seal{host.__name__}", (SealMixin, host), {"__module__": __name__})


class SealForwardHost(SealMixin, hosts.ForwardHost):
    pass


class Further(SealMixin, hosts.ForwardHost):
    def __init__(self, *args, extra=1, **kwargs):
        super().__init__(*args, **kwargs)
        self.save_hyperparameters()


class UnNormalised(SealMixin, hosts.NormalisedHost):
    def seal_batch(self, batch, inputs, output):
        x, y = batch
        return SealBatch(x, output * self.std + self.mean, y)


def small(skeleton):
    return MLPLossNet(skeleton, hidden=16, stages=1)


def config(**kwargs):
    return SealConfig(loss_net=small, **kwargs)


def fit(make_trainer, cls, seed=0, loader=None, trainer=None, **kwargs):
    L.seed_everything(seed, verbose=False)
    model = cls(**kwargs)
    trainer = make_trainer(**(trainer or {}))
    trainer.fit(model, loader or model.loader())
    return model, trainer


def equal_states(a, b):
    left, right = a.state_dict(), b.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def seal_states(model):
    optimizer = model.seal_optimizer.state_dict()["state"]
    moments = [value for state in optimizer.values() for value in state.values()]
    return [*model.seal.parameters(), *model.seal.buffers(), *moments]


@pytest.mark.parametrize("host", hosts.HOSTS, ids=lambda host: host.__name__)
def test_every_host_trains_and_its_loss_net_too(make_trainer, host):
    plain, _ = fit(make_trainer, host)
    model, trainer = fit(make_trainer, seal(host), seal=config())
    before = seal(host)(seal=config()).seal
    assert not equal_states(plain, model)
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), model.seal.parameters(), strict=True))
    logged = {key for key in trainer.callback_metrics if key.startswith("seal/")}
    names = ("energy", "loss_net_loss", "weight", "force_ratio", "ranking_accuracy", "skipped_updates")
    assert logged == {f"seal/{name}" for name in names}
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
    assert trainer.global_step == 12


@pytest.mark.parametrize("host", hosts.HOSTS, ids=lambda host: host.__name__)
def test_weight_zero_is_the_host_bit_for_bit(make_trainer, host):
    options = {} if host is hosts.ManualHost else {"gradient_clip_val": 0.3, "accumulate_grad_batches": 2}
    plain, before = fit(make_trainer, host, trainer=options)
    random_numbers = torch.get_rng_state()
    model, after = fit(make_trainer, seal(host), trainer=options, seal=config(weight=0.0))
    assert equal_states(plain, model)
    assert torch.equal(random_numbers, torch.get_rng_state())
    logged = {key: value for key, value in after.callback_metrics.items() if not key.startswith("seal/")}
    assert logged == before.callback_metrics
    for mine, theirs in zip(before.optimizers, after.optimizers, strict=True):
        assert mine.param_groups[0]["lr"] == theirs.param_groups[0]["lr"]


def test_the_trainer_counts_as_with_the_host_alone(make_trainer, tmp_path):
    def run(cls, folder, **kwargs):
        saving = L.pytorch.callbacks.ModelCheckpoint(tmp_path / folder, every_n_train_steps=3, save_top_k=-1)
        options = {"callbacks": [saving], "enable_checkpointing": True, "max_steps": 8, "max_epochs": -1}
        _, trainer = fit(make_trainer, cls, trainer=options, **kwargs)
        return trainer.global_step, sorted(path.name for path in (tmp_path / folder).iterdir())

    assert run(hosts.ForwardHost, "plain") == run(SealForwardHost, "seal", seal=config())


def test_state_dict_parameters_and_ddp_know_nothing_of_the_loss_nets():
    plain, model = hosts.ForwardHost(), SealForwardHost(seal=config())
    assert plain.state_dict().keys() == model.state_dict().keys()
    assert len(list(plain.parameters())) == len(list(model.parameters()))
    assert set(plain._modules) == set(model._modules)


def test_initial_weights_and_random_state_are_the_hosts():
    torch.manual_seed(1)
    plain, after = hosts.ForwardHost(), torch.get_rng_state()
    torch.manual_seed(1)
    model = SealForwardHost(seal=config())
    assert equal_states(plain, model)
    assert torch.equal(after, torch.get_rng_state())


def test_no_gradient_crosses(make_trainer):
    model = SealForwardHost(seal=config(gradient_clip_val=1.0))
    seen = []

    class Watch(L.Callback):
        def on_after_backward(self, trainer, module):
            seen.append([parameter.grad is not None for parameter in module.seal.parameters()])

    make_trainer(max_steps=3, callbacks=[Watch()]).fit(model, model.loader())
    assert len(seen) == 3
    assert not any(any(step) for step in seen)


def test_seal_step_leaves_the_host_without_gradients():
    model = SealForwardHost(seal=config())
    x, y = torch.randn(8, 17, 2), torch.randn(8, 17, 3)
    model.seal_step(model.seal.ranking_loss(model(x), y, x))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_energy_changes_the_gradient_by_the_force_ratio():
    """The gradient that SEAL adds at the prediction is 0.1 times the task's, sample by sample."""
    model = SealForwardHost(dropout=0.0, seal=config())
    x, y = torch.randn(8, 17, 2), torch.randn(8, 17, 3)
    with torch.random.fork_rng():
        task = hosts.distance(model(x), y)
    (alone,) = torch.autograd.grad(task, model.net[-1].bias)
    seen = []
    model.net[-1].register_full_backward_hook(lambda module, before, after: seen.append(after[0]))
    model.training_step((x, y), 0).backward()
    task_gradient = torch.autograd.grad(hosts.distance(prediction := model(x), y), prediction)[0].flatten(1)
    extra = seen[-1] - task_gradient
    mean_force = task_gradient.norm(dim=1).mean()
    torch.testing.assert_close(extra.norm(dim=1), torch.full((8,), 0.1) * mean_force, rtol=1e-3, atol=1e-6)
    assert not torch.equal(alone, model.net[-1].bias.grad)


def test_resume_in_mid_epoch_is_exact(make_trainer, tmp_path):
    """With a resumable loader and a host without random numbers of its own, all resumes bit for bit."""
    options = {"dropout": 0.0, "seal": config(lr_scheduler=halve)}
    batches = list(hosts.ForwardHost.loader(shuffle=False))
    saving = L.pytorch.callbacks.ModelCheckpoint(tmp_path, "middle", every_n_train_steps=8)
    trainer = {"callbacks": [saving], "enable_checkpointing": True}
    whole, _ = fit(make_trainer, SealForwardHost, loader=hosts.Resumable(batches), trainer=trainer, **options)
    resumed = SealForwardHost(**options)
    middle = tmp_path / "middle.ckpt"
    make_trainer().fit(resumed, hosts.Resumable(batches), ckpt_path=middle, weights_only=True)
    assert equal_states(whole, resumed)
    for left, right in zip(seal_states(whole), seal_states(resumed), strict=True):
        assert torch.equal(left, right)
    assert whole.seal.draws == resumed.seal.draws == 13
    assert whole.seal_optimizer.param_groups[0]["lr"] == resumed.seal_optimizer.param_groups[0]["lr"]


def halve(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.5)


def test_checkpoints_interchange_with_the_host(make_trainer, tmp_path):
    model, trainer = fit(make_trainer, SealForwardHost, seal=SealConfig(weight=0.01))
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    plain = hosts.ForwardHost.load_from_checkpoint(tmp_path / "seal.ckpt", weights_only=True)
    assert equal_states(plain, model)
    again = SealForwardHost.load_from_checkpoint(tmp_path / "seal.ckpt", weights_only=True)
    assert again.hparams.seal["weight"] == 0.01
    for left, right in zip(seal_states(model), seal_states(again), strict=True):
        assert torch.equal(left, right)

    plain, trainer = fit(make_trainer, hosts.ForwardHost)
    trainer.save_checkpoint(tmp_path / "plain.ckpt")
    started = SealForwardHost(seal=config())
    make_trainer(max_epochs=3).fit(started, started.loader(), ckpt_path=tmp_path / "plain.ckpt", weights_only=True)
    assert started.seal.draws == 7


def test_a_checkpoint_with_other_loss_nets_is_refused(make_trainer, tmp_path):
    _, trainer = fit(make_trainer, SealForwardHost, seal=config())
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    with pytest.raises(ValueError, match="Expected the checkpoint's loss-nets to be those that `seal` describes"):
        SealForwardHost.load_from_checkpoint(tmp_path / "seal.ckpt", seal=SealConfig(), weights_only=True)


def test_a_checkpoint_of_another_format_is_refused():
    model = SealForwardHost(seal=config())
    with pytest.raises(ValueError, match=r"`seal` entry to have format 2 or less, got 99\."):
        model.on_load_checkpoint({"seal": {"format": 99}})


def test_a_factory_without_a_name_trains_but_says_so_when_loaded(make_trainer, tmp_path):
    unnamed = SealConfig(loss_net=lambda skeleton: small(skeleton))
    _, trainer = fit(make_trainer, SealForwardHost, seal=unnamed)
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    with pytest.raises(ValueError, match=r"Expected `seal` to be given anew, .* `loss_net` to be a class"):
        SealForwardHost.load_from_checkpoint(tmp_path / "seal.ckpt", weights_only=True)
    SealForwardHost.load_from_checkpoint(tmp_path / "seal.ckpt", seal=unnamed, weights_only=True)


def test_the_host_works_on_pytorch_lightning(tmp_path):
    pl = pytest.importorskip("pytorch_lightning")

    class Host(pl.LightningModule):
        __init__ = hosts.ForwardHost.__init__

    def init(self):
        pl.LightningModule.__init__(self)
        self.net = hosts.net()

    body = {name: vars(hosts.ForwardHost)[name] for name in ("forward", "training_step")}
    optimizers = {"configure_optimizers": lambda self: torch.optim.Adam(self.parameters(), lr=1e-2)}
    host = type("Host", (pl.LightningModule,), {"__init__": init, **body, **optimizers})
    results = []
    for cls, kwargs in ((host, {}), (seal(host), {"seal": config(weight=0.0)}), (seal(host), {"seal": config()})):
        L.seed_everything(0, verbose=False)
        model = cls(**kwargs)
        trainer = pl.Trainer(
            accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False
        )
        trainer.fit(model, hosts.ForwardHost.loader())
        results.append(model)
    assert equal_states(results[0], results[1])
    assert not equal_states(results[0], results[2])
    assert "seal/energy" in trainer.callback_metrics


def test_validation_and_test_steps_are_captured_without_an_update(make_trainer):
    model = SealForwardHost(seal=config())
    before = [parameter.clone() for parameter in model.seal.parameters()]
    make_trainer().validate(model, model.loader(shuffle=False), verbose=False)
    captured = model.seal_captured
    x = hosts.Poses(None).x[-16:]
    torch.testing.assert_close(captured.keypoints_2d, x)
    torch.testing.assert_close(captured.prediction, model.eval()(x))
    assert not captured.prediction.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before, model.seal.parameters(), strict=True))


def test_an_unreadable_validation_step_harms_only_who_asks(make_trainer):
    class Host(hosts.AmbiguousHost):
        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.training_step(batch, batch_idx))

    model = seal(Host)(seal=config())
    make_trainer().validate(model, model.loader(), verbose=False)
    with pytest.raises(ValueError, match="Override `seal_batch"):
        _ = model.seal_captured


def test_seal_captured_before_any_step():
    with pytest.raises(RuntimeError, match="Expected a training, validation or test step before"):
        _ = SealForwardHost(seal=config()).seal_captured


def test_an_ambiguous_step_raises_and_names_the_override(make_trainer):
    pairs = r"several pairs: .*output of `forward` .*; .*output of `other` .*"
    with pytest.raises(ValueError, match=rf"{pairs}Override `seal_batch\(self, batch, inputs, output\)`"):
        fit(make_trainer, seal(hosts.AmbiguousHost), seal=config())


def test_normalised_targets_warn_once_and_the_override_mends_it(make_trainer):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(make_trainer, SealForwardHost, seal=config())
    messages = [str(warning.message) for warning in caught if "left and right bones differ" in str(warning.message)]
    assert len(messages) == 1
    assert "prediction * std + mean" in messages[0]

    model, trainer = fit(make_trainer, UnNormalised, seal=config())
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
    captured = model.seal_captured
    assert captured.prediction.shape == captured.target.shape


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        (
            lambda self, batch, inputs, output: batch,
            TypeError,
            "Expected `seal_batch` to return a SealBatch or None, but got list",
        ),
        (
            lambda self, batch, inputs, output: SealBatch(batch[0], output),
            ValueError,
            "Expected `seal_batch` to return a `target`",
        ),
        (
            lambda self, batch, inputs, output: SealBatch(batch[0], torch.zeros_like(batch[1]), batch[1]),
            ValueError,
            "to depend on the prediction that `seal_batch` returned",
        ),
    ],
)
def test_bad_overrides(make_trainer, override, error, message):
    cls = type("Bad", (SealMixin, hosts.ForwardHost), {"seal_batch": override})
    with pytest.raises(error, match=message):
        fit(make_trainer, cls, seal=config())


def test_dict_returns_keep_their_other_keys(make_trainer):
    outputs = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, module, output, batch, batch_idx):
            outputs.append(output)

    fit(make_trainer, seal(hosts.DictHost), trainer={"callbacks": [Watch()], "max_steps": 1}, seal=config())
    assert outputs[0]["note"] == "kept"
    assert outputs[0]["loss"].dim() == 0


def test_a_step_that_returns_none_is_skipped(make_trainer):
    class Host(hosts.ForwardHost):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx % 2 else loss

    model, _ = fit(make_trainer, seal(Host), trainer={"max_epochs": 1}, seal=config())
    assert model.seal.draws == 4


def test_a_step_with_any_arguments(make_trainer):
    class Host(hosts.NormalisedHost):
        def training_step(self, *args, **kwargs):
            return super().training_step(*args, **kwargs)

    class Seal(SealMixin, Host):
        seal_batch = UnNormalised.seal_batch

    model, _ = fit(make_trainer, Seal, seal=config())
    assert model.seal.draws == 13


def test_override_and_super_and_two_levels_of_subclassing(make_trainer):
    class Overriding(SealForwardHost):
        def training_step(self, batch, batch_idx):
            return 2 * super().training_step(batch, batch_idx)

    class Further(Overriding):
        def training_step(self, batch):
            return super().training_step(batch, 0)

    model, trainer = fit(make_trainer, Further, seal=config())
    assert model.seal.draws == 13
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)


def test_the_base_order_is_checked_when_the_class_is_made():
    with pytest.raises(
        TypeError, match=r"Expected SealMixin before the host, but ForwardHost comes first; write `class Wr"
    ):
        type("Wrong", (hosts.ForwardHost, SealMixin), {})


@pytest.mark.parametrize("name", ["seal", "seal_batch", "seal_step", "seal_optimizer", "_seal_anything"])
def test_a_host_that_uses_our_names_is_refused(name):
    owner = type("Owner", (hosts.ForwardHost,), {name: None})
    with pytest.raises(TypeError, match=f"Owner defines \\['{name}'\\]"):
        seal(owner)


def test_a_host_with_an_argument_called_seal_is_refused():
    class Owner(hosts.ForwardHost):
        def __init__(self, seal=1):
            super().__init__()

    with pytest.raises(TypeError, match="Owner defines \\['seal'\\]"):
        seal(Owner)


def test_a_host_that_sets_our_names_is_refused():
    class Owner(hosts.ForwardHost):
        def __init__(self):
            super().__init__()
            self._seal_key = 1

    with pytest.raises(TypeError, match="but it sets \\['_seal_key'\\]"):
        seal(Owner)()


def test_a_host_with_a_child_of_our_name_is_refused():
    class Owner(hosts.ForwardHost):
        def __init__(self):
            super().__init__()
            self.add_module("seal", torch.nn.Identity())

    with pytest.raises(TypeError, match="but it sets \\['seal'\\]"):
        seal(Owner)()


def test_a_host_without_a_training_step_is_refused():
    with pytest.raises(TypeError, match="to have a host with a `training_step` of its own"):
        type("Seal", (SealMixin, L.LightningModule), {})()


def test_seal_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="Expected `seal` to be a SealConfig, but got int"):
        SealForwardHost(seal=3)


def test_device_and_precision_moves_reach_the_loss_nets_as_they_should():
    model = SealForwardHost(seal=config())
    model.to(torch.float64)
    assert next(model.seal.parameters()).dtype == torch.float32
    model.to("meta")
    assert next(model.seal.parameters()).device.type == "meta"


def test_train_and_eval_reach_the_loss_nets():
    model = SealForwardHost(seal=config())
    assert not model.eval().seal.training
    assert model.train().seal.training


def test_a_model_can_be_copied_and_pickled(make_trainer):
    model, _ = fit(make_trainer, SealForwardHost, seal=config())
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert equal_states(model, other)
        assert all(torch.equal(a, b) for a, b in zip(seal_states(model), seal_states(other), strict=True))
        assert other.seal is not model.seal


def test_warm_up_trains_the_loss_nets_alone(make_trainer):
    plain, _ = fit(make_trainer, hosts.ForwardHost)
    model, trainer = fit(make_trainer, SealForwardHost, seal=config(warmup_steps=12))
    assert equal_states(plain, model)
    assert trainer.callback_metrics["seal/weight"] == 0
    model, _ = fit(make_trainer, SealForwardHost, seal=config(warmup_steps=11))
    assert not equal_states(plain, model)


def test_loss_nets_train_on_after_validation(make_trainer):
    model = SealForwardHost(seal=config())
    modes = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, module, *args):
            modes.append((module.seal.training, float(module.seal.frame.bone_count)))

    make_trainer(callbacks=[Watch()], val_check_interval=2).fit(model, model.loader(), model.loader())
    assert all(training for training, _ in modes)
    assert [count for _, count in modes] == [16 * 16 * step for step in range(1, 13)]


def test_arguments_of_the_seal_subclass_are_saved_as_plain_data(make_trainer, tmp_path):
    _, trainer = fit(make_trainer, Further, extra=5, seal=SealConfig(weight=0.25))
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    again = Further.load_from_checkpoint(tmp_path / "seal.ckpt", weights_only=True)
    assert again.hparams.extra == 5
    assert again.seal.energies["energy_0"].weight == 0.25


@pytest.mark.parametrize("host", [hosts.FlatHost, hosts.SequenceHost, hosts.ManualHost], ids=lambda host: host.__name__)
def test_simultaneous_updates(make_trainer, host):
    model, trainer = fit(make_trainer, seal(host), seal=config(update="simultaneous"))
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
    assert model.seal.draws == 13


def test_static_mode_leaves_the_loss_nets_alone(make_trainer, tmp_path):
    _, trainer = fit(make_trainer, SealForwardHost, seal=config())
    trainer.save_checkpoint(tmp_path / "seal.ckpt")
    frozen = config(mode="static", checkpoint=str(tmp_path / "seal.ckpt"))
    before = SealForwardHost(seal=frozen).seal.state_dict()
    model, trainer = fit(make_trainer, SealForwardHost, seal=frozen)
    after = model.seal.state_dict()
    learned = [key for key in before if "loss_nets" in key or "frame" in key]
    assert all(torch.equal(before[key], after[key]) for key in learned if isinstance(before[key], torch.Tensor))
    assert not model.seal.training
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
    with pytest.raises(RuntimeError, match="frozen loss-nets have no optimizer"):
        _ = model.seal_optimizer


def test_frames_per_clip_scores_some_frames(make_trainer):
    counts = []

    class Counting(MLPLossNet):
        def forward(self, keypoints_2d, pose):
            counts.append(len(pose))
            return super().forward(keypoints_2d, pose)

    chosen = SealConfig(loss_net=lambda skeleton: Counting(skeleton, hidden=8, stages=1), frames_per_clip=2)
    fit(make_trainer, seal(hosts.SequenceHost), trainer={"max_steps": 1}, seal=chosen)
    assert counts == [2 * 2 * 16, 2 * 16]


def test_labelled_rows_alone_are_ranked_and_all_feel_the_energy():
    class Partly(SealMixin, hosts.ForwardHost):
        def seal_batch(self, batch, inputs, output):
            labelled = torch.tensor([True] * 4 + [False] * 4)
            return SealBatch(batch[0], output, batch[1], labelled=labelled)

        def training_step(self, batch, batch_idx):
            return hosts.distance(self(batch[0])[:4], batch[1][:4])

    torch.manual_seed(0)
    model = Partly(dropout=0.0, seal=config())
    x, y = torch.randn(8, 17, 2), torch.randn(8, 17, 3)
    y[4:] = torch.nan
    seen = []
    model.net[-1].register_full_backward_hook(lambda module, before, after: seen.append(after[0]))
    model.training_step((x, y), 0).backward()
    assert torch.isfinite(seen[0]).all()
    assert (seen[0][4:].norm(dim=1) > 0).all()
    assert all(torch.isfinite(parameter).all() for parameter in model.seal.parameters())


def test_several_energies_have_one_optimizer_with_a_group_each(make_trainer):
    slow = EnergyTerm(small, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-5), name="slow")
    fast = EnergyTerm(small, weight=0.01, name="fast")
    model, _ = fit(make_trainer, SealForwardHost, seal=SealConfig(energies=[slow, fast]))
    assert [group["lr"] for group in model.seal_optimizer.param_groups] == [1e-5, 1e-3]
    mixed = SealConfig(energies=[slow, EnergyTerm(small, optimizer=torch.optim.AdamW, name="other")])
    with pytest.raises(TypeError, match="optimizers of one class, but got Adam and AdamW"):
        _ = SealForwardHost(seal=mixed).seal_optimizer


def test_seal_step_may_be_overridden(make_trainer):
    class Mine(SealForwardHost):
        steps = 0

        def seal_step(self, ranking_loss):
            self.steps += 1
            self.seal_optimizer.zero_grad()
            ranking_loss.backward()
            self.seal_optimizer.step()

    mine, _ = fit(make_trainer, Mine, seal=config())
    default, _ = fit(make_trainer, SealForwardHost, seal=config())
    assert mine.steps == 12
    assert equal_states(mine, default)


def test_a_manual_step_whose_backward_pass_is_not_seen_warns(make_trainer):
    class Bare(hosts.ManualHost):
        def training_step(self, batch, batch_idx):
            x, y = batch
            optimizer = self.optimizers()
            optimizer.zero_grad()
            torch.autograd.backward(hosts.distance(self(x), y))
            optimizer.step()

    with pytest.warns(UserWarning, match="no energy joined it"):
        fit(make_trainer, seal(Bare), trainer={"max_steps": 1}, seal=config())


def test_lbfgs_steps_the_loss_nets_once_a_batch(make_trainer):
    class Host(hosts.ForwardHost):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=4)

    model, _ = fit(make_trainer, seal(Host), trainer={"max_epochs": 1}, seal=config())
    assert model.seal.draws == 7


def test_swa_refreshes_batch_norm_without_an_update(make_trainer):
    averaging = L.pytorch.callbacks.StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1)
    model, _ = fit(make_trainer, SealForwardHost, trainer={"max_epochs": 3, "callbacks": [averaging]}, seal=config())
    assert model.seal.draws == 1 + 3 * 6


def test_loss_scaling_does_not_change_the_force(make_trainer):
    """With a gradient scaler the force ratio holds, and small gradients do not vanish."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14)
    plugin = L.pytorch.plugins.MixedPrecision("16-mixed", device="cpu", scaler=scaler)
    model, trainer = fit(make_trainer, SealForwardHost, trainer={"plugins": [plugin]}, seal=config())
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_lr_find_leaves_the_loss_nets_as_they_were(make_trainer, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    model = SealForwardHost(seal=config())
    before = copy.deepcopy(model.seal.state_dict())
    trainer = make_trainer(max_epochs=20, enable_checkpointing=True)
    found = L.pytorch.tuner.Tuner(trainer).lr_find(model, model.loader(), num_training=20, update_attr=False)
    assert len(set(found.results["lr"])) > 10
    for key, value in model.seal.state_dict().items():
        assert torch.equal(value, before[key]) if isinstance(value, torch.Tensor) else value == before[key]


def test_force_ratio_zero_is_no_weight_at_all(make_trainer):
    plain, _ = fit(make_trainer, hosts.ForwardHost)
    model, _ = fit(make_trainer, SealForwardHost, seal=config(weight=ForceRatio(0.0)))
    assert equal_states(plain, model)


def test_a_step_that_draws_its_own_batches(make_trainer):
    class Host(hosts.ForwardHost):
        def training_step(self, dataloader_iter):
            (x, y), _, _ = next(dataloader_iter)
            return hosts.distance(self(x), y)

    plain, _ = fit(make_trainer, Host)
    zero, _ = fit(make_trainer, seal(Host), seal=config(weight=0.0))
    model, trainer = fit(make_trainer, seal(Host), seal=config())
    assert equal_states(plain, zero)
    assert not equal_states(plain, model)
    assert trainer.callback_metrics["seal/force_ratio"] == pytest.approx(0.1, abs=0.02)
