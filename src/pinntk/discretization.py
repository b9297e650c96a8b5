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
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from pinntk.preconditioner import (
    FACTORS,
    Array,
    Blocks,
    BlockTriangular,
    Preconditioner,
    PreconditionerError,
    WholeMatrix,
)

__all__ = [
    "BlockTriangular",
    "Blocks",
    "Correction",
    "DiscreteProblem",
    "DiscretizationSettings",
    "Preconditioner",
    "PreconditionerError",
    "UnsolvedError",
    "WholeMatrix",
    "apply_inverse",
    "check_size",
]

MAX_NODES = 100_000_000


class UnsolvedError(RuntimeError):
    """The sweeps ended before the discrete system was solved."""


class DiscretizationSettings(BaseModel):
    """What every discrete problem can be told; a problem adds its grid."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

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
    """Levels that are corrected together, forward in time."""
    sweeps: Annotated[int, Field(ge=1)] = 100
    """At most so many corrections of a window."""
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    """A window is done when no entry of its residual is larger."""
    refresh: Annotated[float, Field(ge=0, lt=1)] = 0.7
    """P is linearised anew when a sweep leaves more than this part of the residual (root mean square)."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest change of a value in one sweep; null for no bound."""
    guess: Literal["values", "carry"] = "values"
    """What a window's sweeps start from: the given values, or the corrected level before it, held throughout."""


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
    """Largest entry of the discrete residual that is left on the corrected levels."""
    sweeps: int
    """Applications of P^-1, over all windows."""
    factorizations: int
    """Blocks factored."""
    factor_seconds: float
    seconds: float
    """Of the whole correction, factoring included."""


class DiscreteProblem(ABC):
    """A discrete system ``R(u) = 0``; ``shape`` is (levels, nodes at one level).

    Row n of the residual depends on level n and at most two levels before it. ``start`` and ``stop`` always mean the
    levels start, ..., stop - 1 (all of them by default), and u is always the whole grid function.
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

    def correct(self, u: Array, start: int = 0, stop: int | None = None) -> Correction:
        """Sweeps ``u <- u - clip(P^-1 R(u))`` forward in time, on levels of which those before start are right.

        A window of levels is swept until its residual is below ``tolerance``, or ``sweeps`` are used up, before the
        next is looked at: so each is linearised about values that are right at its start, where a linearisation about
        a wrong trajectory can grow like exp(50 t). The first level, whose rows are unlike the others, is a window of
        its own.

        P is kept, from one window to the next as well, while it works: until a sweep leaves more than ``refresh`` of
        the residual, or, where the sweep was clipped and could not do that well, does not reduce it at all.

        Args:
            u: (levels, nodes); not changed.

        Raises:
            ValueError: u has another shape, or is not finite.
            PreconditionerError: see `Preconditioner`.
        """
        settings = self.settings
        return self._correct(u, start, stop, settings.window, settings.guess == "carry")

    def solve(self) -> Array:
        """The discrete solution, ``R(u) = 0`` to ``tolerance``: (levels, nodes).

        Marches level by level, each swept from the values of the one before. Where a nonlinear system has several
        solutions this chooses the one that continuous change leads to.

        Raises:
            UnsolvedError: ``sweeps`` are not enough.
        """
        correction = self._correct(np.zeros(self.shape), 0, None, window=1, carry=True)
        if correction.residual > self.settings.tolerance:
            raise UnsolvedError(
                f"the discrete system is not solved: a residual of {correction.residual:.1e} is left after"
                f" {self.settings.sweeps} sweeps, {self.settings.tolerance:.0e} is allowed"
            )
        return correction.values

    def _correct(self, u: Array, start: int, stop: int | None, window: int, carry: bool) -> Correction:
        if u.shape != self.shape or not np.isfinite(u).all():
            raise ValueError(f"u: came shape {u.shape}; needed are finite values of shape {self.shape}")
        with _one_thread():
            return self._sweep(u, start, self.shape[0] if stop is None else stop, window, carry)

    def _sweep(self, u: Array, start: int, stop: int, window: int, carry: bool) -> Correction:
        s, begin = self.settings, time.perf_counter()
        values = np.array(u, dtype=np.float64)
        grid = torch.from_numpy(values)  # shares its memory
        left, sweeps, factorizations, factor_seconds = 0.0, 0, 0, 0.0
        p: Preconditioner | None = None
        first = start
        while first < stop:
            last = min(first + window, stop) if first else 1
            if carry and first:
                values[first:last] = values[first - 1]
            if p is not None and (first == 1 or p.levels != last - first):
                p = None
            enough = np.inf  # a larger residual asks for a new linearisation
            for sweep in range(s.sweeps + 1):
                r = self.residual(grid, first, last).numpy()
                largest, size = float(np.abs(r).max()), float(np.sqrt(np.mean(np.square(r))))
                if largest <= s.tolerance or sweep == s.sweeps:
                    break
                if p is None or size > enough:
                    p = self.linearize(values, first, last)
                    factorizations += p.factorizations
                    factor_seconds += p.factor_seconds
                update = p.solve(r)
                clipped = s.clip is not None and bool(np.abs(update).max() > s.clip)
                values[first:last] -= np.clip(update, -s.clip, s.clip) if s.clip is not None else update
                enough = size if clipped else s.refresh * size
                sweeps += 1
            left = max(left, largest)
            first = last
        return Correction(values, left, sweeps, factorizations, factor_seconds, time.perf_counter() - begin)


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
    # torch leaves apply without types
    solved: Tensor = _ApplyInverse.apply(r, preconditioner, transposed)  # type: ignore[no-untyped-call]
    return solved


def apply_inverse(preconditioner: Preconditioner, r: Tensor) -> Tensor:
    """``P^-1 r``, differentiable any number of times.

    r is a tensor (levels, nodes) of any device and dtype; the substitution is done on the CPU in float64. The
    gradient is ``P^-T`` times the incoming one. Errors as in `BlockTriangular.solve`.
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
