"""The reference solution of a problem, as the error is measured against it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.doing import doing
from pinntk.pdes.base import PDE
from pinntk.pdes.declaration.faults import Fault, called, kind
from pinntk.pdes.reference_file import PartialReference
from pinntk.pdes.references import Reference


def reference_of(pde: PDE) -> Reference | None:
    """The problem's reference, its values float64: (n,), one for each of the n evaluation points; of F fields (n, F).

    Tensors, other real dtypes, a column (n, 1) and the grid's own shape, with the fields as its last axis, are
    converted.

    Returns:
        None where the problem says that none is known.

    Raises:
        ValueError: there is none relative to which an error can be stated.
    """
    try:
        with doing(f"computes or reads the reference of {pde.name}"):
            found = called(pde, "reference()", pde.reference)
        if found is None:
            return None
        if not isinstance(found, Reference):
            raise Fault(f"reference() came as {kind(found)}; allowed is a Reference(values, accuracy), or None")
        partial = isinstance(found, PartialReference)
        values = _values(pde, found.values, partial)
        return type(found)(values, _accuracy(found.accuracy, partial))
    except Fault as fault:
        raise ValueError(f"pde={pde.name}: {fault}") from fault


def _values(pde: PDE, given: Any, partial: bool) -> Array:
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if values.dtype.kind not in "fiu":
        raise Fault(f"reference() has values of dtype {values.dtype}; allowed are real numbers")
    n, axes, count = len(pde.evaluation_points()), pde.grid_axes(), len(pde.fields)
    grid = [] if axes is None else [tuple(map(len, axes))]
    shapes = [(n, count), *((*one, count) for one in grid)]
    shape: tuple[int, ...] = (n, count)
    if count == 1:
        shape, shapes = (n,), [(n,), *grid, *shapes]
    if values.shape not in shapes:
        each = "one for each evaluation point" + (f" and each of {', '.join(pde.fields)}" if count > 1 else "")
        raise Fault(f"reference() has values of shape {values.shape}; allowed is {shape}, {each}")
    values = values.astype(np.float64).reshape(shape)
    bad, what = (np.isinf(values), "infinite") if partial else (~np.isfinite(values), "NaN or infinite")
    if bad.any():
        more = ", or NaN where none is known" if partial else ""
        hint = "" if partial or np.isinf(values).any() else " (NaN for what is not known: PartialReference)"
        raise Fault(
            f"reference() has {int(bad.sum())} values of {values.size} that are {what}; allowed are finite"
            f" ones{more}{hint}"
        )
    size = float(np.linalg.norm(values[~np.isnan(values)]))
    if not 0 < size < math.inf:
        raise Fault(f"reference() has values of norm {size:g}, relative to which there is no error; allowed is above 0")
    return values


def _accuracy(given: Any, partial: bool) -> float:
    try:
        accuracy = float(given)
    except (TypeError, ValueError):
        accuracy = -math.inf
    if not 0 <= accuracy < math.inf and not (partial and math.isnan(accuracy)):
        raise Fault(f"reference() has accuracy={given}; allowed is a finite number, at least 0")
    return accuracy
