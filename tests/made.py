"""Problems made in tests, as a user would declare them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.errors import BadInput
from pinntk.pdes.base import PDE, ExactPDE, Term, value, vanishing
from pinntk.pdes.declaration import check, reference_of
from pinntk.pdes.references import Reference


class Cooling(ExactPDE):
    """``u_t = u_xx / 10``, ``u = sin(pi x) exp(-pi^2 t / 10)`` on the unit square; coordinates x, t."""

    name: ClassVar[str] = "cooling"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (21, 11)

    def place(self, x: Tensor) -> Tensor:
        """x, (N,)."""
        return x[:, self.coordinates.index("x")]

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_t", "u_xx"), lambda s: s["u_t"] - s["u_xx"] / 10),
            Term("initial", "initial", ("u",), value, lambda x: (torch.sin(math.pi * self.place(x)),)),
            Term("boundary", "boundary", ("u",), vanishing),
        )

    def solution(self, x: Tensor) -> Tensor:
        t = x[:, self.coordinates.index("t")]
        return torch.sin(math.pi * self.place(x)) * torch.exp(-(math.pi**2) / 10 * t)


class TimeFirst(Cooling):
    """The same with coordinates t, x."""

    name: ClassVar[str] = "time_first"
    coordinates: ClassVar[tuple[str, ...]] = ("t", "x")
    evaluation_shape: ClassVar[tuple[int, ...]] = (11, 21)


class Saddle(PDE):
    """Laplace's equation with ``u = x^2 - y^2``, which is known at scattered points."""

    name: ClassVar[str] = "saddle"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    lower: ClassVar[tuple[float, ...]] = (-1.0, -1.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("residual", "interior", ("u_xx", "u_yy"), lambda s: s["u_xx"] + s["u_yy"]),
            Term("boundary", "boundary", ("u",), value, lambda x: (x[:, 0] ** 2 - x[:, 1] ** 2,)),
        )

    def evaluation_points(self) -> Array:
        return np.random.default_rng(0).uniform(-1, 1, (77, 2))

    def reference(self) -> Reference:
        x, y = self.evaluation_points().T
        return Reference(x**2 - y**2, 1e-12)


class Torus(ExactPDE):
    """``u_xx - u = f`` on [0, 1] without a condition, ``u = sin(2 pi x)``."""

    name: ClassVar[str] = "torus"
    coordinates: ClassVar[tuple[str, ...]] = ("x",)
    lower: ClassVar[tuple[float, ...]] = (0.0,)
    upper: ClassVar[tuple[float, ...]] = (1.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (21,)

    def terms(self) -> tuple[Term, ...]:
        def source(x: Tensor) -> tuple[Tensor]:
            return (-(4 * math.pi**2 + 1) * self.solution(x),)

        return (Term("residual", "interior", ("u", "u_xx"), lambda s, f: s["u_xx"] - s["u"] - f, source),)

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(2 * math.pi * x[:, 0])


class Unsolved(PDE):
    """The same as `Cooling`, by somebody who does not know the solution."""

    name: ClassVar[str] = "unsolved"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (21, 11)

    def terms(self) -> tuple[Term, ...]:
        return Cooling().terms()


def reference_values(pde: PDE) -> Array:
    """Of a problem that has a reference."""
    reference = reference_of(pde)
    assert reference is not None
    return reference.values


def made(base: type[PDE] = Cooling, **attributes: Any) -> PDE:
    """A problem that differs from another in these attributes of its class."""
    kind: Any = type(base)
    found = kind("Case", (base,), {"__module__": __name__, "name": "case", **attributes})()
    assert isinstance(found, PDE)
    return found


EQUATION = Term("residual", "interior", ("u_t", "u_xx"), lambda s: s["u_t"] - s["u_xx"])


def with_term(**changes: Any) -> PDE:
    """A problem whose second term is the value at t = 0, with changes."""
    term = replace(Term("start", "initial", ("u",), value, lambda x: (torch.sin(math.pi * x[:, 0]),)), **changes)
    return made(terms=lambda self: (EQUATION, term))


def line_of(pde: PDE, dtype: torch.dtype = torch.float64) -> str:
    """The only line about a problem."""
    with pytest.raises(BadInput) as caught:
        check(pde, dtype)
    (line,) = caught.value.messages
    assert "\n" not in line
    assert "allowed" in line or " ended in " in line
    return line
