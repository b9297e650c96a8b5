"""How large a residual function and its Jacobian are, without making them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from pinntk.network import NetworkSettings, count_parameters
from pinntk.network.network import completed
from pinntk.network.streams import Streams
from pinntk.residual.exact import left
from pinntk.residual.named import all_placed
from pinntk.residual.points import PointSettings
from pinntk.residual.regions import Region
from pinntk.residual.terms import Problem, Term


@dataclass(frozen=True)
class Extent:
    """Of N residuals of a network with P parameters; all sizes of matrices are in bytes.

    Example::

        >>> from pinntk.network import NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> extent = Extent.of(Poisson1D(), NetworkSettings(width=10, depth=2), {"interior": 100, "boundary": 2})
        >>> extent.rows, extent.parameters, extent.elements  # u, u_x, u_xx inside, u at the ends
        (102, 141, 3020)
        >>> extent.matrix(102, 141)
        115056
    """

    rows: int
    """N"""
    parameters: int
    """P"""
    elements: int
    """Of one hidden layer's streams, stream by point by neuron, all regions together."""
    by_term: int
    """The same, a region's counted once for each of its terms."""
    streams: int
    """At most, of a region."""
    width: int
    depth: int
    item: int = 8
    """Bytes of a number."""
    solved: bool = False
    """Whether J is ``P^-1 R'(u) J_u``, whose every product with its transpose goes through its rows."""

    @classmethod
    def of(
        cls,
        pde: Problem,
        network: NetworkSettings,
        counts: Mapping[str, int],
        *,
        terms: Sequence[Term] | None = None,
        item: int = 8,
        solved: bool = False,
    ) -> Self:
        """Of a problem's terms.

        Args:
            pde: the problem.
            network: of whatever size; none is made.
            counts: of points, or pairs of them, by region.
            terms: others than the problem's own.
            item, solved: see there.
        """
        if terms is None:
            terms = left(pde, network) if network.hard else pde.terms()
        whole = completed(network, pde)
        coefficients = tuple(pde.coefficients())
        rows = elements = by_term = most = 0
        for name, region in all_placed([term.region for term in terms], pde.domain).items():
            here = [term for term in terms if term.where == name]
            wanted = [stream for term in here for stream in term.streams]
            streams = len(Streams(wanted, pde.coordinates, pde.fields, coefficients, hard=whole.hard))
            size = streams * counts[name] * (2 if region.pairs else 1) * network.width
            rows, most = rows + counts[name] * len(here), max(most, streams)
            elements, by_term = elements + size, by_term + size * len(here)
        parameters = count_parameters(network, pde)
        return cls(rows, parameters, elements, by_term, most, network.width, network.depth, item, solved)

    @classmethod
    def trained(
        cls,
        pde: Problem,
        network: NetworkSettings,
        points: PointSettings,
        *,
        terms: Sequence[Term] | None = None,
        item: int = 8,
    ) -> Self:
        """At a run's collocation points."""
        counts = {name: region.count(points) for name, region in _regions(pde).items()}
        return cls.of(pde, network, counts, terms=terms, item=item)

    @classmethod
    def measured(cls, pde: Problem, network: NetworkSettings, interior: int, conditions: int) -> Self:
        """At so many fixed points for each region of the equation and for all others together, in double precision."""
        regions = _regions(pde)
        share = max(1, conditions // max(1, sum(not region.equation for region in regions.values())))
        return cls.of(pde, network, {name: interior if r.equation else share for name, r in regions.items()})

    def matrix(self, rows: int, columns: int) -> int:
        """``item rows columns``."""
        return self.item * rows * columns

    @property
    def dense(self) -> int:
        """J itself: ``item N P``."""
        return self.matrix(self.rows, self.parameters)

    @property
    def made(self) -> int:
        """Of J while its rows are put together; ``solved``: those of J_u, of parts, and of all."""
        return (3 if self.solved else 1) * self.dense

    @property
    def factors(self) -> int:
        """Of J in factors while it is made: ``item (depth (2 elements + by_term) + 5 elements)``, inputs and outputs of
        every layer, its cotangents, and what lies between in one of them."""
        return self.item * (self.depth * (2 * self.elements + self.by_term) + 5 * self.elements)

    @property
    def short_rows(self) -> int:
        """Of the rows that ``gram`` makes: those of first and last layer, and of hidden ones where they are shorter
        than ``2 streams^2`` times the width; ``solved``: all."""
        if self.solved:
            return self.made
        hidden = (self.depth - 1) * self.width * (self.width + 1)
        short = self.width + 1 <= 2 * self.streams**2
        return self.matrix(self.rows, self.parameters - (0 if short else hidden))

    @property
    def recorded(self) -> int:
        """Of a recorded gradient, at most: some ten numbers for every element of every layer."""
        return self.item * 10 * self.elements * self.depth


def _regions(pde: Problem) -> dict[str, Region]:
    return all_placed([term.region for term in pde.terms()], pde.domain)
