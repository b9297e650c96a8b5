"""Small objectives for the optimisers of second order, with dense derivatives by automatic differentiation."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.functional import hessian, jacobian

from pinntk.optim.natural_gradient import NaturalGradient, NaturalGradientSettings
from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.residual.factors import LayerFactors
from pinntk.residual.hessian import Curvature
from pinntk.residual.ntk import FactoredJacobian, Jacobian
from pinntk.residual.spectra import SymmetricOperator


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class FunctionObjective:
    """L and its derivatives from a function of theta."""

    def __init__(self, function: Callable[[Tensor], Tensor], theta: Tensor) -> None:
        self.function = function
        self.theta = theta.clone()
        self.calls = {"loss": 0, "gradient": 0, "product": 0}
        self.assigned: list[Tensor] = []

    def parameters(self) -> Tensor:
        return self.theta.clone()

    def assign(self, theta: Tensor) -> None:
        self.theta = theta.clone()
        self.assigned.append(self.theta)

    def loss(self) -> Tensor:
        self.calls["loss"] += 1
        return self.function(self.theta).detach()

    def gradient(self) -> tuple[Tensor, Tensor]:
        self.calls["gradient"] += 1
        leaf = self.theta.clone().requires_grad_()
        loss = self.function(leaf)
        return loss.detach()[None], torch.autograd.grad(loss, leaf)[0]

    def residuals(self) -> Tensor:
        raise NotImplementedError

    def jacobian(self) -> tuple[Tensor, Tensor, Jacobian]:
        raise NotImplementedError

    def dense(self) -> Tensor:
        return torch.as_tensor(hessian(self.function, self.theta, vectorize=True))

    def curvature(self, kind: Curvature = "hessian") -> SymmetricOperator:
        return Counted(self.dense(), self.calls)


class Counted(SymmetricOperator):
    """A dense matrix; products with it are counted as "product"."""

    def __init__(self, H: Tensor, calls: dict[str, int]) -> None:
        super().__init__(H, len(H))
        self.H, self.calls = H, calls

    def _product(self, v: Tensor) -> Tensor:
        return self.H @ v

    def _products(self, columns: Tensor) -> Tensor:
        self.calls["product"] += columns.shape[1]
        return self.H @ columns


class ResidualObjective:
    """``L = 1/2 |r|^2`` from r as a function of theta.

    Args:
        terms: residuals of each, by name; one of all without it.
    """

    def __init__(
        self, function: Callable[[Tensor], Tensor], theta: Tensor, terms: Mapping[str, int] | None = None
    ) -> None:
        self.function = function
        self.theta = theta.clone()
        self.terms = terms
        self.evaluations = 0

    def parameters(self) -> Tensor:
        return self.theta.clone()

    def assign(self, theta: Tensor) -> None:
        self.theta = theta.clone()

    def residuals(self) -> Tensor:
        self.evaluations += 1
        return self.function(self.theta)

    def loss(self) -> Tensor:
        return self.function(self.theta).square().sum() / 2

    def gradient(self) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def curvature(self, kind: Curvature = "hessian") -> SymmetricOperator:
        raise NotImplementedError

    def dense(self) -> Tensor:
        """J, (N, P)."""
        return torch.as_tensor(jacobian(self.function, self.theta, vectorize=True))

    def jacobian(self) -> tuple[Tensor, Tensor, FactoredJacobian]:
        J = self.dense()  # as the rows of a layer that has biases alone
        terms = self.terms or {"r": len(J)}
        parts = zip(terms, J.split(list(terms.values())), strict=True)
        layers = {name: [LayerFactors(rows.new_zeros(1, len(rows), 0), rows[None], 1.0, 1)] for name, rows in parts}
        return self.loss()[None], self.residuals(), FactoredJacobian(J.shape[1], layers)


def symmetric(eigenvalues: list[float], seed: int = 0) -> Tensor:
    """A matrix with these eigenvalues and random eigenvectors."""
    Q = torch.linalg.qr(random(len(eigenvalues), len(eigenvalues), seed=seed)).Q
    made: Tensor = Q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ Q.T
    return made


def quadratic(H: Tensor, theta: Tensor) -> FunctionObjective:
    return FunctionObjective(lambda x: x @ H @ x / 2, theta)


def rosenbrock() -> FunctionObjective:
    """Minimum 0 at (1, 1), at the end of a bent valley."""
    start = torch.tensor([-1.2, 1.0], dtype=torch.float64)
    return FunctionObjective(lambda x: (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2, start)


def saddle() -> FunctionObjective:
    """``x^2 / 2 - y^2 / 2 + y^4 / 4``: curvature -1 along y at the saddle, minima -1/4 at y = 1 and y = -1."""
    start = torch.tensor([0.0, 1e-3], dtype=torch.float64)
    return FunctionObjective(lambda x: x[0] ** 2 / 2 - x[1] ** 2 / 2 + x[1] ** 4 / 4, start)


def convex() -> FunctionObjective:
    """``sum (cosh(x_i) + 0.1 x_i^4)`` in rotated coordinates, stiff."""
    A = symmetric([0.01 * 1.3**i for i in range(30)])
    return FunctionObjective(lambda x: torch.cosh(A @ x).sum() + 0.1 * (x**4).sum(), random(30, seed=5) / 3)


def least_squares() -> tuple[FunctionObjective, Tensor]:
    """``|A x - b|^2 / 2``, and the minimum by a solver for such problems."""
    A, b = random(30, 8, seed=1), random(30, seed=2)
    solved = torch.linalg.lstsq(A, b[:, None]).solution[:, 0]
    return FunctionObjective(lambda x: (A @ x - b).square().sum() / 2, random(8, seed=3)), solved


def pinn() -> FunctionObjective:
    """``u_xx = -sin x`` on [0, pi], u = 0 at its ends, by 8 neurons and nested derivatives: 25 parameters."""
    x = torch.linspace(0, torch.pi, 13, dtype=torch.float64)
    width = 8

    def u(theta: Tensor, x: Tensor) -> Tensor:
        w, b, a = theta[: 3 * width].view(3, width)
        value: Tensor = torch.tanh(x[:, None] * w + b) @ a + theta[-1]
        return value

    def loss(theta: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        (u_x,) = torch.autograd.grad(u(theta, leaf).sum(), leaf, create_graph=True)
        (u_xx,) = torch.autograd.grad(u_x.sum(), leaf, create_graph=True)
        return (u_xx + torch.sin(x)).square().mean() + u(theta, x[[0, -1]]).square().mean()

    return FunctionObjective(loss, random(25, seed=4) / 2)


def optimizer(objective: FunctionObjective, **settings: Any) -> NysNewtonCG:
    """NysNewton-CG on an objective, by its Hessian."""
    return NysNewtonCG(objective, NNCGSettings.model_validate({"curvature": "hessian", **settings}), seed=7)


def bent(rows: int, parameters: int) -> ResidualObjective:
    """``sinh(A theta / 4) - b``."""
    A, b = random(rows, parameters, seed=1), random(rows, seed=2)
    return ResidualObjective(lambda x: torch.sinh(A @ x / 4) - b, random(parameters, seed=3))


def natural_gradient(objective: ResidualObjective, **settings: Any) -> NaturalGradient:
    """The natural gradient on an objective."""
    return NaturalGradient(objective, NaturalGradientSettings.model_validate(settings), seed=3)
