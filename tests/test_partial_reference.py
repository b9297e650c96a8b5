"""References with gaps, of several fields, or of none: the error of them, and the check of what a problem gives."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from made import Cooling, Saddle, line_of, made, with_term
from torch import Tensor
from training import fit, make

from pinntk.callbacks import ErrorAgainstReference, SolutionPlot
from pinntk.common.arrays import Array, l2re, l2re_by_field
from pinntk.discrete.theorem1 import Theorem1
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.methods import Method
from pinntk.pdes import PartialReference, Reference
from pinntk.pdes.declaration import reference_of
from pinntk.pdes.poisson1d import Poisson1D


class Pair(Cooling):
    """Two fields, of which the second is 3 x + t."""

    name: ClassVar[str] = "pair"
    fields: ClassVar[tuple[str, ...]] = ("u", "v")

    def solution(self, x: Tensor) -> Tensor:
        return torch.stack([super().solution(x), 3 * x[:, 0] + x[:, 1]], dim=1)


def predicted(points: Array) -> Array:
    """What a network of two fields might predict: u + 0.5 and v (1 + 0.25)."""
    exact = Pair().solution(torch.from_numpy(points)).numpy()
    return np.asarray(exact * [1.0, 1.25] + [0.5, 0.0])


@pytest.fixture
def method(monkeypatch: pytest.MonkeyPatch) -> Method:
    """A method on `Pair` that predicts so."""
    found = make()
    found.pde = Pair()
    monkeypatch.setattr(found.network, "predict", predicted)
    return found


def by_hand(prediction: Array, reference: Array) -> float:
    """The relative error of what is known, entry by entry."""
    pairs = [(p, r) for p, r in zip(prediction.ravel(), reference.ravel(), strict=True) if r == r]
    return math.sqrt(math.fsum((p - r) ** 2 for p, r in pairs) / math.fsum(r**2 for _, r in pairs))


def test_what_is_not_known_counts_in_neither_norm() -> None:
    rng = np.random.default_rng(0)
    prediction, reference = rng.normal(size=(2, 50, 3))
    reference[rng.random((50, 3)) < 0.3] = np.nan
    assert l2re(prediction, reference) == pytest.approx(by_hand(prediction, reference), rel=1e-14)
    found = l2re_by_field(prediction, reference, ["u", "v", "p"])
    expected = [by_hand(prediction[:, k], reference[:, k]) for k in range(3)]
    assert list(found) == ["u", "v", "p"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-14)
    assert l2re(prediction[:, 0], reference[:, 0]) == found["u"]
    assert math.isnan(l2re(prediction, np.full((50, 3), np.nan)))
    reference[:, 1], reference[:, 2] = 0, np.nan
    found = l2re_by_field(prediction, reference, ["u", "v", "p"])
    assert [math.isnan(error) for error in found.values()] == [False, True, True]


@pytest.mark.parametrize("shape", [(231, 2), (21, 11, 2)])
def test_values_of_several_fields(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).normal(size=shape)
    found = reference_of(made(Pair, reference=lambda self: Reference(torch.tensor(values), 0.0)))  # type: ignore[arg-type]
    assert found is not None
    np.testing.assert_array_equal(found.values, values.reshape(231, 2))
    closed = reference_of(Pair())
    assert closed is not None
    x, t = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 11), indexing="ij")
    np.testing.assert_allclose(closed.values[:, 1], (3 * x + t).ravel(), rtol=1e-15)


def test_a_column_of_a_grid_is_one_field() -> None:
    values = np.random.default_rng(0).normal(size=(21, 11, 1))
    found = reference_of(made(Cooling, reference=lambda self: Reference(values, 0.0)))
    assert found is not None
    np.testing.assert_array_equal(found.values, values.ravel())


HOLE = np.where(np.arange(231) % 7 == 0, np.nan, 1.0)


@pytest.mark.parametrize(
    ("base", "given", "line"),
    [
        (Cooling, Reference(HOLE, 0.0), "has 33 values of 231 that are NaN or infinite; allowed are finite ones (NaN"),
        (Cooling, PartialReference(HOLE * math.inf), "has 198 values of 231 that are infinite; allowed are finite"),
        (Cooling, PartialReference(0 * HOLE), "has values of norm 0, relative to which there is no error"),
        (Cooling, PartialReference(HOLE * np.nan), "has values of norm 0, relative to which there is no error"),
        (Cooling, PartialReference(HOLE, -1.0), "has accuracy=-1.0; allowed is a finite number, at least 0"),
        (Cooling, Reference(np.ones(231), math.nan), "has accuracy=nan; allowed is a finite number, at least 0"),
        (Cooling, Reference(np.ones((231, 2)), 0.0), "has values of shape (231, 2); allowed is (231,), one for each"),
        (Pair, Reference(np.ones(231), 0.0), "has values of shape (231,); allowed is (231, 2), one for each"
         " evaluation point and each of u, v"),
        (Pair, Reference(np.ones((2, 231)), 0.0), "has values of shape (2, 231); allowed is (231, 2)"),
    ],
)  # fmt: skip
def test_the_line_about_values(base: Any, given: Reference, line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"pde=case: reference() {line}")):
        reference_of(made(base, reference=lambda self: given))


def test_a_closed_form_with_nan_is_refused() -> None:
    broken = made(Cooling, solution=lambda self, x: torch.sqrt(x[:, 0] - 0.12))
    with pytest.raises(ValueError, match=r"has 33 values of 231 that are NaN or infinite; allowed are finite ones"):
        reference_of(broken)


def test_gaps_and_no_accuracy_are_kept() -> None:
    found = reference_of(made(Cooling, reference=lambda self: PartialReference(HOLE)))
    assert isinstance(found, PartialReference)
    np.testing.assert_array_equal(found.values, HOLE)
    assert math.isnan(found.accuracy)


def test_no_reference() -> None:
    assert reference_of(made(Saddle, reference=lambda self: None)) is None


@pytest.mark.parametrize("name", ["estimates", "estimate_nu", "l2re_u", "l2re_by_field", "reference_known"])
def test_names_that_no_term_may_have(name: str) -> None:
    assert f"term {name!r}: a figure of every run's own has this name" in line_of(with_term(name=name))


def test_errors_of_several_fields_are_measured_and_logged(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[dict[str, float]] = []
    monkeypatch.setattr(method, "log_figures", logged.append)
    reference = reference_of(method.pde)
    assert reference is not None
    error = ErrorAgainstReference(reference, 10)
    error.measure(method)
    u, v = reference.values.T
    expected = {"u": 0.5 * math.sqrt(231) / np.linalg.norm(u), "v": 0.25}
    assert error.l2re_by_field == pytest.approx(expected, rel=1e-13)
    together = math.sqrt(231 * 0.25 + float((0.25 * v) @ (0.25 * v))) / math.sqrt(float(u @ u + v @ v))
    assert error.l2re == pytest.approx(together, rel=1e-13)
    each = {f"l2re_{name}": error.l2re_by_field[name] for name in "uv"}
    assert logged == [{"l2re": error.l2re, **each, "seconds": 0}]
    again = ErrorAgainstReference(reference, 10)
    again.load_state_dict(error.state_dict())
    assert (again.l2re, again.l2re_by_field) == (error.l2re, error.l2re_by_field)
    older = {name: value for name, value in error.state_dict().items() if name != "l2re_by_field"}
    again.load_state_dict(older)
    assert again.l2re_by_field == {}
    # A field that is nowhere but zero has no relative error, and none is logged.
    nothing = reference.values * [1.0, 0.0]
    error = ErrorAgainstReference(Reference(nothing, 0.0), 10)
    error.measure(method)
    assert list(logged[1]) == ["l2re", "l2re_u", "seconds"]


def test_without_a_reference_there_are_times_and_no_errors(tmp_path: Path) -> None:
    method, log = make(), MetricsCSV(tmp_path)
    error = ErrorAgainstReference(None, 25)
    fit(method, [error], logger=log)
    assert [k for k, row in log.rows.items() if "seconds" in row] == [25, 50, 60]
    assert not any("l2re" in row for row in log.rows.values())
    assert math.isnan(error.l2re)
    assert error.l2re_at_lowest_loss is None


def test_solution_files_of_several_fields(method: Method, tmp_path: Path) -> None:
    reference = reference_of(method.pde)
    SolutionPlot(tmp_path, reference).write(method)
    with np.load(tmp_path / "solution.npz") as saved:
        assert sorted(saved) == ["coordinates", "fields", "names", "prediction", "reference"]
        assert saved["fields"].tolist() == ["u", "v"]
        assert reference is not None
        np.testing.assert_array_equal(saved["reference"], reference.values)
        np.testing.assert_array_equal(saved["prediction"], predicted(saved["coordinates"]))
    (tmp_path / "solution.npz").unlink()
    SolutionPlot(tmp_path, None).write(method)
    with np.load(tmp_path / "solution.npz") as saved:
        assert sorted(saved) == ["coordinates", "fields", "names", "prediction"]


def test_theorem_1_leaves_out_what_is_not_known() -> None:
    x = np.linspace(0.0, 1.0, 101)[:-1, None]
    u = np.sin(2 * math.pi * x[:, 0])
    gaps = np.concatenate([u, np.full(3, np.nan)])
    more = np.concatenate([x, [[0.125], [0.625], [0.9]]])
    f = -4 * math.pi**2 * np.sin(2 * math.pi * more[:, 0])  # the forcing is known everywhere
    found = Theorem1(Poisson1D(a=2), more, gaps, condition=4.0)
    assert found.factor == pytest.approx(float(np.mean(f**2) / np.mean(u**2)) / 16, rel=1e-12)
    with pytest.raises(ValueError, match="Theorem 1 is about a single field"):
        Theorem1(Pair(), Pair().evaluation_points(), np.ones((231, 2)), 1.0)
