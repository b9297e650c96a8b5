"""Periodic evolution equations as problems: their reference in Fourier space, and lifts for what is only continuous."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.network.settings import Feature, PeriodicFeature
from pinntk.pdes.base import PDE
from pinntk.pdes.references import (
    Reference,
    _cached,
)  # by its name there: a new one would be an edit of all six problems
from pinntk.pdes.zoo.fourier import Scheme, Semilinear, solve

TOLERANCE = 1e-2
"""A larger difference between two resolutions is refused."""
VERSION = 1
"""Part of the cache key: raise it when the method changes."""


@dataclass(frozen=True)
class Resolution:
    """How finely a reference is computed: arguments of `pinntk.pdes.zoo.fourier.solve`, steps per evaluation time."""

    cells: int
    steps: int
    dealias: bool = False
    scheme: Scheme = "etdrk4"
    tail: int | None = None


class EvolvingPDE(PDE):
    """A problem in space and t = 0 ... end, periodic in space, whose reference is computed in Fourier space.

    It is computed at two resolutions; `fine` is returned, and the relative L2 difference is the accuracy: the error of
    the coarser. At t = 0 it is the initial values themselves. What is computed is kept in the cache folder.
    """

    fine: ClassVar[Resolution]
    coarse: ClassVar[Resolution]
    harmonics: ClassVar[int] = 4
    """Of the periodic inputs of networks with hard conditions."""

    @abstractmethod
    def initial(self, x: Tensor) -> Tensor:
        """Initial values at points (N, d): (N,), of F fields (N, F)."""

    @abstractmethod
    def evolution(self) -> Semilinear:
        """The equation in Fourier space; of two fields the complex one that they are parts of, if it is not real."""

    def lift(self, x: Tensor) -> Tensor:
        """The initial values."""
        return self.initial(x)

    def factor(self, x: Tensor) -> Tensor:
        """t."""
        return x[:, -1]

    def inputs(self) -> list[Feature]:
        """Waves of the domain's length in the place of each coordinate in space."""
        box = zip(self.coordinates[:-1], self.lower, self.upper, strict=False)
        return [
            PeriodicFeature(kind="periodic", input=c, period=high - low, harmonics=self.harmonics, replace=True)
            for c, low, high in box
        ]

    def start(self, *axes: Array) -> Array:
        """`initial` at coordinates in space that broadcast against each other: (fields, *their common shape)."""
        columns = np.broadcast_arrays(*axes, np.zeros(1))
        values = self.initial(torch.from_numpy(np.stack(columns, axis=-1).reshape(-1, len(columns))))
        return np.ascontiguousarray(values.numpy().reshape(-1, len(self.fields)).T).reshape(-1, *columns[0].shape)

    def computed(self, resolution: Resolution) -> Array:
        """The solution on the evaluation grid, (points, fields)."""
        *space, t = self.evaluation_axes()
        equation = self.evolution()
        series = solve(
            equation,
            outputs=len(t) - 1,
            end=self.upper[-1],
            what=f"computes the reference of {self.name} with {resolution.cells} cells",
            **asdict(resolution),
        )
        values = series.on_grid(*space)
        if not equation.real:
            values = np.concatenate([values.real, values.imag], axis=1)
        values[0] = self.start(*np.meshgrid(*space, indexing="ij", sparse=True))
        return np.ascontiguousarray(np.moveaxis(values, (0, 1), (-2, -1))).reshape(-1, len(self.fields))

    def reference(self) -> Reference:
        named = ", ".join(f"pde.{name}={value}" for name, value in self.parameters().items())

        def compute() -> dict[str, Array]:
            try:
                values, other = self.computed(self.fine), self.computed(self.coarse)
            except FloatingPointError as error:
                raise ValueError(f"{named}: the reference of {self.name} is {error}") from error
            return {"values": values, "accuracy": np.array(np.linalg.norm(values - other) / np.linalg.norm(values))}

        axes = [axis.tolist() for axis in self.evaluation_axes()]
        key = [VERSION, self.parameters(), asdict(self.fine), asdict(self.coarse), axes]
        found = _cached(self.name, key, ("values", "accuracy"), compute)
        accuracy = float(found["accuracy"])
        if not accuracy <= TOLERANCE:
            raise ValueError(
                f"{named}: two resolutions of the reference of {self.name} differ by {accuracy:.1e} in relative L2, at"
                f" most {TOLERANCE:.0e} is allowed"
            )
        return Reference(found["values"].squeeze(1) if len(self.fields) == 1 else found["values"], accuracy)


def rounding(s: Tensor, spread: float, t: Tensor) -> Tensor:
    """What makes the distance ``s >= 0`` from a kink smooth for t > 0: 0 at t = 0, and of slope -1 at s = 0 later.

    ``s + rounding`` is ``|s|`` after diffusion over ``w = sqrt(spread t)``: even about s = 0 and smooth. A function of
    it keeps its initial values and loses their kink as solutions do. Far from the kink, from 6 w on, the rounding is 0
    to all digits.

    Example::

        >>> s = torch.tensor([0.0, 0.0, 1.0, 1.0], dtype=torch.float64, requires_grad=True)
        >>> found = rounding(s, 0.04, torch.tensor([0.0, 0.25, 0.0, 0.25], dtype=torch.float64))
        >>> [round(value, 6) for value in found.tolist()]  # 0.1 / sqrt(pi) at the kink
        [0.0, 0.056419, 0.0, 0.0]
        >>> round(torch.autograd.grad(found.sum(), s)[0][1].item(), 6)
        -1.0
    """
    w = torch.sqrt(spread * (t + 1e-16))  # at t = 0 its derivatives are finite, and the values right to 1e-9
    gauss: Tensor = w / math.sqrt(math.pi) * torch.exp(-((s / w) ** 2))
    beyond: Tensor = s * torch.special.erfc(s / w)
    return gauss - beyond
