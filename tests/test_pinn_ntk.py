"""Algorithm 1 against dense Jacobians."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from jacobians import PDES, dense_jacobian, values_of
from torch import Tensor
from training import fit, parameters, whole_and_resumed

from pinntk.methods.pinn_ntk import PINNNTK
from pinntk.network import NetworkSettings
from pinntk.residual.form import ResidualForm
from pinntk.residual.points import PointSettings
from pinntk.residual.weighting import balanced

problems = pytest.mark.parametrize("name", PDES)
normalizations = pytest.mark.parametrize("normalization", ["sum", "mean"])


def make(name: str, *, precision: str = "64-true", **settings: Any) -> PINNNTK:
    return PINNNTK(
        PDES[name],
        NetworkSettings(width=6, depth=2),
        PointSettings(interior=9, initial=5, boundary=6, resample_every=7),
        PINNNTK.Settings.model_validate({"steps": 40, "log_every": 15, **settings}),
        precision=precision,
    )


def step(method: PINNNTK) -> Tensor:
    """One iteration; the lambdas after it."""
    method.advance(method.iteration + 1)
    return lambdas_of(method)


def lambdas_of(method: PINNNTK) -> Tensor:
    assert method.objective.lambdas is not None
    return method.objective.lambdas


def by_definition(method: PINNNTK) -> tuple[Tensor, Tensor]:
    """Traces of every term's block of ``J J^T``, as the loss counts them, and the gradient of every term's loss."""
    batches = method.batches()
    jacobian, r = dense_jacobian(method.residuals, batches), values_of(method.residuals, batches)
    kernel = jacobian @ jacobian.T
    traces, gradients, start = [], [], 0
    for residual in method.residuals(batches).values():
        rows = slice(start, start + len(residual))
        start = rows.stop
        mean = method.settings.normalization == "mean"
        traces.append(kernel[rows, rows].trace() / (len(residual) if mean else 1))
        gradients.append(jacobian[rows].T @ r[rows] * (2 / len(residual) if mean else 1))
    return torch.stack(traces), torch.stack(gradients)


@problems
@normalizations
@pytest.mark.parametrize("balance", ["blocks", "terms"])
def test_a_step_of_gradient_descent_is_algorithm_1(name: str, normalization: str, balance: str) -> None:
    rate = 1e-6
    method = make(name, optimizer="gd", normalization=normalization, balance=balance, adam={"learning_rate": rate})
    method.start(None)
    traces, gradients = by_definition(method)
    interior = torch.tensor([term.region == "interior" for term in method.residuals.terms])
    if balance == "terms":
        lambdas = traces.sum() / traces
    else:
        lambdas = traces.sum() / torch.where(interior, traces[interior].sum(), traces[~interior].sum())
    before = parameters(method)
    torch.testing.assert_close(step(method), lambdas, rtol=1e-10, atol=0)
    assert isinstance(method.objective, ResidualForm)
    torch.testing.assert_close(method.objective.last_traces, traces, rtol=1e-10, atol=0)
    moved = lambdas @ gradients
    torch.testing.assert_close((before - parameters(method)) / rate, moved, rtol=1e-6, atol=1e-8 * float(moved.norm()))


def test_fixed_weights_multiply_the_lambdas() -> None:
    plain, weighted = make("wave"), make("wave", weights={"velocity": 3.0})
    for method in (plain, weighted):
        method.start(None)
        step(method)
    gradients = [
        torch.cat([p.grad.flatten() for p in m.network.parameters() if p.grad is not None]) for m in (plain, weighted)
    ]
    _, by_term = by_definition(make("wave"))
    torch.testing.assert_close(lambdas_of(plain), lambdas_of(weighted), rtol=0, atol=0)
    extra = 2 * lambdas_of(plain)[2] * by_term[2]
    torch.testing.assert_close(gradients[1] - gradients[0], extra, rtol=1e-8, atol=1e-8)


def test_between_updates_the_lambdas_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make("burgers", update_every=3)
    method.start(None)
    seen = []
    for _ in range(7):
        seen.append(step(method).clone())
    assert torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[2], seen[3])
    assert torch.equal(seen[3], seen[5])
    _, gradients = by_definition(method)
    expected = lambdas_of(method) @ gradients
    step(method)  # the second after an update: gradient of the weighted loss alone
    found = torch.cat([p.grad.flatten() for p in method.network.parameters() if p.grad is not None])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * float(expected.norm()))


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
@pytest.mark.parametrize("cut", [1, 20, 29])
def test_cut_and_resumed_is_uninterrupted(
    optimizer: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"update_every": 4, "optimizer": optimizer, "adam": {"learning_rate": 1e-4}}
    whole, resumed = whole_and_resumed(lambda: make("wave", **settings), cut, tmp_path, monkeypatch)
    assert torch.equal(lambdas_of(resumed), lambdas_of(whole))


def test_it_trains() -> None:
    method = make("poisson1d", steps=400, adam={"learning_rate": 1e-2})
    method.start(None)
    before = method.losses()
    fit(method)
    after = method.losses()
    assert after["loss"] < 0.2 * before["loss"]


def test_the_lambdas_by_hand() -> None:
    """Of terms with the traces 4, 1, 2 and 3, two of which belong to the equation."""
    traces = torch.tensor([4.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    interior = torch.tensor([True, False, True, False])
    by_block = [10 / 6, 10 / 4, 10 / 6, 10 / 4]
    assert balanced(traces, interior, "blocks").tolist() == pytest.approx(by_block, rel=1e-15)
    assert balanced(traces, interior, "terms").tolist() == pytest.approx([2.5, 10.0, 5.0, 10 / 3], rel=1e-15)
    # An equation without conditions, whose trace of nothing would divide by zero.
    assert balanced(traces, torch.ones(4).bool(), "blocks").tolist() == [1.0] * 4


@pytest.mark.parametrize("balance", ["terms", "blocks"])
@pytest.mark.parametrize("precision", ["64-true", "32-true"])
def test_a_condition_that_holds_by_construction_has_no_say(balance: str, precision: str) -> None:
    """The periodic condition of convection under periodic inputs: what is left of its trace is rounding.

    Of the others the lambdas are those of the dense Jacobian, where their blocks are the sums by hand.
    """
    wave = {"kind": "periodic", "input": "x", "period": 2 * math.pi, "harmonics": 2, "replace": True}
    method = PINNNTK(
        PDES["convection"],
        NetworkSettings.model_validate({"width": 6, "depth": 2, "features": [wave]}),
        PointSettings(interior=9, initial=5, boundary=6, resample_every=7),
        PINNNTK.Settings.model_validate({"steps": 300, "balance": balance, "adam": {"learning_rate": 1e-2}}),
        precision=precision,
    )
    traces, _ = by_definition(method)
    method.start(None)
    names = [term.name for term in method.residuals.terms]
    at = {name: names.index(name) for name in ("residual", "initial", "periodic")}
    assert traces[at["periodic"]] < 1e-10 * traces[at["initial"]]
    found = step(method)
    total = traces.sum()
    for name in ("residual", "initial"):
        assert found[at[name]] == pytest.approx(float(total / traces[at[name]]), rel=1e-4)
    alone = float(total / traces[at["initial"]]) if balance == "blocks" else 1.0
    assert found[at["periodic"]] == pytest.approx(alone, rel=1e-4)
    for _ in range(60):
        lambdas = step(method)
    assert lambdas.isfinite().all()
    assert parameters(method).isfinite().all()
