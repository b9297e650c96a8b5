"""Hard conditions, evaluated once on a few points: ``lift``, ``factor`` and ``inputs`` of a problem that has its own.

A lift that leaves torch, or a part of it that is detached, has no derivative where the terms want one, and nobody would
see that it is taken for 0: the first derivatives are compared with differences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from pinntk.network import Features, NetworkSettings
from pinntk.network.ansatz import derivatives_of, leibniz
from pinntk.network.derivatives import Index, name_of
from pinntk.network.settings import Feature
from pinntk.network.streams import Streams
from pinntk.pdes.base import PDE, Term
from pinntk.pdes.declaration.faults import Fault, called, kind, listed
from pinntk.residual.points import draw_region
from pinntk.residual.regions import Region

POINTS = 16
STEP = 1e-5
"""Of a difference, in the box's widths."""
DIFFERENCE = 1e-4
"""How far a derivative may be from the difference, relative to the function's size over the box's width."""


def condition_faults(
    pde: PDE, terms: Sequence[Term], regions: Mapping[str, Region], device: torch.device | str
) -> Iterator[str]:
    """The first fault of each of ``inputs``, ``lift`` and ``factor``.

    Args:
        pde: the problem.
        terms: of it, right in themselves.
        regions: in which they are, by name.
        device: of the run; hard conditions are computed in float64.
    """
    ansatz = pde.ansatz()
    if ansatz is None:
        return
    try:
        _check_inputs(pde)
    except Fault as fault:
        yield f"inputs(): {fault}"
    points = {
        name: torch.from_numpy(draw_region(region, POINTS, "uniform", seed=0, draw=0)).to(device)
        for name, region in regions.items()
    }
    inside = torch.cat([points[name] for name, region in regions.items() if region.equation])
    wanted: dict[str, set[Index]] = {name: set() for name in regions}
    for term in terms:
        streams = Streams(term.streams, pde.coordinates, pde.fields, tuple(pde.coefficients()), hard=True)
        wanted[term.where] |= {alpha for differential in streams.carried for alpha, _ in differential}
    for name, function in (("lift", ansatz.lift), ("factor", ansatz.factor)):
        try:
            _check_function(pde, function, torch.cat(list(points.values())))
            _check_slope(pde, function, inside)
            for region, indices in wanted.items():
                # Of the factor what stands beside the network's derivatives: all below those of the streams.
                below = indices if name == "lift" else {rest for index in indices for rest, _, _ in leibniz(index)}
                _check_derivatives(pde, function, points[region], below)
            if name == "factor":
                _check_factor(pde, function, inside)
        except Fault as fault:
            yield f"{name}(): {fault}"


def _check_inputs(pde: PDE) -> None:
    found: Any = called(pde, "it", pde.inputs)
    kinds = get_args(get_args(Feature)[0])
    if not listed(found) or not all(isinstance(feature, kinds) for feature in found):
        names = ", ".join(sorted(one.__name__ for one in kinds))
        raise Fault(f"came as {kind(found)}; allowed is a list of {names}")
    try:
        Features(NetworkSettings(features=list(found)), pde.coordinates, pde.lower, pde.upper)
    except ValueError as error:
        raise Fault(str(error).removeprefix("network.features: ")) from error


def _value(pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The values at points (N, d), of each field: (N, fields)."""
    found: Any = called(pde, "it", lambda: function(x))
    n, fields = len(x), len(pde.fields)
    if not isinstance(found, Tensor) or found.shape not in ((n,), (n, fields)):
        came = f"with shape {tuple(found.shape)}" if isinstance(found, Tensor) else f"as {kind(found)}"
        shapes = f"({n},)" + (f" or ({n}, {fields})" if fields > 1 else "")
        raise Fault(f"came {came} for {n} points; allowed is a tensor of shape {shapes}")
    if (found.dtype, found.device.type) != (x.dtype, x.device.type):
        came, wanted = (f"{one.dtype} on {one.device.type}" for one in (found, x))
        raise Fault(f"came as {came}; allowed is {wanted}, as its points are")
    return found[:, None].expand(-1, fields) if found.ndim == 1 else found


def _check_function(pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    given = x.clone()
    found = _value(pde, function, given)
    if not torch.equal(given, x):
        raise Fault("changes the points of which it is a function; allowed are functions that do not")
    if found.requires_grad:
        raise Fault("depends on a parameter, which would not be trained; allowed are functions of the points alone")
    if not found.isfinite().all():
        k = int((~found.isfinite()).any(dim=1).nonzero()[0])
        raise Fault(f"is {found[k].tolist()} at {x[k].tolist()}; allowed are finite numbers")
    alone = _value(pde, function, x[1::2].clone())
    if float((alone - found[1::2]).abs().max()) > 1e-12 * float(found.abs().max()):
        raise Fault(
            "changes where other points are left out; allowed are functions of their own point alone"
            " (no mean, sum, order or random number over the points)"
        )


def _check_slope(pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """First derivatives against central differences, at points (N, d) of the equation."""
    d = x.shape[1]
    units = [tuple(int(c == k) for k in range(d)) for c in range(d)]
    slopes = _derivatives(pde, function, x, units)
    size = float(_value(pde, function, x).abs().max())
    for c, (unit, low, high) in enumerate(zip(units, pde.lower, pde.upper, strict=True)):
        width = high - low
        step = torch.zeros_like(x)
        step[:, c] = STEP * width
        difference = (_value(pde, function, x + step) - _value(pde, function, x - step)) / (2 * STEP * width)
        error = (slopes[unit] - difference).abs()
        bound = DIFFERENCE * (size / width + difference.abs())
        if not (error <= bound).all():  # nan where the difference has left the function's domain
            wrong = (error > bound).any(dim=1)
            if not wrong.any():
                continue
            k = int(wrong.nonzero()[0])
            f = int((error[k] - bound[k]).argmax())
            raise Fault(
                f"its derivative in {pde.coordinates[c]} is {slopes[unit][k, f]:g} by automatic differentiation and"
                f" {difference[k, f]:g} by differences at {x[k].tolist()}; allowed are differentiable functions, of"
                " torch alone (no numpy, detach or item)"
            )


def _check_derivatives(pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor, indices: set[Index]) -> None:
    for index, found in _derivatives(pde, function, x, sorted(indices)).items():
        if not found.isfinite().all():
            k = int((~found.isfinite()).any(dim=1).nonzero()[0])
            letters = name_of(index, pde.coordinates, "")[1:]
            raise Fault(
                f"its derivative in {letters} is {found[k].tolist()} at {x[k].tolist()}, where a term needs it; allowed"
                " are finite ones"
            )


def _check_factor(pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    for name, column in zip(pde.fields, _value(pde, function, x).T, strict=True):
        if not column.any():
            raise Fault(f"is 0 for {name} at all points, so that no network counts; allowed is 0 where {name} is known")


def _derivatives(
    pde: PDE, function: Callable[[Tensor], Tensor], x: Tensor, indices: Sequence[Index]
) -> dict[Index, Tensor]:
    return called(pde, "its derivative", lambda: derivatives_of(function, x, indices, len(pde.fields)))
