"""Damped linear least squares by orthogonal transformations: the Gauss-Newton step without ``J^T J``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

BLOCK = 128
"""Columns that are eliminated at once."""


class DampedLeastSquares:
    """``d = argmin |J d + r|^2 + lambda |d|^2`` for one J and r and any number of lambda.

    That is ``-(J^T J + lambda I)^-1 J^T r``, but by a QR factorisation of J instead of a Cholesky factorisation of the
    sum. ``J^T J`` knows J's singular values below ``sqrt(eps) |J|`` no more: of the part of d that depends on them,
    rounding leaves nothing. Here the error of d is in the order of ``eps cond(J)``, and of ``eps cond(J)^2`` only times
    what is left of r (Golub, Van Loan, "Matrix computations", 5.3); with a damping cond is that of J above
    ``sqrt(lambda) I``.

    J is factored once, in ``2 n^2 (m - n / 3)`` operations for m = max(N, P) and n = min(N, P) (with N < P the
    factors are those of J^T, and d lies in the range of J^T). Every lambda then takes ``2/3 n^3`` for the factor of R
    above ``sqrt(lambda) I`` (Elden 1977), two triangles whose zeros are left alone.

    Args:
        J: (N, P).
        r: (N,).

    Example::

        >>> J, r = torch.tensor([[3.0], [4.0]]), torch.tensor([1.0, 2.0])
        >>> problem = DampedLeastSquares(J, r)
        >>> [round(float(problem.solve(damping)), 4) for damping in (0.0, 30.0)]  # -11 / (25 + damping)
        [-0.44, -0.2]
        >>> shortest = DampedLeastSquares(J.T.double(), r[:1].double()).solve(0.0)  # of 3 a + 4 b = -1
        >>> shortest.round(decimals=4).tolist()
        [-0.12, -0.16]
    """

    def __init__(self, J: Tensor, r: Tensor) -> None:
        if J.ndim != 2 or r.shape != J.shape[:1]:
            raise ValueError(f"r: came shape {tuple(r.shape)} with J {tuple(J.shape)}; needed are (N,) and (N, P)")
        rows, parameters = J.shape
        self._basis: tuple[Tensor, Tensor] | None = None
        if rows >= parameters:
            factors, _ = torch.geqrf(torch.cat([J, r[:, None]], dim=1))
            self._R, self._c = factors[:parameters, :-1].triu(), factors[:parameters, -1]
        else:
            # d = Q e and J d = R^T e: R^T, turned upside down and back to front, is an upper triangle too.
            factors, reflections = torch.geqrf(J.T)
            self._basis = factors, reflections
            self._R, self._c = factors[:rows].triu().T.flip(0, 1), r.flip(0)

    def solve(self, damping: float) -> Tensor:
        """d for ``lambda = damping``, (P,); with 0 that of least norm, and not finite where a row of R vanishes.

        Raises:
            ValueError: the damping is negative or not a number.
        """
        if not damping >= 0:
            raise ValueError(f"damping: came {damping:g}; allowed is 0 and more")
        R, c = (self._R, self._c) if damping == 0 else _damped(self._R, self._c, math.sqrt(damping))
        d: Tensor = -torch.linalg.solve_triangular(R, c[:, None], upper=True)
        if self._basis is not None:
            factors, reflections = self._basis
            padded = torch.cat([d.flip(0), d.new_zeros(len(factors) - len(d), 1)])
            d = torch.ormqr(factors, reflections, padded)
        return d[:, 0]


def _damped(R: Tensor, c: Tensor, root: float) -> tuple[Tensor, Tensor]:
    """The factor of R above ``root I``, and what becomes of c above 0; R an upper triangle (n, n), c (n,)."""
    n = len(R)
    above = torch.cat([R, c[:, None]], dim=1)
    below = torch.zeros_like(above)
    below.diagonal().fill_(root)
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        width = end - start
        factors, sizes = torch.geqrf(torch.cat([above[start:end, start:end], below[:end, start:end]]))
        above[start:end, start:end] = factors[:width].triu()
        # The reflections' vectors are (I, V), for the triangle above has nothing to be eliminated. Together they are
        # I - (I, V) T (I, V)^T, and T^-1 has the products of the vectors above its diagonal (Joffrain et al. 2006).
        V = factors[width:]
        inverse = (V.T @ V).triu(1)
        inverse.diagonal().copy_(1 / sizes)
        top, bottom = above[start:end, end:], below[:end, end:]
        along = torch.linalg.solve_triangular(inverse.T, top + V.T @ bottom, upper=False)
        top -= along
        bottom -= V @ along
    return above[:, :n], above[:, n]
