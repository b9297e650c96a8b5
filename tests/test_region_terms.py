"""Terms on all kinds of regions: residuals, kernel, weights, training, and what of a declaration is refused."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from jacobians import dense_jacobian, residuals_of
from made import EQUATION, Cooling, Saddle, line_of, made
from torch import Tensor
from training import fit, make_of

from pinntk.callbacks.kernel_points import fixed_batches, interior_rows
from pinntk.common.arrays import Array
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.pdes import Disc, Measurements, Points, Polygon, Term, jump, measured, prescribed, zero
from pinntk.pdes.declaration import check
from pinntk.residual.collocation import Collocation
from pinntk.residual.form import ResidualForm
from pinntk.residual.loss import BlockedLoss
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings
from pinntk.residual.regions import Region
from pinntk.residual.weighting import TraceWeighting

CORNER = Polygon(((-1, -1), (1, -1), (1, 0), (0, 0), (0, 1), (-1, 1)))


def FREE(s: dict[str, Tensor]) -> Tensor:
    return s["u"]


# --- terms on them ----------------------------------------------------------------------------------------------------


def part(unit: Array) -> Array:
    """The left half of the unit square."""
    return unit * [0.5, 1.0]


class Everywhere(Cooling):
    """A term on each kind of region."""

    name: ClassVar[str] = "everywhere"

    def terms(self) -> tuple[Term, ...]:
        def source(x: Tensor) -> tuple[Tensor, ...]:
            return (torch.sin(x[:, 0] + x[:, 1]),)

        return (
            Term("pairs", "periodic(x)", ("u", "u_x"), jump("u_x")),
            Term("residual", "interior", ("u_t", "u_xx"), lambda s: s["u_t"] - s["u_xx"] / 10),
            Term("left", Points("half", part, equation=True), ("u_x", "u"), lambda s: s["u_x"] + s["u"]),
            Term("flux", "x = upper", ("u_x",), prescribed("u_x"), source),
            Term("end", "t = upper", ("u",), zero("u")),
            measured("u", Measurements.of("s", {"t": [0.1, 0.2], "x": [0.3, 0.6], "u": [1, 2], "weight": [4, 9]})),
        )


def test_residuals_on_all_regions() -> None:
    """Each term by plain differentiation of the network at its points."""
    residuals = residuals_of(Everywhere())
    batches = Collocation(residuals, PointSettings(interior=9, initial=5, boundary=6), seed=0).batches(0)
    found = residuals(batches)
    assert list(found) == ["pairs", "residual", "left", "flux", "end", "measured_u"]

    def at(region: str) -> tuple[Tensor, Tensor, Tensor]:
        x = batches[region].points.clone().requires_grad_()
        u = residuals.network(x)
        return x, u, torch.autograd.grad(u.sum(), x)[0]

    x, u, slope = at("periodic(x)")
    expected = {"pairs": slope[:6, 0] - slope[6:, 0]}
    x, u, slope = at("half")
    expected["left"] = slope[:, 0] + u
    x, u, slope = at("x = upper")
    assert len(x) == 3
    expected["flux"] = slope[:, 0] - torch.sin(x.sum(1))
    expected["end"] = at("t = upper")[1]
    x, u, slope = at("s[u]")
    assert x.tolist() == [[0.3, 0.1], [0.6, 0.2]]
    expected["measured_u"] = torch.tensor([2.0, 3.0]) * (u - torch.tensor([1.0, 2.0]))
    for name, r in expected.items():
        torch.testing.assert_close(found[name], r, rtol=1e-11, atol=1e-12)


def test_the_kernel_and_the_blocks_keep_pairs_and_measurements() -> None:
    residuals = residuals_of(Everywhere())
    batches = Collocation(residuals, PointSettings(interior=9, initial=5, boundary=6), seed=0).batches(0)
    expected = dense_jacobian(residuals, batches)
    torch.testing.assert_close(FactoredJacobian.of(residuals, batches).dense(), expected, rtol=1e-10, atol=1e-11)
    r = torch.cat(list(residuals(batches).values())).detach()
    _, _, gradients = BlockedLoss(residuals, "sum", way="plain").by_term(batches)
    torch.testing.assert_close(gradients.sum(0), expected.T @ r, rtol=1e-10, atol=1e-10)


def test_blocks_of_pairs_in_another_coordinate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pinntk.residual.loss.ELEMENTS", 40)
    residuals = residuals_of(Everywhere())
    batches = Collocation(residuals, PointSettings(interior=30, initial=20, boundary=30), seed=0).batches(0)
    losses, _, _ = BlockedLoss(residuals, "mean", way="plain").by_term(batches)
    expected = torch.stack([r.square().mean() for r in residuals(batches).values()]).detach()
    torch.testing.assert_close(losses, expected, rtol=1e-12, atol=0)


def test_algorithm_1_weighs_the_equation_on_all_of_its_regions() -> None:
    residuals = residuals_of(Everywhere())
    points = Collocation(residuals, PointSettings(interior=9, initial=5, boundary=6), seed=0)
    objective = ResidualForm(residuals, points=points, weighting=TraceWeighting(), normalization="sum")
    objective.renew(0, 0)
    objective.backward()
    J, start, traces = dense_jacobian(residuals, points.batches(0)), 0, []
    for r in residuals(points.batches(0)).values():
        traces.append(float((J[start : start + len(r)] ** 2).sum()))
        start += len(r)
    of_equation = traces[1] + traces[2]
    others = sum(traces) - of_equation
    expected = [sum(traces) / (of_equation if k in (1, 2) else others) for k in range(6)]
    assert objective.lambdas is not None
    assert objective.lambdas.tolist() == pytest.approx(expected, rel=1e-10)


def test_fixed_points_of_kernels() -> None:
    many = {"x": np.linspace(0, 1, 500), "t": np.full(500, 0.5), "u": np.arange(500.0)}
    terms = [*Everywhere().terms()[:5], measured("u", Measurements.of("s", many))]
    residuals = residuals_of(Everywhere(), terms=terms)
    batches = fixed_batches(residuals, 12, 20)
    counts = {name: len(batch.points) for name, batch in batches.items()}
    assert counts == {"periodic(x)": 10, "interior": 12, "half": 12, "x = upper": 5, "t = upper": 5, "s[u]": 5}
    ((values, weights),) = batches["s[u]"].fields
    assert values.tolist() == [0, 125, 250, 374, 499]
    np.testing.assert_allclose(batches["s[u]"].points[:, 0].numpy() * 499, values.numpy(), rtol=1e-12)
    assert weights.tolist() == [1] * 5
    jacobian = FactoredJacobian.of(residuals, batches)
    rows = interior_rows(jacobian, residuals)
    assert rows.nonzero().flatten().tolist() == list(range(5, 5 + 24))


def test_a_problem_on_an_l_is_trained() -> None:
    """Laplace's equation with u = x^2 - y^2 on the boundary, its slope on one side, and two sensors."""

    class Corner(Saddle):
        name = "corner"
        shape = CORNER

        def terms(self) -> tuple[Term, ...]:
            sensors = Measurements.of("sensors", {"x": [-0.5, 0.5], "y": [0.5, -0.25], "u": [0.0, 0.1875]})
            slope = Term("slope", "x = lower", ("u_x",), prescribed("u_x"), lambda x: (2 * x[:, 0],))
            return *super().terms(), slope, measured("u", sensors)

    pde = Corner()
    check(pde)
    points = PointSettings(interior=60, boundary=40)
    method = make_of(NTKNaturalGradient, pde, points, width=12, adam={"steps": 5}, natural_gradient={"steps": 12})
    fit(method)
    x = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    x = x[CORNER.contains(x)]
    assert np.abs(method.network.predict(x) - (x[:, 0] ** 2 - x[:, 1] ** 2)).max() < 0.05


# --- what counts, and what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("regions", "without"),
    [
        (["interior"], {"initial", "boundary"}),
        (["interior", "x = lower"], {"initial"}),
        (["interior", "t = upper"], {"boundary"}),
        (["interior", "periodic(t)"], {"initial"}),
        (["interior", Points("p", part)], {"initial"}),
        (["interior", Points("p", part, count=3)], {"initial", "boundary"}),
        ([Points("p", part, equation=True)], {"initial", "boundary", "by_residual"}),
        ([Points("p", part, equation=True, count=3), "initial"], {"interior", "boundary", "by_residual"}),
        (["interior", Measurements.of("m", {"x": [0.5], "t": [0.5]})], {"initial", "boundary"}),
    ],
)
def test_which_counts_count(regions: list[str | Region], without: set[str]) -> None:
    pde = made(terms=lambda self: tuple(Term(f"t{k}", r, ("u",), FREE) for k, r in enumerate(regions)))
    assert set(pde.counts_without_effect()) == without


@pytest.mark.parametrize(("region", "counts"), [("x = lower", False), (Points("p", lambda unit: unit), True)])
def test_a_face_that_is_a_point_does_not_count(region: str | Region, counts: bool) -> None:
    box: dict[str, Any] = {"coordinates": ("x",), "lower": (0.0,), "upper": (1.0,)}
    terms = Term("a", "interior", ("u",), FREE), Term("b", region, ("u",), FREE)
    assert ("boundary" in made(terms=lambda self: terms, **box).counts_without_effect()) is not counts


CALLS = iter(range(1000))
WRONG_REGIONS: dict[str, tuple[Any, str]] = {
    "one column": (Points("p", lambda unit: unit[:, :1]), "'p' came with shape (32, 1); allowed is (32, 2), points of"),
    "flat": (Points("p", lambda unit: unit[:, 0]), "'p' came with shape (32,); allowed is (32, 2)"),
    "fewer": (Points("p", lambda unit: unit[:5]), "'p' came with shape (5, 2); allowed is (32, 2)"),
    "no images": (Points("p", lambda unit: unit, pairs=True), "shape (32, 2); allowed is (64, 2), pairs of points of"),
    "outside": (Points("p", lambda unit: unit + [0, 1]), "'p' has the point ["),
    "nan": (Points("p", lambda unit: unit * math.nan), "'p' has points that are NaN or infinite; allowed"),
    "another draw": (
        Points("p", lambda unit: unit / (1 + next(CALLS))),
        "'p' came with other points for the same draw",
    ),
    "raises": (Points("p", lambda unit: unit.nothing), "region 'p' ended in AttributeError"),  # type: ignore[attr-defined]
    "taken": (Points("initial", part), "region 'initial': a string stands for another of this name; allowed"),
    "a face's": (Points("x = lower", part), "region 'x = lower': a string stands for another of this name; allowed"),
    "length": (Points("p", part, lambda x: 2 * np.eye(2)[0] + 0 * x), "a normal of region 'p' has length 2 at ["),
    "normals": (
        Points("p", part, lambda x: x[:, 0]),
        "the normals of region 'p' came with shape (32,); allowed is (32, 2)",
    ),
    "no region": (7, "region 7; allowed: boundary, initial"),
}


@pytest.mark.parametrize("case", WRONG_REGIONS)
def test_a_wrong_region_is_a_line(case: str) -> None:
    region, words = WRONG_REGIONS[case]
    line = line_of(made(terms=lambda self: (EQUATION, Term("there", region, ("u",), FREE))))
    assert line.startswith("pde=case: term 'there': ")
    assert words in line


def test_two_regions_of_one_name() -> None:
    one, other = Points("p", part), Points("p", part)
    terms = EQUATION, Term("a", one, ("u",), FREE), Term("b", one, ("u_x",), zero("u_x"))
    check(made(terms=lambda self: terms))
    wrong = (*terms, Term("c", other, ("u",), FREE))
    assert "term 'c': region 'p': two have this name; allowed" in line_of(made(terms=lambda self: wrong))


def test_an_equation_on_a_part_alone() -> None:
    check(made(terms=lambda self: (Term("r", Points("half", part, equation=True), ("u",), FREE),)))
    line = line_of(made(terms=lambda self: (Term("r", Points("half", part), ("u",), FREE),)))
    assert "none in the region 'interior' or another of the equation" in line


class Sloped(Disc):
    """Whose normals are not of length 1."""

    def normals(self, points: Array) -> Array:
        return super().normals(points) * 2


WRONG_SHAPES: dict[str, tuple[Any, str]] = {
    "no shape": ("disc", "shape came as a str; allowed is a Shape"),
    "too large": (Disc((0.0, 0.0), 1.1), "shape from [-1.1, -1.1] to [1.1, 1.1]; allowed is one inside of the box"),
    "normals": (Sloped((0.0, 0.0), 1.0), "a normal of region 'boundary' has length 2 at ["),
}


@pytest.mark.parametrize("case", WRONG_SHAPES)
def test_a_wrong_shape_is_a_line(case: str) -> None:
    shape, words = WRONG_SHAPES[case]
    assert words in line_of(made(Saddle, shape=shape))


def test_a_shape_needs_space_and_no_grid_of_its_own() -> None:
    assert "shape in 2 coordinates; allowed are as many as in space, 1, from 2" in line_of(made(shape=CORNER))
    scheme = made(Saddle, shape=CORNER, Discretization=object)
    assert "shape in a problem with a discrete form" in line_of(scheme)
    check(made(Saddle, shape=CORNER))
    check(made(Saddle, shape=Disc((0.0, 0.0), 1.0)), torch.float32)


def test_factories_name_their_stream() -> None:
    values = {"u": torch.tensor([1.0, 2.0]), "v_x": torch.tensor([5.0, 9.0])}
    assert prescribed("v_x")(values, torch.tensor([3.0, 4.0])).tolist() == [2.0, 5.0]
    assert zero("v_x")(values).tolist() == [5.0, 9.0]
    assert jump("v_x")(values).tolist() == [-4.0]
