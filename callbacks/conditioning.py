"""Condition numbers before and after preconditioning, and Theorem 1 along the training."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from pydantic import ValidationError

from pinntk.callbacks.files import write_figure
from pinntk.callbacks.measurement import Measurement
from pinntk.common.arrays import Array, l2re
from pinntk.common.doing import doing
from pinntk.common.errors import BadInput
from pinntk.common.files import write_json
from pinntk.common.memory import Need
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.discrete.discretization import Correction, DiscreteProblem, DiscretizationSettings, UnsolvedError
from pinntk.discrete.preconditioner import FACTORS, Blocks, BlockTriangular, PreconditionerError
from pinntk.discrete.theorem1 import Theorem1
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.declaration import reference_of
from pinntk.residual.collocation import Collocation

FACTOR = 70_000
"""Bytes that SuperLU keeps with each of its factors besides their entries."""


class Conditioning(Measurement):
    """Condition numbers of the problem's discrete form, for several drop tolerances: Definition 2 and section 3.

    They do not depend on the network: they are measured once, when training starts, and written to
    ``conditioning.json`` and ``conditioning.png``. So is the discrete solution, ``discrete``: its ``l2re`` (null where
    no reference is known), which is what a network trained on this discrete form can reach, the ``residual`` that is
    left, the ``seconds`` it took, and after training ``network``: the network's relative distance from it on the grid.
    Where neither u nor f vanishes (poisson1d), both sides of Theorem 1
    are measured along the training as well.

    Args:
        folder: where to write.
        drop_tolerances: of the incomplete factors.
        discretization: settings that replace those of the run here, a coarser grid for example: exact factors of every
            level are kept in memory.
        every: iterations between two measurements of Theorem 1; rounded up to the method's blocks.

    Raises:
        ValueError: an argument is not allowed.
        BadInput: before training: the problem has no discrete form, or its settings are not allowed.
    """

    file = "conditioning.json"
    deciding = ("drop_tolerances", "discretization")

    def __init__(
        self,
        folder: str,
        drop_tolerances: Sequence[float] = (1e-1, 1e-2, 1e-3, 1e-4),
        discretization: Mapping[str, Any] | None = None,
        every: int = 500,
    ) -> None:
        numbers = isinstance(drop_tolerances, Sequence) and not isinstance(drop_tolerances, str)
        if not numbers or not drop_tolerances or not all(isinstance(d, float | int) and d > 0 for d in drop_tolerances):
            raise ValueError(f"drop_tolerances={drop_tolerances}: must be a list of at least one positive number")
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every={every}: must be a whole number, at least 1")
        super().__init__(folder, every)
        self.drop_tolerances = list(drop_tolerances)
        self.discretization = dict(discretization or {})
        self._theorem1: Theorem1 | None = None
        self._solution: Array | None = None

    def check(self, pde: PDE, discretization: DiscretizationSettings | None) -> None:
        self._problem(pde, discretization)

    def need(self, pde: PDE, network: NetworkSettings, discretization: DiscretizationSettings | None) -> Need | None:
        """For each level with factors of its own, exact and incomplete: `FACTOR` bytes each and ``12`` for an entry;
        and for the factors of the whole matrix ``12 fill_factor`` for an entry of that.

        A level's entries are those of the third, linearised and factored here at values of no meaning.
        """
        settings, problem = self._problem(pde, discretization)
        levels = problem.shape[0]
        first = max(0, min(2, levels - 2))
        blocks = problem.jacobian(np.random.default_rng(0).random(problem.shape), first, min(first + 2, levels))
        diagonal, *lower = [lag[-1].nnz for lag in (blocks.diagonal, *blocks.lower) if lag[-1] is not None]
        try:
            entries = BlockTriangular(Blocks(blocks.diagonal[:1])).nnz
        except PreconditionerError:  # no more than not knowing: at the solution it may be another
            return None
        distinct = levels if len({id(block) for block in blocks.diagonal}) == len(blocks.diagonal) else 1
        each = distinct * 2 * (FACTOR + 12 * entries)
        whole = levels * 12 * settings.fill_factor * (diagonal + sum(lower)) if levels > 1 else 0.0
        what = f"factors of {levels:,} levels with {entries:,} entries each, exact and incomplete"
        return Need(what, each + whole, "grid", "callbacks.conditioning.discretization={cells: ...}")

    def start(self, method: Method) -> None:
        if not self.found:  # else a slab of time begins: they are of the whole problem
            self.found = self._numbers(method)
        self.measure(method)
        self.finish(method)

    def measure(self, method: Method) -> None:
        theorem1 = self._theorem1 or self._make_theorem1(method)
        if theorem1 is None:
            return
        # At iteration 0 the first draw: a run that goes on has others by now, and keeps them.
        first = Collocation(method.residuals, method.points, method.seed)
        sides = theorem1.sides(method.residuals, method.batches() if method.iteration else first.batches(0))
        series = self.found["theorem1"]
        for name, value in (("iteration", method.iteration), ("left", sides.left), ("right", sides.right)):
            series[name].append(value)
        method.log_figures({"theorem1_left": sides.left, "theorem1_right": sides.right})

    def _make_theorem1(self, method: Method) -> Theorem1 | None:
        """None where there is nothing to measure."""
        if "plain" not in self.found or "theorem1_undefined" in self.found:
            return None
        pde = method.pde
        try:
            if method.slabs is not None:
                raise ValueError("it is about the loss at all times, and method.slabs trains some of them at once")
            reference = reference_of(pde)
            if reference is None:
                raise ValueError("the norm of u is that of the reference, and none is known")
            condition = self.found["plain"]["condition"]
            self._theorem1 = Theorem1(pde, pde.evaluation_points(), reference.values, condition)
        except ValueError as error:
            self.found["theorem1_undefined"] = str(error)
        return self._theorem1

    def _problem(
        self, pde: PDE, discretization: DiscretizationSettings | None
    ) -> tuple[DiscretizationSettings, DiscreteProblem]:
        """The discrete form that is measured, and its settings; BadInput where it cannot be made."""
        kind = pde.Discretization
        if kind is None:
            raise BadInput(f"callbacks.conditioning: pde={pde.name} has no discrete form")
        given = {} if discretization is None else discretization.model_dump()
        key = "callbacks.conditioning.discretization"
        try:
            settings = kind.model_validate(given | self.discretization)
            return settings, pde.discretize(settings)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise BadInput(
                *[f"{key}.{'.'.join(map(str, e['loc']))}={e['input']}: {e['msg']}" for e in found]
            ) from error
        except ValueError as error:
            raise BadInput(f"{key}: {error}") from error

    def _numbers(self, method: Method) -> dict[str, Any]:
        settings, problem = self._problem(method.pde, method.discretization)
        record: dict[str, Any] = {
            "pde": method.pde.name,
            "pde_parameters": method.pde.parameters(),
            "discretization": settings.model_dump(),
            "grid": list(problem.shape),
        }
        try:
            record["discrete"] = self._of_solution(method.pde, problem, found := problem.march())
            if message := problem.unsolved(found):
                raise UnsolvedError(message)
            with doing("callbacks.conditioning: factors the matrix exactly"):
                numbers = ConditionNumbers(problem, found.values)
        except (PreconditionerError, UnsolvedError) as error:
            return record | {"reason": str(error)}
        with doing("callbacks.conditioning: condition numbers without factors"):
            record["plain"] = asdict(numbers.plain())
        kinds = list(FACTORS) if problem.shape[0] > 1 else list(FACTORS)[:1]
        record["preconditioned"] = []
        for factor, drop in itertools.product(kinds, self.drop_tolerances):
            with doing(f"callbacks.conditioning: condition numbers with factor={factor}, drop_tolerance={drop:g}"):
                record["preconditioned"].append(asdict(numbers.preconditioned(factor, drop)))
        record["theorem1"] = {"iteration": [], "left": [], "right": []}
        return record

    def _of_solution(self, pde: PDE, problem: DiscreteProblem, found: Correction) -> dict[str, float | None]:
        """The figures of the discrete solution; it is kept."""
        self._solution, reference = found.values, reference_of(pde)
        error = None
        if reference is not None:
            error = l2re(problem.interpolate(found.values, pde.evaluation_points()), reference.values)
        return {"l2re": error, "residual": found.residual, "seconds": found.seconds}

    def _measure_network(self, method: Method) -> None:
        """How far the trained network is from the discrete solution, which a resumed run makes anew."""
        if not method.finished or "discrete" not in self.found:
            return
        _, problem = self._problem(method.pde, method.discretization)
        if self._solution is None:
            self._solution = problem.march().values
        values = method.network.predict(problem.nodes)
        self.found["discrete"] |= {"network": l2re(values, np.ravel(self._solution))}

    def finish(self, method: Method) -> None:
        self._measure_network(method)
        write_json(self.path, self.found)
        if "plain" in self.found:
            write_figure(self.picture, plot(self.found))


def plot(record: Mapping[str, Any]) -> Figure:
    """Condition numbers against the drop tolerance; Theorem 1's sides beside them where they were measured."""
    series = record["theorem1"]
    panels = 2 if series["iteration"] else 1
    figure = Figure(figsize=(5.5 * panels, 4), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, panels))
    for quantity, colour in (("condition", "C0"), ("kappa", "C1")):
        name = {"condition": "‖A⁻¹P‖‖P⁻¹b‖/‖u‖", "kappa": "κ(P⁻¹A)"}[quantity]
        axes[0].axhline(record["plain"][quantity], color=colour, linestyle=":", label=f"{name}, without P")
        for factor, marker in zip(FACTORS, "os", strict=True):
            rows = [r for r in record["preconditioned"] if r["factor"] == factor and r[quantity] is not None]
            if rows:
                x, y = [r["drop_tolerance"] for r in rows], [r[quantity] for r in rows]
                axes[0].plot(x, y, f"-{marker}", color=colour, mfc="none", label=f"{name}, {factor}", markersize=5)
    axes[0].set(xscale="log", yscale="log", xlabel="drop tolerance", title=f"{record['pde']}, grid {record['grid']}")
    axes[0].legend(frameon=False, fontsize=8)
    if panels == 2:
        axes[1].plot(series["iteration"], series["left"], label="Tr K_rr / N_r")
        axes[1].plot(series["iteration"], series["right"], label="‖f‖²‖∇u_θ‖² / (‖u‖²|Ω| cond²)")
        axes[1].set(yscale="log", xlabel="iteration", title="Theorem 1 (α = 0)")
        axes[1].legend(frameon=False, fontsize=8)
    return figure
