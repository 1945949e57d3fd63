"""What metrics cost: ours against the usual way, interleaved in one process on one core, ratio of medians.

    python -m benchmarks.metrics --poses 100000 --batch 4096

Prints two tables and writes JSON: P-MPJPE of many poses at once, and the update of all metrics of `PoseMetrics` with
one batch, separately and together.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from seal_lightning.functional import p_mpjpe
from seal_lightning.metrics import PoseMetrics


def loop_p_mpjpe(prediction: np.ndarray, target: np.ndarray) -> float:
    """The usual way: one pose after another, a singular value decomposition each."""
    errors = []
    for x, y in zip(prediction, target, strict=True):
        centre_x, centre_y = x.mean(axis=0), y.mean(axis=0)
        x, y = x - centre_x, y - centre_y
        u, s, vt = np.linalg.svd(x.T @ y)
        if np.linalg.det(u @ vt) < 0:
            u[:, 2] *= -1
            s[2] *= -1
        aligned = s.sum() / (x**2).sum() * x @ (u @ vt)
        errors.append(np.mean(np.linalg.norm(aligned - y, axis=1)))
    return float(np.mean(errors))


def batched_p_mpjpe(prediction: torch.Tensor, target: torch.Tensor) -> float:
    """The same with one decomposition of all poses."""
    x = prediction - prediction.mean(dim=-2, keepdim=True)
    y = target - target.mean(dim=-2, keepdim=True)
    u, s, vh = torch.linalg.svd(x.mT @ y)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vh).sign()
    scale = (s * sign).sum(dim=-1) / x.square().sum(dim=(-2, -1))
    aligned = scale[:, None, None] * (x @ ((u * sign[:, None]) @ vh))
    return (aligned - y).norm(dim=-1).mean().item()


def measure(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every way in every round, one of each a round; a round before warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def table(title: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Print and return the median of every way, and how many times as fast as the first it is."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    print(f"\n{title:<40}{'median ms':>10}{'faster':>10}")
    for name, median in medians.items():
        print(f"{name:<40}{1e3 * median:>10.1f}{first / median:>9.1f}x")
    return [{"way": name, "milliseconds": 1e3 * value, "faster": first / value} for name, value in medians.items()]


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and return what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=int, default=100_000, help="poses of P-MPJPE")
    parser.add_argument("--batch", type=int, default=4096, help="poses of one update")
    parser.add_argument(
        "--rounds", type=int, default=7, help="measured rounds of P-MPJPE; of updates ten times as many"
    )
    parser.add_argument("--output", type=Path, default=Path("runs/metrics.json"), help="JSON file to write")
    options = parser.parse_args(arguments)

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(options.poses, 17, 3, generator=generator) * 300
    prediction = target + torch.randn(options.poses, 17, 3, generator=generator) * 80
    arrays = prediction.numpy(), target.numpy()
    alignment = {
        "NumPy, one pose after another": lambda: loop_p_mpjpe(*arrays),
        "one batched decomposition": lambda: batched_p_mpjpe(prediction, target),
        "seal_lightning": lambda: p_mpjpe(prediction, target).item(),
    }
    values = {name: way() for name, way in alignment.items()}

    batch = prediction[: options.batch], target[: options.batch]
    together = PoseMetrics("h36m17", unit="mm")
    separate = [metric.clone() for metric in together.values()]
    updates = {
        "separate metrics": lambda: [metric.update(*batch) for metric in separate],
        "PoseMetrics": lambda: together.update(*batch),
    }

    seconds = measure(alignment, options.rounds), measure(updates, 10 * options.rounds)
    titles = f"P-MPJPE of {options.poses} poses", f"update with {options.batch} poses"
    p_mpjpe_rows, update_rows = (table(*pair) for pair in zip(titles, seconds, strict=True))
    result = {
        "p_mpjpe": p_mpjpe_rows,
        "values": values,
        "update": update_rows,
        "setup": {"poses": options.poses, "batch": options.batch, "rounds": options.rounds},
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "seconds": seconds[0] | seconds[1],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
