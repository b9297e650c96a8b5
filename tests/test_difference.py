"""Second derivatives against exact ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pinntk.difference import second_derivative_order4, second_derivative_spectral

Array = NDArray[np.float64]


def odd_function(cells: int) -> tuple[Array, Array]:
    """A function that is odd about 0 and 1 and has all Fourier modes, and its second derivative, at the inner nodes."""
    x = torch.linspace(0, 1, cells + 1, dtype=torch.float64)[1:-1].requires_grad_()
    u = torch.sin(torch.pi * x) / (1.5 + torch.cos(2 * torch.pi * x) - 0.3 * torch.cos(torch.pi * x))
    (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    return u.detach().numpy(), second.numpy()


def error(matrix: Callable[[int], Array], cells: int) -> float:
    u, second = odd_function(cells)
    return float(np.abs(matrix(cells) @ u - second).max() / np.abs(second).max())


def test_the_stencil_is_of_fourth_order() -> None:
    errors = [error(lambda n: second_derivative_order4(n).toarray(), cells) for cells in (64, 128, 256)]
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([4, 4], abs=0.1)


def test_the_stencil_reaches_across_the_wall() -> None:
    cells, mode = 12, 5
    u = np.sin(mode * np.pi * np.arange(1, cells) / cells)
    angle = mode * np.pi / cells
    symbol = (-2 * np.cos(2 * angle) + 32 * np.cos(angle) - 30) / 12 * cells**2
    np.testing.assert_allclose(second_derivative_order4(cells) @ u, symbol * u, rtol=0, atol=1e-11)
    assert second_derivative_order4(cells).nnz == 5 * (cells - 1) - 6


def test_the_sine_series_is_exact_for_its_modes_and_converges_faster_than_any_power() -> None:
    cells = 16
    sines = np.sin(np.pi * np.outer(np.arange(1, cells), np.arange(1, cells)) / cells)
    exact = -sines * (np.pi * np.arange(1, cells)) ** 2
    np.testing.assert_allclose(second_derivative_spectral(cells) @ sines, exact, rtol=0, atol=1e-9)
    errors = [error(second_derivative_spectral, cells) for cells in (16, 32, 64, 128)]
    rates = np.log2(np.divide(errors[:-1], errors[1:]))
    assert rates[1] > 1.5 * rates[0]
    assert errors[-1] < 1e-9
