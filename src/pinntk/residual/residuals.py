"""Network + problem + points -> the residual function r(theta), made of named terms.

Everything else is derived from it: the loss is a weighted sum of squares of its terms, the neural tangent kernel is
``J J^T`` of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from pinntk.network import Inputs, Network
from pinntk.network.streams import Streams
from pinntk.residual.exact import left
from pinntk.residual.named import all_placed
from pinntk.residual.regions import Region
from pinntk.residual.terms import Problem, Term

Normalization = Literal["sum", "mean"]


@dataclass(frozen=True)
class Batch:
    """One region's points, ready for the network: what does not depend on the parameters is computed once.

    Example::

        >>> x = torch.tensor([[0.0], [0.5], [1.0], [1.5]])
        >>> from pinntk.network import Inputs
        >>> batch = Batch(x, Inputs(x[None]), ())
        >>> [part.points.flatten().tolist() for part in batch.split(2)]
        [[0.0, 0.5], [1.0, 1.5]]
        >>> [part.points.flatten().tolist() for part in batch.split(2, pairs=True)]
        [[0.0, 1.0], [0.5, 1.5]]
    """

    points: Tensor
    """(N, d); for a region of pairs N/2 points and their N/2 images."""
    inputs: Inputs
    """What `Network.prepare` makes of them."""
    fields: tuple[tuple[Tensor, ...], ...]
    """Per term of the region: the region's data and the problem's at the points."""

    def tensors(self) -> list[Tensor]:
        """All that it is made of."""
        return [self.points, *(x for x in self.inputs if x is not None), *(x for part in self.fields for x in part)]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The same with every tensor's image."""
        features, *rest = self.inputs
        weights, offset = (None if part is None else function(part) for part in rest)
        fields = tuple(tuple(map(function, part)) for part in self.fields)
        return Batch(function(self.points), Inputs(function(features), weights, offset), fields)

    def split(self, count: int, *, pairs: bool = False) -> list[Batch]:
        """Blocks of as many points each, up to one.

        Args:
            count: of blocks; no more than there are points.
            pairs: whether the second half of the points are the images of the first; they stay together.
        """
        if count <= 1:
            return [self]
        rows = torch.arange(len(self.points), device=self.points.device)
        chunks = (
            [c.T.reshape(-1) for c in rows.view(2, -1).T.tensor_split(count)] if pairs else rows.tensor_split(count)
        )
        return [self.rows(chunk) for chunk in chunks if len(chunk)]

    def rows(self, rows: Tensor) -> Batch:
        """Some of the points, (n,) numbers."""
        fields = tuple(tuple(field[rows] for field in fields) for fields in self.fields)
        return Batch(self.points[rows], self.inputs.rows(rows), fields)


class Residuals:
    """The strong-form residuals of a problem.

    Terms that share a region share one pass through the network with the union of their streams.

    Args:
        pde: the problem.
        network: the network.
        terms: other terms than the problem's own.

    Example::

        >>> from pinntk.network import Network, NetworkSettings
        >>> from pinntk.pdes.poisson1d import Poisson1D
        >>> network = Network(NetworkSettings(width=1, depth=1), ["x"], [0.0], [1.0])
        >>> network.assign(torch.tensor([0.0, 0.0, 0.0, 2.0]))  # u = 2
        >>> residuals = Residuals(Poisson1D(a=4), network)  # u_xx = -(4 pi)^2 sin 4 pi x, u = 0 at the ends
        >>> x = torch.tensor([[1 / 8]], dtype=torch.float64)
        >>> r = residuals(residuals.prepare({"interior": x, "boundary": torch.zeros_like(x)}))
        >>> round(r["residual"].item() / math.pi**2, 4), r["boundary"].item()
        (16.0, 2.0)
    """

    def __init__(self, pde: Problem, network: Network, terms: Sequence[Term] | None = None) -> None:
        self.pde = pde
        self.network = network
        if terms is None:
            terms = pde.terms() if network.ansatz is None else left(pde, network.settings)
        self.terms: tuple[Term, ...] = tuple(terms)
        self.names = tuple(term.name for term in self.terms)
        self.region_of: dict[str, Region] = all_placed([term.region for term in self.terms], pde.domain)
        self.regions = tuple(self.region_of)
        self.terms_of: dict[str, list[Term]] = {
            region: [t for t in self.terms if t.where == region] for region in self.regions
        }
        self.streams_of: dict[str, Streams] = {
            region: network.wanting(*(s for t in terms for s in t.streams)) for region, terms in self.terms_of.items()
        }

    def prepare(self, points: Mapping[str, Tensor]) -> dict[str, Batch]:
        """Points by region, (N, d) each -> what ``__call__`` needs of them."""
        return {region: self.prepare_region(region, points[region]) for region in self.regions}

    def prepare_region(self, region: str, points: Tensor) -> Batch:
        """The same for the points of one region, (N, d)."""
        with torch.no_grad():
            known, streams = self.region_of[region].data(points), self.streams_of[region]
            normals = self._normals(region, points) if any(output.normal for output in streams.outputs) else None
            return Batch(
                points,
                self.network.prepare(points, streams, normals),
                tuple(_placed((*known, *term.fields(points)), points) for term in self.terms_of[region]),
            )

    def _normals(self, region: str, points: Tensor) -> Tensor | None:
        found = self.region_of[region].normals(points.double().cpu().numpy())
        return None if found is None else torch.from_numpy(found).to(points.device)

    def __call__(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        """Residuals by term, each of shape (number of the term's residuals,), in the order of the problem's terms."""
        found: dict[str, Tensor] = {}
        for region in self.regions:
            found |= self.of_region(region, batches[region])
        return {name: found[name] for name in self.names}

    def of_region(self, region: str, batch: Batch) -> dict[str, Tensor]:
        """Residuals of a region's terms."""
        return self.of_streams(region, batch, self.network.propagate(batch.inputs, self.streams_of[region]))

    def of_streams(self, region: str, batch: Batch, stacked: Tensor) -> dict[str, Tensor]:
        """Residuals of a region's terms from the outputs of its streams there, (outputs, N)."""
        values = dict(zip(self.streams_of[region].names, stacked.unbind(), strict=True))
        return {
            term.name: term.residual({name: values[name] for name in term.names}, *fields)
            for term, fields in zip(self.terms_of[region], batch.fields, strict=True)
        }


def _placed(fields: tuple[Tensor, ...], points: Tensor) -> tuple[Tensor, ...]:
    """A term's data in the points' dtype and on their device: tables are often float64 and on the processor."""
    tensors = (torch.as_tensor(field, device=points.device) for field in fields)
    return tuple(field.to(points.dtype) if field.is_floating_point() else field for field in tensors)


def term_losses(residuals: Sequence[Tensor], normalization: Normalization) -> Tensor:
    """Loss of each term: ``sum``: 1/2 sum r^2 (the paper's L_b, L_r); ``mean``: mean r^2 (most published numbers).
    (T,).

    Example::

        >>> r = torch.tensor([1.0, 2.0, 3.0, 4.0])
        >>> term_losses([r], "sum").tolist(), term_losses([r], "mean").tolist()
        ([15.0], [7.5])
    """
    if normalization == "sum":
        return torch.stack([r.square().sum() / 2 for r in residuals])
    return torch.stack([r.square().mean() for r in residuals])
