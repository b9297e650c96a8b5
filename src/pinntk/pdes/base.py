"""What a problem is besides its residual terms: a reference solution, a grid to compare on, perhaps a discrete form."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.discrete.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.pdes.reference_file import PartialReference, ReferenceTable, read_reference
from pinntk.pdes.references import Reference
from pinntk.residual.named import all_placed
from pinntk.residual.terms import Problem, Term, periodic, value, vanishing

__all__ = ["EXACT", "PDE", "Array", "ExactPDE", "Term", "periodic", "value", "vanishing"]

EXACT = float(np.finfo(np.float64).eps)
"""Accuracy stated for closed forms, which are evaluated in float64."""


class PDE(Problem):
    """Base of the problems: a `Problem`, where the network is looked at, and a solution to compare it with, if known.

    Class attributes besides those of `Problem`: ``evaluation_shape``, points per coordinate of the evaluation grid,
    ends included; ``reference_file``, a .csv or .npz file with a solution (`pinntk.pdes.reference_file`), from the
    folder of the file in which it is declared: its points are then the evaluation points; ``Discretization``, the
    settings of the discrete form, None where there is none. `pinntk.pdes.declaration` checks them before a run begins.

    Example::

        >>> from pinntk.pdes.convection import Convection
        >>> pde = Convection(beta=2.0)
        >>> pde.parameters(), pde.evaluation_points().shape  # 257 x 101
        ({'beta': 2.0}, (25957, 2))
        >>> [round(float(axis[-1]), 4) for axis in pde.evaluation_axes()]  # 2 pi and 1
        [6.2832, 1.0]
    """

    evaluation_shape: ClassVar[tuple[int, ...]] = (257, 101)
    reference_file: ClassVar[str | Path | None] = None
    Discretization: ClassVar[type[DiscretizationSettings] | None] = None

    def reference(self) -> Reference | None:
        """The reference solution at ``evaluation_points``; None: not known, and no error is measured.

        That of ``reference_file``, unless a problem has another.
        """
        table = self.reference_table()
        if table is None:
            return None
        if not np.array_equal(table.points, self.evaluation_points()):
            raise ValueError("reference_file has other points than evaluation_points(); allowed are the same")
        return PartialReference(table.values, table.accuracy)

    def reference_table(self) -> ReferenceTable | None:
        """What ``reference_file`` holds; None without one.

        Raises:
            ValueError: it cannot be read or holds something else.
        """
        path = self.reference_path()
        return None if path is None else read_reference(path, self.coordinates, self.fields)

    @classmethod
    def reference_path(cls) -> Path | None:
        """Where ``reference_file`` is; None without one."""
        if cls.reference_file is None:
            return None
        declared = next(base for base in cls.__mro__ if "reference_file" in vars(base))
        module = getattr(sys.modules.get(declared.__module__), "__file__", None)  # none in a notebook
        return (Path(module).parent if module else Path.cwd()) / Path(cls.reference_file).expanduser()

    @classmethod
    def data_files(cls) -> tuple[Path, ...]:
        """Files whose content belongs to the problem as its code does: where one has changed, it is another problem.

        A problem that reads others than its ``reference_file`` may add them.
        """
        path = cls.reference_path()
        return () if path is None else (path,)

    def discretize(self, settings: DiscretizationSettings) -> DiscreteProblem:
        """The discrete form on a space-time grid; settings are of the class ``Discretization``.

        Raises:
            ValueError: the problem has none.
        """
        raise ValueError(f"pde={self.name} has no discrete form")

    def check_periods(self, periods: Mapping[str, float]) -> None:
        """Raise ValueError, naming the key, where functions with these periods cannot come near the solution.

        Args:
            periods: that the network's inputs give it, by coordinate; coordinates without one are left out.
        """
        return

    def counts_without_effect(self, terms: Sequence[Term] | None = None) -> dict[str, str]:
        """Counts among ``points`` that change nothing for this problem -> when they would count, in words.

        Args:
            terms: those that are trained; None: all.
        """
        found = {}
        regions = all_placed([t.region for t in (self.terms() if terms is None else terms)], self.domain).values()
        for count, kinds in (("interior", "interior"), ("initial", "initial"), ("boundary", "boundary or periodic")):
            counted = [region for region in regions if region.counted == count]
            if not counted:
                found[count] = f"counts only with {kinds} terms, and {self.name} has none"
            elif all(region.single for region in counted):
                found[count] = f"counts only where a face is more than a point, and {self.name} has one dimension"
        if all(region.name != "interior" for region in regions):
            found["by_residual"] = f"counts only with terms in the region 'interior', and {self.name} has none"
        return found

    def evaluation_axes(self) -> tuple[Array, ...]:
        """The evaluation grid's axes, one per coordinate."""
        table = self.reference_table()
        if table is not None and table.axes is not None:
            return table.axes
        box = zip(self.lower, self.upper, self.evaluation_shape, strict=True)
        return tuple(np.linspace(low, high, n) for low, high, n in box)

    def evaluation_points(self) -> Array:
        """The evaluation grid, (n, d), last coordinate fastest; or the points of ``reference_file``."""
        table = self.reference_table()
        if table is not None:
            return table.points.copy()
        return np.stack(np.meshgrid(*self.evaluation_axes(), indexing="ij"), axis=-1).reshape(-1, len(self.coordinates))

    def grid_axes(self) -> tuple[Array, ...] | None:
        """The axes of the grid that ``evaluation_points`` are; None where a problem has scattered ones of its own."""
        try:
            axes = tuple(np.asarray(axis, dtype=np.float64) for axis in self.evaluation_axes())
            grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(self.coordinates))
        except (TypeError, ValueError):  # an evaluation_shape that does not fit, and is not used
            return None
        return axes if np.array_equal(grid, self.evaluation_points()) else None

    def parameters(self) -> dict[str, Any]:
        """The coefficients by name, as JSON has them."""
        return self.model_dump(mode="json")


class ExactPDE(PDE):
    """A problem whose solution is known in closed form.

    Example::

        >>> class Decay(ExactPDE):
        ...     name = "decay"
        ...     coordinates, lower, upper, evaluation_shape = ("t",), (0.0,), (1.0,), (3,)
        ...     def terms(self):
        ...         return (Term("residual", "interior", ("u", "u_t"), lambda s: s["u_t"] + s["u"]),)
        ...     def solution(self, x):
        ...         return torch.exp(-x[:, 0])
        >>> Decay().reference().values.round(4).tolist()
        [1.0, 0.6065, 0.3679]
    """

    @abstractmethod
    def solution(self, x: Tensor) -> Tensor:
        """The exact solution at points (N, d): (N,), of F fields (N, F); differentiable."""

    def reference(self) -> Reference:
        values = self.solution(torch.from_numpy(self.evaluation_points())).numpy()
        return Reference(values=values, accuracy=EXACT)
