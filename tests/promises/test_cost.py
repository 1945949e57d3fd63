"""What a SEAL step costs, counted rather than timed: arithmetic, memory, waiting."""

import warnings
from functools import partial

import pytest
import torch

from benchmarks.measure import metered
from benchmarks.step import ConstantLossNet, lightning_step, loss_net_pass, make_batch, make_host
from seal_lightning import SealConfig
from seal_lightning.loss_nets import GraphLossNet
from seal_lightning.objectives import MarginObjective
from seal_lightning.training import _guard

pytestmark = pytest.mark.skipif(torch.__version__.startswith("2.6."), reason="torch 2.6 cannot hash what is counted")

BATCH = 64
GRAPH = {"loss_net": partial(GraphLossNet, dim=64, depth=3, heads=4), "objective": MarginObjective()}


def step(seal, host="simple", hidden=256, batch=BATCH):
    model = make_host(host, joints=17, frames=9, hidden=hidden)(seal)
    return lightning_step(model, make_batch(host, joints=17, frames=9, size=batch))


@pytest.fixture(autouse=True)
def _random_poses_will_do():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The true poses' left and right bones differ")
        yield


@pytest.mark.parametrize(("update", "units"), [("alternating", 8), ("simultaneous", 6)])
def test_arithmetic(update, units):
    """Forward and backward over truth and prediction are 6 forward passes; a further pull at the prediction is 2.

    In that, products of two activations (attention) cost 3.
    """
    net = GRAPH["loss_net"]("h36m17")
    unit = metered(partial(net, torch.randn(BATCH, 17, 2), torch.randn(BATCH, 17, 3))).flops
    host = metered(step(None)).flops
    seal = metered(step(SealConfig(update=update, **GRAPH))).flops
    assert unit > host / 10  # or else the next line would say nothing
    assert 0.8 * units < (seal - host) / unit <= 1.02 * units


CONSTANT = {"loss_net": ConstantLossNet, "optimizer": partial(torch.optim.Adam, lr=1e-3)}
CHOSEN = {"optimizer": partial(torch.optim.Adam, lr=1e-3, foreach=True)}  # how it runs is then not ours to change


@pytest.mark.parametrize(
    ("fields", "most"),
    [({}, 420), (CHOSEN, 450), ({"update": "simultaneous"}, 390), (CONSTANT, 115), (CONSTANT | CHOSEN, 120)],
    ids=["default", "default, foreach", "default, one pass", "constant", "constant, foreach"],
)
def test_operations(monkeypatch, fields, most):
    """On a GPU a step of a small host takes as long as its kernels take to be launched, whatever they compute."""
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)  # as on a device that is not to be waited for
    steps = [step(None), step(SealConfig(**fields))]
    for program in steps:
        program()  # the first step looks at the data, and makes the optimizer's state
    plain, seal = (metered(program).operations for program in steps)
    print(f"{seal - plain} operations beyond the plain step's {plain}")
    assert most - 60 < seal - plain <= most


@pytest.mark.parametrize(
    ("host", "hidden", "batch"), [("simple", 1024, 256), ("temporal", 256, 64), ("seq2seq", 256, 64)]
)
@pytest.mark.parametrize(
    "fields", [{}, GRAPH, {**GRAPH, "update": "simultaneous"}], ids=["default", "graph", "one pass"]
)
def test_peak_memory(host, hidden, batch, fields):
    seal = SealConfig(**fields)
    plain, seals = step(None, host, hidden, batch), step(seal, host, hidden, batch)
    plain(), seals()  # the optimizers' moments are there from now on
    once = loss_net_pass(seal, make_batch(host, joints=17, frames=9, size=batch))
    assert metered(seals).peak <= 1.2 * (metered(plain).peak + metered(once).peak)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("update", ["alternating", "simultaneous"])
@pytest.mark.parametrize("fields", [{}, GRAPH], ids=["default", "graph"])
def test_a_step_waits_for_no_device(no_fetch, monkeypatch, fields, update, precision):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    optimizer = partial(torch.optim.SGD, lr=1e-3)  # Adam reads its count of steps, which is on the host
    seal = SealConfig(update=update, precision=precision, gradient_clip_val=1.0, optimizer=optimizer, **fields)
    model, batch = make_host("simple", joints=17, frames=1, hidden=64)(seal), make_batch("simple", 17, 1, BATCH)
    model.log = lambda *args, **kwargs: None
    model.training_step(batch, 0).backward()  # the first step looks at the data, and may warn
    with no_fetch:
        model.training_step(batch, 1).backward()
