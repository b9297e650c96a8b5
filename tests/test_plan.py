"""Plans: composed ones, and Algorithm 1's weights under every optimiser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, result_of
from jacobians import PDES, dense_jacobian, loss_at
from torch import Tensor
from training import fit, make_of, parameters, whole_and_resumed

from pinntk.methods.adam import AdamMethod
from pinntk.methods.adam_lbfgs import AdamLBFGS
from pinntk.methods.composed import ComposedPlan
from pinntk.methods.gdnd import GDND
from pinntk.methods.gdnd_theory import GDNDTheory
from pinntk.methods.ntk_ng import NTKNaturalGradient
from pinntk.methods.plan import Plan
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.pdes.references import Reference
from pinntk.residual.points import PointSettings

FEW = PointSettings(interior=20, initial=6, boundary=4, resample_every=7)
WEIGHTS = {"initial": 3.0}
LBFGS = {"steps": 12, "resample_every": 5}
PLANS: dict[type[Plan], dict[str, Any]] = {
    AdamMethod: {"steps": 20},
    AdamLBFGS: {"adam": {"steps": 10}, "lbfgs": LBFGS},
    GDND: {"adam": {"steps": 8}, "lbfgs": LBFGS, "nncg": {"steps": 6, "rank": 9, "resample_every": 4}},
    GDNDTheory: {"descent": {"steps": 9}, "newton": {"steps": 3, "damping": 10.0}},
    NTKNaturalGradient: {"adam": {"steps": 8}, "natural_gradient": {"steps": 8, "resample_every": 3}},
    SSBroydenMethod: {"adam": {"steps": 8}, "ssbroyden": {"steps": 12, "resample_every": 5}},
    ComposedPlan: {"phases": [{"lbfgs": LBFGS}, {"adam": {"steps": 6}}, {"nncg": {"steps": 4, "rank": 9}}]},
}
WORDS = [word for word in FAST if not word.startswith(("method.", "width="))]
plans = pytest.mark.parametrize("kind", PLANS, ids=lambda kind: kind.name)


def made(kind: type[Plan], **more: Any) -> Plan:
    """On burgers, whose terms have kernels of different sizes."""
    defaults: dict[str, Any] = {"width": 7, "depth": 1, "log_every": 1, "weights": WEIGHTS}
    return make_of(kind, PDES["burgers"], FEW, **{**defaults, **PLANS[kind], **more})


def algorithm_1(method: Plan) -> Tensor:
    """Tr K / Tr K_rr for the equation, Tr K / Tr K_uu for both conditions, from the dense kernel; means over points."""
    found = method.residuals(method.batches())
    J, traces, start = dense_jacobian(method.residuals, method.batches()), [], 0
    for r in found.values():
        traces.append(float(J[start : start + len(r)].square().sum()) / len(r))
        start += len(r)
    conditions = traces[1] + traces[2]
    total = traces[0] + conditions
    return torch.tensor([total / traces[0], total / conditions, total / conditions], dtype=torch.float64)


@plans
def test_algorithm_1_weighs_the_loss_of_every_plan(kind: type[Plan]) -> None:
    method = made(kind, weighting="ntk")
    weights = method.term_weights() * algorithm_1(method)
    loss = loss_at(parameters(method), method.residuals, method.batches(), weights, "mean")
    method.start(None)
    method.advance(1)
    assert method.latest["loss"] == pytest.approx(float(loss), rel=1e-10)
    assert method.objective.lambdas is not None
    torch.testing.assert_close(method.objective.lambdas, algorithm_1(made(kind)), rtol=1e-10, atol=0)


@plans
@pytest.mark.parametrize("every", [None, 3])
def test_cut_and_resumed_with_these_weights_it_is_the_same(
    kind: type[Plan], every: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = whole_and_resumed(
        lambda: made(kind, weighting="ntk", update_every=every, log_every=5), 11, tmp_path, monkeypatch
    )
    assert whole.objective.lambdas is not None
    assert resumed.objective.lambdas is not None
    assert torch.equal(resumed.objective.lambdas, whole.objective.lambdas)


def test_the_rate_of_gradient_descent_is_that_of_the_weighted_loss() -> None:
    """1 over the largest eigenvalue of J^T J, weights included: with that of the unweighted one the loss explodes."""
    method = made(GDNDTheory, weighting="ntk")
    weights = method.term_weights() * algorithm_1(method)
    found = method.residuals(method.batches()).values()
    scales = torch.cat([torch.full((len(r),), float(w) * 2 / len(r)) for w, r in zip(weights, found, strict=True)])
    J = scales.double().sqrt()[:, None] * dense_jacobian(method.residuals, method.batches())
    method.start(None)
    method.advance(9)
    (descent,) = method.figures(Reference(np.zeros(1), 0.0))["phases"]
    assert descent["learning_rate"] == pytest.approx(1 / float(torch.linalg.matrix_norm(J, 2)) ** 2, rel=1e-6)
    assert method.latest["loss"] < float(
        loss_at(parameters(made(GDNDTheory)), method.residuals, method.batches(), weights, "mean")
    )


def test_weights_that_change_are_another_loss() -> None:
    """L-BFGS forgets its history with them: its count of iterations begins anew."""
    method = made(AdamLBFGS, adam={"steps": 0}, lbfgs={"steps": 9}, weighting="ntk", update_every=3)
    method.start(None)
    counts = []
    for n in range(9):
        method.advance(n + 1)
        (state,) = method.phases[1].optimizer.state.values()  # type: ignore[attr-defined]
        counts.append(state["n_iter"])
    assert counts == [1, 2, 3] * 3


def test_a_composed_plan_is_the_method_of_its_phases() -> None:
    phases = {"adam": {"steps": 10, "learning_rate": 1e-2}, "lbfgs": LBFGS, "nncg": {"steps": 5, "rank": 9}}
    named = made(GDND, **phases)
    composed = made(ComposedPlan, phases=[{key: phase} for key, phase in phases.items()])
    for method in (named, composed):
        fit(method)
    assert torch.equal(parameters(composed), parameters(named))


@pytest.mark.parametrize(
    ("phases", "line"),
    [
        ("[{adam: {steps: 2}, lbfgs: {steps: 2}}]", "method.phases.0: came adam, lbfgs; allowed is one phase with its"),
        ("[{}]", "method.phases.0: came nothing; allowed is one phase with its settings"),
        ("[]", "method.phases=[]: must have at least 1 entries"),
        ("[{adam: {steps: 2}}, {lbgfs: {steps: 2}}]", 'method.phases.1.lbgfs={"steps": 2}: unknown key; did you mean'),
        ("[{adam: {rate: 2}}]", "method.phases.0.adam.rate=2: unknown key"),
        (
            "[{adam: {steps: 2, schedule: {final: 0.5}}}]",
            "method.phases.0.adam.schedule.final: counts only with",
        ),
        (
            "[{adam: {steps: 2}}, {lbfgs: {steps: 0, history: 7}}]",
            "method.phases.1.lbfgs.history: counts only with steps",
        ),
        ("[{newton: {steps: 2}}]", "network.width: plan's exact Newton step takes at most 5000 parameters"),
    ],
)
def test_what_is_no_plan_is_refused(phases: str, line: str, cli: Cli) -> None:
    ended = cli(*WORDS, "pde=poisson1d", "method=plan", f"method.phases={phases}", "width=100", "network.depth=3")
    assert ended.code == 2
    assert line in ended.err


def test_a_composed_plan_from_the_command_line(cli: Cli) -> None:
    phases = "[{adam: {steps: 3}}, {ssbroyden: {steps: 2}}, {adam: {steps: 1}}]"
    ended = cli(*WORDS, "pde=poisson1d", "method=plan", f"method.phases={phases}", "width=8")
    assert ended.code == 0, ended.err
    found = result_of(cli.run_folder())["method_figures"]["phases"]
    assert [(phase["phase"], phase["iterations"]) for phase in found] == [("adam", 3), ("ssbroyden", 2), ("adam", 1)]


def test_exact_newton_steps_want_one_loss(cli: Cli) -> None:
    words = ["pde=burgers", "method=gdnd_theory", "method.weighting=ntk", "method.update_every=5"]
    ended = cli(*WORDS, *words, "width=8")
    assert ended.code == 2
    assert "method.update_every=5: the phase method.descent wants the same weights all along" in ended.err


def test_a_phase_stagnates_by_the_fixed_weights() -> None:
    """Algorithm 1's may grow while every term falls."""
    settings = {"steps": 40, "stagnation": {"window": 2, "decrease": 0.1}}
    method = made(ComposedPlan, phases=[{"adam": settings}], weighting="ntk", update_every=1, weights={})
    method.start(None)
    terms = iter([5.0, 4.0, 3.0, 3.0, 2.9, 2.9])
    weighted = iter([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])

    def step(n: int) -> Tensor:
        return torch.tensor([next(weighted), next(terms), 0.0, 0.0], dtype=torch.float64)

    method.phases[0].step = step  # type: ignore[method-assign]
    method.advance(6)
    (ended,) = method.figures(Reference(np.zeros(1), 0.0))["phases"]
    assert ended["iterations"] == 6
    assert "lowest loss 2.900e+00 in 2 iterations, 3.000e+00" in ended["ended"]
