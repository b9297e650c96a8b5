"""Self-scaled Broyden: the update against the Broyden family's formula for the Hessian, and the method around it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from jacobians import PDES
from objectives import FunctionObjective, quadratic, random, rosenbrock, symmetric
from torch import Tensor
from training import fit, make_of, parameters, whole_and_resumed

from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings, coefficients
from pinntk.points import PointSettings

FEW = PointSettings(interior=20, initial=6, boundary=4)


class Counted:
    """What `SSBroyden` asks for, made of a function; counts evaluations."""

    def __init__(self, objective: FunctionObjective) -> None:
        self.objective, self.evaluated = objective, 0
        self.parameters, self.assign = objective.parameters, objective.assign

    def evaluate(self) -> tuple[Tensor, Tensor]:
        self.evaluated += 1
        loss, gradient = self.objective.gradient()
        return torch.stack([loss, 2 * loss]), gradient


def optimizer(objective: FunctionObjective, **settings: Any) -> SSBroyden:
    return SSBroyden(Counted(objective), SSBroydenSettings.model_validate(settings))


def theta_of(b: float, h: float) -> float:
    """The parameter of the Broyden family, from the definitions alone."""
    a = b * h - 1
    rho = min(1.0, h * (1 - math.sqrt(a / (1 + a))))
    return max((rho - 1) / a, min(1 / rho, (1 - b) / b))


@pytest.mark.parametrize("seed", range(6))
def test_the_update_is_the_inverse_of_the_update_of_the_hessian(seed: int) -> None:
    size = 5
    B = symmetric([0.5, 1.0, 2.0, 4.0, 9.0], seed=seed) * 10.0 ** (seed - 3)  # on both sides of the true curvature
    s = random(size, seed=seed + 50)
    y = symmetric([1.0, 1.5, 2.0, 3.0, 5.0], seed=seed + 20) @ s
    objective = optimizer(quadratic(torch.eye(size).double(), s))
    objective.inverse = torch.linalg.inv(B)
    objective._update(s, y, B @ s)
    ys, sBs, yHy = float(y @ s), float(s @ B @ s), float(y @ torch.linalg.solve(B, y))
    b, h = sBs / ys, yHy / ys
    phi, tau = coefficients(b, h, size)
    theta = theta_of(b, h)
    assert phi == pytest.approx((1 - theta) / (1 + (b * h - 1) * theta), rel=1e-12)
    w = math.sqrt(sBs) * (y / ys - B @ s / sBs)
    Bs = B @ s
    updated = tau * (B - torch.outer(Bs, Bs) / sBs + theta * torch.outer(w, w)) + torch.outer(y, y) / ys
    torch.testing.assert_close(objective.inverse @ updated, torch.eye(size).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(objective.inverse @ y, s, rtol=1e-9, atol=1e-12)
    assert float(torch.linalg.eigvalsh(objective.inverse)[0]) > 0


def test_the_scaling_by_hand() -> None:
    # b h = 2, so a = 1 and c = sqrt(1/2); h = 4 is far too long: rho = 1, theta = max(0, min(1, (1 - b) / b = 1)) = 1.
    phi, tau = coefficients(b=0.5, h=4.0, size=3)
    assert phi == 0
    assert tau == pytest.approx(2 ** (-1 / 2))
    # Too short: h = 0.5, b = 4: rho = (1 - c) / 2, theta = (1 - b) / b = -0.75 > rho - 1.
    phi, tau = coefficients(b=4.0, h=0.5, size=3)
    assert phi == pytest.approx(1.75 / 0.25)
    rho = (1 - math.sqrt(0.5)) / 2
    assert tau == pytest.approx(min(rho * 0.25 ** (-1 / 2), 0.25))
    assert coefficients(b=1.0, h=1.0, size=3) == (1.0, 1.0)


def test_it_finds_minima() -> None:
    for objective, place in ((rosenbrock(), torch.ones(2)), (quadratic(symmetric([1e3, 1.0, 1e-2]), random(3)), 0)):
        made = optimizer(objective)
        for _ in range(200):
            made.step()
            if made.reason:
                break
        expected = torch.zeros(3) if isinstance(place, int) else place
        torch.testing.assert_close(objective.theta, expected.double(), rtol=0, atol=1e-6)


def test_no_place_is_evaluated_twice_and_no_step_leads_up() -> None:
    objective = rosenbrock()
    made = optimizer(objective)
    losses = [float(made.step()[0]) for _ in range(20)]
    assert losses == sorted(losses, reverse=True)
    counted = made.objective
    assert isinstance(counted, Counted)
    places = {tuple(x.tolist()) for x in objective.assigned}
    assert counted.evaluated <= len(places) + 1


def test_where_the_loss_ends_the_search_goes_back() -> None:
    def function(x: Tensor) -> Tensor:
        return (x[0] - 3) ** 2 + torch.where(x[0] > 1, torch.full_like(x[0], torch.nan), torch.zeros_like(x[0]))

    objective = FunctionObjective(function, torch.zeros(1, dtype=torch.float64))
    made = optimizer(objective)
    losses = [float(made.step()[0]) for _ in range(30)]
    assert all(math.isfinite(loss) for loss in losses)
    assert losses == sorted(losses, reverse=True)
    assert 0 < float(objective.theta[0]) <= 1


def test_it_says_why_it_is_stuck() -> None:
    start = torch.ones(2, dtype=torch.float64)
    flat = optimizer(FunctionObjective(lambda x: 1 + 0 * x.sum(), start))
    flat.step()
    assert flat.reason == "the line search finds no lower loss"
    broken = optimizer(FunctionObjective(lambda x: torch.nan * x.sum(), start))
    broken.step()
    assert broken.reason == "the loss or its gradient is not finite"
    assert torch.equal(broken.objective.parameters(), start)


def test_a_useless_inverse_is_given_up_before_the_search_is() -> None:
    objective = quadratic(symmetric([1.0, 2.0]), random(2))
    made = optimizer(objective)
    made.inverse = -torch.eye(2).double()  # leads up
    before = objective.parameters()
    made.step()
    assert made.inverse is None
    assert made.resets == 1
    assert not made.reason
    assert torch.equal(objective.theta, before)
    made.step()
    assert float(objective.loss()) < float(quadratic(symmetric([1.0, 2.0]), before).loss())


def test_after_a_reset_it_goes_on_at_the_scale_it_had() -> None:
    objective = quadratic(symmetric([1e9, 2e9, 5e9]), random(3))
    made = optimizer(objective, max_trials=5)  # too few to come down from a step of the gradient's own length
    for _ in range(3):
        made.step()
    assert not made.reason
    made.inverse = None
    before = float(objective.loss())
    made.step()
    assert not made.reason
    assert float(objective.loss()) < before


def made(name: str = "burgers", adam: int = 10, steps: int = 20, points: PointSettings = FEW, **more: Any) -> Any:
    phases = {"adam": {"steps": adam}, "ssbroyden": {"steps": steps, **more.pop("settings", {})}}
    defaults: dict[str, Any] = {"width": 7, "depth": 1, "log_every": 5, "weights": {"initial": 3.0}}
    return make_of(SSBroydenMethod, PDES[name], points, **{**defaults, **phases, **more})


@pytest.mark.parametrize("by_residual", [0.0, 0.5])
@pytest.mark.parametrize("cut", [4, 10, 11, 16, 17, 18, 29])
def test_cut_and_resumed_it_is_the_same(
    cut: int, by_residual: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = PointSettings(interior=20, initial=6, boundary=4, by_residual=by_residual)
    whole_and_resumed(lambda: made(points=points, settings={"resample_every": 7}), cut, tmp_path, monkeypatch)


def test_it_gets_much_further_than_adam() -> None:
    method, adam = made("poisson1d", adam=20, steps=100, weights={}), made("poisson1d", adam=120, steps=0, weights={})
    fit(method)
    fit(adam)
    assert method.losses()["loss"] < 1e-3 * adam.losses()["loss"]
    assert parameters(method).isfinite().all()


def test_too_many_parameters_are_refused() -> None:
    settings = SSBroydenMethod.Settings()
    SSBroydenMethod.check_size(settings, 8000)
    with pytest.raises(ValueError, match=r"network.width.*8001"):
        SSBroydenMethod.check_size(settings, 8001)
    SSBroydenMethod.check_size(SSBroydenMethod.Settings.model_validate({"ssbroyden": {"steps": 0}}), 8001)
