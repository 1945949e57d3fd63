"""What several tests of the backbones look with."""

import torch
from torch import nn

# Written by hand, not derived: the joints that a bone of h36m17 joins to each joint.
H36M_NEIGHBOURS = {
    **{0: {1, 4, 7}, 1: {0, 2}, 2: {1, 3}, 3: {2}, 4: {0, 5}, 5: {4, 6}, 6: {5}, 7: {0, 8}, 8: {7, 9, 11, 14}},
    **{9: {8, 10}, 10: {9}, 11: {8, 12}, 12: {11, 13}, 13: {12}, 14: {8, 15}, 15: {14, 16}, 16: {15}},
}


def changed(net, inputs, index, dim):
    """Positions along `dim` of the output that move when the input's `index` there does."""
    other = inputs.clone()
    other.select(dim, index).add_(torch.randn_like(other.select(dim, index)))
    with torch.no_grad():
        difference = (net(inputs) - net(other)).abs().movedim(dim, 0).flatten(1).amax(dim=1)
    return set((difference > 1e-6).nonzero().flatten().tolist())


def randomise_batch_norms(net):
    """Statistics and weights as after some training; a fresh batch norm hides what stands before it."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 2.0)


def empty(*modules):
    """Make modules give zeros."""
    for module in modules:
        nn.init.zeros_(module.weight)
        nn.init.zeros_(module.bias)
