"""What optimisers ask of a problem: loss, gradient and curvature in a flat vector of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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


@dataclass(frozen=True)
class Point:
    """What is known of a loss at some parameters, kept so that a line search need not ask again."""

    theta: Tensor
    """(P,)"""
    losses: Tensor
    """L and whatever is to be known with it, (k,), L first."""
    gradient: Tensor
    """Of L, (P,)."""

    @cached_property
    def loss(self) -> float:
        return float(self.losses[0])

    @cached_property
    def finite(self) -> bool:
        return math.isfinite(self.loss) and bool(self.gradient.isfinite().all())

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """What a checkpoint has of it."""
        return self.theta, self.losses, self.gradient
