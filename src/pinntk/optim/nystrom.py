"""A symmetric positive semi-definite operator by its largest eigenvalues, from one product with a random block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pinntk.optim.objective import Product

SHIFTS = (1.0, 1e2, 1e4)
"""Tried in turn as multiples of the rounding error of the products, until the Cholesky factorisation succeeds."""


@dataclass(frozen=True)
class Nystrom:
    """``A ~ A Omega (Omega^T A Omega)^+ (A Omega)^T = U diag(lambda) U^T``, Omega random with orthonormal columns.

    Frangella, Tropp, Udell, "Randomized Nystrom preconditioning" (SIAM J. Matrix Anal. Appl. 44, 2023), Algorithm 2.1.
    For a positive semi-definite A it lies between 0 and A, and is A itself where its rank reaches that of A.

    Example::

        >>> A = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
        >>> approximation = Nystrom.of(A.matmul, 3, rank=2, generator=np.random.default_rng(0))
        >>> approximation.eigenvalues.round(decimals=6).tolist()  # the rank is that of A
        [4.0, 1.0]
        >>> v = approximation.precondition(torch.ones(3, dtype=torch.float64), mu=1.0)
        >>> v.round(decimals=6).tolist()  # (lambda_2 + mu) / (lambda + mu), 1 beyond the two eigenvectors
        [0.4, 1.0, 1.0]
    """

    U: Tensor
    """(P, k) with orthonormal columns; k is the wanted rank, or less for an indefinite operator."""
    eigenvalues: Tensor
    """lambda, (k,), none negative, the largest first."""

    @classmethod
    def of(
        cls,
        product: Product,
        size: int,
        rank: int,
        generator: np.random.Generator,
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Nystrom:
        """Approximate an operator.

        Args:
            product: with blocks of vectors, (P, rank) to (P, rank).
            size: P.
            rank: number of random vectors; P where it is more than that.
            generator: of the random vectors.
            dtype, device: of the products.

        Raises:
            FloatingPointError: a product is not finite.
        """
        if rank >= size:  # every direction: the matrix itself, whose eigenvectors cost less than what follows
            A = product(torch.eye(size, dtype=dtype, device=device))
            if not A.isfinite().all():
                raise FloatingPointError("a product with the curvature matrix is not finite")
            eigenvalues, vectors = torch.linalg.eigh(_symmetric(A))
            return cls(vectors.flip(1), eigenvalues.flip(0).clamp(min=0))
        drawn = torch.from_numpy(generator.standard_normal((size, min(rank, size)))).to(device, dtype)
        omega = torch.linalg.qr(drawn).Q
        Y = product(omega)
        if not Y.isfinite().all():
            raise FloatingPointError("a product with the curvature matrix is not finite")
        rounding = torch.finfo(dtype).eps * float(Y.norm())
        for multiple in SHIFTS if rounding > 0 else ():
            # Y is exact to rounding only, which may leave the core's small eigenvalues below 0: take A + shift I.
            shift = multiple * rounding
            shifted = Y + shift * omega
            factor, failed = torch.linalg.cholesky_ex(_symmetric(omega.T @ shifted))
            if not failed:
                # B B^T is the approximation of A + shift I.
                B = torch.linalg.solve_triangular(factor, shifted.T, upper=False).T
                return cls._from(B, shift)
        return cls._from(_indefinite(omega, Y), 0.0)

    @classmethod
    def _from(cls, B: Tensor, shift: float) -> Nystrom:
        U, singular, _ = torch.linalg.svd(B, full_matrices=False)
        return cls(U, (singular.square() - shift).clamp(min=0))

    def state(self) -> tuple[Tensor, Tensor]:
        """What `restored` needs."""
        return self.U, self.eigenvalues

    @classmethod
    def restored(cls, state: tuple[Tensor, Tensor], like: Tensor) -> Nystrom:
        """What it was when ``state`` was taken, for parameters like these, (P,).

        Raises:
            ValueError: they are of another number.
        """
        U, eigenvalues = state
        if len(U) != len(like):
            raise ValueError(f"nystrom: came factors of {len(U)} parameters; needed is {len(like)}")
        return cls(U.to(like), eigenvalues.to(like))

    @property
    def smallest(self) -> float:
        """``lambda_k``; 0 without any eigenvalue."""
        return float(self.eigenvalues[-1]) if len(self.eigenvalues) else 0.0

    def matvec(self, v: Tensor) -> Tensor:
        """``U diag(lambda) U^T v``, v of shape (P,)."""
        return self.U @ (self.eigenvalues * (self.U.T @ v))

    def precondition(self, v: Tensor, mu: float) -> Tensor:
        """``P^-1 v``, v of shape (P,), for the preconditioner P of ``A + mu I``.

        ``P^-1 = (lambda_k + mu) U (diag(lambda) + mu I)^-1 U^T + (I - U U^T)``, the paper's equation for P^-1 in
        section 5. ``P^-1 / (lambda_k + mu)`` itself stands for ``(A + mu I)^-1``: beyond U all eigenvalues count as
        the last one known.
        """
        inside = self.U.T @ v
        last = self.smallest + mu
        return v + self.U @ ((last / (self.eigenvalues + mu) - 1) * inside)


def _symmetric(M: Tensor) -> Tensor:
    return (M + M.T) / 2


def _indefinite(omega: Tensor, Y: Tensor) -> Tensor:
    """B, (P, k), with ``B B^T`` the approximation by those directions of Omega's range along which A is positive.

    A direction w of small curvature ``w^T A w`` may mix large positive and negative parts of A, and ``|A w|^2 /
    w^T A w`` then says nothing of A. With nu the size of A's negative part it is at most ``|A| (1 + nu / w^T A w) +
    nu^2 / w^T A w``; so directions count whose curvature is more than what is seen of nu.
    """
    values, W = torch.linalg.eigh(_symmetric(omega.T @ Y))
    floor = torch.finfo(Y.dtype).eps * len(values) * float(values.abs().max())
    kept = values > max(floor, -float(values[0]))
    B: Tensor = (Y @ W[:, kept]) / values[kept].sqrt()
    return B
