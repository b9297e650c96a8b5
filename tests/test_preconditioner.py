"""Block-triangular substitution and its derivatives against assembled dense matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from pinntk.preconditioner import AMPLIFICATION_LIMIT, BlockTriangular, PreconditionerError, apply_inverse

LEVELS, NODES = 6, 20  # SuperLU drops nothing from much smaller blocks
Array = NDArray[np.float64]
Blocks = tuple[list[Any], list[list[Any]]]


def blocks(lags: int, shared: bool, seed: int = 0) -> Blocks:
    """Random sparse diagonal blocks (dominant diagonal, not symmetric) and blocks below them."""
    rng = np.random.default_rng(seed)

    def block(diagonal: float) -> Any:
        part = scipy.sparse.random_array((NODES, NODES), density=0.4, rng=rng, data_sampler=rng.standard_normal)
        return scipy.sparse.csr_array(part + diagonal * scipy.sparse.eye_array(NODES))

    def row(diagonal: float) -> list[Any]:
        return [block(diagonal)] * LEVELS if shared else [block(diagonal) for _ in range(LEVELS)]

    return row(12.0), [row(1.0) for _ in range(lags)]


def assemble(diagonal: list[Any], lower: list[list[Any]]) -> Array:
    """The whole matrix, dense."""
    levels, nodes = len(diagonal), diagonal[0].shape[0]
    whole = scipy.linalg.block_diag(*[d if isinstance(d, np.ndarray) else d.toarray() for d in diagonal])
    for lag, row in enumerate(lower, start=1):
        for n in range(lag, levels):
            if row[n] is not None:
                whole[n * nodes : (n + 1) * nodes, (n - lag) * nodes : (n - lag + 1) * nodes] = row[n].toarray()
    return whole


def check(p: BlockTriangular, whole: Array) -> None:
    """P^-1 r and P^-T r are those of the dense matrix."""
    r = np.random.default_rng(1).standard_normal((p.levels, p.nodes))
    kept = r.copy()
    np.testing.assert_allclose(p.solve(r).ravel(), np.linalg.solve(whole, r.ravel()), rtol=1e-12, atol=1e-13)
    transposed = np.linalg.solve(whole.T, r.ravel())
    np.testing.assert_allclose(p.solve_transposed(r).ravel(), transposed, rtol=1e-12, atol=1e-13)
    np.testing.assert_array_equal(r, kept)


schemes = pytest.mark.parametrize("shared", [True, False], ids=["shared", "per level"])
steps = pytest.mark.parametrize("lags", [0, 1, 2])


@steps
@schemes
def test_exact_factors_invert_the_assembled_matrix(lags: int, shared: bool) -> None:
    diagonal, lower = blocks(lags, shared)
    p = BlockTriangular(diagonal, lower)
    check(p, assemble(diagonal, lower))
    assert p.factorizations == (1 if shared else LEVELS)
    assert p.defect < 1e-14
    assert p.factor_seconds > 0


@steps
@schemes
def test_incomplete_factors_invert_the_product_of_the_factors(lags: int, shared: bool) -> None:
    diagonal, lower = blocks(lags, shared)
    p = BlockTriangular(diagonal, lower, drop_tolerance=0.05, fill_factor=3)
    products, entries = {}, 0
    for block in diagonal:
        if id(block) not in products:
            factor = scipy.sparse.linalg.spilu(
                block.tocsc(), drop_tol=0.05, fill_factor=3, permc_spec="NATURAL", diag_pivot_thresh=0
            )
            assert (factor.perm_r == np.arange(NODES)).all()  # natural order, pivots on the diagonal
            products[id(block)] = (factor.L @ factor.U).toarray()
            entries += factor.nnz
    assert all(np.abs(products[id(d)] - d.toarray()).max() > 0.1 for d in diagonal), "nothing was dropped"
    check(p, assemble([products[id(d)] for d in diagonal], lower))
    assert p.nnz == entries
    signs = np.random.default_rng(0).choice([-1.0, 1.0], NODES)
    applied = [np.linalg.solve(products[id(d)], signs) for d in diagonal]
    defects = [np.linalg.norm(signs - d @ a) / np.sqrt(NODES) for d, a in zip(diagonal, applied, strict=True)]
    assert p.defect == pytest.approx(max(defects), rel=1e-10)
    assert p.amplification == pytest.approx(np.abs(applied).max(), rel=1e-10)


@steps
@schemes
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 5), (3, 6), (4, 5)])
def test_a_window_is_the_submatrix(lags: int, shared: bool, start: int, stop: int) -> None:
    diagonal, lower = blocks(lags, shared)
    window = BlockTriangular(diagonal, lower).restrict(start, stop)
    part = slice(start * NODES, stop * NODES)
    check(window, assemble(diagonal, lower)[part, part])
    assert (window.levels, window.factorizations) == (stop - start, 0)
    # Built from the window's blocks alone, those that reach before it included, it is the same.
    built = BlockTriangular(diagonal[start:stop], [row[start:stop] for row in lower])
    r = np.ones((stop - start, NODES))
    np.testing.assert_array_equal(built.solve(r), window.solve(r))


def test_missing_blocks_are_zero() -> None:
    diagonal, (row,) = blocks(1, shared=False)
    lower: list[list[Any]] = [[None, row[1], None, row[3], None, None]]
    check(BlockTriangular(diagonal, lower), assemble(diagonal, lower))


def test_a_rebuilt_preconditioner_is_the_same() -> None:
    r = np.random.default_rng(1).standard_normal((LEVELS, NODES))
    first, second = (BlockTriangular(*blocks(2, shared=False), drop_tolerance=0.05).solve(r) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_growth_is_that_of_the_substitution() -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    stable = BlockTriangular([eye] * 40, [[-0.5 * eye] * 40])
    growing = BlockTriangular([eye] * 40, [[-2.0 * eye] * 40])
    assert stable.growth() <= 2.0
    assert 2.0**38 < growing.growth() < 2.0**40


def neumann(nodes: int) -> Any:
    """Singular: constants are in the kernel."""
    matrix = scipy.sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(nodes, nodes)).tolil()
    matrix[0, 0] = matrix[-1, -1] = 1.0
    return matrix.tocsr()


@pytest.mark.parametrize("drop_tolerance", [0.0, 1e-3])
@pytest.mark.parametrize(
    "singular",
    [neumann(NODES), scipy.sparse.csr_array((NODES, NODES)), np.nan * scipy.sparse.eye_array(NODES, format="csr")],
    ids=["Neumann", "zero", "nan"],
)
def test_a_singular_block_is_refused(singular: Any, drop_tolerance: float) -> None:
    diagonal, lower = blocks(1, shared=False)
    diagonal[3] = singular
    with pytest.raises(PreconditionerError, match=r"diagonal block of level 3: "):
        BlockTriangular(diagonal, lower, drop_tolerance=drop_tolerance)


def test_an_amplifying_factor_is_refused() -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    assert BlockTriangular([2 / AMPLIFICATION_LIMIT * eye]).amplification == pytest.approx(AMPLIFICATION_LIMIT / 2)
    with pytest.raises(PreconditionerError, match=r"level 0: its factor amplifies by 2\.0e\+10, 1e\+10 is allowed"):
        BlockTriangular([0.5 / AMPLIFICATION_LIMIT * eye])


@pytest.mark.parametrize("solve", [BlockTriangular.solve, BlockTriangular.solve_transposed])
def test_an_overflow_in_time_is_reported(solve: Callable[[BlockTriangular, Array], Array]) -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    p = BlockTriangular([eye] * LEVELS, [[-1e100 * eye] * LEVELS])
    with pytest.raises(PreconditionerError, match="through 6 levels is not finite"), np.errstate(all="ignore"):
        solve(p, np.ones((LEVELS, NODES)))


def test_arguments_that_do_not_fit_are_refused() -> None:
    diagonal, lower = blocks(1, shared=True)
    with pytest.raises(ValueError, match=r"lower: came \[5\] blocks per lag; needed are 6"):
        BlockTriangular(diagonal, [lower[0][1:]])
    with pytest.raises(ValueError, match="lower: came"):
        BlockTriangular([])
    with pytest.raises(ValueError, match=r"drop_tolerance=-0\.1, fill_factor=10\.0: must be at least 0"):
        BlockTriangular(diagonal, drop_tolerance=-0.1)
    with pytest.raises(ValueError, match=r"fill_factor=0\.5"):
        BlockTriangular(diagonal, fill_factor=0.5)
    with pytest.raises(ValueError, match=r"r: came shape \(120,\); needed is \(levels, nodes\) = \(6, 20\)"):
        BlockTriangular(diagonal).solve(np.zeros(120))


@schemes
def test_gradients_of_apply_inverse(shared: bool) -> None:
    p = BlockTriangular(*blocks(2, shared), drop_tolerance=0.05)
    r = torch.from_numpy(np.random.default_rng(1).standard_normal((LEVELS, NODES))).requires_grad_()
    np.testing.assert_array_equal(apply_inverse(p, r).detach().numpy(), p.solve(r.detach().numpy()))
    assert torch.autograd.gradcheck(lambda x: apply_inverse(p, x), (r,))
    # The cube makes second derivatives that do not vanish.
    assert torch.autograd.gradcheck(lambda x: apply_inverse(p, x**3), (r,))
    assert torch.autograd.gradgradcheck(lambda x: apply_inverse(p, x**3), (r,))


def test_apply_inverse_keeps_the_dtype() -> None:
    p = BlockTriangular(*blocks(1, shared=True))
    r = torch.ones(LEVELS, NODES, dtype=torch.float32, requires_grad=True)
    y = apply_inverse(p, r)
    y.square().sum().backward()
    assert r.grad is not None
    assert y.dtype == r.grad.dtype == torch.float32
    exact = p.solve(np.ones((LEVELS, NODES)))
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(r.grad.numpy(), 2 * p.solve_transposed(exact), rtol=1e-5, atol=1e-6)
