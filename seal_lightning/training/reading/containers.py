"""The tensors in whatever a step is given or a network returns, and the modules in a host."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, nn

__all__ = ["may_hold_arrays", "modules_in", "named_tensors", "tensors_in"]

_DEPTH = 6  # of nested containers; batches and outputs of networks are shallower
_PLAIN = (str, bytes, int, float, complex, type, nn.Module)


def modules_in(host: nn.Module) -> list[nn.Module]:
    """A host and all modules in it, each once, as `nn.Module.modules` finds them in more than three times as long."""
    found, seen = [host], {host}
    for module in found:  # which grows on the way
        for inner in module._modules.values() if module._modules else ():  # most have none
            if inner is not None and inner not in seen:
                seen.add(inner)
                found.append(inner)
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists, mappings, dataclasses and plain objects."""
    for _, tensor in named_tensors(value):
        yield tensor


def named_tensors(value: Any, name: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Tensor]]:
    """The same tensors, each with the expression that leads to it, as ``batch['keypoints'][0]``."""
    if isinstance(value, Tensor):
        yield name, value
    elif value is None or isinstance(value, _PLAIN) or depth == 0:
        return
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from named_tensors(item, f"{name}[{key!r}]", depth - 1)
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from named_tensors(item, f"{name}[{index}]", depth - 1)
    else:
        for field, item in _attributes(value):
            yield from named_tensors(item, f"{name}.{field}", depth - 1)


def may_hold_arrays(value: Any, depth: int = _DEPTH) -> bool:
    """Whether there are numbers beside the tensors: arrays, floats, or objects into which nobody can look."""
    if value is None or isinstance(value, (Tensor, str, bytes, int, type, nn.Module)):
        return False
    if depth == 0 or isinstance(value, float | complex):
        return True
    if isinstance(value, Mapping):
        return any(may_hold_arrays(item, depth - 1) for item in value.values())
    if isinstance(value, Sequence):
        return any(may_hold_arrays(item, depth - 1) for item in value)
    inner = _attributes(value)
    return not inner or any(may_hold_arrays(item, depth - 1) for _, item in inner)


def _attributes(value: Any) -> list[tuple[str, Any]]:
    if is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in fields(value)]
    return list(vars(value).items()) if hasattr(value, "__dict__") and not callable(value) else []
