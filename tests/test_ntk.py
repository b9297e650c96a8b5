"""The factored Jacobian and the kernel against dense ones by automatic differentiation."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from jacobians import PDES, assert_close, batches_of, dense_jacobian, features, residuals_of, values_of
from objectives import random
from torch import Tensor

from pinntk.residual import ntk
from pinntk.residual.factors import LayerFactors, layer_gram
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Batch, Residuals
from pinntk.residual.spectra import Spectrum, spectral_norm

problems = pytest.mark.parametrize("name", PDES)


def made(name: str, **network: Any) -> tuple[Residuals, dict[str, Batch], FactoredJacobian]:
    residuals = residuals_of(PDES[name], **network)
    batches = batches_of(PDES[name], residuals)
    return residuals, batches, FactoredJacobian.of(residuals, batches)


@pytest.mark.parametrize("with_features", [False, True], ids=["plain", "features"])
@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@problems
def test_everything_equals_the_dense_jacobian(name: str, parametrization: str, depth: int, with_features: bool) -> None:
    inputs = features(PDES[name]) if with_features else []
    residuals, batches, J = made(name, parametrization=parametrization, depth=depth, features=inputs)
    dense = dense_jacobian(residuals, batches)
    kernel = dense @ dense.T

    assert J.shape == tuple(dense.shape)
    assert_close(J.dense(), dense)
    v, a = random(dense.shape[1]), random(dense.shape[0], seed=1)
    assert_close(J.matvec(v), dense @ v)
    assert_close(J.rmatvec(a), dense.T @ a)
    gram = J.gram()
    assert_close(gram, kernel)

    # Terms one by one: an error in a small one would vanish beside the largest entry of the whole.
    assert J.names == tuple(term.name for term in PDES[name].terms())
    start = 0
    for term, r in residuals(batches).items():
        rows = slice(start, start + len(r))
        assert J.slices[term] == rows
        assert_close(J.dense()[rows], dense[rows])
        assert_close(J.squares(term), kernel.diagonal()[rows])
        assert_close(J.traces()[term], kernel.diagonal()[rows].sum())
        for other in J.slices.values():
            assert_close(gram[rows, other], kernel[rows, other])
        start = rows.stop
    assert start == len(dense)
    assert set(J.traces()) == set(J.names)


@problems
def test_a_kernel_in_blocks_is_that_in_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, J = made(name, depth=2)
    whole = J.gram()
    calls: list[tuple[Any, ...]] = []
    product = ntk._product

    def counted(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return product(*arguments)

    monkeypatch.setattr(ntk, "_product", counted)
    J.gram()
    terms = len(J.names)
    assert len(calls) == terms * (terms + 1) // 2  # each term in one piece
    for entries in (1, 50):  # rows one by one; several, with a smaller rest
        monkeypatch.setattr("pinntk.residual.ntk.BLOCK", entries)
        calls.clear()
        assert_close(J.gram(), whole, 1e-13)
        assert len(calls) > terms * (terms + 1) // 2


@pytest.mark.parametrize("parametrization", ["standard", "ntk"])
@problems
def test_the_kernel_is_symmetric_and_positive_semidefinite(name: str, parametrization: str) -> None:
    _, _, J = made(name, parametrization=parametrization, depth=2, width=3)
    K = J.gram()
    assert_close(K.T, K, 1e-14)
    eigenvalues = np.linalg.eigvalsh(K.numpy())
    assert eigenvalues[0] >= -1e-13 * eigenvalues[-1]
    assert spectral_norm(K) == pytest.approx(np.linalg.norm(K.numpy(), 2), rel=1e-12)
    assert spectral_norm(-K) == pytest.approx(spectral_norm(K), rel=1e-12)  # the largest in size


@problems
def test_lemma_1_one_plain_gradient_step_moves_the_residuals_along_the_kernel(name: str) -> None:
    """r(theta - eta J^T r) = r - eta K r + O(eta^2): the relative error of the change halves with eta."""
    residuals, batches, J = made(name, depth=2)
    r = values_of(residuals, batches)
    gradient, change = J.rmatvec(r), -(J.gram() @ r)
    parameters = list(residuals.network.parameters())
    start = torch.nn.utils.parameters_to_vector(parameters).detach()
    loss = residuals(batches)
    exact = torch.autograd.grad(sum((x.square().sum() / 2 for x in loss.values()), torch.zeros(())), parameters)
    assert_close(gradient, torch.cat([g.flatten() for g in exact]))  # the step is that of L = 1/2 |r|^2

    rate, errors = 0.01 / spectral_norm(J.gram()), []
    for halving in range(5):
        eta = rate / 2**halving
        torch.nn.utils.vector_to_parameters(start - eta * gradient, parameters)
        moved = values_of(residuals, batches) - r
        errors.append(float((moved - eta * change).norm() / (eta * change).norm()))
    assert errors[0] < 0.2
    ratios = [a / b for a, b in pairwise(errors)]
    assert ratios == pytest.approx([2.0] * 4, rel=0.1)
    assert ratios[-1] == pytest.approx(2.0, rel=0.02)


def factors(streams: int, rows: int, m_in: int, m_out: int, values: int, seed: int) -> LayerFactors:
    inputs, cotangents = random(streams, rows, m_in, seed=seed), random(streams, rows, m_out, seed=seed)
    return LayerFactors(inputs, cotangents, 0.3, values)


@pytest.mark.parametrize(
    ("m_in", "m_out", "streams", "short"),
    [
        (2, 6, (3, 4), True),
        (7, 1, (1, 2), True),
        (30, 30, (3, 4), False),
        (9, 9, (1, 2), False),
        (3, 4, (1, 2), False),  # 16 against 14
        (3, 3, (1, 2), True),  # 12 against 12
    ],
)
def test_a_layers_kernel_both_ways(m_in: int, m_out: int, streams: tuple[int, int], short: bool) -> None:
    a = factors(streams[0], 5, m_in, m_out, 1, seed=0)
    b = factors(streams[1], 8, m_in, m_out, 2, seed=1)  # pairs of points
    found = layer_gram(a, b)
    assert ("dense" in vars(a), "dense" in vars(b)) == (short, short)  # kept once asked for
    assert_close(found, a.dense @ b.dense.T, 1e-13)
    assert_close(layer_gram(b, a), b.dense @ a.dense.T, 1e-13)
    for one in (a, b):
        assert_close(one.squares(), one.dense.square().sum(1), 1e-13)


def test_a_layers_row_by_hand() -> None:
    """One row with two streams: sum_s d_s h_s^T, the biases the cotangent of the value alone."""
    h, d = torch.tensor([[[2.0, 3.0]], [[5.0, 7.0]]]), torch.tensor([[[11.0]], [[13.0]]])
    one = LayerFactors(h, d, 0.5, 1)
    assert one.dense.tolist() == [[0.5 * (22 + 65), 0.5 * (33 + 91), 11.0]]
    assert LayerFactors(h, d, 0.5, 2).dense.tolist() == [[43.5, 62.0, 24.0]]  # a pair's bias enters twice


@pytest.mark.parametrize("name", ["convection", "reaction"])
def test_a_row_of_a_periodic_condition_is_that_of_a_pair(name: str) -> None:
    residuals, batches, J = made(name, depth=2)
    assert len(batches["periodic"].points) == 12
    assert J.slices["periodic"].stop - J.slices["periodic"].start == 6
    rows = J.dense()[J.slices["periodic"]]
    network, points = residuals.network, batches["periodic"].points
    for i, row in enumerate(rows):
        lower, upper = network(points[[i]]), network(points[[i + 6]])
        expected = torch.autograd.grad((lower - upper).sum(), list(network.parameters()))
        assert_close(row, torch.cat([g.flatten() for g in expected]))
    # The last bias is the same at both ends.
    assert rows[:, -1].abs().max() == 0


@pytest.mark.parametrize("wrong", [(lambda n: (n + 1,)), (lambda n: (n - 1,)), (lambda n: (n, 1)), (lambda n: ())])
def test_vectors_of_another_shape_are_refused(wrong: Any) -> None:
    _, _, J = made("poisson1d")
    rows, columns = J.shape
    with pytest.raises(ValueError, match=rf"v: came shape .*; needed is \({columns},\)"):
        J.matvec(torch.zeros(wrong(columns), dtype=torch.float64))
    with pytest.raises(ValueError, match=rf"a: came shape .*; needed is \({rows},\)"):
        J.rmatvec(torch.zeros(wrong(rows), dtype=torch.float64))


def test_it_needs_no_gradient_mode() -> None:
    residuals, batches, J = made("burgers")
    with torch.no_grad():
        found = FactoredJacobian.of(residuals, batches)
    assert torch.equal(found.dense(), J.dense())


def test_it_leaves_the_network_alone() -> None:
    residuals, batches, J = made("burgers")
    expected = dense_jacobian(residuals, batches)
    assert all(p.grad is None for p in residuals.network.parameters())
    # Of the parameters at that moment, whatever comes later.
    with torch.no_grad():
        for p in residuals.network.parameters():
            p.zero_()
    assert_close(J.dense(), expected)


def test_single_precision_stays() -> None:
    _, _, double = made("burgers")
    _, _, J = made("burgers", dtype=torch.float32)
    v, a = random(J.shape[1]).float(), random(J.shape[0]).float()
    for found, expected in [
        (J.gram(), double.gram()),
        (J.matvec(v), double.matvec(v.double())),
        (J.rmatvec(a), double.rmatvec(a.double())),
    ]:
        assert found.dtype == torch.float32
        assert_close(found.double(), expected, 1e-5)


def test_the_kernel_of_one_hidden_layer_by_hand() -> None:
    """Poisson's u = 0 at x, one hidden layer of the paper's width m: K = sum over neurons, written out."""
    residuals, batches, J = made("poisson1d", parametrization="ntk", depth=1, width=4, normalize=False)
    w0, b0, w1, _ = (p.detach().numpy() for p in residuals.network.parameters())
    x = batches["boundary"].points[:, 0].tolist()
    assert x == [0.0, 1.0]

    def entry(x: float, y: float) -> float:
        total = 1.0  # of the last bias
        for j in range(4):
            at = [math.tanh(w0[j, 0] * p + b0[j]) for p in (x, y)]
            slopes = [w1[0, j] * (1 - a * a) / 2 for a in at]
            total += at[0] * at[1] / 4 + slopes[0] * slopes[1] * (x * y + 1)
        return total

    expected = torch.tensor([[entry(p, q) for q in x] for p in x], dtype=torch.float64)
    rows = J.slices["boundary"]
    assert_close(J.gram()[rows, rows], expected, 1e-13)


def test_spectrum_against_numpy_and_scipy() -> None:
    _, _, J = made("wave")
    K = J.gram()
    found, values = Spectrum.of(K), np.linalg.eigvalsh(K.numpy())[::-1]
    np.testing.assert_allclose(found.values.numpy(), values.clip(min=0), rtol=0, atol=1e-12 * values[0])
    assert found.largest == pytest.approx(values[0], rel=1e-12)
    assert found.smallest == pytest.approx(max(values[-1], 0.0), abs=1e-12 * values[0])
    assert found.effective_rank == pytest.approx(math.exp(scipy.stats.entropy(values.clip(min=0))), rel=1e-9)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_effective_rank_of_a_projection_is_its_rank(rank: int) -> None:
    basis, _ = torch.linalg.qr(torch.randn(7, rank, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    assert Spectrum.of(5.0 * basis @ basis.T).effective_rank == pytest.approx(rank, rel=1e-9)


def test_smallest_eigenvalue_is_the_polyak_lojasiewicz_constant() -> None:
    """|grad L|^2 / 2 >= mu L for the sum loss, with equality along the last eigenvector."""
    _, _, J = made("poisson1d", width=40)
    mu = Spectrum.of(J.gram()).smallest
    assert mu > 0
    last = torch.linalg.eigh(J.gram()).eigenvectors[:, 0]
    for r, equal in ((random(J.shape[0]), False), (last, True)):
        ratio = float(J.rmatvec(r).square().sum() / r.square().sum())
        assert ratio == pytest.approx(mu, rel=1e-5) if equal else ratio >= mu


@problems
def test_with_its_residuals_and_scaled_by_rows(name: str) -> None:
    """``diag(s) J``, also for negative and zero factors; J itself stays."""
    residuals, batches, J = made(name, depth=2)
    r, found = FactoredJacobian.with_residuals(residuals, batches)
    assert_close(r, values_of(residuals, batches))
    assert torch.equal(found.dense(), J.dense())
    factors = random(J.shape[0], seed=2)
    factors[1] = 0.0
    expected = factors[:, None] * dense_jacobian(residuals, batches)
    before = J.dense().clone()
    scaled = J.scaled(factors)
    assert (scaled.shape, scaled.names, scaled.slices) == (J.shape, J.names, J.slices)
    v, a = random(J.shape[1]), random(J.shape[0], seed=1)
    assert_close(scaled.dense(), expected)
    assert_close(scaled.matvec(v), expected @ v)
    assert_close(scaled.rmatvec(a), expected.T @ a)
    assert_close(scaled.gram(), expected @ expected.T)
    for term, rows in J.slices.items():
        assert_close(scaled.traces()[term], expected[rows].square().sum())
    assert torch.equal(J.dense(), before)
