"""The picture of the condition numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from pinntk.callbacks.conditioning import plot
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.pdes.convection import Convection, ConvectionDiscretization

DROPS = (1e-1, 1e-3)


def record_of(problem: Convection, **settings: Any) -> dict[str, Any]:
    made = problem.discretize(ConvectionDiscretization.model_validate(settings))
    one = ConditionNumbers(made, made.solve())
    rows = [one.preconditioned(factor, drop).__dict__ for factor in ("levels", "whole") for drop in DROPS]
    return {"pde": "convection", "grid": list(made.shape), "plain": one.plain().__dict__, "preconditioned": rows}


def test_the_picture_shows_the_numbers() -> None:
    record = record_of(Convection(), cells=16, time_steps=40, order=2, space="order4")
    record["theorem1"] = {"iteration": [0, 5], "left": [3.0, 4.0], "right": [1.0, 2.0]}
    left, right = plot(record).axes
    curves = {str(line.get_label()): line for line in left.lines}
    rows = record["preconditioned"]
    for quantity, label in (("condition", "‖A⁻¹P‖‖P⁻¹b‖/‖u‖"), ("kappa", "κ(P⁻¹A)")):
        assert set(np.asarray(curves[f"{label}, without P"].get_ydata())) == {record["plain"][quantity]}
        assert np.array_equal(curves[f"{label}, levels"].get_xdata(), DROPS)
        assert np.array_equal(curves[f"{label}, levels"].get_ydata(), [row[quantity] for row in rows[:2]])
        assert np.array_equal(curves[f"{label}, whole"].get_xdata(), [1e-3])  # the others were refused
    assert [list(np.asarray(line.get_ydata())) for line in right.lines] == [[3.0, 4.0], [1.0, 2.0]]
    record["theorem1"] = {"iteration": [], "left": [], "right": []}
    assert len(plot(record).axes) == 1
