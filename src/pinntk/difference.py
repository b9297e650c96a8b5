"""Matrices of second derivatives on a uniform grid of [0, 1], for functions that are odd about both ends.

That is every function that vanishes at an end together with its even derivatives there, as solutions of the heat
equation with u = 0 do: the odd reflection is smooth, so sine series converge spectrally and a stencil may reach
across the wall. All matrices are square of size ``cells - 1``, for the interior nodes.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
from numpy.typing import NDArray


def second_derivative_order4(cells: int) -> scipy.sparse.csr_array:
    """The five-point stencil (-1, 16, -30, 16, -1) / 12 h^2."""
    stencil = [-1.0, 16.0, -30.0, 16.0, -1.0]
    matrix = scipy.sparse.diags_array(stencil, offsets=range(-2, 3), shape=(cells - 1, cells - 1)).tolil()
    # The stencil's last point beyond the wall is the node's own image: u_{-1} = -u_1.
    matrix[0, 0] += 1.0
    matrix[-1, -1] += 1.0
    return scipy.sparse.csr_array(matrix) * (cells**2 / 12)


def second_derivative_spectral(cells: int) -> NDArray[np.float64]:
    """The second derivative of the sine series through the nodes; dense and symmetric."""
    modes = np.arange(1, cells)
    sines = math.sqrt(2 / cells) * np.sin(math.pi * np.outer(modes, modes) / cells)  # symmetric, its own inverse
    return np.asarray(-(sines * (math.pi * modes) ** 2) @ sines)
