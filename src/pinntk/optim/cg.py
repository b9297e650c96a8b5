"""Preconditioned conjugate gradients that notice negative curvature."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pinntk.optim.objective import Product


@dataclass(frozen=True)
class Solution:
    """Of ``A x = b``, as far as it was found."""

    x: Tensor
    """(P,)"""
    residual: Tensor
    """``b - A x``, (P,)."""
    iterations: int
    """Products with A."""
    ended: Literal["tolerance", "cap", "negative curvature", "not finite"]


def conjugate_gradients(
    product: Product,
    b: Tensor,
    precondition: Callable[[Tensor], Tensor],
    *,
    tolerance: float,
    max_iterations: int,
    curvature: float,
) -> Solution:
    """Solve ``A x = b`` from ``x = 0`` until ``|b - A x| <= tolerance |b|``.

    Hestenes, Stiefel 1952, with the end at negative curvature of Newton's method (Nocedal, Wright, "Numerical
    optimization", Algorithm 7.1): ``p^T A p <= 0`` for a search direction p gives back the x found so far, and for the
    first one, ``p = P^-1 b``, p over a curvature: the larger of ``curvature`` and ``|p^T A p| / p^T P p``. Every x but
    0 has ``b^T x > 0``.

    Args:
        product: with the symmetric matrix A, (P,) to (P,).
        b: (P,).
        precondition: ``P^-1 v``, (P,) to (P,), symmetric positive definite.
        tolerance: relative to b.
        max_iterations: cap on the products with A.
        curvature: positive c with ``A ~ c P``; scales the step along negative curvature, nothing else.

    Raises:
        FloatingPointError: the first product is not finite.

    Example::

        >>> A, b = torch.tensor([[4.0, 1.0], [1.0, 3.0]]), torch.tensor([1.0, 2.0])
        >>> found = conjugate_gradients(A.mv, b, lambda v: v, tolerance=1e-5, max_iterations=10, curvature=1.0)
        >>> (11 * found.x).round(decimals=3).tolist(), found.iterations, found.ended
        ([1.0, 7.0], 2, 'tolerance')
        >>> conjugate_gradients((-A).mv, b, lambda v: v, tolerance=1e-5, max_iterations=10, curvature=1.0).ended
        'negative curvature'
    """
    x, r = torch.zeros_like(b), b.clone()
    bound = tolerance * float(b.norm())
    p = z = precondition(r)
    rz = float(r @ z)
    for n in range(max_iterations):
        if float(r.norm()) <= bound:
            return Solution(x, r, n, "tolerance")
        Ap = product(p)
        pAp = float(p @ Ap)
        if not math.isfinite(pAp):
            if n == 0:
                raise FloatingPointError("a product with the curvature matrix is not finite")
            return Solution(x, r, n + 1, "not finite")
        if pAp <= 0:
            if n == 0:
                length = 1 / max(curvature, -pAp / rz)
                x, r = length * p, b - length * Ap
            return Solution(x, r, n + 1, "negative curvature")
        length = rz / pAp
        x = x + length * p
        r = r - length * Ap
        z = precondition(r)
        rz, before = float(r @ z), rz
        p = z + (rz / before) * p
    return Solution(x, r, max_iterations, "tolerance" if float(r.norm()) <= bound else "cap")
