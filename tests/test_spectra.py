"""Norms and densities of operators against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pinntk.residual import spectra
from pinntk.residual.spectra import SymmetricOperator, norm, share_of_entries, spectral_density


class Matrix(SymmetricOperator):
    """A matrix as an operator."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__(matrix, len(matrix))
        self.matrix = matrix

    def _product(self, v: Tensor) -> Tensor:
        return self.matrix @ v


def symmetric(size: int, seed: int = 0) -> Tensor:
    a = torch.from_numpy(np.random.default_rng(seed).standard_normal((size, size)))
    return a + a.T


@pytest.mark.parametrize("size", [1, 2, 5, 64, 65, 300])
@pytest.mark.parametrize("sign", [1, -1])
def test_norm(size: int, sign: int) -> None:
    """The largest in size, on whichever side of 0 it is."""
    matrix = sign * (symmetric(size) + 3 * size**0.5 * torch.eye(size, dtype=torch.float64))
    operator = Matrix(matrix)
    assert norm(operator, 1e-10) == pytest.approx(np.linalg.norm(matrix.numpy(), 2), rel=1e-10)
    assert norm(operator, 1e-3) == pytest.approx(np.linalg.norm(matrix.numpy(), 2), rel=1e-4)
    assert norm(operator) == norm(operator)  # the same every time


@pytest.mark.parametrize("size", [5, 100])
def test_norm_of_nothing_and_of_what_is_not_finite(size: int) -> None:
    zeros = torch.zeros(size, size, dtype=torch.float64)
    assert norm(Matrix(zeros)) == 0.0
    assert np.isnan(norm(Matrix(zeros + torch.inf)))


@pytest.mark.parametrize("shape", [(), (4,), (6,), (4, 5), (5, 2, 2)])
def test_vectors_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"v: came shape .*; needed is \(5,\) or \(5, k\)"):
        Matrix(symmetric(5)) @ torch.zeros(shape, dtype=torch.float64)


def test_no_columns() -> None:
    assert (Matrix(symmetric(5)) @ torch.zeros(5, 0, dtype=torch.float64)).shape == (5, 0)


def test_dense_matrices_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "DENSE_LIMIT", 4)
    Matrix(symmetric(4)).dense()
    with pytest.raises(ValueError, match="dense: came 5 parameters; allowed are at most 4"):
        Matrix(symmetric(5)).dense()


def test_share_of_entries_by_hand() -> None:
    matrix = torch.tensor([[10.0, -5.0, 1.0], [-5.0, 0.5, 0.0], [1.0, 0.0, 0.01]])
    shares = {0.0: 7, 5e-4: 7, 2e-3: 6, 0.01: 6, 0.09: 5, 0.1: 3, 0.4: 3, 0.5: 1, 1.0: 0}
    for tolerance, count in shares.items():
        assert share_of_entries(matrix, tolerance) == pytest.approx(count / 9)
        assert share_of_entries(-1e9 * matrix, tolerance) == pytest.approx(count / 9)
    assert share_of_entries(torch.eye(8), 0.01) == pytest.approx(1 / 8)
    assert share_of_entries(torch.ones(8, 8), 0.01) == 1
    assert share_of_entries(torch.zeros(8, 8), 0.01) == 0


def moments(nodes: Tensor, weights: Tensor) -> list[float]:
    return [float((weights * nodes**k).sum()) for k in range(8)]


@pytest.mark.parametrize(("size", "steps"), [(40, 4), (40, 40), (40, 1000), (3, 4)])
def test_moments_of_a_diagonal_matrix_are_its_traces(size: int, steps: int) -> None:
    """For signs s, s^T f(D) s = Tr f(D): no error of sampling; and Gauss' rule is exact below degree 2 steps."""
    diagonal = torch.linspace(-1.0, 2.0, size, dtype=torch.float64)
    nodes, weights = spectral_density(Matrix(torch.diag(diagonal)), probes=2, steps=steps)
    assert nodes.shape == weights.shape == (2, min(size, steps))
    assert moments(nodes, weights) == pytest.approx([float((diagonal**k).mean()) for k in range(8)], rel=1e-10)


def test_moments_are_those_along_the_probes_and_near_the_traces() -> None:
    matrix = symmetric(60)
    traces = [float(torch.linalg.matrix_power(matrix, k).trace()) / 60 for k in range(5)]
    found = [moments(*spectral_density(Matrix(matrix), probes=40, steps=10, seed=seed)) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
    # Hutchinson: the second moment's relative error is about sqrt(2 Tr A^4 / probes) / Tr A^2.
    assert found[0][0] == pytest.approx(1, rel=1e-12)
    assert found[0][2] == pytest.approx(traces[2], rel=0.1)
    assert found[0][4] == pytest.approx(traces[4], rel=0.2)


def test_a_whole_krylov_space_has_the_eigenvalues() -> None:
    matrix = symmetric(30)
    nodes, weights = spectral_density(Matrix(matrix), probes=1, steps=30)
    np.testing.assert_allclose(nodes[0].numpy(), np.linalg.eigvalsh(matrix.numpy()), rtol=0, atol=1e-9)
    assert (weights > 0).all()


def test_a_space_that_ends_early() -> None:
    """Three eigenvalues: three steps, and nothing in the other places."""
    matrix = torch.diag(torch.tensor([1.0, 1.0, 2.0, 2.0, 5.0, 5.0], dtype=torch.float64))
    nodes, weights = spectral_density(Matrix(matrix), probes=2, steps=6)
    for k in range(2):
        np.testing.assert_allclose(nodes[k, :3].numpy(), [1, 2, 5], rtol=1e-12)
        np.testing.assert_allclose(weights[k].numpy(), [1 / 6] * 3 + [0] * 3, rtol=0, atol=1e-12)
    zero, one = spectral_density(Matrix(torch.zeros(4, 4, dtype=torch.float64)), probes=1, steps=3)
    assert float(zero.abs().max()) == 0
    assert float(one.sum()) == 1


@pytest.mark.parametrize("bad", [{"probes": 0}, {"steps": 0}])
def test_bad_arguments_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"=0.*: must be at least 1"):
        spectral_density(Matrix(symmetric(3)), **bad)
