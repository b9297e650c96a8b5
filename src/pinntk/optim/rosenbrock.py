"""One step in time of a network's parameters, by a linearly implicit Runge-Kutta method in its tangent space.

``u' = F(u)`` is solved for ``u = u_n + J w``, J the Jacobian of the network's values at its parameters theta_n. That
space is linear, and a Rosenbrock method has its full order and stability in it. A stage's function ``J k`` is the one
that satisfies the stage's equation best at the points, in the sense of damped least squares::

    k_i = argmin |(J - gamma h F' J) k - gamma h (F(t + alpha_i h, u_n + J sum_j a_ij k_j)
                                                 + J sum_j (c_ij / h) k_j + gamma_i h F_t)|^2 + mu |k|^2

With h to 0 that is ``theta' = argmin |J theta' - F|^2 + mu |theta'|^2`` (Du, Zaki 2021; Bruna, Peherstorfer,
Vanden-Eijnden 2024). The parameters then follow by Gauss-Newton steps to ``u(theta) = u_n + J w``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tableau:
    """Coefficients of a Rosenbrock method, in the form of Hairer and Wanner (IV.7) without products with the matrix.

    ``y + sum m_i k_i`` is of order ``order``, the error of the method of one order less is ``sum e_i k_i``.
    """

    gamma: float
    a: tuple[tuple[float, ...], ...]
    c: tuple[tuple[float, ...], ...]
    m: tuple[float, ...]
    e: tuple[float, ...]
    alpha: tuple[float, ...]
    gammas: tuple[float, ...]
    order: int


RODAS3 = Tableau(
    gamma=0.5,
    a=((), (0.0,), (2.0, 0.0), (2.0, 0.0, 1.0)),
    c=((), (4.0,), (1.0, -1.0), (1.0, -1.0, -8 / 3)),
    m=(2.0, 0.0, 1.0, 1.0),
    e=(0.0, 0.0, 0.0, 1.0),
    alpha=(0.0, 0.0, 1.0, 1.0),
    gammas=(0.5, 1.5, 0.0, 0.0),
    order=3,
)
"""Order 3(2), stiffly accurate and L-stable (Sandu et al. 1997)."""


class NormalEquations:
    """``d = argmin |A d - b|^2 + mu |d|^2`` for one A, (N, P), and any number of b, (N,).

    By a Cholesky factor of ``A^T A + mu I``, which takes 0.6 of the time of a QR factorisation for N = 2 P. Its error
    is in the order of ``eps |A|^2 / mu``; `pinntk.optim.least_squares` is for a mu near rounding.

    Example::

        >>> A = torch.tensor([[3.0], [4.0]])
        >>> round(float(NormalEquations(A, 30.0)(torch.tensor([-1.0, -2.0]))), 4)  # -11 / (25 + 30)
        -0.2
    """

    def __init__(self, A: Tensor, mu: float) -> None:
        self.A = A
        normal = A.T @ A
        normal.diagonal().add_(mu)
        self._factor, info = torch.linalg.cholesky_ex(normal)
        self.solvable = int(info) == 0

    def __call__(self, b: Tensor) -> Tensor:
        return torch.cholesky_solve((self.A.T @ b)[:, None], self._factor)[:, 0]


@dataclass(frozen=True)
class Linear:
    """u and F about parameters theta, M fields at N points.

    Attributes:
        J: of the values, field after field, (M N, P).
        slope: ``F' J``, (M N, P), of the rates.
        streams: what F is a function of, (S, N); the first M are u.
        along: their derivative in a direction, (P,) to (S, N).
        rate: F at a time from such streams, (M, N).
        in_time: its derivative by the time in it, (M, N).
        mu: the damping.
    """

    J: Tensor
    slope: Tensor
    streams: Tensor
    along: Callable[[Tensor], Tensor]
    rate: Callable[[Tensor, float], Tensor]
    in_time: Tensor
    mu: float


@dataclass(frozen=True)
class Increment:
    """A step in the tangent space: parameters w, (P,); ``J w``, (M, N); its error's, (M, N)."""

    w: Tensor
    values: Tensor
    error: Tensor


def increment(linear: Linear, t: float, h: float, tableau: Tableau = RODAS3) -> Increment | None:
    """A step from t to t + h; None where the equations cannot be solved.

    Example::

        >>> one = torch.ones(1, dtype=torch.float64)  # u' = -u from 1 on, the parameter being u itself
        >>> decay = Linear(one[None], -one[None], one[None], lambda v: v[None], lambda s, t: -s, 0 * one[None], 0.0)
        >>> round(1 + increment(decay, 0.0, 0.1).w.item(), 4), round(math.exp(-0.1), 4)
        (0.9048, 0.9048)
    """
    solve = NormalEquations(linear.J - tableau.gamma * h * linear.slope, linear.mu)
    if not solve.solvable:
        return None
    ks: list[Tensor] = []
    along: list[Tensor] = []  # of the streams, (S, N), of each k
    zero, fields = torch.zeros_like(linear.streams), len(linear.in_time)
    for a, c, alpha, gamma in zip(tableau.a, tableau.c, tableau.alpha, tableau.gammas, strict=True):
        at = linear.streams + sum((x * k for x, k in zip(a, along, strict=True) if x), zero)
        rest = sum((x * k[:fields] for x, k in zip(c, along, strict=True) if x), zero[:fields])
        right = h * linear.rate(at, t + alpha * h) + rest + gamma * h**2 * linear.in_time
        ks.append(solve(tableau.gamma * right.flatten()))
        along.append(linear.along(ks[-1]))
    w = torch.stack([m * k for m, k in zip(tableau.m, ks, strict=True)]).sum(0)
    values, error = (
        torch.stack([x * k[:fields] for x, k in zip(by, along, strict=True)]).sum(0) for by in (tableau.m, tableau.e)
    )
    return Increment(w, values, error)
