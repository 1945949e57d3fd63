"""What it costs to read a host's step: host time of a step that is watched and read, over that of the step alone.

    python -m benchmarks.reading

The host is tiny, so that nearly all of its time is Python's: a linear net, and a loss of a few operations or of many.
One more host holds many modules, which are looked through once a step.
The steps take turns; a figure is the median of their differences in processor time, forward only, since the backward
pass is not watched. Beside it stands what a function mode that does nothing costs for the same operations: the part
that is torch's own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.measure import versions
from seal_lightning.training.reading.step import WatchedStep

JOINTS = 17
BATCH = torch.randn(8, JOINTS, 2), torch.randn(8, JOINTS, 3)


def _distance(one: Tensor, other: Tensor) -> Tensor:
    return (one - other).norm(dim=-1).mean()


class Plain(L.LightningModule):
    """The mean distance of the joints."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(2 * JOINTS, 3 * JOINTS))

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss."""
        return _distance(self.net(batch[0]).view(-1, JOINTS, 3), batch[1])


class Deep(Plain):
    """The same in a host with four hundred modules more, none of which is called."""

    def __init__(self) -> None:
        super().__init__()
        blocks = (nn.Sequential(nn.LayerNorm(8), nn.Sequential(nn.Linear(8, 8), nn.GELU())) for _ in range(80))
        self.others = nn.Sequential(*blocks)


class Rich(Plain):
    """Flips and centres; compares joints, bones, scaled poses, and each joint by itself."""

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Return the loss."""
        flip = torch.tensor([-1.0, 1.0, 1.0])
        x, y = batch[0] * flip[:2], batch[1] * flip
        y = y - y[:, :1]
        p = self.net(x).view(-1, JOINTS, 3)
        scale = (p * y).sum((-1, -2), keepdim=True) / (p * p).sum((-1, -2), keepdim=True)
        loss = _distance(p, y) + _distance(scale * p, y) + _distance(p[:, 1:] - p[:, :-1], y[:, 1:] - y[:, :-1])
        for joint in range(JOINTS):
            loss = loss + 0.01 * (p[:, joint] - y[:, joint]).abs().mean()
        return loss + _distance(p * flip, y * flip)


class Empty(TorchFunctionMode):
    """Does nothing but count."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations += 1
        return func(*args, **kwargs) if kwargs else func(*args)


def _alone(host: Plain) -> None:
    host.training_step(BATCH, 0)


def _empty(host: Plain) -> None:
    with Empty():
        host.training_step(BATCH, 0)


def _read(host: Plain) -> None:
    step = WatchedStep(host, JOINTS, BATCH, trusted=lambda keypoints: True, root=(0,))
    with step.recorded():
        loss = host.training_step(BATCH, 0)
    step.current = step.find(loss)
    step.call_of(step.current, loss)
    step.read()
    step.replay()


def _seconds(program: Callable[[Plain], None], host: Plain) -> float:
    start = time.process_time_ns()
    program(host)
    return (time.process_time_ns() - start) / 1e9


def measure(host: Plain, steps: int, repeats: int) -> dict[str, Any]:
    """Milliseconds of the step alone, and what the two others add, one value a repeat."""
    counter = Empty()
    with counter:
        _alone(host)
    result: dict[str, Any] = {"operations": counter.operations, "alone": [], "empty": [], "read": []}
    for _ in range(repeats):
        times: dict[str, list[float]] = {"alone": [], "empty": [], "read": []}
        for step in range(steps):
            programs = [_alone, _empty, _read]
            for program in programs if step % 2 else programs[::-1]:
                times[program.__name__.strip("_")].append(_seconds(program, host))
        result["alone"].append(1e3 * statistics.median(times["alone"]))
        for name in ("empty", "read"):
            pairs = zip(times[name], times["alone"], strict=True)
            result[name].append(1e3 * statistics.median(more - less for more, less in pairs))
    return result


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Measure, print a table, write and return the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300, help="steps of each kind in a repeat")
    parser.add_argument("--repeats", type=int, default=5, help="repeats")
    parser.add_argument("--output", type=Path, default=Path("runs/reading.json"), help="file for the figures")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    hosts = {}
    print("| loss | operations | step alone (ms) | a mode that does nothing (ms) | watched and read (ms) |")
    print("|---|---:|---:|---:|---:|")
    for kind in (Plain, Deep, Rich):
        found = hosts[kind.__name__] = measure(kind(), options.steps, options.repeats)
        cells = [
            f"{statistics.median(found[name]):.2f} ({min(found[name]):.2f} to {max(found[name]):.2f})"
            for name in ("alone", "empty", "read")
        ]
        print(f"| {kind.__name__} | {found['operations']} | {cells[0]} | +{cells[1]} | +{cells[2]} |")
    result = {"versions": versions(), "steps": options.steps, "hosts": hosts}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


if __name__ == "__main__":
    main()
