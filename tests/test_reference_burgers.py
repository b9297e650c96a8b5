"""The reference solution of Burgers' equation against independent methods, and what it refuses."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pinntk.pdes import references
from pinntk.pdes.references import burgers


def hopf(x: float, t: float, nu: float) -> float:
    """Hopf's formula in its other form, the mean of (x - y) / t, by brute force in extended precision."""
    reach = math.sqrt(4 * t / math.pi + 200 * nu * t)
    y = np.linspace(x - reach, x + reach, 100_001, dtype=np.longdouble)
    pi = 4 * np.arctan(np.longdouble(1))
    exponent = -((np.cos(pi * y) - 1) / pi + (x - y) ** 2 / (2 * t)) / (2 * nu)
    weight = np.exp(exponent - exponent.max())
    return float(((x - y) / t * weight).sum() / weight.sum())


@pytest.mark.parametrize("nu", [0.01 / math.pi, 0.001 / math.pi, math.pi / 100, 1.0])
def test_burgers_against_brute_force(nu: float) -> None:
    x = np.array([-0.97, -0.4, -0.003, 1e-4, 0.01, 0.25, 0.5, 0.81, 0.999])
    t = np.array([1.0, 0.3, 0.6, 0.5, 0.9, 0.01, 0.32, 1.0, 0.75])
    reference = burgers(x, t, nu)
    assert reference.values.dtype == np.float64
    assert reference.accuracy <= 1e-11
    np.testing.assert_allclose(reference.values, [hopf(*point, nu) for point in zip(x, t, strict=True)], atol=1e-11)


def test_burgers_against_fourier_method_of_lines() -> None:
    nu, n = 0.1 / math.pi, 256
    x = -1 + 2 * np.arange(n) / n
    wavenumber = np.pi * np.arange(n // 2 + 1)

    def right_side(_: float, u: np.ndarray) -> np.ndarray:
        flux, values = np.fft.rfft(u**2 / 2), np.fft.rfft(u)
        rate = np.fft.irfft(-1j * wavenumber * flux - nu * wavenumber**2 * values, n)
        # Odd, as the solution is: rounding errors that are not would move the front, by 1e-10 on some processors.
        return (rate - rate[-np.arange(n)]) / 2

    times = np.array([0.1, 0.5, 1.0])
    lines = solve_ivp(right_side, (0, 1), -np.sin(np.pi * x), "DOP853", times, rtol=1e-12, atol=1e-12).y
    values = burgers(np.repeat(x, 3), np.tile(times, n), nu).values.reshape(n, 3)
    np.testing.assert_allclose(values, lines, atol=1e-10)


def test_burgers_satisfies_the_equation() -> None:
    nu, h = 0.05, 1e-3
    x, t = (a.ravel() for a in np.meshgrid(np.linspace(-0.9, 0.9, 37), [0.2, 0.5, 0.9]))

    def u(dx: float, dt: float) -> np.ndarray:
        return burgers(x + dx * h, t + dt * h, nu).values

    u_t = (8 * (u(0, 1) - u(0, -1)) - (u(0, 2) - u(0, -2))) / (12 * h)
    u_x = (8 * (u(1, 0) - u(-1, 0)) - (u(2, 0) - u(-2, 0))) / (12 * h)
    u_xx = (16 * (u(1, 0) + u(-1, 0)) - (u(2, 0) + u(-2, 0)) - 30 * u(0, 0)) / (12 * h**2)
    assert np.abs(u_xx).max() > 10
    np.testing.assert_allclose(u_t + u(0, 0) * u_x - nu * u_xx, 0, atol=2e-6)


def test_burgers_conditions_and_symmetry() -> None:
    x, t = (a.ravel() for a in np.meshgrid(np.linspace(-1, 1, 257), np.linspace(0, 1, 101), indexing="ij"))
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        reference = burgers(x, t)
    u = reference.values.reshape(257, 101)
    assert reference.accuracy <= 1e-11
    np.testing.assert_array_equal(u[:, 0], -np.sin(np.pi * x.reshape(257, 101)[:, 0]))
    np.testing.assert_allclose(u[[0, -1]], 0, atol=1e-14)
    np.testing.assert_allclose(u, -u[::-1], atol=1e-12)
    assert (u[:128] > -1e-12).all()
    assert np.abs(u).max() <= 1
    np.testing.assert_array_equal(burgers(x, t).values, burgers(x, t, 0.01 / math.pi).values)


def test_burgers_blocks_of_points_do_not_matter() -> None:
    x, t = np.linspace(-1, 1, 30_001), np.linspace(1, 0, 30_001)
    every = burgers(x, t).values[::1000]
    np.testing.assert_allclose(every, burgers(x[::1000], t[::1000]).values, rtol=0, atol=1e-14)
    assert burgers([], []).values.shape == (0,)


@pytest.mark.parametrize("nu", [0.0, -1.0, math.nan, math.inf, 1e-8])
def test_burgers_refuses_viscosity(nu: float) -> None:
    with pytest.raises(ValueError, match=rf"^pde\.nu={nu:g}: .+$"):
        burgers([0.3], [0.5], nu)


def test_burgers_refuses_when_rules_disagree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "BURGERS_AGREEMENT", 0.0)
    with pytest.raises(ValueError, match=r"^pde\.nu=0\.00318.* agrees to \d\.\de-1\d .*$"):
        burgers([0.3, 0.4], [0.5, 0.7])


@pytest.mark.parametrize(("x", "t"), [([0.1], [0.1, 0.2]), ([[0.1]], [[0.1]]), ([0.1], [-0.1]), ([math.nan], [0.1])])
def test_burgers_refuses_points(x: list[float], t: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^burgers: x"):
        burgers(x, t)
