"""How much time and memory SEAL adds to a training step of each of the eight backbones.

    python -m benchmarks.backbone_steps
    python -m benchmarks.backbone_steps --size published --batch 2 --rounds 1

The plain step and the step with SEAL take turns in one process, so that whatever slows the machine down slows both. By
default the networks have their `tiny()` size and SEAL its default energy, as in the study in docs/backbones.md.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks.measure import interleaved, metered, versions
from benchmarks.step import lightning_step
from examples import backbones
from seal_lightning import SealConfig
from seal_lightning.training.subclass import seal_class

BATCHES = {
    **{"SimpleBaseline": 256, "SemGCN": 64, "VideoPose3D": 64, "PoseFormerV2": 64, "PSTMO": 32},
    **{"MixSTE": 4, "KTPFormer": 4, "MotionAGFormer": 4},
}
"""Batch size of each backbone, as in benchmarks/studies/backbones_*.yaml.

It counts windows, or frames where a network sees a single frame.
"""


def measure(name: str, size: str, batch_size: int, rounds: int) -> dict[str, Any]:
    """Measure one backbone and return its row of the table."""

    def make(seal: SealConfig | None = None) -> Any:
        network = getattr(backbones, name)
        torch.manual_seed(0)
        net = network.tiny() if size == "tiny" else network()
        host = backbones.LitLifter if seal is None else seal_class(backbones.LitLifter)
        return host(net, flip_augmentation=False, **({} if seal is None else {"seal": seal}))

    net = make().net
    window = [net.frames] if hasattr(net, "frames") else []
    centre = getattr(net, "centre_frame_only", False)
    target = torch.randn(batch_size, *([] if centre else window), 17, 3)
    batch = {"keypoints_2d": torch.randn(batch_size, *window, 17, net.channels), "target": target}
    if centre:
        batch["target_sequence"] = torch.randn(batch_size, *window, 17, 3)
    steps = {"plain": lightning_step(make(), batch), "SEAL": lightning_step(make(SealConfig()), batch)}
    seconds = {step: median(times) for step, times in interleaved(steps, rounds).items()}
    megabytes = {step: metered(run).peak / 2**20 for step, run in steps.items()}
    parameters = sum(parameter.numel() for parameter in net.parameters())
    return {
        **{"backbone": name, "parameters": parameters, "frames": window[0] if window else 1, "batch": batch_size},
        **{"milliseconds": {step: 1e3 * value for step, value in seconds.items()}, "megabytes": megabytes},
    }


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark, print the table, and return what the JSON file holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", nargs="+", default=list(BATCHES), choices=BATCHES, help="networks to measure")
    parser.add_argument("--size", default="tiny", choices=("tiny", "published"), help="size of the networks")
    parser.add_argument("--batch", type=int, help="batch size, in windows or frames, instead of that of the study")
    parser.add_argument("--rounds", type=int, default=15, help="measured steps of each kind")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    options = parser.parse_args(arguments)
    print("| backbone | parameters | frames | batch | plain ms | SEAL ms | ratio | plain MiB | SEAL MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    rows = []
    for name in options.backbones:
        row = measure(name, options.size, options.batch or BATCHES[name], options.rounds)
        (plain, seal), memory = row["milliseconds"].values(), row["megabytes"].values()
        cells = [f"{row['parameters'] / 1e6:.2f} M", row["frames"], row["batch"], f"{plain:.1f}", f"{seal:.1f}"]
        cells += [f"{seal / plain:.2f}", *(f"{peak:.0f}" for peak in memory)]
        print(f"| {name} | " + " | ".join(map(str, cells)) + " |", flush=True)
        rows.append(row)
    written = {"size": options.size, "threads": torch.get_num_threads(), "versions": versions(), "rows": rows}
    if options.output is not None:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(written, indent=1) + "\n")
    return written


if __name__ == "__main__":
    main()
