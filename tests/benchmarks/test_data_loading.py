"""The benchmark of data loading at toy size: its rivals make the same kind of data, and it writes what it prints."""

import json
import shutil
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks import data_loading
from seal_lightning.data import DetectorNoise, MocapDataModule, SyntheticMocap


@pytest.mark.parametrize("frames", [1, 5, 30])
@pytest.mark.parametrize("noise", [None, DetectorNoise()])
def test_the_naive_loader_makes_the_same_kind_of_batch(frames, noise):
    motion = SyntheticMocap(subjects=3, clips_per_subject=4, frames=20)
    data = MocapDataModule(synthetic=motion, frames=frames, noise=noise, confidence=True, batch_size=64)
    ours = data.dataset("train").__getitems__(list(range(len(data.dataset("train")))))
    torch.manual_seed(0)
    sets = [data_loading.NaiveDataset(data, by_frame=by_frame) for by_frame in (False, True)]
    whole, apart = (next(iter(DataLoader(dataset, batch_size=len(dataset)))) for dataset in sets)
    for name, values in ours.items():
        assert values.shape == whole[name].shape == apart[name].shape
        assert values.dtype == whole[name].dtype
    torch.testing.assert_close(whole, apart)  # same random numbers, same distribution, two implementations
    for part in (slice(0, 2), slice(2, 3)):
        mine, theirs = ours["keypoints_2d"][..., part], whole["keypoints_2d"][..., part]
        torch.testing.assert_close(mine.mean(), theirs.mean(), atol=0.08, rtol=0)
        torch.testing.assert_close(mine.std(), theirs.std(), atol=0.08, rtol=0.1)
    # A camera only turns a pose: the distance of a joint from the hip is that of the recorded motion in both.
    torch.testing.assert_close(ours["target"].norm(dim=-1), whole["target"].norm(dim=-1), atol=1e-4, rtol=0)


def test_benchmark(tmp_path, capsys):
    arguments = ["--frames", "1", "3", "--batch", "4", "--rounds", "2", "--output", str(tmp_path / "new" / "a.json")]
    if sys.platform == "linux":
        arguments += ["--frames-on-disk", "60000", "--megabytes", "8"]
    result = data_loading.main(arguments)
    assert json.loads((tmp_path / "new" / "a.json").read_text()) == result
    assert [(row["frames"], row["noise"]) for row in result["rows"]] == [(1, False), (3, False), (1, True), (3, True)]
    assert set(result["rows"][1]["ratio"]) == {"by sample", "by frame"}
    printed = capsys.readouterr().out
    assert printed.count("detector") == 2
    if sys.platform == "linux":
        assert result["memory"]["samples"] == 60_000
        assert not result["memory"]["loads"]
        assert "the file does not load with that" in printed


def test_a_failing_proof_is_told(monkeypatch):
    monkeypatch.setattr(data_loading.sys, "executable", shutil.which("false"))
    with pytest.raises(RuntimeError, match=r"Expected 1 MB to be read with 5 MB, but got:"):
        data_loading.prove(3000, 5)
