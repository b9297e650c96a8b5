"""Periodic evolution problems: their terms on closed forms, their references by other methods, and whole runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import arrays_of, assert_same_network, result_of, slow_unless
from matplotlib.figure import Figure
from pydantic import ValidationError
from scipy.integrate import solve_ivp
from test_any_resume import MAY_DIFFER, ended, logged
from test_reference_burgers import hopf
from torch import Tensor

from pinntk import load
from pinntk.common.arrays import Array
from pinntk.launch.cli import compose
from pinntk.network import Network, NetworkSettings
from pinntk.pdes import declaration
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.references import Reference
from pinntk.pdes.zoo import evolving
from pinntk.pdes.zoo.allen_cahn import AllenCahn
from pinntk.pdes.zoo.evolving import EvolvingPDE, Resolution
from pinntk.pdes.zoo.fourier import Semilinear, Series, solve
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


# --- the march -------------------------------------------------------------------------------------------------------

SPEC: dict[str, tuple[float, int, int]] = {
    "allen_cahn": (0.2, 256, 100),
    "kdv": (0.3, 128, 2000),
    "kuramoto_sivashinsky": (0.08, 192, 2000),
    "schroedinger": (0.3, 64, 1000),
    "gray_scott": (5.0, 64, 40),
}
"""Of a march at low resolution: its end, cells and steps."""


def rates(name: str, n: int) -> Callable[[Array], Array]:
    """The equations written out, on fields (fields, *points) with n points along each axis."""
    width = {"kuramoto_sivashinsky": 2 * PI, "schroedinger": 10.0}.get(name, 2.0)
    k = 2 * PI / width * np.fft.fftfreq(n, 1 / n)

    def d(u: Array, order: int, axis: int = 0) -> Array:
        shaped = k.reshape([-1 if a == axis else 1 for a in range(u.ndim)])
        return np.asarray(np.fft.ifft((1j * shaped) ** order * np.fft.fft(u, axis=axis), axis=axis).real)

    def rate(f: Array) -> Array:
        u, v = f[0], f[-1]
        match name:
            case "allen_cahn":
                return np.stack([1e-4 * d(u, 2) - 5 * u**3 + 5 * u])
            case "kdv":
                return np.stack([-u * d(u, 1) - 0.022**2 * d(u, 3)])
            case "kuramoto_sivashinsky":
                return np.stack([-100 / 16 * u * d(u, 1) - 100 / 256 * d(u, 2) - 100 / 16**4 * d(u, 4)])
            case "schroedinger":
                size = u**2 + v**2
                return np.stack([-d(v, 2) / 2 - size * v, d(u, 2) / 2 + size * u])
            case _:
                first, second = (d(w, 2) + d(w, 2, 1) for w in (u, v))
                return np.stack([1e-5 * first + 0.04 * (1 - u) - u * v**2, 5e-6 * second - 0.1 * v + u * v**2])

    return rate


def smooth(pde: EvolvingPDE) -> Semilinear:
    """The equation with initial values that few modes resolve, where the problem's own have a kink or are narrow."""
    own = pde.evolution()
    if pde.name == "allen_cahn":
        return replace(own, initial=lambda x: (0.3 + np.cos(PI * x) / 2)[None])
    if pde.name == "schroedinger":
        return replace(own, initial=lambda x: (1 + np.exp(2j * PI * x / 10) / 2)[None])
    if pde.name == "gray_scott":
        return replace(
            own,
            initial=lambda x, y: np.stack([0.6 + 0.2 * np.sin(PI * (x + y)), 0.4 + 0.2 * np.cos(PI * x) + 0 * y]),
        )
    return own


def real_fields(values: Array, real: bool) -> Array:
    return values if real else np.concatenate([values.real, values.imag])


@named
@pytest.mark.parametrize("scheme", ["etdrk4", "lawson4"])
def test_the_march_against_the_written_equation_and_another_method(name: str, scheme: Any) -> None:
    pde = PROBLEMS[name]()
    end, n, steps = SPEC[name]
    equation = smooth(pde)
    series = solve(equation, cells=n, steps=steps, outputs=1, end=end, scheme=scheme)
    box = zip(equation.lower, equation.upper, strict=True)
    axes = [np.linspace(low, high, n, endpoint=False) for low, high in box]
    first, last = (real_fields(values, equation.real) for values in series.on_grid(*axes))
    rate = rates(name, n)
    lines = solve_ivp(
        lambda t, y: rate(y.reshape(first.shape)).ravel(), (0, end), first.ravel(), "DOP853", rtol=1e-11, atol=1e-11
    ).y[:, -1]
    assert float(np.abs(last - first).max()) > 0.05
    np.testing.assert_allclose(last.ravel(), lines, atol=2e-7)


def test_a_soliton_of_kdv_travels() -> None:
    equation = KdV().evolution()
    exact = soliton(0.022, 0.5)

    def at(t: float, x: Array) -> Array:
        return exact(torch.from_numpy(np.stack([x, np.full_like(x, t)], axis=1))).numpy()

    series = solve(replace(equation, initial=lambda x: at(0.0, x)[None]), cells=256, steps=4000, outputs=1, end=0.6)
    x = np.linspace(-0.6, 0.9, 301)  # its image is elsewhere
    np.testing.assert_allclose(series.on_grid(x)[-1, 0], at(0.6, x), atol=1e-7)


def test_a_soliton_of_second_order_returns() -> None:
    """On a box that is so wide that there is no kink."""
    equation = replace(
        Schroedinger().evolution(), lower=(-20.0,), upper=(20.0,), initial=lambda x: (2 / np.cosh(x) + 0j)[None]
    )
    series = solve(equation, cells=768, steps=1000, outputs=4, end=PI / 2, scheme="lawson4", tail=1024)
    x = np.linspace(-6, 6, 121)
    h = series.on_grid(x)[:, 0]
    points = np.stack(np.meshgrid(series.times, x, indexing="ij")[::-1], axis=-1).reshape(-1, 2)
    exact = pulse(torch.from_numpy(points)).numpy()
    np.testing.assert_allclose(h.ravel(), exact[:, 0] + 1j * exact[:, 1], atol=1e-7)
    assert abs(h[2, 60]) == pytest.approx(4.0, abs=1e-7)  # x = 0, t = pi/4
    np.testing.assert_allclose(np.abs(h[4]), 2 / np.cosh(x), atol=1e-7)


def test_what_kdv_conserves() -> None:
    series = solve(KdV().evolution(), cells=384, steps=100, outputs=40, end=1.0, dealias=True)
    x = np.linspace(-1, 1, 2048, endpoint=False)
    u, u_x = series.on_grid(x)[:, 0], series.on_grid(x, orders=(1,))[:, 0]
    for invariant, start in ((u, 0.0), (u**2, 0.5), (u**3 / 3 - 0.022**2 * u_x**2, -(0.022**2) * PI**2 / 2)):
        np.testing.assert_allclose(invariant.mean(axis=1), start, atol=1e-6)


def test_what_the_schroedinger_equation_conserves() -> None:
    series = solve(Schroedinger().evolution(), cells=512, steps=40, outputs=20, end=PI / 2, scheme="lawson4")
    x = np.linspace(-5, 5, 2048, endpoint=False)
    h, h_x = series.on_grid(x)[:, 0], series.on_grid(x, orders=(1,))[:, 0]
    mass, energy = (np.abs(h) ** 2).mean(axis=1), (np.abs(h_x) ** 2 - np.abs(h) ** 4).mean(axis=1)
    np.testing.assert_allclose(mass, 0.8 * math.tanh(5), rtol=1e-6)
    np.testing.assert_allclose(energy, energy[0], atol=2e-5)


def test_beyond_the_grid_modes_turn_in_the_mean_potential() -> None:
    """What is added is far nearer to a finer grid than zero is."""
    equation = Schroedinger().evolution()
    x = np.linspace(-5, 5, 257)
    options: dict[str, Any] = {"outputs": 4, "end": 0.2, "scheme": "lawson4"}
    fine = solve(equation, cells=2048, steps=800, **options).on_grid(x)[1:]
    with_tail = solve(equation, cells=256, steps=400, tail=2048, **options).on_grid(x)[1:]
    without = solve(equation, cells=256, steps=400, **options).on_grid(x)[1:]
    assert np.abs(with_tail - fine).max() < np.abs(without - fine).max() / 5


def test_dealiased_modes_are_zero_and_a_step_too_long_is_refused() -> None:
    series = solve(KdV().evolution(), cells=96, steps=20, outputs=2, end=0.1, dealias=True)
    modes = np.abs(series.coefficients[-1, 0])
    assert (modes[:32] > 0).all()
    assert not modes[32:].any()
    with pytest.raises(FloatingPointError, match="not finite at t = "):
        solve(replace(KdV().evolution(), nonlinear=lambda u: 1e3 * u**3), cells=64, steps=5, outputs=20, end=1.0)


# --- the residuals of the references ---------------------------------------------------------------------------------

RESOLVED: dict[str, tuple[dict[str, Any], float]] = {
    "allen_cahn": ({"cells": 512, "steps": 2, "outputs": 400, "end": 0.4}, 2e-5),
    "kdv": ({"cells": 512, "steps": 4, "outputs": 1500, "end": 0.5, "dealias": True}, 2e-4),
    "kuramoto_sivashinsky": ({"cells": 256, "steps": 8, "outputs": 600, "end": 0.6, "dealias": True}, 1e-3),
    "gray_scott": ({"cells": 192, "steps": 2, "outputs": 40, "end": 4.0}, 2e-4),
}
"""Of a march with many outputs its resolution, and how far residuals by differences in time may be from 0."""


@pytest.mark.parametrize("name", RESOLVED)
def test_the_residuals_vanish_on_what_is_computed(name: str) -> None:
    pde = PROBLEMS[name]()
    options, tolerance = RESOLVED[name]
    series = solve(pde.evolution(), **options)
    late = replace_coefficients(series, series.coefficients[-5:])
    axes = [np.linspace(low, high, 33)[1:-1] for low, high in zip(pde.lower[:-1], pde.upper[:-1], strict=True)]
    step = options["end"] / options["outputs"]

    def derivative(name: str) -> Tensor:
        field, _, letters = name.partition("_")
        values = late.on_grid(*axes, orders=[letters.count(c) for c in pde.coordinates[:-1]])
        values = values[:, pde.fields.index(field)].reshape(5, -1)
        if "t" in letters:
            return torch.from_numpy((8 * (values[3] - values[1]) - (values[4] - values[0])) / (12 * step))
        return torch.from_numpy(values[2])

    def residual(problem: EvolvingPDE) -> tuple[float, float]:
        found, size = 0.0, 0.0
        for term in problem.terms():
            if term.where == "interior":
                values = {name: derivative(name) for name in term.derivatives}
                found = max(found, float(term.of_derivatives(values).abs().max()))
                size = max(size, float(next(v for k, v in values.items() if k.endswith("_t")).abs().max()))
        return found, size

    found, size = residual(pde)
    assert found < tolerance * size
    for key, value in pde.parameters().items():
        wrong, _ = residual(type(pde)(**{**pde.parameters(), key: 1.1 * value}))
        assert wrong > 3 * found, key


def replace_coefficients(series: Series, coefficients: Array) -> Series:
    return Series(series.lower, series.times[-len(coefficients) :], series.wavenumbers, coefficients, series.real)


# --- the references --------------------------------------------------------------------------------------------------

STATED = {
    "allen_cahn": 1e-8,
    "kdv": 1e-9,
    "kuramoto_sivashinsky": 1e-6,
    "schroedinger": 5e-8,
    "gray_scott": 5e-5,
}
OTHERWISE = {
    "allen_cahn": Resolution(cells=12288, steps=8, dealias=True),
    "kdv": Resolution(cells=400, steps=240),
    "kuramoto_sivashinsky": Resolution(cells=432, steps=250, dealias=True),
    "schroedinger": Resolution(cells=6144, steps=120, scheme="lawson4", tail=49152),
    "gray_scott": Resolution(cells=384, steps=25, dealias=True),
}
"""Other resolutions."""


@pytest.mark.slow
@named
def test_the_references_are_as_accurate_as_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    pde = PROBLEMS[name]()
    reference = declaration.reference_of(pde)
    assert reference is not None
    assert reference.accuracy < STATED[name]
    values = reference.values.reshape(-1, len(pde.fields))
    other = pde.computed(OTHERWISE[name])
    assert np.linalg.norm(values - other) <= 1.5 * reference.accuracy * np.linalg.norm(values)
    *space, t = pde.evaluation_axes()
    grid = values.reshape(*pde.evaluation_shape, len(pde.fields))
    start = INITIAL[name](*np.meshgrid(*space, indexing="ij"))
    np.testing.assert_allclose(np.moveaxis(grid[..., 0, :], -1, 0), start, atol=1e-14)
    np.testing.assert_allclose(grid[0, ..., 1:, :], grid[-1, ..., 1:, :], atol=1e-12)  # the period
    if name == "gray_scott":  # the sides do not count: nothing has come near them
        assert float(np.abs(grid[0, ..., 1]).max()) < 1e-4
        assert float(np.abs(grid[:, 0, ..., 1]).max()) < 1e-4
    if name == "schroedinger":  # nearly the soliton of the line, but for what starts at the ends
        x, times = np.meshgrid(*space, t, indexing="ij")
        exact = pulse(torch.from_numpy(np.stack([x.ravel(), times.ravel()], axis=1))).numpy()
        assert 1e-3 < float(np.linalg.norm(values - exact) / np.linalg.norm(exact)) < 3e-2


def test_a_reference_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    monkeypatch.setattr(KdV, "evaluation_shape", (33, 6))
    monkeypatch.setattr(KdV, "upper", (1.0, 0.2))
    monkeypatch.setattr(KdV, "fine", Resolution(128, 40))
    monkeypatch.setattr(KdV, "coarse", Resolution(96, 20))
    first = KdV().reference()
    assert first.values.shape == (33 * 6,)
    np.testing.assert_allclose(first.values.reshape(33, 6)[:, 0], np.cos(PI * np.linspace(-1, 1, 33)), atol=1e-15)
    monkeypatch.setattr(evolving, "solve", None)
    again = KdV().reference()
    np.testing.assert_array_equal(again.values, first.values)
    assert again.accuracy == first.accuracy < 1e-5
    with pytest.raises(TypeError):
        KdV(delta=0.03).reference()


def test_what_is_not_resolved_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    monkeypatch.setattr(KdV, "fine", Resolution(96, 4))
    monkeypatch.setattr(KdV, "coarse", Resolution(64, 4))
    with pytest.raises(ValueError, match=r"^pde\.delta=0\.022: two resolutions of the reference of kdv differ by "):
        KdV().reference()
    monkeypatch.setattr(KdV, "coarse", Resolution(32, 2))
    with pytest.raises(ValueError, match=r"^pde\.delta=0\.022: the reference of kdv is not finite at t = 0\.\d\d$"):
        KdV().reference()


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
    code, whole = ended(config, tmp_path / "whole")
    assert code == 0
    for n in (6, 14):
        code, stopped = ended(config, tmp_path / "stopped", n)
        assert (code, result_of(stopped)["steps"]) == (130, n)
    assert ended(config, tmp_path / "stopped") == (0, stopped)
    assert_same_network(load(whole).method, load(stopped).method)
    one, other = result_of(whole), result_of(stopped)
    assert {k: v for k, v in one.items() if k not in MAY_DIFFER} == {
        k: v for k, v in other.items() if k not in MAY_DIFFER
    }
    assert logged(whole) == logged(stopped)
    solutions = [arrays_of(folder / "solution.npz")["prediction"] for folder in (whole, stopped)]
    np.testing.assert_array_equal(*solutions)
    inside = [term.name for term in PROBLEMS[name]().terms() if term.where == "interior"]
    assert (list(one["terms"]) == inside) == (network == "hard")


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
