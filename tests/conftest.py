"""One thread a worker, one seed a test, no telemetry."""

import os
import sys
import warnings

import lightning as L
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch.utils._python_dispatch import TorchDispatchMode

ACCELERATOR = os.environ.get("SEAL_TEST_ACCELERATOR", "cpu")  # on which tests marked `gpu` run
# Whatever the default device of the process is, tests make CPU tensors: here, and not in a fixture, because some
# modules of tests make theirs when they are imported. Tests marked `gpu` alone meet the process as it was.
DEFAULT_DEVICE = torch.get_default_device()
torch.set_default_device(None)

os.environ.setdefault("WANDB_MODE", "offline")
torch.set_num_threads(1)
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


def pytest_collection_modifyitems(items):
    """Skip what is to run on a GPU where there is none."""
    if ACCELERATOR == "cpu" or torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="SEAL_TEST_ACCELERATOR asks for a GPU, but PyTorch finds none"))


@pytest.fixture
def device(request):
    """The device of tests that hold on any: the CPU, or the GPU that `make test-gpu` asks for."""
    return torch.device("cpu" if _accelerator(request) == "cpu" else "cuda:0")


def _accelerator(request):
    return ACCELERATOR if request.node.get_closest_marker("gpu") else "cpu"


@pytest.fixture(autouse=True)
def _default_device(request):
    """Tests marked `gpu` run with the default device that the process had."""
    if DEFAULT_DEVICE.type == "cpu" or not request.node.get_closest_marker("gpu"):
        yield
        return
    torch.set_default_device(DEFAULT_DEVICE)
    yield
    torch.set_default_device(None)


@pytest.fixture(autouse=True)
def _seeded():
    L.seed_everything(0, verbose=False)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        for text in (".*does not have many workers.*", ".*GPU available but not used.*", ".*is deprecated.*"):
            warnings.filterwarnings("ignore", text)
        yield


@pytest.fixture(autouse=True)
def _no_run_left_open():
    """A Weights & Biases run that a test leaves open would break the next one that starts some."""
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        wandb.finish()


@pytest.fixture
def make_trainer(request, tmp_path):
    """A real Trainer on one device, the CPU as a rule, that writes nothing unless asked to."""

    def make(**kwargs):
        options = {
            "accelerator": _accelerator(request),
            "devices": 1,
            "max_epochs": 2,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": str(tmp_path),
        }
        return L.Trainer(**(options | kwargs))

    return make


@pytest.fixture
def no_fetch():
    """A context that fails on the operations that make the host wait for the device."""
    return _NoFetch()


class _NoFetch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.overloadpacket in (torch.ops.aten._local_scalar_dense, torch.ops.aten.nonzero, torch.ops.aten.equal):
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))
