"""A method's weighted loss as the optimisers of second order see it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from pinntk.methods.phases import Curvature, PhasedMethod, gradients
from pinntk.optim.objective import Product
from pinntk.residual.hessian import second_derivative
from pinntk.residual.ntk import Jacobian
from pinntk.residual.residuals import term_losses
from pinntk.residual.spectra import SymmetricOperator


class NetworkObjective:
    """A function of a method's network in the flat vector theta of its parameters, (P,).

    Args:
        method: a started method of phases.
    """

    def __init__(self, method: PhasedMethod) -> None:
        self.method = method

    def parameters(self) -> Tensor:
        """theta, (P,)."""
        return self.method.network.vector()

    def assign(self, theta: Tensor) -> None:
        """Give the network the parameters theta, (P,)."""
        self.method.network.assign(theta)


class WeightedObjective(NetworkObjective):
    """``L = sum over terms of w L_term`` at the method's current points, in the flat vector of parameters.

    Args:
        method: a started method of phases.
        kind: which matrix ``curvature`` stands for.

    Attributes:
        losses: where the last gradient was taken, weighted total and terms, (1 + T,).
    """

    losses: Tensor

    def __init__(self, method: PhasedMethod, kind: Curvature = "hessian") -> None:
        super().__init__(method)
        self.kind = kind
        self._variables = list(method.network.parameters())

    def loss(self) -> Tensor:
        """L, a scalar."""
        method = self.method
        method.function_evaluations += 1
        with torch.no_grad():
            found = term_losses(list(method.residual_terms().values()), method.settings.normalization)
            return (method.weights * found).sum()

    def gradient(self) -> tuple[Tensor, Tensor]:
        """L and its gradient, (P,)."""
        self.losses, gradient = self.evaluate()
        return self.losses[0], gradient

    def evaluate(self) -> tuple[Tensor, Tensor]:
        """Weighted total and terms, (1 + T,); the gradient of the total, (P,)."""
        losses = self.method.set_gradients()
        return losses, parameters_to_vector(gradients(self._variables))

    def operator(self) -> SymmetricOperator:
        """The matrix of ``curvature``."""
        return self.method.curvature(self.kind)

    def curvature(self) -> Product:
        """Products with the Hessian or the Gauss-Newton matrix at the current parameters."""
        operator = self.operator()
        return lambda v: operator @ v


class WeightedLeastSquares(NetworkObjective):
    """The same loss as ``L = 1/2 |r|^2``: every residual times the square root of the loss's second derivative in it.

    Args:
        method: a started method of phases.

    Attributes:
        lambdas: further factors on the terms' weights, (T,); 1 at first.
        losses: where the last Jacobian was taken, weighted total and terms, (1 + T,).
    """

    losses: Tensor

    def __init__(self, method: PhasedMethod) -> None:
        super().__init__(method)
        self.lambdas = torch.ones_like(method.weights)

    def residuals(self) -> Tensor:
        """r, (N,), in the order of the terms."""
        method = self.method
        method.function_evaluations += 1
        with torch.no_grad():
            found = method.residual_terms()
        return self._roots([len(r) for r in found.values()]) * torch.cat(list(found.values()))

    def linearized(self) -> tuple[Tensor, Jacobian]:
        """r, (N,), and its Jacobian, (N, P)."""
        method = self.method
        method.function_evaluations += 1
        r, jacobian = method.linearized()
        terms = [r[rows] for rows in jacobian.slices.values()]
        losses = term_losses(terms, method.settings.normalization)
        self.losses = torch.cat([(method.weights * self.lambdas * losses).sum()[None], losses])
        roots = self._roots([len(term) for term in terms])
        return roots * r, jacobian.scaled(roots)

    def _roots(self, counts: list[int]) -> Tensor:
        normalization = self.method.settings.normalization
        weights = self.method.weights * self.lambdas
        second = [w * second_derivative(n, normalization) for w, n in zip(weights, counts, strict=True)]
        return torch.stack(second).sqrt().repeat_interleave(torch.tensor(counts, device=weights.device))
