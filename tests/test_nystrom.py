"""The Nystrom approximation against dense matrices."""

import numpy as np
import pytest
import torch
from objectives import random, symmetric
from torch import Tensor

from pinntk.optim.nystrom import Nystrom


def of(A: Tensor, rank: int, seed: int = 0) -> Nystrom:
    return Nystrom.of(lambda v: A @ v, len(A), rank, np.random.default_rng(seed), dtype=A.dtype)


def dense(nystrom: Nystrom) -> Tensor:
    return nystrom.U @ torch.diag(nystrom.eigenvalues) @ nystrom.U.T


DECAYING = symmetric([3.0 * 0.6**i for i in range(30)])


@pytest.mark.parametrize("rank", [6, 9, 20])
def test_exact_from_the_rank_of_the_matrix_on(rank: int) -> None:
    A = symmetric([5.0, 4.0, 2.5, 1.0, 0.3, 0.02] + [0.0] * 14)
    found = of(A, rank)
    assert found.U.shape == (20, rank)
    torch.testing.assert_close(dense(found), A, rtol=0, atol=1e-12)
    expected = torch.tensor([5.0, 4.0, 2.5, 1.0, 0.3, 0.02] + [0.0] * (rank - 6), dtype=torch.float64)
    torch.testing.assert_close(found.eigenvalues, expected, rtol=0, atol=1e-12)


def test_a_rank_above_the_size_is_the_size() -> None:
    A = symmetric([3.0, 2.0, 1.0])
    torch.testing.assert_close(dense(of(A, 60)), A, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_between_zero_and_the_matrix(rank: int) -> None:
    found = of(DECAYING, rank)
    torch.testing.assert_close(found.U.T @ found.U, torch.eye(rank, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.equal(found.eigenvalues, found.eigenvalues.sort(descending=True).values)
    assert float(found.eigenvalues[-1]) > 0
    assert float(torch.linalg.eigvalsh(DECAYING - dense(found))[0]) > -1e-13


def test_by_the_formula_of_the_random_vectors() -> None:
    """``A Omega (Omega^T A Omega)^-1 (A Omega)^T``; on Omega's range it is A itself."""
    omega = torch.from_numpy(np.random.default_rng(0).standard_normal((30, 5)))
    Y = DECAYING @ omega
    found = dense(of(DECAYING, 5))
    torch.testing.assert_close(found, Y @ torch.linalg.inv(omega.T @ Y) @ Y.T, rtol=0, atol=1e-11)
    torch.testing.assert_close(found @ omega, Y, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rank", "p"), [(6, 4), (10, 8), (14, 9)])
def test_the_known_bound_of_the_error(rank: int, p: int) -> None:
    """``E |A - A_nys| <= (1 + k/(q-1)) lambda_{k+1} + e^2 rank/(q^2 - 1) sum_{j>k} lambda_j``, k = p, q = rank - k
    (Frangella, Tropp, Udell 2023, Proposition 2.2; Tropp et al. 2017), as a mean over draws."""
    values = torch.linalg.eigvalsh(DECAYING).flip(0)
    errors = [float(torch.linalg.matrix_norm(DECAYING - dense(of(DECAYING, rank, seed)), 2)) for seed in range(20)]
    bounds = []
    for k in range(1, min(p, rank - 2) + 1):
        q = rank - k
        tail = float(values[k:].sum())
        bounds.append((1 + k / (q - 1)) * float(values[k]) + np.e**2 * rank / (q**2 - 1) * tail)
    assert float(values[rank]) <= np.mean(errors) <= min(bounds)


def test_other_vectors_from_another_generator_the_same_from_the_same() -> None:
    one, again, other = of(DECAYING, 5, 3), of(DECAYING, 5, 3), of(DECAYING, 5, 4)
    assert torch.equal(one.U, again.U)
    assert torch.equal(one.eigenvalues, again.eigenvalues)
    assert not torch.allclose(one.eigenvalues, other.eigenvalues)


@pytest.mark.parametrize("mu", [1e-3, 0.5])
def test_the_preconditioner_is_the_inverse_of_its_formula(mu: float) -> None:
    """``P = U (Lambda + mu) U^T / (lambda_k + mu) + (I - U U^T)``."""
    found, v = of(DECAYING, 7), random(30)
    eye = torch.eye(30, dtype=torch.float64)
    U = found.U
    P = U @ torch.diag(found.eigenvalues + mu) @ U.T / (found.eigenvalues[-1] + mu) + eye - U @ U.T
    torch.testing.assert_close(found.precondition(v, mu), torch.linalg.solve(P, v), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(found.matvec(v), dense(found) @ v, rtol=1e-12, atol=1e-12)


def test_it_preconditions() -> None:
    """Condition numbers of ``A + mu I``: 3e3 without, about (2 lambda_{k+1} + mu) / mu with it."""
    mu, A = 1e-3, DECAYING
    found, eye = of(A, 20), torch.eye(30, dtype=torch.float64)
    P_inverse = torch.stack([found.precondition(column, mu) for column in eye])
    values = torch.linalg.eigvals(P_inverse @ (A + mu * eye)).real
    assert float(values.max() / values.min()) < 3
    # P^-1 / (lambda_k + mu) is the inverse itself.
    assert float(values.median()) == pytest.approx(found.smallest + mu, rel=0.05)


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [8.0, 4.0, 2.0, 1.0] + [-1e-3] * 20,
        [8.0, 4.0, 2.0, 1.0] + [-1e-9] * 20,
        [8.0, 4.0, 2.0, 1.0] + [-1e-14] * 20,
        [8.0, 4.0, 2.0, -3.0] + [0.0] * 20,
        [8.0, -8.0] + [0.1, -0.1] * 11,
        [-1.0] * 24,
        [0.0] * 24,
    ],
)
def test_an_indefinite_operator(eigenvalues: list[float]) -> None:
    A = symmetric(eigenvalues)
    for rank in (1, 4, 10, 24):
        for seed in range(3):
            found = of(A, rank, seed)
            k = len(found.eigenvalues)
            assert k <= rank
            assert found.U.shape == (24, k)
            assert bool((found.eigenvalues >= 0).all())
            # Nothing of the mixture of positive and negative is blown up.
            assert found.eigenvalues.sum() <= 2 * sum(abs(x) for x in eigenvalues) + 1e-12
            torch.testing.assert_close(found.U.T @ found.U, torch.eye(k, dtype=torch.float64), rtol=0, atol=1e-10)
            v = random(24, seed=seed)
            assert float(v @ found.precondition(v, 1e-6)) > 0
    if eigenvalues[0] == 8.0 and min(eigenvalues) > -0.01:  # the positive part stands out
        torch.testing.assert_close(of(A, 10).eigenvalues[0], torch.tensor(8.0).double(), rtol=1e-3, atol=0)


def test_a_mixture_of_signs_is_not_blown_up() -> None:
    """Half the eigenvalues 1, half -1: at most ``2 |A| + nu = 3``, where all small curvatures count up to 8e3."""
    A = symmetric([1.0, -1.0] * 12)
    largest = torch.cat([of(A, 10, seed).eigenvalues for seed in range(100)]).max()
    assert 0.3 < float(largest) < 3


def test_a_negative_operator_has_no_factors_and_the_identity_for_preconditioner() -> None:
    found, v = of(symmetric([-2.0, -1.0, -0.5]), 2), random(3)
    assert found.U.shape == (3, 0)
    assert found.smallest == 0.0
    assert torch.equal(found.precondition(v, 0.1), v)


def test_single_precision_stays() -> None:
    A = symmetric([3.0, 1.0, 0.1] + [0.0] * 10).float()
    found = of(A, 6)
    assert found.U.dtype == found.eigenvalues.dtype == torch.float32
    torch.testing.assert_close(dense(found), A, rtol=0, atol=1e-5)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(FloatingPointError, match="a product with the curvature matrix is not finite"):
        of(torch.full((4, 4), torch.nan, dtype=torch.float64), 2)


def test_the_shift_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made large enough to be seen, 1e-3 |A|: nothing of it is left, and nothing is above A's own eigenvalues."""
    monkeypatch.setattr("pinntk.optim.nystrom.SHIFTS", (1e-3 / torch.finfo(torch.float64).eps,))
    torch.testing.assert_close(dense(of(DECAYING, 30)), DECAYING, rtol=0, atol=1e-12)
    values = torch.linalg.eigvalsh(DECAYING).flip(0)
    assert bool((of(DECAYING, 8).eigenvalues <= values[:8] + 1e-13).all())


@pytest.mark.parametrize("rank", [20, 21, 500])
def test_of_full_rank_it_is_the_matrix_itself(rank: int) -> None:
    """From one product with the unit vectors, without any random ones."""
    values = [3.0 * 0.1**i for i in range(16)] + [0.0] * 4
    A, seen = symmetric(values), []

    def product(V: Tensor) -> Tensor:
        seen.append(V)
        return A @ V

    generator = np.random.default_rng(0)
    found = Nystrom.of(product, 20, rank, generator)
    assert len(seen) == 1
    assert torch.equal(seen[0], torch.eye(20, dtype=torch.float64))
    assert generator.random() == np.random.default_rng(0).random()
    torch.testing.assert_close(dense(found), A, rtol=0, atol=1e-14)
    torch.testing.assert_close(found.eigenvalues, torch.tensor(values).double(), rtol=1e-5, atol=1e-14)
    torch.testing.assert_close(found.U.T @ found.U, torch.eye(20, dtype=torch.float64), rtol=0, atol=1e-13)
    assert (found.eigenvalues >= 0).all()
    v, mu = random(20), 1e-3
    exact = torch.linalg.solve(A + mu * torch.eye(20, dtype=torch.float64), v)
    torch.testing.assert_close(found.precondition(v, mu) / (found.smallest + mu), exact, rtol=1e-9, atol=1e-9)


def test_of_full_rank_negative_curvature_counts_as_none() -> None:
    found = of(symmetric([4.0, 1.0, -0.5, -2.0]), 4)
    torch.testing.assert_close(dense(found), symmetric([4.0, 1.0, 0.0, 0.0]), rtol=0, atol=1e-13)
    assert found.smallest == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rank", [2, 5])
def test_a_product_that_is_not_finite_is_an_error(rank: int, bad: float) -> None:
    A = torch.eye(5, dtype=torch.float64)
    A[2, 3] = bad
    with pytest.raises(FloatingPointError, match="not finite"):
        of(A, rank)
