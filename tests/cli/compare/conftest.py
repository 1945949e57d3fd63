"""The fixtures of a comparison."""

from tests.cli.compare.comparisons import config, drawn

__all__ = ["config", "drawn"]
