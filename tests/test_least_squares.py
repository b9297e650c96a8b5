"""Damped least squares by QR against singular values in 60 digits, and against the normal equations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from conditioned import error, exactly, with_condition
from objectives import random
from torch import Tensor

from pinntk.optim import least_squares
from pinntk.optim.least_squares import DampedLeastSquares

EPS = torch.finfo(torch.float64).eps


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (12, 5), (5, 12), (40, 33), (33, 40), (6, 1), (1, 6)])
@pytest.mark.parametrize("damping", [0.0, 1e-320, 1e-9, 0.3, 1e6])
def test_the_solution_of_a_benign_problem(shape: tuple[int, int], damping: float) -> None:
    J, r = with_condition(*shape, condition=30), random(shape[0], seed=5)
    found, expected = DampedLeastSquares(J, r).solve(damping), exactly(J, r, damping)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 * float(expected.abs().max()))


@pytest.mark.parametrize("block", [1, 3, 8, 16, 17])
def test_the_blocks_make_no_difference(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    J, r = with_condition(25, 16, condition=1e3), random(25, seed=5)
    monkeypatch.setattr(least_squares, "BLOCK", block)
    assert error(DampedLeastSquares(J, r).solve(1e-3), exactly(J, r, 1e-3)) < 1e-11


@pytest.mark.parametrize("shape", [(30, 20), (20, 20), (20, 30)])
@pytest.mark.parametrize("damping", [0.0, 1e-19])  # the smallest squared singular value is 1e-20
def test_the_error_grows_with_the_condition_and_not_with_its_square(shape: tuple[int, int], damping: float) -> None:
    """Condition 1e10 and a consistent r: ``eps cond = 2e-6``; of the normal equations nothing is right."""
    condition = 1e10
    J = with_condition(*shape, condition=condition)
    r = J @ random(shape[1], seed=5)
    expected = exactly(J, r, damping)
    assert error(DampedLeastSquares(J, r).solve(damping), expected) < 10 * EPS * condition
    gram = J @ J.T if shape[0] < shape[1] else J.T @ J
    gram.diagonal().add_(damping)
    normal = -J.T @ torch.linalg.solve(gram, r) if shape[0] < shape[1] else -torch.linalg.solve(gram, J.T @ r)
    assert error(normal, expected) > 1e-2


def test_many_dampings_from_one_factorisation(monkeypatch: pytest.MonkeyPatch) -> None:
    J, r = with_condition(300, 150, condition=1e4), random(300, seed=5)
    problem, kept = DampedLeastSquares(J, r), J.clone()
    U, S, Vh = torch.linalg.svd(J, full_matrices=False)
    factored, sizes = torch.geqrf, []

    def geqrf(A: Tensor) -> Any:
        sizes.append(A.shape)
        return factored(A)

    monkeypatch.setattr(torch, "geqrf", geqrf)
    for damping in (1e-4, 1.0, 1e-6, 0.0, 1e-4):
        expected = -Vh.T @ (S / (S.square() + damping) * (U.T @ r))
        torch.testing.assert_close(problem.solve(damping), expected, rtol=1e-9, atol=1e-9)
    assert torch.equal(J, kept)
    assert sizes == 4 * [(256, 128), (172, 22)]  # nothing of 300 rows


def test_without_full_rank_the_damping_decides() -> None:
    J = with_condition(12, 6, condition=10)
    J[:, 3] = 0
    r = random(12, seed=5)
    assert error(DampedLeastSquares(J, r).solve(1e-3), exactly(J, r, 1e-3)) < 1e-12
    assert not DampedLeastSquares(J[:, [3, 0, 1]], r).solve(0.0).isfinite().all()


def test_single_precision_stays() -> None:
    J, r = with_condition(20, 9, condition=10), random(20, seed=5)
    found = DampedLeastSquares(J.float(), r.float()).solve(0.1)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), exactly(J, r, 0.1), rtol=0, atol=1e-5)


def test_what_cannot_be_is_refused() -> None:
    J, r = random(5, 3), random(5)
    with pytest.raises(ValueError, match=r"damping: came -1; allowed is 0 and more"):
        DampedLeastSquares(J, r).solve(-1.0)
    with pytest.raises(ValueError, match=r"r: came shape \(3,\) with J \(5, 3\)"):
        DampedLeastSquares(J, r[:3])
