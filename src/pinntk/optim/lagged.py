"""The inverse of a dense matrix of an earlier step, as a preconditioner."""

from __future__ import annotations

import torch
from torch import Tensor

DRIFT = 10.0
"""Factor by which the damping may differ from the inverse's own before that is made anew: conjugate gradients then take
a few products more, which is less than an inverse costs."""


class Lagged:
    """``P = (A + mu_0 I) / mu`` for ``A + mu I``, A symmetric and positive semi-definite; mu_0 is within `DRIFT` of mu.

    With the Cholesky factor L it is ``P^-1 = mu L^-T L^-1``: L^-1 itself is made, for two products with a triangle are
    faster than two solves, and what they make is positive definite whatever rounding has done to L. A is given at one
    step and stands for those of some steps after it. In operations that is a sixth of all eigenvectors of A, which
    would serve every mu.

    Args:
        matrix: A, (P, P).
        mu: mu_0, where it is known already; else that of the first use.

    Raises:
        FloatingPointError: A is not finite.

    Attributes:
        matrix: A.
        mu: mu_0.
        smallest: 0, for ``P^-1 / (smallest + mu)`` stands for ``(A + mu I)^-1``, as with `Nystrom`.

    Example::

        >>> lagged = Lagged(torch.tensor([[3.0, 0.0], [0.0, 0.0]]))
        >>> lagged.precondition(torch.ones(2), mu=1.0).tolist()
        [0.25, 1.0]
        >>> lagged.precondition(torch.ones(2), mu=4.0).tolist(), lagged.mu  # still (A + I)^-1, scaled
        ([1.0, 4.0], 1.0)
    """

    smallest = 0.0

    def __init__(self, matrix: Tensor, mu: float | None = None) -> None:
        if not matrix.isfinite().all():
            raise FloatingPointError("a product with the curvature matrix is not finite")
        self.matrix, self.mu = matrix, mu
        self._root: Tensor | None = None
        """L^-1."""

    def state(self) -> tuple[Tensor, float | None]:
        """What `restored` needs."""
        return self.matrix, self.mu

    @classmethod
    def restored(cls, state: tuple[Tensor, float | None], like: Tensor) -> Lagged:
        """What it was when ``state`` was taken, for parameters like these, (P,).

        Raises:
            ValueError: they are of another number.
        """
        matrix, mu = state
        if len(matrix) != len(like):
            raise ValueError(f"lagged: came factors of {len(matrix)} parameters; needed is {len(like)}")
        return cls(matrix.to(like), mu)

    def precondition(self, v: Tensor, mu: float) -> Tensor:
        """``P^-1 v``, v of shape (P,)."""
        near = self.mu is not None and self.mu / DRIFT <= mu <= self.mu * DRIFT
        if self._root is None or not near:
            self.mu = self.mu if self.mu is not None and near else mu
            self._root = _inverse_root(self.matrix, self.mu)
        return mu * (self._root.T @ (self._root @ v))


def _inverse_root(matrix: Tensor, mu: float) -> Tensor:
    """L^-1, (P, P), of the Cholesky factor of ``A + mu I``, or of the least multiple of I that rounding allows."""
    shift, least = mu, torch.finfo(matrix.dtype).eps * float(matrix.diagonal().abs().max())
    while True:
        damped = matrix.clone()
        damped.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
            root: Tensor = torch.linalg.solve_triangular(factor, eye, upper=False)
            return root
        shift = max(10 * shift, least)
