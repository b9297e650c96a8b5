"""Second derivatives of the loss by their products with vectors (paper, Figure 1b and Theorem 3).

With ``L = 1/2 |r|^2`` and J the Jacobian of r, weights being part of r::

    Hessian  =  J^T J  +  sum_i r_i (second derivative of r_i)  =  Gauss-Newton  +  remainder

The remainder is itself a Hessian: that of ``sum_i c_i r_i`` with ``c_i = r_i`` held. So two kinds of operators
are enough: `Hessian`, the derivative of a recorded gradient, and `GaussNewton`, two products with the factored
Jacobian. None makes a matrix of all parameters unless asked to by ``dense``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import torch
from torch import Tensor

from pinntk.residual.ntk import FactoredJacobian, Jacobian
from pinntk.residual.spectra import SymmetricOperator, norm

Curvature = Literal["hessian", "gauss_newton", "remainder"]

KEEP = 2**24
"""Stream elements up to which a `Hessian` keeps its recorded gradient, in the order of 1 GB; beyond that every product
records it anew, block by block."""

BLOCK = 8
"""Columns from which on products with a Gauss-Newton matrix go through the rows of J themselves: two products of
matrices, where the factors would be read once per column."""
DENSE_ROWS = 2**26
"""Entries of J up to which its rows are made: 512 MB in float64."""
COLUMNS = 256
"""Of ``J^T J``, computed at once."""


class Hessian(SymmetricOperator):
    """Second derivative of a sum of scalars, by differentiating the recorded gradient once more along v.

    ``H v = gradient of (gradient . v)`` (Pearlmutter 1994). The parameters must not change while it is in use.

    Args:
        parts: functions without arguments, each returning one of the scalars as a graph of the parameters.
        parameters: of the network.
        keep: the recorded gradients for all products, or record each anew for every product, one at a time.

    Example::

        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> H = Hessian([lambda: x[0] ** 3, lambda: x[0] * x[1]], [x])
        >>> (H @ torch.tensor([1.0, 10.0])).tolist()  # [[6, 1], [1, 0]]
        [16.0, 1.0]
    """

    def __init__(self, parts: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor], keep: bool = True) -> None:
        super().__init__(parameters[0], sum(p.numel() for p in parameters))
        self.parameters = list(parameters)
        self._parts = list(parts)
        self._kept = list(self._gradients()) if keep else None

    def _gradients(self) -> Iterator[Tensor]:
        for part in self._parts:
            with torch.enable_grad():
                found = torch.autograd.grad(part(), self.parameters, create_graph=True, materialize_grads=True)
                yield torch.cat([g.flatten() for g in found])

    def _product(self, v: Tensor) -> Tensor:
        total = torch.zeros_like(v)
        for gradient in self._kept or self._gradients():
            # A linear operator's residual does not depend on every parameter: zeros, not an error.
            pieces = torch.autograd.grad(
                gradient, self.parameters, v, retain_graph=self._kept is not None, materialize_grads=True
            )
            total += torch.cat([piece.flatten() for piece in pieces])
        return total


class GaussNewton(SymmetricOperator):
    """``J^T J``, the Hessian of ``L = 1/2 |r|^2`` with r taken as linear in the parameters.

    Args:
        jacobian: J, (N, P).
        like: one of the parameters, for dtype and device.
        keep: the rows of J where they are cheap, for many products with single vectors: they are read in a third of the
            time that the factors take, and made in that of about three products.

    Example::

        >>> from pinntk.residual.factors import ColumnFactors
        >>> from pinntk.residual.ntk import FactoredJacobian
        >>> J = torch.tensor([[1.0, 2.0], [0.0, 3.0]])
        >>> product = GaussNewton(FactoredJacobian(2, {"r": [ColumnFactors(J)]}), J)
        >>> (product @ torch.tensor([1.0, 1.0])).tolist(), product.dense().tolist()
        ([3.0, 15.0], [[1.0, 2.0], [2.0, 13.0]])
    """

    def __init__(self, jacobian: Jacobian, like: Tensor, keep: bool = False) -> None:
        super().__init__(like, jacobian.shape[1])
        self.jacobian = jacobian
        cheap = isinstance(jacobian, FactoredJacobian) and math.prod(jacobian.shape) <= DENSE_ROWS
        self._kept = jacobian.dense() if keep and cheap else None

    def _product(self, v: Tensor) -> Tensor:
        if self._kept is not None:
            return self._kept.T @ (self._kept @ v)
        return self.jacobian.rmatvec(self.jacobian.matvec(v))

    def _products(self, columns: Tensor) -> Tensor:
        if columns.shape[1] < BLOCK or math.prod(self.jacobian.shape) > DENSE_ROWS:
            return super()._products(columns)
        rows = self._rows()
        return rows.T @ (rows @ columns)

    def _rows(self) -> Tensor:
        return self.jacobian.dense() if self._kept is None else self._kept

    def _dense(self) -> Tensor:
        rows, size = self._rows(), self.shape[0]
        made = rows.new_empty(self.shape)
        for start in range(0, size, COLUMNS):  # what is above the diagonal is below it, too
            end = min(start + COLUMNS, size)
            made[start:end, :end] = rows[:, start:end].T @ rows[:, :end]
            made[:start, start:end] = made[start:end, :start].T
        return made


@dataclass(frozen=True)
class Split:
    """Spectral norms of the Hessian and of its two parts."""

    hessian: float
    gauss_newton: float
    remainder: float
    products: int
    """With vectors, of all three together: what it cost."""

    @classmethod
    def of(cls, curvature: Callable[[Curvature], SymmetricOperator], tolerance: float = 1e-6) -> Self:
        """Of an objective's ``curvature``; ``tolerance`` as of `norm`."""
        norms, products = {}, 0
        for name in get_args(Curvature):  # one after the other: each may take much memory
            operator = curvature(name)
            norms[name] = norm(operator, tolerance)
            products += operator.products
        return cls(**norms, products=products)

    @property
    def ratio(self) -> float:
        """``|remainder|_2 / |Hessian|_2``: how much second order there is beyond the kernel."""
        return self.remainder / self.hessian if self.hessian else float("nan")
