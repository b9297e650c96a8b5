"""The lid-driven cavity: its terms by hand, and its reference against a finer one and a finite-volume solution."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from conftest import Cli, arrays_of, result_of
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve
from test_hard import hard_network
from test_zoo_closed import FEW, assert_resumed_bit_for_bit, derivative, residuals
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.pdes.declaration import check
from pinntk.pdes.references import Reference
from pinntk.pdes.zoo import cavity_reference
from pinntk.pdes.zoo.cavity import Cavity
from pinntk.residual.named import all_placed
from pinntk.residual.points import draw_region
from pinntk.residual.residuals import Residuals


def u(x: Tensor) -> Tensor:
    return torch.sin(x[:, 0] + 2 * x[:, 1]) + 0.2


def v(x: Tensor) -> Tensor:
    return x[:, 0] ** 2 * x[:, 1] + 0.3


def p(x: Tensor) -> Tensor:
    return torch.exp(x[:, 0] - x[:, 1]) + 1


def test_residuals_are_those_by_hand() -> None:
    check(pde := Cavity(Re=30.0))
    found = residuals(pde, [u, v, p])

    def momentum(f: Any, c: int, x: Tensor) -> Tensor:
        diffusion = (derivative(f, x, [0, 0]) + derivative(f, x, [1, 1])) / 30
        return u(x) * derivative(f, x, [0]) + v(x) * derivative(f, x, [1]) + derivative(p, x, [c]) - diffusion

    expected: dict[str, Any] = {
        "momentum_x": lambda x: momentum(u, 0, x),
        "momentum_y": lambda x: momentum(v, 1, x),
        "continuity": lambda x: derivative(u, x, [0]) + derivative(v, x, [1]),
        "lid_u": lambda x: u(x) - 4 * x[:, 0] + 4 * x[:, 0] ** 2,
        "left_u": u,
        "right_u": u,
        "floor_u": u,
        "walls_v": v,
        "corner_p": p,
    }
    assert found.keys() == expected.keys()
    for name, (x, r) in found.items():
        assert torch.allclose(r, expected[name](x), rtol=1e-12, atol=1e-12), name
    for name, (c, value) in {"lid_u": (1, 1.0), "left_u": (0, 0.0), "right_u": (0, 1.0), "floor_u": (1, 0.0)}.items():
        assert set(found[name][0][:, c].tolist()) == {value}
    assert found["corner_p"][0][0].tolist() == [0.0, 0.0]


def test_hard_conditions_hold() -> None:
    pde = Cavity()
    network = hard_network(pde)
    every = Residuals(pde, network, pde.terms())
    regions = all_placed([term.region for term in pde.terms()], pde.domain)
    drawn = {name: torch.from_numpy(draw_region(r, 40, "uniform", seed=5, draw=0)) for name, r in regions.items()}
    left = ("momentum_x", "momentum_y", "continuity", "corner_p")
    for name, r in every(every.prepare(drawn)).items():
        size = float(r.detach().abs().max())
        assert size > 1e-2 if name in left else size < 1e-14, name
    assert Residuals(pde, network).names == left


def middles(n: int) -> Array:
    return np.asarray((np.arange(n) + 0.5) / n)


def distance(one: Array, other: Array) -> NDArray[Any]:
    """Relative L2 of u, v and p on a grid, (n, n, 3)."""
    return np.asarray(np.linalg.norm(one - other, axis=(0, 1)) / np.linalg.norm(other, axis=(0, 1)))


def test_the_corner_flow_solves_the_stokes_equations() -> None:
    """By nested autograd, with the angle by its own formula; and its velocity is that of a lid near each corner."""

    def flow(k: int) -> Any:
        def of(x: Tensor) -> Tensor:
            found = torch.zeros_like(x[:, 0])
            for d, sign in ((x[:, 0], 1), (1 - x[:, 0], -1)):
                b, angle = 1 - x[:, 1], math.pi / 2 - torch.atan(d / (1 - x[:, 1]))
                parts = (
                    4 * d + (4 * angle - 2 * math.pi) * b,
                    sign * 4 * angle * d,
                    sign * 8 * (d * d + b * b).sqrt().log(),
                )
                found = found + parts[k]
            return found

        return of

    x = torch.from_numpy(np.random.default_rng(0).uniform(0.05, 0.95, (50, 2)))
    for c in (0, 1):
        diffusion = derivative(flow(c), x, [0, 0]) + derivative(flow(c), x, [1, 1])
        assert torch.allclose(diffusion, derivative(flow(2), x, [c]), rtol=1e-11, atol=1e-10)
    assert float((derivative(flow(0), x, [0]) + derivative(flow(1), x, [1])).abs().max()) < 1e-12
    found = cavity_reference.corner_flow(*x.numpy().T)
    for k in range(3):
        np.testing.assert_allclose(found[k], flow(k)(x).numpy(), rtol=1e-12, atol=1e-12)
    gradients = [derivative(flow(f), x, [c]).numpy() for f in (0, 1) for c in (0, 1)]
    np.testing.assert_allclose(cavity_reference.corner_gradients(*x.numpy().T), gradients, rtol=1e-11, atol=1e-11)


def finite_volumes(n: int, Re: float) -> Array:
    """Newton's method on a staggered grid of n x n cells, second order: u, v, p at their middles, (n, n, 3)."""
    h, one, inner = 1 / n, scipy.sparse.eye_array(n), scipy.sparse.eye_array(n - 1)
    step: Any = scipy.sparse.diags_array([-1.0, 1.0], offsets=[0, 1], shape=(n - 1, n)) / h  # middles to faces
    mean: Any = scipy.sparse.diags_array([0.5, 0.5], offsets=[0, 1], shape=(n - 1, n))

    def central(size: int, mirrored: bool) -> tuple[Any, Any]:
        """First and second differences; beyond the ends minus the last value where they are no nodes."""
        ends = np.zeros(size)
        ends[[0, -1]] = -1.0 if mirrored else 0.0
        first = scipy.sparse.diags_array([-1.0, 1.0], offsets=[-1, 1], shape=(size, size))
        first = first + scipy.sparse.diags_array(ends * np.sign(np.arange(size) - size / 2 + 0.25))
        second = scipy.sparse.diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(size, size))
        return first / (2 * h), (second + scipy.sparse.diags_array(ends)) / h**2

    (d_faces, dd_faces), (d_middles, dd_middles) = central(n - 1, False), central(n, True)
    kron: Any = scipy.sparse.kron
    ux, uy, lu = kron(d_faces, one), kron(inner, d_middles), kron(dd_faces, one) + kron(inner, dd_middles)
    vx, vy, lv = kron(d_middles, inner), kron(one, d_faces), kron(dd_middles, inner) + kron(one, dd_faces)
    to_u, to_v = kron(mean, mean.T), kron(mean.T, mean)
    px, py = kron(step, one), kron(one, step)
    faces = np.arange(1, n) * h
    top = np.zeros((n - 1, n))
    top[:, -1] = 2 * 4 * faces * (1 - faces)  # the value beyond the lid is this minus the last
    by, bl = top.ravel() / (2 * h), top.ravel() / h**2
    size = n * (n - 1)
    u, v, p = np.zeros(size), np.zeros(size), np.zeros(n * n)
    pinned = scipy.sparse.coo_array(([1.0], ([0], [0])), shape=(n * n, n * n))
    for _ in range(15):
        at_u, at_v, slope_u, slope_v = to_u @ v, to_v @ u, uy @ u + by, vx @ v
        residual = [
            u * (ux @ u) + at_u * slope_u + px @ p - (lu @ u + bl) / Re,
            at_v * slope_v + v * (vy @ v) + py @ p - lv @ v / Re,
            -(px.T @ u) - py.T @ v,
        ]
        d = scipy.sparse.diags_array
        jacobian = scipy.sparse.block_array(
            [
                [d(u) @ ux + d(ux @ u) + d(at_u) @ uy - lu / Re, d(slope_u) @ to_u, px],
                [d(slope_v) @ to_v, d(at_v) @ vx + d(v) @ vy + d(vy @ v) - lv / Re, py],
                [-px.T, -py.T, pinned],
            ],
            format="csc",
        )
        residual[2][0] += p[0]
        change = spsolve(jacobian, -np.concatenate(residual))
        u, v, p = u + change[:size], v + change[size : 2 * size], p + change[2 * size :]
        if np.abs(change).max() < 1e-11:
            break
    else:
        raise AssertionError("no convergence")
    centred = [kron(mean.T, one) @ u, kron(one, mean.T) @ v, p]
    return np.stack([field.reshape(n, n) for field in centred], axis=-1)


def test_finite_volumes_come_near_the_spectral_solution() -> None:
    """Without any knowledge of the corners they differ by O(h^2) in u and v, and in p away from the upper corners."""
    spectral = cavity_reference.solve(100.0, 24)
    errors = []
    for n in (24, 48):  # h^2 falls to a quarter
        exact, found = spectral.at(middles(n), middles(n)), finite_volumes(n, 100.0)
        away = np.ones((n, n, 1))
        away[: n // 4, 3 * n // 4 :] = away[3 * n // 4 :, 3 * n // 4 :] = 0
        shift = ((exact - found)[..., 2:] * away).sum() / away.sum()
        found[..., 2] += shift
        errors.append(distance(found * away, exact * away))
    assert (errors[1] < 0.02).all()
    np.testing.assert_allclose(errors[0] / errors[1], 4.0, rtol=0.06)


def test_degrees_converge() -> None:
    x = middles(33)
    finest = cavity_reference.solve(100.0, 24).at(x, x)
    errors = [distance(cavity_reference.solve(100.0, degree).at(x, x), finest) for degree in (12, 18)]
    assert (errors[1] < [1e-4, 1e-4, 1e-3]).all()
    assert (errors[0] > 8 * errors[1]).all()


def test_the_flow_on_the_walls() -> None:
    x = np.linspace(0, 1, 21)
    inside = x[1:-1]
    flow = cavity_reference.solve(100.0, 20)
    np.testing.assert_allclose(flow.at(inside, np.ones(1))[:, 0, 0], 4 * inside * (1 - inside), atol=1e-13)
    for sides in (flow.at(inside, np.zeros(1)), flow.at(np.array([0.0, 1.0]), inside)):
        assert np.abs(sides[..., :2]).max() < 1e-13
    assert np.abs(flow.at(inside, np.ones(1))[..., 1]).max() < 1e-13
    assert flow.at(np.zeros(1), np.zeros(1))[0, 0, 2] == pytest.approx(0.0, abs=1e-13)


def test_a_slow_flow_is_symmetric_and_a_fast_one_is_not() -> None:
    """Stokes' flow goes back as it comes: u is even about x = 1/2, v and p are odd up to a constant."""
    x = middles(16)
    for Re, size in ((1e-3, 1e-3), (100.0, None)):
        u, v, p = np.moveaxis(cavity_reference.solve(Re, 16).at(x, x), -1, 0)
        p = Re * (p - p.mean())
        uneven = max(np.abs(u - u[::-1]).max(), np.abs(v + v[::-1]).max(), np.abs(p + p[::-1]).max())
        assert uneven < size if size else uneven > 0.2


def few_degrees(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(folder))
    monkeypatch.setattr(cavity_reference, "DEGREE", 18)
    monkeypatch.setattr(cavity_reference, "CHECK_DEGREE", 16)
    monkeypatch.setattr(cavity_reference, "TOLERANCE", 1e-2)


def test_the_reference_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_degrees(monkeypatch, tmp_path / "cache")
    pde = Cavity(Re=50.0)
    known = pde.reference()
    assert isinstance(known, Reference)
    assert known.values.shape == (64 * 64, 3)
    assert 1e-6 < known.accuracy < 1e-3
    x, y = pde.evaluation_points()[64 * 5 + 9]
    at = cavity_reference.solve(50.0, 18).at(np.array([x]), np.array([y]))
    np.testing.assert_allclose(known.values[64 * 5 + 9], at[0, 0], rtol=1e-12)

    def never(*arguments: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr(cavity_reference, "solve", never)
    again = Cavity(Re=50.0).reference()
    assert np.array_equal(again.values, known.values)
    assert again.accuracy == known.accuracy
    with pytest.raises(AssertionError, match="computed again"):
        Cavity(Re=51.0).reference()


def test_a_reference_that_is_not_accurate_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_degrees(monkeypatch, tmp_path)
    monkeypatch.setattr(cavity_reference, "TOLERANCE", 1e-7)
    with pytest.raises(ValueError, match=r"pde.Re=100: two resolutions .* differ by .* at most 1e-07 is allowed"):
        Cavity().reference()


@pytest.mark.slow
def test_the_default_reference_is_as_accurate_as_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PINNTK_CACHE", str(tmp_path))
    known = Cavity().reference()
    assert known.accuracy < 1e-5
    finer = cavity_reference.solve(100.0, 44).at(middles(64), middles(64))
    errors = distance(known.values.reshape(64, 64, 3), finer)
    assert (errors < known.accuracy * np.array([0.1, 0.1, 1.0])).all()


def test_training_is_resumed_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_resumed_bit_for_bit(Cavity(), tmp_path, monkeypatch)


def test_a_run_is_compared_with_the_reference(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_degrees(monkeypatch, tmp_path / "cache")
    ended = cli(*FEW, "pde=cavity")
    assert ended.code == 0, ended.err
    folder = cli.run_folder()
    result = result_of(folder)
    assert result["pde_parameters"] == {"Re": 100.0}
    saved = arrays_of(folder / "solution.npz")
    for k, name in enumerate("uvp"):
        error = np.linalg.norm((saved["prediction"] - saved["reference"])[:, k])
        assert result["l2re_by_field"][name] == pytest.approx(error / np.linalg.norm(saved["reference"][:, k]))
