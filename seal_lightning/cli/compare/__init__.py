"""``seal-lightning compare``: a host and its SEAL subclass, trained and scored on equal terms."""

from seal_lightning.cli.compare.command import CompareCLI

__all__ = ["CompareCLI"]
