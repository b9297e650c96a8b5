"""A method's weighted loss as the optimisers of second order see it."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pinntk.hessian import GaussNewton, Hessian
from pinntk.methods.phases import PhasedMethod, gradients
from pinntk.optim.objective import Product
from pinntk.spectra import SymmetricOperator

Curvature = Literal["hessian", "gauss_newton"]


class WeightedObjective:
    """``L = sum over terms of w L_term`` at the method's current points, in the flat vector of parameters.

    Args:
        method: a started method of phases.
        kind: which matrix ``curvature`` stands for.

    Attributes:
        losses: where the last gradient was taken, weighted total and terms, (1 + T,).
    """

    losses: Tensor

    def __init__(self, method: PhasedMethod, kind: Curvature = "hessian") -> None:
        self.method = method
        self.kind = kind
        self._variables = list(method.network.parameters())

    def parameters(self) -> Tensor:
        """theta, (P,)."""
        return self.method.network.vector()

    def assign(self, theta: Tensor) -> None:
        """Give the network the parameters theta, (P,)."""
        self.method.network.assign(theta)

    def loss(self) -> Tensor:
        """L, a scalar."""
        method = self.method
        method.function_evaluations += 1
        with torch.no_grad():
            return (method.weights * method.loss_terms(method.batches())).sum()

    def gradient(self) -> tuple[Tensor, Tensor]:
        """L and its gradient, (P,)."""
        self.losses = self.method.set_gradients()
        return self.losses[0], parameters_to_vector(gradients(self._variables))

    def operator(self) -> SymmetricOperator:
        """The matrix of ``curvature``."""
        kind = Hessian if self.kind == "hessian" else GaussNewton
        method = self.method
        return kind.of(method.residuals, method.batches(), method.weights, method.settings.normalization)

    def curvature(self) -> Product:
        """Products with the Hessian or the Gauss-Newton matrix at the current parameters."""
        operator = self.operator()
        return lambda v: operator @ v
