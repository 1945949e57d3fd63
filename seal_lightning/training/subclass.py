"""`seal_class`: the SEAL subclass of a host, made where nobody has written one."""

from __future__ import annotations

import sys
from types import ModuleType

from seal_lightning.training.mixin import SealMixin

__all__ = ["seal_class"]

_GENERATED = sys.modules.setdefault("seal_lightning.generated", ModuleType("seal_lightning.generated"))


def seal_class(host: type) -> type:
    """Return the SEAL subclass of a host, ``class SealX(SealMixin, X)``.

    It can be imported, and so pickled, from ``seal_lightning.generated`` in this process.

    Args:
        host: A LightningModule class that is not SEAL yet.

    Raises:
        TypeError: If the host is not a class, or is SEAL already.
    """
    if not isinstance(host, type):
        raise TypeError(f"Expected the model to be a class, but got {host!r}.")
    if issubclass(host, SealMixin):
        raise TypeError(
            f"Expected the model to be a plain host, but {host.__qualname__} has SealMixin already. Name its host in "
            "`model`, and the subclass in `seal_model` if it overrides anything."
        )
    name = f"Seal{host.__name__}"
    made: type = type(name, (SealMixin, host), {"__module__": _GENERATED.__name__, "__doc__": host.__doc__})
    setattr(_GENERATED, name, made)
    return made
