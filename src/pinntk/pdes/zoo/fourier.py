"""Trigonometric polynomials on a periodic box, and periodic evolution equations solved in them.

The time steps are exponential Runge-Kutta ones of order four (ETDRK4): what is linear is solved exactly, so that it
limits no step, whatever its order. All arrays are float64 or complex128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import scipy.fft

from pinntk.common.doing import doing

CONTOUR = 32
"""Points of the circle over which the coefficients' mean is taken: more change nothing in double precision."""
REFINED = 8
"""How much finer the grid is from which the initial values' coefficients come: those of a kink decay slowly, and what
a coarse grid cannot tell apart would fall upon the lowest."""
REFINED_MAX = 2**20
"""Points of that grid at most."""


Values = npt.NDArray[Any]
"""Of float64 or complex128."""
Scheme = Literal["etdrk4", "lawson4"]


@dataclass(frozen=True)
class Semilinear:
    """``u_t = L u + M g(u)`` on a periodic box, L and M diagonal in Fourier space, g pointwise.

    Example::

        >>> def squares(u):
        ...     return u**2 / 2
        >>> burgers = Semilinear(
        ...     lower=(0.0,), upper=(2 * np.pi,), initial=lambda x: np.sin(x)[None], linear=lambda k: -0.1 * k**2,
        ...     nonlinear=squares, outer=lambda k: -1j * k)
        >>> u = solve(burgers, cells=32, steps=20, outputs=5, end=0.5)
        >>> round(float(u.on_grid(np.array([1.0]))[-1, 0, 0]), 4)
        0.6153
    """

    lower: tuple[float, ...]
    upper: tuple[float, ...]
    initial: Callable[..., Values]
    """Coordinates in space, arrays that broadcast against each other -> values (fields, *their common shape)."""
    linear: Callable[..., Values]
    """Wavenumbers by axis -> L, (fields, *modes), or what broadcasts against it."""
    nonlinear: Callable[[Values], Values]
    """g: values (fields, *points) -> (fields, *points)."""
    outer: Callable[..., Values] = lambda *k: np.ones(1)
    """Wavenumbers by axis -> M, as L."""
    real: bool = True
    """Whether the fields are real: half of the coefficients then say everything."""

    def wavenumbers(self, cells: int) -> list[Values]:
        """Angular ones of a grid of so many cells along each axis, each along an axis of its own."""
        found = []
        for axis, (low, high) in enumerate(zip(self.lower, self.upper, strict=True)):
            last = axis == len(self.lower) - 1
            whole = np.fft.rfftfreq(cells, 1 / cells) if self.real and last else np.fft.fftfreq(cells, 1 / cells)
            shape = [1] * len(self.lower)
            shape[axis] = -1
            found.append(2 * np.pi / (high - low) * whole.reshape(shape))
        return found

    def forward(self, values: Values) -> Values:
        """Coefficients of values (fields, *points), normed so that 1 is the one of a constant 1."""
        axes = range(1, values.ndim)
        transform = scipy.fft.rfftn if self.real else scipy.fft.fftn
        return np.asarray(transform(values, axes=axes, norm="forward"))

    def backward(self, coefficients: Values, cells: int) -> Values:
        """Values at the grid's points, of coefficients (fields, *modes)."""
        axes = range(1, coefficients.ndim)
        if self.real:
            return np.asarray(scipy.fft.irfftn(coefficients, [cells] * len(axes), axes=axes, norm="forward"))
        return np.asarray(scipy.fft.ifftn(coefficients, axes=axes, norm="forward"))

    def start(self, cells: int) -> Values:
        """The initial values' coefficients (fields, *modes), from a finer grid."""
        d = len(self.lower)
        times = max(1, min(REFINED, int(REFINED_MAX ** (1 / d)) // cells))
        fine = times * cells
        box = zip(self.lower, self.upper, strict=True)
        axes = [np.linspace(low, high, fine, endpoint=False) for low, high in box]
        found = self.forward(self.initial(*np.meshgrid(*axes, indexing="ij", sparse=True)))
        for axis in range(d):
            half = cells // 2
            if self.real and axis == d - 1:
                kept = np.arange(half + 1)
            else:
                kept = np.concatenate([np.arange(half), np.arange(fine - half, fine)])
            found = found.take(kept, axis=axis + 1)
        return found


@dataclass(frozen=True, eq=False)
class Series:
    """Fields on a periodic box at times (T,), as coefficients (T, fields, *modes) to angular wavenumbers by axis.

    Example::

        >>> wave = Series((0.0,), np.array([0.0]), [np.array([0.0, 1.0])], np.array([[[1.0, -0.5j]]]), real=True)
        >>> np.round(wave.on_grid(np.array([0.0, np.pi / 2])), 6).tolist()  # 1 + sin x
        [[[1.0, 2.0]]]
        >>> np.round(wave.on_grid(np.array([0.0, np.pi / 2]), orders=(1,)), 6).tolist()  # cos x
        [[[1.0, 0.0]]]
    """

    lower: tuple[float, ...]
    times: Values
    wavenumbers: Sequence[Values]
    coefficients: Values
    real: bool

    def on_grid(self, *axes: Values, orders: Sequence[int] | None = None) -> Values:
        """Values, or derivatives of these orders by axis, on the grid of any axes (n,): (T, fields, n, ...)."""
        found = self.coefficients
        orders = [0] * len(axes) if orders is None else orders
        for axis, (x, low, order) in enumerate(zip(axes, self.lower, orders, strict=True)):
            k = self.wavenumbers[axis].ravel()
            waves = np.exp(1j * np.outer(np.asarray(x) - low, k)) * (1j * k) ** order
            if self.real and axis == len(axes) - 1:
                waves[:, k > 0] *= 2  # and their conjugates
            found = np.moveaxis(np.tensordot(found, waves, axes=(2, 1)), -1, -1)
        return np.ascontiguousarray(found.real if self.real else found)


def coefficients(linear: Values, step: float) -> tuple[Values, ...]:
    """Those of ETDRK4 for ``u' = L u``, L diagonal: exp(h L), exp(h L/2), and Q, f1, f2, f3 of Kassam and Trefethen.

    The last four have removable singularities at 0, where they lose all digits: they are means over a circle around
    ``h L``, as every analytic function is.

    Source: A.-K. Kassam, L. N. Trefethen, Fourth-order time-stepping for stiff PDEs, SIAM J. Sci. Comput. 26 (2005).

    Example::

        >>> whole, half, q, f1, f2, f3 = coefficients(np.array([0.0]), 0.1)  # of Runge-Kutta's: h/2, h/6, h/6, h/6
        >>> [round(float(c[0]), 6) for c in (whole, half, q, f1, f2, f3)]
        [1.0, 1.0, 0.05, 0.016667, 0.016667, 0.016667]
    """
    z = step * linear
    found = [np.zeros_like(z, dtype=np.complex128) for _ in range(4)]
    for j in range(CONTOUR):
        r = z + np.exp(2j * np.pi * (j + 0.5) / CONTOUR)
        e = np.exp(r)
        found[0] += (np.exp(r / 2) - 1) / r
        found[1] += (-4 - r + e * (4 - 3 * r + r**2)) / r**3
        found[2] += (2 + r + e * (r - 2)) / r**3
        found[3] += (-4 - 3 * r - r**2 + e * (4 - r)) / r**3
    means = [step * (f.real if np.isrealobj(z) else f) / CONTOUR for f in found]
    return np.exp(z), np.exp(z / 2), *means


def solve(
    equation: Semilinear,
    *,
    cells: int,
    steps: int,
    outputs: int,
    end: float,
    dealias: bool = False,
    scheme: Scheme = "etdrk4",
    tail: int | None = None,
    what: str = "marches in time",
) -> Series:
    """March from 0 to `end`; the coefficients at ``outputs + 1`` equidistant times, the initial ones included.

    Args:
        equation: what is solved.
        cells: of the grid along each axis, even.
        steps: from one output to the next.
        outputs: after the initial values.
        end: the last time.
        dealias: keep two thirds of the modes, so that squares are free of aliasing; else all but the highest.
        scheme: ``etdrk4`` of Cox and Matthews, or ``lawson4``, Runge-Kutta's of order four for ``exp(-t L) u``. The
            latter serves where high modes are not damped: they turn fast, and nearly together.
        tail: cells of a finer grid: its further modes go by L alone. None: they are 0.
        what: is done, for a line where it takes long.

    Raises:
        FloatingPointError: the solution is not finite.

    Example::

        >>> heat = Semilinear(  # u_t = u_xx - u and u(x, 0) = sin 2 x
        ...     lower=(0.0,), upper=(2 * np.pi,), initial=lambda x: np.sin(2 * x)[None],
        ...     linear=lambda k: -(k**2), nonlinear=lambda u: -u)
        >>> u = solve(heat, cells=8, steps=20, outputs=2, end=0.2).on_grid(np.array([np.pi / 4]))
        >>> [round(value, 6) for value in u.ravel().tolist()], round(float(np.exp(-5 * 0.2)), 6)
        ([1.0, 0.606531, 0.367879], 0.367879)
    """
    h = end / outputs / steps
    k, wider = equation.wavenumbers(cells), cells if tail is None else tail
    high = [np.pi * cells / (high - low) for low, high in zip(equation.lower, equation.upper, strict=True)]
    mask, kept = (
        np.all(np.broadcast_arrays(*(np.abs(one) < share * limit for one, limit in zip(modes, high, strict=True))), 0)
        for share in ((2 / 3 if dealias else 1) * (1 - 1e-9),)
        for modes in (k, equation.wavenumbers(wider))
    )
    u = equation.start(cells) * mask
    whole, half, q, f1, f2, f3 = coefficients(np.array(np.broadcast_to(equation.linear(*k), u.shape)), h)
    outer = mask * equation.outer(*k)

    def n(v: Values) -> Values:
        return np.asarray(outer * equation.forward(equation.nonlinear(equation.backward(v, cells))))

    def etdrk4(u: Values) -> Values:
        first = n(u)
        middle = half * u
        second = n(middle + q * first)
        third = n(middle + q * second)
        fourth = n(half * (middle + q * first) + q * (2 * third - first))
        return np.asarray(whole * u + f1 * first + 2 * f2 * (second + third) + f3 * fourth)

    def lawson4(u: Values) -> Values:
        first = n(u)
        middle = half * u
        second = n(middle + h / 2 * half * first)
        third = n(middle + h / 2 * second)
        fourth = n(whole * u + h * half * third)
        return np.asarray(whole * (u + h / 6 * first) + h / 3 * half * (second + third) + h / 6 * fourth)

    step = etdrk4 if scheme == "etdrk4" else lawson4
    times, far = np.linspace(0.0, end, outputs + 1), equation.wavenumbers(wider)
    beyond = equation.start(wider) * (0 if tail is None else 1)
    saved = np.empty((outputs + 1, *beyond.shape), dtype=np.complex128)
    done = 0
    with np.errstate(over="ignore", invalid="ignore"), doing(what, lambda: f"step {done} of {outputs * steps}"):
        for i, t in enumerate(times):
            for _ in range(steps if i else 0):
                u = step(u)
                done += 1
            if not np.isfinite(u).all():
                raise FloatingPointError(f"not finite at t = {t:g}")
            saved[i] = 0 if tail is None else beyond * np.exp(t * equation.linear(*far))
            saved[i][:, kept] = u[:, mask]
    return Series(equation.lower, times, [one.ravel() for one in far], saved, equation.real)
