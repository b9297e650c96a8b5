"""Derivatives and interpolation on a grid against exact ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from numpy.typing import NDArray
from torch import Tensor

from pinntk.discrete.difference import (
    first_derivative_order4,
    lagrange_stencil,
    lagrange_weights,
    periodic_derivative_order4,
    periodic_derivative_spectral,
    second_derivative_order4,
    second_derivative_spectral,
    sine_interpolation,
    trigonometric_interpolation,
    with_walls,
)

Array = NDArray[np.float64]
Matrix = Callable[[int], Any]


def odd(x: Tensor) -> Tensor:
    """Odd about 0 and 1, with all sines, and symmetric about nothing else."""
    return torch.sin(torch.pi * x) / (1.5 + torch.cos(2 * torch.pi * x) - 0.3 * torch.cos(torch.pi * x))


def periodic(x: Tensor) -> Tensor:
    """With all sines and cosines, and without any symmetry."""
    return torch.exp(torch.sin(2 * torch.pi * x + 0.4)) / (1.4 + torch.cos(2 * torch.pi * x - 1.0))


def derivatives(function: Callable[[Tensor], Tensor], nodes: Array) -> list[Array]:
    """A function and its first two derivatives."""
    x = torch.from_numpy(nodes).requires_grad_()
    found = [function(x)]
    for _ in range(2):
        found += torch.autograd.grad(found[-1].sum(), x, create_graph=True)
    return [values.detach().numpy() for values in found]


def inner(cells: int) -> Array:
    return np.arange(1, cells) / cells


def circle(cells: int) -> Array:
    return np.arange(cells) / cells


# matrix, the function, its nodes, and which derivative
ORDER4: dict[str, tuple[Matrix, Callable[[Tensor], Tensor], Callable[[int], Array], int]] = {
    "odd first": (first_derivative_order4, odd, inner, 1),
    "odd second": (second_derivative_order4, odd, inner, 2),
    "periodic first": (periodic_derivative_order4, periodic, circle, 1),
}
SPECTRAL: dict[str, tuple[Matrix, Callable[[Tensor], Tensor], Callable[[int], Array], int]] = {
    "odd second": (second_derivative_spectral, odd, inner, 2),
    "periodic first": (periodic_derivative_spectral, periodic, circle, 1),
}


def errors(case: Any, cells: tuple[int, ...]) -> Array:
    """Relative, in the maximum norm; all nodes count, those beside the walls as well."""
    matrix, function, nodes, which = case
    found = []
    for n in cells:
        values = derivatives(function, nodes(n))
        found.append(np.abs(matrix(n) @ values[0] - values[which]).max() / np.abs(values[which]).max())
    return np.array(found)


@pytest.mark.parametrize("name", ORDER4)
@pytest.mark.parametrize("more", [0, 1], ids=["even", "odd number"])
def test_stencils_are_of_fourth_order(name: str, more: int) -> None:
    found = errors(ORDER4[name], (64 + more, 128 + more, 256 + more))
    assert np.log2(found[:-1] / found[1:]) == pytest.approx([4, 4], abs=0.15)
    assert found[-1] < 1e-4


@pytest.mark.parametrize("name", SPECTRAL)
@pytest.mark.parametrize("more", [0, 1], ids=["even", "odd number"])
def test_series_converge_faster_than_any_power(name: str, more: int) -> None:
    found = errors(SPECTRAL[name], (16 + more, 32 + more, 64 + more, 128 + more))
    rates = np.log2(found[:-1] / found[1:])
    assert rates[1] > 1.5 * rates[0]
    assert found[-1] < 1e-9


@pytest.mark.parametrize("cells", [6, 12, 13])
def test_stencils_reach_across_the_walls(cells: int) -> None:
    """Whatever the wave, the answer is the stencil's symbol times the exact wave, beside the walls as well."""
    for mode in range(1, cells):
        angle = mode * np.pi / cells
        sine, cosine = np.sin(mode * np.pi * inner(cells)), np.cos(mode * np.pi * inner(cells))
        second = (-2 * np.cos(2 * angle) + 32 * np.cos(angle) - 30) / 12 * cells**2
        np.testing.assert_allclose(second_derivative_order4(cells) @ sine, second * sine, rtol=0, atol=1e-10)
        first = (16 * np.sin(angle) - 2 * np.sin(2 * angle)) / 12 * cells
        np.testing.assert_allclose(first_derivative_order4(cells) @ sine, first * cosine, rtol=0, atol=1e-11)
    assert second_derivative_order4(cells).nnz == 5 * (cells - 1) - 6


@pytest.mark.parametrize("cells", [7, 8])
def test_the_periodic_stencil_is_a_loop_round_the_circle(cells: int) -> None:
    u = np.random.default_rng(0).standard_normal(cells)
    expected = [
        (8 * (u[(i + 1) % cells] - u[i - 1]) - (u[(i + 2) % cells] - u[i - 2])) / 12 * cells for i in range(cells)
    ]
    np.testing.assert_allclose(periodic_derivative_order4(cells) @ u, expected, rtol=0, atol=1e-12)
    assert periodic_derivative_order4(cells).nnz == 4 * cells


def test_the_sine_series_is_exact_for_its_modes() -> None:
    cells = 16
    modes = np.pi * np.arange(1, cells)
    sines = np.sin(np.outer(inner(cells), modes))
    np.testing.assert_allclose(second_derivative_spectral(cells) @ sines, -sines * modes**2, rtol=0, atol=1e-9)


@pytest.mark.parametrize("cells", [15, 16])
def test_the_periodic_series_is_exact_for_its_modes(cells: int) -> None:
    u = np.random.default_rng(0).standard_normal(cells)
    frequencies = 2 * np.pi * np.fft.rfftfreq(cells, 1 / cells)
    if cells % 2 == 0:
        frequencies[-1] = 0  # cos(pi cells x) is at its crests in the nodes
    expected = np.fft.irfft(1j * frequencies * np.fft.rfft(u), cells)
    np.testing.assert_allclose(periodic_derivative_spectral(cells) @ u, expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("make", [first_derivative_order4, second_derivative_spectral])
def test_walls_neither_act_nor_are_acted_on(make: Matrix) -> None:
    matrix = make(8)
    whole = with_walls(matrix)
    assert isinstance(whole, scipy.sparse.csr_array)
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    np.testing.assert_array_equal(whole.toarray(), np.pad(dense, 1))


# rows of weights, the function, all nodes whose values they take
INTERPOLATIONS: dict[str, tuple[Callable[[int, Array], Array], Callable[[Tensor], Tensor], Callable[[int], Array]]] = {
    "sine": (sine_interpolation, odd, lambda cells: np.arange(cells + 1) / cells),
    "trigonometric": (trigonometric_interpolation, periodic, circle),
}


@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("more", [0, 1], ids=["even", "odd number"])
def test_series_interpolate(name: str, more: int) -> None:
    rows, function, grid = INTERPOLATIONS[name]
    x = np.append(np.random.default_rng(0).random(50), [0.0, 1.0])
    exact = derivatives(function, x)[0]
    found = []
    for cells in (16 + more, 32 + more, 64 + more, 128 + more):
        nodes = grid(cells)
        u = derivatives(function, nodes)[0]
        found.append(np.abs(rows(cells, x) @ u - exact).max())
        np.testing.assert_allclose(rows(cells, nodes) @ u, u, rtol=0, atol=1e-12)
    rates = np.log2(np.divide(found[:-1], found[1:]))
    assert rates[1] > 1.5 * rates[0]
    assert found[-1] < 1e-11


@pytest.mark.parametrize("cells", [7, 8])
def test_interpolation_is_exact_for_the_functions_of_the_series(cells: int) -> None:
    x = np.linspace(0, 1, 23)
    for mode in range(1, cells):
        u = np.sin(mode * np.pi * np.arange(cells + 1) / cells)
        np.testing.assert_allclose(sine_interpolation(cells, x) @ u, np.sin(mode * np.pi * x), rtol=0, atol=1e-12)
    for mode in range(cells // 2 + 1):
        waves = (np.cos,) if mode == 0 or 2 * mode == cells else (np.cos, np.sin)
        for wave in waves:
            u, exact = wave(2 * np.pi * mode * circle(cells)), wave(2 * np.pi * mode * x)
            np.testing.assert_allclose(trigonometric_interpolation(cells, x) @ u, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_weights_are_those_of_the_polynomial_through_the_nodes(count: int) -> None:
    position = np.array([0.0, 0.3, 2.0, 4.9])
    polynomial = np.polynomial.Polynomial(np.random.default_rng(0).standard_normal(count))
    weights = lagrange_weights(position, count)
    assert weights.shape == (4, count)
    np.testing.assert_allclose(weights @ polynomial(np.arange(count)), polynomial(position), rtol=1e-11)


def stencil_values(u: Array, position: Array, count: int) -> Array:
    first, weights = lagrange_stencil(position, len(u), count)
    return np.array([u[i : i + len(row)] @ row for i, row in zip(first, weights, strict=True)])


@pytest.mark.parametrize("count", [4, 6])
def test_stencils_interpolate_with_their_order(count: int) -> None:
    x = np.linspace(0, 1, 5001)  # dense: the largest errors are in the last cells
    found = []
    for cells in (16, 32, 64):
        u = np.exp(2 * np.arange(cells + 1) / cells)
        found.append(np.abs(stencil_values(u, x * cells, count) - np.exp(2 * x)).max())
        np.testing.assert_allclose(stencil_values(u, np.arange(cells + 1.0), count), u, rtol=1e-14)
    assert np.log2(np.divide(found[:-1], found[1:])) == pytest.approx([count, count], abs=0.4)


def test_a_stencil_lies_around_its_position_and_inside_the_grid() -> None:
    first, weights = lagrange_stencil(np.array([0.0, 0.5, 2.5, 5.5, 9.0, 10.0]), 11, 6)
    np.testing.assert_array_equal(first, [0, 0, 0, 3, 5, 5])  # 5.5: nodes 3, 4, 5 | 6, 7, 8
    assert weights.shape == (6, 6)
    first, weights = lagrange_stencil(np.array([0.0, 1.9]), 3, 6)
    np.testing.assert_array_equal(first, [0, 0])
    assert weights.shape == (2, 3)
