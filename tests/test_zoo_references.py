"""References in Fourier space: the march by other methods, solitons, what is conserved, and the stated accuracies."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from test_zoo_evolution import INITIAL, PROBLEMS, named, pulse, soliton
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.pdes import declaration
from pinntk.pdes.zoo import evolving
from pinntk.pdes.zoo.evolving import EvolvingPDE, Resolution
from pinntk.pdes.zoo.fourier import Semilinear, Series, solve
from pinntk.pdes.zoo.kdv import KdV
from pinntk.pdes.zoo.schroedinger import Schroedinger

PI = math.pi


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
