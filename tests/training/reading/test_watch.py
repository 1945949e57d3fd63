"""What the watch must leave alone: hooks, retained gradients, copies, exceptions, memory; and forces at scale."""

import copy
import gc
import pickle
import warnings
import weakref

import lightning as L
import pytest
import torch
from torch import nn

from seal_lightning import ForceRatio, SealBatch, SealConfig, SealMixin
from tests import hosts
from tests.training.reading.styles import StyleHost, distance, net, pair

X, Y = pair()


def step(loss, build=lambda host: None, batch=(X, Y), members=None, host=StyleHost, **options):
    torch.manual_seed(0)
    members = {"loss": staticmethod(loss), "build": staticmethod(build), **(members or {})}
    model = type("Seal", (SealMixin, type("Host", (host,), members)), {})(seal=SealConfig(**options))
    return model, model.training_step(batch, 0)


@pytest.mark.parametrize("weight", [0.0, ForceRatio(0.1)])
@pytest.mark.parametrize("where", ["output", "prediction", "difference", "error"])
def test_a_hook_of_the_host_fires_once(weight, where):
    """Before the prediction, at it, and between it and the loss, where SEAL looks at gradients, too."""
    seen = []

    def loss(host, b, i):
        output = host.net(b[0])
        prediction = output * 2.0
        difference = prediction - b[1]
        error = difference.norm(dim=-1)
        tensors = {"output": output, "prediction": prediction, "difference": difference, "error": error}
        tensors[where].register_hook(lambda gradient: seen.append(gradient))
        return error.mean()

    _, total = step(loss, weight=weight)
    total.backward()
    assert len(seen) == 1


def test_a_hook_that_changes_the_gradient_is_counted_in_the_force():
    def loss(host, b, i):
        host.prediction = host.net(b[0])
        scaled = host.prediction * 1.0
        scaled.register_hook(lambda gradient: 0.01 * gradient)
        difference = host.prediction - b[1]
        return difference.norm(dim=-1).mean() + 0 * scaled.sum() + (scaled - scaled.detach()).sum()

    model, total = step(loss)
    task = model.task
    (both,) = torch.autograd.grad(total, model.prediction, retain_graph=True)
    (alone,) = torch.autograd.grad(task, model.prediction)
    ratio = (both - alone).flatten(1).norm(dim=1).mean() / alone.flatten(1).norm(dim=1).mean()
    assert float(ratio) == pytest.approx(float(model.seal.stats["force_ratio"]), rel=1e-3)


def test_retained_gradients_are_the_hosts():
    def loss(host, b, i):
        host.prediction, host.middle = host.net(b[0]), None
        host.prediction.retain_grad()
        host.middle = host.prediction * 1.0
        host.middle.retain_grad()
        return distance(host.middle, b[1])

    model, total = step(loss)
    total.backward()
    (alone,) = torch.autograd.grad(distance(middle := model.middle.detach().requires_grad_(), Y), middle)
    torch.testing.assert_close(model.prediction.grad, model.middle.grad)
    assert float((model.middle.grad - alone).norm() / alone.norm()) == pytest.approx(0.1, rel=0.1)


class Counted(torch.autograd.Function):
    backwards = 0

    @staticmethod
    def forward(ctx, value):
        return value * 1.0

    @staticmethod
    def backward(ctx, gradient):
        Counted.backwards += 1
        return gradient


@pytest.mark.parametrize("weight", [0.0, ForceRatio(0.1)])
def test_a_custom_backward_runs_once(weight):
    Counted.backwards = 0

    def loss(host, b, i):
        host.prediction = host.net(b[0])
        return Counted.apply(distance(host.prediction, b[1]))

    _, total = step(loss, weight=weight)
    total.backward()
    assert Counted.backwards == 1


def test_what_would_run_twice_is_refused():
    def loss(host, b, i):
        return host.critic(distance(host.net(b[0]), b[1])[None])

    def build(host):
        host.critic = nn.Linear(1, 1)
        host.critic.register_full_backward_hook(lambda *args: None)

    with pytest.raises(ValueError, match="must not run twice, but got a full backward hook on a module"):
        step(loss, build)


def test_a_hook_that_a_network_registers_is_refused():
    class Critic(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(51, 1)

        def forward(self, pose):
            flat = pose.flatten(1)
            flat.register_hook(lambda gradient: None)
            return self.layer(flat).mean()

    def loss(host, b, i):
        prediction = host.net(b[0])
        return distance(prediction, b[1]) - 0.01 * host.critic(prediction)

    def build(host):
        host.critic = Critic()

    with pytest.raises(ValueError, match="must not run twice, but got a hook that `critic` registers"):
        step(loss, build)
    step(loss, build, weight=0.0)


@pytest.mark.parametrize("method", ["training_step", "validation_step"])
def test_what_a_step_holds_is_freed_when_it_ends(method):
    class Host(StyleHost):
        def validation_step(self, batch, batch_idx):
            return self.training_step(batch, batch_idx)

    seen = []

    def loss(host, b, i):
        prediction, truth = host.net(b[0]), 2.0 * b[1]
        bones = prediction[:, 1:] - prediction[:, :-1]
        seen.extend(weakref.ref(tensor) for tensor in (prediction, truth, bones))
        return distance(prediction, truth) + distance(prediction[:, 3], truth[:, 3]) + 0 * bones.sum()

    model, _ = step(loss, host=Host)
    model.task = None
    seen.clear()
    gc.collect()
    gc.disable()  # nothing waits for the collector, with what a device holds for it
    try:
        total = getattr(model, method)((X, Y), 1)
        model.task = model._seal_last = None
        del total
        assert [tensor() for tensor in seen] == [None] * 3
    finally:
        gc.enable()


def test_copies_made_inside_a_step_carry_nothing():
    def loss(host, b, i):
        prediction = host.net(b[0])
        host.copies = [copy.deepcopy(host.net)]
        object.__setattr__(host, "whole", None)
        whole = copy.deepcopy(host)
        object.__setattr__(host, "whole", whole)
        return distance(prediction, b[1])

    model, _ = step(loss)
    for module in (*model.copies, model.whole, model.net):
        assert not any(inner._forward_hooks or inner._forward_pre_hooks for inner in module.modules())
    assert model.whole._seal_step is None
    assert not {"forward", "manual_backward"} & set(vars(model.whole))
    assert isinstance(pickle.loads(pickle.dumps(SealPlain(seal=SealConfig()))), SealPlain)


class SealPlain(SealMixin, hosts.ForwardHost):
    pass


def test_an_exception_in_the_step_leaves_nothing_behind():
    def loss(host, b, i):
        host.net(b[0])
        raise KeyError("the host's own")

    with pytest.raises(KeyError, match="the host's own"):
        step(loss)
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.overrides._len_torch_function_stack() == 0


def test_an_exception_in_the_network_leaves_nothing_behind():
    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(1, 1)

        def forward(self, x):
            raise KeyError("the network's own")

    def build(host):
        host.broken = Broken()

    with pytest.raises(KeyError, match="the network's own"):
        step(lambda host, b, i: host.broken(b[0]), build)
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.overrides._len_torch_function_stack() == 0


def test_validation_keeps_the_detached_poses_alone():
    class Deep(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(34, 999), nn.Linear(999, 51)
            self.middle = nn.ModuleList([nn.Linear(999, 999) for _ in range(20)])

        def validation_step(self, batch, batch_idx):
            x = self.first(batch[0])
            for layer in self.middle:
                x = layer(x)
                alive.append(sum(t.shape == (8, 999) for t in gc.get_objects() if isinstance(t, torch.Tensor)))
            return (self.last(x).view(-1, 17, 3) - batch[1]).norm(dim=-1).mean()

        training_step = validation_step

    alive = []
    model = type("SealDeep", (SealMixin, Deep), {})(seal=SealConfig())
    with torch.no_grad():
        model.validation_step((X.flatten(1), Y), 0)
    assert max(alive) <= 3
    assert model.seal_captured.prediction.shape == (8, 17, 3)


def test_small_gradients_do_not_vanish_in_half_precision(make_trainer):
    """A gradient that fits into float16 while it is scaled, and no longer afterwards."""

    class Half(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Linear(34, 51)
            nn.init.zeros_(self.net.weight)
            nn.init.zeros_(self.net.bias)

        def training_step(self, batch, batch_idx):
            prediction = self.net(batch[0].flatten(1)).view(-1, 17, 3)
            return 1e-5 * (prediction.float() - batch[1]).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    plugin = L.pytorch.plugins.MixedPrecision("16-mixed", device="cpu", scaler=scaler)
    stats = []
    for options in ({}, {"plugins": [plugin]}):
        L.seed_everything(0, verbose=False)
        model = type("SealHalf", (SealMixin, Half), {})(seal=SealConfig(weight=ForceRatio(0.2)))
        make_trainer(max_steps=1, **options).fit(model, torch.utils.data.DataLoader([(X, Y)], batch_size=None))
        stats.append(model.seal.stats)
    assert float(stats[1]["force_ratio"]) == pytest.approx(0.2, rel=1e-3)
    assert float(stats[1]["weight"]) == pytest.approx(float(stats[0]["weight"]), rel=0.05)
    assert float(stats[1]["weight"]) > 0


PREDICTIONS = {
    "the net's output": lambda host, x: host.net(x),
    "a residual": lambda host, x: host.net(x) + nn.functional.pad(x, (0, 1)),
    "standardised": lambda host, x: 0.3 * host.net(x) + torch.linspace(-1, 1, 51).view(17, 3),
    "flipped back": lambda host, x: host.net(x * torch.tensor([-1.0, 1.0])) * torch.tensor([-1.0, 1.0, 1.0]),
}


@pytest.mark.parametrize("made", PREDICTIONS)
@pytest.mark.parametrize("called", [False, "criterion", "energy_loss"])
def test_the_energy_is_felt_once_whoever_adds_it(called, made):
    def loss(host, b, i):
        host.prediction = PREDICTIONS[made](host, b[0])
        task = distance(host.prediction, b[1])
        if called == "criterion":
            return host.seal(host.prediction, b[1], b[0])
        if called == "energy_loss":
            (gradient,) = torch.autograd.grad(task, host.prediction, retain_graph=True)
            return task + host.seal.energy_loss(host.prediction, b[0], gradient)
        return task

    model, total = step(loss)
    (both,) = torch.autograd.grad(total, model.prediction)
    (alone,) = torch.autograd.grad(distance(p := model.prediction.detach().requires_grad_(), Y), p)
    ratio = (both - alone).flatten(1).norm(dim=1).mean() / alone.flatten(1).norm(dim=1).mean()
    assert float(ratio) == pytest.approx(0.1, rel=1e-3)
    assert float(model.seal.stats["force_ratio"]) == pytest.approx(0.1, rel=1e-3)
    assert model.seal.draws == 2
    assert (total is model.task) == bool(called)


@pytest.mark.parametrize("handed", ["fresh slice", "whole"])
def test_a_host_with_more_joints_than_the_skeleton(handed):
    def loss(host, b, i):
        host.prediction = host.many(b[0].flatten(1)).view(-1, 21, 3)
        return distance(host.prediction[:, :17], b[1])

    def seal_batch(self, batch, inputs, output):
        if handed == "whole":
            return SealBatch(batch[0], self.prediction, batch[1], joints=range(17))
        return SealBatch(batch[0], self.prediction[:, :17], batch[1])

    host = type("Host", (StyleHost,), {"loss": staticmethod(loss), "build": staticmethod(with_many)})
    model = type("Seal", (SealMixin, host), {"seal_batch": seal_batch})(seal=SealConfig())
    total = model.training_step((X, Y), 0)
    pulls = [torch.autograd.grad(v, model.prediction, retain_graph=True)[0] for v in (total, model.task)]
    ratio = (pulls[0] - pulls[1]).flatten(1).norm(dim=1).mean() / pulls[1].flatten(1).norm(dim=1).mean()
    assert float(ratio) == pytest.approx(0.1, rel=1e-3)
    assert float(model.seal.stats["force_ratio"]) == pytest.approx(0.1, rel=1e-3)


def with_many(host):
    host.many = nn.Linear(34, 63)


@pytest.mark.parametrize(
    ("joints", "said"), [(21, '"hand21"'), (24, '"smpl24"'), (25, '"openpose25"'), (33, "Skeleton(")]
)
def test_another_number_of_joints_names_the_skeleton(joints, said):
    def loss(host, b, i):
        return distance(host.many(b[0].flatten(1)).view(-1, joints, 3), b[1])

    def build(host):
        host.many = nn.Linear(2 * joints, 3 * joints)

    with pytest.raises(
        ValueError, match=rf"Expected poses of the 17 joints .* which have {joints}\. .*{joints and ''}"
    ) as error:
        step(loss, build, batch=(torch.randn(8, joints, 2), torch.randn(8, joints, 3)))
    assert said in str(error.value)


def test_a_step_that_never_trains_a_pose_stops_the_training():
    model, _ = step(lambda host, b, i: host.net(b[0]).square().mean())
    for i in range(1, 199):
        model.training_step((X, Y), i)
    with pytest.raises(ValueError, match="in 200 steps none did"):
        model.training_step((X, Y), 199)


def test_the_line_is_said_once(make_trainer, capsys):
    model = SealPlain(seal=SealConfig())
    assert model.seal_reading is None
    make_trainer().fit(model, model.loader())
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SEAL reads")]
    assert said == [model.seal_reading]
    assert said[0] == (
        "SEAL reads: keypoints = batch[0] (16, 17, 2); prediction = output of `forward` (16, 17, 3), "
        "truth = batch[1] (16, 17, 3) in `sub`"
    )


def test_calls_are_public_while_the_step_is_read():
    seen = []

    class Asking(SealPlain):
        def seal_batch(self, batch, inputs, output):
            seen.extend((call.name, call.output.shape) for call in self.seal_calls)
            assert inputs[0] is batch[0]
            return super().seal_batch(batch, inputs, output)

    model = Asking(seal=SealConfig())
    model.log = lambda *args, **kwargs: None
    model.training_step((X, Y), 0)
    assert seen == [("forward", (8, 17, 3))]


def test_a_third_channel_that_is_no_confidence_makes_no_keypoints():
    def build(host):
        host.net = net(51)

    batch = torch.randn(8, 17, 3), Y
    with pytest.warns(UserWarning, match=r"whose third channel is no confidence in \[0, 1\]"):
        model, _ = step(lambda host, b, i: distance(host.net(b[0]), b[1]), build, batch=batch)
    assert not model.seal_captured.keypoints_2d.any()


@pytest.mark.parametrize("frames", ["views", "a window"])
def test_views_of_cameras_are_no_window_of_frames(frames):
    first = torch.randn(8, 1, 17, 2)
    x = torch.randn(8, 3, 17, 2) if frames == "views" else first + 0.05 * torch.randn(8, 3, 17, 2)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model, _ = step(
            lambda host, b, i: distance(host.net(b[0]), b[1]), lambda host: setattr(host, "net", net(102)), (x, Y)
        )
    said = [str(warning.message) for warning in caught]
    assert any("If they are the views of 3 cameras, override `seal_batch" in words for words in said) == (
        frames == "views"
    )
    assert torch.equal(model.seal_captured.keypoints_2d, x[:, 1])
