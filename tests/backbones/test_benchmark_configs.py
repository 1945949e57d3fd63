"""The 24 configs of eight backbones on three benchmarks: all are there, say what they should, and run."""

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from seal_lightning.cli import main
from seal_lightning.skeleton import get_skeleton

ROOT = Path(__file__).resolve().parents[2]
BACKBONES = ("simple_baseline", "sem_gcn", "video_pose_3d", "pose_former_v2", "p_stmo", "mix_ste", "ktp_former")
BACKBONES += ("motion_ag_former",)
CONFIGS = [f"{data}_{backbone}" for data in ("h36m", "3dhp", "h3wb") for backbone in BACKBONES]
WRITERS = {"h36m": "write_human36m", "3dhp": "write_mpi_inf_3dhp", "h3wb": "write_h3wb"}
NET = "--model.init_args.net.init_args."
# The published sizes take minutes a step on a CPU.
SMALL = {
    "simple_baseline": ["hidden=16"],
    "sem_gcn": ["hidden=8", "blocks=1"],
    "video_pose_3d": ["hidden=16"],
    "pose_former_v2": ["dim=8", "depth=1"],
    "p_stmo": ["dim=16", "hidden=16", "depth=1"],
    "mix_ste": ["dim=8", "depth=1"],
    "ktp_former": ["dim=8", "depth=1"],
    "motion_ag_former": ["dim=8", "depth=1", "representation=16"],
}
QUICK = ["--trainer.fast_dev_run=true", "--trainer.accelerator=cpu", "--seeds=0", "--data.batch_size=2"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The three benchmarks in little, written by the functions that their readers are tested with."""
    spec = importlib.util.spec_from_file_location("miniature", ROOT / "tests" / "data" / "miniature.py")
    miniature = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(miniature)
    found = {}
    for name, writer in WRITERS.items():
        found[name] = tmp_path_factory.mktemp(name)
        getattr(miniature, writer)(found[name])
    return found


def test_there_is_a_config_for_each():
    files = {path.stem for path in (ROOT / "examples" / "configs").glob("*.yaml")}
    assert set(CONFIGS) <= files


@pytest.mark.parametrize("config", CONFIGS)
def test_config_runs(config, folders, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(ROOT)
    data, backbone = config.split("_", 1)
    path = f"examples/configs/{config}.yaml"
    fields = yaml.safe_load((ROOT / path).read_text())
    joints = get_skeleton(fields["seal"]["skeleton"])
    arguments = fields["model"]["init_args"]
    if "parents" in arguments["net"].get("init_args", {}):
        assert tuple(arguments["net"]["init_args"]["parents"]) == joints.parents
    if data == "3dhp":
        assert (tuple(arguments["left"]), tuple(arguments["right"])) == (joints.left, joints.right)
    small = [NET + option for option in SMALL[backbone]]
    main(["compare", "--config", path, f"--data.path={folders[data]}", *QUICK, *small, f"--output={tmp_path / 'out'}"])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert {run["method"] for run in results["runs"]} == {"host", "SEAL"}
    assert f"--config {path}" in (ROOT / path).read_text()
    page = (ROOT / "docs" / "backbones.md").read_text()
    assert f"`{data}`" in page
    assert f"`{backbone}`" in page
