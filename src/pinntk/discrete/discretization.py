"""What a discrete problem is, and how its solution is approached with its preconditioner (Liu et al. 2024, PCPINN).

On a space-time grid a problem is a residual ``R(u) = 0`` for the grid function u, an array (levels, nodes): a row per
time, the initial and boundary nodes included as identity rows ``u - g``. A problem provides the residual, its
Jacobian and perhaps a tamer or sparser matrix to factor instead, ``P ~ R'(u)``; what is done with them is the same for
all.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.doing import doing
from pinntk.common.settings import Strict
from pinntk.discrete.preconditioner import FACTORS, Blocks, Preconditioner

MAX_NODES = 100_000_000


class UnsolvedError(RuntimeError):
    """The sweeps ended before the discrete system was solved."""


class DiscretizationSettings(Strict, strict=True):
    """What every discrete problem can be told; a problem adds its grid."""

    factor: Literal["levels", "whole"] = "levels"
    """Incomplete factors of one block per level, substituted forward in time, or, to compare with, of the matrix of
    all levels (of a window) at once."""
    drop_tolerance: Annotated[float, Field(ge=0)] = 1e-3
    """Entries of the factors below it, relative to their column, are dropped; 0 factors exactly. A factor that is wrong
    by 1 % where a scheme neither grows nor decays makes P^-1 grow like 1.01^levels: over many levels at once be
    strict."""
    fill_factor: Annotated[float, Field(ge=1)] = 10.0
    """Bound of the factors' entries, relative to those of the matrix."""
    window: Annotated[int, Field(ge=1)] = 1
    """Levels to which P is applied together (`DiscreteProblem.apply`), forward in time."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest change of a value in one application of P; null for no bound."""
    sweeps: Annotated[int, Field(ge=1)] = 100
    """At most so many applications of P to a level on the way to the discrete solution."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """A level is solved when no entry of its residual is larger."""
    refresh: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """On the way to the discrete solution P is linearised anew when a sweep leaves more than this part of the residual
    (root mean square)."""


def check_size(nodes: int, **settings: int) -> None:
    """Raise ValueError, naming the settings that make it, where a grid has more than `MAX_NODES` nodes."""
    if nodes > MAX_NODES:
        given = " and ".join(f"{name}={value}" for name, value in settings.items())
        raise ValueError(f"{given} make {nodes:,} nodes; allowed are {MAX_NODES:,}")


@dataclass(frozen=True, eq=False)
class Correction:
    """A corrected grid function, and what it took."""

    values: Array
    """(levels, nodes)."""
    residual: float
    """Largest entry of the discrete residual that is left."""
    applications: float
    """Of P^-1: levels to which it was applied, over the number of levels."""
    factorizations: int
    """Blocks factored."""
    factor_seconds: float
    seconds: float
    """Of the whole correction, factoring included."""


class DiscreteProblem(ABC):
    """A discrete system ``R(u) = 0``; ``shape`` is (levels, nodes at one level).

    Row n of the residual depends on level n and at most two levels before it. ``start`` and ``stop`` always mean the
    levels start, ..., stop - 1 (all of them by default), and u is always the whole grid function.

    Example::

        >>> from pinntk.pdes.convection import Convection, ConvectionDiscretization
        >>> discrete = Convection().discretize(ConvectionDiscretization(cells=6, time_steps=8, drop_tolerance=0.0))
        >>> u = discrete.solve()  # P^-1 R(u) = 0; and u - P^-1 R(u) is the solution, whatever u, of a linear problem
        >>> [np.allclose(discrete.apply(start).values, u) for start in (u, np.ones_like(u))]
        [True, True]
    """

    settings: DiscretizationSettings
    shape: tuple[int, int]

    @property
    def axes(self) -> tuple[int, ...]:
        """Nodes along each axis, in the order in which the nodes are numbered, last axis fastest."""
        return self.shape

    @property
    @abstractmethod
    def nodes(self) -> Array:
        """Coordinates of the nodes, level by level: (levels * nodes, d), t last."""

    @property
    def images(self) -> int:
        """How often the nodes lie in the domain: with symmetries only the part is kept that they repeat."""
        return 1

    def image(self, points: Array, which: NDArray[np.int64]) -> tuple[Array, Array]:
        """Where points of that part, (n, d), lie in its images number ``which``, (n,) from 0 to ``images - 1``.

        Returns:
            the points there, (n, d), and the factor 1 or -1 with which u repeats itself, (n,).
        """
        return points, np.ones(len(points))

    @abstractmethod
    def residual(self, u: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """R(u) on some levels, (stop - start, nodes), differentiable. Of u only these levels and those that the
        scheme looks back to are read."""

    @abstractmethod
    def jacobian(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        """R'(u) on some levels, the values before them known."""

    def approximation(self, u: Array, start: int = 0, stop: int | None = None) -> Blocks:
        """The matrix that is factored instead of the Jacobian: the Jacobian itself, unless a problem knows better."""
        return self.jacobian(u, start, stop)

    def linearize(self, u: Array, start: int = 0, stop: int | None = None) -> Preconditioner:
        """P, the incomplete factors of the approximation on some levels.

        Raises:
            PreconditionerError: the factors are of no use.
        """
        return FACTORS[self.settings.factor](
            self.approximation(u, start, stop),
            drop_tolerance=self.settings.drop_tolerance,
            fill_factor=self.settings.fill_factor,
            first=start,
        )

    @abstractmethod
    def interpolate(self, u: Array, points: Array) -> Array:
        """The grid function u at points (n, d) of the domain: (n,)."""

    def apply(self, u: Array) -> Correction:
        """``u - clip(P^-1 R(u))``, one application of P, which is linearised about u.

        Over ``window`` levels at a time, forward in time: a window's residual is that of its own values with the
        corrected ones before it. For a linear problem that is P^-1 R whatever the window. For a nonlinear one a window
        is linearised at a start that is right, where a linearisation about a wrong trajectory can grow like exp(50 t).

        Args:
            u: (levels, nodes); not changed.

        Raises:
            ValueError: u has another shape, or is not finite.
            PreconditionerError: see `Preconditioner`.
        """
        if u.shape != self.shape or not np.isfinite(u).all():
            raise ValueError(f"u: came shape {u.shape}; needed are finite values of shape {self.shape}")
        begin, clip = time.perf_counter(), self.settings.clip
        values = np.array(u, dtype=np.float64)
        grid = torch.from_numpy(values)  # shares its memory
        factorizations, factor_seconds, first = 0, 0.0, 0
        what = f"applies P^-1 to the residual on the grid, {u.size:,} unknowns"
        with _one_thread(), doing(what, lambda: f"level {first} of {self.shape[0]}"):
            for first in range(0, self.shape[0], self.settings.window):
                last = min(first + self.settings.window, self.shape[0])
                r = self.residual(grid, first, last).numpy()
                p = self.linearize(values, first, last)
                update = p.solve(r)
                values[first:last] -= update if clip is None else np.clip(update, -clip, clip)
                factorizations += p.factorizations
                factor_seconds += p.factor_seconds
        left = float(self.residual(grid).abs().max())
        return Correction(values, left, 1.0, factorizations, factor_seconds, time.perf_counter() - begin)

    def march(self) -> Correction:
        """The discrete solution, level by level.

        Every level is swept, ``u <- u - clip(P^-1 R(u))``, from the values of the one before until its residual is
        within ``tolerance`` or ``sweeps`` are used up. Where a nonlinear system has several solutions this chooses the
        one that continuous change leads to. P is kept, from one level to the next as well, while it works: until a
        sweep leaves more than ``refresh`` of the residual, or, where the sweep was clipped and could not do that well,
        does not reduce it at all.

        Raises:
            PreconditionerError: see `Preconditioner`.
        """
        s, begin = self.settings, time.perf_counter()
        values = np.zeros(self.shape)
        grid = torch.from_numpy(values)
        left, sweeps, factorizations, factor_seconds, level = 0.0, 0, 0, 0.0, 0
        p: Preconditioner | None = None
        what = f"solves the discrete system, {values.size:,} unknowns"
        with _one_thread(), doing(what, lambda: f"level {level} of {self.shape[0]}"):
            for level in range(self.shape[0]):
                if level:
                    values[level] = values[level - 1]
                if level == 1:  # the first level's rows are unlike the others
                    p = None
                enough = np.inf  # a larger residual asks for a new linearisation
                for sweep in range(s.sweeps + 1):
                    r = self.residual(grid, level, level + 1).numpy()
                    largest, size = float(np.abs(r).max()), float(np.sqrt(np.mean(np.square(r))))
                    if largest <= s.tolerance or sweep == s.sweeps:
                        break
                    if p is None or size > enough:
                        p = self.linearize(values, level, level + 1)
                        factorizations += p.factorizations
                        factor_seconds += p.factor_seconds
                    update = p.solve(r)
                    clipped = s.clip is not None and bool(np.abs(update).max() > s.clip)
                    values[level] -= (np.clip(update, -s.clip, s.clip) if s.clip is not None else update)[0]
                    enough = size if clipped else s.refresh * size
                    sweeps += 1
                left = max(left, largest)
        applications = sweeps / self.shape[0]
        return Correction(values, left, applications, factorizations, factor_seconds, time.perf_counter() - begin)

    def solve(self) -> Array:
        """The values of `march`, (levels, nodes).

        Raises:
            UnsolvedError: ``sweeps`` are not enough.
        """
        found = self.march()
        if message := self.unsolved(found):
            raise UnsolvedError(message)
        return found.values

    def unsolved(self, found: Correction) -> str | None:
        """What to say of a march that did not reach ``tolerance``; None where it did."""
        if found.residual <= self.settings.tolerance:
            return None
        return (
            f"the discrete system is not solved: a residual of {found.residual:.1e} is left after"
            f" {self.settings.sweeps} sweeps of a level, {self.settings.tolerance:.0e} is allowed"
        )


class _ApplyInverse(torch.autograd.Function):
    """``r -> P^-1 r`` or ``r -> P^-T r``: each is the other's backward, so derivatives of every order exist."""

    @staticmethod
    def forward(ctx: Any, r: Tensor, preconditioner: Preconditioner, transposed: bool) -> Tensor:
        ctx.preconditioner, ctx.transposed = preconditioner, transposed
        values = r.detach().to("cpu", torch.float64).numpy()
        solved = preconditioner.solve_transposed(values) if transposed else preconditioner.solve(values)
        return torch.from_numpy(solved).to(r)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return _applied(gradients[0], ctx.preconditioner, not ctx.transposed), None, None


def _applied(r: Tensor, preconditioner: Preconditioner, transposed: bool) -> Tensor:
    # torch leaves apply without types.
    solved: Tensor = _ApplyInverse.apply(r, preconditioner, transposed)  # type: ignore[no-untyped-call]
    return solved


def apply_inverse(preconditioner: Preconditioner, r: Tensor) -> Tensor:
    """``P^-1 r``, differentiable any number of times.

    r is a tensor (levels, nodes) of any device and dtype; the substitution is done on the CPU in float64. The
    gradient is ``P^-T`` times the incoming one. Errors as in `BlockTriangular.solve`.

    Example::

        >>> from pinntk.discrete.preconditioner import Blocks, BlockTriangular
        >>> import scipy.sparse
        >>> one, r = scipy.sparse.eye_array(1), torch.ones(3, 1, requires_grad=True)
        >>> y = apply_inverse(BlockTriangular(Blocks([one] * 3, [[None, -2 * one, -2 * one]])), r)
        >>> y[-1].backward()  # y_2 = r_2 + 2 r_1 + 4 r_0
        >>> r.grad.ravel().tolist()
        [4.0, 2.0, 1.0]
    """
    return _applied(r, preconditioner, False)


@contextmanager
def _one_thread() -> Iterator[None]:
    """One level is too little work to share: threads only wait for each other, on a busy machine 70 times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
