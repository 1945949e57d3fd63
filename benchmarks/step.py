"""What a SEAL training step costs: plain host, public way and SEAL in every mode, interleaved in one process.

    python -m benchmarks.step
    python -m benchmarks.step --loss-nets published
    python -m benchmarks.step --hosts temporal seq2seq --frames 9 27 --batch 64
    python -m benchmarks.step --device cuda --trainer --hosts simple temporal --loss-nets default constant

A step is forward, loss, backward and optimizer step of the host, and whatever SEAL adds to it; reading data is left
out. A row tells the median, how many plain steps that is, the rate of its arithmetic, and how many times its bound it
takes: the plain step plus SEAL's matrix products, all at the rate of one large product measured in the same run ("x
bound"), or each at the rate that it reaches when it runs alone ("x own"). Then its peak memory, also as a multiple of
the host's plus that of one pass, forward and backward, of the loss-nets over truths and negatives. "ops" are the
operations that PyTorch dispatches, which is about what a GPU launches.

With `--device cuda` the arithmetic says little, so the columns are others: the median by the wall clock, how many plain
steps that is and how much it adds, the same between events on the device, the time for which the device works, and the
kernels and graphs that a step launches. With `--trainer` the steps also run in a real Trainer, in each precision.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from benchmarks.measure import interleaved, matmul_rate, metered, products_alone, versions
from benchmarks.on_device import device_rows, device_table, trainer_rows, trainer_table
from benchmarks.public_way import PublicGraphLossNet, public_step
from examples import backbones
from seal_lightning import SealConfig, SealLoss
from seal_lightning.loss_nets import GraphLossNet, LossNet, MLPLossNet
from seal_lightning.objectives import MarginObjective
from seal_lightning.training.subclass import seal_class

Batch = dict[str, Tensor]
Program = Callable[[], object]

HOSTS = ("simple", "temporal", "seq2seq")
SKELETONS = {17: "h36m17", 133: "h3wb133"}


class ConstantLossNet(LossNet):
    """The same energy for every pose, at no cost: what is left is the mixin's own."""

    def __init__(self, skeleton: Any) -> None:
        super().__init__(skeleton)
        self.energy = nn.Parameter(torch.zeros(()))

    def forward(self, keypoints_2d: Tensor, pose: Tensor) -> Tensor:
        """Return energies (...) of poses (..., J, 3)."""
        return self.energy + 0 * pose[..., 0, 0]


LOSS_NETS: dict[str, dict[str, Any]] = {
    "default": {},
    "graph 64 x 2": {"loss_net": partial(GraphLossNet, dim=64, depth=2, heads=4), "objective": MarginObjective()},
    "published": {"loss_net": GraphLossNet, "objective": MarginObjective()},
    "published MLP": {"loss_net": MLPLossNet, "objective": MarginObjective()},
    "constant": {"loss_net": ConstantLossNet},
}
MODES: dict[str, dict[str, Any]] = {
    "alternating": {},
    "one pass": {"update": "simultaneous"},
    "one pass, bfloat16": {"update": "simultaneous", "precision": "bfloat16"},
}
ON_A_GPU: dict[str, dict[str, Any]] = {
    "alternating, graphs": {"cuda_graph": True},
    "one pass, graphs": {"update": "simultaneous", "cuda_graph": True},
}


def make_host(name: str, joints: int, frames: int, hidden: int) -> Callable[..., L.LightningModule]:
    """Return a maker of a host, or of its SEAL subclass where a configuration is given."""

    def make(seal: SealConfig | None = None) -> L.LightningModule:
        given = {} if seal is None else {"seal": seal}
        if name == "simple":
            net = backbones.SimpleBaseline(joints, hidden=hidden)
        elif name == "temporal":
            net = backbones.VideoPose3D(joints, frames=frames, hidden=hidden)
        else:
            net = backbones.MixSTE(joints, frames=frames, dim=hidden // 16, depth=3, heads=4)
        host = backbones.LitLifter if seal is None else seal_class(backbones.LitLifter)
        return host(net, flip_augmentation=False, **given)

    return make


def make_batch(name: str, joints: int, frames: int, size: int) -> Batch:
    """Random keypoints and poses in the shapes of a host."""
    window = () if name == "simple" else (frames,)
    target = window if name == "seq2seq" else ()
    return {
        "keypoints_2d": torch.randn(size, *window, joints, 2),
        "target": torch.randn(size, *target, joints, 3),
    }


def lightning_step(model: L.LightningModule, batch: Batch) -> Program:
    """One training step of a model on a fixed batch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    model.log = lambda *args, **kwargs: None  # type: ignore[method-assign]  # there is no trainer to log to

    def step() -> None:
        loss = model.training_step(batch, 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def loss_net_pass(seal: SealConfig, batch: Batch) -> Program:
    """Forward and backward of a configuration's loss-nets over truths and as many negatives."""
    criterion = SealLoss(seal.skeleton, seal.terms(), precision=seal.precision)
    target = batch["target"].flatten(0, -3)
    keypoints_2d = torch.randn(2 * len(target), *target.shape[1:-1], 2)

    def run() -> None:
        pose = torch.cat([target, target]).requires_grad_()
        torch.cat([*criterion.energy(pose, keypoints_2d).values()]).sum().backward()

    return run


def programs(
    size: dict[str, Any], options: argparse.Namespace, device: torch.device
) -> tuple[dict[str, Program], dict[str, Program]]:
    """The steps of a host at one size in every mode, and the passes of their loss-nets."""
    joints = size["joints"]
    make = make_host(size["host"], joints, size["frames"], options.hidden)
    batch = to_device(make_batch(size["host"], joints, size["frames"], size["batch"]), device)
    steps: dict[str, Program] = {"plain": lightning_step(make().to(device), batch)}
    passes: dict[str, Program] = {}
    for loss_net in options.loss_nets:
        if loss_net == "published" and device.type == "cpu":
            steps["published, public way"] = public_step(make(), PublicGraphLossNet(SKELETONS[joints]), batch)
        for mode, fields in (MODES if device.type == "cpu" else MODES | ON_A_GPU).items():
            if loss_net == "constant" and mode != "alternating":
                continue
            seal = SealConfig(skeleton=SKELETONS[joints], **LOSS_NETS[loss_net], **fields)
            name = f"{loss_net}, {mode}"
            steps[name] = lightning_step(make(seal).to(device), batch)
            passes[name] = loss_net_pass(seal, batch)
    return steps, passes


def measure(size: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one host at one size in every mode, a row each."""
    steps, passes = programs(size, options, torch.device("cpu"))
    seconds = interleaved(steps, options.rounds)
    meters = {name: metered(step) for name, step in steps.items()}
    alone = {name: products_alone(meter.products, options.rounds) for name, meter in meters.items()}
    plain, rows = median(seconds["plain"]), []
    for name, values in seconds.items():
        rate = matmul_rates(size["joints"], size["batch"])["bfloat16" if "bfloat16" in name else "float32"]
        at_rate = plain + (meters[name].flops - meters["plain"].flops) / rate
        at_own_rates = plain + alone[name] - alone["plain"]
        memory = meters["plain"].peak + (metered(passes[name]).peak if name in passes else 0)
        rows.append(
            {
                **{**size, "step": name},
                "milliseconds": 1e3 * median(values),
                "over_plain": median(values) / plain,
                "over_bound": median(values) / at_rate,
                "over_products": median(values) / at_own_rates,
                "operations": meters[name].operations,
                "gflops": meters[name].flops / median(values) / 1e9,
                "megabytes": meters[name].peak / 2**20,
                "over_memory": meters[name].peak / memory,
                "seconds": values,
            }
        )
    return rows


@cache
def matmul_rates(joints: int, size: int) -> dict[str, float]:
    """Rate of the largest product of the published loss-net, truths and predictions together, in both precisions."""
    rows = 2 * size * (joints + 1)
    return {name: matmul_rate(rows, 256, 768, getattr(torch, name)) for name in ("float32", "bfloat16")}


COLUMNS = {
    "median ms": ("milliseconds", ".1f"),
    "x plain": ("over_plain", ".2f"),
    "ops": ("operations", "d"),
    "GFLOP/s": ("gflops", ".0f"),
    "x bound": ("over_bound", ".2f"),
    "x own": ("over_products", ".2f"),
    "peak MiB": ("megabytes", ".1f"),
    "x memory": ("over_memory", ".2f"),
}


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of one size as text."""
    first = rows[0]
    rates = {name: rate / 1e9 for name, rate in matmul_rates(first["joints"], first["batch"]).items()}
    lines = [f"\n{_title(first)}; matmul {rates['float32']:.0f} GFLOP/s, in bfloat16 {rates['bfloat16']:.0f}"]
    lines.append(f"{'step':<32}" + "".join(f"{title:>10}" for title in COLUMNS))
    for row in rows:
        lines.append(f"{row['step']:<32}" + "".join(f"{row[key]:>10{form}}" for key, form in COLUMNS.values()))
    return "\n".join(lines)


def _title(row: dict[str, Any]) -> str:
    return f"{row['host']}, {row['joints']} joints, {row['frames']} frames, batch {row['batch']}"


def measure_on(device: torch.device, size: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one host at one size on a GPU in every mode, a row each."""
    steps, _ = programs(size, options, device)
    steps.pop("published, public way", None)  # it is a program for the CPU
    rows = [{**size, **row} for row in device_rows(steps, options.rounds, device)]
    print(device_table(_title(size), rows), flush=True)
    return rows


def measure_in_trainer(device: torch.device, size: dict[str, Any], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure one host at one size in a real Trainer, alone and with every loss-net."""
    make = make_host(size["host"], size["joints"], size["frames"], options.hidden)
    models: dict[str, Callable[[], L.LightningModule]] = {"plain": make}
    for name in options.loss_nets:
        seal = partial(SealConfig, skeleton=SKELETONS[size["joints"]], **LOSS_NETS[name])
        models[name] = partial(make, seal())
        if device.type != "cpu" and name != "constant":
            models[f"{name}, graphs"] = partial(make, seal(cuda_graph=True))
    batch = to_device(make_batch(size["host"], size["joints"], size["frames"], size["batch"]), device)
    rows = [{**size, **row} for row in trainer_rows(models, batch, options.rounds, device)]
    print(trainer_table(_title(size), rows), flush=True)
    return rows


def device_name(device: str) -> str:
    """What the figures were measured on."""
    return torch.cuda.get_device_name() if device == "cuda" else device


def to_device(batch: Batch, device: torch.device) -> Batch:
    """A batch that lies on a device."""
    return {name: value.to(device) for name, value in batch.items()}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Run the benchmark and return what is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", nargs="+", default=["simple"], choices=HOSTS)
    parser.add_argument("--loss-nets", nargs="+", default=["default", "constant"], choices=LOSS_NETS)
    parser.add_argument("--joints", type=int, nargs="+", default=[17], choices=SKELETONS)
    parser.add_argument("--frames", type=int, nargs="+", default=[27], help="window of the hosts that see time")
    parser.add_argument("--batch", type=int, nargs="+", default=[256], help="samples a batch")
    parser.add_argument("--hidden", type=int, default=1024, help="width of the hosts")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where the steps run")
    parser.add_argument("--trainer", action="store_true", help="run the steps in a real Trainer, too")
    parser.add_argument("--rounds", type=int, default=20, help="measured rounds")
    parser.add_argument("--output", type=Path, default=Path("runs/step.json"), help="JSON file to write")
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("expected a GPU for `--device cuda`, but PyTorch finds none")

    L.seed_everything(0, verbose=False)
    warnings.filterwarnings("ignore", "The true poses' left and right bones differ")  # random poses will do here
    rows: list[dict[str, Any]] = []
    in_trainer: list[dict[str, Any]] = []
    for host, joints, frames, size in product(options.hosts, options.joints, options.frames, options.batch):
        if host == "simple" and frames != options.frames[0]:
            continue  # it sees one frame whatever the window
        case, device = {"host": host, "joints": joints, "frames": frames, "batch": size}, torch.device(options.device)
        if device.type == "cpu":
            rows += (measured := measure(case, options))
            print(table(measured), flush=True)
        else:
            rows += measure_on(device, case, options)
        if options.trainer:
            in_trainer += measure_in_trainer(device, case, options)
    setup = {"hidden": options.hidden, "rounds": options.rounds, "device": device_name(options.device)}
    result = {"rows": rows, "trainer": in_trainer, "setup": setup, "versions": versions()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1))
    return result


if __name__ == "__main__":
    main()
