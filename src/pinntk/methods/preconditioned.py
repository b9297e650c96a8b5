"""What the methods on the preconditioned residual ``P^-1 R(u_theta)`` share (paper, section 3; Liu et al. 2024).

The lagged form: the preconditioned residual is applied to the network's values on the grid,
``v = u_theta - P^-1 R(u_theta)``, and the network is fitted to the fixed v (`pinntk.methods.pcpinn`).
"""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pinntk.discretization import DiscreteProblem, DiscretizationSettings, PreconditionerError
from pinntk.methods.base import Method, MethodSettings, NonFiniteLoss
from pinntk.pdes.base import PDE, Array
from pinntk.points import PointSettings, unit_points
from pinntk.references import Reference


class Preconditioned(Method):
    """A method with a discrete problem."""

    term: ClassVar[str] = "preconditioned"

    def __init__(self, pde: PDE, *args: Any, **kwargs: Any) -> None:
        super().__init__(pde, *args, **kwargs)
        assert self.discretization is not None, f"method={self.name} needs the settings of the problem's discrete form"
        self.problem: DiscreteProblem = pde.discretize(self.discretization)
        self.base: Array | None = None
        """The network's values (direct) or the target (lagged) of the last refresh, on the grid."""
        self.refreshes: list[dict[str, float]] = []
        self._values: tuple[int, Array] | None = None

    @classmethod
    def check(cls, pde: PDE, settings: MethodSettings, discretization: DiscretizationSettings | None) -> None:
        if pde.Discretization is None:
            raise ValueError(f"method={cls.name}: pde={pde.name} has no discrete form; allowed are problems with one")
        if discretization is None:
            raise ValueError(f"discretization=null: {cls.name} needs the settings of the problem's discrete form")
        if settings.weights:
            raise ValueError(f"method.weights: {cls.name} has one term, its preconditioned residual; allowed is {{}}")
        pde.discretize(discretization)  # a grid that cannot hold the problem is refused

    @classmethod
    def check_points(cls, points: PointSettings) -> None:
        if points.sampling == "grid":  # the same nodes in every draw, and none on the initial level
            raise ValueError(
                f"points.sampling=grid: {cls.name} has a grid of its own, of which it draws nodes;"
                " allowed are uniform, latin_hypercube, sobol"
            )

    def draw_nodes(self, n: int, *stream: int) -> Tensor:
        """Numbers of n nodes, spread over the grid as ``points.sampling`` says; a function of seed and stream alone.

        Evenly spread nodes are worth more than the same number drawn one by one, which leave holes.
        """
        rng = np.random.default_rng([self.seed, *stream])
        if self.points.sampling == "uniform":
            drawn = rng.integers(math.prod(self.problem.axes), size=n)
        else:
            axes = self.problem.axes
            places = np.floor(unit_points(self.points.sampling, n, len(axes), rng) * axes).astype(np.int64)
            drawn = np.ravel_multi_index(tuple(places.T), axes)
        return torch.from_numpy(drawn).to(self.device)

    def values(self) -> Array:
        """The network's values on the grid, float64, of the grid's shape."""
        # Kept, because some millions of nodes take seconds and the end of a run asks twice.
        if self._values is None or self._values[0] != self.iteration:
            self._values = self.iteration, self.predict_numpy(self.problem.nodes).reshape(self.problem.shape)
        return self._values[1]

    def finite_values(self) -> Array:
        """The same; NonFiniteLoss where they are not finite."""
        values = self.values()
        if not np.isfinite(values).all():
            raise NonFiniteLoss(self.iteration, self.term)
        return values

    def correct(self) -> dict[str, float]:
        """Make the target v from the network's current values; what it took."""
        values = self.finite_values()
        correction = self.problem.correct(values)
        # As the network sees it, so that it need not be saved in double precision.
        self.base = torch.from_numpy(correction.values).to(self.dtype_).double().numpy()
        return {
            "update": rms(values - correction.values),
            "residual_left": correction.residual,
            "sweeps": correction.sweeps,
            "factorizations": correction.factorizations,
            "factor_seconds": correction.factor_seconds,
            "seconds": correction.seconds,
        }

    def losses(self) -> dict[str, float]:
        """Mean squared distance to the last target over the whole grid."""
        loss = math.nan if self.base is None else rms(self.values() - self.base) ** 2
        return {"loss": loss, self.term: loss}

    def figures(self, reference: Reference) -> dict[str, Any]:
        """What the discrete problem is worth and costs.

        ``discrete_l2re``: error of the solution of R(u) = 0, the floor that L_PC can reach. ``ilu_l2re``: error of
        one application of the incomplete factors, ``P^-1 b`` (for a nonlinear problem of Newton's linear system at the
        discrete solution, ``b = R'(u) u``), with ``defect`` and ``amplification`` of the factors; where they are of no
        use, ``ilu_reason`` says why. ``network_to_discrete``: relative distance of the network from the discrete
        solution on the grid. Costs: seconds of factoring while training, seconds per application of P^-1 on the whole
        grid, and the part of the training time spent on refreshes.
        """
        solution = self.problem.solve()
        training = sum(self.seconds_per_phase.values())
        return {
            "grid": list(self.problem.shape),
            "discrete_l2re": self._error(solution, reference),
            **self._factor_figures(solution, reference),
            "network_to_discrete": float(np.linalg.norm(self.values() - solution) / np.linalg.norm(solution)),
            "factor_seconds": sum(refresh.get("factor_seconds", 0.0) for refresh in self.refreshes),
            "share_of_training_time": self.seconds_per_phase.get("refresh", 0.0) / training if training else 0.0,
            "refreshes": self.refreshes,
        }

    def _factor_figures(self, solution: Array, reference: Reference) -> dict[str, Any]:
        u = torch.from_numpy(solution).requires_grad_()
        residual = self.problem.residual(u)
        # R'(u) u, as the derivative of R'(u)^T w with respect to w along u.
        w = torch.zeros_like(residual, requires_grad=True)
        (transposed,) = torch.autograd.grad(residual, u, w, create_graph=True)
        right = torch.autograd.grad(transposed, w, u.detach())[0].numpy()
        try:
            preconditioner = self.problem.linearize(solution)
            begin = time.perf_counter()
            applied = preconditioner.solve(right)
            seconds = time.perf_counter() - begin
        except PreconditionerError as error:
            return {"ilu_l2re": None, "ilu_reason": str(error)}
        return {
            "ilu_l2re": self._error(applied, reference),
            "defect": preconditioner.defect,
            "amplification": preconditioner.amplification,
            "factor_entries": preconditioner.nnz,
            "seconds_per_factorization": preconditioner.factor_seconds,
            "seconds_per_application": seconds,
        }

    def _error(self, grid: Array, reference: Reference) -> float:
        """L2RE of a grid function on the evaluation grid."""
        error = self.problem.interpolate(grid, self.pde.evaluation_points()) - reference.values
        return float(np.linalg.norm(error) / np.linalg.norm(reference.values))


def rms(values: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
