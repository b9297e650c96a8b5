"""Problems as data: coefficients and their ranges, evaluation grids, published figures, references on the grid."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pinntk.common.arrays import Array
from pinntk.pdes import references
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.references import Reference, SineSeries
from pinntk.pdes.wave import Wave

PROBLEMS: dict[str, type[PDE]] = {
    "convection": Convection,
    "wave": Wave,
    "reaction": Reaction,
    "burgers": Burgers,
    "heat2d": Heat2D,
    "poisson1d": Poisson1D,
}
PI = math.pi
BOXES: dict[str, tuple[tuple[str, ...], list[tuple[float, float]], tuple[int, ...]]] = {
    "convection": (("x", "t"), [(0, 2 * PI), (0, 1)], (257, 101)),
    "wave": (("x", "t"), [(0, 1), (0, 1)], (257, 101)),
    "reaction": (("x", "t"), [(0, 2 * PI), (0, 1)], (257, 101)),
    "burgers": (("x", "t"), [(-1, 1), (0, 1)], (257, 101)),
    "heat2d": (("x", "y", "t"), [(0, 1), (0, 1), (0, 100)], (33, 33, 126)),
    "poisson1d": (("x",), [(0, 1)], (1001,)),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_names_domain_and_evaluation_grid(name: str) -> None:
    pde = PROBLEMS[name]()
    coordinates, box, shape = BOXES[name]
    assert pde.name == name
    assert pde.coordinates == coordinates
    points = pde.evaluation_points()
    assert points.shape == (math.prod(shape), len(shape))
    assert points.dtype == np.float64
    assert [(points[:, c].min(), points[:, c].max()) for c in range(len(shape))] == box
    assert np.array_equal(points[0], [low for low, _ in box])
    assert np.array_equal(points[-1], [high for _, high in box])
    assert [len(axis) for axis in pde.evaluation_axes()] == list(shape)
    # Last coordinate fastest: point (i, j, ...) stands at the row that counting in mixed base gives.
    for index in [(1,) * len(shape), tuple(n - 2 for n in shape), tuple(range(3, 3 + len(shape)))]:
        row = 0
        for i, n in zip(index, shape, strict=True):
            row = row * n + i
        expected = [low + (high - low) * i / (n - 1) for (low, high), i, n in zip(box, index, shape, strict=True)]
        assert points[row] == pytest.approx(expected, rel=1e-14)


DEFAULTS: list[tuple[str, dict[str, float]]] = [
    ("convection", {"beta": 40.0}),
    ("wave", {"a": 4, "C": 4.0}),
    ("reaction", {"rho": 5.0}),
    ("burgers", {"nu": 0.01 / PI}),
    ("heat2d", {"k": 1.0, "m1": 4, "m2": 2}),
    ("poisson1d", {"a": 4}),
]


@pytest.mark.parametrize(("name", "coefficients"), DEFAULTS)
def test_default_coefficients(name: str, coefficients: dict[str, float]) -> None:
    assert PROBLEMS[name]().parameters() == coefficients


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("convection", {"beta": math.nan}),
        ("convection", {"beta": math.inf}),
        ("convection", {"beta": "fast"}),
        ("convection", {"bta": 30}),
        ("convection", {"beta": None}),
        ("reaction", {"rho": math.nan}),
        ("wave", {"a": 0}),
        ("wave", {"a": 1.5}),
        ("wave", {"a": True}),
        ("wave", {"C": 0.0}),
        ("wave", {"C": -4.0}),
        ("burgers", {"nu": 0.0}),
        ("burgers", {"nu": -1e-3}),
        ("burgers", {"nu": math.nan}),
        ("burgers", {"beta": 1.0}),
        ("heat2d", {"k": 0.0}),
        ("heat2d", {"m1": 0}),
        ("heat2d", {"m2": 33}),
        ("heat2d", {"m1": 2.5}),
        ("poisson1d", {"a": 0}),
        ("poisson1d", {"a": -4}),
        ("poisson1d", {"a": 501}),
        ("wave", {"a": 129}),
    ],
)
def test_coefficients_out_of_range_are_rejected(name: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        PROBLEMS[name].model_validate(bad)
    assert error.value.errors()[0]["loc"] == tuple(bad)


def test_all_bad_coefficients_are_reported_at_once() -> None:
    with pytest.raises(ValidationError) as error:
        Heat2D.model_validate({"k": -1, "m1": 0, "m2": "two"})
    assert [e["loc"] for e in error.value.errors()] == [("k",), ("m1",), ("m2",)]


def test_coefficients_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        Convection().beta = 30.0


def solution(pde: PDE, x: Array) -> Array:
    """Closed forms, from the literature."""
    first: Array = x[:, 0]
    t: Array = x[:, -1]
    values: Array
    match pde:
        case Convection():
            values = np.sin(first - pde.beta * t)
        case Wave():
            c = math.sqrt(pde.C)
            lowest = np.sin(PI * first) * np.cos(c * PI * t)
            values = lowest + np.sin(pde.a * PI * first) * np.cos(pde.a * c * PI * t) / 2
        case Reaction():
            h = np.exp(-((first - PI) ** 2) / (2 * (PI / 4) ** 2))
            values = h * np.exp(pde.rho * t) / (h * np.exp(pde.rho * t) + 1 - h)
        case Poisson1D():
            values = np.sin(pde.a * PI * first)
        case _:
            raise TypeError(pde.name)
    return values


@pytest.mark.parametrize(
    "pde",
    [
        Convection(),
        Convection(beta=-7.5),
        Wave(),
        Wave(a=5, C=2.0),
        Reaction(),
        Reaction(rho=-3.0),
        Poisson1D(a=9),
    ],
    ids=lambda pde: f"{pde.name}-{pde.parameters()}",
)
def test_closed_forms_on_the_evaluation_grid(pde: ExactPDE) -> None:
    reference = pde.reference()
    points = pde.evaluation_points()
    assert reference.values.dtype == np.float64
    assert reference.values.shape == (len(points),)
    assert np.abs(reference.values - solution(pde, points)).max() < 1e-12
    assert reference.accuracy == 2.0**-52


@pytest.mark.parametrize("rho", [-1000.0, 1000.0])
def test_fast_reactions_do_not_overflow(rho: float) -> None:
    values = Reaction(rho=rho).solution(torch.tensor([[1.0, 1.0], [PI, 1.0], [PI, 0.0]], dtype=torch.float64))
    assert values.tolist() == [float(rho > 0), 1.0, 1.0]  # h = 1 at x = pi is an equilibrium


def test_burgers_reference_is_on_the_grid() -> None:
    pde = Burgers(nu=0.1)
    reference = pde.reference()
    x, t = pde.evaluation_axes()
    u = reference.values.reshape(257, 101)
    assert np.abs(u[:, 0] + np.sin(PI * x)).max() < 1e-12
    assert np.abs(u[[0, -1]]).max() < 1e-12
    assert np.abs(u + u[::-1]).max() < 1e-12  # odd in x
    one = references.burgers(x[[7]], t[[30]], 0.1).values
    assert reference.values[7 * 101 + 30] == pytest.approx(float(one[0]), abs=1e-11)
    assert reference.accuracy < 1e-10


def test_heat2d_reference_is_on_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a series whose sum is known in place of the computed one, which takes seconds."""
    pde = Heat2D(k=0.7, m1=3, m2=5)
    asked: list[Any] = []

    def known(*arguments: Any) -> SineSeries:
        asked.extend(arguments)
        times = np.asarray(arguments[-1])
        coefficients = np.zeros((len(times), 2, 3))
        coefficients[:, 1, 0], coefficients[:, 0, 2] = 1 + times, 0.3
        return SineSeries(times, np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0]), coefficients, 1e-6)

    monkeypatch.setattr(references, "heat2d", known)
    reference = pde.reference()
    x, y, t = pde.evaluation_points().T
    expected = (1 + t) * np.sin(2 * PI * x) * np.sin(PI * y) + 0.3 * np.sin(PI * x) * np.sin(3 * PI * y)
    assert np.abs(reference.values - expected).max() < 1e-10
    assert reference.accuracy == 1e-6
    assert asked[:4] == [0.7, 3, 5, 1e-3]
    assert np.array_equal(asked[4], np.linspace(0, 100, 126))


@pytest.mark.slow
def test_heat2d_reference_starts_and_ends_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    pde = Heat2D()
    reference = pde.reference()
    u = reference.values.reshape(33, 33, 126)
    x, y, _ = pde.evaluation_axes()
    assert np.abs(u[:, :, 0] - np.outer(np.sin(4 * PI * x), np.sin(3 * PI * y))).max() < 1e-12
    assert np.abs(u[[0, -1]]).max() < 1e-12
    assert np.abs(u[:, [0, -1]]).max() < 1e-12
    assert np.abs(u[:, :, 25:]).max() == pytest.approx(math.sqrt(PI), abs=0.02)  # where sin(u^2) vanishes
    assert reference.accuracy < 1e-4


def test_references_are_plain_data() -> None:
    assert [f.name for f in dataclasses.fields(Reference)] == ["values", "accuracy"]
