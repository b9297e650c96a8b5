"""The rate of evolution equations ``u_t = F(u)``, out of the residual terms that declare them."""

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
    """F of a problem whose equations are of first order in time, one for each of its M fields.

    The residuals r of such equations are affine in the fields' derivatives in time, ``r = b + A u_t`` at every point,
    and ``F = -A^-1 b``. Operators lose their parts with derivatives in time, which are added with the values 0 and 1
    instead: F needs streams of space alone.

    Args:
        pde: the problem.

    Attributes:
        terms: the equations.
        coordinates, lower, upper: those of space.
        streams: what F needs of the fields.
        start, end: of time.

    Raises:
        ValueError: the problem is none of this kind; in one line that says why.

    Example::

        >>> from pinntk.pdes.burgers import Burgers
        >>> rate = Rate(Burgers(nu=0.5))
        >>> [s if isinstance(s, str) else (s.name, dict(s.coefficients)) for s in rate.streams]
        ['u', 'u_x', ('L', {'u_xx': -0.5})]
        >>> u, u_x, L = torch.tensor([[2.0], [3.0], [-0.5 * 4.0]])
        >>> rate.of({"u": u, "u_x": u_x, "L": L}, rate.data(torch.tensor([[0.1]]), 0.0)).tolist()  # 0.5 * 4 - 2 * 3
        [[-4.0]]
    """

    def __init__(self, pde: Problem) -> None:
        self.pde = pde
        where = f"method=evolve: pde={pde.name}"
        if "t" not in pde.coordinates or len(pde.coordinates) == 1:
            raise ValueError(f"{where} has no space or no time t; allowed are problems with both")
        if pde.shape is not None:
            raise ValueError(f"{where} is on a domain that is no box; allowed is a box")
        self.terms = tuple(term for term in pde.terms() if term.equation)
        if len(self.terms) != len(pde.fields) or any(term.where != "interior" for term in self.terms):
            raise ValueError(
                f"{where} has {len(self.terms)} equations for {len(pde.fields)} fields; allowed is one for each, in the"
                " interior"
            )
        self.place = pde.coordinates.index("t")
        self.start, self.end = pde.lower[self.place], pde.upper[self.place]
        in_space = [c for c in range(len(pde.coordinates)) if c != self.place]
        self.coordinates = tuple(pde.coordinates[c] for c in in_space)
        self.lower, self.upper = tuple(pde.lower[c] for c in in_space), tuple(pde.upper[c] for c in in_space)
        self.first = tuple(f"{field}_t" for field in pde.fields)
        """The derivatives in time."""
        self._check_names(where)
        self._slopes: list[dict[str, Tensor]] = []
        """Of every term and stream of it, its derivatives by those in time, (M,)."""
        found: dict[str, str | Operator] = {}
        for term in self.terms:
            slopes: dict[str, Tensor] = {}
            for stream in term.streams:
                name, parts = (stream, {stream: 1.0}) if isinstance(stream, str) else (stream.name, stream.coefficients)
                slopes[name] = torch.tensor([parts.get(first, 0.0) for first in self.first], dtype=torch.float64)
                rest = {part: factor for part, factor in parts.items() if part not in self.first}
                if rest:
                    found[name] = stream if isinstance(stream, str) else Operator(name, rest)
            self._slopes.append(slopes)
        self.streams: Sequence[str | Operator] = tuple(found.values())
        self.names = tuple(found)
        self._check_affine(where)

    def _check_names(self, where: str) -> None:
        fields, named = self.pde.fields, [name for term in self.terms for name in term.derivatives]
        for name in named:
            field = next((f for f in fields if name == f or name.startswith(f"{f}_")), None)
            if field is None:
                raise ValueError(
                    f"{where} has an equation with {name!r}; allowed are {', '.join(fields)} and their derivatives"
                )
            if name not in self.first and "t" in name.removeprefix(f"{field}_"):
                raise ValueError(
                    f"{where} has an equation with {name!r}; of derivatives in time allowed is {', '.join(self.first)}"
                )
        for first in self.first:
            if first not in named:
                raise ValueError(f"{where} has no equation with {first}, which is needed")

    def at(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Points of space and time, (N, d): points of space x, (N, d - 1), at one time, or each at its own, (N,)."""
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))[:, None]
        return torch.cat([x[:, : self.place], times, x[:, self.place :]], dim=1)

    def data(self, x: Tensor, t: float) -> tuple[tuple[Tensor, ...], ...]:
        """The terms' data at points of space, (N, d - 1), and a time."""
        at = self.at(x, t)
        return tuple(term.fields(at) for term in self.terms)

    def of(self, values: Mapping[str, Tensor], data: Sequence[Sequence[Tensor]]) -> Tensor:
        """F from the streams by name, (N,) each: (M, N)."""
        b, A = self._parts(values, data)
        if len(self.terms) == 1:
            return (-b / A[..., 0]).T
        found, info = torch.linalg.solve_ex(A, b)  # which raises nothing where A is singular
        return -torch.where(info[:, None] == 0, found, torch.nan).T

    def _parts(self, values: Mapping[str, Tensor], data: Sequence[Sequence[Tensor]]) -> tuple[Tensor, Tensor]:
        """b, (N, M), and A, (N, M, M), of the residuals ``b + A u_t``."""
        zero = self._residuals(values, data, torch.zeros(len(self.first)))
        ones = [self._residuals(values, data, one) for one in torch.eye(len(self.first))]
        return zero, torch.stack([one - zero for one in ones], dim=2)

    def _residuals(self, values: Mapping[str, Tensor], data: Sequence[Sequence[Tensor]], in_time: Tensor) -> Tensor:
        """Residuals, (N, M), where the derivatives in time have these values, (M,)."""
        like = next(iter(values.values())) if values else next(one for of in data for one in of)
        found = []
        for term, slopes, own in zip(self.terms, self._slopes, data, strict=True):
            full = {}
            for name, slope in slopes.items():
                more = float(slope @ in_time.double())
                full[name] = values[name] + more if name in values else torch.full_like(like, more)
            found.append(term.residual(full, *own))
        return torch.stack(found, dim=1)

    def in_time(self, values: Mapping[str, Tensor], x: Tensor, t: float) -> Tensor:
        """Derivative of F by the time that stands in it, by a difference quotient, (M, N)."""
        step = STEP * (self.end - self.start)
        low, high = max(self.start, t - step), min(self.end, t + step)
        return (self.of(values, self.data(x, high)) - self.of(values, self.data(x, low))) / (high - low)

    def initial(self) -> Ansatz:
        """``u0(x) + s(x) N(x)`` in space alone: lift and factor at the start, s the factor's derivative in time there.

        The lift of a problem with kinks in its initial values (`Problem.rounded_after`) is taken where it has rounded
        them.

        Raises:
            ValueError: the problem has no such functions, or its conditions change in time.
        """
        where, pde, after = f"method=evolve: pde={self.pde.name}", self.pde, self.pde.rounded_after
        if pde.ansatz() is None:
            raise ValueError(f"{where} has no lift and factor, by which its conditions hold exactly; needed are both")

        def lift(x: Tensor) -> Tensor:
            return pde.lift(self.at(x, self.start + after))

        def factor(x: Tensor) -> Tensor:
            with torch.enable_grad():
                times = torch.full_like(x[:, 0], self.start, requires_grad=True)
                values = pde.factor(self.at(x, times))
                columns = [
                    torch.autograd.grad(column.sum(), times, create_graph=True, materialize_grads=True)[0]
                    for column in values.view(len(x), -1).unbind(1)
                ]
                found = torch.stack(columns, dim=1).view_as(values)
            return found if x.requires_grad else found.detach()

        x = self._samples()
        times = np.linspace(self.start, self.end, 5)
        first, scale = lift(x), factor(x)
        if not after and any(_differ(pde.lift(self.at(x, float(t))), first) for t in times):
            raise ValueError(
                f"{where} has a lift that changes in time; allowed is one of space alone, or with rounded_after"
            )
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
        data = self.data(x, (self.start + self.end) / 2)
        b, A = self._parts(values, data)
        other = torch.linspace(-2.5, 1.5, len(self.first), dtype=x.dtype)
        affine = not _differ(self._residuals(values, data, other), b + A @ other)
        if not affine or not bool((torch.linalg.det(A).abs() > ROUNDING).all()):
            names = ", ".join(self.first)
            raise ValueError(f"{where} has equations that are not affine in {names} and determine them")


def _differ(a: Tensor, b: Tensor) -> bool:
    return float((a - b).abs().max()) > ROUNDING * (1 + float(b.abs().max()))
