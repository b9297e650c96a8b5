"""Conditions that a network satisfies exactly: ``u = lift(x) + factor(x) N(x)``.

A derivative of u is then a mixture of the network's streams at the same point (Leibniz)::

    d^alpha u  =  d^alpha lift  +  sum over beta <= alpha of  binomial(alpha, beta)  d^(alpha - beta) factor  d^beta N

and for ``L = sum c d^alpha`` the terms with ``beta = alpha`` are ``factor L N``: what stands below the wanted
derivatives is carried through the layers in any case. The mixture's weights depend on the points alone; they are made
once per draw of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from pinntk.network.derivatives import Index

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Ansatz:
    """The two functions of points (N, d): each (N,), for all fields, or (N, fields)."""

    lift: Function
    factor: Function
    known: Callable[[Tensor, Iterable[Index]], dict[Index, Tensor]] | None = None
    """Derivatives of the lift as `derivatives_of` gives them, where somebody knows them better."""

    def of_lift(self, x: Tensor, indices: Iterable[Index], fields: int) -> dict[Index, Tensor]:
        """Derivatives of the lift, (N, fields) each."""
        return derivatives_of(self.lift, x, indices, fields) if self.known is None else self.known(x, indices)

    def of(self, x: Tensor, n: Tensor) -> Tensor:
        """``lift + factor N``, differentiable in x and N: (N, d) and (N, fields) to (N, fields)."""
        lift, factor = (by_field(f, x.double(), n.shape[1]).to(n) for f in (self.lift, self.factor))
        return lift + factor * n


def by_field(function: Function, x: Tensor, fields: int) -> Tensor:
    """The function's values, a column for each field, (N, fields).

    Raises:
        ValueError: it returns another shape.
    """
    value = function(x)
    if value.shape == x.shape[:1]:
        return value[:, None].expand(-1, fields)
    if value.shape != (x.shape[0], fields):  # len(x) would be a constant to torch.export
        raise ValueError(
            f"came shape {tuple(value.shape)} for {len(x)} points; allowed is ({len(x)},)"
            + (f" or ({len(x)}, {fields})" if fields > 1 else "")
        )
    return value


def derivatives_of(function: Function, x: Tensor, indices: Iterable[Index], fields: int) -> dict[Index, Tensor]:
    """Derivatives of a function by nested automatic differentiation, in float64, of each field: (N, fields).

    Args:
        function: of points, (N, d) to (N,) or (N, fields); rows by themselves.
        x: points, (N, d).
        indices: which derivatives.
        fields: their number.

    Raises:
        ValueError: the function returns another shape.

    Example::

        >>> x = torch.tensor([[2.0, 3.0]])
        >>> found = derivatives_of(lambda x: x[:, 0] ** 2 * x[:, 1], x, [(1, 1), (3, 0)], fields=1)
        >>> {index: value.tolist() for index, value in found.items()}
        {(1, 1): [[4.0]], (3, 0): [[0.0]]}
    """
    with torch.enable_grad():
        leaf = x.detach().double().requires_grad_()
        value = by_field(function, leaf, fields)
        different = fields if value.stride(1) else 1  # one function for all fields is differentiated once
        known: list[dict[Index, Tensor]] = [{(0,) * x.shape[1]: value[:, f]} for f in range(different)]

        def derivative(of: dict[Index, Tensor], index: Index) -> Tensor:
            if index not in of:
                c = next(c for c, n in enumerate(index) if n)
                lower = derivative(of, tuple(n - (k == c) for k, n in enumerate(index)))
                gradient = None
                if lower.requires_grad:
                    (gradient,) = torch.autograd.grad(lower.sum(), leaf, create_graph=True, allow_unused=True)
                columns = torch.zeros_like(leaf) if gradient is None else gradient
                for k in range(len(index)):  # one backward pass gives them all
                    of.setdefault(tuple(n - (j == c) + (j == k) for j, n in enumerate(index)), columns[:, k])
            return of[index]

        return {
            index: torch.stack([derivative(of, index) for of in known], dim=1).detach().expand(-1, fields)
            for index in dict.fromkeys(indices)
        }


def leibniz(index: Index) -> list[tuple[Index, Index, int]]:
    """The terms of ``d^alpha (f N)``: what is taken of f, what of N, and how often.

    Example::

        >>> leibniz((2,))  # f'' N + 2 f' N' + f N''
        [((2,), (0,), 1), ((1,), (1,), 2), ((0,), (2,), 1)]
    """
    found = []
    for beta in product(*(range(n + 1) for n in index)):
        count = math.prod(math.comb(n, k) for n, k in zip(index, beta, strict=True))
        found.append((tuple(n - k for n, k in zip(index, beta, strict=True)), beta, count))
    return found
