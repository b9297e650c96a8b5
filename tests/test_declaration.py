"""What is wrong with a declaration is a line before anything is trained or written; what is right trains right."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from made import EQUATION, Cooling, Saddle, TimeFirst, Torus, line_of, made, with_term
from torch import Tensor

from pinntk.common.errors import BadInput
from pinntk.launch.cli import compose
from pinntk.network import Network, NetworkSettings
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, Term, periodic, vanishing
from pinntk.pdes.convection import Convection
from pinntk.pdes.declaration import check, reference_of
from pinntk.pdes.references import Reference
from pinntk.residual.collocation import Collocation
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Residuals
from pinntk.runs.settings import RunSettings

TRAINABLE = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
TABLE = torch.ones(1, dtype=torch.float64)


def shuffled(s: dict[str, Tensor]) -> Tensor:
    return s["u"] - s["u"].sort().values


WRONG_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "column": ({"fields": lambda x: (torch.sin(x[:, 0:1]),)}, "shape (32, 32) from data of shape (32, 1): drop the"),
    "column of u": ({"residual": lambda s, f: (s["u"] - f)[:, None]}, "shape (32, 1); allowed is one number for each"),
    "mean": ({"residual": lambda s, f: s["u"].mean()[None]}, "shape (1,); allowed is one number for each point, (32,)"),
    "scalar": ({"residual": lambda s, f: (s["u"] - f).square().sum()}, "shape ()"),
    "selection": ({"residual": lambda s, f: s["u"][:5]}, "shape (5,)"),
    "several": ({"residual": lambda s, f: (s["u"], f)}, "a tuple of Tensor"),
    "centred": ({"residual": lambda s, f: s["u"] - s["u"].mean()}, "change where other points are left out"),
    "running sum": ({"residual": lambda s, f: s["u"].cumsum(0)}, "change where other points are left out"),
    "order": ({"residual": lambda s, f: shuffled(s)}, "change where other points are left out"),
    "scaled data": ({"fields": lambda x: (x[:, 0] / x[:, 0].max(),)}, "change where other points are left out"),
    "random data": ({"fields": lambda x: (torch.randn(len(x), dtype=x.dtype),)}, "change where other points are"),
    "nan": ({"residual": lambda s, f: (s["u"] - 9).sqrt()}, "residual is nan at ["),
    "nan data": ({"fields": lambda x: (x[:, 0] / 0 * 0,)}, "data is NaN or infinite"),
    "slope": ({"residual": lambda s, f: (0 * s["u"]).sqrt()}, "derivative that is not finite"),
    "constant": ({"residual": lambda s, f: f}, "does not depend on the network"),
    "detached": ({"residual": lambda s, f: s["u"].detach() - f}, "does not depend on the network"),
    "parameter": ({"residual": lambda s, f: TRAINABLE * s["u"] - f}, "depends on a parameter of its own"),
    "parameter in data": ({"fields": lambda x: (TRAINABLE * x[:, 0],)}, "depends on a parameter"),
    "complex data": ({"fields": lambda x: (1j * x[:, 0],)}, "complex128"),
    "not a tuple": ({"fields": lambda x: x[:, 0]}, "a tensor of shape (32,); allowed is a tuple of tensors"),
    "one number": ({"fields": lambda x: (torch.tensor(1.0),)}, "shape () for 32 points"),
    "moved points": ({"fields": lambda x: (x.mul_(2)[:, 0],)}, "changes the points"),
    "undeclared stream": ({"residual": lambda s, f: s["u_x"] - f}, "uses stream 'u_x'; allowed are its own: u"),
    "raises": ({"residual": lambda s, f: s["u"] - f.nothing}, "AttributeError: 'Tensor' object has no attribute"),
    "fifth derivative": ({"streams": ("u_xxxxx",)}, "stream 'u_xxxxx': allowed are u, and derivatives up to order 4"),
    "not listed": ({"streams": ("u_xt",)}, "uses stream 'u'; allowed are its own: u_xt"),
    "second field": ({"streams": ("u", "v")}, "stream 'v': allowed are u, and derivatives up to order 4 in x, t"),
    "no tuple": ({"streams": "u_x"}, "streams='u_x'; allowed is a tuple"),
    "operator's name": ({"streams": (Operator("u_x", {"u_x": 2.0}),)}, "operator 'u_x': a derivative has this name"),
    "operator": ({"streams": (Operator("L", {"u_x": TRAINABLE}),)}, "operator 'L'"),  # type: ignore[dict-item]
    "region": ({"region": "data"}, "region 'data'; allowed: boundary, initial, interior, periodic"),
    "misspelt region": ({"region": "boundry"}, "region 'boundry'; did you mean 'boundary'?"),
    "twice": ({"name": "residual"}, "term 'residual': two terms have this name"),
    "a metric": ({"name": "loss"}, "term 'loss': a figure of every run's own has this name"),
    "a result": ({"name": "status"}, "term 'status': a figure of every run's own has this name"),
    "a weight": ({"name": "lambda_start"}, "term 'lambda_start'"),
    "dotted": ({"name": "start.x"}, "letters, digits and _ -"),
}


@pytest.mark.parametrize("case", WRONG_TERMS)
def test_a_wrong_term_is_a_line(case: str) -> None:
    changes, words = WRONG_TERMS[case]
    line = line_of(with_term(**changes))
    assert line.startswith("pde=case: term ")
    assert repr(changes.get("name", "start")) in line
    assert words in line


def test_a_line_says_where_in_the_file_it_went_wrong() -> None:
    line = line_of(with_term(residual=lambda s, f: s["u"] - f.nothing))
    assert "(made.py" not in line  # the lambda is in this file, of which the problem's class is not
    line = line_of(made(place=lambda self, x: x[:, 7]))
    assert "(made.py, line " in line


def test_of_a_pair_of_points_one_number() -> None:
    def both(s: dict[str, Tensor]) -> Tensor:
        return s["u"]

    def centred(s: dict[str, Tensor]) -> Tensor:
        return periodic(s) - periodic(s).mean()

    for residual, words in ((both, "one number for each pair of points, (32,)"), (centred, "left out")):
        term = Term("around", "periodic", ("u",), residual)
        assert words in line_of(made(terms=lambda self, term=term: (EQUATION, term)))


def test_every_term_and_its_first_fault() -> None:
    wrong = Term("one", "initial", ("u_xxx",), vanishing), Term("two", "nowhere", ("u",), vanishing)
    with pytest.raises(BadInput) as caught:
        check(made(terms=lambda self: (EQUATION, *wrong)))
    lines = sorted(caught.value.messages)
    assert [line.split(": ")[1] for line in lines] == ["term 'one'", "term 'two'"]


def test_two_operators_of_one_name_in_a_region() -> None:
    one, two = (Term(f"t{k}", "interior", (Operator("L", {"u_t": k}),), lambda s: s["L"]) for k in (1, 2))
    assert "region 'interior': stream 'L': two operators" in line_of(made(terms=lambda self: (one, two)))


STEADY: dict[str, Any] = {"coordinates": ("x", "y"), "terms": lambda self: (Term("r", "interior", ("u",), vanishing),)}
AT_START = Term("start", "initial", ("u",), vanishing)
WRONG_PROBLEMS: dict[str, tuple[dict[str, Any], str]] = {
    "no such time": (
        {**STEADY, "terms": lambda self: (*STEADY["terms"](self), AT_START)},
        "term 'start': region 'initial'; allowed: boundary, interior, periodic",
    ),
    "no terms": ({"terms": lambda self: ()}, "terms() came as a tuple; allowed is a tuple of at least one Term"),
    "one term": ({"terms": lambda self: EQUATION}, "terms() came as a Term"),
    "no equation": ({"terms": lambda self: (AT_START,)}, "none in the region 'interior'"),
    "coordinates twice": ({"coordinates": ("x", "x")}, "have one name"),
    "derivatives alike": ({"coordinates": ("x", "xx")}, "have one name"),
    "coordinates": ({"coordinates": "xt"}, "coordinates='xt'; allowed is a tuple of names"),
    "lower": ({"lower": (0.0,)}, "lower=(0.0,); allowed is a tuple of finite numbers, 2 of them, for x, t"),
    "upper": ({"upper": (1.0, math.inf)}, "upper=(1.0, inf)"),
    "no tuple": ({"upper": 1.0}, "upper=1.0"),
    "order": ({"lower": (0.0, 1.0)}, "lower=1, upper=1 in t; allowed is lower < upper"),
    "shape": ({"evaluation_shape": (21,)}, "evaluation_shape=(21,); allowed is a tuple of whole numbers from 2, 2"),
    "one point": ({"evaluation_shape": (21, 1)}, "evaluation_shape=(21, 1)"),
    "points' shape": ({"evaluation_points": lambda self: np.zeros(7)}, "shape (7,); allowed is (n, 2), for x, t"),
    "points outside": ({"evaluation_points": lambda self: np.full((7, 2), 1.5)}, "[1.5, 1.5]; allowed are points of"),
    "points change": (
        {"evaluation_points": lambda self: np.random.default_rng().random((7, 2))},
        "other points when asked again",
    ),
    "name": ({"name": "a/b"}, "name='a/b'; allowed are letters"),
    "time of a scheme": (
        {"coordinates": ("t", "x"), "Discretization": Convection.Discretization},
        "allowed in a problem with a discrete form is t as the last",
    ),
}


@pytest.mark.parametrize("case", WRONG_PROBLEMS)
def test_a_wrong_problem_is_a_line(case: str) -> None:
    attributes, words = WRONG_PROBLEMS[case]
    assert words in line_of(made(**attributes))


def test_a_missing_evaluation_shape_is_the_default_for_x_and_t() -> None:
    terms = Torus().terms()
    box: dict[str, Any] = {"coordinates": ("x",), "lower": (0.0,), "upper": (1.0,)}
    case = made(Saddle, evaluation_points=PDE.evaluation_points, terms=lambda self: terms, **box)
    assert "evaluation_shape=(257, 101) (the default); allowed" in line_of(case)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", [Cooling, TimeFirst, Saddle, Torus])
def test_right_problems_pass(kind: type[PDE], dtype: torch.dtype) -> None:
    check(kind(), dtype)
    reference_of(kind())


@pytest.mark.parametrize("name", ["burgers", "convection", "heat2d", "poisson1d", "reaction", "wave"])
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_our_own_problems_pass_at_once(name: str, precision: str) -> None:
    started = time.process_time()
    RunSettings.read(compose([f"pde={name}", "method=adam", f"precision={precision}"]))
    assert time.process_time() - started < 5  # composing included, which takes most of it


def test_a_table_in_double_precision() -> None:
    """As data it is converted; inside of a residual nobody can, and all that follows would be in double precision."""
    table = with_term(fields=lambda x: (np.sin(np.pi * x[:, 0].double().numpy()),))
    check(table, torch.float32)
    network = Network(NetworkSettings(width=5), table.coordinates, table.lower, table.upper, dtype=torch.float32)
    residuals = Residuals(table, network)
    x = torch.tensor([[0.25, 0.0], [0.5, 0.0]])
    found = residuals.of_region("initial", residuals.prepare_region("initial", x))["start"]
    assert found.dtype == torch.float32
    expected = network(x) - torch.tensor([math.sqrt(0.5), 1.0])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)

    inside = with_term(residual=lambda s, f: s["u"] - TABLE)
    check(inside)
    assert "torch.float64 on cpu; allowed is torch.float32 on cpu" in line_of(inside, torch.float32)


def test_the_time_may_stand_anywhere() -> None:
    """The same points, whatever the order of the coordinates, and values at t = 0 where they belong."""
    regions = ("interior", "initial", "boundary", "periodic")
    settings = PointSettings(interior=50, initial=20, boundary=20)
    orders = [("x", "y", "t"), ("t", "x", "y"), ("x", "t", "y")]
    box = {"x": (-1.0, 2.0), "y": (0.0, 1.0), "t": (5.0, 9.0)}
    drawn = []
    for names in orders:
        lower, upper = zip(*(box[name] for name in names), strict=True)
        found = sample(settings, names, lower, upper, regions, seed=3)
        drawn.append({region: x[:, [names.index(name) for name in orders[0]]] for region, x in found.items()})
    for other in drawn[1:]:
        for region in regions:
            np.testing.assert_array_equal(other[region], drawn[0][region])
    assert (drawn[0]["initial"][:, 2] == 5).all()
    lower_face, image = np.split(drawn[0]["periodic"], 2)
    assert (lower_face[:, 0] == -1).all()
    np.testing.assert_array_equal(image - lower_face, np.tile([3.0, 0.0, 0.0], (20, 1)))


@pytest.mark.parametrize("kind", [Cooling, TimeFirst])
def test_residuals_of_the_solution_vanish_on_the_drawn_points(kind: type[Cooling]) -> None:
    pde = kind()
    network = Network(NetworkSettings(width=3), pde.coordinates, pde.lower, pde.upper)
    residuals = Residuals(pde, network)
    points = PointSettings(interior=40, initial=10, boundary=10)
    for region, batch in Collocation(residuals, points, seed=0).batches(0).items():
        x = batch.points.clone().requires_grad_()
        u = pde.solution(x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        values = {"u": u}
        for c, name in enumerate(pde.coordinates):
            second = torch.autograd.grad(first[:, c].sum(), x, retain_graph=True)[0][:, c]
            values |= {f"u_{name}": first[:, c], f"u_{2 * name}": second}
        for term, fields in zip(residuals.terms_of[region], batch.fields, strict=True):
            assert float(term.of_derivatives(values, *fields).detach().abs().max()) < 1e-12, term.name


def test_an_initial_value_problem_in_time_alone() -> None:
    decay = Term("residual", "interior", ("u", "u_t"), lambda s: s["u_t"] + s["u"])
    start = Term("start", "initial", ("u",), lambda s: s["u"] - 1)
    box: dict[str, Any] = {"coordinates": ("t",), "lower": (0.0,), "upper": (1.0,), "evaluation_shape": (11,)}
    check(made(terms=lambda self: (decay, start), **box))
    walls = Term("walls", "boundary", ("u",), vanishing)
    assert "allowed: initial, interior" in line_of(made(terms=lambda self: (decay, walls), **box))


def referring(values: Any, accuracy: Any = 1e-9) -> PDE:
    return made(reference=lambda self: Reference(values, accuracy))


GRID = np.arange(1.0, 1 + 21 * 11)
RIGHT_REFERENCES: dict[str, Any] = {
    "as it is": GRID,
    "column": GRID[:, None],
    "grid": GRID.reshape(21, 11),
    "float32": GRID.astype(np.float32),
    "whole": GRID.astype(int),
    "tensor": torch.from_numpy(GRID).requires_grad_(),
    "list": GRID.tolist(),
}


@pytest.mark.parametrize("case", RIGHT_REFERENCES)
def test_references_that_are_right_after_conversion(case: str) -> None:
    found = reference_of(referring(RIGHT_REFERENCES[case], np.float32(0)))
    assert found is not None
    assert found.values.dtype == np.float64
    np.testing.assert_array_equal(found.values, GRID)
    assert found.accuracy == 0


WRONG_REFERENCES: dict[str, tuple[PDE, str]] = {
    "nan": (referring(np.where(GRID == 7, np.nan, GRID)), "1 values of 231 that are NaN or infinite"),
    "inf": (referring(np.where(GRID < 3, np.inf, GRID)), "2 values of 231 that are NaN or infinite"),
    "zero": (referring(0 * GRID), "norm 0, relative to which there is no error"),
    "length": (referring(GRID[1:]), "shape (230,); allowed is (231,)"),
    "transposed grid": (referring(GRID.reshape(11, 21)), "shape (11, 21)"),
    "two columns": (referring(np.stack([GRID, GRID], axis=1)), "shape (231, 2)"),
    "complex": (referring(1j * GRID), "dtype complex128; allowed are real numbers"),
    "words": (referring(["a"] * 231), "allowed are real numbers"),
    "none": (referring(None), "allowed are real numbers"),
    "no reference": (made(reference=lambda self: GRID), "came as a ndarray; allowed is a Reference(values, accuracy)"),
    "accuracy": (referring(GRID, math.nan), "accuracy=nan"),
    "no accuracy": (referring(GRID, None), "accuracy=None"),
    "no file": (made(reference=lambda self: np.load("no such file.npy")), "FileNotFoundError"),
}


@pytest.mark.parametrize("case", WRONG_REFERENCES)
def test_a_wrong_reference_is_a_line(case: str) -> None:
    pde, words = WRONG_REFERENCES[case]
    with pytest.raises(ValueError, match=r"^pde=case: reference\(\)") as caught:
        reference_of(pde)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
