"""Optional packages: which extra of this package brings each of them, and the error where one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["require"]

# The extras of setup.cfg, by the package that they bring.
_EXTRAS = {"matplotlib": "plot", "plotly": "report", "scipy": "compare"}


def require(module: str, purpose: str) -> Any:
    """Import an optional package, or raise an error that names the extra to install.

    What needs an optional package calls this when it is set up, so that nobody learns of it after hours of training.

    Args:
        module: The optional package, or a module in it.
        purpose: What needs it; the message says that it is expected "to be installed for" this.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: If the package is not installed.

    Example:
        >>> require("scipy.stats", "confidence intervals").__name__
        'scipy.stats'
    """
    package = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in (package, module):  # the package is there, but something that it needs itself is not
            raise
        raise ModuleNotFoundError(
            f"Expected {package} to be installed for {purpose}; get it with: "
            f"pip install 'seal_lightning[{_EXTRAS[package]}]'",
            name=error.name,
        ) from error
