"""Problems that users have had: each declared in a few lines, right for its exact solution, and trained."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import result_of, rows_of
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.network.ansatz import derivatives_of
from pinntk.network.derivatives import index_of
from pinntk.pdes import Coefficient, ExactPDE, Measurements, Term, Unknown, jump, measured, prescribed, zero
from pinntk.pdes.declaration import check
from pinntk.residual.named import all_placed
from pinntk.residual.points import draw_region
from pinntk.runs.run import run


class KdV(ExactPDE):
    """``u_t + 6 u u_x + u_xxx = 0``: one soliton."""

    name: ClassVar[str] = "kdv"
    lower: ClassVar[tuple[float, ...]] = (-10.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (10.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (41, 11)

    def terms(self) -> tuple[Term, ...]:
        def equation(s: dict[str, Tensor]) -> Tensor:
            return s["u_t"] + 6 * s["u"] * s["u_x"] + s["u_xxx"]

        return (
            Term("equation", "interior", ("u", "u_t", "u_x", "u_xxx"), equation),
            Term("initial", "initial", ("u",), prescribed("u"), lambda x: (self.solution(x),)),
        )

    def solution(self, x: Tensor) -> Tensor:
        return 0.5 / torch.cosh(0.5 * (x[:, 0] - x[:, 1])) ** 2


class Mixed(ExactPDE):
    """Goursat's problem ``u_xt = u`` with values on two characteristics."""

    name: ClassVar[str] = "mixed"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (11, 11)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("equation", "interior", ("u", "u_xt"), lambda s: s["u_xt"] - s["u"]),
            Term("initial", "initial", ("u",), prescribed("u"), lambda x: (torch.exp(x[:, 0]),)),
            Term("inlet", "x = lower", ("u",), prescribed("u"), lambda x: (torch.exp(x[:, 1]),)),
        )

    def solution(self, x: Tensor) -> Tensor:
        return torch.exp(x[:, 0] + x[:, 1])


class Schrodinger(ExactPDE):
    """``i h_t + h_xx / 2 + |h|^2 h = 0``, h = u + i v, from sech x: ``sech x exp(i t / 2)``."""

    name: ClassVar[str] = "schrodinger"
    fields: ClassVar[tuple[str, ...]] = ("u", "v")
    lower: ClassVar[tuple[float, ...]] = (-20.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (20.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (81, 6)

    def terms(self) -> tuple[Term, ...]:
        def real(s: dict[str, Tensor]) -> Tensor:
            return -s["v_t"] + s["u_xx"] / 2 + (s["u"] ** 2 + s["v"] ** 2) * s["u"]

        def imaginary(s: dict[str, Tensor]) -> Tensor:
            return s["u_t"] + s["v_xx"] / 2 + (s["u"] ** 2 + s["v"] ** 2) * s["v"]

        around = [Term(f"around_{s}", "periodic", (s,), jump(s)) for s in ("u", "v", "u_x", "v_x")]
        return (
            Term("real", "interior", ("u", "v", "v_t", "u_xx"), real),
            Term("imaginary", "interior", ("u", "v", "u_t", "v_xx"), imaginary),
            Term("initial_u", "initial", ("u",), prescribed("u"), lambda x: (1 / torch.cosh(x[:, 0]),)),
            Term("initial_v", "initial", ("v",), zero("v")),
            *around,
        )

    def solution(self, x: Tensor) -> Tensor:
        phase = x[:, 1] / 2
        return torch.stack([torch.cos(phase), torch.sin(phase)], dim=1) / torch.cosh(x[:, :1])


def _warm(x: Any, t: Any) -> Any:
    return np.sin(np.pi * x) * np.exp(-0.1 * np.pi**2 * t)


PLACES = np.random.default_rng(0).random((20, 2))
SENSORS = {"x": PLACES[:, 0], "t": PLACES[:, 1], "u": _warm(*PLACES.T)}


class Sensors(ExactPDE):
    """``u_t = nu u_xx`` from 20 sensors; nu = 0.1 is what they have seen."""

    name: ClassVar[str] = "sensors"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (11, 6)
    nu: Coefficient = Unknown(start=1.0, positive=True)

    def terms(self) -> tuple[Term, ...]:
        return (
            Term("equation", "interior", ("u_t", "u_xx", "nu"), lambda s: s["u_t"] - s["nu"] * s["u_xx"]),
            measured("u", Measurements.of("sensors", SENSORS, "u")),
        )

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(math.pi * x[:, 0]) * torch.exp(-0.1 * math.pi**2 * x[:, 1])


class Torus(ExactPDE):
    """``u_xx + u_yy - u = f``, periodic in x and in y."""

    name: ClassVar[str] = "torus"
    coordinates: ClassVar[tuple[str, ...]] = ("x", "y")
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    evaluation_shape: ClassVar[tuple[int, ...]] = (11, 11)

    def terms(self) -> tuple[Term, ...]:
        def through(s: dict[str, Tensor]) -> Tensor:
            return s["u_n"].view(2, -1).sum(0)  # what goes out at one face comes in at the other

        found = [
            Term(
                "equation",
                "interior",
                ("u", "u_xx", "u_yy"),
                lambda s, f: s["u_xx"] + s["u_yy"] - s["u"] - f,
                lambda x: (-(8 * math.pi**2 + 1) * self.solution(x),),
            )
        ]
        for c in self.coordinates:
            found.append(Term(f"around_{c}", f"periodic({c})", ("u",), jump("u")))
            found.append(Term(f"through_{c}", f"periodic({c})", ("u_n",), through))
        return tuple(found)

    def solution(self, x: Tensor) -> Tensor:
        return torch.sin(2 * math.pi * x[:, 0]) * torch.cos(2 * math.pi * x[:, 1])


CASES: list[tuple[type[ExactPDE], dict[str, float]]] = [
    (KdV, {}),
    (Mixed, {}),
    (Schrodinger, {}),
    (Sensors, {"nu": 0.1}),
    (Torus, {}),
]


def residuals_of_the_solution(pde: ExactPDE, numbers: dict[str, float], scale: float = 1.0) -> dict[str, float]:
    """The largest residual of each term where u is the solution times a number, by nested differentiation of it."""
    regions = all_placed([term.region for term in pde.terms()], pde.domain)
    found = {}
    for term in pde.terms():
        region = regions[term.where]
        x = torch.from_numpy(draw_region(region, 40, "uniform", seed=3, draw=0))
        normals = region.normals(x.numpy())

        def derivative(name: str, x: Tensor = x, normals: Any = normals) -> Tensor:
            if name in numbers:
                return torch.full((len(x),), numbers[name], dtype=x.dtype)
            field, _, letters = name.partition("_")
            if letters == "n":
                parts = [derivative(f"{field}_{c}") for c in pde.coordinates]
                return (torch.stack(parts, dim=1) * torch.from_numpy(normals)).sum(1)
            index = index_of(letters, pde.coordinates) if letters else (0,) * x.shape[1]
            assert index is not None
            values = derivatives_of(pde.solution, x, [index], len(pde.fields))[index]
            return scale * values[:, pde.fields.index(field)]

        known = (*region.data(x), *term.fields(x))
        residual = term.of_derivatives({name: derivative(name) for name in term.derivatives}, *known)
        found[term.name] = float(residual.abs().max())
    return found


@pytest.mark.parametrize(("kind", "numbers"), CASES, ids=lambda case: getattr(case, "name", None))
def test_the_exact_solution_has_no_residual(kind: type[ExactPDE], numbers: dict[str, float]) -> None:
    pde = kind()
    check(pde)
    for name, size in residuals_of_the_solution(pde, numbers).items():
        assert size < 1e-7, name  # sech 20 is 4e-9, all else is rounding
    wrong = residuals_of_the_solution(pde, {name: 1.5 * value for name, value in numbers.items()}, scale=1.1)
    assert max(wrong.values()) > 1e-2
    for name in ("initial", "initial_u", "measured_u"):
        assert wrong.get(name, 1.0) > 1e-3


@pytest.mark.parametrize("kind", [kind for kind, _ in CASES], ids=lambda kind: kind.name)
def test_it_is_trained(kind: type[ExactPDE], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))
    words = "pde=convection method=adam budget=smoke threads=1 width=8 network.depth=2 points.interior=50"
    words += " points.initial=20 points.boundary=20 method.steps=60 method.log_every=20 evaluate_every=20"
    config = compose([*words.split(), f"runs_dir={tmp_path}"])
    assert run({**config, "pde": {"_target_": f"{__name__}.{kind.__name__}"}, "discretization": None}) == 0
    (folder,) = (path.parent for path in tmp_path.glob("*/*/*/*/*/*/result.json"))
    result, losses = result_of(folder), [float(row["loss"]) for row in rows_of(folder) if row["loss"]]
    assert result["status"] == "completed"
    assert list(result["terms"]) == [term.name for term in kind().terms()]
    assert 0 < result["l2re"] < math.inf
    assert losses[-1] < losses[0]
    if kind is Schrodinger:
        assert list(result["l2re_by_field"]) == ["u", "v"]
    if kind is Sensors:
        assert 0 < result["estimates"]["nu"]["value"] < 1
        assert 0 < result["estimates"]["nu"]["standard_error"] < math.inf


@pytest.mark.slow
def test_sensors_find_the_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))
    words = "pde=convection method=ntk_ng budget=smoke threads=1 width=10 network.depth=2 points.interior=100"
    words += " method.adam.steps=100 method.natural_gradient.steps=100"
    config = compose([*words.split(), f"runs_dir={tmp_path}"])
    assert run({**config, "pde": {"_target_": f"{__name__}.Sensors"}, "discretization": None}) == 0
    (path,) = tmp_path.glob("*/*/*/*/*/*/result.json")
    result = result_of(path.parent)
    assert result["estimates"]["nu"]["value"] == pytest.approx(0.1, rel=1e-3)
    assert result["l2re"] < 1e-2
