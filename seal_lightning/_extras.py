"""Optional packages: which extra of this package brings each of them, and the error where one is missing."""

from __future__ import annotations

from importlib import import_module

__all__ = ["require"]

# The extras of setup.cfg, by the package that they bring.
_EXTRAS = {"matplotlib": "plot", "scipy": "compare"}


def require(package: str, purpose: str) -> None:
    """Raise an error that names the extra to install, unless an optional package can be imported.

    What needs an optional package calls this when it is set up, so that nobody learns of it after hours of training.

    Args:
        package: Name of the optional package.
        purpose: What needs it; the message says that it is expected "to be installed for" this.

    Raises:
        ModuleNotFoundError: If the package is not installed.

    Example:
        >>> require("matplotlib", "figures")  # nothing happens where it is installed
    """
    try:
        import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:  # the package is there, but something that it needs itself is not
            raise
        raise ModuleNotFoundError(
            f"Expected {package} to be installed for {purpose}; get it with: "
            f"pip install 'seal_lightning[{_EXTRAS[package]}]'",
            name=package,
        ) from error
