"""Signs of a trivial branch or of an over-fitted sample that need no reference: figures, and lines beyond a threshold.

For problems with a time: where the squared residual stands in time, whether u still varies in space late, and whether
it answers to what in the equation's data is periodic in time. All are functions of the parameters and the seed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from pinntk.common.arrays import Array
from pinntk.common.doing import say
from pinntk.methods import Method
from pinntk.residual.fresh import DRAW, FreshPoints
from pinntk.residual.named import placed
from pinntk.residual.points import draw_region
from pinntk.residual.residuals import Residuals
from pinntk.residual.terms import Problem

# What stands behind the thresholds are runs of budget=smoke with more steps or without, and the references.
OVERFITTED = 10.0
"""Loss at fresh points by the loss at the trained ones: points drawn by chance alone differ by a small factor."""
EARLY = 0.6
"""Share of the squared residual in the first tenth of the time. Trained runs of convection and reaction have 0.2 at
most, a convection stuck at zero 0.73."""
FADED = 1e-2
"""Variance of u in space late, relative to early: u has fallen to a tenth. Those of convection, reaction, burgers and
heat2d have 0.39 to 1.4, a convection stuck at zero 5e-5."""
UNANSWERED = 0.5
"""Share of the spectrum of u's mean square at the period of the equation's data and its harmonics. The solution of
heat2d has 0.99999, networks near zero 0.09 and 0.15; noise has one by the number of periods, at most this."""

TENTH = 0.1
SPACE = 64
"""Places at which u is looked at."""
TIMES = 10
"""Times in a tenth."""
OF_PERIODS = 96
"""Times for a spectrum, or `PER_PERIOD` in each period where these are more."""
PER_PERIOD = 8
"""Higher harmonics than these show are taken for lower ones, and counted all the same."""
PERIODS = 64
"""Periods at most, beyond which the spectrum would take many points."""


def alarms(method: Method) -> dict[str, float]:
    """The figures of a trained network, by name; of a problem without a time there are none.

    ``early_residual``: share of the squared residuals of the equations, all of the same weight, in the first tenth of
    the time, at fresh points, of which the share ``early_points`` is there. ``late_variance``: variance of u in space,
    all fields together, mean over the last tenth of the time, relative to the first. ``period`` of the equation's
    data, where it has one, and ``share_at_period`` of the spectrum of the mean square of u at its multiples.

    A figure that cannot be had is left out, with a line where something failed.
    """
    if "t" not in method.pde.coordinates:
        return {}
    found: dict[str, float] = {}
    for measure in (_early, _late, _answer):
        try:
            found |= measure(method)
        except Exception as error:  # whatever it is: the network is trained
            text = str(error).strip().split("\n")[0]
            say(f"alarms: {measure.__name__.strip('_')}: not measured: {type(error).__name__}: {text}")
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """A line for every figure in the content of result.json that is beyond its threshold."""
    said, fresh, loss = [], result.get("fresh_loss"), result.get("loss")
    if fresh is not None and loss and fresh / loss > OVERFITTED:
        said.append(f"fresh points  loss {fresh:.1e}, {fresh / loss:.3g} times that of the trained ones: over-fitted")
    found = result.get("alarms") or {}
    if found.get("early_residual", 0.0) > EARLY:
        said.append(
            f"alarm       {found['early_residual']:.1%} of the squared residual in the first tenth of the time: what"
            " begins there may not go on"
        )
    if found.get("late_variance", 1.0) < FADED:
        said.append(
            f"alarm       variance of u in space late {found['late_variance']:.1e} of that early: a trivial branch,"
            " unless the solution fades"
        )
    if found.get("share_at_period", 1.0) < UNANSWERED:
        said.append(
            f"alarm       {found['share_at_period']:.1%} of the mean square of u follows the equation's period"
            f" {found['period']:.4g} in time: a trivial branch, unless the solution ignores it"
        )
    return said


def _early(method: Method) -> dict[str, float]:
    """Where in time the squared residual stands."""
    pde, network = method.pde, method.network
    residuals = Residuals(pde, network, method.trained_terms(pde, method.settings, network.settings))
    batches = FreshPoints(residuals, method.points, method.seed).batches()
    column = pde.coordinates.index("t")
    end = pde.lower[column] + TENTH * (pde.upper[column] - pde.lower[column])
    squares = points = early_squares = early_points = 0.0
    for region in residuals.regions:
        equations = [term.name for term in residuals.terms_of[region] if term.equation]
        if equations:
            with torch.no_grad():
                found = residuals.of_region(region, batches[region])
            square = torch.stack([found[name].double().square() for name in equations]).sum(0)
            early = batches[region].points[:, column] < end
            squares, points = squares + float(square.sum()), points + len(square)
            early_squares, early_points = early_squares + float(square[early].sum()), early_points + float(early.sum())
    if not squares or not early_points:  # an exact solution, or too few points
        return {}
    return {"early_residual": early_squares / squares, "early_points": early_points / points}


def _late(method: Method) -> dict[str, float]:
    """Variance in space, late relative to early."""
    if len(method.pde.coordinates) == 1:
        return {}
    _, start, end = _time(method.pde)
    times = TENTH * (np.arange(TIMES) + 0.5) / TIMES
    u = _values(method, start + (end - start) * np.concatenate([times, times + 1 - TENTH]))
    variance = u.var(axis=1).sum(axis=-1)
    early, late = float(variance[:TIMES].mean()), float(variance[TIMES:].mean())
    return {"late_variance": late / early} if early > 0 else {}


def _answer(method: Method) -> dict[str, float]:
    """The share of the spectrum at the period of the equation's data."""
    _, start, end = _time(method.pde)
    period = _period_of_data(method)
    if period is None:
        return {}
    count = math.floor((end - start) / period * (1 + SAME))
    if count > PERIODS:
        return {}
    each = max(PER_PERIOD, OF_PERIODS // count)
    # The last whole periods: a transient is at the beginning.
    u = _values(method, end - period * (count - np.arange(count * each) / each))
    return {"period": period, "share_at_period": share_at(np.square(u).mean(axis=(1, 2)), count)}


def share_at(values: Array, count: int) -> float:
    """Share of the spectrum, without the mean, of ``count`` periods of equidistant values at the period's multiples.

    Example::

        >>> t = np.arange(64) / 16  # four periods
        >>> round(share_at(3 + np.sin(2 * np.pi * t) + 0.5 * np.sin(2 * np.pi * t / 4), 4), 6)
        0.8
    """
    power = np.square(np.abs(np.fft.rfft(values - values.mean())))
    total = float(power[1:].sum())
    return float(power[count::count].sum()) / total if total > 0 else 0.0


def _time(pde: Problem) -> tuple[int, float, float]:
    """The column of t, where it begins and ends."""
    column = pde.coordinates.index("t")
    return column, pde.lower[column], pde.upper[column]


def _grid(method: Method, places: int) -> Callable[[Array], Array]:
    """Times (n,) -> points (n, places, d): at every time the same places, spread over the domain."""
    pde, column = method.pde, method.pde.coordinates.index("t")
    if len(pde.coordinates) == 1:
        x = np.zeros((1, 1))
    else:
        x = draw_region(placed("interior", pde.domain), places, "sobol", seed=method.seed, draw=DRAW)

    def at(times: Array) -> Array:
        found = np.repeat(x[None], len(times), axis=0)
        found[:, :, column] = times[:, None]
        return found

    return at


def _values(method: Method, times: Array) -> Array:
    """u at these times, (times, `SPACE`, fields)."""
    x = _grid(method, SPACE)(times)
    return method.network.predict(x.reshape(-1, x.shape[2])).reshape(*x.shape[:2], -1)


LAGS = 256
"""Steps of the time at which the data is looked at for a period."""
LOOK = 4
"""Places at which it is."""
SAME = 1e-6
"""Difference, relative to how much the data changes in time, that counts as none."""
NEAR = 0.5
"""The same on the grid of times, where a period lies between two of them."""
TRIED = 12
"""Lags at most for which it is found out."""


def _period_of_data(method: Method) -> float | None:
    """The period in time that all data of the equations has; None where there is none."""
    fields = [term.fields for term in method.residuals.terms if term.equation]
    at = _grid(method, LOOK)

    def data(times: Array) -> Array:
        x = at(times)
        points = torch.from_numpy(x.reshape(-1, x.shape[2]))
        with torch.no_grad():
            found = [torch.as_tensor(field).double().numpy() for of in fields for field in of(points)]
        columns = [field.reshape(len(times), -1) for field in found if len(field) == len(points)]
        return np.concatenate(columns, axis=1) if columns else np.zeros((len(times), 1))

    _, start, end = _time(method.pde)
    return period_of(data, start, end)


def period_of(data: Callable[[Array], Array], start: float, end: float) -> float | None:
    """The smallest period of data between two times, of which two fit in there; None where there is none.

    Args:
        data: times (n,) -> values (n, m), of which all have the period.
        start, end: of the time.

    Example::

        >>> period_of(lambda t: np.exp(np.sin(np.pi * t / 4))[:, None], 0.0, 100.0).__round__(6)
        8.0
        >>> period_of(lambda t: np.exp(-t)[:, None] * np.sin(t)[:, None], 0.0, 100.0) is None
        True
    """
    times, step = np.linspace(start, end, LAGS + 1), (end - start) / LAGS
    values = data(times)
    change = float(np.ptp(values, axis=0).max())
    if not change > 1e-9 * float(np.abs(values).max()):  # not finite is no period, either
        return None
    apart = [0.0] + [float(np.abs(values[k:] - values[:-k]).max()) for k in range(1, LAGS // 2 + 2)]
    candidates = [
        k for k in range(2, LAGS // 2 + 1) if apart[k - 1] > apart[k] <= apart[k + 1] and apart[k] < NEAR * change
    ]
    for k in candidates[:TRIED]:
        early = np.linspace(start, end - (k + 1) * step, 128)
        here = data(early)

        def difference(period: float, early: Array = early, here: Array = here) -> float:
            return float(np.abs(data(early + period) - here).max())

        bounds = ((k - 1) * step, (k + 1) * step)
        best = minimize_scalar(difference, bounds=bounds, method="bounded", options={"xatol": 1e-9 * step})
        if best.fun <= SAME * change and best.x <= (end - start) / 2 * (1 + SAME):
            return float(best.x)
    return None
