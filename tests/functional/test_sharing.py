import pytest
import torch

from seal_lightning.functional._sharing import shared, sharing


@pytest.fixture
def counted():
    calls = []

    @shared
    def add(first, second, *, twice=False):
        calls.append((first, second))
        return (first + second) * (2 if twice else 1)

    return add, calls


def test_without_sharing_every_call_counts(counted):
    add, calls = counted
    one = torch.ones(1)
    assert add(one, one) is not add(one, one)
    assert len(calls) == 2


def test_the_same_objects_give_the_same_result_within_the_block_only(counted):
    add, calls = counted
    one, two = torch.ones(1), torch.full((1,), 2.0)
    with sharing():
        first = add(one, two)
        assert add(one, two) is first
        assert add(two, one) is not first
        assert add(one, two.clone()) is not first
        assert add(one, two, twice=True) == 6
        assert len(calls) == 4
    with sharing():
        assert add(one, two) is not first
    assert add(one, two) is not first


def test_objects_that_come_and_go_are_told_apart(counted):
    add, _ = counted
    zero = torch.zeros(1)
    with sharing():
        assert [add(torch.full((1,), float(i)), zero).item() for i in range(50)] == list(range(50))


def test_nothing_is_kept_after_an_error(counted):
    add, calls = counted
    one = torch.ones(1)

    def fail():
        with sharing():
            add(one, one)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    add(one, one)
    assert len(calls) == 2
