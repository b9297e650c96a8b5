"""A system with everything in it: two fields, three coordinates, mixed and high derivatives, an unknown number, hard
conditions; and its residuals from nested automatic differentiation alone. And a smaller one, for whole runs."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from pinntk.launch.cli import compose
from pinntk.network import Coefficient, Network, NetworkSettings, Unknown
from pinntk.network.settings import Feature, PowerFeature
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, ExactPDE, Term
from pinntk.pdes.references import Reference
from pinntk.residual.measurements import Measurements, measured
from pinntk.residual.terms import prescribed, zero

COORDINATES = ("x", "y", "t")


class Coupled(PDE):
    """``u_t - nu (u_xx + u_yy) + v_xy v + c u = 0``, ``v_xxyy + u v_t - u_xxt = 0``, and conditions."""

    name: ClassVar[str] = "coupled"
    coordinates: ClassVar[tuple[str, ...]] = COORDINATES
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (0.0, -1.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0, 2.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (5, 6, 4)

    nu: Coefficient = Unknown(start=0.7, positive=True)
    c: Coefficient = 1.5

    def terms(self) -> tuple[Term, ...]:
        bending = Operator("B", {"v_xxyy": 1.0, "u_xxt": -1.0, "u": 0.25})
        return (
            Term(
                "first",
                "interior",
                ("u", "v", "u_t", "u_xx", "u_yy", "v_xy", "nu", "c"),
                lambda s: s["u_t"] - s["nu"] * (s["u_xx"] + s["u_yy"]) + s["v_xy"] * s["v"] + s["c"] * s["u"],
            ),
            Term("second", "interior", (bending, "u", "v_t"), lambda s: s["B"] + s["u"] * s["v_t"] - 0.25 * s["u"]),
            Term("initial", "initial", ("u",), lambda s, g: s["u"] - g, lambda x: (torch.sin(x[:, 0]),)),
            Term("motion", "initial", ("v_t", "nu"), lambda s: s["v_t"] - s["nu"] ** 2),
            Term("wall", "boundary", ("u", "v"), lambda s: s["u"] * s["v"] - 1),
            Term("wrapped", "periodic", ("v", "u_x"), lambda s: _jump(s["v"]) + _jump(s["u_x"])),
        )

    def lift(self, x: Tensor) -> Tensor:
        """sin x for u, x y for v."""
        return torch.stack([torch.sin(x[:, 0]), x[:, 0] * x[:, 1]], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        """t for u, so that the initial values hold; something without zeros for v."""
        return torch.stack([x[:, 2] / (1 + x[:, 2]), 2 + torch.sin(x[:, 0] * x[:, 1] + x[:, 2])], dim=1)

    def inputs(self) -> list[Feature]:
        """y squared."""
        return [PowerFeature(kind="powers", input="y", powers=[2], replace=True)]

    def reference(self) -> Reference:
        """Nothing that solves it."""
        x = self.evaluation_points()
        return Reference(1.0 + x[:, 0] + x[:, 1] * x[:, 2], 1.0)


def _jump(values: Tensor) -> Tensor:
    lower, upper = values.chunk(2)
    return lower - upper


def coupled(**settings: Any) -> tuple[Coupled, Network]:
    """The problem, and its network with parameters that hide nothing."""
    problem = Coupled()
    network = Network.of(problem, NetworkSettings.model_validate({"width": 7, "depth": 2, **settings}))
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, dtype=parameter.dtype, generator=generator))
    return problem, network


def derivative(function: Any, letters: str) -> Any:
    """The derivative of a function of one point (3,), by nested torch.func.grad."""
    for letter in letters:
        function = _along(function, COORDINATES.index(letter))
    return function


def _along(function: Any, c: int) -> Any:
    return lambda x: grad(function)(x)[c]


def value_by_hand(network: Network, parameters: Mapping[str, Tensor], hard: bool, field: int) -> Any:
    """A field at one point, (3,), from its formula, with u and v as the coordinates' functions."""

    def value(x: Tensor) -> Tensor:
        n: Tensor = functional_call(network, dict(parameters), (x[None],))[0, field]
        if not hard:
            return n
        lift = [torch.sin(x[0]), x[0] * x[1]][field]
        factor = [x[2] / (1 + x[2]), 2 + torch.sin(x[0] * x[1] + x[2])][field]
        return lift + factor * n

    return value


def bare(network: Network) -> Network:
    """The same network without its hard conditions: N."""
    found = copy.deepcopy(network)
    found.ansatz = None
    found.__dict__.pop("value", None)
    return found


def residual_by_hand(
    network: Network, hard: bool, points: dict[str, Tensor], parameters: Mapping[str, Tensor]
) -> Tensor:
    """All residuals in the order of the terms, (N,), of the problem's formulas."""
    plain = bare(network)
    u, v = (value_by_hand(plain, parameters, hard, field) for field in (0, 1))

    def at(function: Any, letters: str, region: str) -> Tensor:
        found: Tensor = vmap(derivative(function, letters))(points[region])
        return found

    nu = parameters["coefficients.trained.nu"].exp()
    inside = "interior"
    first = (
        at(u, "t", inside)
        - nu * (at(u, "xx", inside) + at(u, "yy", inside))
        + at(v, "xy", inside) * at(v, "", inside)
        + 1.5 * at(u, "", inside)
    )
    second = at(v, "xxyy", inside) - at(u, "xxt", inside) + at(u, "", inside) * at(v, "t", inside)
    initial = at(u, "", "initial") - torch.sin(points["initial"][:, 0])
    motion = at(v, "t", "initial") - nu**2
    wall = at(u, "", "boundary") * at(v, "", "boundary") - 1
    wrapped = _jump(at(v, "", "periodic")) + _jump(at(u, "x", "periodic"))
    found = [first, second, *([] if hard else [initial]), motion, wall, wrapped]
    return torch.cat(found)


def points_of(n: int = 6) -> dict[str, Tensor]:
    """A few points of each region."""
    generator = torch.Generator().manual_seed(9)
    low = torch.tensor(Coupled.lower, dtype=torch.float64)
    size = torch.tensor(Coupled.upper, dtype=torch.float64) - low

    def some(count: int) -> Tensor:
        return low + size * torch.rand(count, 3, dtype=torch.float64, generator=generator)

    initial, wall, left = some(4), some(5), some(3)
    initial[:, 2] = 0.0
    wall[:, 0] = 1.0
    left[:, 0] = 0.0
    right = left.clone()
    right[:, 0] = 1.0
    return {"interior": some(n), "initial": initial, "boundary": wall, "periodic": torch.cat([left, right])}


class Swinging(ExactPDE):
    """``u_t + nu v_x = 0``, ``v_t + nu u_x = 0``: a wave as two equations, whose speed is looked for in measurements.

    The solution has the speed 1.5: ``u = sin x cos 1.5 t``, ``v = -cos x sin 1.5 t``. With hard conditions the initial
    values hold, and what is left are the equations, the ends and the measurements.
    """

    name: ClassVar[str] = "swinging"
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (math.pi, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (9, 6)

    nu: Coefficient = Unknown(start=1.2, positive=True)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("first", "interior", ("u_t", "v_x", "nu"), lambda s: s["u_t"] + s["nu"] * s["v_x"]),
            Term("second", "interior", ("v_t", "u_x", "nu"), lambda s: s["v_t"] + s["nu"] * s["u_x"]),
            Term("initial", "initial", ("u",), prescribed("u"), lambda x: (torch.sin(x[:, 0]),)),
            Term("rest", "initial", ("v",), zero("v")),
            Term("ends", "boundary", ("u",), zero("u")),
            measured("u", Measurements.of("sensors", SENSORS, "u")),
        )

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return torch.stack([torch.sin(x[:, 0]), torch.zeros_like(x[:, 0])], dim=1)

    def factor(self, x: Tensor) -> Tensor:
        """The time."""
        return x[:, 1]

    def solution(self, x: Tensor) -> Tensor:
        place, phase = x[:, 0], 1.5 * x[:, 1]
        return torch.stack([torch.sin(place) * torch.cos(phase), -torch.cos(place) * torch.sin(phase)], dim=1)


PLACES = np.random.default_rng(4).uniform((0, 0), (math.pi, 1), (12, 2))
SENSORS = {"x": PLACES[:, 0], "t": PLACES[:, 1], "u": np.sin(PLACES[:, 0]) * np.cos(1.5 * PLACES[:, 1])}
"""Without noise."""


def swinging(*words: str, **coefficients: Any) -> dict[str, Any]:
    """The configuration of a small run of it, with everything of a network that may be trained."""
    network = "network.hard=true network.slopes=true network.activation=sin width=6 network.depth=2".split()
    points = "points.interior=20 points.initial=6 points.boundary=6 pde=convection budget=smoke threads=1".split()
    config = compose([*points, *network, "checkpoint.every_seconds=1e9", *words])
    return {**config, "pde": {"_target_": "systems.Swinging", **coefficients}, "discretization": None}
