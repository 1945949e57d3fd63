"""The fixtures of a comparison."""

from tests.cli.compare.comparisons import config

__all__ = ["config"]
