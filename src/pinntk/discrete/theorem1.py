"""Theorem 1 of the paper: the kernel's trace against the condition number.

For gradient flow on L_r, with ``alpha`` vanishing as L_r does,

    Tr(K_rr)/N_r  >~  |f|^2 / (|u|^2 |Omega|) / (cond(P)^2 + alpha(L_r)) |grad_theta u_theta|^2

(norms of L2(Omega)): a badly conditioned problem has a small kernel, unless the network itself is steep. Defined only
where neither u nor f vanishes identically.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.network.coefficients import Unknown
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.terms import Problem, Term, vanishing


@dataclass(frozen=True)
class Sides:
    """Both sides of the inequality at one moment, with alpha = 0, its limit."""

    left: float
    """Tr(K_rr)/N_r"""
    right: float
    """|f|^2 / (|u|^2 |Omega| cond^2) |grad_theta u|^2"""


class Theorem1:
    """The two sides for a problem; norms are means over given points times |Omega|.

    Args:
        pde: the problem; its term "residual" must hold ``F[u] - f``, F[0] = 0.
        points: spread evenly over the domain, (n, d).
        reference: the solution u there, (n,); NaN where it is not known.
        condition: cond(P), or a discrete problem's ``|A^-1| |b| / |u|`` for it.

    Raises:
        ValueError: f or u vanishes identically; or there are several fields.

    Example::

        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> x = np.linspace(0.0, 1.0, 101)[:-1, None]
        >>> theorem = Theorem1(Poisson1D(a=2), x, np.sin(2 * math.pi * x[:, 0]), condition=4.0)
        >>> round(theorem.factor / math.pi**4, 6)  # |f|^2 / |u|^2 = (2 pi)^4
        1.0
    """

    def __init__(self, pde: Problem, points: Array, reference: Array, condition: float) -> None:
        if len(pde.fields) > 1:
            raise ValueError(f"pde={pde.name}: Theorem 1 is about a single field")
        self.pde, self.points = pde, torch.from_numpy(points)
        self.volume = float(np.prod(np.subtract(pde.upper, pde.lower)))
        f, u = forcing(pde, self.points).square().mean(), float(np.mean(np.square(reference[~np.isnan(reference)])))
        if not f > 0 or not u > 0:
            raise ValueError(f"pde={pde.name}: cond(P) is defined only where neither u nor f vanishes identically")
        # |f|^2 / (|u|^2 |Omega|): the volume enters both norms, so it stays once.
        self.factor = float(f) / (u * self.volume) / condition**2

    def sides(self, residuals: Residuals, batches: dict[str, Batch]) -> Sides:
        """Both sides at the network's current parameters; the kernel is that of the given points."""
        squares = FactoredJacobian.of(residuals, batches).squares("residual")
        network = residuals.network
        reference = next(network.parameters())
        values = Residuals(self.pde, network, [Term("u", "interior", ("u",), vanishing)])
        points = self.points.to(reference)
        gradient = FactoredJacobian.of(values, values.prepare({"interior": points})).squares("u")
        return Sides(float(squares.mean()), self.factor * float(gradient.mean()) * self.volume)


def forcing(pde: Problem, points: Tensor) -> Tensor:
    """f at points (N, d), as minus the residual of u = 0: (N,).

    Example::

        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> f = forcing(Poisson1D(a=1), torch.tensor([[0.5]], dtype=torch.float64))  # -pi^2 sin pi x
        >>> round(f.item() / math.pi**2, 6)
        -1.0
    """
    (term,) = (term for term in pde.terms() if term.name == "residual")
    zero = torch.zeros(len(points), dtype=points.dtype)
    numbers = {name: zero + value for name, value in pde.coefficients().items() if not isinstance(value, Unknown)}
    return -term.of_derivatives({**dict.fromkeys(term.derivatives, zero), **numbers}, *term.fields(points))
