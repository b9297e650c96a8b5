"""How a slab of time goes on where the network of the slab before ends.

Every term at the initial time keeps the value that it has there: with r of its residual, ``r(u_k) = r(u_{k-1})`` at
t_k. With hard conditions ``u = lift + factor N`` a slab has ::

    factor_k(x, t)  =  factor(x, t - t_k + t_0)
    lift_k(x, t)    =  lift(x, t) + sum over j < m of (t - t_k)^j / j!  d_t^j (u_{k-1} - lift)(x, t_k)

m being the order at which the factor vanishes at the initial time t_0: u goes on with its first m - 1 derivatives in
time, and a condition in space that holds for lift and for factor N at all times holds for these.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from pinntk.network import Ansatz, Network
from pinntk.network.ansatz import by_field, derivatives_of
from pinntk.network.derivatives import ORDER, Index, name_of
from pinntk.pdes.base import PDE
from pinntk.residual.named import placed
from pinntk.residual.points import draw_region
from pinntk.residual.terms import Term

ROWS = 1024
"""Points per block of a network's streams: what lies between its layers stays in the cache."""
POINTS = 64
"""At which it is found out how a factor begins."""
ROUNDING = 1e-9
"""What of its derivatives in time counts as none, relative to the largest, in units of the whole time."""


def continued(term: Term, before: Network) -> Term:
    """A term at the initial time for a later slab: its residual is what it was for the network before.

    Args:
        term: of the problem.
        before: a trained network in double precision, whose last time is the slab's first.
    """
    streams = before.wanting(*term.streams)

    def fields(x: Tensor) -> tuple[Tensor, ...]:
        data = tuple(torch.as_tensor(field, device=x.device) for field in term.fields(x))
        with torch.no_grad():
            values = before.to(x.device).streams(x.double(), streams)
            known = term.residual({name: values[name] for name in term.names}, *data)
        return (known, *data)

    def residual(values: dict[str, Tensor], known: Tensor, *data: Tensor) -> Tensor:
        return term.residual(values, *data) - known

    return replace(term, residual=residual, fields=fields)


class Continuation:
    """Lift and factor of a later slab.

    Args:
        pde: the problem, which has a lift and a factor.
        before: the trained network of the slab before, in double precision.
        start: t_k.
    """

    def __init__(self, pde: PDE, before: Network, start: float) -> None:
        self.pde, self.before, self.start = pde, before, start
        self.column, self.fields = pde.coordinates.index("t"), len(pde.fields)
        self.orders = orders(pde)

    @property
    def ansatz(self) -> Ansatz:
        """Both, with the lift's derivatives as the network before has them."""
        return Ansatz(self.lift, self.factor, self.derivatives)

    def factor(self, x: Tensor) -> Tensor:
        """Points (N, d) -> (N,) or (N, fields)."""
        return self.pde.factor(self._at(x, x[:, self.column] - self.start + self.pde.lower[self.column]))

    def lift(self, x: Tensor) -> Tensor:
        """Points (N, d) -> (N, fields); differentiable in x."""
        if not x.requires_grad:
            zero = (0,) * x.shape[1]
            return self.derivatives(x, [zero])[zero]
        found = by_field(self.pde.lift, x, self.fields)
        t = torch.full_like(x[:, self.column], self.start).requires_grad_()
        y = self._at(x, t)
        rest = self.before.to(x.device)(y).view(len(x), self.fields) - by_field(self.pde.lift, y, self.fields)
        for j in range(max(self.orders)):
            if j:
                slopes = [torch.autograd.grad(one.sum(), t, create_graph=True)[0] for one in rest.unbind(1)]
                rest = torch.stack(slopes, dim=1)
            found = found + self._power(x, j) * self._kept(rest, j)
        return found

    def derivatives(self, x: Tensor, indices: Iterable[Index]) -> dict[Index, Tensor]:
        """Derivatives of the lift, (N, fields) each in double precision, by the streams of the network before.

        Nested automatic differentiation would go through the networks of all slabs before, ever deeper. It is left to
        derivatives of an order that streams do not have.
        """
        indices, c, most = list(indices), self.column, max(self.orders)
        spaces = dict.fromkeys(self._in_time(index, 0) for index in indices)
        wanted = [self._in_time(space, j) for space in spaces for j in range(most)]
        if max((sum(index) for index in wanted), default=0) > ORDER:
            return derivatives_of(self.lift, x, indices, self.fields)
        x = x.double()
        y = self._at(x, torch.full_like(x[:, c], self.start))
        rest, of_lift = self._before(y, wanted), derivatives_of(self.pde.lift, y, wanted, self.fields)
        found = derivatives_of(self.pde.lift, x, indices, self.fields)
        for index in found:
            for j in range(index[c], most):
                at = self._in_time(index, j)
                found[index] = found[index] + self._power(x, j - index[c]) * self._kept(rest[at] - of_lift[at], j)
        return found

    def _before(self, y: Tensor, indices: list[Index]) -> dict[Index, Tensor]:
        """Derivatives of the network before, (N, fields) each."""
        names = [[name_of(index, self.pde.coordinates, field) for field in self.pde.fields] for index in indices]
        network = self.before.to(y.device)
        streams = network.wanting(*(name for of_fields in names for name in of_fields))
        with torch.no_grad():
            parts = [network.streams(part, streams) for part in y.detach().split(ROWS)]
        return {
            index: torch.stack([torch.cat([part[name] for part in parts]) for name in of_fields], dim=1)
            for index, of_fields in zip(indices, names, strict=True)
        }

    def _at(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.cat([x[:, : self.column], t[:, None], x[:, self.column + 1 :]], dim=1)

    def _in_time(self, index: Index, order: int) -> Index:
        return (*index[: self.column], order, *index[self.column + 1 :])

    def _power(self, x: Tensor, j: int) -> Tensor:
        """``(t - t_k)^j / j!``, (N, 1)."""
        return (x[:, self.column, None] - self.start) ** j / math.factorial(j)

    def _kept(self, rest: Tensor, j: int) -> Tensor:
        """Of the fields that go on with this derivative in time; 0 of the others."""
        return rest * rest.new_tensor([float(order > j) for order in self.orders])


def orders(pde: PDE) -> list[int]:
    """Of every field the order in time at which its factor vanishes at the initial time; 0: it does not.

    Example::

        >>> from pinntk.pdes.convection import Convection
        >>> from pinntk.pdes.wave import Wave
        >>> orders(Convection()), orders(Wave())  # t, and t^2 / (t^2 + c)
        ([1], [2])
    """
    c = pde.coordinates.index("t")
    x = torch.from_numpy(draw_region(placed("initial", pde.domain), POINTS, "uniform", seed=0, draw=0))
    indices = [tuple(j if k == c else 0 for k in range(x.shape[1])) for j in range(ORDER + 1)]
    found = derivatives_of(pde.factor, x, indices, len(pde.fields))
    unit = pde.upper[c] - pde.lower[c]
    sizes = torch.stack([found[index].abs().max(dim=0).values * unit ** index[c] for index in indices])  # (j, fields)
    largest = torch.where(sizes.isfinite(), sizes, 0.0).max(dim=0).values
    vanishes = (sizes <= ROUNDING * largest).long()
    return [int(order) for order in vanishes.cumprod(dim=0).sum(dim=0)]
