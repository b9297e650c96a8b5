"""A run of a system with hard conditions, an unknown coefficient and slopes, stopped in every phase of every method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import arrays_of, assert_same_network, result_of, rows_of, slow_unless
from matplotlib.figure import Figure
from systems import swinging
from training import trained_in

from pinntk import load

DRAWN = "points.resample_every=7"
ALGORITHM_1 = ["method.weighting=ntk", "method.balance=terms"]
PHASES = (
    "method.phases=[{adam: {steps: 8}}, {lbfgs: {steps: 6, resample_every: 4}}, {nncg: {steps: 5, rank: 9}},"
    " {natural_gradient: {steps: 5, resample_every: 3}}, {ssbroyden: {steps: 6, resample_every: 4}},"
    " {adam: {steps: 6}}]"
)
METHODS: dict[str, tuple[list[str], tuple[int, ...]]] = {
    "adam": (["method.steps=20", DRAWN], (9,)),
    "adam_lbfgs": (["method.adam.steps=12", "method.lbfgs.steps=12", "method.lbfgs.resample_every=5", DRAWN], (6, 19)),
    "pinn_ntk": (["method.steps=20", "method.update_every=3", DRAWN], (11,)),
    "gdnd": (
        ["method.adam.steps=8", "method.lbfgs.steps=8", "method.nncg.steps=8", "method.nncg.rank=9", DRAWN],
        (6, 11, 21),
    ),
    "gdnd_theory": (["method.descent.steps=8", "method.newton.steps=6"], (6, 11)),
    "ntk_ng": (
        ["method.adam.steps=8", "method.natural_gradient.steps=9", "method.natural_gradient.resample_every=4"],
        (6, 14),
    ),
    "ssbroyden": (
        [
            *["method.adam.steps=8", "method.ssbroyden.steps=12", "method.ssbroyden.resample_every=5"],
            *["method.weighting=residual", "method.update_every=3"],
        ],
        (6, 14),
    ),
    "gauss_newton": (
        [
            *["method.adam.steps=8", "method.ssbroyden.steps=6", "method.ssbroyden.resample_every=2"],
            *["method.ssbroyden.resample_growth=1.5", "method.gauss_newton.steps=9", "method.gauss_newton.sketch=0.5"],
            *["method.gauss_newton.resample_every=3", "method.gauss_newton.balance=rows"],
        ],
        (6, 11, 18),
    ),
    "plan": ([PHASES, *ALGORITHM_1, DRAWN], (6, 11, 17, 22, 28, 33)),
}
"""Of every method the words and the iterations at which it is stopped, inside of a block: in each phase once."""


MAY_DIFFER = {"seconds", "seconds_per_phase", "wall_seconds", "method_figures", "git"}


def logged(folder: Path) -> list[dict[str, str]]:
    """The rows of whole blocks, without the times."""
    rows = [{name: text for name, text in row.items() if name != "seconds"} for row in rows_of(folder)]
    return [row for row in rows if int(row["iteration"]) % 5 == 0]


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are what is dear in these runs."""
    monkeypatch.setattr("pinntk.callbacks.solution.plot", lambda *arguments: Figure(figsize=(1, 1)))


def whole_and_in_pieces(config: dict[str, Any], folder: Path, cuts: Sequence[int]) -> Path:
    """A run as a whole, and one stopped after each of these iterations: they end alike. The folder of the whole one."""
    code, whole = trained_in(config, folder / "whole")
    assert code == 0
    for n in cuts:
        code, stopped = trained_in(config, folder / "stopped", n)
        assert (code, result_of(stopped)["steps"]) == (130, n)
    assert trained_in(config, folder / "stopped") == (0, stopped)
    assert_same_network(load(whole).method, load(stopped).method)
    one, other = result_of(whole), result_of(stopped)
    assert {k: v for k, v in one.items() if k not in MAY_DIFFER} == {
        k: v for k, v in other.items() if k not in MAY_DIFFER
    }
    assert logged(whole) == logged(stopped)
    solutions = [arrays_of(place / "solution.npz")["prediction"] for place in (whole, stopped)]
    np.testing.assert_array_equal(*solutions)
    return whole


@pytest.mark.parametrize("method", [slow_unless(name in ("adam", "gdnd", "ssbroyden"), name) for name in METHODS])
def test_stopped_in_every_phase(method: str, tmp_path: Path) -> None:
    words, cuts = METHODS[method]
    config = swinging(f"method={method}", "method.log_every=5", "evaluate_every=5", *words)
    whole = whole_and_in_pieces(config, tmp_path, cuts)
    found = result_of(whole)["estimates"]["nu"]
    assert found["value"] not in (1.2, 1.5)
    assert 0 < found["standard_error"] < math.inf
    column = [float(row["estimate_nu"]) for row in rows_of(whole) if row["estimate_nu"]]
    assert len(set(column)) == len(column) > 2
    assert column[-1] == found["value"]
