"""What NysNewton-CG counts, keeps from one step to the next and saves, and the settings it takes."""

import math
from typing import Any

import pytest
import torch
from objectives import convex, optimizer, pinn, quadratic, random, saddle, symmetric
from pydantic import ValidationError

from pinntk.optim.nncg import NNCGSettings, NysNewtonCG
from pinntk.optim.nystrom import Nystrom
from pinntk.runs.validation import errors_of


def test_every_counter() -> None:
    objective = pinn()
    nncg = optimizer(objective, rank=6, refresh_every=3)
    products = 0
    for n in range(7):
        before = dict(objective.calls)
        nncg.step()
        trials = objective.calls["loss"] - before["loss"]
        if nncg.step_length > 0:
            assert nncg.step_length == 0.5 ** (trials - 1)
        products += nncg.cg_iterations + (6 if n % 3 == 0 else 0)
        assert nncg.cg_iterations > 0
        assert nncg.hessian_products == objective.calls["product"] == products
        assert objective.calls["gradient"] == n + 1
        assert nncg.function_evaluations == objective.calls["gradient"] + objective.calls["loss"]
        assert nncg.steps == n + 1


def test_factors_are_those_of_their_step_and_of_other_vectors_each_time() -> None:
    objective = pinn()
    nncg = optimizer(objective, rank=25, refresh_every=2)
    seen = []
    for n in range(4):
        H = objective.dense()
        nncg.step()
        assert isinstance(nncg.preconditioner, Nystrom)
        seen.append(nncg.preconditioner)
        if n % 2 == 0:
            largest = torch.linalg.eigvalsh(H)[-1]
            torch.testing.assert_close(nncg.preconditioner.eigenvalues[0], largest, rtol=0.05, atol=0)
    assert seen[0] is seen[1]
    assert seen[1] is not seen[2]
    assert seen[2] is seen[3]

    fixed = quadratic(symmetric([2.0**-k for k in range(9)]), random(9))
    nncg, found = optimizer(fixed, rank=2, refresh_every=1), []
    for _ in range(2):
        nncg.step()
        assert isinstance(nncg.preconditioner, Nystrom)
        found.append(nncg.preconditioner.eigenvalues)
    assert not torch.allclose(found[0], found[1])


@pytest.mark.parametrize("cut", [0, 1, 4, 6])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(cut: int) -> None:
    whole = pinn()
    reference = optimizer(whole, rank=5, refresh_every=3)
    for _ in range(8):
        reference.step()

    objective = pinn()
    first = optimizer(objective, rank=5, refresh_every=3)
    for _ in range(cut):
        first.step()
    state = first.state_dict()
    kept = objective.parameters()
    first.step()  # must not change what was saved

    objective = pinn()
    objective.assign(kept)
    resumed = optimizer(objective, rank=5, refresh_every=3)
    resumed.step()
    objective.assign(kept)
    resumed.load_state_dict(state)
    for _ in range(8 - cut):
        resumed.step()
    assert torch.equal(objective.theta, whole.theta)
    ours, theirs = resumed.state_dict(), reference.state_dict()
    for one, other in zip(ours.pop("nystrom"), theirs.pop("nystrom"), strict=True):
        assert torch.equal(one, other)
    assert ours == theirs


def test_factors_of_another_network_are_refused() -> None:
    nncg = optimizer(pinn())
    nncg.step()
    with pytest.raises(ValueError, match="nystrom: came factors of 25 parameters; needed is 2"):
        optimizer(saddle()).load_state_dict(nncg.state_dict())


def test_another_seed_has_other_vectors() -> None:
    found = []
    for seed in (0, 0, 1):
        nncg = NysNewtonCG(convex(), NNCGSettings(rank=4, curvature="hessian"), seed=seed)
        nncg.step()
        assert isinstance(nncg.preconditioner, Nystrom)
        found.append(nncg.preconditioner.U)
    assert torch.equal(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"rank": 0}, "m.rank=0: must be at least 1"),
        ({"rank": 2.5}, "m.rank=2.5: must be a whole number"),
        ({"refresh_every": 0}, "m.refresh_every=0: must be at least 1"),
        ({"damping": 0.0}, "m.damping=0.0: must be greater than 0"),
        ({"damping": math.nan}, "m.damping=NaN: must be a finite number"),
        ({"damping_rule": "trust"}, "m.damping_rule=trust: must be 'fixed' or 'gain'"),
        ({"increase": 1.0}, "m.increase=1.0: must be greater than 1"),
        ({"decrease": 0.5}, "m.decrease=0.5: must be greater than 1"),
        ({"tolerance": 1.0}, "m.tolerance=1.0: must be less than 1"),
        ({"tolerance": 0.0}, "m.tolerance=0.0: must be greater than 0"),
        ({"tolerance_rule": "sqrt"}, "m.tolerance_rule=sqrt: must be 'fixed' or 'gradient'"),
        ({"max_cg": 0}, "m.max_cg=0: must be at least 1"),
        ({"armijo": 0.5}, "m.armijo=0.5: must be less than 0.5"),
        ({"backtrack": 1.0}, "m.backtrack=1.0: must be less than 1"),
        ({"max_backtracks": -1}, "m.max_backtracks=-1: must be at least 0"),
        ({"max_failures": 0}, "m.max_failures=0: must be at least 1"),
        ({"ranks": 3}, "m.ranks=3: unknown key; did you mean 'rank'?"),
        (
            {"damping": 1e-3, "damping_min": 1e-2},
            "m: damping=0.001: with damping_rule=gain allowed is damping_min=0.01",
        ),
        (
            {"damping": 2.0, "damping_max": 1.0},
            "m: damping=2: with damping_rule=gain allowed is damping_min=1e-12 ... ",
        ),
    ],
)
def test_bad_settings_are_refused_by_name(bad: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        NNCGSettings.model_validate(bad)
    (line,) = errors_of(error.value, NNCGSettings, bad, "m")
    assert line.startswith(message)
    assert "\n" not in line


def test_a_fixed_damping_has_no_bounds() -> None:
    assert NNCGSettings(damping_rule="fixed", damping=1e-3, damping_min=1e-2).damping == 1e-3


def test_failures_are_counted_on_by_a_resumed_run(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = convex()
    monkeypatch.setattr(objective, "loss", lambda: torch.tensor(math.nan))
    first = optimizer(objective, max_failures=3)
    for _ in range(2):
        first.step()
    resumed = optimizer(objective, max_failures=3)
    resumed.load_state_dict(first.state_dict())
    assert resumed.failures == 2
    resumed.step()
    assert resumed.reason == "no step length was accepted in 3 steps in a row"
