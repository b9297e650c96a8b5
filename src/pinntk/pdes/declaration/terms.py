"""Terms evaluated once, on a few points and with a small network.

Most faults of a residual are silent. Data that keeps its column, ``x[:, 0:1]``, makes an (N, N) matrix of what should
be N residuals; a mean over the points is another one in each of the blocks in which a loss is summed; and the rows of
the Jacobian are those of single residuals, each a function of the network at its own point or pair of points.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinntk.network import Network, NetworkSettings
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.declaration.faults import Fault, called, kind, listed, number
from pinntk.pdes.declaration.regions import POINTS
from pinntk.residual.points import draw_region
from pinntk.residual.regions import Region
from pinntk.residual.residuals import Batch, Residuals


def term_faults(
    pde: PDE,
    terms: Sequence[Term],
    regions: Mapping[str, Region],
    dtype: torch.dtype,
    device: torch.device | str,
) -> Iterator[str]:
    """The first fault of each term, and what does not go together in a region.

    Args:
        pde: the problem.
        terms: of it.
        regions: in which they are, by name.
        dtype, device: of the run.
    """
    network = Network.of(pde, NetworkSettings(width=8, depth=2), dtype=dtype).to(device)
    for name, region in regions.items():
        together: list[str | Operator] = []
        points = torch.from_numpy(draw_region(region, POINTS, "uniform", seed=0, draw=0)).to(device, dtype)
        for term in (term for term in terms if term.where == name):
            try:
                _Evaluation(pde, network, term, region, points).check()
                together += term.streams
            except Fault as fault:
                yield f"term {term.name!r}: {fault}"
        try:
            network.wanting(*together)
        except ValueError as error:  # streams that are right in each term
            yield f"region {name!r}: {error}"


class _Evaluation:
    """A term at points (N, d), with nothing but the streams that it asks for."""

    def __init__(self, pde: PDE, network: Network, term: Term, region: Region, points: Tensor) -> None:
        self.pde, self.network, self.term, self.points = pde, network, term, points
        self.pairs, self.whole = region.pairs, region.whole
        self.count = len(points) // 2 if self.pairs else len(points)

    def check(self) -> None:
        """Raise the first `Fault` that is found."""
        self._check_streams()
        self.residuals = Residuals(self.pde, self.network, [self.term])
        fields = self._check_fields()
        batch = self.residuals.prepare_region(self.term.where, self.points)
        r, streams = self._evaluate(batch)
        self._check_shape(r, fields)
        if not r.isfinite().all():
            first = int((~r.isfinite()).nonzero()[0])
            came = f"{r[first].item()} at {self.points[first].tolist()}"
            raise Fault(f"its residual is {came}, where all streams are finite; allowed are finite ones")
        if self._evaluate(batch, leaf=False)[0].requires_grad:
            raise Fault(
                "its residual depends on a parameter of its own, which would not be trained; allowed are numbers"
            )
        if not r.requires_grad:
            raise Fault(
                "its residual does not depend on the network; allowed is a differentiable function of its streams"
            )
        if not torch.autograd.grad(r.sum(), streams)[0].isfinite().all():
            raise Fault("its residual has a derivative that is not finite; allowed are finite ones")
        self._check_own_point(batch, r.detach())

    def _check_streams(self) -> None:
        term = self.term
        if not listed(term.streams) or not all(isinstance(s, str | Operator) for s in term.streams):
            raise Fault(f'streams={term.streams!r}; allowed is a tuple of names or operators, as ("u", "u_x")')
        for operator in (s for s in term.streams if isinstance(s, Operator)):
            if self.network.value.is_derivative(operator.name):
                what = "field" if operator.name in self.pde.fields else "derivative"
                raise Fault(f"operator {operator.name!r}: a {what} has this name; allowed are others")
            given: Any = operator.coefficients
            if not isinstance(given, Mapping) or not given or not all(map(number, given.values())):
                raise Fault(f"operator {operator.name!r}: {given}; allowed are finite numbers by derivative")
        try:
            self.network.wanting(*term.streams)
        except ValueError as error:
            raise Fault(str(error)) from error

    def _check_fields(self) -> list[Tensor]:
        given = self.points.clone()
        found: Any = called(self.pde, "its data", lambda: self.term.fields(given))
        if not torch.equal(given, self.points):
            raise Fault("its data changes the points of which it is a function; allowed are functions that do not")
        if not listed(found) or not all(isinstance(field, Tensor | np.ndarray) for field in found):
            raise Fault(f"its data came as {kind(found)}; allowed is a tuple of tensors, (f,) for a single one")
        fields = [torch.as_tensor(field) for field in found]
        for field in fields:
            if field.ndim < 1 or len(field) != len(self.points):
                n = len(self.points)
                raise Fault(f"its data came with shape {tuple(field.shape)} for {n} points; allowed is ({n},)")
            if field.requires_grad:
                raise Fault("its data depends on a parameter, which would not be trained; allowed are numbers")
            if field.is_complex():
                raise Fault(f"its data came as {field.dtype}; allowed are real numbers")
            if not field.isfinite().all():
                raise Fault("its data is NaN or infinite at some of the points; allowed are finite numbers")
        return fields

    def _evaluate(self, batch: Batch, *, leaf: bool = True) -> tuple[Any, Tensor]:
        """The residual, and the streams of u: a leaf of its graph, or constants."""
        streams = self.network.propagate(batch.inputs, self.residuals.streams_of[self.term.where]).detach()
        streams.requires_grad_(leaf)
        try:
            found = called(self.pde, "its residual", lambda: self.residuals.of_streams(self.term.where, batch, streams))
        except Fault as fault:
            if isinstance(fault.__cause__, KeyError):
                names = ", ".join(s if isinstance(s, str) else s.name for s in self.term.streams)
                raise Fault(f"its residual uses stream {fault.__cause__}; allowed are its own: {names}") from fault
            raise
        return found[self.term.name], streams

    def _check_shape(self, r: Any, fields: Sequence[Tensor]) -> None:
        n, points = self.count, self.points
        if not isinstance(r, Tensor) or r.shape != (n,):
            came = f"with shape {tuple(r.shape)}" if isinstance(r, Tensor) else f"as {kind(r)}"
            columns = [tuple(field.shape) for field in fields if field.shape == (len(points), 1)]
            hint = f" from data of shape {columns[0]}: drop the column, x[:, 0] for x[:, 0:1]" if columns else ""
            each = "pair of points" if self.pairs else "point"
            raise Fault(f"its residual came {came}{hint}; allowed is one number for each {each}, ({n},)")
        if (r.dtype, r.device.type) != (points.dtype, points.device.type):
            came, wanted = (f"{x.dtype} on {x.device.type}" for x in (r, points))
            raise Fault(f"its residual came as {came}; allowed is {wanted}, as the streams are: table.to(u)")

    def _check_own_point(self, batch: Batch, r: Tensor) -> None:
        """Every second point alone, as a block of a loss has some of them alone."""
        rows = torch.arange(1, self.count, 2, device=r.device)
        if not len(rows):
            return
        both = torch.cat([rows, rows + self.count]) if self.pairs else rows
        # Data that belong to all points of a region are taken apart with them.
        few = batch.rows(both) if self.whole else self.residuals.prepare_region(self.term.where, self.points[both])
        alone = self._evaluate(few)[0].detach()
        tolerance = torch.finfo(r.dtype).eps ** 0.5 * float(r.abs().max())
        if alone.shape != rows.shape or float((alone - r[rows]).abs().max()) > tolerance:
            raise Fault(
                "its residuals change where other points are left out; allowed are functions of their own point alone"
                " (no mean, sum, order or random number over the points)"
            )
