"""Where the time of a SEAL step goes.

    python -m benchmarks.parts --hidden 256

A plain step of SimpleBaseline and one with the default energy, interleaved. For each part of SEAL's work: milliseconds
of the processor, the operations that PyTorch dispatches, and the milliseconds that its matrix products take when each
of them runs alone, below which the part cannot come with the same arithmetic.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import lightning as L

from benchmarks.measure import WARM_UP, Meter, products_alone
from benchmarks.step import Program, lightning_step, make_batch, make_host
from seal_lightning import SealConfig, SealLoss
from seal_lightning.loss.passes import LossNets
from seal_lightning.training.optimization import LossNetOptimization

REST = "the host's own step, watched, and the gradient of its loss at the prediction"
PARTS: dict[tuple[type, str], str] = {
    (SealLoss, "ranking_loss"): "frames, negatives, noised truths, objective",
    (LossNets, "rank"): "loss-net at truths and predictions, slope at noised truths",
    (LossNetOptimization, "gradients"): "backward pass of these, norm of the gradients",
    (LossNetOptimization, "take"): "optimizer of the loss-net",
    (SealLoss, "energy_loss"): "frame of the prediction, forces",
    (LossNets, "slope"): "loss-net and slope at the predictions, for the pull",
}


class Ledger:
    """Books what a counter counts on the part that is running, and not on the one that called it."""

    def __init__(self, read: Callable[[], Any]) -> None:
        self._read = read
        self._running, self._last = [REST], read()
        self.totals: dict[str, Any] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """While the block runs, book on a part."""
        self.book()
        self._running.append(name)
        try:
            yield
        finally:
            self.book()
            self._running.pop()

    def book(self) -> None:
        """Book what was counted since the last time."""
        now = self._read()
        counted, name = now - self._last, self._running[-1]
        self.totals[name] = self.totals[name] + counted if name in self.totals else counted
        self._last = now


def booked(program: Program, read: Callable[[], Any]) -> dict[str, Any]:
    """Run a program once; return by part what a counter counted."""
    ledger, before = Ledger(read), {place: getattr(*place) for place in PARTS}

    def told(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with ledger.part(name):
                return function(*args, **kwargs)

        return run

    for (owner, name), part in PARTS.items():
        setattr(owner, name, told(before[owner, name], part))
    try:
        program()
    finally:
        for (owner, name), function in before.items():
            setattr(owner, name, function)
    ledger.book()
    return ledger.totals


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Measure, print the table and return it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=256, help="samples a batch")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the host")
    parser.add_argument("--rounds", type=int, default=40, help="measured rounds")
    options = parser.parse_args(arguments)
    L.seed_everything(0, verbose=False)
    warnings.filterwarnings("ignore", "The true poses' left and right bones differ")  # random poses will do here
    make, batch = make_host("simple", 17, 1, options.hidden), make_batch("simple", 17, 1, options.batch)
    plain, seal = lightning_step(make(), batch), lightning_step(make(SealConfig()), batch)
    rounds = [(_seconds(plain), booked(seal, time.process_time)) for _ in range(WARM_UP + options.rounds)][WARM_UP:]
    alone = median(seconds for seconds, _ in rounds)
    with Meter() as meter:
        operations = booked(seal, lambda: meter.operations)
    with Meter() as meter:
        products = booked(seal, lambda: Counter(meter.products))
    rows = {}
    for part in (REST, *PARTS.values()):
        milliseconds = 1e3 * median(totals[part] for _, totals in rounds)
        own = 1e3 * products_alone(products[part], options.rounds)
        rows[part] = {"milliseconds": milliseconds, "operations": operations[part], "products": own}
    print(f"a plain step takes {1e3 * alone:.2f} ms; a SEAL step in parts:")
    print(f"{'':<76}{'ms':>7}{'ops':>6}{'products, ms':>14}")
    for part, row in rows.items():
        print(f"{part:<76}{row['milliseconds']:>7.2f}{row['operations']:>6d}{row['products']:>14.2f}")
    return rows


def _seconds(program: Program) -> float:
    start = time.process_time()
    program()
    return time.process_time() - start


if __name__ == "__main__":
    main()
