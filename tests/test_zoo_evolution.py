"""Periodic evolution problems: their terms on closed forms, hard conditions and whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import result_of, slow_unless
from matplotlib.figure import Figure
from pydantic import ValidationError
from test_any_resume import whole_and_in_pieces
from test_reference_burgers import hopf
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.network import Network, NetworkSettings
from pinntk.pdes import declaration
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.references import Reference
from pinntk.pdes.zoo.allen_cahn import AllenCahn
from pinntk.pdes.zoo.evolving import EvolvingPDE
from pinntk.pdes.zoo.gray_scott import GrayScott
from pinntk.pdes.zoo.kdv import KdV
from pinntk.pdes.zoo.kuramoto_sivashinsky import KuramotoSivashinsky
from pinntk.pdes.zoo.schroedinger import Schroedinger
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Residuals
from pinntk.runs.settings import RunSettings

PI = math.pi
PROBLEMS: dict[str, type[EvolvingPDE]] = {
    kind.name: kind for kind in (AllenCahn, KdV, KuramotoSivashinsky, Schroedinger, GrayScott)
}
named = pytest.mark.parametrize("name", PROBLEMS)
X = torch.tensor([[0.1, 0.05], [-0.3, 0.4], [0.7, 0.9], [0.02, 0.6], [-0.6, 0.2]], dtype=torch.float64)
XY = torch.tensor([[0.1, 0.4, 3.0], [-0.3, 0.2, 30.0], [0.7, -0.5, 1.0]], dtype=torch.float64)


# --- the terms -------------------------------------------------------------------------------------------------------


def front(nu: float, rate: float) -> Callable[[Tensor], Tensor]:
    """Of Allen-Cahn's equation, from 1 on the left to 0."""
    steep, speed = math.sqrt(rate / (2 * nu)), 3 * math.sqrt(rate * nu / 2)
    return lambda x: torch.sigmoid(-steep * (x[:, 0] - speed * x[:, 1]))


def soliton(delta: float, c: float) -> Callable[[Tensor], Tensor]:
    return lambda x: 3 * c / torch.cosh(math.sqrt(c) / (2 * delta) * (x[:, 0] - c * x[:, 1])) ** 2


def shock(x: Tensor) -> Tensor:
    """Kuramoto's and Tsuzuki's travelling wave, of speed 0.3 in the units in which all coefficients are 1."""
    root, c = math.sqrt(11 / 19), 0.3
    wave = torch.tanh(root / 2 * (16 * x[:, 0] - c * 100 * x[:, 1]))
    return c + 15 / 19 * root * (11 * wave**3 - 9 * wave)


def pulse(x: Tensor) -> Tensor:
    """2 sech x on the line, later: real and imaginary part."""
    y, t = x[:, 0], x[:, 1]
    below = torch.cosh(4 * y) + 4 * torch.cosh(2 * y) + 3 * torch.cos(4 * t)
    h = 4 * torch.exp(0.5j * t) * (torch.cosh(3 * y) + 3 * torch.exp(4j * t) * torch.cosh(y)) / below
    return torch.stack([h.real, h.imag], dim=1)


def invasion(b: float, eps: float) -> Callable[[Tensor], Tensor]:
    """Where both diffuse alike and decay alike u + v = 1, and v has a front, here along the direction (3, 4)."""
    low, high = ((1 + sign * math.sqrt(1 - 4 * b)) / 2 for sign in (-1, 1))
    speed = math.sqrt(eps / 2) * (high - 2 * low)

    def fields(x: Tensor) -> Tensor:
        along = 0.6 * x[:, 0] + 0.8 * x[:, 1] - speed * x[:, 2]
        v = high * torch.sigmoid(-high * along / math.sqrt(2 * eps))
        return torch.stack([1 - v, v], dim=1)

    return fields


CLOSED: dict[str, tuple[EvolvingPDE, Callable[[Tensor], Tensor], Tensor]] = {
    "allen_cahn": (AllenCahn(nu=0.03, rate=2.0), front(0.03, 2.0), X),
    "kdv": (KdV(delta=0.3), soliton(0.3, 0.8), X),
    "kuramoto_sivashinsky": (KuramotoSivashinsky(), shock, X * 0.2),
    "schroedinger": (Schroedinger(), pulse, X),
    "gray_scott": (GrayScott(b=0.1, d=0.1, eps_u=0.02, eps_v=0.02), invasion(0.1, 0.02), XY),
}


def equations(pde: EvolvingPDE, u: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals of the equations on a function, (terms, N), and the largest part of each point, by nested autograd."""
    y = x.clone().requires_grad_()
    values = u(y).reshape(len(x), -1)
    found, parts = [], []
    for term in pde.terms():
        if term.where == "interior":
            given = {}
            for name in term.derivatives:
                field, _, letters = name.partition("_")
                value = values[:, pde.fields.index(field)]
                for letter in letters:
                    (slope,) = torch.autograd.grad(value.sum(), y, create_graph=True)
                    value = slope[:, pde.coordinates.index(letter)]
                given[name] = value.detach()
            found.append(term.of_derivatives(given, *term.fields(x)))
            parts.append(torch.stack([v.abs() for k, v in given.items() if k.endswith("_t")]).amax(0))
    return torch.stack(found), torch.stack(parts)


@named
def test_the_equations_vanish_on_closed_forms_and_on_nothing_else(name: str) -> None:
    pde, u, x = CLOSED[name]
    residual, size = equations(pde, u, x)
    assert float(size.amax(1).min()) > 1e-2
    assert float(residual.abs().max()) < 1e-9
    for wrong in (lambda y: 1.01 * u(y), lambda y: u(y * y.new_tensor([1.01] + [1.0] * (y.shape[1] - 1)))):
        residual, _ = equations(pde, wrong, x)
        assert float(residual.abs().amax(1).min()) > 1e-4
    for key, value in pde.parameters().items():
        changed = type(pde)(**{**pde.parameters(), key: 1.01 * value})
        residual, _ = equations(changed, u, x)
        assert float(residual.abs().max()) > 1e-6, key


INITIAL: dict[str, Any] = {
    "allen_cahn": lambda x: (x**2 * np.cos(PI * x))[None],
    "kdv": lambda x: np.cos(PI * x)[None],
    "kuramoto_sivashinsky": lambda x: (np.cos(x) * (1 + np.sin(x)))[None],
    "schroedinger": lambda x: np.stack([2 / np.cosh(x), 0 * x]),
    "gray_scott": lambda x, y: np.stack(
        [
            1 - np.exp(-80 * ((x + 0.05) ** 2 + (y + 0.02) ** 2)),
            np.exp(-80 * ((x - 0.05) ** 2 + (y - 0.02) ** 2)),
        ]
    ),
}
PERIODIC = {
    "allen_cahn": "u u_x",
    "kdv": "u u_x u_xx",
    "kuramoto_sivashinsky": "u u_x u_xx u_xxx",
    "schroedinger": "u v u_x v_x",
    "gray_scott": "x_u x_v x_u_x x_v_x y_u y_v y_u_y y_v_y",
}


@named
def test_conditions(name: str) -> None:
    pde = PROBLEMS[name]()
    names = [term.name for term in pde.terms()]
    assert names[-len(PERIODIC[name].split()) :] == [f"periodic_{s}" for s in PERIODIC[name].split()]
    x = torch.rand(7, len(pde.coordinates), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x[:, -1] = 0
    expected = INITIAL[name](*x[:, :-1].T.numpy())
    starts = [term for term in pde.terms() if term.where == "initial"]
    for term, field, values in zip(starts, pde.fields, expected, strict=True):
        given = {field: torch.full((7,), 3.0, dtype=torch.float64)}
        np.testing.assert_allclose(term.of_derivatives(given, *term.fields(x)).numpy(), 3 - values, atol=1e-14)


@named
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_declarations_are_right(name: str, dtype: torch.dtype) -> None:
    declaration.check(PROBLEMS[name](), dtype)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("allen_cahn", {"nu": 0.0}), ("kdv", {"delta": -0.022}), ("kuramoto_sivashinsky", {"gamma": 0.0}),
    ("schroedinger", {"dispersion": math.nan}), ("gray_scott", {"eps_v": 0.0}), ("gray_scott", {"F": 1.0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_coefficients_out_of_range_are_rejected(name: str, bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as error:
        PROBLEMS[name].model_validate(bad)
    assert error.value.errors()[0]["loc"] == tuple(bad)


# --- hard conditions -------------------------------------------------------------------------------------------------


@named
def test_hard_conditions_leave_the_equations(name: str) -> None:
    pde = PROBLEMS[name]()
    network = Network.of(pde, NetworkSettings(width=12, depth=2, hard=True))
    generator = torch.Generator().manual_seed(3)
    network.assign(torch.randn(len(network.vector()), generator=generator, dtype=torch.float64))
    drawn = sample(PointSettings(interior=30, initial=50, boundary=50), pde.coordinates, pde.lower, pde.upper,
                   pde.regions(), seed=5)  # fmt: skip
    residuals = Residuals(pde, network, pde.terms())
    found = residuals(residuals.prepare({region: torch.from_numpy(x) for region, x in drawn.items()}))
    inside = [term.name for term in pde.terms() if term.where == "interior"]
    for term, r in found.items():
        if term in inside:
            assert float(r.detach().abs().max()) > 1e-3
        else:  # derivatives of up to third order, of four waves
            assert float(r.detach().abs().max()) < 1e-9, term
    assert Residuals(pde, network).names == tuple(inside)


@pytest.mark.parametrize("name", ["allen_cahn", "schroedinger"])
def test_the_lift_has_the_kink_at_the_start_alone(name: str) -> None:
    pde = PROBLEMS[name]()
    end = pde.upper[0]
    jump = {"allen_cahn": 4.0, "schroedinger": 4 * math.sinh(5) / math.cosh(5) ** 2}[name]
    for t, expected in ((0.0, jump), (1e-4, 0.0), (1.0, 0.0)):
        h = 1e-6  # far inside of the layer
        near = torch.tensor([[end, t], [end - h, t], [end - 2 * h, t]], dtype=torch.float64)
        u = pde.lift(near).reshape(3, -1)[:, 0]
        slope = float((3 * u[0] - 4 * u[1] + u[2]) / (2 * h))  # one-sided; at -end it is the opposite
        assert abs(2 * slope) == pytest.approx(expected, abs=1e-3)
    inside = torch.tensor([[0.3 * end, 0.2], [-0.3 * end, 0.7], [0.0, 1.0]], dtype=torch.float64)
    assert torch.allclose(pde.lift(inside), pde.initial(inside), atol=1e-14)


# --- whole runs ------------------------------------------------------------------------------------------------------

SMALL = (
    "method=ssbroyden budget=smoke threads=1 width=8 network.depth=2 points.interior=40 points.initial=10"
    " points.boundary=10 method.adam.steps=8 method.ssbroyden.steps=12 method.ssbroyden.resample_every=5"
    " method.log_every=5 evaluate_every=5 points.resample_every=7 trainer.accelerator=cpu"
).split()


@pytest.mark.parametrize(
    ("name", "network"),
    [slow_unless((n, k) == ("gray_scott", "hard"), n, k) for n in PROBLEMS for k in ("default", "hard")],
)
def test_a_run_cut_in_pieces_ends_as_one_that_was_not(
    name: str, network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(pde: EvolvingPDE) -> Reference:
        """In the place of the reference, which takes long: the initial values at all times."""
        x = torch.from_numpy(pde.evaluation_points())
        values = pde.initial(x).numpy()
        return Reference(values, 1e-9)

    monkeypatch.setattr(EvolvingPDE, "reference", started)
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))
    config = compose([f"pde={name}", f"network={network}", *SMALL])
    whole = whole_and_in_pieces(config, tmp_path, (6, 14))
    inside = [term.name for term in PROBLEMS[name]().terms() if term.where == "interior"]
    assert (list(result_of(whole)["terms"]) == inside) == (network == "hard")


# --- what needs no new problem ---------------------------------------------------------------------------------------


def test_thin_fronts_and_fast_waves_are_accepted() -> None:
    assert RunSettings.read(compose(["pde=burgers", "pde.nu=1e-3", "method=adam"])).pde == Burgers(nu=1e-3)
    assert RunSettings.read(compose(["pde=convection", "pde.beta=100", "method=adam"])).pde == Convection(beta=100.0)


def test_the_reference_of_a_thin_front() -> None:
    pde = Burgers(nu=1e-3)
    reference = pde.reference()
    assert reference.accuracy < 1e-11
    grid = reference.values.reshape(257, 101)
    x, t = pde.evaluation_axes()
    near = [(129, 50), (127, 35), (130, 100), (128 + 9, 33), (64, 60), (200, 100), (3, 7)]  # most of them at the front
    np.testing.assert_allclose([grid[i, j] for i, j in near], [hopf(x[i], t[j], 1e-3) for i, j in near], atol=1e-11)
