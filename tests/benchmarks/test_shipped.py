"""The program that trains the networks behind `seal-lightning score`, at toy size."""

import numpy as np
import pytest
import torch

from benchmarks import shipped
from seal_lightning.data import SyntheticMocap
from seal_lightning.error_estimate import ErrorCritic
from seal_lightning.skeleton import get_skeleton


@pytest.fixture
def folder(tmp_path):
    motion = SyntheticMocap(subjects=2, clips_per_subject=1, frames=40).generate()
    fields = ("positions", "clip_start", "clip_length", "skeleton_id", "fps")
    np.savez(tmp_path / "uiprmd_h36m17.npz", **{name: getattr(motion, name) for name in fields})
    return tmp_path, sorted(set(motion.skeleton_id.tolist()))


def test_both_networks_are_trained_and_written(folder, monkeypatch, capsys):
    path, (first, second) = folder
    monkeypatch.setattr(shipped, "SPLIT", {"train": [first], "val": [second]})
    shipped.main(["--data-dir", str(path), "--output", str(path / "out"), "--steps", "12"])
    critic = ErrorCritic.load(path / "out" / "critic.npz")
    assert critic.fitted
    assert critic.skeleton == get_skeleton("h36m17")
    with np.load(path / "out" / "energy.npz", allow_pickle=False) as file:
        assert (np.diff(file["quantiles"]) >= 0).all()
        assert len(file["quantiles"]) == 101
    out = capsys.readouterr().out
    assert "noise 0.2: AUROC" in out
    assert "error_estimate/auroc" in out


def test_the_shipped_energy_knows_real_poses_from_mirrored_ones(folder, capsys):
    path, people = folder
    shipped.main(["--percentiles", str(path / "uiprmd_h36m17.npz")])
    out = capsys.readouterr().out
    for name in people:
        assert f"{name}: " in out
    found = shipped.percentiles(shipped.shipped_energy(), path / "uiprmd_h36m17.npz")
    assert all(0 <= own <= mirrored <= 100 for own, mirrored in found.values())
    assert torch.tensor(list(found.values()))[:, 1].min() > 90
