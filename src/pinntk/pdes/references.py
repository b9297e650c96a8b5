"""Numerical reference solutions of the two problems without a usable closed form, each with its accuracy.

Burgers' equation is an integral (Cole-Hopf), evaluated by quadrature on demand. The reaction-diffusion problem
heat2d is marched in time once and kept in a cache folder: `$PINNTK_CACHE`, else `$XDG_CACHE_HOME/pinntk`, else
`~/.cache/pinntk`. Both compare two resolutions, return the finer one, state the difference as the accuracy, and
refuse with a `ValueError` where it is too large. All arrays are float64.
"""

import hashlib
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
from scipy.fft import dstn

from pinntk.common.arrays import Array
from pinntk.common.doing import doing
from pinntk.common.files import cache_folder, write_atomically

BURGERS_AGREEMENT = 1e-11  # two successive rules must agree to this, absolute, at every point
BURGERS_MAX_NODES = 16_384

HEAT2D_TIMES = np.linspace(0.0, 100.0, 126)
HEAT2D_CELLS, HEAT2D_STEP = 192, 0.01  # what is returned: 191 sine modes per axis
HEAT2D_CHECK_CELLS, HEAT2D_CHECK_STEP = 128, 0.02  # what it is compared with; output times are multiples of this step
HEAT2D_TOLERANCE = 1e-2  # a larger difference is refused
HEAT2D_MAX_WAVENUMBER = 32  # four points of the comparison grid per half wave
HEAT2D_VERSION = 1  # part of the cache key: raise it when the method changes


@dataclass(frozen=True, eq=False)
class Reference:
    """Values of a reference solution at the n evaluation points, (n,) or of F fields (n, F), and their accuracy:
    relative L2, or the largest absolute difference between two resolutions.

    One that is known at some of the points is a `pinntk.pdes.reference_file.PartialReference`.
    """

    values: Array
    accuracy: float


def burgers(x: npt.ArrayLike, t: npt.ArrayLike, nu: float = 0.01 / math.pi) -> Reference:
    """Solution of u_t + u u_x = nu u_xx on [-1, 1] with u(x, 0) = -sin(pi x), u(-1, t) = u(1, t) = 0.

    Cole-Hopf: with w(s) = exp(-cos(pi (x - sqrt(t) s)) / (2 pi nu) - s^2 / (4 nu)),

        u(x, t) = - integral of sin(pi (x - sqrt(t) s)) w(s) ds / integral of w(s) ds

    by the trapezoidal rule, which converges faster than any power on analytic integrands that die out at both ends.
    Its nodes spread over the peaks of w; those of Gauss-Hermite follow exp(-s^2 / (4 nu)) alone, and for small nu
    most of them fall where w vanishes. The nodes are doubled until two rules agree to `BURGERS_AGREEMENT`; their
    difference is the accuracy.

    Args:
        x, t: positions and times, shape (n,); times are not negative.
        nu: viscosity, positive.

    Raises:
        ValueError: shapes differ, something is negative or not finite, or no agreement with `BURGERS_MAX_NODES` nodes.

    Source: E. Hopf, The partial differential equation u_t + u u_x = mu u_xx, Comm. Pure Appl. Math. 3 (1950).

    Example::

        >>> u = burgers([0.5], [0.001], nu=100.0).values  # -exp(-nu pi^2 t) sin pi x where nu is large
        >>> round(float(u[0]), 3), round(-math.exp(-0.1 * math.pi**2), 3)
        (-0.373, -0.373)
    """
    x, t = np.asarray(x, dtype=np.float64), np.asarray(t, dtype=np.float64)
    if not (math.isfinite(nu) and nu > 0):
        raise ValueError(f"pde.nu={nu:g}: must be a positive number")
    if x.ndim != 1 or x.shape != t.shape:
        raise ValueError(f"burgers: x {x.shape} and t {t.shape} must have one shape (n,)")
    if not np.isfinite(x).all() or not np.isfinite(t).all() or (t < 0).any():
        raise ValueError("burgers: x and t must be finite and t not negative")
    if x.size == 0:
        return Reference(x.copy(), 0.0)

    # Outside [-reach, reach] the integrand is below exp(-40) of its largest value: the cosine varies by 2 at most.
    reach = math.sqrt(4 / math.pi + 160 * nu)
    # The narrowest peak has curvature 1/(2 nu) + pi t/(2 nu). Starting below its width is what makes agreement
    # meaningful: coarser rules all see the node s = 0 alone and agree on nothing. 0.25 resolves the sine.
    longest = float(t.max())
    spacing = 0.7 * math.sqrt(2 * nu / (1 + math.pi * longest))
    if longest > 0:
        spacing = min(spacing, 0.25 / math.sqrt(longest))
    nodes = 2 * math.ceil(reach / spacing)
    agreement = math.inf
    while 2 * nodes <= BURGERS_MAX_NODES:
        values = _cole_hopf(x, t, nu, reach, 2 * nodes)
        agreement = float(np.abs(values - _cole_hopf(x, t, nu, reach, nodes)).max())
        if agreement <= BURGERS_AGREEMENT:
            return Reference(np.where(t == 0, -np.sin(np.pi * x), values), agreement)
        nodes *= 2
    raise ValueError(
        f"pde.nu={nu:g}: the Cole-Hopf quadrature agrees to {agreement:.1e} with at most {BURGERS_MAX_NODES} nodes, "
        f"{BURGERS_AGREEMENT:.0e} is needed"
    )


def _cole_hopf(x: Array, t: Array, nu: float, reach: float, nodes: int) -> Array:
    s = np.linspace(-reach, reach, nodes + 1)
    values = np.empty_like(x)
    block = max(1, 1_000_000 // s.size)  # about 8 MB per intermediate array
    for start in range(0, x.size, block):
        part = slice(start, start + block)
        y = np.pi * (x[part, None] - np.sqrt(t[part, None]) * s)
        exponent = -np.cos(y) / (2 * np.pi * nu) - s**2 / (4 * nu)
        # The exponents reach 1/(2 pi nu), hundreds: without the shift exp overflows.
        weight = np.exp(exponent - exponent.max(axis=1, keepdims=True))
        values[part] = -(np.sin(y) * weight).sum(axis=1) / weight.sum(axis=1)
    return values


@dataclass(frozen=True, eq=False)
class SineSeries:
    """u(x, y, t_i) = sum over p, q of c[i, p, q] sin(x_modes[p] pi x) sin(y_modes[q] pi y) on the unit square.

    times (T,), x_modes (P,), y_modes (Q,), coefficients (T, P, Q), float64. `accuracy` is the relative L2 difference
    between two resolutions on a 33 x 33 grid at these times.
    """

    times: Array
    x_modes: Array
    y_modes: Array
    coefficients: Array
    accuracy: float

    def on_grid(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
        """Values on the tensor grid of x (n,) and y (m,) at all times: shape (n, m, T)."""
        series: Array = _sines(x, self.x_modes) @ self.coefficients @ _sines(y, self.y_modes).T
        return np.ascontiguousarray(np.moveaxis(series, 0, -1))


def _sines(x: npt.ArrayLike, modes: Array) -> Array:
    # Half waves are taken off first: exact zeros at x = 1, and no digits lost in the argument of high modes.
    phase: Array = np.outer(np.asarray(x, dtype=np.float64), modes)
    half_waves = np.rint(phase)
    return (1 - 2 * np.mod(half_waves, 2)) * np.sin(np.pi * (phase - half_waves))


def heat2d(
    k: float = 1.0, m1: int = 4, m2: int = 2, diffusivity: float = 1e-3, times: npt.ArrayLike = HEAT2D_TIMES
) -> SineSeries:
    """Solution of u_t = diffusivity (u_xx + u_yy) + 5 sin(k u^2) (1 + 2 sin(pi t / 4)) sin(m1 pi x) sin(m2 pi y).

    On the unit square with u(x, y, 0) = sin(4 pi x) sin(3 pi y) and u = 0 on the sides. Sine collocation in space,
    integrating-factor Runge-Kutta of order four in time (diffusion exact, so no step limit from it).

    Computed with 191 modes per axis and step 0.01, and with 127 modes and step 0.02; the former is returned, their
    relative L2 difference is the stated accuracy. So that is the error of the *coarser* run, measured for the
    parameters at hand; the returned one is better (default: stated 2.1e-5, measured against twice the modes and half
    the step 1.0e-6). Default: 14 s on one core, longer where the modes do not thin out; then from the cache.

    Args:
        k: wavenumber of the reaction.
        m1: half waves of the forcing in x, 1 to 32.
        m2: half waves of the forcing in y, 1 to 32.
        diffusivity: positive.
        times: output times, shape (T,), increasing multiples of 0.02 from 0 on.

    Raises:
        ValueError: a parameter or a time out of range, a non-finite solution, or the two runs differ by more than
            `HEAT2D_TOLERANCE`.

    Source: the problem is Heat2d-LT of Hao et al., PINNacle (2023).
    """
    named = f"pde.k={k}, pde.m1={m1}, pde.m2={m2}, pde.diffusivity={diffusivity}"
    if not math.isfinite(k):
        raise ValueError(f"pde.k={k}: must be a finite number")
    for key, m in (("m1", m1), ("m2", m2)):
        if m not in range(1, HEAT2D_MAX_WAVENUMBER + 1):
            raise ValueError(f"pde.{key}={m}: must be an integer from 1 to {HEAT2D_MAX_WAVENUMBER}")
    if not (math.isfinite(diffusivity) and diffusivity > 0):
        raise ValueError(f"pde.diffusivity={diffusivity}: must be a positive number")
    k, m1, m2, diffusivity = float(k), int(m1), int(m2), float(diffusivity)
    times = np.array(times, dtype=np.float64)
    checks = _multiples(times, HEAT2D_CHECK_STEP)
    outputs = _multiples(times, HEAT2D_STEP)

    def compute() -> dict[str, Array]:
        fine = _march(k, m1, m2, diffusivity, HEAT2D_CELLS, HEAT2D_STEP, outputs)
        check = _march(k, m1, m2, diffusivity, HEAT2D_CHECK_CELLS, HEAT2D_CHECK_STEP, checks)
        grid = np.linspace(0.0, 1.0, 33)
        u, v = (SineSeries(times, *run, 0.0).on_grid(grid, grid) for run in (fine, check))
        if not np.isfinite(u).all() or not np.isfinite(v).all():
            raise ValueError(f"{named}: the heat2d reference solution is not finite")
        size = float(np.linalg.norm(u))
        accuracy = float(np.linalg.norm(u - v)) / (size if size > 0 else 1.0)
        return dict(zip(names, (*fine, np.array(accuracy)), strict=True))

    names = ("x_modes", "y_modes", "coefficients", "accuracy")
    resolutions = [HEAT2D_CELLS, HEAT2D_STEP, HEAT2D_CHECK_CELLS, HEAT2D_CHECK_STEP]
    arrays = _cached("heat2d", [HEAT2D_VERSION, *resolutions, k, m1, m2, diffusivity, outputs.tolist()], names, compute)
    x_modes, y_modes, coefficients, accuracy = (arrays[name] for name in names)
    reference = SineSeries(times, x_modes, y_modes, coefficients, float(accuracy))
    if reference.accuracy > HEAT2D_TOLERANCE:
        raise ValueError(
            f"{named}: two resolutions of the heat2d reference differ by {reference.accuracy:.1e} in relative L2, "
            f"at most {HEAT2D_TOLERANCE:.0e} is allowed"
        )
    return reference


def _multiples(times: Array, step: float) -> npt.NDArray[np.int64]:
    """The step numbers of the output times."""
    numbers = np.rint(times / step)
    if times.ndim != 1 or times.size == 0 or not (np.abs(numbers * step - times) < 1e-9).all():
        raise ValueError(f"heat2d: times must be a list of multiples of {step}, got {times}")
    if numbers[0] < 0 or (np.diff(numbers) <= 0).any():
        raise ValueError(f"heat2d: times must start at 0 or later and increase, got {times}")
    return numbers.astype(np.int64)


def _march(
    k: float, m1: int, m2: int, diffusivity: float, cells: int, step: float, outputs: npt.NDArray[np.int64]
) -> tuple[Array, Array, Array]:
    """Sine wavenumbers in x (P,) and y (Q,), and coefficients (T, P, Q) at the steps `outputs`.

    The initial values have wavenumbers 4 and 3. u^2 is even, so the forcing only makes multiples of gcd(4, m1) in x
    and of gcd(3, m2) in y: other modes stay exactly zero and are left out, that is, the problem is solved on
    [0, 1/gcd] per axis.
    """
    period_x, period_y = math.gcd(4, m1), math.gcd(3, m2)
    x, modes_x = _axis(cells, period_x)
    y, modes_y = _axis(cells, period_y)
    shape = 5 * np.outer(np.sin(m1 * np.pi * x), np.sin(m2 * np.pi * y))
    # Half a step of diffusion.
    decay = np.exp(-diffusivity * np.pi**2 * step / 2 * np.add.outer(modes_x**2, modes_y**2))

    # Fast transforms, not products with sine matrices: those take a third less on one thread, but BLAS splits them
    # over threads, which costs several times as much where other processes keep the cores busy.
    def diffuse(v: Array) -> Array:
        spectrum = dstn(v, type=1, norm="ortho")
        spectrum *= decay
        return cast(Array, dstn(spectrum, type=1, norm="ortho", overwrite_x=True))

    def force(v: Array, t: float) -> Array:
        return (1 + 2 * math.sin(math.pi * t / 4)) * shape * np.sin(k * v**2)

    u = np.outer(np.sin(4 * np.pi * x), np.sin(3 * np.pi * y))
    saved = np.empty((outputs.size, *u.shape))
    done = n = 0
    what = f"computes the reference of heat2d on {cells} x {cells} cells"
    # The caller tests for non-finite values.
    with np.errstate(over="ignore", invalid="ignore"), doing(what, lambda: f"step {n} of {outputs[-1]}"):
        for i, number in enumerate(outputs):
            for n in range(done, int(number)):
                t = n * step
                k1 = force(u, t)
                drift, push = diffuse(u), diffuse(k1)
                k2 = force(drift + step / 2 * push, t + step / 2)
                k3 = force(drift + step / 2 * k2, t + step / 2)
                k4 = force(diffuse(drift + step * k3), t + step)
                u = diffuse(drift + step / 6 * push + step / 3 * (k2 + k3)) + step / 6 * k4
            done = int(number)
            saved[i] = u
        coefficients = dstn(saved, type=1, axes=(1, 2)) / ((x.size + 1) * (y.size + 1))
    return modes_x, modes_y, coefficients


def _axis(cells: int, period: int) -> tuple[Array, Array]:
    """Points inside (0, 1/period) and the wavenumbers period, 2 period, ... that they resolve."""
    cells = -(-cells // period)  # rounded up
    j = np.arange(1.0, cells)
    return j / (cells * period), period * j


def _cached(
    name: str, key: list[object], names: tuple[str, ...], compute: Callable[[], dict[str, Array]]
) -> dict[str, Array]:
    """The arrays `names` of `compute()`, from the cache where it holds this key. A cache that fails only costs time."""
    try:
        folder = cache_folder()
    except OSError:
        return compute()
    path = folder / f"{name}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"
    # A damaged archive raises almost anything, from zip, zlib or numpy's header parser; recomputing is always right.
    with suppress(Exception), path.open("rb") as archive, np.load(archive, allow_pickle=False) as stored:
        return {array: stored[array] for array in names}
    arrays = compute()
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda unfinished: np.savez(unfinished, allow_pickle=False, **arrays))
    return arrays
