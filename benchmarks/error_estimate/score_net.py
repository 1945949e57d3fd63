"""A small network on the scores that boosted trees see, with the critic's loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ScoreNet"]

_STEPS = 2000
_BATCH = 512
_LEAST = 0.1  # millimetres


class ScoreNet:
    """Estimates errors from scores, which it sees as logarithms in units of their spread.

    Args:
        rows: Scores (N, F) that it is fitted to, zero or above.
        error: Errors (N,) in millimetres.
        hidden: Width of its two hidden layers.
    """

    def __init__(self, rows: Tensor, error: Tensor, hidden: int = 64) -> None:
        self._least = (1e-3 * rows.mean(dim=0)).clamp(min=1e-9)
        logs = (rows.clamp(min=0.0) + self._least).log()
        self._mean, self._spread = logs.mean(dim=0), logs.std(dim=0).clamp(min=1e-6)
        self._unit = error.mean()
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._net = nn.Sequential(
                *(nn.Linear(rows.shape[1], hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU()),
                nn.Linear(hidden, 1),
            )
        nn.init.zeros_(self._net[-1].weight)
        optimizer = torch.optim.AdamW(self._net.parameters(), lr=2e-3, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
        inputs, wanted = self._inputs(rows), (error.clamp(min=_LEAST) / self._unit).float()
        for _ in range(_STEPS):
            chosen = torch.randint(len(inputs), (_BATCH,), generator=generator)
            logs = self._net(inputs[chosen])[:, 0]
            loss = (wanted[chosen] * (-logs).exp() + logs).mean()  # the gamma deviance, but for a constant
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    @torch.no_grad()
    def __call__(self, rows: Tensor) -> Tensor:
        """Estimated errors (N,) in millimetres of scores (N, F)."""
        found: Tensor = self._net(self._inputs(rows))[:, 0].clamp(-7.0, 7.0).exp() * self._unit
        return found

    def _inputs(self, rows: Tensor) -> Tensor:
        logs = (rows.clamp(min=0.0) + self._least).log()
        return ((logs - self._mean) / self._spread).clamp(-6.0, 6.0).float()
