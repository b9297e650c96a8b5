"""The trained network of a run folder: loading it, and starting from it."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FAST, Cli, arrays_of, assert_same_network, result_of
from torch import Tensor

import pinntk
from pinntk.runs.trained import Run, load


def test_load_gives_the_trained_network_back(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST, "pde=burgers", "pde.nu=0.1")
    folder = cli.run_folder()
    monkeypatch.chdir("/")
    run = pinntk.load(folder)
    saved = arrays_of(folder / "solution.npz")
    predicted = run.predict(saved["coordinates"])
    assert predicted.dtype == np.float64
    np.testing.assert_array_equal(predicted, saved["prediction"])
    assert run.pde.name == "burgers"
    assert run.pde.parameters() == {"nu": 0.1}
    assert run.result == result_of(folder)
    np.testing.assert_allclose(run.predict([[0.5, 1.0]]), run.predict(np.array([[0.5, 1.0]])))
    with pytest.raises(ValueError, match=r"shape \(n, 2\), columns x, t; came \(3,\)"):
        run.predict([1, 2, 3])


def test_a_run_can_be_loaded_where_nothing_can_be_written_and_nothing_trained(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli(*FAST)
    folder = cli.run_folder()
    first = cli(*FAST, f"init_from={folder}", "method.steps=0", "runs_dir=elsewhere")
    assert first.code == 0
    (second,) = (path.parent for path in cli.folder.glob("elsewhere/**/result.json"))
    configuration = (second / "config.yaml").read_text()
    assert "accelerator: auto" in configuration
    (second / "config.yaml").write_text(configuration.replace("accelerator: auto", "accelerator: gpu"))
    shutil.rmtree(folder)  # with it goes what init_from named
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)  # root may write anywhere
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pinntk.load(second).predict([[0.5]]).shape == (1,)


def test_a_folder_may_be_named_from_home(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST)
    monkeypatch.setenv("HOME", str(cli.folder))
    assert pinntk.load(Path("~") / cli.run_folder().relative_to(cli.folder)).result["status"] == "completed"


def test_load_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml is not there"):
        pinntk.load(tmp_path)
    (tmp_path / "config.yaml").write_text("seed: [")
    with pytest.raises(FileNotFoundError, match=r"last\.ckpt is not there"):
        pinntk.load(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").write_text("")
    for text in ("seed: [", "", "[1]", "{}"):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"config\.yaml cannot be read") as caught:
            pinntk.load(tmp_path)
        assert "\n" not in str(caught.value)


def test_starting_from_another_run(cli: Cli) -> None:
    cli(*FAST)
    source = cli.run_folder()
    ended = cli(*FAST, f"init_from={source.relative_to(cli.folder)}", "method.steps=0")
    assert ended.code == 0
    (other,) = set(cli.run_folders()) - {source}
    assert_same_network(load(source).method, load(other).method)
    # The same parameters under another seed, too, and without the source's iterations.
    assert cli(*FAST, f"init_from={source}", "method.steps=0", "seed=1").code == 0
    assert_same_network(load(source).method, load(other.parent / "seed1").method)

    ended = cli(*FAST, f"init_from={source}", "width=11")
    assert ended.code == 2
    assert "not the same network: network.layers.0.weight is (10, 1) there and (11, 1) here" in ended.err
    ended = cli(*FAST, f"init_from={source}", "network.depth=4")
    assert ended.code == 2
    assert "not the same network" in ended.err


def values_at(run: Run, x: Tensor) -> Tensor:
    """The network's values by its layers alone, a graph of the points: (N,)."""
    network = run.method.network
    h = 2 * (x - torch.tensor(run.pde.lower)) / (torch.tensor(run.pde.upper) - torch.tensor(run.pde.lower)) - 1
    *hidden, last = (layer for layer in network.layers if isinstance(layer, torch.nn.Linear))
    for layer in hidden:
        h = torch.tanh(h @ layer.weight.T + layer.bias)
    return (h @ last.weight.T + last.bias)[:, 0]


def gradients(u: Tensor, x: Tensor) -> Tensor:
    """By nested differentiation, (N, d)."""
    return torch.autograd.grad(u.sum(), x, create_graph=True)[0]


def test_derivatives_and_residuals_of_a_trained_network(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli(*FAST, "pde=burgers", "pde.nu=0.1")
    run = pinntk.load(cli.run_folder())
    points = np.random.default_rng(0).uniform((-1, 0), (1, 1), (50, 2))
    x = torch.tensor(points, requires_grad=True)
    u = values_at(run, x)
    u_x, u_t = gradients(u, x).T
    u_xx = gradients(u_x, x)[:, 0]
    expected = {"u_xx": u_xx, "u": u, "u_t": u_t}
    for blocks in (8192, 7):
        monkeypatch.setattr("pinntk.runs.trained.PREDICT_ROWS", blocks)
        found = run.derivatives(points, *expected)
        assert list(found) == list(expected)
        for name, values in found.items():
            assert values.dtype == np.float64
            np.testing.assert_allclose(values, expected[name].detach().numpy(), rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found["u"], run.predict(points), rtol=1e-12)
        r = run.residuals(points)
        assert list(r) == ["residual"]
        by_hand = (u_t + u * u_x - 0.1 * u_xx).detach().numpy()
        np.testing.assert_allclose(r["residual"], by_hand, rtol=1e-11, atol=1e-12)
        (initial,) = run.residuals(points.tolist(), "initial").values()
        np.testing.assert_allclose(initial, u.detach() + torch.sin(np.pi * x[:, 0]).detach(), rtol=1e-11, atol=1e-12)
    assert run.derivatives(np.empty((0, 2)), "u_x")["u_x"].shape == (0,)
    with pytest.raises(ValueError, match=r"stream 'u_z': allowed are u, and derivatives up to order 4 in x, t: u_x"):
        run.derivatives(points, "u_z")
    with pytest.raises(ValueError, match="derivatives: came no name"):
        run.derivatives(points)
    with pytest.raises(ValueError, match=r"shape \(n, 2\), columns x, t; came \(50,\)"):
        run.derivatives(points[:, 0], "u_x")
    with pytest.raises(ValueError, match=r"region 'inside'; did you mean|region 'inside'; allowed: boundary"):
        run.residuals(points, "inside")


def test_residuals_of_pairs_are_none_of_points(cli: Cli) -> None:
    cli(*FAST, "pde=convection", "precision=32-true")
    run = pinntk.load(cli.run_folder())
    line = "residuals: region 'periodic' has pairs of points, no residuals at others; allowed: initial, interior"
    with pytest.raises(ValueError, match=line):
        run.residuals([[0.0, 0.0]], "periodic")
    assert run.residuals([[0.0, 0.0]])["residual"].dtype == np.float64


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own
@pytest.mark.parametrize(
    "words",
    [
        ["pde=burgers"],
        ["pde=burgers", "network=hard"],
        ["pde=convection", "network.features=[{kind:periodic,input:x,period:6.3,harmonics:2}]"],
    ],
)
def test_the_network_can_be_exported(cli: Cli, words: list[str]) -> None:
    cli(*FAST, *words)
    run = pinntk.load(cli.run_folder())
    x = torch.rand(4, 2, dtype=torch.float64)
    exported = torch.export.export(run.method.network, (x,), dynamic_shapes=({0: torch.export.Dim("n")},))
    file = io.BytesIO()
    torch.export.save(exported, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for count in (1, 4, 1000):
        points = np.random.default_rng(count).random((count, 2))
        found = module(torch.tensor(points)).detach().numpy()
        np.testing.assert_allclose(found, run.predict(points), rtol=1e-12, atol=1e-14)


def test_a_run_as_it_was_before_its_first_iteration(cli: Cli) -> None:
    cli(*FAST)
    run = load(source := cli.run_folder())
    cli(*FAST, "method.steps=0", "runs_dir=untrained")
    (untrained,) = (path.parent for path in cli.folder.glob("untrained/**/result.json"))
    assert_same_network(run.initial().method, load(untrained).method)
    assert run.initial().result == {}
    with pytest.raises(AssertionError):
        assert_same_network(run.initial().method, run.method)

    cli(*FAST, f"init_from={source}", "runs_dir=further")
    (further,) = (path.parent for path in cli.folder.glob("further/**/result.json"))
    assert_same_network(load(further).initial().method, run.method)

    cli(*FAST[1:], "pde=convection", "points.interior=20", "method.slabs=2", "runs_dir=slabs")
    (slabs,) = (path.parent for path in cli.folder.glob("slabs/**/result.json"))
    with pytest.raises(ValueError, match=r"initial: adam has made \S+ in its training; allowed is"):
        load(slabs).initial()
