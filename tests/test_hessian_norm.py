"""The record of the Hessian's norms against dense matrices."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jacobians import dense_jacobian
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.func import functional_call
from training import fit, make, stop_at

from pinntk.callbacks import HessianNorm, TimedCheckpoint
from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.methods import Method
from pinntk.pdes.base import PDE
from pinntk.pdes.convection import Convection
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.residual.residuals import Residuals
from pinntk.residual.spectra import spectral_density

NORMS = ("hessian", "gauss_newton", "remainder", "ratio")
TRAINING: dict[str, Any] = {"steps": 20, "log_every": 10, "adam": {"learning_rate": 1e-2}}


def watching(folder: Path, **more: Any) -> HessianNorm:
    return HessianNorm(str(folder), **{"every": 10, "interior": 9, "conditions": 8, "tolerance": 1e-10, **more})


def record(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "hessian_norm.npz") as saved:
        return dict(saved)


def dense(method: Method, normalization: str, *, whole: bool) -> tuple[np.ndarray, np.ndarray]:
    """The Hessian and the Gauss-Newton matrix of L or L_r on the callback's points, by automatic differentiation."""
    residuals = Residuals(method.pde, method.network.double())
    batches = fixed_batches(residuals, 9, 8)
    if not whole:
        residuals = Residuals(method.pde, residuals.network, residuals.terms[:1])  # the equation's term comes first
    weights = [method.settings.weights.get(name, 1.0) if whole else 1.0 for name in residuals.names]
    network = residuals.network
    shapes = {name: p.shape for name, p in network.named_parameters()}

    def loss(theta: Tensor) -> Tensor:
        pieces = theta.split([shape.numel() for shape in shapes.values()])
        named = {f"network.{n}": v.view(s) for (n, s), v in zip(shapes.items(), pieces, strict=True)}
        module = torch.nn.Module()
        module.network = network
        module.forward = lambda: residuals(batches)
        found = functional_call(module, named, ()).values()
        halves = [r.square().sum() / 2 if normalization == "sum" else r.square().mean() for r in found]
        return sum((w * half for w, half in zip(weights, halves, strict=True)), torch.zeros(()))

    theta = torch.nn.utils.parameters_to_vector(network.parameters()).detach()
    hessian = torch.autograd.functional.hessian(loss, theta)
    assert isinstance(hessian, Tensor)
    counts = [len(r) for r in residuals(batches).values()]
    factors = [w * (1 if normalization == "sum" else 2 / n) for w, n in zip(weights, counts, strict=True)]
    jacobian = dense_jacobian(residuals, batches)
    second = torch.tensor(factors, dtype=torch.float64).repeat_interleave(torch.tensor(counts))
    return hessian.numpy(), (jacobian.T @ (second[:, None] * jacobian)).numpy()


def size(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


@pytest.mark.parametrize(
    ("pde", "chosen", "weights"),
    [
        (Convection(beta=3.0), None, {"periodic": 7.0, "residual": 0.5}),
        (Reaction(), "sum", {"initial": 3.0}),
        (Poisson1D(), "mean", {}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_record_is_that_of_dense_matrices(pde: PDE, chosen: Any, weights: dict[str, float], tmp_path: Path) -> None:
    method = make(pde, **TRAINING, weights=weights)
    kind = chosen or "mean"  # the method's own
    at = [[dense(method, kind, whole=whole) for whole in (False, True)]]
    fit(method, [watching(tmp_path, normalization=chosen)])
    at.append([dense(method, kind, whole=whole) for whole in (False, True)])
    saved = record(tmp_path)
    assert list(saved["iteration"]) == [0, 10, 20]
    assert list(saved["loss"]) == ["L_r", "L"]
    assert str(saved["normalization"]) == kind
    for row, losses in ((0, at[0]), (-1, at[1])):
        for k, (hessian, gauss_newton) in enumerate(losses):
            beyond = hessian - gauss_newton
            expected = [size(hessian), size(gauss_newton), size(beyond), size(beyond) / size(hessian)]
            assert [saved[name][row, k] for name in NORMS] == pytest.approx(expected, rel=1e-8)
        hessian, gauss_newton = losses[0]
        for name, matrix in (("hessian", hessian), ("remainder", hessian - gauss_newton)):
            entries = np.abs(matrix) / np.abs(matrix).max()
            shares = [(entries > tolerance).mean() for tolerance in (1e-3, 1e-2, 1e-1)]
            np.testing.assert_allclose(saved[f"entries_{name}"][row], shares, atol=1e-12)
    assert saved["products"].shape == (3, 2)
    assert (saved["products"] > 3).all()
    assert (saved["seconds"] > 0).all()
    assert (tmp_path / "hessian_norm.png").stat().st_size > 10_000


def test_at_initialisation_alone_in_double_precision_and_logged(tmp_path: Path) -> None:
    method = make(Convection(), steps=0, precision="32-true")
    logger = CSVLogger(tmp_path, name="", version="")
    callback = watching(tmp_path, whole=False, dense_limit=0)
    fit(method, [callback], precision="32-true", logger=logger)
    logger.save()
    assert next(method.network.parameters()).dtype == torch.float32
    saved = record(tmp_path)
    hessian, gauss_newton = dense(method, "mean", whole=False)
    assert saved["hessian"].shape == (1, 1)
    assert saved["hessian"].item() == pytest.approx(size(hessian), rel=1e-8)
    assert saved["gauss_newton"].item() == pytest.approx(size(gauss_newton), rel=1e-8)
    assert not [name for name in saved if name.startswith(("entries", "density"))]
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"hessian_norm_L_r", "hessian_gauss_newton_L_r", "hessian_remainder_L_r", "hessian_ratio_L_r"} < set(header)
    assert not [name for name in header if "seconds" in name]


@pytest.mark.slow
def test_the_density_has_the_traces(tmp_path: Path) -> None:
    method = make(Reaction(), **TRAINING, width=3)
    start, _ = dense(method, "mean", whole=True)
    fit(method, [watching(tmp_path, density=True, dense_limit=0)])
    end, _ = dense(method, "mean", whole=True)
    saved = record(tmp_path)
    for name, hessian in (("density_start_L", start), ("density_end_L", end)):
        nodes, weights = saved[name]
        assert weights.sum() == pytest.approx(1)
        assert nodes.max() == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-6)
        # Each of ten probes has a relative error of about sqrt(2 Tr H^4) / Tr H^2.
        assert (weights * nodes**2).sum() * len(hessian) == pytest.approx(np.trace(hessian @ hessian), rel=0.6)
    assert {"density_start_L_r", "density_end_L_r"} < set(saved)
    assert (tmp_path / "hessian_norm.png").stat().st_size > 10_000


@pytest.mark.parametrize("cut", [5, pytest.param(10, marks=pytest.mark.slow)])
def test_cut_and_resumed_it_is_the_same_record(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("whole", "cut", "resumed")]
    for folder in folders:
        folder.mkdir()
    few = functools.partial(spectral_density, probes=2, steps=5)
    monkeypatch.setattr("pinntk.callbacks.hessian_norm.spectral_density", few)
    more: dict[str, Any] = {"every": 15, "density": True, "dense_limit": 200}
    fit(make(**TRAINING), [watching(folders[0], **more)])
    first, path = make(**TRAINING), tmp_path / "last.ckpt"
    stop_at(first, cut, monkeypatch)
    fit(first, [watching(folders[1], **more), TimedCheckpoint(path, 1e9)])
    fit(make(**TRAINING), [watching(folders[2], **more)], resume=path)
    whole, resumed = (record(folder) for folder in (folders[0], folders[2]))
    assert set(resumed) == set(whole)
    assert list(whole["iteration"]) == [0, 20]
    for name in set(whole) - {"seconds"}:
        np.testing.assert_array_equal(resumed[name], whole[name])


@pytest.mark.parametrize(
    "bad",
    [
        {"every": 0},
        {"interior": 0},
        {"conditions": 0},
        {"normalization": "max"},
        {"tolerance": 0.0},
        {"tolerance": 1.0},
        {"dense_limit": -1},
        {"dense_limit": 100_000},
    ],
)
def test_bad_arguments_are_refused(bad: dict[str, Any], tmp_path: Path) -> None:
    ((name, value),) = bad.items()
    with pytest.raises(ValueError, match=f"{name}={value}"):
        watching(tmp_path, **bad)
