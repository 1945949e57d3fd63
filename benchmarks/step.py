"""What a SEAL training step costs: plain host and SEAL host interleaved in one process, ratio of medians.

    python -m benchmarks.step --hidden 1024 --batch 256

Prints a table and writes JSON. A step is forward, loss, backward and optimizer step of the host, and whatever SEAL adds
to it; reading data is left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch

from examples.plain_lifter import LitLifter
from examples.seal_lifter import SealLifter
from seal_lightning import SealConfig
from seal_lightning.loss_nets import GraphLossNet, MLPLossNet

LOSS_NETS: dict[str, Any] = {
    "SEAL, default": None,
    "SEAL, MLP of published size": MLPLossNet,
    "SEAL, graph 64 x 2": partial(GraphLossNet, dim=64, depth=2, heads=4),
    "SEAL, graph of published size": GraphLossNet,
}


def stepper(model: L.LightningModule, batch: dict[str, torch.Tensor]) -> Callable[[], None]:
    """One training step of a model on a fixed batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer to log to

    def step() -> None:
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step in every round, one of each a round."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn >= 2:  # the first two rounds warm up
                seconds[name].append(time.perf_counter() - start)
    return seconds


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and return what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1024, help="width of the plain lifter")
    parser.add_argument("--batch", type=int, default=256, help="poses a batch")
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds")
    parser.add_argument("--skip-published", action="store_true", help="leave out the loss-nets of published size")
    parser.add_argument("--output", type=Path, default=Path("runs/step.json"), help="JSON file to write")
    options = parser.parse_args(arguments)

    L.seed_everything(0, verbose=False)
    warnings.filterwarnings("ignore", "The true poses' left and right bones differ")  # random poses will do here
    batch = {
        "keypoints_2d": torch.randn(options.batch, 17, 2),
        "target": torch.randn(options.batch, 17, 3),
    }
    steps = {"plain": stepper(LitLifter(hidden=options.hidden), batch)}
    for name, loss_net in LOSS_NETS.items():
        if not (options.skip_published and "published" in name):
            model = SealLifter(hidden=options.hidden, seal=SealConfig(loss_net=loss_net))
            steps[name] = stepper(model, batch)
    seconds = measure(steps, options.rounds)

    plain = statistics.median(seconds["plain"])
    rows = [
        {"step": name, "milliseconds": 1e3 * statistics.median(values), "ratio": statistics.median(values) / plain}
        for name, values in seconds.items()
    ]
    print(f"\n{'step':<32}{'median ms':>10}{'x plain':>10}")
    for row in rows:
        print(f"{row['step']:<32}{row['milliseconds']:>10.1f}{row['ratio']:>10.2f}")
    setup = {"hidden": options.hidden, "batch": options.batch, "rounds": options.rounds}
    versions = {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}
    result = {"rows": rows, "setup": setup, "versions": versions, "seconds": seconds}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
