"""Both kinds of P, and their derivatives, against assembled dense matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse
import scipy.sparse.linalg
import torch
from numpy.typing import NDArray

from pinntk.discrete.discretization import apply_inverse
from pinntk.discrete.preconditioner import (
    AMPLIFICATION_LIMIT,
    DEFECT_LIMIT,
    Blocks,
    BlockTriangular,
    Preconditioner,
    PreconditionerError,
    WholeMatrix,
)
from pinntk.pdes.convection import Convection, ConvectionDiscretization

LEVELS, NODES = 6, 20  # SuperLU drops nothing from much smaller blocks
Array = NDArray[np.float64]


def blocks(lags: int, shared: bool, seed: int = 0) -> Blocks:
    """Random sparse diagonal blocks (dominant diagonal, not symmetric) and blocks below them."""
    rng = np.random.default_rng(seed)

    def block(diagonal: float) -> Any:
        part = scipy.sparse.random_array((NODES, NODES), density=0.4, rng=rng, data_sampler=rng.standard_normal)
        return scipy.sparse.csr_array(part + diagonal * scipy.sparse.eye_array(NODES))

    def row(diagonal: float) -> list[Any]:
        return [block(diagonal)] * LEVELS if shared else [block(diagonal) for _ in range(LEVELS)]

    return Blocks(row(12.0), [row(1.0) for _ in range(lags)])


def assemble(of: Blocks) -> Array:
    """The whole matrix, dense."""
    diagonal, lower = of
    levels, nodes = len(diagonal), diagonal[0].shape[0]
    whole = scipy.linalg.block_diag(*[d if isinstance(d, np.ndarray) else d.toarray() for d in diagonal])
    for lag, row in enumerate(lower, start=1):
        for n in range(lag, levels):
            if row[n] is not None:
                whole[n * nodes : (n + 1) * nodes, (n - lag) * nodes : (n - lag + 1) * nodes] = row[n].toarray()
    return whole


def check(p: Preconditioner, whole: Array) -> None:
    """P^-1 r, P^-T r, P r and P^T r are those of the dense matrix."""
    r = np.random.default_rng(1).standard_normal((p.levels, p.nodes))
    kept = r.copy()
    np.testing.assert_allclose(p.solve(r).ravel(), np.linalg.solve(whole, r.ravel()), rtol=1e-12, atol=1e-13)
    transposed = np.linalg.solve(whole.T, r.ravel())
    np.testing.assert_allclose(p.solve_transposed(r).ravel(), transposed, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(p.product(r).ravel(), whole @ r.ravel(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(p.product_transposed(r).ravel(), whole.T @ r.ravel(), rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(r, kept)


schemes = pytest.mark.parametrize("shared", [True, False], ids=["shared", "per level"])
steps = pytest.mark.parametrize("lags", [0, 1, 2])


@steps
@schemes
def test_exact_factors_invert_the_assembled_matrix(lags: int, shared: bool) -> None:
    made = blocks(lags, shared)
    p = BlockTriangular(made)
    check(p, assemble(made))
    assert p.factorizations == (1 if shared else LEVELS)
    assert p.defect < 1e-14
    assert p.factor_seconds > 0


@steps
@schemes
def test_incomplete_factors_invert_the_product_of_the_factors(lags: int, shared: bool) -> None:
    diagonal, lower = made = blocks(lags, shared)
    p = BlockTriangular(made, drop_tolerance=0.05, fill_factor=3)
    products, entries = {}, 0
    for block in diagonal:
        if id(block) not in products:
            factor = incomplete(block)
            products[id(block)] = (factor.L @ factor.U).toarray()
            entries += factor.nnz
    assert all(np.abs(products[id(d)] - d.toarray()).max() > 0.1 for d in diagonal), "nothing was dropped"
    check(p, assemble(Blocks([products[id(d)] for d in diagonal], lower)))
    assert p.nnz == entries
    signs = np.random.default_rng(0).choice([-1.0, 1.0], NODES)
    applied = [np.linalg.solve(products[id(d)], signs) for d in diagonal]
    defects = [np.linalg.norm(signs - d @ a) / np.sqrt(NODES) for d, a in zip(diagonal, applied, strict=True)]
    assert p.defect == pytest.approx(max(defects), rel=1e-10)
    assert p.amplification == pytest.approx(np.abs(applied).max(), rel=1e-10)


def incomplete(matrix: Any) -> Any:
    """SuperLU's incomplete factors, in natural order with the pivots on the diagonal."""
    factor = scipy.sparse.linalg.spilu(
        matrix.tocsc(), drop_tol=0.05, fill_factor=3, permc_spec="NATURAL", diag_pivot_thresh=0
    )
    assert (factor.perm_r == np.arange(matrix.shape[0])).all()
    return factor


@steps
@schemes
@pytest.mark.parametrize("drop_tolerance", [0.0, 0.05])
def test_factors_of_the_whole_matrix(lags: int, shared: bool, drop_tolerance: float) -> None:
    made = blocks(lags, shared)
    whole = assemble(made)
    p = WholeMatrix(made, drop_tolerance=drop_tolerance, fill_factor=3)
    if drop_tolerance:
        factor = incomplete(made.whole())
        product = (factor.L @ factor.U).toarray()
        assert np.abs(product - whole).max() > 0.1, "nothing was dropped"
        check(p, product)
        assert p.nnz == factor.nnz
        assert p.defect > 1e-3
    else:
        check(p, whole)
        assert p.defect < 1e-14
    assert (p.levels, p.nodes, p.factorizations) == (LEVELS, NODES, 1)


@steps
@schemes
def test_the_whole_matrix_is_assembled(lags: int, shared: bool) -> None:
    made = blocks(lags, shared)
    np.testing.assert_array_equal(made.whole().toarray(), assemble(made))


kinds = pytest.mark.parametrize("kind", [BlockTriangular, WholeMatrix])
Kind = type[BlockTriangular] | type[WholeMatrix]


@steps
@kinds
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (2, 5), (3, 6), (4, 5)])
def test_blocks_that_reach_before_a_window_are_not_looked_at(lags: int, kind: Kind, start: int, stop: int) -> None:
    made = blocks(lags, shared=False)
    window = Blocks(made.diagonal[start:stop], [row[start:stop] for row in made.lower])
    part = slice(start * NODES, stop * NODES)
    check(kind(window), assemble(made)[part, part])


@kinds
def test_missing_blocks_are_zero(kind: Kind) -> None:
    diagonal, (row,) = blocks(1, shared=False)
    made = Blocks(diagonal, [[None, row[1], None, row[3], None, None]])
    check(kind(made), assemble(made))
    np.testing.assert_array_equal(made.whole().toarray(), assemble(made))


@kinds
def test_a_rebuilt_preconditioner_is_the_same(kind: Kind) -> None:
    r = np.random.default_rng(1).standard_normal((LEVELS, NODES))
    first, second = (kind(blocks(2, shared=False), drop_tolerance=0.05).solve(r) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_growth_is_that_of_the_substitution() -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    stable = BlockTriangular(Blocks([eye] * 40, [[-0.5 * eye] * 40]))
    growing = BlockTriangular(Blocks([eye] * 40, [[-2.0 * eye] * 40]))
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
@pytest.mark.parametrize(
    ("kind", "name"),
    [(BlockTriangular, "diagonal block of level 3: "), (WholeMatrix, "the matrix of 6 levels from level 0 on: ")],
)
def test_a_singular_block_is_refused(singular: Any, drop_tolerance: float, kind: Kind, name: str) -> None:
    diagonal, lower = blocks(1, shared=False)
    made = Blocks([*diagonal[:3], singular, *diagonal[4:]], lower)
    with pytest.raises(PreconditionerError, match=name):
        kind(made, drop_tolerance=drop_tolerance)


@kinds
def test_an_amplifying_factor_is_refused(kind: Kind) -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    assert kind(Blocks([2 / AMPLIFICATION_LIMIT * eye])).amplification == pytest.approx(AMPLIFICATION_LIMIT / 2)
    with pytest.raises(PreconditionerError, match=r"level.*: its factor amplifies by 2\.0e\+10, 1e\+10 is allowed"):
        kind(Blocks([0.5 / AMPLIFICATION_LIMIT * eye]))


@kinds
@pytest.mark.parametrize("solve", ["solve", "solve_transposed"])
def test_an_overflow_in_time_is_reported(kind: Kind, solve: str) -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    p = kind(Blocks([eye] * LEVELS, [[-1.0 * eye] * LEVELS]))  # sums over the levels
    with pytest.raises(PreconditionerError, match="through 6 levels is not finite"), np.errstate(all="ignore"):
        getattr(p, solve)(np.full((LEVELS, NODES), 1e308))


def test_a_growing_substitution_that_overflows_is_reported() -> None:
    eye = scipy.sparse.eye_array(NODES, format="csr")
    p = BlockTriangular(Blocks([eye] * LEVELS, [[-1e100 * eye] * LEVELS]))
    for solve in (p.solve, p.solve_transposed):
        with pytest.raises(PreconditionerError, match="through 6 levels is not finite"), np.errstate(all="ignore"):
            solve(np.ones((LEVELS, NODES)))


def test_a_factor_that_is_worse_than_none_is_refused_and_blocks_per_level_are_not() -> None:
    """Convection's matrix of all levels, beta = 40: as its factors lose entries, those of single levels still do."""
    settings = ConvectionDiscretization(cells=16, time_steps=40, order=2, space="order4")
    problem = Convection().discretize(settings)
    made = problem.jacobian(np.zeros(problem.shape))
    message = r"the matrix of 41 levels .* worse than none, .*\(1 is allowed\); a smaller drop_tolerance than 0\.1"
    with pytest.raises(PreconditionerError, match=message):
        WholeMatrix(made, drop_tolerance=0.1)
    with pytest.raises(PreconditionerError, match=message):
        problem_with(settings, factor="whole", drop_tolerance=0.1).linearize(np.zeros(problem.shape))

    signs = np.random.default_rng(0).choice([-1.0, 1.0], problem.shape)

    def left(p: Preconditioner) -> float:
        """Of a vector over all levels, so that both kinds are measured alike."""
        rest = signs.ravel() - made.whole() @ p.solve(signs).ravel()
        return float(np.linalg.norm(rest) / np.linalg.norm(signs))

    loose = BlockTriangular(made, drop_tolerance=0.1)
    assert 1e-3 < loose.defect < 0.1 < DEFECT_LIMIT
    assert left(loose) < 0.5
    whole, blocks_ = (kind(made, drop_tolerance=1e-3) for kind in (WholeMatrix, BlockTriangular))
    assert whole.defect == pytest.approx(left(whole), rel=0.5)  # of other signs, but the same quantity
    assert blocks_.defect < left(blocks_) < left(whole)


def problem_with(settings: ConvectionDiscretization, **changes: Any) -> Any:
    return Convection().discretize(settings.model_copy(update=changes))


@kinds
def test_arguments_that_do_not_fit_are_refused(kind: Kind) -> None:
    diagonal, lower = made = blocks(1, shared=True)
    with pytest.raises(ValueError, match=r"lower: came \[5\] blocks per lag; needed are 6"):
        kind(Blocks(diagonal, [lower[0][1:]]))
    with pytest.raises(ValueError, match="lower: came"):
        kind(Blocks([]))
    with pytest.raises(ValueError, match=r"drop_tolerance=-0\.1, fill_factor=10\.0: must be at least 0"):
        kind(made, drop_tolerance=-0.1)
    with pytest.raises(ValueError, match=r"fill_factor=0\.5"):
        kind(made, fill_factor=0.5)
    p = kind(made)
    for solve in (p.solve, p.solve_transposed):
        with pytest.raises(ValueError, match=r"r: came shape \(120,\); needed is \(levels, nodes\) = \(6, 20\)"):
            solve(np.zeros(120))


@schemes
@kinds
def test_gradients_of_apply_inverse(kind: Kind, shared: bool) -> None:
    p = kind(blocks(2, shared), drop_tolerance=0.05)
    r = torch.from_numpy(np.random.default_rng(1).standard_normal((LEVELS, NODES))).requires_grad_()
    np.testing.assert_array_equal(apply_inverse(p, r).detach().numpy(), p.solve(r.detach().numpy()))
    assert torch.autograd.gradcheck(lambda x: apply_inverse(p, x), (r,))
    # The cube makes second derivatives that do not vanish.
    assert torch.autograd.gradcheck(lambda x: apply_inverse(p, x**3), (r,))
    assert torch.autograd.gradgradcheck(lambda x: apply_inverse(p, x**3), (r,))


@kinds
def test_apply_inverse_keeps_the_dtype(kind: Kind) -> None:
    p = kind(blocks(1, shared=True))
    r = torch.ones(LEVELS, NODES, dtype=torch.float32, requires_grad=True)
    y = apply_inverse(p, r)
    y.square().sum().backward()
    assert r.grad is not None
    assert y.dtype == r.grad.dtype == torch.float32
    exact = p.solve(np.ones((LEVELS, NODES)))
    np.testing.assert_allclose(y.detach().numpy(), exact, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(r.grad.numpy(), 2 * p.solve_transposed(exact), rtol=1e-5, atol=1e-6)
