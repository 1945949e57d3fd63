"""The promises on one accelerator: `make test-gpu` runs these on a GPU, the suite on the CPU."""

import copy
from functools import partial

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from seal_lightning import EnergyTerm, ForceRatio, SealConfig, SealLoss, SealMixin
from seal_lightning.loss_nets import GraphLossNet, MLPLossNet, StructureLossNet
from seal_lightning.objectives.penalties import DenoisingScore
from seal_lightning.training import _guard
from tests import hosts

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore:The true poses' left", "ignore:Of the true poses")]


class SealHost(SealMixin, hosts.ForwardHost):
    pass


class SealManualHost(SealMixin, hosts.ManualHost):
    pass


def small(skeleton):
    return MLPLossNet(skeleton, hidden=16, stages=1)


def graph(skeleton):
    return GraphLossNet(skeleton, dim=16, depth=2, heads=2, dropout=0.1)


def fit(make_trainer, host, seal=None, loader=None, path=None, **options):
    L.seed_everything(0, verbose=False)
    model = host() if seal is None else host(seal=seal)
    trainer = make_trainer(**({"max_epochs": 1} | options))
    trainer.fit(model, loader or model.loader(), ckpt_path=path, weights_only=False if path else None)
    return model, trainer


def tensors(state):
    return {key: value.cpu() for key, value in state.items() if isinstance(value, torch.Tensor)}


def same(left, right):
    left, right = tensors(left), tensors(right)
    assert left.keys() == right.keys()
    return all(torch.equal(left[key], right[key]) for key in left)


@pytest.fixture(params=["32-true", "bf16-mixed", "16-mixed"])
def precision(request, device):
    if request.param == "16-mixed" and device.type != "cuda":
        pytest.skip("half precision with a gradient scaler needs a GPU")
    return request.param


@pytest.mark.parametrize(("plain", "host"), [(hosts.ForwardHost, SealHost), (hosts.ManualHost, SealManualHost)])
def test_weight_zero_is_the_host_bit_for_bit(make_trainer, precision, plain, host):
    alone, _ = fit(make_trainer, plain, precision=precision)
    zero, _ = fit(make_trainer, host, SealConfig(weight=0.0), precision=precision)
    assert same(alone.state_dict(), zero.state_dict())


@pytest.mark.parametrize("host", [SealHost, SealManualHost])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_the_energy_acts_at_its_share(make_trainer, precision, host, update):
    model, trainer = fit(make_trainer, host, SealConfig(weight=ForceRatio(0.2), update=update), precision=precision)
    fresh = host(seal=SealConfig())
    assert float(trainer.callback_metrics["seal/force_ratio"]) == pytest.approx(0.2, rel=0.05)
    assert float(trainer.callback_metrics["seal/skipped_updates"]) == 0
    assert not same(model.seal.loss_nets.state_dict(), fresh.seal.loss_nets.state_dict())
    values = [*model.state_dict().values(), *tensors(model.seal.state_dict()).values()]
    assert all(torch.isfinite(value).all() for value in values)


@pytest.mark.parametrize(
    "options", [{"gradient_clip_val": 0.05}, {"accumulate_grad_batches": 2}], ids=["clipping", "accumulation"]
)
def test_clipping_and_accumulation_are_the_hosts(make_trainer, options):
    alone, _ = fit(make_trainer, hosts.ForwardHost, **options)
    zero, _ = fit(make_trainer, SealHost, SealConfig(weight=0.0, gradient_clip_val=1.0), **options)
    felt, _ = fit(make_trainer, SealHost, SealConfig(gradient_clip_val=1.0), **options)
    assert same(alone.state_dict(), zero.state_dict())
    assert not same(alone.state_dict(), felt.state_dict())


class StillHost(SealMixin, hosts.ForwardHost):
    """Without random numbers of its own, which Lightning does not restore."""

    def __init__(self, **kwargs):
        super().__init__(dropout=0.0, **kwargs)


def test_a_resumed_training_is_the_unbroken_one(make_trainer, tmp_path):
    config = SealConfig(loss_net=graph)
    batches = list(hosts.ForwardHost.loader(shuffle=False))
    saver = ModelCheckpoint(tmp_path, "middle", every_n_train_steps=3)
    options = {"callbacks": [saver], "enable_checkpointing": True, "max_steps": 6}
    whole, _ = fit(make_trainer, StillHost, config, hosts.Resumable(batches), **options)
    rest, _ = fit(make_trainer, StillHost, config, hosts.Resumable(batches), tmp_path / "middle.ckpt")
    assert same(whole.state_dict(), rest.state_dict())
    assert same(whole.seal.state_dict(), rest.seal.state_dict())


def test_a_checkpoint_is_read_on_the_cpu(make_trainer, tmp_path):
    model, trainer = fit(make_trainer, SealHost, SealConfig())
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    loaded = SealHost.load_from_checkpoint(tmp_path / "some.ckpt", map_location="cpu", weights_only=True)
    assert same(model.seal.state_dict(), loaded.seal.state_dict())
    x, y = torch.randn(8, 17, 2), torch.randn(8, 17, 3)
    loaded.training_step((x, y), 0).backward()
    (group,) = loaded.seal_optimizer.param_groups
    assert group["fused"]
    assert all(state["step"].device.type == "cpu" for state in loaded.seal_optimizer.state.values())


def test_a_compiled_host_trains(make_trainer):
    class Compiled(SealHost):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net.compile(backend="aot_eager")

    model, trainer = fit(make_trainer, Compiled, SealConfig())
    assert float(trainer.callback_metrics["seal/force_ratio"]) == pytest.approx(0.1, rel=0.05)
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


def criterion(device, **term):
    options = {"loss_net": StructureLossNet, "gradient_penalty": DenoisingScore()} | term
    return SealLoss("h36m17", [EnergyTerm(**options)]).to(device)


def batch(device):
    prediction, target, keypoints = torch.randn(8, 17, 3), torch.randn(8, 17, 3), torch.randn(8, 17, 2)
    return prediction.to(device).requires_grad_(), target.to(device), keypoints.to(device)


def test_the_global_random_state_stays_what_it_was(device):
    loss = criterion(device, loss_net=graph)
    prediction, target, keypoints = batch(device)
    before = torch.get_rng_state()
    on_device = torch.cuda.get_rng_state(device) if device.type == "cuda" else before
    loss.ranking_loss(prediction, target, keypoints).backward()
    loss(prediction, target, keypoints).backward()
    assert torch.equal(torch.get_rng_state(), before)
    if device.type == "cuda":
        assert torch.equal(torch.cuda.get_rng_state(device), on_device)


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_waits_for_no_device(device, no_fetch, monkeypatch, masked):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    model = SealHost(seal=SealConfig()).to(device)
    prediction, target, keypoints = batch(device)
    if masked:
        seen = torch.rand(8, 17, device=device) > 0.2
        data = {"keypoints_2d": keypoints, "target": target, "visibility": seen}

        def step():
            seal = model.seal
            ranking = seal.ranking_loss(prediction, target, keypoints, seen)
            model._seal_optimization.step(ranking)
            seal(prediction, target, keypoints, data["visibility"]).backward()

    else:

        def step():
            model.training_step((keypoints, target), 0).backward()

    model.log = model.log_dict = lambda *args, **kwargs: None
    step()  # the first looks at the data
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    else:
        with no_fetch:
            step()


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.RMSprop])
def test_a_step_with_bad_numbers_leaves_no_trace(device, monkeypatch, optimizer):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    model = SealHost(seal=SealConfig(loss_net=small, optimizer=optimizer)).to(device)
    _, target, keypoints = batch(device)
    model.training_step((keypoints, target), 0)
    before = copy.deepcopy(tensors(model.seal.loss_nets.state_dict()))
    bad = target.clone()
    bad[2, 3] = torch.nan
    model.training_step((keypoints, bad), 1)
    assert same(model.seal.loss_nets.state_dict(), before)
    assert int(model._seal_optimization.guard.skipped) == 1
    model.training_step((keypoints, target), 2)
    assert not same(model.seal.loss_nets.state_dict(), before)


@pytest.mark.parametrize("masked", [False, True])
def test_a_device_computes_what_the_cpu_computes(device, masked):
    """Value and pull, in float32 and without TF32."""
    prediction, target, keypoints = batch("cpu")
    seen = torch.rand(8, 17) > 0.2 if masked else None
    results = []
    for place in ("cpu", device):
        loss = criterion(place)
        poses = [tensor.detach().to(place) for tensor in (prediction, target, keypoints)]
        poses[0].requires_grad_()
        masks = {} if seen is None else {"visibility": seen.to(place)}
        ranking = loss.ranking_loss(*poses, **masks)
        total = loss(*poses, **masks)
        (gradient,) = torch.autograd.grad(total, poses[0])
        results.append([ranking.detach().cpu(), total.detach().cpu(), gradient.cpu()])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("host", [SealHost, SealManualHost])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_graphs_train_as_steps_do(make_trainer, device, precision, host, update):
    if device.type != "cuda":
        pytest.skip("graphs need a CUDA device; tests/training/test_graph.py has a stand-in for the CPU")
    options = {"update": update, "optimizer": partial(torch.optim.SGD, lr=1e-2), "gradient_clip_val": 1.0}
    models = []
    for cuda_graph in (False, True):
        seal = SealConfig(cuda_graph=cuda_graph, **options)
        models.append(fit(make_trainer, host, seal, precision=precision, max_epochs=2)[0])
    assert models[1]._seal_optimization.graphed.replays > 0
    for eager, replayed in zip(*(tensors(model.seal.state_dict()).values() for model in models), strict=True):
        torch.testing.assert_close(replayed, eager, rtol=1e-4, atol=1e-5)
    for name, value in tensors(models[0].state_dict()).items():
        torch.testing.assert_close(tensors(models[1].state_dict())[name], value, rtol=1e-3, atol=1e-4)
