"""What an optimiser of second order asks of a problem: loss, gradient and curvature in a flat vector of parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

Product = Callable[[Tensor], Tensor]
"""v of shape (P,) or (P, k), one vector per column -> the matrix times v, of the same shape."""


class Objective(Protocol):
    """A loss L of P parameters theta, which it holds."""

    def parameters(self) -> Tensor:
        """theta, (P,)."""

    def assign(self, theta: Tensor) -> None:
        """Make theta (P,) the current parameters."""

    def loss(self) -> Tensor:
        """L(theta), a scalar."""

    def gradient(self) -> tuple[Tensor, Tensor]:
        """L(theta), a scalar, and its gradient, (P,)."""

    def curvature(self) -> Product:
        """Products with the Hessian of L, or its Gauss-Newton matrix, at the parameters of this moment."""
