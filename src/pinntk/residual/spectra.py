"""Spectra of symmetric matrices: of kernels, and of matrices of parameters that are known by their products alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import scipy.sparse.linalg
import torch
from torch import Tensor

from pinntk.common.arrays import Array

DENSE_LIMIT = 5000
"""Parameters up to which ``dense`` makes a matrix: 200 MB in float64."""
SMALL = 64
"""Parameters up to which a norm is that of the dense matrix: Lanczos gains nothing there."""


def spectral_norm(matrix: Tensor) -> float:
    """Largest absolute eigenvalue of a symmetric matrix; nan of one without rows.

    Example::

        >>> round(spectral_norm(torch.tensor([[0.0, 2.0], [2.0, -3.0]])), 4)  # eigenvalues 1 and -4
        4.0
    """
    return float(torch.linalg.eigvalsh(matrix).abs().max()) if len(matrix) else math.nan


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a kernel, or of one of its diagonal blocks; all figures of a block without rows are nan.

    Example::

        >>> spectrum = Spectrum.of(torch.tensor([[2.0, 1.0], [1.0, 2.0]]))
        >>> round(spectrum.largest, 4), round(spectrum.smallest, 4)
        (3.0, 1.0)
        >>> round(Spectrum.of(torch.eye(5)).effective_rank, 4)
        5.0
    """

    values: Tensor
    """(N,), the largest first; those that rounding made negative are 0."""

    @classmethod
    def of(cls, kernel: Tensor) -> Spectrum:
        """By a symmetric eigensolver, to the largest eigenvalue times the rounding error of the dtype."""
        return cls(torch.linalg.eigvalsh(kernel).flip(0).clamp(min=0))

    @property
    def largest(self) -> float:
        """``|K|_2``."""
        return float(self.values[0]) if len(self.values) else math.nan

    @property
    def smallest(self) -> float:
        """``mu`` of the Polyak-Lojasiewicz inequality ``1/2 |grad L|^2 >= mu L`` of the sum loss ``L = 1/2 |r|^2``.

        For ``|grad L|^2 = r^T K r >= lambda_min |r|^2`` (Liu, Zhu, Belkin 2022, section 3.1).
        """
        return float(self.values[-1]) if len(self.values) else math.nan

    @property
    def effective_rank(self) -> float:
        """``exp(-sum p log p)`` with ``p = lambda / Tr K`` (Roy, Vetterli 2007): how many directions count."""
        if not len(self.values):
            return math.nan
        p = self.values / self.values.sum()
        return float(torch.exp(-torch.special.xlogy(p, p).sum()))

    @property
    def decades(self) -> Array:
        """``log10`` of the eigenvalues, float64, (N,), as a histogram shows them.

        Rounding leaves of an eigenvalue that is 0 up to ``N eps lambda_max``: what lies below counts as that. Empty for
        a kernel that is 0.

        Example::

            >>> Spectrum(torch.tensor([100.0, 1.0, 0.0], dtype=torch.float64)).decades.round(1)
            array([  2. ,   0. , -13.2])
        """
        if not len(self.values) or not self.largest > 0:
            return np.empty(0)
        rounding = len(self.values) * torch.finfo(self.values.dtype).eps * self.largest
        values: Array = self.values.double().clamp(min=rounding).log10().cpu().numpy()
        return values


class SymmetricOperator(ABC):
    """A symmetric matrix of parameters by parameters, in the order of ``network.parameters()``, known by its products.

    Args:
        like: one of the parameters, for dtype and device.
        size: P, number of all parameters.

    Attributes:
        shape: (P, P).
        products: with vectors so far.

    Example::

        >>> class Scaled(SymmetricOperator):
        ...     def _product(self, v):
        ...         return torch.tensor([1.0, -4.0]) * v
        >>> operator = Scaled(torch.zeros(2), 2)
        >>> (operator @ torch.tensor([1.0, 1.0])).tolist(), operator.dense().tolist(), operator.products
        ([1.0, -4.0], [[1.0, 0.0], [0.0, -4.0]], 3)
    """

    def __init__(self, like: Tensor, size: int) -> None:
        self.dtype, self.device = like.dtype, like.device
        self.shape = size, size
        self.products = 0

    @abstractmethod
    def _product(self, v: Tensor) -> Tensor:
        """(P,) to (P,)."""

    def matvec(self, v: Tensor) -> Tensor:
        """The product with a vector (P,), or with the columns of (P, k): the same shape."""
        if v.ndim not in (1, 2) or len(v) != self.shape[0]:
            raise ValueError(f"v: came shape {tuple(v.shape)}; needed is ({self.shape[0]},) or ({self.shape[0]}, k)")
        columns = v[:, None] if v.ndim == 1 else v
        self.products += columns.shape[1]
        return self._products(columns).view(v.shape)

    def _products(self, columns: Tensor) -> Tensor:
        """(P, k) to (P, k)."""
        # One by one: torch's batched backward took three to five times as long.
        found = [self._product(column) for column in columns.T]
        return torch.stack(found, dim=1) if found else torch.empty_like(columns)

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.matvec(v)

    def dense(self) -> Tensor:
        """The matrix itself, (P, P).

        Raises:
            ValueError: there are more than `DENSE_LIMIT` parameters.
        """
        if self.shape[0] > DENSE_LIMIT:
            raise ValueError(f"dense: came {self.shape[0]} parameters; allowed are at most {DENSE_LIMIT}")
        found = self._dense()
        return (found + found.T) / 2  # symmetric to the last bit

    def _dense(self) -> Tensor:
        return self @ torch.eye(self.shape[0], dtype=self.dtype, device=self.device)


def norm(operator: SymmetricOperator, tolerance: float = 1e-6) -> float:
    """Spectral norm, the largest absolute eigenvalue, by Lanczos (ARPACK) from a fixed vector; nan if not finite.

    Args:
        operator: the matrix.
        tolerance: of the eigenvector's residual, relative to the eigenvalue, whose own error is about its square.

    Example::

        >>> class Scaled(SymmetricOperator):
        ...     def _product(self, v):
        ...         return torch.arange(-100.0, 50.0, dtype=v.dtype) * v
        >>> round(norm(Scaled(torch.zeros(1, dtype=torch.float64), 150)), 4)
        100.0
    """
    size = operator.shape[0]
    start = np.random.default_rng(0).standard_normal(size)

    def product(v: Array) -> Array:
        return (operator @ torch.from_numpy(v.ravel()).to(operator.device, operator.dtype)).double().cpu().numpy()

    first = product(start)
    if not np.isfinite(first).all():
        return float("nan")
    if not first.any():
        return 0.0
    if size <= SMALL:
        return spectral_norm(operator.dense())
    matrix = scipy.sparse.linalg.LinearOperator(operator.shape, matvec=product, dtype=np.float64)
    values = scipy.sparse.linalg.eigsh(matrix, k=1, which="LM", v0=start, tol=tolerance, return_eigenvectors=False)
    return float(np.abs(values[0]))


def share_of_entries(matrix: Tensor, tolerance: float) -> float:
    """Share of the entries whose size is above ``tolerance`` times the largest; small for a sparse matrix.

    Example::

        >>> share_of_entries(torch.tensor([[1.0, 0.5], [0.5, -10.0]]), tolerance=0.1)
        0.25
    """
    sizes = matrix.abs()
    return float((sizes > tolerance * sizes.max()).double().mean())


def spectral_density(
    operator: SymmetricOperator, probes: int = 10, steps: int = 80, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Density of the eigenvalues by stochastic Lanczos quadrature (Ghorbani, Krishnan, Xiao 2019).

    From each random vector of signs, ``steps`` Lanczos steps give the nodes and weights of a Gauss quadrature, so that
    ``Tr f(H) / P ~ sum of weights f(nodes)``: in expectation exact for polynomials f of degree below ``2 steps``.

    Args:
        operator: H.
        probes: number of random vectors.
        steps: Lanczos steps from each; no more than P are done.
        seed: of the vectors.

    Returns:
        nodes and weights, (probes, steps) each; the weights add up to 1, and are 0 where a Krylov space ended early.

    Example::

        >>> class Scaled(SymmetricOperator):
        ...     def _product(self, v):
        ...         return torch.tensor([1.0, 2.0, 3.0, -4.0], dtype=v.dtype) * v
        >>> nodes, weights = spectral_density(Scaled(torch.zeros(1, dtype=torch.float64), 4), probes=3)
        >>> [round(float((weights * nodes**k).sum()), 6) for k in (0, 1, 2)]  # 1, Tr H / P, Tr H^2 / P
        [1.0, 0.5, 7.5]
    """
    size = operator.shape[0]
    if min(probes, steps) < 1:
        raise ValueError(f"probes={probes}, steps={steps}: must be at least 1")
    steps = min(steps, size)
    generator = torch.Generator().manual_seed(seed)
    nodes, weights = torch.zeros(2, probes, steps, dtype=operator.dtype)
    for k in range(probes):
        signs = torch.randint(2, (size,), generator=generator) * 2 - 1
        tridiagonal = _lanczos(operator, signs.to(operator.device, operator.dtype) / size**0.5, steps).cpu()
        values, vectors = torch.linalg.eigh(tridiagonal)
        nodes[k, : len(values)] = values
        weights[k, : len(values)] = vectors[0].square() / probes
    return nodes, weights


def _lanczos(operator: SymmetricOperator, start: Tensor, steps: int) -> Tensor:
    """The tridiagonal matrix of the Krylov space of a unit vector, (n, n) with n <= steps.

    Every new vector is made orthogonal to all before, twice: without that Lanczos finds eigenvalues repeatedly.
    """
    basis = start[None]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    while True:
        new = operator @ basis[-1]
        diagonal.append(new @ basis[-1])
        size = new.norm()
        for _ in range(2):
            new = new - basis.T @ (basis @ new)
        length = new.norm()
        if len(basis) == steps or length <= 100 * torch.finfo(new.dtype).eps * size:
            break
        beside.append(length)
        basis = torch.cat([basis, new[None] / length])
    matrix = torch.diag(torch.stack(diagonal))
    if beside:
        matrix += torch.diag(torch.stack(beside), 1) + torch.diag(torch.stack(beside), -1)
    return matrix
