"""How `benchmarks.step` measures on a device that runs behind the host, such as a GPU, and inside a real Trainer."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Any

import lightning as L
import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["PRECISIONS", "device_rows", "device_table", "trainer_rows", "trainer_table"]

Program = Callable[[], object]

STEPS = 4  # in a run: so few that the device does not catch up, so many that waiting for its end counts little
WARM_UP = 3
LAUNCHES = ("cudaLaunchKernel", "cuLaunchKernel", "hipLaunchKernel")
GRAPHS = ("cudaGraphLaunch", "hipGraphLaunch")
PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")


def device_rows(programs: Mapping[str, Program], rounds: int, device: torch.device) -> list[dict[str, Any]]:
    """Time of a step by the wall clock and by the device's own events, and what it asks of the device.

    Every round runs each program for a few steps, and waits for the device at the end: what slows the machine down
    meets all programs alike.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(WARM_UP + rounds):
        for name, program in programs.items():
            seconds = _run(program, device)
            if turn >= WARM_UP:
                times[name].append(seconds)
    rows = []
    for name, values in times.items():
        wall, events = (median(column) for column in zip(*values, strict=True))
        asked = _asked(programs[name], device)
        rows.append({"step": name, "milliseconds": 1e3 * wall, "events": 1e3 * events, **asked, "seconds": values})
    plain = rows[0]["milliseconds"]
    return [{**row, "over_plain": row["milliseconds"] / plain, "added": row["milliseconds"] - plain} for row in rows]


def _run(program: Program, device: torch.device) -> tuple[float, float]:
    """Seconds of a step by the wall clock, and between two events on the device."""
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if device.type == "cuda" else []
    start = time.perf_counter()
    for event in events[:1]:
        event.record()
    for _ in range(STEPS):
        program()
    for event in events[1:]:
        event.record()
    _wait(device)
    wall = (time.perf_counter() - start) / STEPS
    return wall, events[0].elapsed_time(events[1]) / 1e3 / STEPS if events else wall


def _asked(program: Program, device: torch.device) -> dict[str, float]:
    """Kernels and graphs that a step launches, and how long the device works on it."""
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with profile(activities=activities) as profiler:
        program()
        _wait(device)
    found = profiler.events() or []
    on_device = [event for event in found if event.device_type.name not in ("CPU", "PrivateUse1")]
    return {
        "launches": sum(event.name.startswith(LAUNCHES) for event in found),
        "graphs": sum(event.name.startswith(GRAPHS) for event in found),
        "device_milliseconds": sum(event.time_range.elapsed_us() for event in on_device) / 1e3,
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class _Batches:
    """One batch again and again, with the time at which each was asked for."""

    def __init__(self, batch: Any, count: int, device: torch.device) -> None:
        self.batch, self.count, self.device = batch, count, device
        self.asked: list[float] = []

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        for _ in range(self.count):
            _wait(self.device)
            self.asked.append(time.perf_counter())
            yield self.batch


def trainer_rows(
    models: Mapping[str, Callable[[], L.LightningModule]], batch: Any, rounds: int, device: torch.device
) -> list[dict[str, Any]]:
    """Time of a step in a real Trainer, logger and automatic optimization included, by precision and model.

    Half precision needs a GPU and is left out elsewhere.
    """
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    rows: list[dict[str, Any]] = []
    for precision in PRECISIONS if device.type == "cuda" else (PRECISIONS[0], PRECISIONS[2]):
        for name, make in models.items():
            batches = _Batches(batch, WARM_UP + rounds + 1, device)
            with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer = L.Trainer(
                    accelerator="gpu" if device.type == "cuda" else "cpu",
                    devices=1,
                    precision=precision,  # type: ignore[arg-type]
                    max_epochs=1,
                    logger=L.pytorch.loggers.CSVLogger(folder),
                    enable_checkpointing=False,
                    enable_progress_bar=False,
                    enable_model_summary=False,
                )
                trainer.fit(make(), batches)
            steps = [after - before for before, after in zip(batches.asked, batches.asked[1:], strict=False)][WARM_UP:]
            row = {"precision": precision, "step": name, "milliseconds": 1e3 * median(steps), "seconds": steps}
            plain = next((other for other in rows if other["precision"] == precision), row)
            rows.append({**row, "over_plain": row["milliseconds"] / plain["milliseconds"]})
    return rows


_DEVICE_COLUMNS = {
    "wall ms": ("milliseconds", ".1f"),
    "x plain": ("over_plain", ".2f"),
    "added ms": ("added", ".1f"),
    "events ms": ("events", ".1f"),
    "device ms": ("device_milliseconds", ".1f"),
    "launches": ("launches", "d"),
    "graphs": ("graphs", "d"),
}
_TRAINER_COLUMNS = {"wall ms": ("milliseconds", ".1f"), "x plain": ("over_plain", ".2f")}


def device_table(title: str, rows: list[dict[str, Any]]) -> str:
    """Rows of `device_rows` as text."""
    return _table(title, rows, _DEVICE_COLUMNS)


def trainer_table(title: str, rows: list[dict[str, Any]]) -> str:
    """Rows of `trainer_rows` as text."""
    named = [{**row, "step": f"{row['precision']}, {row['step']}"} for row in rows]
    return _table(f"{title}, in a Trainer", named, _TRAINER_COLUMNS)


def _table(title: str, rows: list[dict[str, Any]], columns: dict[str, tuple[str, str]]) -> str:
    lines = [f"\n{title}", f"{'step':<40}" + "".join(f"{name:>11}" for name in columns)]
    lines += [f"{row['step']:<40}" + "".join(f"{row[key]:>11{form}}" for key, form in columns.values()) for row in rows]
    return "\n".join(lines)
