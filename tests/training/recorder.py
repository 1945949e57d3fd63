"""A CPU stand-in for CUDA graphs: records operations on the memory that they work on, and runs them again."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class CpuGraph:
    """As a capture on a device: operations alone are repeated, whatever Python did between them is not.

    A capture runs nothing, so what the recording writes to is put back to what it was.
    """

    def __init__(self):
        self.operations = []

    def record(self, run):
        recording = Recording()
        try:
            with recording:
                return run()
        finally:
            recording.put_back()
            self.operations = recording.operations

    def replay(self):
        with torch.no_grad(), torch.autocast("cpu", enabled=False):  # what a cast made of operations was recorded
            for function, args, kwargs, outputs in self.operations:
                again = tensors(function(*args, **kwargs))
                for memory, values in zip(outputs, again, strict=False):
                    if memory.numel():
                        memory.copy_(values)


class Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.operations, self.kept, self.own = [], {}, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = tensors((args, kwargs))
        writes = function._schema.is_mutable
        for tensor in given if writes else ():
            if (place := address(tensor)) not in self.own and place not in self.kept:
                storage = tensor.untyped_storage()
                self.kept[place] = storage, storage.clone()
        result = function(*args, **kwargs)
        places = {address(tensor) for tensor in given}
        fresh = [tensor for tensor in tensors(result) if address(tensor) not in places]
        self.own |= {address(tensor) for tensor in fresh}
        if (fresh or writes) and not function.overloadpacket.__name__.startswith(("empty", "new_empty")):
            self.operations.append((function, args, kwargs, tensors(result) if fresh else []))
        return result

    def put_back(self):
        for storage, before in self.kept.values():
            storage.copy_(before)


def address(tensor):
    return tensor.untyped_storage().data_ptr()


def tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
