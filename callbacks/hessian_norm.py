"""The size of the loss's second derivative, and what of it the kernel has (paper, Figure 1b and Theorem 3)."""

from __future__ import annotations

import copy
import time
from typing import Any, get_args

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.files import write_arrays, write_figure
from pinntk.callbacks.kernel_points import fixed_batches
from pinntk.callbacks.measurement import Measurement, title
from pinntk.common.arrays import Array
from pinntk.common.memory import Need
from pinntk.common.plots import share_above
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.residual.extent import Extent
from pinntk.residual.form import ResidualForm
from pinntk.residual.hessian import KEEP, Split
from pinntk.residual.residuals import Normalization, Residuals
from pinntk.residual.spectra import DENSE_LIMIT, share_of_entries, spectral_density

FIGURES = ("hessian", "gauss_newton", "remainder", "ratio", "products")
TOLERANCES = (1e-3, 1e-2, 1e-1)
DENSITY_STEPS = 80
"""Of Lanczos from each vector, for the spectral density."""


class HessianNorm(Measurement):
    """Spectral norms of the Hessian on fixed points: of L_r, the loss of the equation's residuals alone and unweighted,
    and of the whole loss L with the method's fixed weights; and those of their two parts, Gauss-Newton and remainder.

    Written to ``hessian_norm.npz`` when training ends, and drawn in ``hessian_norm.png``: ``iteration`` (n,); ``loss``,
    the names "L_r" and "L"; ``hessian``, ``gauss_newton``, ``remainder`` (norms), ``ratio`` (the remainder's norm over
    the Hessian's) and ``products`` (with vectors, that it took), (n, 2) each; ``seconds`` (n,) of all of a measurement;
    ``normalization``. For small networks ``entries_hessian`` and ``entries_remainder``, (n, 3): the share of the
    entries of either matrix of L_r above ``tolerances`` (3,) times its largest. With ``density`` the nodes and weights
    of the spectral density at start and end, ``density_<start or end>_<loss>`` (2, probes, steps). All in float64
    whatever the run's precision.

    Args:
        folder: where to write.
        every: iterations between two measurements; rounded up to the method's blocks of ``log_every``.
        interior: residual points.
        conditions: initial, boundary and periodic points in all.
        normalization: of the losses, "sum" or "mean"; None: the method's.
        whole: measure L as well; without it the arrays have one column.
        tolerance: of the norms, see `pinntk.residual.spectra.norm`.
        dense_limit: parameters up to which the shares of entries are measured, by as many products each time.
        density: measure the spectral density.
    """

    file = "hessian_norm.npz"
    deciding = ("interior", "conditions", "normalization", "whole", "tolerance", "dense_limit", "density")

    def __init__(
        self,
        folder: str,
        every: int = 500,
        interior: int = 300,
        conditions: int = 300,
        normalization: Normalization | None = None,
        whole: bool = True,
        tolerance: float = 1e-6,
        dense_limit: int = 2000,
        density: bool = False,
    ) -> None:
        if min(every, interior, conditions) < 1:
            raise ValueError(f"every={every}, interior={interior}, conditions={conditions}: must be at least 1")
        if normalization not in (None, *get_args(Normalization)):
            raise ValueError(f"normalization={normalization}: allowed are sum, mean and null (the method's)")
        if not 0 < tolerance < 1:
            raise ValueError(f"tolerance={tolerance}: must be above 0 and below 1")
        if not 0 <= dense_limit <= DENSE_LIMIT:
            raise ValueError(f"dense_limit={dense_limit}: allowed are 0 to {DENSE_LIMIT}")
        super().__init__(folder, every)
        self.interior, self.conditions = interior, conditions
        self.normalization = normalization
        self.whole, self.tolerance, self.dense_limit, self.density = whole, tolerance, dense_limit, density
        self.found = {
            "iterations": [],
            "figures": {name: [] for name in FIGURES},
            "entries": {"hessian": [], "remainder": []},
            "seconds": [],
            "start": {},
        }

    def need(self, pde: PDE, network: NetworkSettings, discretization: DiscretizationSettings | None) -> Need:
        """``30 P`` numbers for a norm's Krylov space of twenty vectors and what lies around it, with ``density`` twice
        its steps; the recorded gradient, up to `KEEP` elements, or J in factors; up to ``dense_limit`` parameters
        ``5 P^2`` for the matrices themselves."""
        extent = Extent.measured(pde, network, self.interior, self.conditions)
        parameters = extent.parameters
        vectors = 2 * DENSITY_STEPS if self.density else 30
        size = extent.matrix(vectors, parameters) + max(extent.factors, min(extent.recorded, 10 * 8 * KEEP))
        if parameters <= self.dense_limit:
            size += 5 * extent.matrix(parameters, parameters)
        return Need(f"{vectors} vectors of {parameters:,} numbers, and a Hessian's recorded gradient", size)

    def start(self, method: Method) -> None:
        self.found["start"] = self._densities(method)
        self.measure(method)

    def finish(self, method: Method) -> None:
        densities = {
            f"density_{when}_{name}": found.numpy()
            for when, losses in (("start", self.found["start"]), ("end", self._densities(method)))
            for name, found in losses.items()
        }
        arrays: dict[str, Any] = {
            "iteration": np.array(self.found["iterations"]),
            "loss": np.array(["L_r", "L"] if self.whole else ["L_r"]),
            **{name: np.array(values) for name, values in self.found["figures"].items()},
            "seconds": np.array(self.found["seconds"]),
            "normalization": np.array(self._normalization(method)),
            "tolerances": np.array(TOLERANCES),
            **{f"entries_{name}": np.array(values) for name, values in self.found["entries"].items() if values},
            **densities,
        }
        write_arrays(self.path, arrays)
        write_figure(self.picture, plot(arrays, densities, method))

    def losses(self, method: Method) -> dict[str, ResidualForm]:
        """L_r and L at the method's current parameters."""
        whole = Residuals(method.problem, copy.deepcopy(method.network).double())
        equation = Residuals(method.problem, whole.network, [term for term in whole.terms if term.equation])
        batches = fixed_batches(whole, self.interior, self.conditions)
        inside = {region: batches[region] for region in equation.regions}
        weights, normalization = method.settings.weights, self._normalization(method)
        found = {"L_r": ResidualForm(equation, inside, normalization=normalization)}
        if self.whole:
            found["L"] = ResidualForm(whole, batches, weights=weights, normalization=normalization)
        return found

    def _normalization(self, method: Method) -> Normalization:
        chosen: Normalization = self.normalization or method.settings.normalization
        return chosen

    def _densities(self, method: Method) -> dict[str, Tensor]:
        if not self.density:
            return {}
        losses = self.losses(method)
        return {
            name: torch.stack(spectral_density(loss.curvature("hessian"), steps=DENSITY_STEPS))
            for name, loss in losses.items()
        }

    def measure(self, method: Method) -> None:
        started = time.perf_counter()
        losses = self.losses(method)
        splits = {name: Split.of(loss.curvature, self.tolerance) for name, loss in losses.items()}
        entries: dict[str, list[float]] = {}
        if method.parameters_count <= self.dense_limit:
            equation = losses["L_r"]
            hessian = equation.curvature("hessian").dense()
            matrices = {"hessian": hessian, "remainder": hessian - equation.curvature("gauss_newton").dense()}
            for name, matrix in matrices.items():
                entries[name] = [share_of_entries(matrix, tolerance) for tolerance in TOLERANCES]
        for name, shares in entries.items():
            self.found["entries"][name].append(shares)
        self.found["iterations"].append(method.iteration)
        for figure in FIGURES:
            self.found["figures"][figure].append([getattr(split, figure) for split in splits.values()])
        self.found["seconds"].append(time.perf_counter() - started)
        named = {f"hessian_{figure}_{name}": getattr(s, figure) for name, s in splits.items() for figure in FIGURES[1:]}
        norms = {f"hessian_norm_{name}": split.hessian for name, split in splits.items()}
        method.log_figures(norms | named)


def plot(arrays: dict[str, Any], densities: dict[str, Array], method: Method) -> Figure:
    """Norms and their ratio along the training; the spectral density where there is one."""
    figure = Figure(figsize=(15 if densities else 11, 4), layout="constrained")
    left, right, *more = figure.subplots(1, 3 if densities else 2)
    for k, name in enumerate(arrays["loss"]):
        for part, style in (("hessian", "-"), ("gauss_newton", "--"), ("remainder", ":")):
            label = f"{name}, {part.replace('_', '-')}"
            left.plot(arrays["iteration"], arrays[part][:, k], style, marker=".", color=f"C{k}", label=label)
        right.plot(arrays["iteration"], arrays["ratio"][:, k], marker=".", color=f"C{k}", label=name)
    left.set(xlabel="iteration", ylabel="spectral norm", yscale="log")
    right.set(xlabel="iteration", ylabel="‖remainder‖₂ / ‖Hessian‖₂", ylim=(0, None))
    for panel in more:
        share_above(panel, {name.removeprefix("density_").replace("_", ", "): d for name, d in densities.items()})
    for panel in (left, right, *more):
        panel.legend(frameon=False, fontsize=8)
    figure.suptitle(title(method))
    return figure
