"""The tutorial runs from top to bottom, with a few steps and in a folder of its own."""

import re
import sys
import types
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "examples/tutorial.py"


def test_the_tutorial_runs(tmp_path, monkeypatch, capsys):
    text = SCRIPT.read_text(encoding="utf-8")
    short = re.sub(r"^STEPS = \d+$", "STEPS = 10", text, flags=re.MULTILINE)
    short = re.sub(r"SyntheticMocap\(.*\)", "SyntheticMocap(subjects=6, clips_per_subject=1, frames=20)", short)
    assert "STEPS = 10\n" in short
    assert "frames=20" in short
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("tutorial")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(short, str(SCRIPT), "exec"), vars(module))
    printed = capsys.readouterr().out
    assert re.search(r"^plain +\{'MPJPE \(mm\)': [\d.]+, 'LSE \(%\)': [\d.]+, 'BSLE", printed, flags=re.MULTILINE)
    assert re.search(r"^SEAL +rescaled \{.*'LSE \(%\)': 0\.0", printed, flags=re.MULTILINE)
    assert re.search(r"^seal/force_ratio +0\.2$", printed, flags=re.MULTILINE)
    assert (tmp_path / "runs/tutorial/seal.ckpt").is_file()
    assert not hasattr(module.deployed, "seal")


def test_the_host_of_the_tutorial_knows_nothing_of_seal():
    host = re.search(r"^class MyLifter.*?(?=^# %%)", SCRIPT.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert "seal" not in host[0].lower()
