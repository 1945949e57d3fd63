"""An error estimate beside any host: what it learns, and that the host is bit for bit what it was."""

import copy

import pytest
import torch

from seal_lightning import SealConfig, SealMixin, get_skeleton
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.error_estimate import ErrorCritic
from tests import hosts
from tests.training.test_observed import HOSTS

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
