"""The reference solution of a problem, as the error is measured against it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.pdes.base import PDE
from pinntk.pdes.declaration.faults import Fault, called, kind
from pinntk.pdes.references import Reference


def reference_of(pde: PDE) -> Reference:
    """The problem's reference, its values float64 of shape (n,): one for each of the n evaluation points.

    Tensors, other real dtypes, a column (n, 1) and the grid's own shape are converted.

    Raises:
        ValueError: there is none relative to which an error can be stated.
    """
    try:
        found = called(pde, "reference()", pde.reference)
        if not isinstance(found, Reference):
            raise Fault(f"reference() came as {kind(found)}; allowed is a Reference(values, accuracy)")
        return Reference(_values(pde, found.values), _accuracy(found.accuracy))
    except Fault as fault:
        raise ValueError(f"pde={pde.name}: {fault}") from fault


def _values(pde: PDE, given: Any) -> Array:
    values = np.asarray(given.detach().cpu() if isinstance(given, Tensor) else given)
    if values.dtype.kind not in "fiu":
        raise Fault(f"reference() has values of dtype {values.dtype}; allowed are real numbers")
    n, axes = len(pde.evaluation_points()), pde.grid_axes()
    shapes = [(n,), (n, 1), *([] if axes is None else [tuple(map(len, axes))])]
    if values.shape not in shapes:
        raise Fault(f"reference() has values of shape {values.shape}; allowed is ({n},), one for each evaluation point")
    values = values.astype(np.float64).reshape(-1)
    if bad := int((~np.isfinite(values)).sum()):
        raise Fault(f"reference() has {bad} values of {n} that are NaN or infinite; allowed are finite ones")
    size = float(np.linalg.norm(values))
    if not 0 < size < math.inf:
        raise Fault(f"reference() has values of norm {size:g}, relative to which there is no error; allowed is above 0")
    return values


def _accuracy(given: Any) -> float:
    try:
        accuracy = float(given)
    except (TypeError, ValueError):
        accuracy = math.nan
    if not 0 <= accuracy < math.inf:
        raise Fault(f"reference() has accuracy={given}; allowed is a finite number, at least 0")
    return accuracy
