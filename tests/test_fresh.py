"""The loss at fresh points: which they are, and the loss there against nested autograd and closed forms."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from made import Cooling
from torch import Tensor
from training import make_of

from pinntk.methods.adam import AdamMethod
from pinntk.network import Network
from pinntk.residual.collocation import Collocation
from pinntk.residual.form import ResidualForm
from pinntk.residual.fresh import FreshPoints, fresh_counts
from pinntk.residual.points import PointSettings
from pinntk.residual.residuals import Residuals

POINTS = PointSettings(interior=200, initial=30, boundary=10)
WEIGHTS = {"residual": 2.0, "initial": 3.0, "boundary": 0.5}


def test_an_exact_solution_has_next_to_no_loss() -> None:
    """Hard conditions that are the solution: u = lift + 0 N."""

    class Held(Cooling):
        def lift(self, x: Tensor) -> Tensor:
            return self.solution(x)

        def factor(self, x: Tensor) -> Tensor:
            return 0 * x[:, 0]

    pde = Held()
    network = Network.of(pde, make_of(AdamMethod, Cooling()).network.settings.model_copy(update={"hard": True}))
    residuals = Residuals(pde, network, Cooling().terms())
    objective = ResidualForm(residuals, points=Collocation(residuals, POINTS, 0))
    assert FreshPoints(residuals, POINTS, 0).loss(objective) < 1e-24


@pytest.mark.parametrize("normalization", ["mean", "sum"])
@pytest.mark.parametrize("interior", [200, 6000])
def test_the_loss_by_nested_autograd(normalization: Literal["mean", "sum"], interior: int) -> None:
    points = POINTS.model_copy(update={"interior": interior})
    method = make_of(AdamMethod, Cooling(), points, normalization=normalization, weights=WEIGHTS, steps=1)
    fresh = FreshPoints(method.residuals, points, method.seed)
    assert isinstance(method.objective, ResidualForm)
    found = {name: batch.points for name, batch in fresh.batches().items()}
    x = found["interior"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(method.network(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope[:, 0].sum(), x)
    begin, sides = found["initial"], found["boundary"]
    r = {
        "residual": slope[:, 1] - second[:, 0] / 10,
        "initial": method.network(begin) - torch.sin(math.pi * begin[:, 0]),
        "boundary": method.network(sides),
    }
    trained = {"residual": interior, "initial": 30, "boundary": 10}
    factors = {name: 1.0 if normalization == "mean" else count / 2 for name, count in trained.items()}
    expected = sum(WEIGHTS[name] * factors[name] * r[name].square().mean().item() for name in r)
    assert fresh.loss(method.objective) == pytest.approx(expected, rel=1e-12)


def test_at_the_trained_points_it_is_the_reported_loss() -> None:
    for normalization in ("mean", "sum"):
        method = make_of(AdamMethod, Cooling(), POINTS, normalization=normalization, weights=WEIGHTS, steps=1)
        fresh = FreshPoints(method.residuals, POINTS, method.seed)
        fresh._batches = dict(method.batches())
        assert isinstance(method.objective, ResidualForm)
        assert fresh.loss(method.objective) == pytest.approx(method.losses()["loss"], rel=1e-12)


@pytest.mark.parametrize("sampling", ["uniform", "latin_hypercube", "sobol", "grid"])
def test_the_points_are_a_function_of_the_seed_and_not_trained_on(sampling: str) -> None:
    points = POINTS.model_copy(update={"sampling": sampling})
    method = make_of(AdamMethod, Cooling(), points, steps=1)
    one, same, other = (FreshPoints(method.residuals, points, seed).batches() for seed in (3, 3, 4))
    for region, batch in one.items():
        assert torch.equal(batch.points, same[region].points)
        assert not torch.equal(batch.points, other[region].points)
        for draw in range(2):
            there = Collocation(method.residuals, points, 3).batches(draw)[region].points
            assert torch.cdist(batch.points, there).min() > 0


def test_how_many() -> None:
    few, many = PointSettings(interior=7, initial=5, boundary=3), PointSettings(interior=10**6, boundary=10**6)
    assert fresh_counts(few) == few
    counts = fresh_counts(many)
    assert (counts.interior, counts.initial, counts.boundary) == (3493, 257, 1250)
    assert np.sum([counts.interior, counts.initial, counts.boundary]) == 5000
