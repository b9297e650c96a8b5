"""The flow in a cavity whose lid moves with 4 x (1 - x), by Chebyshev collocation with its corner singularity apart.

At the two upper corners the velocity is continuous and its gradient is not: du/dx is 4 along the lid and 0 along the
wall, so that the vorticity depends on the direction from which the corner is approached and p grows like the logarithm
of the distance. That part is known: the Stokes flow in a right-angled corner whose velocity is linear in the distance,

    u = 4 X + (4 theta - 2 pi) Y,  v = 4 theta X,  p = 8 / Re log r

at the left corner, with the distances X from the wall and Y from the lid, r and theta their polar coordinates, theta
counted from the lid; at the right one v and p have the other sign. Both are subtracted, and for what is left, as smooth
as Moffatt's eddies in the corners let it be (velocities like r^2.7), the Navier-Stokes equations are solved by Newton's
method: u and v polynomials of degree N, p of degree N - 2, at Chebyshev's points. At Re = 100 the relative L2 error
falls like N^-7 in u and v and somewhat slower in p: 1e-4 in p with N = 24, 2e-5 with 28. All arrays are float64.

Source of the method: P_N - P_N-2 of Canuto, Hussaini, Quarteroni, Zang, Spectral Methods in Fluid Dynamics (1988); the
corner as in Botella, Peyret, Computers & Fluids 27 (1998).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pinntk.common.arrays import Array
from pinntk.common.doing import doing
from pinntk.pdes.references import Reference, _cached

DEGREE, CHECK_DEGREE = 40, 32  # of the polynomials that are returned, and of those that they are compared with
TOLERANCE = 1e-4  # a larger difference is refused
NEWTON_STEPS, STEP_TOLERANCE = 20, 1e-11
DIRECT = 200.0  # up to this Reynolds number Newton's method finds the flow from rest
VERSION = 1  # part of the cache key: raise it when the method changes


def corner_flow(x: Array, y: Array) -> tuple[Array, Array, Array]:
    """The singular part of both upper corners: u, v and Re p at points of any one shape. There p is infinite.

    Example::

        >>> u, v, p = corner_flow(np.array([0.0, 0.5]), np.array([0.5, 1.0]))  # of a wall and of the lid
        >>> np.allclose(u, [4.0 + (4 * math.atan(0.5) - 2 * math.pi) / 2, 4.0]), np.allclose(v[1], 0.0)
        (True, True)
    """
    u, v, p = np.zeros_like(x), np.zeros_like(x), np.zeros_like(x)
    for distance, sign in ((x, 1), (1 - x, -1)):
        below = 1 - y
        theta = np.arctan2(below, distance)
        u += 4 * distance + (4 * theta - 2 * np.pi) * below
        v += sign * 4 * theta * distance
        with np.errstate(divide="ignore"):
            p += sign * 4 * np.log(distance**2 + below**2)
    return u, v, p


def corner_gradients(x: Array, y: Array) -> tuple[Array, Array, Array, Array]:
    """Of the singular part: u_x, u_y, v_x and v_y."""
    found = np.zeros((4, *x.shape))
    for distance, sign in ((x, 1), (1 - x, -1)):
        below = 1 - y
        theta, square = np.arctan2(below, distance), distance**2 + below**2
        stretch = sign * 4 * distance**2 / square
        found[0] += stretch
        found[1] -= 4 * theta - 2 * np.pi + 4 * distance * below / square
        found[2] += 4 * theta - 4 * distance * below / square
        found[3] -= stretch
    return found[0], found[1], found[2], found[3]


@dataclass(frozen=True, eq=False)
class Cavity:
    """A flow: what is left of u and v at the nodes (N+1, N+1), and of p at the inner ones; x first."""

    u: Array
    v: Array
    p: Array
    Re: float

    def at(self, x: Array, y: Array) -> Array:
        """u, v and p on the tensor grid of x (n,) and y (m,): (n, m, 3). p is 0 in the corner (0, 0), and infinite in
        the upper ones."""
        outer, inner = _nodes(len(self.u) - 1), _nodes(len(self.u) - 1)[1:-1]
        singular = corner_flow(*np.meshgrid(x, y, indexing="ij"))
        origin = _interpolation(inner, np.zeros(1))
        constant = (origin @ self.p @ origin.T).item() + float(corner_flow(np.zeros(1), np.zeros(1))[2][0]) / self.Re
        to_x, to_y = _interpolation(outer, x), _interpolation(outer, y)
        p = _interpolation(inner, x) @ self.p @ _interpolation(inner, y).T + singular[2] / self.Re - constant
        return np.stack([to_x @ self.u @ to_y.T + singular[0], to_x @ self.v @ to_y.T + singular[1], p], axis=-1)


def solve(Re: float, degree: int) -> Cavity:
    """The flow at a Reynolds number.

    Raises:
        ValueError: Newton's method does not converge.
    """
    nodes, n = _nodes(degree), degree + 1
    m = n - 2
    first = _derivative(nodes)
    x, y = np.meshgrid(nodes, nodes, indexing="ij")
    u_s, v_s, _ = corner_flow(x, y)
    lid = np.where(y == 1, 4 * x * (1 - x), 0.0)
    u, v, p = lid - u_s, -v_s, np.zeros((m, m))  # inside at rest
    inner = slice(1, -1)
    gradients = corner_gradients(x[inner, inner], y[inner, inner])
    u_s, v_s = u_s[inner, inner], v_s[inner, inner]

    one, second = np.eye(m), first @ first
    along_x, along_y = np.kron(first[inner, inner], one), np.kron(one, first[inner, inner])
    laplace = np.kron(second[inner, inner], one) + np.kron(one, second[inner, inner])
    of_pressure = _derivative(nodes[inner])
    matrix = np.zeros((3 * m**2 + 1,) * 2)
    a, b, c = (slice(k * m**2, (k + 1) * m**2) for k in range(3))
    matrix[a, c], matrix[b, c] = np.kron(of_pressure, one), np.kron(one, of_pressure)
    matrix[c, a], matrix[c, b] = along_x, along_y
    # The constant of p is free, and one equation of continuity follows from the others: a border makes up for both.
    matrix[c, -1] = matrix[-1, c] = 1.0

    reynolds = [Re]
    while reynolds[0] > DIRECT:
        reynolds.insert(0, reynolds[0] / 2)
    for current in reynolds:
        for _ in range(NEWTON_STEPS):
            u_x, v_x = ((first @ f)[inner, inner] + g for f, g in ((u, gradients[0]), (v, gradients[2])))
            u_y, v_y = ((f @ first.T)[inner, inner] + g for f, g in ((u, gradients[1]), (v, gradients[3])))
            whole_u, whole_v = u[inner, inner] + u_s, v[inner, inner] + v_s
            diffusion = [(second @ f + f @ second.T)[inner, inner] / current for f in (u, v)]
            right = [
                whole_u * u_x + whole_v * u_y + of_pressure @ p - diffusion[0],
                whole_u * v_x + whole_v * v_y + p @ of_pressure.T - diffusion[1],
                u_x + v_y,
            ]
            carried = whole_u.reshape(-1, 1) * along_x + whole_v.reshape(-1, 1) * along_y - laplace / current
            matrix[a, a], matrix[a, b] = carried + np.diag(u_x.ravel()), np.diag(u_y.ravel())
            matrix[b, a], matrix[b, b] = np.diag(v_x.ravel()), carried + np.diag(v_y.ravel())
            step = np.linalg.solve(matrix, -np.append(np.ravel(right), p.sum()))
            u[inner, inner] += step[a].reshape(m, m)
            v[inner, inner] += step[b].reshape(m, m)
            p += step[c].reshape(m, m)
            size = float(np.abs(step[: 2 * m**2]).max())
            if size < STEP_TOLERANCE or not math.isfinite(size):
                break
        if not size < STEP_TOLERANCE:
            raise ValueError(f"pde.Re={Re:g}: Newton's method for the cavity's reference does not converge")
    return Cavity(u, v, p, Re)


def reference(Re: float, x: Array, y: Array) -> Reference:
    """The flow on the tensor grid of x (n,) and y (m,), values (n m, 3) with y the fastest; computed once, then cached.

    Its accuracy is the relative L2 difference between two degrees, of the field for which it is largest: an estimate of
    the error of the lower one, of which the returned one has a part.

    Raises:
        ValueError: no convergence, or the two differ by more than `TOLERANCE`.
    """
    names = ("u", "v", "p", "check_u", "check_v", "check_p")

    def compute() -> dict[str, Array]:
        found: list[Array] = []
        for degree in (DEGREE, CHECK_DEGREE):
            with doing(f"computes the reference of cavity with polynomials of degree {degree}"):
                flow = solve(Re, degree)
            found += [flow.u, flow.v, flow.p]
        return dict(zip(names, found, strict=True))

    stored = _cached("cavity", [VERSION, DEGREE, CHECK_DEGREE, Re], names, compute)
    arrays = [stored[name] for name in names]
    values, check = (Cavity(u, v, p, Re).at(x, y).reshape(-1, 3) for u, v, p in (arrays[:3], arrays[3:]))
    accuracy = float((np.linalg.norm(values - check, axis=0) / np.linalg.norm(values, axis=0)).max())
    if not accuracy <= TOLERANCE:
        raise ValueError(
            f"pde.Re={Re:g}: two resolutions of the cavity's reference differ by {accuracy:.1e} in relative L2, at most"
            f" {TOLERANCE:.0e} is allowed"
        )
    return Reference(values, accuracy)


def _nodes(degree: int) -> Array:
    """Chebyshev's extreme points on [0, 1], ends included and exact."""
    return np.asarray(np.sin(np.pi * np.arange(degree + 1) / (2 * degree)) ** 2)


def _weights(nodes: Array) -> Array:
    """Of barycentric interpolation, scaled so that none is too small or too large to be a number."""
    gaps = 4 * (nodes[:, None] - nodes) + np.eye(len(nodes))
    return np.asarray(1 / gaps.prod(axis=1))


def _derivative(nodes: Array) -> Array:
    """Values at the nodes to those of the interpolating polynomial's derivative."""
    weights = _weights(nodes)
    matrix = weights / weights[:, None] / (nodes[:, None] - nodes + np.eye(len(nodes)))
    np.fill_diagonal(matrix, 0.0)
    # Derivatives of constants vanish: more accurate than the diagonal's own formula.
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return np.asarray(matrix)


def _interpolation(nodes: Array, x: Array) -> Array:
    """Values at the nodes to those of the interpolating polynomial at x."""
    gaps = x[:, None] - nodes
    met = gaps == 0
    matrix = _weights(nodes) / np.where(met, 1.0, gaps)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.where(met.any(axis=1, keepdims=True), met, matrix)
