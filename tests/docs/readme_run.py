"""Runs the blocks of a README in order, in the current directory, as somebody would who has only the wheel.

    python readme_run.py README.md

The trainings are cut short, and what only a checkout can do is left out; whatever else fails ends the run.
"""

import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

ONLY_IN_A_CHECKOUT = ("make ", "pip install ", "python -m benchmarks.")
SHORT = ["--trainer.max_epochs=1", "--trainer.limit_train_batches=5", "--trainer.enable_progress_bar=false"]
FLAGS = {
    "fit": SHORT,
    "compare": [*SHORT, "--seal.warmup_steps=0"],
    "demo": [*SHORT, "--seal.warmup_steps=0"],
    "examples": [],
}


def blocks(document):
    """The fenced blocks of a Markdown file, as pairs of their language and their content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def commands(block):
    """The commands of a console block that a wheel is enough for, each as a list of words."""
    for line in block.splitlines():
        if line.startswith(ONLY_IN_A_CHECKOUT):
            continue
        program, command, *more = shlex.split(line, comments=True)
        if program != "seal-lightning" or command not in FLAGS:
            raise ValueError(f"Expected a command that can be run from the wheel, but got {line!r}.")
        yield [program, command, *more, *FLAGS[command]]


def steps(document):
    """All that is to be run, in order."""
    for language, content in blocks(document):
        if language == "console":
            yield from commands(content)
        elif language == "python":
            yield [sys.executable, "-c", content]


def run(document):
    for step in steps(document):
        execute(step)
    for name in ("report.html", "results.json", "results.csv", "results.png"):
        expect(Path("runs/demo", name).is_file(), f"the demo to write runs/demo/{name}")


def go_on():
    """What the README says of its last trainings: their curves in two loggers, and an error estimate afterwards."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curves = EventAccumulator("lightning_logs/version_0").Reload().Tags()["scalars"]
    wandb = ["--trainer.logger=WandbLogger", "--trainer.logger.offline=true"]
    execute(["seal-lightning", "fit", "--config", "examples/configs/seal.yaml", *wandb, *SHORT])
    (run,) = Path("wandb").glob("offline-run-*/*.wandb")
    for name in ("val/mpjpe", "val/lse", "val/bsle", "val/asymmetry"):
        expect(name in curves, f"TensorBoard to have {name}")
        expect(name.encode() in run.read_bytes(), f"Weights & Biases to have {name}")
    (checkpoint,) = Path("lightning_logs/version_1/checkpoints").glob("*.ckpt")
    critic = ["--config", "examples/configs/error_estimate.yaml", "--ckpt_path", str(checkpoint)]
    execute(["seal-lightning", "fit-critic", *critic, "--output=critic.ckpt", "--trainer.logger=false", *SHORT])


def expect(true, what):
    if not true:
        raise RuntimeError(f"Expected {what}, but it did not.")


def execute(step):
    print("$", *(word if "\n" not in word else "..." for word in step), flush=True)
    start = time.perf_counter()
    program = Path(sys.executable).parent / step[0] if step[0] == "seal-lightning" else step[0]
    subprocess.run([program, *step[1:]], check=True)
    print(f"({time.perf_counter() - start:.0f} s)\n", flush=True)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
    go_on()
