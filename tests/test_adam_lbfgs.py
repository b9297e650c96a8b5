"""L-BFGS after Adam against plain loops, and the ends of phases."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parameters_to_vector
from training import fit, loss_terms, make_of, parameters, whole_and_resumed

from pinntk.methods.adam_lbfgs import AdamLBFGS
from pinntk.methods.phases.lbfgs import SCALED, LBFGSPhase
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.references import Reference
from pinntk.residual.loss import BlockedLoss

WEIGHTS = {"boundary": 5.0}


def made(adam: int = 20, lbfgs: int = 30, more: dict[str, Any] | None = None, **settings: Any) -> AdamLBFGS:
    rate = {"learning_rate": 1e-2}
    phases = {"adam": {"steps": adam, **rate}, "lbfgs": {"steps": lbfgs, **(more or {})}}
    return make_of(AdamLBFGS, **{"log_every": 10, "weights": WEIGHTS, **phases, **settings})


def ended(method: AdamLBFGS) -> list[dict[str, Any]]:
    phases: list[dict[str, Any]] = method.figures(Reference(torch.zeros(1).numpy(), 0.0))["phases"]
    return phases


def plain_lbfgs(method: AdamLBFGS, steps: int) -> Tensor:
    """torch's own loop on the method's loss by automatic differentiation."""
    variables = list(method.network.parameters())
    weights = method.term_weights()

    def loss() -> Tensor:
        return (weights * loss_terms(method)).sum()

    factor = SCALED / float(loss().detach())
    optimizer = torch.optim.LBFGS(
        variables,
        max_iter=steps,
        max_eval=10**6,
        history_size=100,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = factor * loss()
        value.backward()
        return value

    optimizer.step(closure)
    return parameters(method)


@pytest.mark.parametrize("steps", [1, 2, 25])
def test_it_is_torchs_own_loop(steps: int) -> None:
    method, oracle = made(adam=0, lbfgs=steps), made(adam=0, lbfgs=steps)
    fit(method)
    expected = plain_lbfgs(oracle, steps)
    torch.testing.assert_close(parameters(method), expected, rtol=1e-6, atol=1e-8)
    assert (expected - parameters(made())).abs().max() > 1e-3


def test_no_point_is_evaluated_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []
    backward = BlockedLoss.backward

    def watched(self: BlockedLoss, *arguments: Any) -> Tensor:
        seen.append(parameters_to_vector(self.parameters).detach().clone())
        return backward(self, *arguments)

    monkeypatch.setattr(BlockedLoss, "backward", watched)
    method = made(adam=0)
    fit(method)
    assert len(seen) == method.function_evaluations > 30
    assert len({tuple(theta.tolist()) for theta in seen}) == len(seen)


def test_the_loss_falls_in_every_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(adam=5, lbfgs=40)
    losses: list[Tensor] = []
    monkeypatch.setattr(AdamLBFGS, "log_losses", lambda self, names, history, **more: losses.extend(history))
    fit(method)
    total = torch.stack(losses)[5:, 0]
    assert len(total) == 40
    assert bool((total.diff() < 0).all())
    assert float(total[-1]) < 1e-2 * float(total[0])


def test_phases_follow_each_other_on_other_points(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(adam=14, lbfgs=9)
    draws = []
    renew = method.renew

    def watched() -> None:
        draws.append((method.iteration, method.draw))
        renew()

    monkeypatch.setattr(method, "renew", watched)
    fit(method)
    assert method.iteration == 23
    assert [(e["phase"], e["iterations"], e["ended"]) for e in ended(method)] == [
        ("adam", 14, "all steps done"),
        ("lbfgs", 9, "all steps done"),
    ]
    by_iteration = dict(draws)
    assert [by_iteration[n] for n in range(14)] == [0] * 7 + [1] * 7  # points.resample_every=7
    assert {by_iteration[n] for n in range(14, 23)} == {2}
    assert set(method.seconds_per_phase) == {"adam", "lbfgs"}


def test_new_points_in_the_phase_forget_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(adam=0, lbfgs=12, more={"resample_every": 6})
    lbfgs = method.phases[1]
    assert isinstance(lbfgs, LBFGSPhase)
    step, draws = lbfgs.step, list[tuple[int, int]]()

    def watched(n: int) -> Tensor:
        losses = step(n)
        (state,) = lbfgs.optimizer.state.values()
        draws.append((method.draw, state["n_iter"]))
        return losses

    monkeypatch.setattr(lbfgs, "step", watched)
    fit(method)
    assert draws == [(0, n) for n in range(1, 7)] + [(1, n) for n in range(1, 7)]


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"tolerance_grad": 1e9}, "within tolerance_grad=1e\\+09"),
        ({"tolerance_change": 1e9}, "within tolerance_change=1e\\+09"),
        ({"stagnation": {"window": 3, "decrease": 0.999}}, "stagnated: lowest loss .* in 3 iterations"),
    ],
)
def test_a_phase_that_can_do_no_more_says_why(more: dict[str, Any], reason: str) -> None:
    method = made(adam=10, lbfgs=500, more=more)
    fit(method)
    assert method.finished
    assert method.iteration < 30
    assert re.search(reason, ended(method)[1]["ended"])


def test_stagnation_compares_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make_of(AdamLBFGS, adam={"steps": 30, "stagnation": {"window": 2, "decrease": 0.1}}, lbfgs={"steps": 30})
    method.start(None)
    phase = method.phases[0]
    lowest = iter([5.0, 4.0, 3.7, 9.0, 3.4, 3.5])  # windows: 4, 3.7 (less, by 7.5 %)
    monkeypatch.setattr(phase, "step", lambda n: torch.tensor([next(lowest), 0.0, 0.0], dtype=torch.float64))
    method.advance(6)
    assert ended(method)[0]["iterations"] == 4
    assert "lowest loss 3.700e+00 in 2 iterations, 4.000e+00" in ended(method)[0]["ended"]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e300])
def test_nothing_that_is_no_lower_is_accepted(bad: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wall around the start: the line search sees nothing finite, the parameters stay."""
    method = made(adam=0)
    start = parameters(method)
    backward = BlockedLoss.backward

    def walled(self: BlockedLoss, *arguments: Any) -> Tensor:
        losses = backward(self, *arguments)
        theta = parameters_to_vector(self.parameters).detach()
        return losses if torch.equal(theta, start) else torch.full_like(losses, bad)

    monkeypatch.setattr(BlockedLoss, "backward", walled)
    fit(method)
    assert torch.equal(parameters(method), start)
    assert ended(method)[0]["ended"] == "the line search finds no lower loss"
    assert method.iteration == 1


def test_a_failed_search_with_history_is_tried_again_without(monkeypatch: pytest.MonkeyPatch) -> None:
    method = made(adam=0, lbfgs=10)
    backward = BlockedLoss.backward

    def walled(self: BlockedLoss, *arguments: Any) -> Tensor:
        losses = backward(self, *arguments)
        if method.iteration == 5:
            return torch.full_like(losses, float("nan"))
        return losses

    monkeypatch.setattr(BlockedLoss, "backward", walled)
    fit(method)
    assert method.iteration == 10
    assert ended(method)[0]["ended"] == "all steps done"


@pytest.mark.parametrize("cut", [7, 10, 20, 21, 29, 33, 49])
def test_cut_and_resumed_it_is_the_same(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"resample_every": 8, "stagnation": {"window": 15, "decrease": 1e-9}}
    whole, resumed = whole_and_resumed(lambda: made(pde=Burgers(), more=more, weights={}), cut, tmp_path, monkeypatch)
    assert ended(resumed) == ended(whole)


def test_nothing_to_do() -> None:
    method = made(adam=0, lbfgs=0)
    start = parameters(method)
    fit(method)
    assert method.finished
    assert torch.equal(parameters(method), start)
