"""Damped linear least squares by orthogonal transformations: the Gauss-Newton step without ``J^T J`` or ``J J^T``.

One factorisation of J, `Reduced`, and what is solved with its triangle: for given dampings `DampedLeastSquares`, for
given lengths of the step `TrustRegion`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 128
"""Columns that are eliminated at once."""


@dataclass(frozen=True)
class Reduced:
    """``J d + r`` in n = min(N, P) dimensions by one QR factorisation.

    ``|J d + r|^2`` is ``|R e + c|^2`` and what no d changes, with an upper triangle R, ``d = lift(e)`` and |d| = |e|.
    With N >= P, J is Q R, c is ``Q^T r`` and e is d. With N < P the step is had in the space of the kernel: J is
    ``L Q^T`` from a factorisation of J^T, d = Q e lies in the range of J^T, and R and c are L and r turned upside down
    and back to front. The kernel ``K = J J^T = L L^T`` itself is never formed: its eigenvalues are the squares of J's
    singular values, and rounding takes those below eps of the largest.

    Example::

        >>> J, r = torch.tensor([[3.0, 4.0]], dtype=torch.float64), torch.tensor([10.0], dtype=torch.float64)
        >>> wide = Reduced.of(J, r)
        >>> abs(round(float(wide.R), 4)), float(wide.c)
        (5.0, 10.0)
        >>> wide.lift(-wide.c / wide.R[0]).round(decimals=4).tolist()  # the shortest d with 3 a + 4 b = -10
        [-1.2, -1.6]
    """

    R: Tensor
    """(n, n)."""
    c: Tensor
    """(n,)."""
    basis: tuple[Tensor, Tensor] | None
    """Q's reflections, (P, N) and (N,), where N < P."""

    @classmethod
    def of(cls, J: Tensor, r: Tensor) -> Reduced:
        """For J, (N, P), and r, (N,), in ``2 n^2 (m - n / 3)`` operations, m = max(N, P).

        Raises:
            ValueError: the shapes do not go together.
        """
        if J.ndim != 2 or r.shape != J.shape[:1]:
            raise ValueError(f"r: came shape {tuple(r.shape)} with J {tuple(J.shape)}; needed are (N,) and (N, P)")
        rows, parameters = J.shape
        if rows >= parameters:
            factors, _ = torch.geqrf(torch.cat([J, r[:, None]], dim=1))
            return cls(factors[:parameters, :-1].triu(), factors[:parameters, -1], None)
        factors, reflections = torch.geqrf(J.T)
        return cls(factors[:rows].triu().T.flip(0, 1), r.flip(0), (factors, reflections))

    def lift(self, e: Tensor) -> Tensor:
        """d, (P,), of e, (n,)."""
        if self.basis is None:
            return e
        factors, reflections = self.basis
        padded = torch.cat([e.flip(0), e.new_zeros(len(factors) - len(e))])
        d: Tensor = torch.ormqr(factors, reflections, padded[:, None])[:, 0]
        return d


class DampedLeastSquares:
    """``d = argmin |J d + r|^2 + lambda |d|^2`` for one J and r and any number of lambda.

    That is ``-(J^T J + lambda I)^-1 J^T r``, but by a QR factorisation of J instead of a Cholesky factorisation of the
    sum. ``J^T J`` knows J's singular values below ``sqrt(eps) |J|`` no more: of the part of d that depends on them,
    rounding leaves nothing. Here the error of d is in the order of ``eps cond(J)``, and of ``eps cond(J)^2`` only times
    what is left of r (Golub, Van Loan, "Matrix computations", 5.3); with a damping cond is that of J above
    ``sqrt(lambda) I``.

    J is factored once (`Reduced`). Every lambda then takes ``2/3 n^3`` operations, n = min(N, P), for the factor of R
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
        self._reduced = Reduced.of(J, r)

    def solve(self, damping: float) -> Tensor:
        """d for ``lambda = damping``, (P,); with 0 that of least norm, and not finite where a row of R vanishes.

        Raises:
            ValueError: the damping is negative or not a number.
        """
        if not damping >= 0:
            raise ValueError(f"damping: came {damping:g}; allowed is 0 and more")
        R, c = self._reduced.R, self._reduced.c
        if damping > 0:
            R, c = _damped(R, c, math.sqrt(damping))
        e: Tensor = -torch.linalg.solve_triangular(R, c[:, None], upper=True)
        return self._reduced.lift(e[:, 0])


class TrustRegion:
    """``d = argmin |J d + r|  with  |d| <= Delta`` for one J and r and any number of Delta.

    By the singular values s of J, which are those of its triangle (`Reduced`): ``d = -V s c / (s^2 + lambda)`` with
    ``c = U^T r`` and lambda such that the length is Delta, 0 where the shortest minimiser is within it. Singular values
    below ``eps max(N, P)`` of the largest are rounding and count as 0.

    Args:
        J: (N, P).
        r: (N,).

    Example::

        >>> region = TrustRegion(torch.eye(2, dtype=torch.float64), torch.tensor([3.0, 4.0], dtype=torch.float64))
        >>> d, damping = region.step(1.0)
        >>> d.round(decimals=6).tolist(), round(damping, 6)
        ([-0.6, -0.8], 4.0)
        >>> region.step(10.0)[1]  # the minimiser itself
        0.0
    """

    def __init__(self, J: Tensor, r: Tensor) -> None:
        self._reduced = Reduced.of(J, r)
        U, s, Vt = torch.linalg.svd(self._reduced.R, full_matrices=False)
        kept = s > torch.finfo(s.dtype).eps * max(J.shape) * s[0]
        self._s, self._c, self._Vt = s[kept], (U.T @ self._reduced.c)[kept], Vt[kept]

    def _along(self, damping: float) -> Tensor:
        coefficients: Tensor = self._s * self._c / (self._s.square() + damping)
        return coefficients

    def step(self, radius: float) -> tuple[Tensor, float]:
        """d, (P,), and its lambda.

        Raises:
            ValueError: the radius is not positive.
        """
        if not radius > 0:
            raise ValueError(f"radius: came {radius:g}; allowed is more than 0")
        damping = self._damping(radius)
        return self._reduced.lift(-(self._along(damping) @ self._Vt)), damping

    def _damping(self, radius: float) -> float:
        """By bisection of log lambda, which the length falls in: the secular equation has no other root."""
        if not len(self._s) or float(self._along(0.0).norm()) <= radius:
            return 0.0
        # |d| <= |s c| / lambda from above; from below the length is near that of lambda = 0
        high = math.log(float((self._s * self._c).norm()) / radius)
        low = high - 1.0
        while float(self._along(math.exp(low)).norm()) < radius and low > -700:
            low -= 2 * (high - low)
        for _ in range(100):
            middle = (low + high) / 2
            if middle in (low, high):
                break
            if float(self._along(math.exp(middle)).norm()) > radius:
                low = middle
            else:
                high = middle
        return math.exp(high)


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
