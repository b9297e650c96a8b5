"""What optimisers ask of what they minimise: loss, gradient, Jacobian and curvature in a flat vector of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from torch import Tensor

from pinntk.residual.hessian import Curvature
from pinntk.residual.ntk import Jacobian
from pinntk.residual.spectra import SymmetricOperator

Product = Callable[[Tensor], Tensor]
"""v of shape (P,) or (P, k), one vector per column -> the matrix times v, of the same shape."""


class Objective(Protocol):
    """A loss ``L = 1/2 |r|^2`` of P parameters theta, which it holds; weights are part of r.

    Losses are L, and behind it whatever is to be known with it: (1 + T,).
    """

    def parameters(self) -> Tensor:
        """theta, (P,)."""

    def assign(self, theta: Tensor) -> None:
        """Make theta (P,) the current parameters."""

    def loss(self) -> Tensor:
        """L, a scalar."""

    def gradient(self) -> tuple[Tensor, Tensor]:
        """The losses, and the gradient of L, (P,)."""

    def residuals(self) -> Tensor:
        """r, (N,)."""

    def jacobian(self) -> tuple[Tensor, Tensor, Jacobian]:
        """The losses, r, (N,), and its Jacobian, (N, P)."""

    def curvature(self, kind: Curvature) -> SymmetricOperator:
        """The Hessian of L, or a part of it, at the parameters of this moment."""


@dataclass(frozen=True)
class Point:
    """What is known of a loss at some parameters, kept so that a line search need not ask again."""

    theta: Tensor
    """(P,)"""
    losses: Tensor
    """L first, (1 + T,)."""
    gradient: Tensor
    """Of L, (P,)."""

    @classmethod
    def of(cls, objective: Objective) -> Point:
        """What an objective says of its current parameters."""
        return cls(objective.parameters(), *objective.gradient())

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
