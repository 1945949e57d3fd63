"""`SealConfig(cuda_graph=True)`: what is captured and replayed is bit for bit what the step would have been.

A CPU has no graphs. `CpuGraph` takes their place: it repeats operations on memory, and nothing that Python did.
"""

import contextlib
import copy
import pickle
import warnings
from functools import partial

import lightning as L
import pytest
import torch

from benchmarks.measure import metered
from benchmarks.step import make_batch, make_host
from seal_lightning import EnergyTerm, ForceRatio, SealBatch, SealConfig, SealLoss, SealMixin, _distributed
from seal_lightning.loss.random import handed_out
from seal_lightning.loss_nets import ClipLossNet, GraphLossNet, KCSLossNet, MLPLossNet, StructureLossNet
from seal_lightning.negatives import (
    AsymmetryNegatives,
    BoneDirectionNegatives,
    BoneLengthNegatives,
    GaussianNegatives,
    InterpolationNegatives,
    Negatives,
    OtherPoseNegatives,
    PredictionNegatives,
)
from seal_lightning.objectives import MarginObjective, NCEObjective, WassersteinObjective
from seal_lightning.objectives.penalties import DenoisingScore, InterpolatedPenalty
from seal_lightning.training import _graph, _guard
from seal_lightning.training._tape import Rules, Tape
from tests import host_styles, hosts
from tests.training.recorder import CpuGraph

pytestmark = pytest.mark.filterwarnings("ignore:The true poses' left", "ignore:Of the true poses")

SMALL = partial(MLPLossNet, hidden=16, stages=1)
GRAPH = partial(GraphLossNet, dim=16, depth=1, heads=2)
ALL_NEGATIVES = (
    PredictionNegatives(),
    BoneLengthNegatives(count=2),
    BoneDirectionNegatives(),
    GaussianNegatives(),
    AsymmetryNegatives(),
    OtherPoseNegatives(),
    InterpolationNegatives(),
)
CASES = {
    "default": {},
    "one pass": {"update": "simultaneous", "gradient_clip_val": 0.1},
    "bfloat16": {"loss_net": GRAPH, "objective": MarginObjective(), "precision": "bfloat16", "update": "simultaneous"},
    "all negatives": {"loss_net": SMALL, "negatives": ALL_NEGATIVES, "objective": NCEObjective(), "weight": 0.01},
    "schedule, penalties": {
        "loss_net": partial(KCSLossNet, hidden=16, pose_hidden=8),
        "objective": WassersteinObjective(),
        "gradient_penalty": InterpolatedPenalty(),
        "optimizer": partial(torch.optim.SGD, lr=1e-2, momentum=0.9),
        "lr_scheduler": partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.8),
    },
    "several energies": {
        "update": "simultaneous",
        "energies": [
            EnergyTerm(SMALL, gradient_penalty=0.1, weight=ForceRatio(0.2)),
            EnergyTerm(StructureLossNet, name="structure"),
        ],
    },
}
RAGGED, BAD, STEPS = 8, 10, 13


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setitem(_graph.RECORDERS, "cpu", CpuGraph)


def make(host, fields, cuda_graph):
    L.seed_everything(0, verbose=False)
    model = make_host(host, 17, 3, 64)(SealConfig(cuda_graph=cuda_graph, **fields))
    model.log = lambda *args, **kwargs: None
    return model, torch.optim.SGD(model.parameters(), lr=1e-2)


def take(model, optimizer, steps, host, between=None):
    """Losses and statistics of some steps, one of which has fewer samples, and one of which meets NaN."""
    seen = []
    for step in steps:
        torch.manual_seed(step)
        batch = make_batch(host, 17, 3, 3 if step == RAGGED else 6)
        if step == BAD:
            batch["target"][0, 0] = torch.nan
        if between is not None:
            between(step, model)
        loss = model.training_step(batch, step)
        optimizer.zero_grad()
        loss.backward()
        if step != BAD:
            optimizer.step()
        seen.append(torch.stack([loss.detach(), *(value.clone() for _, value in sorted(model.seal.stats.items()))]))
    return torch.stack(seen)


def state(model):
    optimizer = model.seal_optimizer.state_dict()["state"]
    moments = [value for values in optimizer.values() for value in values.values() if isinstance(value, torch.Tensor)]
    seal = [*model.seal.parameters(), *model.seal.buffers()]
    guard = model._seal_optimization.guard
    return [*model.state_dict().values(), *seal, *moments, guard.skipped, guard.in_row]


def replays(model):
    return model._seal_optimization.graphed.replays


def equal(left, right):
    return len(left) == len(right) and all(map(partial(torch.allclose, rtol=0, atol=0, equal_nan=True), left, right))


def twins(host, fields, between=None, steps=range(STEPS)):
    models, seen = [], []
    for cuda_graph in (False, True):
        model, optimizer = make(host, fields, cuda_graph)
        seen.append(take(model, optimizer, steps, host, between))
        models.append(model)
    assert equal(*seen)
    assert equal(*map(state, models))
    return models[1]


@pytest.mark.parametrize("host", ["simple", "seq2seq"])
@pytest.mark.parametrize("case", CASES)
def test_replayed_steps_are_the_eager_ones_bit_for_bit(recorded, case, host):
    model = twins(host, CASES[case])
    assert replays(model) == STEPS - 5  # four steps before it is captured, and the ragged one
    assert int(model._seal_optimization.guard.skipped) == 1


def test_warm_up_and_chosen_frames(recorded):
    model = twins("seq2seq", {"warmup_steps": 4, "frames_per_clip": 2})
    assert replays(model) == STEPS - 4 - 3 - 1


@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
def test_a_loss_net_that_sees_clips_is_captured_too(recorded, update):
    clips = partial(ClipLossNet, hidden=16)
    model = twins("seq2seq", {"loss_net": clips, "gradient_penalty": DenoisingScore(), "update": update})
    assert replays(model) == STEPS - 5


def test_two_sizes_of_a_batch_are_captured_and_no_third(recorded):
    models = []
    for cuda_graph in (False, True):
        model, _ = make("simple", {}, cuda_graph)
        for size in (4, 5, 6):
            for _ in range(6):
                model.training_step(make_batch("simple", 17, 3, size), 0)
        models.append(model)
    assert equal(*map(state, models))
    assert replays(models[1]) == 2 + 3


def later(model, fields, host="simple", steps=range(6, STEPS)):
    """Steps that a model takes after others, on the data of `take`."""
    return take(model, torch.optim.SGD(model.parameters(), lr=1e-2), steps, host)


@pytest.mark.parametrize("graphs", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("case", ["one pass", "schedule, penalties"])
def test_a_run_goes_on_with_and_without_graphs(recorded, case, graphs):
    whole, optimizer = make("simple", CASES[case], False)
    take(whole, optimizer, range(6), "simple")
    first, optimizer = make("simple", CASES[case], graphs[0])
    take(first, optimizer, range(6), "simple")
    second, _ = make("simple", CASES[case], graphs[1])
    second.load_state_dict(first.state_dict())
    second._seal_optimization.load_state_dict(copy.deepcopy(first._seal_optimization.state_dict()))
    assert equal(later(whole, CASES[case]), later(second, CASES[case]))
    assert equal(state(whole), state(second))


def test_copies_capture_graphs_of_their_own(recorded):
    model, optimizer = make("simple", {}, True)
    take(model, optimizer, range(6), "simple")
    copies = copy.deepcopy(model), pickle.loads(pickle.dumps(model._seal_optimization))
    assert [copies[0]._seal_optimization.graphed.replays, copies[1].graphed.replays] == [0, 0]
    copies[0].log = model.log
    assert equal(later(model, {}), later(copies[0], {}))
    assert equal(state(model), state(copies[0]))
    assert replays(copies[0]) == STEPS - 6 - 4


def test_what_changes_between_steps_reaches_the_graphs(recorded):
    def change(step, model):
        net = model.seal.loss_nets["energy_0"]
        if step == 5:  # as a checkpoint that is taken up in the middle of a run: the optimizer is made anew
            model._seal_optimization.load_state_dict(copy.deepcopy(model._seal_optimization.state_dict()))
        if step == 6:
            model.seal_optimizer.param_groups[0]["lr"] *= 3
        if step == 7:
            with torch.no_grad():
                net.head.bias.fill_(0.5)
                model.seal.forces.usual_pull.fill_(3.0)
            model.seal.set_extra_state({"draws": 40})
        if step == 9:
            model.seal.load_state_dict({**model.seal.state_dict(), "frame.bone_length": torch.tensor(2.0)})

    twins("simple", {}, change)


@pytest.mark.parametrize("what", ["frozen", "other memory", "moved", "evaluation", "weights"])
def test_what_a_graph_takes_for_fixed_is_captured_anew(recorded, what):
    def change(step, model):
        net = model.seal.loss_nets["energy_0"]
        if step == 5 and what == "frozen":
            net.layers[0].weight.requires_grad_(False)
        elif step == 5 and what == "other memory":
            net.layers[0].weight.data = 2 * net.layers[0].weight.data
        elif step == 5 and what == "moved":
            model.seal._apply(torch.clone)  # as `.to` does with another device
        elif step == 5 and what == "evaluation":
            net.layers[0].eval()
        elif step == 5:
            model.seal.forces.weights = (ForceRatio(0.5),)

    model = twins("simple", {"optimizer": partial(torch.optim.SGD, lr=1e-2)}, change)
    assert replays(model) == 1 + STEPS - 5 - 4


def test_a_loss_that_is_not_finite_is_seen_where_its_gradient_is(recorded):
    models = []
    for cuda_graph in (False, True):
        model, optimizer = make("simple", {}, cuda_graph)
        plain = model.training_step.__wrapped__
        take(model, optimizer, range(6), "simple")
        batch = make_batch("simple", 17, 3, 6)

        class Host(type(model)):
            def training_step(self, batch, batch_idx, plain=plain):
                return plain(self, batch, batch_idx) + torch.tensor(torch.inf)

        model.__class__ = Host
        model.training_step(batch, 6)
        models.append(model)
    assert equal(*map(state, models))
    assert replays(models[1]) == 3
    assert int(models[1]._seal_optimization.guard.skipped) == 1


def test_a_backward_pass_may_come_after_the_next_step(recorded):
    gradients = []
    for cuda_graph in (False, True):
        model, optimizer = make("simple", {}, cuda_graph)
        take(model, optimizer, range(6), "simple")
        optimizer.zero_grad()
        torch.manual_seed(0)
        losses = [model.training_step(make_batch("simple", 17, 3, 6), step) for step in range(2)]
        losses[0].backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    assert equal(*gradients)
    assert replays(model) == 4


class SealForward(SealMixin, hosts.ForwardHost):
    pass


class SealFlat(SealMixin, hosts.FlatHost):
    pass


class SealManual(SealMixin, hosts.ManualHost):
    pass


class SealSam(SealMixin, host_styles.SamStyle):
    pass


@pytest.mark.parametrize("host", [SealForward, SealFlat, SealManual, SealSam])
def test_a_trainer_runs_with_graphs(recorded, make_trainer, host):
    """With the step being watched: while graphs are captured and replayed, nobody looks."""
    models = []
    for cuda_graph in (False, True):
        L.seed_everything(0, verbose=False)
        model = host(seal=SealConfig(cuda_graph=cuda_graph))
        make_trainer(precision="bf16-mixed" if host is SealForward else "32-true").fit(model, model.loader())
        models.append(model)
    assert replays(models[1]) == 12 - 4
    assert models[0].seal_reading == models[1].seal_reading
    assert equal(*map(state, models))


class Counting(MLPLossNet):
    def __init__(self, skeleton):
        super().__init__(skeleton, hidden=16, stages=1)
        self.calls = 0

    def forward(self, keypoints_2d, pose):
        self.calls += 1
        return super().forward(keypoints_2d, pose) * self.calls


class Curriculum(Negatives):
    calls = 0

    def draw(self, truth, prediction, skeleton, generator):
        self.calls += 1
        return (truth + (prediction - truth) * self.calls / 100)[None]


class OwnStep(SealMixin, hosts.ForwardHost):
    def seal_step(self, ranking_loss):
        super().seal_step(2 * ranking_loss)


class OwnBatch(SealMixin, hosts.ForwardHost):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], 2 * output, 2 * batch[1])


class Masked(SealMixin, hosts.ForwardHost):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], output, batch[1], visibility=torch.ones(output.shape[:-1], dtype=torch.bool))


class FewLabels(SealMixin, hosts.ForwardHost):
    def seal_batch(self, batch, inputs, output):
        return SealBatch(batch[0], output, batch[1], labelled=torch.arange(len(output)) > 0)


class OwnObjective(MarginObjective):
    def loss(self, energy_true, energy_negative, distance):
        return super().loss(energy_true, energy_negative, distance)


class OwnPenalty(InterpolatedPenalty):
    pass


def net_of(model):
    return model.seal.loss_nets["energy_0"]


def hooked(model):
    net_of(model).register_forward_hook(lambda *_: None)


def hooked_backwards(model):
    net_of(model).layers[0].register_full_backward_hook(lambda *_: None)


def hooked_parameter(model):
    net_of(model).head.bias.register_hook(lambda gradient: None)


def hooked_after_backward(model):
    net_of(model).head.bias.register_post_accumulate_grad_hook(lambda parameter: None)


def replaced(model):
    model.seal.energy_loss = model.seal.energy_loss


def replaced_forward(model):
    net_of(model).forward = net_of(model).forward


def replaced_step(model):
    model.seal_step = model.seal_step


def frozen(model):  # as `mode="static"` does
    model._seal_optimization.trains = False
    model.seal.requires_grad_(False).eval()


REFUSED = {
    "loss-net": (SealForward, {"loss_net": Counting}, None, "Counting is not a class of this library"),
    "negatives": (SealForward, {"negatives": (Curriculum(),)}, None, "Curriculum is not a class of this library"),
    "objective": (SealForward, {"objective": OwnObjective()}, None, "OwnObjective is not a class of this library"),
    "penalty": (SealForward, {"gradient_penalty": OwnPenalty()}, None, "OwnPenalty is not a class of this library"),
    "dropout": (SealForward, {"loss_net": partial(MLPLossNet, hidden=16, dropout=0.5)}, None, "draws random numbers"),
    "hooks": (SealForward, {}, hooked, "a StructureLossNet has hooks"),
    "backward hooks": (SealForward, {}, hooked_backwards, "a Linear has hooks"),
    "parameter hooks": (SealForward, {}, hooked_parameter, "there are hooks on all modules or on a parameter"),
    "after backward": (SealForward, {}, hooked_after_backward, "there are hooks on all modules or on a parameter"),
    "method": (SealForward, {}, replaced, "a method of `SealLoss` was replaced"),
    "forward": (SealForward, {}, replaced_forward, "`forward` of a StructureLossNet was replaced"),
    "seal_step": (OwnStep, {}, None, "`seal_step` is overridden"),
    "seal_step of one model": (SealForward, {}, replaced_step, "`seal_step` is overridden"),
    "seal_batch": (OwnBatch, {}, None, "a prediction that is made from what the loss compares"),
    "evaluation": (SealForward, {"negatives": (PredictionNegatives(eval=True),)}, None, "predicts in evaluation mode"),
    "masks": (Masked, {}, None, "a batch has `visibility` or `labelled`"),
    "few labels": (FewLabels, {}, None, "a batch has `visibility` or `labelled`"),
    "frozen": (SealForward, {}, frozen, "the loss-nets are frozen"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_captured_runs_as_ever_with_one_warning(recorded, make_trainer, case):
    host, fields, change, reason = REFUSED[case]
    models = []
    for cuda_graph in (False, True):
        L.seed_everything(0, verbose=False)
        model = host(seal=SealConfig(cuda_graph=cuda_graph, **copy.deepcopy(fields)))
        if change is not None:
            change(model)
        with told(reason if cuda_graph else None):
            make_trainer().fit(model, model.loader())
        models.append(model)
    assert replays(models[1]) == 0
    assert equal(*([*model.state_dict().values(), *model.seal.parameters()] for model in models))
    assert change is frozen or equal(*map(state, models))  # which have no optimizer


@contextlib.contextmanager
def told(reason):
    """One warning says why there are no graphs; none is given where there is no reason."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    texts = [str(warning.message) for warning in caught if "CUDA graphs" in str(warning.message)]
    assert len(texts) == (reason is not None)
    assert all(reason in text for text in texts)


@contextlib.contextmanager
def hooks_on_all_modules():
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def several_processes():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_distributed, "several", lambda: True)  # of which this is the only one that has anything to say
        yield


@pytest.mark.parametrize(
    ("circumstances", "reason"),
    [
        (several_processes, "several processes train together"),
        (torch.autograd.detect_anomaly, "PyTorch detects anomalies"),
        (hooks_on_all_modules, "there are hooks on all modules or on a parameter"),
    ],
)
def test_circumstances_in_which_nothing_is_captured(recorded, circumstances, reason):
    models, seen = [], []
    for cuda_graph in (False, True):
        model, optimizer = make("simple", {}, cuda_graph)
        with told(reason if cuda_graph else None), circumstances():
            seen.append(take(model, optimizer, range(6), "simple"))
        models.append(model)
    assert equal(*seen)
    assert equal(*map(state, models))
    assert replays(models[1]) == 0
    take(models[1], optimizer, range(5), "simple")  # and afterwards it is
    assert replays(models[1]) == 2


def test_a_batch_without_a_target_is_refused_as_ever(recorded):
    class Unlabelled(SealMixin, hosts.ForwardHost):
        def seal_batch(self, batch, inputs, output):
            return SealBatch(batch[0], output)

    model = Unlabelled(seal=SealConfig(cuda_graph=True))
    model.log = lambda *args, **kwargs: None
    with told("a batch has no `target`"), pytest.raises(ValueError, match="to return a `target`"):
        model.training_step(next(iter(model.loader())), 0)


def test_a_cpu_has_no_graphs():
    model, optimizer = make("simple", {}, True)
    with pytest.warns(UserWarning, match="not captured as CUDA graphs: it runs on the device 'cpu', which has none"):
        seen = take(model, optimizer, range(6), "simple")
    eager, optimizer = make("simple", {}, False)
    assert equal(seen, take(eager, optimizer, range(6), "simple"))
    assert replays(model) == 0


@pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 cannot hash what is counted")
def test_a_replay_takes_few_operations(monkeypatch):
    """Beside the graphs: inputs, two draws and results are copied, and the optimizer takes a step."""

    class Nothing(CpuGraph):
        def replay(self):
            pass

    monkeypatch.setitem(_graph.RECORDERS, "cpu", Nothing)
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    model, optimizer = make("simple", {}, True)
    take(model, optimizer, range(6), "simple")
    plain = make_host("simple", 17, 3, 64)()
    plain.log = model.log
    batch = make_batch("simple", 17, 3, 6)
    model.zero_grad(), plain.zero_grad()  # or gradients would be added to those that are there
    own, seals = (metered(lambda step=step: step.training_step(batch, 7).backward()) for step in (plain, model))
    print(f"{seals.operations - own.operations} operations beyond the plain step's {own.operations}")
    assert replays(model) == 3
    assert 20 < seals.operations - own.operations <= 26  # without graphs some 400


@pytest.mark.parametrize("case", CASES)
def test_on_another_device_a_step_reads_no_memory_of_the_host(monkeypatch, case):
    """On the one other device that PyTorch has everywhere, which computes shapes alone and knows no autocast."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext())
    config = SealConfig(**CASES[case])
    seal = SealLoss("h36m17", config.terms(), update=config.update).to("meta")
    with torch.device("meta"):
        prediction, target, keypoints_2d = torch.randn(4, 17, 3), torch.randn(4, 17, 3), torch.randn(4, 17, 2)
    prediction.requires_grad_()

    def step():
        ranking_loss = seal.ranking_loss(prediction, target, keypoints_2d)
        torch.autograd.backward(ranking_loss, inputs=[*seal.parameters(), *seal.shared_poses])
        return torch.autograd.grad(seal.energy_loss(prediction, keypoints_2d, target), prediction)[0]

    tape = Tape()
    with tape:
        step()
    tape.hand_out(0, prediction.device)
    with handed_out(), tape, Rules():
        assert step().device == prediction.device


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda: torch.ones(3).sum().item(), "waits for the device"),
        (lambda: torch.ones(3).nonzero(), "waits for the device"),
        (lambda: torch.nn.functional.dropout(torch.ones(3)), "draws random numbers inside of it"),
        (lambda: torch.ones(3).to("meta"), "reads memory of the host"),
        (lambda: torch.ones(3, device="meta") * torch.tensor(2.0), "reads memory of the host"),
    ],
)
def test_what_a_graph_would_not_repeat_is_refused(run, reason):
    with Rules(), pytest.raises(RuntimeError, match=reason):
        run()


def test_a_tape_hands_out_what_it_noted_and_nothing_else():
    tape, generator = Tape(), torch.Generator().manual_seed(3)
    with tape:
        first = torch.rand(2, generator=generator), torch.randperm(4, generator=generator)
        torch.rand(2)  # the host's own
    tape.hand_out(3, torch.device("cpu"))
    with tape:
        again = torch.rand(2, generator=generator), torch.randperm(4, generator=generator)
        assert equal(first, again)
        with pytest.raises(RuntimeError, match="are not those of the step before"):
            torch.rand(2, generator=generator)
    tape.refill(4)
    assert torch.equal(again[0], torch.rand(2, generator=generator.manual_seed(4)))
    other = Tape()
    with other:
        torch.rand(2, generator=generator)
    other.hand_out(3, torch.device("cpu"))
    with other, pytest.raises(RuntimeError, match="are not those of the step before"):
        torch.rand(3, generator=generator)
