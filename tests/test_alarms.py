"""Alarms of a trivial branch, and the loss at fresh points of whole runs: closed forms, and runs that were cut."""

from __future__ import annotations

import json
import math
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, result_of, rows_of
from made import Cooling
from torch import Tensor
from training import make_of

from pinntk.callbacks import FreshLoss
from pinntk.methods import Method
from pinntk.methods.adam import AdamMethod
from pinntk.pdes.base import PDE, Term, value
from pinntk.pdes.heat2d import Heat2D
from pinntk.residual.fresh import FreshPoints
from pinntk.residual.points import PointSettings
from pinntk.runs.alarms import alarms, lines, period_of, share_at

POINTS = PointSettings(interior=400, initial=20, boundary=20)


class Forced(PDE):
    """``u_t = cos 2 pi t / 3`` in x and t up to 12."""

    name: ClassVar[str] = "forced"
    lower: ClassVar[tuple[float, ...]] = (0.0, 0.0)
    upper: ClassVar[tuple[float, ...]] = (1.0, 12.0)

    def terms(self) -> tuple[Term, ...]:
        force = lambda x: (torch.cos(2 * math.pi * x[:, 1] / 3),)  # noqa: E731
        equation = Term("residual", "interior", ("u_t",), lambda s, f: s["u_t"] - f, force)
        return equation, Term("initial", "initial", ("u",), value, lambda x: (0 * x[:, 0],))


def trained(pde: PDE, u: Any) -> Method:
    """A method whose network is replaced, where values alone are asked for, by u of points (n, d)."""
    method = make_of(AdamMethod, pde, POINTS, steps=1)
    method.network.predict = u  # type: ignore[method-assign]
    return method


def test_a_solution_that_fades_is_seen() -> None:
    """Variance in space of ``sin pi x exp(-a t)``: late by early is exp(-2 a 0.9), as the means over the tenths are
    the same up to this factor."""
    for rate in (0.5, 7.0):
        found = alarms(trained(Cooling(), lambda x, a=rate: np.sin(math.pi * x[:, 0]) * np.exp(-a * x[:, 1])))
        assert found["late_variance"] == pytest.approx(math.exp(-1.8 * rate), rel=1e-10)
        assert any("variance of u in space late" in line for line in lines({"alarms": found})) == (rate == 7.0)


def test_a_network_that_is_zero_late_is_seen() -> None:
    found = alarms(trained(Cooling(), lambda x: np.where(x[:, 1] < 0.5, np.sin(math.pi * x[:, 0]), 0.0)))
    assert found["late_variance"] == 0
    assert ["variance of u in space late 0.0e+00" in line for line in lines({"alarms": found})] == [True]


def test_the_squared_residual_in_the_first_tenth() -> None:
    """Against the residual by autograd at the same points."""
    pde = Forced()
    method = make_of(AdamMethod, pde, POINTS, steps=1)
    found = alarms(method)
    x = FreshPoints(method.residuals, POINTS, method.seed).batches()["interior"].points.requires_grad_()
    (slope,) = torch.autograd.grad(method.network(x).sum(), x)
    t = x[:, 1].detach().numpy()
    r = slope[:, 1].detach().numpy() - np.cos(2 * np.pi * t / 3)
    assert len(t) == 400
    assert found["early_residual"] == pytest.approx((r[t < 1.2] ** 2).sum() / (r**2).sum(), rel=1e-12)
    assert found["early_points"] == (t < 1.2).mean()
    said = lines({"alarms": {"early_residual": 0.7, "early_points": 0.1}})
    assert said == [
        "alarm       70.0% of the squared residual in the first tenth of the time: what begins there may not go on"
    ]


def test_the_period_of_the_data_and_what_follows_it() -> None:
    """u^2 = 3 + sin 2 pi t / 3 answers; a wave of another period does not."""
    for period, share in ((3.0, 1.0), (4.0, 0.0)):
        method = trained(Forced(), lambda x, p=period: np.sqrt(3 + np.sin(2 * np.pi * x[:, 1] / p)))
        found = alarms(method)
        assert found["period"] == pytest.approx(3, rel=1e-6)
        assert found["share_at_period"] == pytest.approx(share, abs=1e-5)
        assert any("the equation's period 3" in line for line in lines({"alarms": found})) == (period == 4)


def test_the_period_of_heat2d() -> None:
    method = make_of(AdamMethod, Heat2D(), POINTS, steps=1)
    assert alarms(method)["period"] == pytest.approx(8, rel=1e-6)
    assert "period" not in alarms(make_of(AdamMethod, Cooling(), POINTS, steps=1))  # no data at all


@pytest.mark.parametrize(
    ("data", "period"),
    [
        (lambda t: np.stack([np.sin(2 * np.pi * t / 0.7), np.cos(2 * np.pi * t / 0.35)], 1), 0.7),
        (lambda t: np.stack([np.sin(2 * np.pi * t / 0.7), t], 1), None),  # not all of it
        (lambda t: np.sin(2 * np.pi * t / 7)[:, None], None),  # does not come twice
        (lambda t: np.ones((len(t), 2)), None),
        (lambda t: np.exp(-0.01 * t)[:, None] * np.sin(9 * t)[:, None], None),
        (lambda t: np.full((len(t), 1), np.nan), None),
    ],
)
def test_periods(data: Any, period: float | None) -> None:
    found = period_of(data, 1.0, 11.0)
    assert found == (None if period is None else pytest.approx(period, rel=1e-6))


def test_share_of_a_spectrum_by_sums() -> None:
    """Against the coefficients by sums of waves, in place of the transform."""
    values = np.random.default_rng(0).standard_normal(60)
    powers = [abs(np.sum(values * np.exp(-2j * np.pi * k * np.arange(60) / 60))) ** 2 for k in range(31)]
    assert share_at(values, 7) == pytest.approx(sum(powers[7::7]) / sum(powers[1:]), rel=1e-12)
    assert share_at(np.ones(60), 7) == 0


def test_what_cannot_be_measured_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(x: Any) -> Tensor:
        raise RuntimeError("no memory\nat all")

    found = alarms(trained(Cooling(), broken))
    assert set(found) == {"early_residual", "early_points"}
    assert "alarms: late: not measured: RuntimeError: no memory\n" in capsys.readouterr().err


@pytest.mark.parametrize(("fresh", "said"), [(1.01e-3, True), (0.99e-3, False), (None, False)])
def test_over_fitted(fresh: float | None, said: bool) -> None:
    line = "fresh points  loss 1.0e-03, 10.1 times that of the trained ones: over-fitted"
    assert lines({"fresh_loss": fresh, "loss": 1e-4}) == ([line] if said else [])


def test_a_run_says_what_it_found(cli: Cli) -> None:
    words = [*FAST, "pde=convection", "evaluate_every=20", "points.interior=100"]
    assert cli(*words).code == 0
    result, rows = result_of(cli.run_folder()), rows_of(cli.run_folder())
    assert [row["iteration"] for row in rows if row["fresh_loss"]] == ["20", "40"]
    assert float(rows[-1]["fresh_loss"]) == result["fresh_loss"] > 0
    assert set(result["alarms"]) == {"early_residual", "early_points", "late_variance"}
    assert json.loads((cli.run_folder() / "progress.json").read_text())["fresh_loss"] == result["fresh_loss"]


def test_a_preconditioned_loss_has_no_fresh_points(cli: Cli) -> None:
    words = "pde=convection method=pcpinn method.form=applied budget=smoke width=6 threads=1 method.steps=3"
    assert cli(*words.split(), "discretization.cells=8", "discretization.time_steps=8").code == 0
    result = result_of(cli.run_folder())
    assert (result["fresh_loss"], set(result["alarms"])) == (None, {"early_residual", "early_points", "late_variance"})
    assert all("fresh_loss" not in row for row in rows_of(cli.run_folder()))


def test_a_failing_measurement_does_not_end_a_training(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: FreshPoints, objective: object) -> float:
        raise MemoryError("all gone")

    monkeypatch.setattr(FreshPoints, "loss", broken)
    ended = cli(*FAST, "evaluate_every=10")
    assert ended.code == 0
    assert ended.err.count("fresh_loss: not measured: MemoryError: all gone; the training goes on") == 1
    assert result_of(cli.run_folder())["fresh_loss"] is None


def test_measuring_changes_nothing() -> None:
    """Neither the objective's count nor its weights, and the same figure comes out again."""
    method, callback = make_of(AdamMethod, Cooling(), POINTS, steps=1), FreshLoss(1)
    before, evaluations = method.network.vector().clone(), method.objective.evaluations
    callback.measure(method)
    again = FreshLoss(1)
    again.load_state_dict(callback.state_dict())
    assert again.loss == callback.loss > 0
    callback.measure(method)
    assert callback.loss == again.loss
    assert method.objective.evaluations == evaluations
    assert torch.equal(method.network.vector(), before)
