"""Skipped optimizer steps leave no trace, on the host and on a device that is not asked."""

from functools import partial

import pytest
import torch

from seal_lightning.training import _guard
from seal_lightning.training._guard import Guard, finite_with

OPTIMIZERS = {
    "sgd": partial(torch.optim.SGD, lr=0.1),
    "momentum": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
    "adam": partial(torch.optim.Adam, lr=0.1, amsgrad=True),
    "adamw": partial(torch.optim.AdamW, lr=0.1),
    "nadam": partial(torch.optim.NAdam, lr=0.1),
    "rmsprop": partial(torch.optim.RMSprop, lr=0.1, centered=True),
    "rprop": partial(torch.optim.Rprop, lr=0.1),
}


@pytest.fixture(params=["host", "device"])
def place(request, monkeypatch):
    """Where the decision falls; the CPU stands in for a device that is not to be waited for."""
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: request.param == "host")
    return request.param


def make(optimizer):
    generator = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(size, generator=generator)) for size in ((3, 4), (5,), ())]
    return parameters, OPTIMIZERS[optimizer](parameters)


def gradients(step, bad=False):
    generator = torch.Generator().manual_seed(100 + step)
    found = [torch.randn(size, generator=generator) for size in ((3, 4), (5,), ())]
    if bad:
        found[1][2] = float("nan")
        found[2] = torch.tensor(float("inf"))
    return found


def take(guard, parameters, optimizer, step, bad=False):
    for parameter, gradient in zip(parameters, gradients(step, bad), strict=True):
        parameter.grad = gradient
    guard.step(optimizer, torch.tensor(not bad))


def state(parameters, optimizer):
    moments = [value for entry in optimizer.state.values() for value in entry.values() if torch.is_tensor(value)]
    return [tensor.detach().clone() for tensor in (*parameters, *moments)]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_run_with_bad_steps_is_the_run_without_them(place, name):
    (ours, optimizer), (theirs, plain) = make(name), make(name)
    guard = Guard(None)
    for step, bad in enumerate((False, True, False, True, True, False)):
        take(guard, ours, optimizer, step, bad)
        if not bad:
            for parameter, gradient in zip(theirs, gradients(step), strict=True):
                parameter.grad = gradient
            plain.step()
        for left, right in zip(state(ours, optimizer), state(theirs, plain), strict=True):
            assert torch.equal(left, right)
    assert (int(guard.skipped), int(guard.in_row)) == (3, 0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_first_step_leaves_weights_alone_and_no_bad_number_behind(place, name):
    parameters, optimizer = make(name)
    before = [parameter.detach().clone() for parameter in parameters]
    guard = Guard(None)
    take(guard, parameters, optimizer, 0, bad=True)
    assert all(torch.equal(left, right) for left, right in zip(parameters, before, strict=True))
    take(guard, parameters, optimizer, 1)
    assert all(torch.isfinite(tensor).all() for tensor in state(parameters, optimizer))
    assert not any(torch.equal(left, right) for left, right in zip(parameters, before, strict=True))


def test_a_state_on_another_device_is_left_alone(monkeypatch):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    parameters, optimizer = make("sgd")
    elsewhere = torch.ones(2, device="meta")
    optimizer.state[parameters[0]]["elsewhere"] = elsewhere
    optimizer.state[parameters[0]]["count"] = torch.ones(2, dtype=torch.long)
    take(Guard(None), parameters, optimizer, 0, bad=True)
    assert optimizer.state[parameters[0]]["elsewhere"] is elsewhere
    assert optimizer.state[parameters[0]]["count"].tolist() == [1, 1]


def test_training_stops_at_the_limit_and_not_before(place):
    parameters, optimizer = make("sgd")
    guard = Guard(5)
    for step, bad in enumerate("0111101111011"):
        take(guard, parameters, optimizer, step, bad=bad == "1")
    take(guard, parameters, optimizer, 0, bad=True)
    take(guard, parameters, optimizer, 0, bad=True)
    with pytest.raises(RuntimeError, match=r"5 updates of the loss-nets in a row were skipped.*the host has diverged"):
        take(guard, parameters, optimizer, 0, bad=True)


@pytest.mark.parametrize("bits", range(64))
def test_every_pattern_of_six_steps_stops_where_three_in_a_row_are_bad(bits):
    parameters, optimizer = make("sgd")
    guard = Guard(3)
    pattern = f"{bits:06b}"
    end = pattern.find("111")
    for step, bit in enumerate(pattern):
        if end >= 0 and step == end + 2:
            with pytest.raises(RuntimeError, match="3 updates"):
                take(guard, parameters, optimizer, step, bad=True)
            break
        take(guard, parameters, optimizer, step, bad=bit == "1")


def test_the_device_is_asked_once_in_a_limit_of_good_steps(no_fetch, monkeypatch):
    monkeypatch.setattr(_guard, "_on_the_host", lambda finite: False)
    parameters, optimizer = make("sgd")
    guard = Guard(4)
    with no_fetch:
        for step in range(3):
            take(guard, parameters, optimizer, step)
        with pytest.raises(RuntimeError, match="waits for the device"):
            take(guard, parameters, optimizer, 3)


def test_counts_survive_a_restart():
    parameters, optimizer = make("sgd")
    guard, restarted = Guard(3), Guard(3)
    for step in range(2):
        take(guard, parameters, optimizer, step, bad=True)
    restarted.load_state_dict(guard.state_dict())
    assert (int(restarted.skipped), int(restarted.in_row)) == (2, 2)
    with pytest.raises(RuntimeError, match="3 updates"):
        take(restarted, parameters, optimizer, 2, bad=True)


def test_what_is_not_finite_makes_the_value_so():
    value, good = torch.tensor(2.0), torch.tensor([1.0, -3.0])
    assert torch.equal(finite_with(value, good, good), value)
    for bad in (float("nan"), float("inf"), -float("inf")):
        assert finite_with(value, good, torch.tensor([1.0, bad])).isnan()
    # Summed in half precision, these would be infinite.
    assert torch.equal(finite_with(value, torch.full((4,), 6e4, dtype=torch.float16)), value)
