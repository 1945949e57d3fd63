"""What two processes make of one seed and of batches with outliers; started by `test_ranks.py`."""

import os
import sys

import torch
import torch.distributed as dist

from seal_lightning import SealLoss

STEPS = 4


def batches(seed=0):
    """Poses of both processes; an outlier in the first batch and in the third, of one process each."""
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        poses = torch.randn(2, 6, 17, 3, generator=generator)
        if step in (0, 2):
            poses[step // 2, 1, 4, 0] = 1e6
        yield poses


def run(rows, masked):
    criterion = SealLoss("h36m17", seed=3)
    fresh = [parameter.detach().clone() for parameter in criterion.parameters()]
    lengths = []
    for poses in batches():
        mine = poses[rows].flatten(0, -3)
        visibility = torch.ones(mine.shape[:-1], dtype=torch.bool) if masked else None
        criterion.frame.update(mine, visibility)
        lengths.append(criterion.frame.bone_length.clone())
    return {"fresh": fresh, "lengths": torch.stack(lengths)}


if __name__ == "__main__":
    rank = int(os.environ["RANK"])
    if rank:
        torch.rand(7)  # the global states of the processes differ
    dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/store", rank=rank, world_size=2)
    torch.save({masked: run(rank, masked) for masked in (False, True)}, f"{sys.argv[1]}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
