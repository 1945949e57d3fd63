"""What an error estimate beside a training costs: a plain step, and the same with `ErrorEstimate`, interleaved.

    python -m benchmarks.error_estimate_step

A step is forward, loss, backward and optimizer step of the host, and what the callback does after it: two further
forwards of the host, and the critic's own update. Reading data is left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any

from benchmarks.measure import interleaved
from benchmarks.step import HOSTS, SKELETONS, lightning_step, make_batch, make_host
from seal_lightning.callbacks import ErrorEstimate
from seal_lightning.error_estimate import ErrorCritic

__all__ = ["main"]


def beside(model: Any, batch: Any, skeleton: str, every: int) -> Callable[[], object]:
    """A step of a host with the callback's hooks around it, `every` times over, so that the critic learns once."""
    callback, trainer = (
        ErrorEstimate(ErrorCritic(skeleton), unit="m", every_n_steps=every),
        SimpleNamespace(barebones=True),
    )
    model.flip_test = False  # in evaluation mode, a forward of the host is one of its network
    run = lightning_step(model, batch)

    def steps() -> None:
        for index in range(every):
            callback.on_train_batch_start(trainer, model, batch, index)  # type: ignore[arg-type]
            run()
            callback.on_train_batch_end(trainer, model, None, batch, index)  # type: ignore[arg-type]

    return steps


def main(args: list[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", choices=HOSTS, default="simple")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--frames", type=int, default=27)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(args)
    make = make_host(options.host, 17, options.frames, options.hidden)
    batch = make_batch(options.host, 17, options.frames, options.batch)
    programs = {"plain": lightning_step(make(), batch)}
    every = {"ErrorEstimate": 1, "ErrorEstimate, every second step": 2}
    programs |= {name: beside(make(), batch, SKELETONS[17], number) for name, number in every.items()}
    seconds = interleaved(programs, options.rounds)
    plain = median(seconds["plain"])
    print(f"{'step':<36}{'median ms':>10}{'fastest':>10}{'slowest':>10}{'x plain':>10}")
    for name, values in seconds.items():
        own = [1e3 * value / every.get(name, 1) for value in values]
        columns = f"{median(own):>10.1f}{min(own):>10.1f}{max(own):>10.1f}{median(own) / (1e3 * plain):>10.2f}"
        print(f"{name:<36}{columns}")


if __name__ == "__main__":
    main()
