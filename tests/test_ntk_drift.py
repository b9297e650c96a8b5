"""The drift of the kernel against dense kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import arrays_of
from jacobians import dense_jacobian
from made import Torus
from training import fit, make, stop_at

from pinntk.callbacks import NTKDrift, TimedCheckpoint
from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.loggers.metrics_csv import MetricsCSV
from pinntk.methods import Method
from pinntk.pdes.convection import Convection
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.wave import Wave


def drift(folder: Path, **more: Any) -> NTKDrift:
    return NTKDrift(str(folder), **{"every": 20, "interior": 12, "conditions": 8, **more})


def dense_kernel(method: Method) -> tuple[np.ndarray, int]:
    """J J^T on the callback's points by torch.func, and how many rows are residuals of the equation."""
    batches = fixed_batches(method.residuals, 12, 8)
    jacobian = dense_jacobian(method.residuals, batches)
    return (jacobian @ jacobian.T).numpy(), len(batches["interior"].points)


@pytest.mark.parametrize("pde", [Convection(), Wave(), Poisson1D()], ids=lambda pde: pde.name)
def test_drift_and_spectra_are_those_of_dense_kernels(pde: Any, tmp_path: Path) -> None:
    method = make(pde, steps=60, log_every=10, adam={"learning_rate": 1e-2})
    start, inner = dense_kernel(method)
    callback = drift(tmp_path, keep_kernel=True)
    fit(method, [callback])
    end, _ = dense_kernel(method)
    saved = arrays_of(tmp_path / "ntk_drift.npz")
    assert list(saved["iteration"]) == [0, 20, 40, 60]
    np.testing.assert_array_equal(saved["drift"][0], 0)
    # The residual of the equation is the first term.
    for k, (name, rows) in enumerate({"K": slice(None), "K_uu": slice(inner, None), "K_rr": slice(inner)}.items()):
        a, b = start[rows, rows], end[rows, rows]
        expected = np.linalg.norm(a - b, 2) / np.linalg.norm(a, 2)
        assert saved["drift"][-1, k] == pytest.approx(expected, rel=1e-9)
        for when, block in (("start", a), ("end", b)):
            spectrum = np.linalg.eigvalsh(block)[::-1]
            np.testing.assert_allclose(saved[f"spectrum_{when}_{name}"], spectrum, rtol=0, atol=1e-10 * spectrum[0])
            at = 0 if when == "start" else -1
            assert saved["largest"][at, k] == pytest.approx(spectrum[0], rel=1e-9)
            assert saved["smallest"][at, k] == pytest.approx(max(spectrum[-1], 0), abs=1e-10 * spectrum[0])
    np.testing.assert_allclose(saved["kernel_start"], start, rtol=0, atol=1e-10 * np.abs(start).max())
    assert (tmp_path / "ntk_drift.png").stat().st_size > 10_000


def test_kernels_are_in_double_precision_whatever_the_runs() -> None:
    method = make(Convection(), steps=10, precision="32-true")
    found = drift(Path()).kernel(method)["K"]
    assert next(method.network.parameters()).dtype == torch.float32
    method.network.double()
    expected, _ = dense_kernel(method)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


def test_the_points_do_not_depend_on_the_run() -> None:
    one, other = (fixed_batches(make(Wave(), seed=seed, width=w).residuals, 12, 8) for seed, w in ((0, 5), (3, 9)))
    for region in one:
        assert torch.equal(one[region].points, other[region].points)
    assert [len(one[region].points) for region in ("interior", "initial", "boundary")] == [12, 4, 4]


@pytest.mark.parametrize("cut", [12, 20, 25, 59])
def test_cut_and_resumed_it_is_the_same_record(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [tmp_path / name for name in ("whole", "cut", "resumed")]
    for folder in folders:
        folder.mkdir()
    settings: dict[str, Any] = {"steps": 60, "log_every": 10, "adam": {"learning_rate": 1e-2}}
    fit(make(**settings), [drift(folders[0], every=25)])
    first, path = make(**settings), tmp_path / "last.ckpt"
    stop_at(first, cut, monkeypatch)
    fit(first, [drift(folders[1], every=25), TimedCheckpoint(path, 1e9)])
    fit(make(**settings), [drift(folders[2], every=25)], resume=path)
    whole, resumed = (arrays_of(folder / "ntk_drift.npz") for folder in (folders[0], folders[2]))
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name])


@pytest.mark.parametrize("bad", [{"every": 0}, {"interior": 0}, {"conditions": 0}])
def test_bad_arguments_are_refused(bad: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="=0"):
        drift(tmp_path, **bad)


def test_a_problem_without_conditions(tmp_path: Path) -> None:
    """K is K_rr, and K_uu has no rows: its figures are nan in the file and in no logger."""
    method = make(Torus(), steps=40, log_every=10)
    logger = MetricsCSV(tmp_path)
    fit(method, [drift(tmp_path, keep_kernel=True)], logger=logger)
    expected, inner = dense_kernel(method)
    assert inner == len(expected)
    saved = arrays_of(tmp_path / "ntk_drift.npz")
    start = saved["kernel_start"]
    change = np.linalg.norm(start - expected, 2) / np.linalg.norm(start, 2)
    np.testing.assert_allclose(saved["drift"][-1], np.array([change, np.nan, change]), rtol=1e-9)
    for figure in ("drift", "largest", "smallest", "effective_rank"):
        assert np.isnan(saved[figure][:, 1]).all()
        np.testing.assert_array_equal(saved[figure][:, 0], saved[figure][:, 2])
    assert saved["spectrum_end_K_uu"].shape == (0,)
    assert "ntk_drift_K_rr" in logger.columns
    assert not any("K_uu" in name for name in logger.columns)
    assert (tmp_path / "ntk_drift.png").stat().st_size > 10_000
