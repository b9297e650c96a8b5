"""A dense symmetric matrix under many updates of low rank, written to only every few of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PENDING = 16
"""Updates kept beside the matrix. For 2,000 parameters and updates of rank three they cost a fortieth of the product
with the matrix itself, and adding them to it costs less per update than half that product."""


@dataclass(frozen=True)
class Update:
    """``H <- H / divisor + rows^T diag(weights) rows``."""

    divisor: float
    weights: Tensor
    """(k,)"""
    rows: Tensor
    """(k, P)"""

    def product(self, v: Tensor, Hv: Tensor) -> Tensor:
        """The product of the updated matrix with v (P,), from that of the one before."""
        return Hv / self.divisor + (self.weights * (self.rows @ v)) @ self.rows


class UpdatedMatrix:
    """``H = scale base + rows^T diag(weights) rows``, (P, P): a product reads the base once, an update not at all.

    An update of the dense matrix reads and writes P^2 numbers for a few operations with each, and takes three times as
    long as a product. `PENDING` updates at once are one product of matrices. When it is made depends on how many
    updates there were and on nothing else.

    Args:
        base: (P, P); becomes the matrix's own memory.

    Example::

        >>> H = UpdatedMatrix(2 * torch.eye(2))
        >>> update = Update(4.0, torch.tensor([3.0]), torch.tensor([[1.0, -1.0]]))
        >>> v = torch.tensor([1.0, 2.0])
        >>> update.product(v, H @ v).tolist()
        [-2.5, 4.0]
        >>> H.add(update)
        >>> H.dense().tolist(), (H @ v).tolist()
        ([[3.5, -3.0], [-3.0, 3.5]], [-2.5, 4.0])
    """

    def __init__(self, base: Tensor) -> None:
        self.base, self.scale = base, 1.0
        self.pending = 0
        """Updates that are not in the base."""
        self._weights, self._rows = base.new_empty(0), base.new_empty(0, len(base))
        self._used = 0
        """Rows in use: the memory is that of `PENDING` updates."""

    def __matmul__(self, v: Tensor) -> Tensor:
        rows, weights = self._rows[: self._used], self._weights[: self._used]
        return torch.addmv((weights * (rows @ v)) @ rows, self.base, v, alpha=self.scale)

    def add(self, update: Update) -> None:
        """Make it the updated matrix."""
        count = len(update.rows)
        if not len(self._rows):
            self._weights = self.base.new_empty(PENDING * count)
            self._rows = self.base.new_empty(PENDING * count, len(self.base))
        self.scale /= update.divisor
        self._weights[: self._used] /= update.divisor
        self._weights[self._used : self._used + count] = update.weights
        self._rows[self._used : self._used + count] = update.rows
        self._used += count
        self.pending += 1
        if self.pending == PENDING:
            self._fold()

    def _fold(self) -> None:
        rows, weights = self._rows[: self._used], self._weights[: self._used]
        self.base.addmm_((weights[:, None] * rows).T, rows, beta=self.scale)
        self.scale, self.pending, self._used = 1.0, 0, 0

    def dense(self) -> Tensor:
        """H, (P, P)."""
        rows, weights = self._rows[: self._used], self._weights[: self._used]
        return self.scale * self.base + (weights[:, None] * rows).T @ rows

    def state(self) -> dict[str, Any]:
        """All there is to it: what is pending is not added before its time."""
        rows, weights = self._rows[: self._used].clone(), self._weights[: self._used].clone()
        return {"base": self.base, "scale": self.scale, "pending": self.pending, "weights": weights, "rows": rows}

    @classmethod
    def of(cls, state: Mapping[str, Any], like: Tensor) -> UpdatedMatrix:
        """From ``state()``, with the device and dtype of a tensor."""
        made = cls(state["base"].to(like))
        made.scale, made.pending, made._used = state["scale"], state["pending"], len(state["rows"])
        if made._used:
            size = made._used // made.pending * PENDING
            made._weights, made._rows = like.new_empty(size), like.new_empty(size, len(made.base))
            made._weights[: made._used] = state["weights"].to(like)
            made._rows[: made._used] = state["rows"].to(like)
        return made
