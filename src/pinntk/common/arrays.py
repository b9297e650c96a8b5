"""Arrays of float64, and the error of one against another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def l2re(prediction: Array, reference: Array) -> float:
    """``|prediction - reference|_2 / |reference|_2``, of two arrays of one shape.

    Example::

        >>> l2re(np.array([3.0, 3.0]), np.array([3.0, 4.0]))  # 1/5
        0.2
    """
    return float(np.linalg.norm(prediction - reference) / np.linalg.norm(reference))
