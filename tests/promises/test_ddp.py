"""Real gloo processes against each other, and against one process that has the whole batch."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from seal_lightning import SealConfig, SealMixin, _distributed
from tests import hosts

FOLDER = Path(__file__).parent
FOREIGN = ("LOCAL_", "NODE_", "MASTER_", "WORLD_")

EXACT = (
    *("plain", "adam", "clipped", "accumulated", "simultaneous", "penalty", "clips", "hidden", "unlabelled"),
    *("clips_hidden_unlabelled", "uneven", "uneven_hidden_unlabelled", "nothing", "broken", "two_energies", "manual"),
    *("find_unused", "static_graph", "resumed", "sharded", "sharded_resumed", "every_second"),
    "seen_clips",
)
if torch.__version__.startswith("2.6."):  # which cannot shard on a CPU
    EXACT = tuple(name for name in EXACT if "sharded" not in name)
ROUNDED = ("bfloat16",)
OF_THEIR_OWN = ("random", "random_clips", "other_graphs")  # what they draw or compute differs between the processes
ON_FOUR = (
    *("clipped", "simultaneous", "clips_hidden_unlabelled", "uneven_hidden_unlabelled", "nothing", "broken"),
    *("two_energies", "resumed", "random", "other_graphs"),
)
NAMES = {2: (*EXACT, *ROUNDED, *OF_THEIR_OWN), 4: ON_FOUR}
EACH = [(world, name) for world, names in NAMES.items() for name in names]
TOLERANCE = dict.fromkeys(EXACT, (0.0001, 1e-06)) | dict.fromkeys(ROUNDED, (0, 0.02))


def launch(script, *arguments):
    env = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    command = [sys.executable, str(FOLDER / script), *map(str, arguments)]
    done = subprocess.run(command, env=env | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """What each process wrote, by the number of processes; one launch serves all ways to train."""
    folder, made = tmp_path_factory.mktemp("ddp"), {}

    def of(world):
        if world not in made:
            launch("ddp_run.py", folder, world, *NAMES.get(world, ()))
            made[world] = [torch.load(folder / f"{world}_{rank}.pt", weights_only=True) for rank in range(world)]
        return made[world]

    return of


def pairs(left, right):
    assert left.keys() == right.keys()
    found = [pair for key in left for pair in zip(left[key], right[key], strict=True)]
    assert len(found) > 30
    return found


@pytest.mark.parametrize(("world", "name"), EACH)
def test_processes_equal_each_other_bit_for_bit(runs, world, name):
    first, *others = (run[name] for run in runs(world))
    assert len(others) == world - 1
    for other in others:
        assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in pairs(first, other))
    assert all(tensor.isfinite().all() for key in first if key != "stats" for tensor in first[key])
    assert all(stats.isfinite().all() for i, stats in enumerate(first["stats"]) if name != "broken" or i != 2)


@pytest.mark.parametrize(("world", "name"), [item for item in EACH if item[1] in TOLERANCE])
def test_processes_equal_one_at_the_summed_batch(runs, world, name):
    """Weights, loss-nets, running statistics, moments of both optimizers, and what is logged in every step."""
    ((one,), (first, *_)) = runs(1), runs(world)
    compared = pairs(first[name], one[name])
    largest = max(float((a - b).abs().nan_to_num().max()) for a, b in compared)
    print(f"{name}, {world} processes: {len(compared)} tensors, largest difference from one process {largest:.1e}")
    rtol, atol = TOLERANCE[name]
    for a, b in compared:
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol, equal_nan=True)


@pytest.mark.parametrize("name", ["random", "random_clips"])
def test_processes_draw_numbers_of_their_own(runs, name):
    """Or the samples of all of them would meet the same noise."""
    ((one,), (first, _)) = runs(1), runs(2)
    assert any(not torch.allclose(a, b, rtol=1e-2, atol=1e-3) for a, b in pairs(first[name], one[name]))


def test_the_ways_to_train_are_different_ones(runs):
    """What is compared above would be equal, too, if the options went nowhere."""
    (one,) = runs(1)
    alike = {"plain", "manual", "find_unused", "static_graph", "uneven"}  # in one process
    others = [name for name in (*EXACT, *ROUNDED) if name not in alike]
    for name in others:
        same = all(torch.equal(a, b) for a, b in zip(one["plain"]["host"], one[name]["host"], strict=True))
        assert not same, name


def test_loss_nets_reach_the_process_that_spawned_the_others(tmp_path):
    """Trained in two fits, tested afterwards, with what one process arrives at."""
    launch("ddp_spawn_run.py", tmp_path)
    trained = torch.load(tmp_path / "spawned.pt", weights_only=True)
    for strategy in ("ddp_notebook", "ddp_spawn"):
        compared = pairs(trained[strategy], trained["auto"])
        assert trained[strategy]["draws"] == trained["auto"]["draws"] == [torch.tensor(9)]
        for a, b in compared:
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_fsdp_is_refused_before_the_first_step(runs):
    for message, draws in (run["refusal"] for run in runs(2)):
        assert message.startswith("Expected the trainer's `strategy` to be one that SEAL trains under, but got Sharded")
        assert "Use `strategy='ddp'`" in message
        assert draws == 1


@pytest.mark.parametrize(
    ("strategy", "refused"),
    [(FSDPStrategy, "FSDP"), (DeepSpeedStrategy, "DeepSpeed"), (DDPStrategy, None), (ModelParallelStrategy, None)],
)
def test_strategies_are_told_by_their_class(strategy, refused):
    class SealHost(SealMixin, hosts.ForwardHost):
        pass

    model = SealHost(seal=SealConfig())
    bare = strategy.__new__(strategy)  # neither library is asked for
    for function in ("fit", "test"):
        model._trainer = SimpleNamespace(strategy=bare, state=SimpleNamespace(fn=function))
        if refused is not None and function == "fit":
            with pytest.raises(TypeError, match=f"but got {strategy.__name__}: {refused} hooks the backward pass"):
                model.setup("fit")
        else:
            model.setup(function)


def test_tensors_get_memory_of_their_own():
    tensor, other = torch.ones(2).share_memory_(), torch.ones(2)
    before = other.data_ptr()
    _distributed.unshare([tensor, other])
    assert not tensor.is_shared()
    assert torch.equal(tensor, torch.ones(2))
    assert other.data_ptr() == before
