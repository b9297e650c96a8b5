"""Standard errors of unknown coefficients, against those of linear regression."""

import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from pinntk.network import Coefficient, Network, NetworkSettings, Unknown
from pinntk.pdes import PDE, Measurements, Term, measured
from pinntk.residual.form import ResidualForm
from pinntk.residual.points import draw_region
from pinntk.residual.residuals import Residuals
from pinntk.residual.uncertainty import standard_errors

N = 40
X = np.linspace(0.0, 1.0, N)


def noisy(seed: int, sigma: float = 0.05) -> np.ndarray:
    found: np.ndarray = 2.0 + 3.0 * X + sigma * np.random.default_rng(seed).standard_normal(N)
    return found


class Line(PDE):
    """``v = a + b x`` measured, where v is a network held to ``a + b x`` by a strong equation: regression of a line."""

    name: ClassVar[str] = "line"
    coordinates: ClassVar[tuple[str, ...]] = ("x",)
    lower: ClassVar[tuple[float, ...]] = (0.0,)
    upper: ClassVar[tuple[float, ...]] = (1.0,)
    evaluation_shape: ClassVar[tuple[int, ...]] = (5,)
    data: ClassVar[np.ndarray] = noisy(0)

    a: Coefficient = Unknown(start=1.9)
    b: Coefficient = Unknown(start=2.5, positive=True)

    def terms(self) -> tuple[Term, ...]:
        table = Measurements.of("table", {"x": X, "u": self.data})
        return (
            Term("line", "interior", ("u", "a", "b"), lambda s, x: s["u"] - s["a"] - s["b"] * x, lambda x: (x[:, 0],)),
            measured("u", table),
        )


def made(data: np.ndarray, steps: int = 200, weight: float = 1e4) -> ResidualForm:
    """At the minimum, by scipy."""
    pde = type("Case", (Line,), {"__module__": __name__, "data": data})()
    network = Network.of(pde, NetworkSettings(width=4, depth=1))
    residuals = Residuals(pde, network)
    points = {"interior": torch.linspace(0, 1, 60, dtype=torch.float64)[:, None]}
    for name, region in residuals.region_of.items():
        if name != "interior":
            points[name] = torch.from_numpy(region.draw(1, None))  # type: ignore[arg-type]
    objective = ResidualForm(residuals, residuals.prepare(points), weights={"line": weight})

    def residual(theta: np.ndarray) -> np.ndarray:
        objective.assign(torch.from_numpy(theta))
        return objective.residuals().numpy()

    def jacobian(theta: np.ndarray) -> np.ndarray:
        objective.assign(torch.from_numpy(theta))
        return objective.jacobian()[2].dense().numpy()

    if steps:
        found = least_squares(residual, network.vector().numpy(), jacobian, max_nfev=steps)
        objective.assign(torch.from_numpy(found.x))
    return objective


def test_a_line_fitted_through_a_network_is_linear_regression() -> None:
    data = noisy(0)
    objective = made(data)
    design = np.column_stack([np.ones(N), X])
    fitted, squares, _, _ = np.linalg.lstsq(design, data, rcond=None)
    estimates = objective.network.coefficients.estimates()
    assert estimates["a"] == pytest.approx(fitted[0], abs=2e-3)
    assert estimates["b"] == pytest.approx(fitted[1], abs=4e-3)
    covariance = squares[0] / (N - 2) * np.linalg.inv(design.T @ design)
    found = standard_errors(objective, ["measured_u"])
    assert found["a"] == pytest.approx(math.sqrt(covariance[0, 0]), rel=0.03)
    assert found["b"] == pytest.approx(math.sqrt(covariance[1, 1]), rel=0.03)


def test_without_measurements_there_is_none() -> None:
    with pytest.raises(ValueError, match="no measurements"):
        standard_errors(made(noisy(1), steps=0), ["other"])


def test_a_positive_coefficient_is_its_exponential() -> None:
    network = Network.of(Line(), NetworkSettings(width=3, depth=1))
    parameters = dict(network.named_parameters())
    assert float(parameters["coefficients.trained.b"].detach()) == pytest.approx(math.log(2.5), rel=1e-15)
    assert network.coefficients.estimates() == pytest.approx({"a": 1.9, "b": 2.5})
    x: Tensor = torch.zeros(3, 1, dtype=torch.float64)
    assert network.streams(x, network.wanting("b"))["b"].detach().tolist() == pytest.approx([2.5] * 3)


class Sum(Line):
    """Only ``a + b`` counts; the measurements may have further ones of weight 0."""

    name: ClassVar[str] = "sum"
    idle: ClassVar[int] = 0
    b: Coefficient = 0.0

    def terms(self) -> tuple[Term, ...]:
        x, u = np.tile(X, 1 + self.idle), np.tile(self.data, 1 + self.idle)
        weight = np.concatenate([np.ones(N), np.zeros(N * self.idle)])
        table = Measurements.of("table", {"x": x, "u": u, "weight": weight})
        return Term("sum", "interior", ("u", "a", "b"), lambda s: s["u"] - s["a"] - s["b"]), measured("u", table)


def errors_of(**attributes: Any) -> dict[str, float]:
    """Before any training; with sums, so that rows of weight 0 change nothing else."""
    pde = type("Case", (Sum,), {"__module__": __name__, **attributes})()
    residuals = Residuals(pde, Network.of(pde, NetworkSettings(width=2, depth=1)))
    points = {
        n: torch.from_numpy(draw_region(r, 30, "uniform", seed=0, draw=0)) for n, r in residuals.region_of.items()
    }
    return standard_errors(ResidualForm(residuals, residuals.prepare(points), normalization="sum"), ["measured_u"])


def test_what_only_a_sum_determines_has_no_error() -> None:
    assert 0 < errors_of()["a"] < 10  # b being given
    unknown = {"b": Unknown(start=0.5), "__annotations__": {"b": Coefficient}}
    assert all(math.isnan(error) for error in errors_of(**unknown).values())


def test_measurements_of_weight_0_are_none() -> None:
    assert errors_of(idle=9)["a"] == pytest.approx(errors_of()["a"], rel=1e-6)
