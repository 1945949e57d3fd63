"""Random numbers by key."""

import numpy as np
import torch

from seal_lightning.data.views.draws import Draws, _mix, seeded_generator, stable_id


def test_mix_is_splitmix64():
    # Published first outputs of SplitMix64 from the seeds 0 and 1234567.
    gamma = 0x9E3779B97F4A7C15
    states = np.array([gamma, 1234567 + gamma], dtype=np.uint64)
    assert _mix(states).tolist() == [0xE220A8397B1DCDAF, 6457827717110365317]


def test_a_row_does_not_depend_on_its_batch():
    index = torch.arange(50)
    whole = Draws(3, index, 7)
    order = torch.tensor([31, 4, 4, 17])
    part = Draws(3, index[order], 7)
    for kind in ("uniform", "normal"):
        torch.testing.assert_close(
            getattr(part, kind)("a", 5, 3), getattr(whole, kind)("a", 5, 3)[order], rtol=0, atol=0
        )


def test_every_part_of_the_key_and_the_stream_matter():
    base = Draws(1, torch.tensor([2]), 3).uniform("a", 8)
    others = [
        Draws(0, torch.tensor([2]), 3).uniform("a", 8),
        Draws(1, torch.tensor([3]), 3).uniform("a", 8),
        Draws(1, torch.tensor([2]), 4).uniform("a", 8),
        Draws(2, torch.tensor([1]), 3).uniform("a", 8),
        Draws(1, torch.tensor([2]), 3).uniform("b", 8),
        Draws(1, torch.tensor([-2]), 3).uniform("a", 8),
    ]
    assert all((base != other).all() for other in others)


def test_uniform_and_normal_moments():
    draws = Draws(0, torch.arange(20_000))
    uniform = draws.uniform("u", 10)
    assert uniform.dtype == torch.float32
    assert 0.0 < uniform.min() < 1e-4
    assert 1.0 - 1e-4 < uniform.max() < 1.0
    # 200,000 numbers: standard error 0.0006 of a uniform mean, 0.0022 of a normal one.
    assert abs(uniform.mean() - 0.5) < 0.003
    assert abs(uniform.var() - 1 / 12) < 0.002
    normal = draws.normal("n", 10)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.var() - 1.0) < 0.02
    assert abs(normal.pow(4).mean() - 3.0) < 0.1
    correlation = np.corrcoef(normal.numpy().T)
    assert np.abs(correlation - np.eye(10)).max() < 0.04
    neighbours = np.corrcoef(normal[:-1, 0].numpy(), normal[1:, 0].numpy())[0, 1]
    assert abs(neighbours) < 0.04


def test_odd_counts_and_scalar_shape():
    draws = Draws(5)
    assert draws.normal("n", 3).shape == (1, 3)
    assert draws.uniform("u").shape == (1,)


def test_global_random_state_is_untouched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    Draws(1, torch.arange(4)).normal("n", 6)
    torch.rand(3, generator=seeded_generator(1, 2))
    assert torch.equal(before, torch.get_rng_state())


def test_seeded_generator_and_stable_id():
    first = torch.rand(4, generator=seeded_generator(1, 2))
    assert torch.equal(first, torch.rand(4, generator=seeded_generator(1, 2)))
    assert not torch.equal(first, torch.rand(4, generator=seeded_generator(2, 1)))
    assert stable_id("123456789") == 0xCBF43926  # the check value of CRC-32
