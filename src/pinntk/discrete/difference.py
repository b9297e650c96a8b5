"""Matrices of derivatives and of interpolation on a uniform grid of [0, 1].

``odd``: for functions that are odd about both ends. That is every function that vanishes at an end together with its
even derivatives there, as solutions of the heat and the wave equation with u = 0 do: the odd reflection is smooth, so
sine series converge spectrally and a stencil may reach across the wall. Their matrices are square of size
``cells - 1``, for the interior nodes; the nodes at the ends are zeros. ``periodic``: of size ``cells``, for the nodes
0, ..., cells - 1, the last node being the image of the first.

``order4`` are stencils of five points, sparse; ``spectral`` derivatives of the series through the nodes, dense.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

from pinntk.common.arrays import Array

FIRST = (1 / 12, -8 / 12, 0.0, 8 / 12, -1 / 12)
"""The first derivative's stencil of fourth order, times the spacing."""
SECOND = (-1 / 12, 16 / 12, -30 / 12, 16 / 12, -1 / 12)
"""The second derivative's, times the spacing squared."""
THIRD = (1 / 8, -1.0, 13 / 8, 0.0, -13 / 8, 1.0, -1 / 8)
"""The third derivative's, times the spacing cubed."""


def first_derivative_order4(cells: int) -> scipy.sparse.csr_array:
    """The stencil `FIRST` on odd functions.

    Example::

        >>> (12 / 6 * first_derivative_order4(6)).toarray().round().astype(int)[:3].tolist()  # u(-x) = -u(x)
        [[-1, 8, -1, 0, 0], [-8, 0, 8, -1, 0], [1, -8, 0, 8, -1]]
    """
    return _odd(FIRST, cells) * cells


def second_derivative_order4(cells: int) -> scipy.sparse.csr_array:
    """The stencil `SECOND` on odd functions.

    Example::

        >>> (12 / 6**2 * second_derivative_order4(6)).toarray().round().astype(int)[:3].tolist()
        [[-29, 16, -1, 0, 0], [16, -30, 16, -1, 0], [-1, 16, -30, 16, -1]]
    """
    return _odd(SECOND, cells) * cells**2


def _odd(stencil: tuple[float, ...], cells: int) -> scipy.sparse.csr_array:
    matrix = scipy.sparse.lil_array((cells - 1, cells - 1))
    for node in range(1, cells):
        for reach, weight in zip(range(-2, 3), stencil, strict=True):
            # Beyond a wall lies the image of a node: u_{-j} = -u_j, u_{cells + j} = -u_{cells - j}.
            other = (node + reach) % (2 * cells)
            if other % cells:
                matrix[node - 1, min(other, 2 * cells - other) - 1] += weight if other < cells else -weight
    return scipy.sparse.csr_array(matrix)


def second_derivative_spectral(cells: int) -> Array:
    """The second derivative of the sine series through the nodes; symmetric.

    Example::

        >>> x = np.arange(1, 4) / 4
        >>> np.allclose(second_derivative_spectral(4) @ np.sin(math.pi * x), -(math.pi**2) * np.sin(math.pi * x))
        True
    """
    sines = _sines(cells)
    return np.asarray(-(sines * (math.pi * np.arange(1, cells)) ** 2) @ sines)


def _sines(cells: int) -> Array:
    """sqrt(2/cells) sin(pi j k / cells), j, k = 1, ..., cells - 1: symmetric, its own inverse."""
    modes = np.arange(1, cells)
    return np.asarray(math.sqrt(2 / cells) * np.sin(math.pi * np.outer(modes, modes) / cells))


def with_walls(matrix: Array | scipy.sparse.csr_array) -> scipy.sparse.csr_array:
    """A matrix for inner nodes -> one for all nodes, (cells + 1, cells + 1): the ends' rows and columns are zero.

    Example::

        >>> with_walls(np.array([[5.0]])).toarray().tolist()
        [[0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]
    """
    return scipy.sparse.csr_array(scipy.sparse.block_diag([[[0.0]], matrix, [[0.0]]]))


def periodic_derivative_order4(cells: int, order: int = 1) -> scipy.sparse.csr_array:
    """The stencils `FIRST`, `SECOND` and `THIRD` on periodic functions; of order 0 the identity.

    Example::

        >>> (12 / 6 * periodic_derivative_order4(6)).toarray().round().astype(int)[:2].tolist()
        [[0, 8, -1, 0, 1, -8], [-8, 0, 8, -1, 0, 1]]
        >>> (8 / 8**3 * periodic_derivative_order4(8, 3)).toarray().round().astype(int)[0].tolist()
        [0, -13, 8, -1, 0, 1, -8, 13]
    """
    stencil = ((1.0,), FIRST, SECOND, THIRD)[order]
    column, reach = np.zeros(cells), len(stencil) // 2
    # Row i holds the weight of u_{i+k} in column i + k; a circulant's first column is what row k holds at -k.
    for k, weight in zip(range(-reach, reach + 1), stencil, strict=True):
        column[-k % cells] += weight
    return scipy.sparse.csr_array(scipy.linalg.circulant(column) * cells**order)


def periodic_derivative_spectral(cells: int, order: int = 1) -> Array:
    """The derivative of this order of the trigonometric polynomial through the nodes.

    Example::

        >>> x = 2 * math.pi * np.arange(5) / 5
        >>> np.allclose(periodic_derivative_spectral(5) @ np.sin(x), 2 * math.pi * np.cos(x))
        True
        >>> np.allclose(periodic_derivative_spectral(5, 3) @ np.sin(x), -((2 * math.pi) ** 3) * np.cos(x))
        True
    """
    nodes = np.arange(cells) / cells
    k = 2 * math.pi * np.arange(1, (cells + 1) // 2)
    angles = np.outer(nodes, k)
    turns = (np.cos(angles), -np.sin(angles), -np.cos(angles), np.sin(angles))  # derivatives of the cosine
    # Of the Nyquist mode (cells even), cos(pi cells x), the odd derivatives vanish at the nodes.
    nyquist = (-1) ** (order // 2) * (math.pi * cells) ** order * np.cos(math.pi * cells * nodes) * (order % 2 == 0)
    slopes = np.concatenate(
        [
            np.full((cells, 1), float(order == 0)),
            k**order * turns[order % 4],
            k**order * turns[(order - 1) % 4],
            *([nyquist[:, None]] if cells % 2 == 0 else []),
        ],
        axis=1,
    )
    return np.asarray(np.linalg.solve(_trigonometric(cells, nodes).T, slopes.T).T)


def _trigonometric(cells: int, x: Array) -> Array:
    """The functions that a periodic function on ``cells`` nodes is made of, at x: (n, cells)."""
    angles = 2 * math.pi * np.outer(x, np.arange(1, (cells + 1) // 2))
    nyquist = [np.cos(math.pi * cells * x)[:, None]] if cells % 2 == 0 else []
    return np.concatenate([np.ones((len(x), 1)), np.cos(angles), np.sin(angles), *nyquist], axis=1)


def sine_interpolation(cells: int, x: Array) -> Array:
    """The sine series through all nodes, zeros at the ends, at x in [0, 1]: (n, cells + 1).

    Example::

        >>> nodes = np.sin(math.pi * np.arange(5) / 4)
        >>> (sine_interpolation(4, np.array([1 / 6, 1 / 2])) @ nodes).round(6).tolist()  # sin pi x
        [0.5, 1.0]
    """
    waves = np.sin(math.pi * np.outer(x, np.arange(1, cells)))
    return np.pad(waves @ _sines(cells) * math.sqrt(2 / cells), ((0, 0), (1, 1)))


def trigonometric_interpolation(cells: int, x: Array) -> Array:
    """The trigonometric polynomial through the nodes 0, ..., cells - 1 at x: (n, cells).

    Example::

        >>> nodes = np.sin(2 * math.pi * np.arange(5) / 5)
        >>> (trigonometric_interpolation(5, np.array([1 / 12, 3 / 4])) @ nodes).round(6).tolist()  # sin 2 pi x
        [0.5, -1.0]
    """
    nodes = np.arange(cells) / cells
    return np.asarray(np.linalg.solve(_trigonometric(cells, nodes).T, _trigonometric(cells, x).T).T)


def lagrange_weights(position: Array, count: int) -> Array:
    """Weights of the polynomial through the nodes 0, ..., count - 1 at positions (n,): (n, count).

    Example::

        >>> lagrange_weights(np.array([1.5]), 3) @ np.array([0.0, 1.0, 4.0])  # of x^2
        array([2.25])
    """
    nodes = np.arange(count)
    factors = [
        np.prod([(position - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes
    ]
    return np.stack([np.broadcast_to(factor, position.shape) for factor in factors], axis=1)


def lagrange_stencil(position: Array, nodes: int, count: int) -> tuple[NDArray[np.int64], Array]:
    """Piecewise polynomials through the ``count`` nodes around each position, in units of the spacing.

    Returns:
        the first node of each stencil, (n,), and the weights, (n, count); fewer nodes than count are all used.

    Example::

        >>> first, weights = lagrange_stencil(np.array([4.5]), nodes=10, count=4)
        >>> first.tolist(), (16 * weights).round(6).tolist()
        ([3], [[-1.0, 9.0, 9.0, -1.0]])
    """
    count = min(count, nodes)
    first = np.clip(np.floor(position).astype(np.int64) - (count - 1) // 2, 0, nodes - count)
    return first, lagrange_weights(position - first, count)
