"""Second derivatives of the loss by their products with vectors (paper, Figure 1b and Theorem 3).

With ``L = 1/2 sum_i d_i r_i^2``, where ``d_i`` is the term's weight (sum) or twice the weight over the number of the
term's residuals (mean)::

    Hessian  =  J^T D J  +  sum_i d_i r_i (second derivative of r_i)  =  Gauss-Newton  +  remainder

The remainder is itself a Hessian: that of ``sum_i c_i r_i`` with ``c_i = d_i r_i`` held. So two kinds of operators
are enough: `Hessian`, the derivative of a recorded gradient, and `GaussNewton`, two products with the factored
Jacobian. None makes a matrix of all parameters unless asked to by ``dense``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor

from pinntk.residual.loss import blocks
from pinntk.residual.ntk import FactoredJacobian, Jacobian
from pinntk.residual.residuals import Batch, Normalization, Residuals
from pinntk.residual.spectra import SymmetricOperator, norm

KEEP = 2**24
"""Stream elements up to which a `Hessian` keeps its recorded gradient, in the order of 1 GB; beyond that every product
records it anew, block by block."""

BLOCK = 8
"""Columns from which on products with a Gauss-Newton matrix go through the rows of J themselves: two products of
matrices, where the factors would be read once per column."""
DENSE_ROWS = 2**26
"""Entries of J up to which its rows are made: 512 MB in float64."""


class Hessian(SymmetricOperator):
    """Second derivative of a sum of scalars, by differentiating the recorded gradient once more along v.

    ``H v = gradient of (gradient . v)`` (Pearlmutter 1994). The parameters must not change while it is in use.

    Args:
        parts: functions without arguments, each returning one of the scalars as a graph of the parameters.
        parameters: of the network.
        keep: the recorded gradients for all products, or record each anew for every product, one at a time.
    """

    def __init__(self, parts: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor], keep: bool = True) -> None:
        super().__init__(parameters[0], sum(p.numel() for p in parameters))
        self.parameters = list(parameters)
        self._parts = list(parts)
        self._kept = list(self._gradients()) if keep else None

    @classmethod
    def of(
        cls, residuals: Residuals, batches: Mapping[str, Batch], weights: Tensor, normalization: Normalization
    ) -> Self:
        """The Hessian of ``L = sum over terms of w L_term``.

        Args:
            residuals: the residual function; the derivative is taken at its network's current parameters.
            batches: by region, as `Residuals.prepare` makes them.
            weights: of the terms, (T,), in their order.
            normalization: of the terms' losses, see `term_losses`.
        """
        return cls._made(residuals, batches, weights, normalization, hold=False)

    @classmethod
    def remainder(
        cls, residuals: Residuals, batches: Mapping[str, Batch], weights: Tensor, normalization: Normalization
    ) -> Self:
        """What the Hessian has beyond Gauss-Newton, ``sum_i d_i r_i (second derivative of r_i)``; arguments as ``of``.

        Not by the difference of the two, in which a small remainder would be lost.
        """
        return cls._made(residuals, batches, weights, normalization, hold=True)

    @classmethod
    def _made(
        cls,
        residuals: Residuals,
        batches: Mapping[str, Batch],
        weights: Tensor,
        normalization: Normalization,
        hold: bool,
    ) -> Self:
        weight = dict(zip(residuals.names, weights.tolist(), strict=True))

        def part(region: str, block: Batch, share: float) -> Tensor:
            total = []
            for name, r in residuals.of_region(region, block).items():
                slope = weight[name] * share * second_derivative(len(r), normalization) * r
                total.append((slope.detach() * r).sum() if hold else (slope * r).sum() / 2)
            return torch.stack(total).sum()

        network = residuals.network
        elements = sum(
            len(residuals.streams_of[region]) * len(batch.points) * network.width * (len(network.layers) - 1)
            for region, batch in batches.items()
        )
        parts = [partial(part, *block) for block in blocks(residuals, batches, normalization)]
        return cls(parts, list(network.parameters()), keep=elements <= KEEP)

    def _gradients(self) -> Iterator[Tensor]:
        for part in self._parts:
            with torch.enable_grad():
                found = torch.autograd.grad(part(), self.parameters, create_graph=True)
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
    """``J^T D J``, the Hessian of the loss with the residuals taken as linear in the parameters.

    Args:
        jacobian: J, (N, P).
        second: diagonal of D, (N,): second derivative of the loss in each residual.
    """

    def __init__(self, jacobian: Jacobian, second: Tensor) -> None:
        super().__init__(second, jacobian.shape[1])
        self.jacobian, self.second = jacobian, second

    @classmethod
    def of(
        cls, residuals: Residuals, batches: Mapping[str, Batch], weights: Tensor, normalization: Normalization
    ) -> Self:
        """Of the same loss as `Hessian.of`, with the same arguments."""
        jacobian = FactoredJacobian.of(residuals, batches)
        second = next(residuals.network.parameters()).new_empty(jacobian.shape[0])
        for name, weight in zip(jacobian.names, weights.tolist(), strict=True):
            rows = jacobian.slices[name]
            second[rows] = weight * second_derivative(rows.stop - rows.start, normalization)
        return cls(jacobian, second)

    def _product(self, v: Tensor) -> Tensor:
        return self.jacobian.rmatvec(self.second * self.jacobian.matvec(v))

    def _products(self, columns: Tensor) -> Tensor:
        rows, parameters = self.jacobian.shape
        if columns.shape[1] < BLOCK or rows * parameters > DENSE_ROWS:
            return super()._products(columns)
        dense = self.jacobian.dense()
        return dense.T @ (self.second[:, None] * (dense @ columns))

    def _dense(self) -> Tensor:
        rows = self.jacobian.dense()
        return rows.T @ (self.second[:, None] * rows)


def second_derivative(count: int, normalization: Normalization) -> float:
    """Of a term's loss (`term_losses`) in one of its residuals, of which there are ``count``."""
    return 1.0 if normalization == "sum" else 2.0 / count


@dataclass(frozen=True)
class Split:
    """Spectral norms of the Hessian and of its two parts."""

    hessian: float
    gauss_newton: float
    remainder: float
    products: int
    """With vectors, of all three together: what it cost."""

    @classmethod
    def of(
        cls,
        residuals: Residuals,
        batches: Mapping[str, Batch],
        weights: Tensor,
        normalization: Normalization,
        tolerance: float = 1e-6,
    ) -> Self:
        """Arguments as of `Hessian.of` and `norm`."""
        norms, products = {}, 0
        makers = {"hessian": Hessian.of, "gauss_newton": GaussNewton.of, "remainder": Hessian.remainder}
        for name, make in makers.items():  # one after the other: each may take much memory
            operator: SymmetricOperator = make(residuals, batches, weights, normalization)
            norms[name] = norm(operator, tolerance)
            products += operator.products
        return cls(**norms, products=products)

    @property
    def ratio(self) -> float:
        """``|remainder|_2 / |Hessian|_2``: how much second order there is beyond the kernel."""
        return self.remainder / self.hessian if self.hessian else float("nan")
