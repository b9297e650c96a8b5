"""Lemmas 1 and 2 against dense kernels and plain loops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import arrays_of
from jacobians import dense_jacobian, values_of
from training import fit, make, parameters, stop_at

from pinntk.callbacks import NTKForecast, TimedCheckpoint
from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.reaction import Reaction
from pinntk.residual.residuals import Residuals


def forecast(folder: Path, **more: Any) -> NTKForecast:
    return NTKForecast(str(folder), **{"interior": 10, "conditions": 8, "steps": 30, **more})


@pytest.mark.parametrize("pde", [Convection(beta=2.0), Burgers(nu=0.1)], ids=lambda pde: pde.name)
def test_both_lemmas_by_the_definition(pde: Any, tmp_path: Path) -> None:
    method = make(pde, width=7)
    batches = fixed_batches(method.residuals, 10, 8)
    start = values_of(method.residuals, batches)
    jacobian = dense_jacobian(method.residuals, batches)
    kernel = jacobian @ jacobian.T
    eigenvalues, basis = np.linalg.eigh(kernel.numpy())
    found = forecast(tmp_path, rate=0.1).forecast(method)
    assert torch.equal(values_of(method.residuals, batches), start)  # the method is left as it was

    np.testing.assert_allclose(found["eigenvalues"], eigenvalues[::-1], rtol=0, atol=1e-12 * eigenvalues[-1])
    eta = 0.1 / eigenvalues[-1]
    np.testing.assert_allclose(found["eta"], eta / np.array([1, 2, 4, 8]), rtol=1e-10)
    assert found["lemma1_error"][:-1] / found["lemma1_error"][1:] == pytest.approx([2, 2, 2], rel=0.1)

    # Plain gradient descent by autograd, and the forecast as a matrix exponential.
    network = method.network
    sizes = []
    for step in range(31):
        r = values_of(method.residuals, batches)
        sizes.append(float(r.norm()))
        decay = (basis * np.exp(-eigenvalues * eta * step)) @ basis.T @ start.numpy()
        assert np.linalg.norm(found["forecast"][step]) == pytest.approx(np.linalg.norm(decay), rel=1e-9)
        error = np.linalg.norm(r.numpy() - decay) / np.linalg.norm(r.numpy())
        assert found["error"][step] == pytest.approx(error, rel=1e-6, abs=1e-10)
        loss = torch.cat(list(Residuals(pde, network)(batches).values())).square().sum() / 2
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for p, g in zip(network.parameters(), gradients, strict=True):
                p.sub_(eta * g)
    np.testing.assert_allclose(np.linalg.norm(found["measured"], axis=1), sizes, rtol=1e-9)
    np.testing.assert_allclose(found["time"], 0.1 * np.arange(31), rtol=1e-12)


def test_the_horizon_is_where_the_error_leaves_ten_percent(tmp_path: Path) -> None:
    found = forecast(tmp_path, steps=300, rate=0.5).forecast(make(Burgers(nu=0.1), width=4))
    outside = np.flatnonzero(found["error"] > 0.1)
    assert len(outside)
    assert found["horizon"] == found["time"][outside[0] - 1]
    sizes = np.linalg.norm(found["measured"], axis=1)
    assert found["horizon_loss"] == pytest.approx((sizes[outside[0] - 1] / sizes[0]) ** 2, rel=1e-9)


def test_a_wide_network_is_foretold_for_longer(tmp_path: Path) -> None:
    def horizon(width: int) -> float:
        method = make(Reaction(), width=width, depth=1)
        return float(forecast(tmp_path, steps=600, rate=0.05).forecast(method)["horizon"])

    assert horizon(1000) > 3 * horizon(100)


def test_it_writes_once_at_its_iteration_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, watched = make(log_every=10), make(log_every=10)
    fit(plain)
    fit(watched, [forecast(tmp_path, at=15)])
    assert torch.equal(parameters(plain), parameters(watched))
    whole = arrays_of(tmp_path / "ntk_forecast.npz")
    assert whole["iteration"] == 20
    assert (tmp_path / "ntk_forecast.png").stat().st_size > 10_000

    (tmp_path / "cut").mkdir()
    first, path = make(log_every=10), tmp_path / "last.ckpt"
    stop_at(first, 17, monkeypatch)
    fit(first, [forecast(tmp_path / "cut", at=15), TimedCheckpoint(path, 1e9)])
    assert not (tmp_path / "cut" / "ntk_forecast.npz").exists()
    fit(make(log_every=10), [forecast(tmp_path / "cut", at=15)], resume=path)
    resumed = arrays_of(tmp_path / "cut" / "ntk_forecast.npz")
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name])


@pytest.mark.parametrize("bad", [{"at": -1}, {"steps": 0}, {"rate": 0.0}, {"rate": 2.0}, {"interior": 0}])
def test_bad_arguments_are_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allowed are at >= 0"):
        forecast(tmp_path, **bad)
