"""Conjugate gradients: when they end, and what they return where the matrix is not positive definite."""

import pytest
import torch
from objectives import random, symmetric

from pinntk.optim.cg import conjugate_gradients


@pytest.mark.parametrize("tolerance", [0.5, 1e-3, 1e-10])
def test_cg_ends_at_its_tolerance_and_not_later(tolerance: float) -> None:
    A, b = symmetric([1.0 + 0.5 * i for i in range(20)]), random(20)
    found = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=tolerance, max_iterations=100, curvature=1.0)
    assert found.ended == "tolerance"
    torch.testing.assert_close(found.residual, b - A @ found.x, rtol=0, atol=1e-12)
    assert float((b - A @ found.x).norm()) <= 1.001 * tolerance * float(b.norm())
    capped = conjugate_gradients(
        lambda v: A @ v, b, lambda v: v, tolerance=tolerance, max_iterations=found.iterations - 1, curvature=1.0
    )
    assert capped.ended == "cap"
    assert float(capped.residual.norm()) > tolerance * float(b.norm())


def test_cg_takes_as_many_steps_as_there_are_eigenvalues() -> None:
    A = symmetric([1.0] * 10 + [5.0] * 5 + [100.0] * 3)
    found = conjugate_gradients(
        lambda v: A @ v, random(18), lambda v: v, tolerance=1e-12, max_iterations=100, curvature=1.0
    )
    assert found.iterations == 3


def test_cg_keeps_what_it_found_before_negative_curvature() -> None:
    """One step along b by hand; the second direction meets the eigenvalue -1."""
    A = torch.diag(torch.tensor([4.0, -1.0], dtype=torch.float64))
    b = torch.tensor([1.0, 0.5], dtype=torch.float64)
    found = conjugate_gradients(lambda v: A @ v, b, lambda v: v, tolerance=1e-9, max_iterations=9, curvature=1.0)
    assert (found.ended, found.iterations) == ("negative curvature", 2)
    torch.testing.assert_close(found.x, b * 1.25 / 3.75)
    torch.testing.assert_close(found.residual, b - A @ found.x)


@pytest.mark.parametrize(("curvature", "length"), [(10.0, 0.1), (0.1, 1 / 3.0)])
def test_cg_falls_back_to_preconditioned_descent(curvature: float, length: float) -> None:
    A, b = torch.diag(torch.tensor([-6.0, 0.0], dtype=torch.float64)), torch.tensor([1.0, 0.0], dtype=torch.float64)
    found = conjugate_gradients(
        lambda v: A @ v, b, lambda v: v / 2, tolerance=1e-9, max_iterations=9, curvature=curvature
    )
    assert (found.ended, found.iterations) == ("negative curvature", 1)
    torch.testing.assert_close(found.x, length * b / 2)  # p^T A p / p^T P p = -1.5 / 0.5
    torch.testing.assert_close(found.residual, b - A @ found.x)
