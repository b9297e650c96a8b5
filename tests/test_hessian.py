"""Hessian, Gauss-Newton matrix and remainder against dense ones by nested automatic differentiation."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from jacobians import PDES, assert_close, batches_of, dense_jacobian, loss_at, residuals_of, values_of
from objectives import random
from torch import Tensor

from pinntk.residual.form import ResidualForm
from pinntk.residual.hessian import Curvature, GaussNewton, Hessian, Split
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Normalization, Residuals
from pinntk.residual.spectra import SymmetricOperator, norm, spectral_norm

problems = pytest.mark.parametrize("name", PDES)
normalizations = pytest.mark.parametrize("normalization", get_args(Normalization))
parametrizations = pytest.mark.parametrize("parametrization", ["standard", "ntk"])


class Case:
    """A small network on a problem with different weights for its terms, and the loss written out as a function."""

    def __init__(self, name: str, normalization: Normalization, **network: Any) -> None:
        self.residuals = residuals_of(PDES[name], **{"width": 7, "depth": 2, **network})
        self.batches = batches_of(PDES[name], self.residuals)
        self.normalization = normalization
        self.weights = torch.linspace(0.5, 2.0, len(self.residuals.names), dtype=torch.float64)

        weights = dict(zip(self.residuals.names, self.weights.tolist(), strict=True))
        self.objective = ResidualForm(self.residuals, self.batches, normalization=normalization, weights=weights)

    def curvature(self, kind: Curvature = "hessian") -> SymmetricOperator:
        return self.objective.curvature(kind)

    def recorded(self, kind: Curvature = "hessian") -> Hessian:
        found = self.curvature(kind)
        assert isinstance(found, Hessian)
        return found

    def loss(self, theta: Tensor) -> Tensor:
        """L at the parameters theta, (P,)."""
        return loss_at(theta, self.residuals, self.batches, self.weights, self.normalization)

    @property
    def theta(self) -> Tensor:
        return torch.nn.utils.parameters_to_vector(self.residuals.network.parameters()).detach()

    def hessian(self) -> Tensor:
        found = torch.autograd.functional.hessian(self.loss, self.theta)
        assert isinstance(found, Tensor)
        return found

    def gauss_newton(self) -> Tensor:
        """The sum of the terms' own matrices, from the dense Jacobian."""
        jacobian, start = dense_jacobian(self.residuals, self.batches), 0
        total = torch.zeros(jacobian.shape[1], jacobian.shape[1], dtype=torch.float64)
        for weight, r in zip(self.weights, self.residuals(self.batches).values(), strict=True):
            rows = jacobian[start : start + len(r)]
            total += weight * rows.T @ rows * (1.0 if self.normalization == "sum" else 2.0 / len(r))
            start += len(r)
        return total


@parametrizations
@normalizations
@problems
def test_products_and_norms_are_those_of_dense_matrices(
    name: str, normalization: Normalization, parametrization: str
) -> None:
    shape = {"standard": {"depth": 1, "width": 22}, "ntk": {"depth": 2, "width": 7}}[parametrization]
    case = Case(name, normalization, parametrization=parametrization, **shape)
    hessian, gauss_newton = case.hessian(), case.gauss_newton()
    expected: dict[Curvature, Tensor] = {
        "hessian": hessian,
        "gauss_newton": gauss_newton,
        "remainder": hessian - gauss_newton,
    }
    size = len(hessian)
    assert size > 64  # or the norm would be that of the dense matrix
    for kind, matrix in expected.items():
        operator = case.curvature(kind)
        assert operator.shape == (size, size)
        v, several = random(size), random(size, 3)
        assert_close(operator @ v, matrix @ v)
        assert_close(operator.matvec(several), matrix @ several)
        assert operator.products == 4
        if kind != "remainder":  # which makes its matrix as the Hessian does, and takes as long
            dense = operator.dense()
            assert_close(dense, matrix)
            assert torch.equal(dense.T, dense)
    split = Split.of(case.curvature, tolerance=1e-10)
    norms = [float(np.linalg.norm(matrix.numpy(), 2)) for matrix in expected.values()]
    assert [split.hessian, split.gauss_newton, split.remainder] == pytest.approx(norms, rel=1e-9)
    assert split.ratio == pytest.approx(norms[2] / norms[0], rel=1e-9)
    assert split.products > 3


@normalizations
@pytest.mark.parametrize("name", ["reaction", "wave"])  # with pairs of points; with two terms in one region
def test_in_blocks_and_recorded_anew_it_is_the_same(
    name: str, normalization: Normalization, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(name, normalization)
    v = random(len(case.theta))
    kinds: tuple[Curvature, ...] = ("hessian", "remainder")
    for kind in kinds:
        whole = case.recorded(kind)
        assert len(whole._parts) == len(case.residuals.regions)
        expected = whole @ v
        with monkeypatch.context() as patch:
            patch.setattr("pinntk.residual.loss.ELEMENTS", 30)
            blocked = case.recorded(kind)
            patch.setattr("pinntk.residual.form.KEEP", 0)
            anew = case.recorded(kind)
        assert len(blocked._parts) > 2 * len(whole._parts)
        assert anew._kept is None
        for operator in (blocked, anew, anew):  # twice: nothing is used up
            assert_close(operator @ v, expected, 1e-13)


@problems
def test_gauss_newton_of_the_plain_sum_has_the_kernels_eigenvalues(name: str) -> None:
    case = Case(name, "sum")
    operator = ResidualForm(case.residuals, case.batches, normalization="sum").curvature("gauss_newton")
    kernel = FactoredJacobian.of(case.residuals, case.batches).gram()
    assert norm(operator, 1e-10) == pytest.approx(spectral_norm(kernel), rel=1e-9)
    assert float(operator.dense().trace()) == pytest.approx(float(kernel.trace()), rel=1e-10)


def test_without_residuals_there_is_no_remainder() -> None:
    """At a network that is 0, u = 0 solves burgers' equation: the loss of its residuals is all Gauss-Newton."""
    residuals = residuals_of(PDES["burgers"])
    residuals = Residuals(residuals.pde, residuals.network, residuals.terms[:1])
    with torch.no_grad():
        for p in list(residuals.network.parameters())[-2:]:
            p.zero_()
    batches = batches_of(PDES["burgers"], residuals)
    split = Split.of(ResidualForm(residuals, batches).curvature)
    assert split.remainder == split.ratio == 0
    assert split.hessian == pytest.approx(split.gauss_newton, rel=1e-9)
    assert split.hessian > 0
    assert np.isnan(Split(0.0, 0.0, 0.0, 1).ratio)


def test_it_leaves_the_network_alone_and_needs_no_gradient_mode() -> None:
    case = Case("burgers", "mean")
    before, v = case.theta.clone(), random(len(case.theta))
    expected = case.curvature() @ v
    with torch.no_grad():
        found = case.curvature() @ v
    assert torch.equal(found, expected)
    assert torch.equal(case.theta, before)
    assert all(p.grad is None for p in case.residuals.network.parameters())


def test_single_precision_stays() -> None:
    case, double = Case("wave", "mean", dtype=torch.float32), Case("wave", "mean")
    v = random(len(double.theta))
    for kind in get_args(Curvature):
        operators: list[SymmetricOperator] = [c.curvature(kind) for c in (case, double)]
        found = operators[0] @ v.float()
        assert found.dtype == operators[0].dtype == torch.float32
        assert_close(found.double(), operators[1] @ v, 1e-4)
        assert norm(operators[0], 1e-4) == pytest.approx(norm(operators[1]), rel=1e-4)


def test_the_hessian_is_the_derivative_of_the_gradient() -> None:
    """|gradient(theta + h v) - gradient(theta) - h H v| falls as h^2."""
    case = Case("heat2d", "sum")
    theta, v = case.theta, random(len(case.theta))
    gradient = torch.func.grad(case.loss)
    start, slope = gradient(theta), case.curvature() @ v
    errors = [float((gradient(theta + h * v) - start - h * slope).norm()) for h in (1e-3, 5e-4, 2.5e-4)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_values_are_of_the_moment() -> None:
    case = Case("reaction", "mean")
    first, v = case.hessian(), random(len(case.theta))
    operator = case.curvature()
    assert_close(operator @ v, first @ v)
    with torch.no_grad():
        for p in case.residuals.network.parameters():
            p.mul_(1.1)
    assert values_of(case.residuals, case.batches).isfinite().all()
    assert_close(case.curvature() @ v, case.hessian() @ v)


@problems
def test_blocks_of_products_with_gauss_newton(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the rows of J from `BLOCK` columns on while J has at most `DENSE_ROWS` entries, else column by column."""
    case = Case(name, "mean")
    expected, size = case.gauss_newton(), len(case.theta)
    made = case.curvature("gauss_newton")
    assert isinstance(made, GaussNewton)
    entries = made.jacobian.shape[0] * made.jacobian.shape[1]
    singles: list[Tensor] = []
    one = made._product

    def counted(v: Tensor) -> Tensor:
        singles.append(v)
        return one(v)

    monkeypatch.setattr(made, "_product", counted)
    monkeypatch.setattr("pinntk.residual.hessian.BLOCK", 5)
    for limit, columns, by_rows in (
        (entries, 5, True),
        (entries, 4, False),
        (entries - 1, 5, False),
        (entries, size, True),
        (entries, 1, False),
    ):
        monkeypatch.setattr("pinntk.residual.hessian.DENSE_ROWS", limit)
        V = random(size, columns, seed=columns)
        singles.clear()
        before = made.products
        assert_close(made @ V, expected @ V)
        assert len(singles) == (0 if by_rows else columns)
        assert made.products == before + columns
