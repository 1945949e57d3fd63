"""How far off a predicted pose is: a network that estimates it, and what it learns from."""

from seal_lightning.error_estimate.critic import ErrorCritic, Errors, LogErrors
from seal_lightning.error_estimate.damage import ViewDamage

__all__ = ["ErrorCritic", "Errors", "LogErrors", "ViewDamage"]
