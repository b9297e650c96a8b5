"""The neural tangent kernel ``K = J J^T`` from a factored Jacobian (paper, section 2; Wang, Yu, Perdikaris 2022).

A row of J is the gradient of one residual, which depends on the network at its own point (or pair of points) only.
With a layer's input streams ``h_is`` and the cotangents ``d_is = dr_i/dz_is`` of its outputs, i the residual and s the
stream, the row's part for that layer's weights is ``sum_s d_is h_is^T``, and for its biases ``d_iu``, the cotangent of
the value's stream. So two arrays of size N S m per layer stand for N rows of m^2 entries, and every product with J
follows from them::

    K_ij = sum over layers, s, s' of (d_is . d_js') (h_is . h_js')  +  d_iu . d_ju

One forward pass and one backward pass of ``sum_i r_i`` per term give all factors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pinntk.residual.factors import ColumnFactors, Factors, LayerFactors, gram_of
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.terms import Term

BLOCK = 2**22
"""Entries of one block of stream products in ``gram``: 32 MiB in float64, whatever the number of rows."""


class Jacobian(Protocol):
    """A matrix J, (N, P), known by its products: rows of residuals in the order of their terms, columns of parameters.

    Attributes:
        shape: (N, P).
        slices: rows of each term by its name.
    """

    shape: tuple[int, int]
    slices: dict[str, slice]

    def matvec(self, v: Tensor) -> Tensor:
        """``J v``: (P,) to (N,)."""

    def rmatvec(self, a: Tensor) -> Tensor:
        """``J^T a``: (N,) to (P,)."""

    def scaled(self, factors: Tensor) -> Jacobian:
        """``diag(factors) J``, factors (N,)."""

    def dense(self) -> Tensor:
        """J itself, (N, P)."""

    def gram(self) -> Tensor:
        """``J J^T``, (N, N)."""

    def traces(self) -> dict[str, Tensor]:
        """Trace of every term's diagonal block of ``J J^T``, scalars by name."""


class FactoredJacobian:
    """J of a residual function at the network's current parameters, with rows in the order of the terms.

    Columns stand in the order of ``network.parameters()``: every layer's weights, row by row, then its biases; then
    slopes and unknown coefficients.

    Args:
        parameters: their number P.
        factors: by term, the factors of every layer from the first to the last, and of what comes behind them.

    Attributes:
        names: of the terms.
        slices: of each term's rows.
        shape: (N, P).

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> from pinntk.residual.residuals import Residuals
        >>> network = Network(NetworkSettings(width=1, depth=1, normalize=False), ["x"], [0.0], [1.0])
        >>> network.assign(torch.tensor([1.0, math.atanh(0.5) - 2, 4.0, 0.0]))  # w, b, v, c of v tanh(w x + b) + c
        >>> residuals, x = Residuals(Poisson1D(), network), torch.tensor([[2.0]])
        >>> J = FactoredJacobian.of(residuals, residuals.prepare({"interior": x, "boundary": x}))
        >>> J.dense()[1].round(decimals=4).tolist()  # of the boundary's residual u
        [6.0, 3.0, 0.5, 1.0]
        >>> [bool(trace.isclose(row @ row)) for trace, row in zip(J.traces().values(), J.dense())]
        [True, True]
    """

    def __init__(self, parameters: int, factors: Mapping[str, Sequence[Factors]]) -> None:
        self.factors = dict(factors)
        self.names = tuple(factors)
        self._extent = {name: blocks[0].extent for name, blocks in self.factors.items()}
        counts = [rows for _, rows in self._extent.values()]
        ends = torch.tensor(counts).cumsum(0).tolist()
        self.slices = {n: slice(end - count, end) for n, count, end in zip(self.names, counts, ends, strict=True)}
        self.shape = sum(counts), parameters
        self._sizes = [block.size for block in self.factors[self.names[0]]]

    @classmethod
    def of(cls, residuals: Residuals, batches: Mapping[str, Batch]) -> FactoredJacobian:
        """The Jacobian of all terms at the prepared points."""
        return cls.with_residuals(residuals, batches)[1]

    @classmethod
    def with_residuals(cls, residuals: Residuals, batches: Mapping[str, Batch]) -> tuple[Tensor, FactoredJacobian]:
        """The residuals of all terms, (N,), in the order of the terms, and their Jacobian."""
        found: dict[str, TermFactors] = {}
        with torch.no_grad():
            for region in residuals.regions:
                found |= factor_region(residuals, region, batches[region])
        parameters = sum(p.numel() for p in residuals.network.parameters())
        r = torch.cat([found[name].residuals for name in residuals.names])
        return r, cls(parameters, {name: found[name].blocks for name in residuals.names})

    def matvec(self, v: Tensor) -> Tensor:
        """``J v``: (P,) to (N,)."""
        if v.shape != self.shape[1:]:
            raise ValueError(f"v: came shape {tuple(v.shape)}; needed is ({self.shape[1]},)")
        parts = v.split(self._sizes)
        return torch.cat(
            [
                torch.stack([block.times(part) for block, part in zip(blocks, parts, strict=True)]).sum(0)
                for blocks in self.factors.values()
            ]
        )

    def rmatvec(self, a: Tensor) -> Tensor:
        """``J^T a``: (N,) to (P,)."""
        if a.shape != self.shape[:1]:
            raise ValueError(f"a: came shape {tuple(a.shape)}; needed is ({self.shape[0]},)")
        total = torch.zeros(self.shape[1], dtype=a.dtype, device=a.device)
        for name, blocks in self.factors.items():
            total += torch.cat([block.transposed(a[self.slices[name]]) for block in blocks])
        return total

    def dense(self) -> Tensor:
        """J itself, (N, P)."""
        first = self.factors[self.names[0]][0]
        made = first.rows(slice(0, 0)).squares().new_empty(self.shape)
        for name, blocks in self.factors.items():
            for block, part in zip(blocks, made[self.slices[name]].split(self._sizes, dim=1), strict=True):
                block.write(part)
        return made

    def row_blocks(self, rows: int) -> Iterator[tuple[str, Tensor]]:
        """J so many rows at a time, with the term that they are of: (rows, P)."""
        for name, blocks in self.factors.items():
            for part in self._parts(name, rows):
                yield name, torch.cat([block.rows(part).dense for block in blocks], dim=1)

    def scaled(self, factors: Tensor) -> FactoredJacobian:
        """``diag(factors) J``, factors (N,)."""
        scaled = {n: [block.scaled(factors[self.slices[n]]) for block in blocks] for n, blocks in self.factors.items()}
        return FactoredJacobian(self.shape[1], scaled)

    def squares(self, name: str) -> Tensor:
        """The diagonal of a term's block of K, (N_term,)."""
        return torch.stack([block.squares() for block in self.factors[name]]).sum(0)

    def traces(self) -> dict[str, Tensor]:
        """Trace of every term's diagonal block of K, scalars by name."""
        return {name: self.squares(name).sum() for name in self.names}

    def gram(self) -> Tensor:
        """``K = J J^T``, (N, N), in blocks of rows.

        Beyond K itself memory is bounded by `BLOCK`, and by the dense rows of those layers where they are the cheaper
        way.
        """
        like = self.factors[self.names[0]][0].rows(slice(0, 1)).squares()
        gram = like.new_empty(self.shape[0], self.shape[0])
        blocks = [
            (_shifted(part, self.slices[name]), [layer.rows(part) for layer in self.factors[name]])
            for name in self.names
            for part in self._parts(name, max(1, int(BLOCK**0.5) // self._extent[name][0]))
        ]
        for i, (rows, a) in enumerate(blocks):
            for columns, b in blocks[: i + 1]:
                block = _product(a, b)
                gram[rows, columns] = block
                gram[columns, rows] = block.T
        return gram

    def _parts(self, name: str, step: int) -> list[slice]:
        rows = self._extent[name][1]
        return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def _product(a: Sequence[Factors], b: Sequence[Factors]) -> Tensor:
    return torch.stack([gram_of(x, y) for x, y in zip(a, b, strict=True)]).sum(0)


def _shifted(part: slice, by: slice) -> slice:
    return slice(by.start + part.start, by.start + part.stop)


@dataclass(frozen=True)
class TermFactors:
    """Residuals of one term and the factors of their gradients."""

    residuals: Tensor
    """(N,)"""
    blocks: list[Factors]
    """Layers from the first to the last, then what comes behind them."""


def factor_region(residuals: Residuals, region: str, batch: Batch) -> dict[str, TermFactors]:
    """Residuals and gradients of a region's terms, by name: one forward pass, and one backward pass per term."""
    network, streams = residuals.network, residuals.streams_of[region]
    record: list[tuple[Tensor, Tensor]] = []
    stacked = network.propagate(batch.inputs, streams, record)
    pair = 2 if residuals.region_of[region].pairs else 1
    found = {}
    for name, (cotangents, r) in cotangents_by_term(residuals, region, batch, stacked).items():
        layers, columns = network.backpropagate(record, streams, batch.inputs, cotangents)
        blocks: list[Factors] = [
            LayerFactors(_by_row(h, pair), _by_row(d, pair), scale, pair)
            for (h, _), d, scale in zip(record, layers, network.scales, strict=True)
        ]
        if columns is not None:
            blocks.append(ColumnFactors(columns.view(pair, -1, columns.shape[1]).sum(0)))
        found[name] = TermFactors(r, blocks)
    return found


def cotangents_by_term(
    residuals: Residuals, region: str, batch: Batch, stacked: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """Of a region's terms by name: ``dr_i/d(output at point i)``, (outputs, N), and the residuals r.

    Args:
        residuals: the residual function.
        region: which.
        batch: its points.
        stacked: the outputs of its streams there, (outputs, N).
    """
    names = residuals.streams_of[region].names
    found = {}
    for term, fields in zip(residuals.terms_of[region], batch.fields, strict=True):

        def evaluate(stacked: Tensor, term: Term = term, fields: tuple[Tensor, ...] = fields) -> tuple[Tensor, Tensor]:
            values = dict(zip(names, stacked.unbind(), strict=True))
            r = term.residual({name: values[name] for name in term.names}, *fields)
            return r.sum(), r

        found[term.name] = gradient_of(evaluate, stacked)
    return found


def gradient_of(function: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient at x of a function that returns a scalar and something besides, and that something (detached)."""
    if torch.compiler.is_compiling():  # which cannot look into autograd
        gradient, besides = torch.func.grad(function, has_aux=True)(x)
        return gradient, besides
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        scalar, besides = function(leaf)
        (gradient,) = torch.autograd.grad(scalar, leaf)
    return gradient, besides.detach()


def _by_row(x: Tensor, pair: int) -> Tensor:
    """(S, pair N, m) -> (pair S, N, m): a row's own points side by side among its streams."""
    streams, points, width = x.shape
    return x.view(streams, pair, points // pair, width).flatten(0, 1)
