"""What a problem is: a box, named residual terms, a reference solution, and perhaps a discrete form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from torch import Tensor

from pinntk.discretization import DiscreteProblem, DiscretizationSettings
from pinntk.network import STRICT
from pinntk.references import Reference
from pinntk.streams import Operator

Array = NDArray[np.float64]
Region = Literal["interior", "initial", "boundary", "periodic"]
EXACT = float(np.finfo(np.float64).eps)
"""Accuracy stated for closed forms, which are evaluated in float64."""


def no_fields(x: Tensor) -> tuple[Tensor, ...]:
    """The fields of a term that needs none."""
    return ()


@dataclass(frozen=True)
class Term:
    """One named part of the residual function, for example "residual" or "initial"."""

    name: str
    region: Region
    """Where it is evaluated; "interior" terms make up L_r, all others L_b."""
    streams: tuple[str | Operator, ...]
    """The streams of the network that it uses: "u", "u_x", "u_xx" ..., or linear operators."""
    residual: Callable[..., Tensor]
    """(streams by name, *fields) -> residuals. On a periodic region a stream holds the lower face's points, then their
    images on the upper face."""
    fields: Callable[[Tensor], tuple[Tensor, ...]] = no_fields
    """Points (N, d) -> the data that the residual needs there; evaluated once per draw of points."""

    @property
    def derivatives(self) -> tuple[str, ...]:
        """Names of u and its derivatives behind the streams, operators taken apart."""
        names = [[s] if isinstance(s, str) else list(s.coefficients) for s in self.streams]
        return tuple(dict.fromkeys(name for group in names for name in group))

    def of_derivatives(self, values: Mapping[str, Tensor], *fields: Tensor) -> Tensor:
        """The residual from u and its derivatives by name, for who has no streams."""
        operators = {s.name: s.of(values) for s in self.streams if isinstance(s, Operator)}
        return self.residual({**values, **operators}, *fields)


def periodic(values: dict[str, Tensor]) -> Tensor:
    """Residual of a periodic condition: u on the lower face minus u at the image on the upper one."""
    lower, upper = values["u"].chunk(2)
    return lower - upper


def value(values: dict[str, Tensor], data: Tensor) -> Tensor:
    """Residual of a prescribed value: u - data."""
    return values["u"] - data


def vanishing(values: dict[str, Tensor]) -> Tensor:
    """Residual of u = 0."""
    return values["u"]


class PDE(BaseModel, ABC):
    """Base of the problems; fields of a subclass are its coefficients, validated on construction.

    Class attributes: ``name``; ``coordinates``, of which t, where there is one, is the time; ``lower`` and ``upper``,
    the box; ``evaluation_shape``, points per coordinate of the evaluation grid, ends included; ``Discretization``, the
    settings of the discrete form, None where there is none. `pinntk.declaration` checks them before a run begins.
    """

    model_config = STRICT

    name: ClassVar[str]
    coordinates: ClassVar[tuple[str, ...]] = ("x", "t")
    lower: ClassVar[tuple[float, ...]]
    upper: ClassVar[tuple[float, ...]]
    evaluation_shape: ClassVar[tuple[int, ...]] = (257, 101)
    Discretization: ClassVar[type[DiscretizationSettings] | None] = None

    @abstractmethod
    def terms(self) -> tuple[Term, ...]:
        """The residual terms, in the order in which they stand in the residual vector."""

    @abstractmethod
    def reference(self) -> Reference:
        """The reference solution at ``evaluation_points`` and its accuracy (relative L2 or below)."""

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

    def counts_without_effect(self) -> dict[str, str]:
        """Counts among ``points`` that change nothing for this problem -> when they would count, in words."""
        found = {}
        on = {"interior": ("interior",), "initial": ("initial",), "boundary": ("boundary", "periodic")}
        for count, regions in on.items():
            if not set(regions) & set(self.regions()):
                found[count] = f"counts only with {' or '.join(regions)} terms, and {self.name} has none"
            elif count != "interior" and len(self.coordinates) == 1:
                found[count] = f"counts only where a face is more than a point, and {self.name} has one dimension"
        return found

    def evaluation_axes(self) -> tuple[Array, ...]:
        """The evaluation grid's axes, one per coordinate."""
        box = zip(self.lower, self.upper, self.evaluation_shape, strict=True)
        return tuple(np.linspace(low, high, n) for low, high, n in box)

    def evaluation_points(self) -> Array:
        """The evaluation grid, (n, d), last coordinate fastest."""
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

    def regions(self) -> tuple[Region, ...]:
        """The regions on which terms live."""
        return tuple(dict.fromkeys(term.region for term in self.terms()))


class ExactPDE(PDE):
    """A problem whose solution is known in closed form."""

    @abstractmethod
    def solution(self, x: Tensor) -> Tensor:
        """The exact solution at points (N, d): (N,), differentiable."""

    def reference(self) -> Reference:
        values = self.solution(torch.from_numpy(self.evaluation_points())).numpy()
        return Reference(values=values, accuracy=EXACT)
