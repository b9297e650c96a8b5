"""A dense symmetric matrix under many updates of low rank, written to only every few of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

PENDING = 32
"""Updates kept beside the matrix. For 2,000 parameters and updates of rank two, products with them and adding them to
the matrix cost a third of the product with the matrix itself."""


@dataclass(frozen=True)
class Update:
    """``H <- H / divisor + left^T right``, the product being symmetric."""

    divisor: float
    left: Tensor
    """(k, P)"""
    right: Tensor
    """(k, P)"""

    def product(self, v: Tensor, Hv: Tensor) -> Tensor:
        """The product of the updated matrix with v (P,), from that of the one before."""
        return Hv / self.divisor + (self.right @ v) @ self.left


class UpdatedMatrix:
    """``H = scale base + left^T right``, (P, P): a product reads the base once, an update not at all.

    To update the dense matrix is to read and write P^2 numbers for a few operations with each, which takes longer than
    a product. `PENDING` updates at once are one product of matrices. When it is made depends on how many updates there
    were and on nothing else.

    Args:
        base: (P, P); becomes the matrix's own memory.

    Example::

        >>> H = UpdatedMatrix(2 * torch.eye(2))
        >>> update = Update(4.0, torch.tensor([[3.0, -3.0]]), torch.tensor([[1.0, -1.0]]))
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
        self._used = 0
        """Rows of the two in use: the memory is that of `PENDING` updates."""
        self._left = self._right = base.new_empty(0, len(base))

    def _rows(self) -> tuple[Tensor, Tensor]:
        return self._left[: self._used], self._right[: self._used]

    def __matmul__(self, v: Tensor) -> Tensor:
        left, right = self._rows()
        return torch.addmv((right @ v) @ left, self.base, v, alpha=self.scale)

    def add(self, update: Update) -> None:
        """Make it the updated matrix."""
        count = len(update.right)
        if not len(self._right):
            self._reserve(count)
        self.scale /= update.divisor
        self._left[: self._used] /= update.divisor
        self._left[self._used : self._used + count] = update.left
        self._right[self._used : self._used + count] = update.right
        self._used += count
        self.pending += 1
        if self.pending == PENDING:
            left, right = self._rows()
            self.base.addmm_(left.T, right, beta=self.scale)
            self.scale, self.pending, self._used = 1.0, 0, 0

    def _reserve(self, count: int) -> None:
        """Memory for updates of this rank."""
        self._left, self._right = self.base.new_empty(2, PENDING * count, len(self.base)).unbind()

    def dense(self) -> Tensor:
        """H, (P, P)."""
        left, right = self._rows()
        return self.scale * self.base + left.T @ right

    def state(self) -> dict[str, Any]:
        """All there is to it: what is pending is not added before its time."""
        left, right = (rows.clone() for rows in self._rows())
        return {"base": self.base, "scale": self.scale, "pending": self.pending, "left": left, "right": right}

    @classmethod
    def of(cls, state: Mapping[str, Any], like: Tensor) -> UpdatedMatrix:
        """From ``state()``, with the device and dtype of a tensor."""
        made = cls(state["base"].to(like))
        made.scale, made.pending, made._used = state["scale"], state["pending"], len(state["left"])
        if made.pending:
            made._reserve(made._used // made.pending)
            made._left[: made._used] = state["left"].to(like)
            made._right[: made._used] = state["right"].to(like)
        return made
