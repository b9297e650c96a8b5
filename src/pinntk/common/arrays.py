"""Arrays of float64, and the error of one against another."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def l2re(prediction: Array, reference: Array) -> float:
    """``|prediction - reference|_2 / |reference|_2``, of two arrays of one shape, all fields together.

    Where the reference is NaN nothing is known: these entries are left out of both norms. NaN where none is left.

    Example::

        >>> l2re(np.array([3.0, 3.0]), np.array([3.0, 4.0]))  # 1/5
        0.2
        >>> l2re(np.array([3.0, 3.0, 9.0]), np.array([3.0, 4.0, np.nan]))
        0.2
    """
    unknown = np.isnan(reference)
    if unknown.any():
        prediction, reference = prediction[~unknown], reference[~unknown]
    if not len(reference):
        return math.nan
    return float(np.linalg.norm(prediction - reference) / np.linalg.norm(reference))


def l2re_by_field(prediction: Array, reference: Array, fields: Sequence[str]) -> dict[str, float]:
    """`l2re` of each field, of two arrays (n, F); NaN for a field of which nothing but zeros is known.

    Example::

        >>> reference = np.array([[3.0, 0.0], [4.0, 0.0]])
        >>> l2re_by_field(np.array([[3.0, 1.0], [3.0, 1.0]]), reference, ["u", "v"])
        {'u': 0.2, 'v': nan}
    """
    columns = zip(fields, prediction.T, reference.T, strict=True)
    return {name: l2re(u, v) if np.nan_to_num(v).any() else math.nan for name, u, v in columns}
