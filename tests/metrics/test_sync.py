import os
import socket

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from seal_lightning.metrics import PoseMetrics

SHARES = (slice(0, 3), slice(3, 11))  # unequal on purpose


def clips():
    generator = torch.Generator().manual_seed(4)
    target = torch.randn(11, 4, 17, 3, generator=generator) * 200
    prediction = target + torch.randn(11, 4, 17, 3, generator=generator) * 60
    target[0, 0] = 0.0  # lengths that are left out
    visible = torch.rand(11, 4, 17, generator=generator) < 0.9
    visible[3] = False  # a clip that counts for nothing
    return prediction, target, visible


def make():
    return PoseMetrics("h36m17", unit="mm", temporal=True)


def score(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    metrics = make()
    for tensors in zip(*(tensor[SHARES[rank]].split(2) for tensor in clips()), strict=True):
        metrics.update(*tensors)
    results = metrics.compute()
    left_out = metrics["body_segment_length_error"].left_out  # synced states are given back after compute
    torch.save({"results": results, "left_out": left_out, "again": metrics.compute()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch was built without gloo")
def test_two_processes_agree_with_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(score, args=(port, str(tmp_path)), nprocs=2)
    alone = make()
    alone.update(*clips())
    reference = alone.compute()
    ranks = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for saved in ranks:
        assert set(saved["results"]) == set(reference)
        for name, value in reference.items():
            torch.testing.assert_close(saved["results"][name], value)
            torch.testing.assert_close(saved["again"][name], value)
    # The collapsed pose is on rank 0 only, and there alone after the sync is undone.
    assert [int(saved["left_out"]) for saved in ranks] == [int(alone["body_segment_length_error"].left_out), 0]
    assert alone["body_segment_length_error"].left_out > 0
