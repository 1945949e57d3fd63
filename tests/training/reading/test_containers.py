"""The modules of a host."""

import torch
from torch import nn

from seal_lightning.training.reading.containers import modules_in


def test_modules_are_those_that_torch_finds():
    shared = nn.Linear(2, 2)
    host = nn.Module()
    host.listed = nn.ModuleList([shared, nn.Sequential(nn.Linear(2, 2), shared), nn.ModuleDict({"a": nn.Dropout()})])
    host.none = None
    host.register_module("empty", None)
    host.scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    host.compiled = torch.compile(nn.Linear(2, 2))
    host.circle = nn.Module()
    host.circle.back = host.listed
    found = modules_in(host)
    assert len(found) == len({*found})
    assert {*found} == {*host.modules()}
