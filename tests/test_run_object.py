"""What a trained run gives besides predictions: kernel, Hessian, history, pictures."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FAST, rows_of
from matplotlib.image import imread
from torch import Tensor

import pinntk
from pinntk.common.session import in_notebook, progress_bar

X = np.random.default_rng(0).uniform((-1, 0), (1, 1), (9, 2))
Y = np.random.default_rng(1).uniform((-1, 0), (1, 0), (4, 2))
WEIGHT = 3.0


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> pinntk.Run:
    words = [*FAST, "pde=burgers", "pde.nu=0.1", "width=4", "network.depth=2", f"method.weights.initial={WEIGHT}"]
    words += ["evaluate_every=20", "method.normalization=sum"]
    return pinntk.train(*words, runs_dir=tmp_path_factory.mktemp("of"))


def residuals_at(run: pinntk.Run, theta: Tensor) -> Tensor:
    """Of Burgers' equation at X and of the initial condition at Y, (13,), from the layers by nested differentiation."""
    parameters = dict(run.method.network.named_parameters())
    sizes = [p.numel() for p in parameters.values()]
    named = dict(zip(parameters, theta.split(sizes), strict=True))
    layers = [
        (named[f"{name}.weight"].view(layer.weight.shape), named[f"{name}.bias"])
        for name, layer in run.method.network.named_modules()
        if isinstance(layer, torch.nn.Linear)
    ]

    def u_at(x: Tensor) -> Tensor:
        lower, upper = torch.tensor(run.pde.lower), torch.tensor(run.pde.upper)
        h = 2 * (x - lower) / (upper - lower) - 1
        for weight, bias in layers[:-1]:
            h = torch.tanh(h @ weight.T + bias)
        found: Tensor = (h @ layers[-1][0].T + layers[-1][1])[:, 0]
        return found

    x = torch.tensor(X, requires_grad=True)
    u = u_at(x)
    u_x, u_t = torch.autograd.grad(u.sum(), x, create_graph=True)[0].T
    u_xx = torch.autograd.grad(u_x.sum(), x, create_graph=True)[0][:, 0]
    initial = u_at(torch.tensor(Y)) + torch.sin(torch.pi * torch.tensor(Y)[:, 0])
    return torch.cat([u_t + u * u_x - 0.1 * u_xx, initial])


def test_the_kernel_is_that_of_the_jacobian(run: pinntk.Run) -> None:
    theta = run.method.network.vector().detach()
    J = torch.autograd.functional.jacobian(lambda theta: residuals_at(run, theta), theta)
    K = (J @ J.T).numpy()
    found = run.ntk({"interior": X, "initial": Y})
    assert {name: (rows.start, rows.stop) for name, rows in found.rows.items()} == {
        "residual": (0, 9),
        "initial": (9, 13),
    }
    np.testing.assert_allclose(found.matrix, K, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(np.asarray(found), found.matrix)
    np.testing.assert_allclose(found.block("residual", "initial"), K[:9, 9:], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found.block("initial"), K[9:, 9:], rtol=1e-10, atol=1e-10)
    for terms, block in ((("initial",), K[9:, 9:]), ((), K), (("residual", "initial"), K)):
        values = np.maximum(np.linalg.eigvalsh(block)[::-1], 0)
        np.testing.assert_allclose(found.spectrum(*terms).values, values, rtol=1e-8, atol=1e-9 * values[0])
    np.testing.assert_allclose(run.ntk(X).matrix, K[:9, :9], rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(run.ntk(Y.tolist(), "initial").matrix, K[9:, 9:], rtol=1e-10, atol=1e-10)
    fixed = run.ntk(interior=5, conditions=6)
    assert {name: rows.stop - rows.start for name, rows in fixed.rows.items()} == {
        "residual": 5,
        "initial": 3,
        "boundary": 3,
    }
    with pytest.raises(ValueError, match="term 'inital' has no rows; did you mean 'initial'"):
        found.block("inital")
    with pytest.raises(ValueError, match="ntk: region 'inside'; allowed: boundary, initial, interior"):
        run.ntk(X, "inside")
    with pytest.raises(ValueError, match=r"shape \(n, 2\), columns x, t; came \(9,\)"):
        run.ntk(X[:, 0])


def test_the_hessian_and_its_parts(run: pinntk.Run) -> None:
    theta = run.method.network.vector().detach()
    roots = torch.tensor([1.0] * 9 + [WEIGHT**0.5] * 4, dtype=torch.float64)

    def loss(theta: Tensor) -> Tensor:
        return ((roots * residuals_at(run, theta)) ** 2).sum() / 2

    H = torch.autograd.functional.hessian(loss, theta)
    J = roots[:, None] * torch.autograd.functional.jacobian(lambda theta: residuals_at(run, theta), theta)
    found = run.hessian({"interior": X, "initial": Y})
    scale = float(H.abs().max())
    torch.testing.assert_close(found.hessian.dense(), H, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(found.gauss_newton.dense(), J.T @ J, rtol=0, atol=1e-10 * scale)
    torch.testing.assert_close(found.remainder.dense(), H - J.T @ J, rtol=0, atol=1e-10 * scale)
    norms = found.norms()
    for name, matrix in {"hessian": H, "gauss_newton": J.T @ J, "remainder": H - J.T @ J}.items():
        assert getattr(norms, name) == pytest.approx(float(torch.linalg.matrix_norm(matrix, 2)), rel=1e-8)
    mean = run.hessian(X, normalization="mean")
    total = run.hessian(X)
    v = torch.ones(len(theta), dtype=torch.float64)
    torch.testing.assert_close(mean.hessian @ v, 2 / 9 * (total.hessian @ v), rtol=1e-10, atol=1e-10)
    assert run.hessian().hessian.shape == H.shape


def test_pairs_have_no_kernel_at_other_points(run: pinntk.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from pinntk.pdes.convection import Convection
    from pinntk.runs.analysis import check_free

    with pytest.raises(ValueError, match="hessian: region 'periodic' has pairs of points, no residuals at others"):
        check_free("hessian", Convection(), "periodic")


@pytest.mark.parametrize("pandas", [True, False])
def test_the_history_is_metrics_csv(run: pinntk.Run, monkeypatch: pytest.MonkeyPatch, pandas: bool) -> None:
    if pandas:
        frames = pytest.importorskip("pandas")
        assert isinstance(run.history, frames.DataFrame)
    else:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
        assert type(run.history) is dict
    found, rows = run.history, rows_of(run.folder)
    assert list(found) == list(rows[0])
    assert list(found["iteration"]) == [int(row["iteration"]) for row in rows] == [10, 20, 30, 40]
    for name in rows[0]:
        expected = [float(row[name]) if row[name] else np.nan for row in rows]
        np.testing.assert_array_equal(found[name], expected)
    assert np.isnan(found["l2re"][0])


def test_without_metrics_csv_the_history_is_empty(run: pinntk.Run, tmp_path: Path) -> None:
    assert len(pinntk.Run(tmp_path, run.pde, {}, run.method).history) == 0


def test_a_picture_that_notebooks_show(run: pinntk.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    figure = run.plot()
    assert f"L2RE {run.result['l2re']:.2e}" in figure.get_suptitle()
    assert [axis.get_title() for axis in figure.axes[:3]] == ["prediction", "reference", "error"]
    shown = figure._repr_png_()  # type: ignore[attr-defined]
    pixels = imread(io.BytesIO(shown))
    assert pixels.shape[0] > 100
    assert len(np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)) > 100
    assert "matplotlib.pyplot" not in sys.modules  # which keeps all figures, and chooses a window


def test_a_run_is_a_small_page(run: pinntk.Run) -> None:
    page = run._repr_html_()
    found = dict(re.findall(r"<tr><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", page))
    assert found == {
        "problem": "burgers (nu = 0.1)",
        "method": "adam",
        "status": "completed",
        "L2RE": f"{run.result['l2re']:.3e}",
        "seconds": f"{run.result['seconds']:.1f}",
        "folder": str(run.folder),
    }
    (picture,) = re.findall(r"base64,([^']*)'", page)
    assert base64.b64decode(picture) == (run.folder / "solution.png").read_bytes()
    assert repr(run) == f"Run(adam on burgers (nu = 0.1), completed, L2RE {found['L2RE']}: {run.folder})"
    nothing = pinntk.Run(run.folder / "elsewhere", run.pde, {}, run.method)
    assert "not ended" in repr(nothing)
    assert "<img" not in nothing._repr_html_()


def test_a_bar_in_a_notebook_and_none_elsewhere(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    assert progress_bar(total=3) is None
    assert not in_notebook()
    kernel, terminal = SimpleNamespace(config={"IPKernelApp": {}}), SimpleNamespace(config={})
    for shell in (None, terminal, kernel):
        ipython = ModuleType("IPython")
        ipython.get_ipython = lambda shell=shell: shell  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "IPython", ipython)
        assert in_notebook() == (shell is kernel)
    with progress_bar(total=3, desc="adam") as bar:
        bar.update(3)
    assert "adam: 100%" in capsys.readouterr().err
