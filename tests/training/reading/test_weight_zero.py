"""At weight 0 a host of every style trains as it does alone, bit for bit, and draws the same random numbers."""

import pytest
import torch

from seal_lightning import SealConfig, SealMixin
from tests.training.reading.styles import ERROR, STYLES


def trained(cls, host, **kwargs):
    torch.manual_seed(3)
    model = cls(**kwargs)
    optimizer = model.configure_optimizers()
    losses = []
    for i in range(3):
        optimizer.zero_grad()
        loss = model.training_step(host.batch(), i)
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    return losses, model.state_dict(), torch.get_rng_state()


@pytest.mark.parametrize("name", [name for name, host in STYLES.items() if host.expected != ERROR])
@pytest.mark.filterwarnings("ignore")
def test_a_style_at_weight_zero(name):
    host = STYLES[name]
    plain = trained(host, host)
    zero = trained(type("Seal", (SealMixin, host), {}), host, seal=SealConfig(weight=0.0))
    assert plain[0] == zero[0]
    assert plain[1].keys() == zero[1].keys()
    assert all(torch.equal(value, zero[1][key]) for key, value in plain[1].items())
    assert torch.equal(plain[2], zero[2])
