"""Backbones in YAML, their documentation's examples, and what they may import."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser

from examples.backbones import (
    PSTMO,
    KTPFormer,
    LitLifter,
    MixSTE,
    MotionAGFormer,
    PoseFormerV2,
    SemGCN,
    SimpleBaseline,
    VideoPose3D,
)
from seal_lightning.cli import main

FRAME = (SimpleBaseline, SemGCN)
TEMPORAL = (VideoPose3D, PoseFormerV2, PSTMO, MixSTE, KTPFormer, MotionAGFormer)
FILES = sorted((Path(__file__).resolve().parents[2] / "examples" / "backbones").glob("[!_]*.py"))

CONFIG = """
model:
  class_path: examples.backbones.LitLifter
  init_args:
    net:
      class_path: examples.backbones.MixSTE
      init_args: {frames: 3, dim: 16, depth: 1, heads: 2}
    loss:
      class_path: examples.backbones.losses.WeightedSum
      init_args:
        losses:
          - class_path: examples.backbones.losses.WeightedMPJPE
          - class_path: examples.backbones.losses.VelocityLoss
          - class_path: examples.backbones.losses.Smoothness
        weights: [1.0, 2.0, 0.5]
    optimizer:
      class_path: torch.optim.AdamW
      init_args: {lr: 4.0e-5, weight_decay: 0.1}
    lr_scheduler:
      class_path: torch.optim.lr_scheduler.ExponentialLR
      init_args: {gamma: 0.99}
data:
  class_path: seal_lightning.data.MocapDataModule
  init_args:
    synthetic: {subjects: 3, clips_per_subject: 1, frames: 6}
    frames: 3
    batch_size: 4
"""
QUIET = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def test_is_configured_in_yaml(tmp_path, capsys):
    config = tmp_path / "mix_ste.yaml"
    config.write_text(CONFIG)
    main(["fit", "--config", str(config), *QUIET])
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), *QUIET, "--print_config"])
    printed = tmp_path / "printed.yaml"
    printed.write_text(capsys.readouterr().out.partition("seed_everything")[2].join(["seed_everything", ""]))
    main(["fit", "--config", str(printed)])


@pytest.mark.parametrize("backbone", FRAME + TEMPORAL)
def test_the_cpu_size_is_a_class_path(backbone):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--model", type=LitLifter)
    window = {} if backbone in FRAME else {"frames": 3}
    net = {"class_path": f"examples.backbones.{backbone.__name__}.tiny", "init_args": {**window, "channels": 3}}
    config = parser.parse_object({"model": {"class_path": "examples.backbones.LitLifter", "init_args": {"net": net}}})
    made = parser.instantiate_classes(config).model.net
    assert isinstance(made, backbone)
    assert made.channels == 3
    assert {name: getattr(made, name) for name in window} == window


@pytest.mark.parametrize("backbone", FRAME + TEMPORAL)
def test_fit_and_test_with_seal_in_the_cpu_size(backbone, tmp_path, capsys):
    """Windows of 27 frames, no line of the host changed; what was trained is what is tested."""
    net = {"class_path": f"examples.backbones.{backbone.__name__}.tiny"}
    if backbone is MotionAGFormer:
        net["init_args"] = {"channels": 2}
    if backbone is PSTMO:
        net["init_args"] = {"sequence_head": False}
    centre = getattr(backbone, "centre_frame_only", False)
    synthetic = {"subjects": 3, "clips_per_subject": 1, "frames": 30}
    data = {"synthetic": synthetic, "frames": 27, "centre_target": centre, "train_frame_step": 9, "batch_size": 2}
    config = {
        "model": {"class_path": "examples.seal_backbone.SealBackbone", "init_args": {"net": net, "seal": {}}},
        "data": {"class_path": "seal_lightning.data.MocapDataModule", "init_args": {**data, "eval_frame_step": 27}},
        "trainer": {"max_steps": 2, "accelerator": "cpu", "enable_progress_bar": False, "logger": False},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({**config, "trainer": {**config["trainer"], "default_root_dir": str(tmp_path)}}))
    main(["fit", "--config", str(path)])
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["seal"]["criterion"]["frame.bone_count"] > 0
    main(["test", "--config", str(path), "--ckpt_path", str(checkpoint)])
    assert "test_mpjpe" in capsys.readouterr().out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_documentation_examples_hold(file):
    assert doctest.testmod(importlib.import_module(f"examples.backbones.{file.stem}")).failed == 0


def test_backbones_know_nothing_of_seal():
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.startswith("seal_lightning") for name in names), file.name
