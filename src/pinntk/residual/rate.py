"""The rate of an evolution equation ``u_t = F(u)``, out of the residual term that declares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pinntk.network import Ansatz
from pinntk.network.streams import Operator
from pinntk.residual.terms import Problem

SAMPLES = 64
"""Points at which it is found out whether a term is affine in u_t, and whether conditions are constant in time."""
ROUNDING = 1e-9
"""What counts as no difference, relative to what is compared."""
STEP = 1e-5
"""Of the difference quotient in time, relative to the whole time."""


class Rate:
    """F of a problem of one field whose equation is of first order in time.

    The residual r of such an equation is affine in u_t, and ``F = -r(u_t = 0) / (r(u_t = 1) - r(u_t = 0))``. Operators
    lose their part with u_t, which is added with the values 0 and 1 instead: F needs streams of space alone.

    Args:
        pde: the problem.

    Attributes:
        coordinates, lower, upper: those of space.
        streams: what F needs of u.
        start, end: of time.

    Raises:
        ValueError: the problem is none of this kind; in one line that says why.

    Example::

        >>> from pinntk.pdes.burgers import Burgers
        >>> rate = Rate(Burgers(nu=0.5))
        >>> [s if isinstance(s, str) else (s.name, dict(s.coefficients)) for s in rate.streams]
        ['u', 'u_x', ('L', {'u_xx': -0.5})]
        >>> u, u_x, L = torch.tensor([[2.0], [3.0], [-0.5 * 4.0]])
        >>> rate.of({"u": u, "u_x": u_x, "L": L}, rate.fields(torch.tensor([[0.1]]), 0.0)).tolist()  # 0.5 * 4 - 2 * 3
        [-4.0]
    """

    def __init__(self, pde: Problem) -> None:
        self.pde = pde
        where = f"method=evolve: pde={pde.name}"
        if "t" not in pde.coordinates or len(pde.coordinates) == 1:
            raise ValueError(f"{where} has no space or no time t; allowed are problems with both")
        if len(pde.fields) > 1:
            raise ValueError(f"{where} has {len(pde.fields)} fields; allowed is one")
        if pde.shape is not None:
            raise ValueError(f"{where} is on a domain that is no box; allowed is a box")
        equations = [term for term in pde.terms() if term.equation]
        if len(equations) != 1 or equations[0].where != "interior":
            raise ValueError(f"{where} has {len(equations)} equations; allowed is one, in the interior")
        self.term = equations[0]
        self.place = pde.coordinates.index("t")
        self.start, self.end = pde.lower[self.place], pde.upper[self.place]
        in_space = [c for c in range(len(pde.coordinates)) if c != self.place]
        self.coordinates = tuple(pde.coordinates[c] for c in in_space)
        self.lower, self.upper = tuple(pde.lower[c] for c in in_space), tuple(pde.upper[c] for c in in_space)
        self.first = f"{pde.fields[0]}_t"
        for name in self.term.derivatives:
            known = name == pde.fields[0] or name.startswith(f"{pde.fields[0]}_")
            if not known:
                raise ValueError(f"{where} has an equation with {name!r}; allowed are u and its derivatives")
            if name != self.first and "t" in name.removeprefix(f"{pde.fields[0]}_"):
                raise ValueError(
                    f"{where} has an equation with {name!r}; of derivatives in time allowed is {self.first}"
                )
        if self.first not in self.term.derivatives:
            raise ValueError(f"{where} has an equation without {self.first}, which is needed")
        self._slopes: dict[str, float] = {}
        """Of every stream of the term, its derivative by u_t."""
        found: list[str | Operator] = []
        for stream in self.term.streams:
            if isinstance(stream, str):
                self._slopes[stream] = float(stream == self.first)
                found += [stream] if stream != self.first else []
            else:
                rest = {name: factor for name, factor in stream.coefficients.items() if name != self.first}
                self._slopes[stream.name] = stream.coefficients.get(self.first, 0.0)
                found += [Operator(stream.name, rest)] if rest else []
        self.streams: Sequence[str | Operator] = tuple(found)
        self.names = tuple(s if isinstance(s, str) else s.name for s in found)
        self._check_affine(where)

    def at(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Points of space and time, (N, d): points of space x, (N, d - 1), at one time, or each at its own, (N,)."""
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        return torch.cat([x[:, : self.place], times, x[:, self.place :]], dim=1)

    def fields(self, x: Tensor, t: float) -> tuple[Tensor, ...]:
        """The term's data at points of space, (N, d - 1), and a time."""
        return self.term.fields(self.at(x, t))

    def of(self, values: Mapping[str, Tensor], fields: Sequence[Tensor]) -> Tensor:
        """F from the streams by name, (N,) each."""
        zero, one = self._residual(values, fields, 0.0), self._residual(values, fields, 1.0)
        return -zero / (one - zero)

    def _residual(self, values: Mapping[str, Tensor], fields: Sequence[Tensor], u_t: float) -> Tensor:
        like = next(iter(values.values())) if values else fields[0]
        full = {
            name: values[name] + slope * u_t if name in values else torch.full_like(like, slope * u_t)
            for name, slope in self._slopes.items()
        }
        return self.term.residual(full, *fields)

    def in_time(self, values: Mapping[str, Tensor], x: Tensor, t: float) -> Tensor:
        """Derivative of F by the time that stands in it, by a difference quotient, (N,)."""
        step = STEP * (self.end - self.start)
        low, high = max(self.start, t - step), min(self.end, t + step)
        return (self.of(values, self.fields(x, high)) - self.of(values, self.fields(x, low))) / (high - low)

    def initial(self) -> Ansatz:
        """``u0(x) + s(x) N(x)`` in space alone: lift and factor at the start, s the factor's derivative in time there.

        Raises:
            ValueError: the problem has no such functions, or its conditions change in time.
        """
        where, pde = f"method=evolve: pde={self.pde.name}", self.pde
        if pde.ansatz() is None:
            raise ValueError(f"{where} has no lift and factor, by which its conditions hold exactly; needed are both")

        def lift(x: Tensor) -> Tensor:
            return pde.lift(self.at(x, self.start))

        def factor(x: Tensor) -> Tensor:
            with torch.enable_grad():
                times = torch.full_like(x[:, 0], self.start, requires_grad=True)
                values = pde.factor(self.at(x, times)).sum()
                found = torch.autograd.grad(values, times, create_graph=True, materialize_grads=True)[0]
            return found if x.requires_grad else found.detach()

        x = self._samples()
        times = np.linspace(self.start, self.end, 5)
        first, scale = lift(x), factor(x)
        if any(_differ(pde.lift(self.at(x, float(t))), first) for t in times):
            raise ValueError(f"{where} has a lift that changes in time; allowed is one of space alone")
        if float(pde.factor(self.at(x, self.start)).abs().max()) > ROUNDING or not bool((scale != 0).all()):
            raise ValueError(
                f"{where} has a factor that is not 0 at the start and of first order in time, as is needed"
            )
        return Ansatz(lift, factor)

    def _samples(self) -> Tensor:
        unit = np.random.default_rng(0).random((SAMPLES, len(self.coordinates)))
        low, high = np.array(self.lower), np.array(self.upper)
        return torch.from_numpy(low + (high - low) * unit)

    def _check_affine(self, where: str) -> None:
        x = self._samples()
        generator = torch.Generator().manual_seed(0)
        values = {n: torch.randn(SAMPLES, generator=generator, dtype=x.dtype) for n in self.names}
        fields = self.fields(x, (self.start + self.end) / 2)
        zero, one, other = (self._residual(values, fields, u_t) for u_t in (0.0, 1.0, -2.5))
        slope = one - zero
        if _differ(other, zero - 2.5 * slope) or not bool((slope.abs() > ROUNDING).all()):
            raise ValueError(f"{where} has an equation that is not affine in {self.first} with a factor other than 0")


def _differ(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) > ROUNDING * (1 + float(b.abs().max()))
