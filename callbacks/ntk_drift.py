"""How far the neural tangent kernel moves while a network trains (paper, Figure 1a and Remark 2)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.callbacks.files import write_arrays, write_figure
from pinntk.callbacks.kernel_points import fixed_batches, interior_rows
from pinntk.callbacks.measurement import Measurement, title
from pinntk.common.arrays import Array
from pinntk.common.memory import Need
from pinntk.common.plots import eigenvalues
from pinntk.discrete.discretization import DiscretizationSettings
from pinntk.methods import Method
from pinntk.network import NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.residual.extent import Extent
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.residuals import Residuals
from pinntk.residual.spectra import Spectrum, spectral_norm

BLOCKS = ("K", "K_uu", "K_rr")
FIGURES = ("drift", "largest", "smallest", "effective_rank")


class NTKDrift(Measurement):
    """``Delta K(t) = |K(0) - K(t)|_2 / |K(0)|_2`` on fixed points, for K and for its diagonal blocks K_uu and K_rr.

    Written to ``ntk_drift.npz`` when training ends, and drawn in ``ntk_drift.png``: ``iteration`` (n,); ``drift``,
    ``largest``, ``smallest`` and ``effective_rank`` of the kernel (n, 3) for K, K_uu, K_rr (`Spectrum`),
    nan for K_uu where a problem has no conditions. With slabs of time K(0) is the kernel with which a slab begins;
    ``spectrum_start_<block>`` and ``spectrum_end_<block>`` (descending eigenvalues), and with ``keep_kernel`` the
    kernel at the start, ``kernel_start`` (N, N). Kernels are computed in float64 whatever the run's precision.

    Args:
        folder: where to write.
        every: iterations between two measurements; rounded up to the method's blocks of ``log_every``.
        interior: residual points.
        conditions: initial, boundary and periodic points in all.
        keep_kernel: save K(0) as well, for the spread over seeds.
    """

    file = "ntk_drift.npz"
    deciding = ("interior", "conditions")

    def __init__(
        self, folder: str, every: int = 100, interior: int = 300, conditions: int = 300, keep_kernel: bool = False
    ) -> None:
        if min(every, interior, conditions) < 1:
            raise ValueError(f"every={every}, interior={interior}, conditions={conditions}: must be at least 1")
        super().__init__(folder, every)
        self.interior, self.conditions = interior, conditions
        self.keep_kernel = keep_kernel
        self.found = {"iterations": [], "figures": {name: [] for name in FIGURES}, "start": {}, "first": 0}

    def need(self, pde: PDE, network: NetworkSettings, discretization: DiscretizationSettings | None) -> Need:
        """``6 N^2`` numbers: K and its two blocks at the start and now, their difference, and an eigensolver's copy;
        and J in factors, with the rows that ``gram`` makes."""
        extent = Extent.measured(pde, network, self.interior, self.conditions)
        size = 6 * extent.matrix(extent.rows, extent.rows) + extent.factors + extent.short_rows
        return Need(f"six kernels of {extent.rows:,}^2 numbers", size, by="rows")

    def start(self, method: Method) -> None:
        self.found["start"], self.found["first"] = self.kernel(method), len(self.found["iterations"])
        self.measure(method)

    def finish(self, method: Method) -> None:
        start, end = self.found["start"], self.kernel(method)
        spectra = {
            f"spectrum_{when}_{name}": Spectrum.of(block).values.numpy()
            for when, blocks in (("start", start), ("end", end))
            for name, block in blocks.items()
        }
        figures = {name: np.array(values) for name, values in self.found["figures"].items()}
        arrays: dict[str, Any] = {"iteration": np.array(self.found["iterations"]), **figures, **spectra}
        if self.keep_kernel:
            arrays["kernel_start"] = start["K"].numpy()
        write_arrays(self.path, arrays)
        write_figure(self.picture, plot(arrays["iteration"], arrays["drift"], spectra, method))

    def kernel(self, method: Method) -> dict[str, Tensor]:
        """K, K_uu and K_rr at the method's current parameters, on the CPU."""
        residuals = Residuals(method.problem, copy.deepcopy(method.network).double())
        jacobian = FactoredJacobian.of(residuals, fixed_batches(residuals, self.interior, self.conditions))
        kernel = jacobian.gram().cpu()
        inside = interior_rows(jacobian, residuals)
        return {"K": kernel, "K_uu": kernel[~inside][:, ~inside], "K_rr": kernel[inside][:, inside]}

    def measure(self, method: Method) -> None:
        start, figures = self.found["start"], self.found["figures"]
        first = self.found.get("first", 0)  # younger than some checkpoints
        known = len(self.found["iterations"]) > first
        now = self.kernel(method) if known else start
        spectra = [Spectrum.of(now[name]) for name in BLOCKS]
        measured = {figure: [getattr(spectrum, figure) for spectrum in spectra] for figure in FIGURES[1:]}
        norms = zip(BLOCKS, figures["largest"][first] if known else measured["largest"], strict=True)
        drift = [spectral_norm(now[name] - start[name]) / norm for name, norm in norms]
        measured = {"drift": drift, **measured}
        self.found["iterations"].append(method.iteration)
        for figure, values in measured.items():
            figures[figure].append(values)
        named = {
            f"ntk_{figure}_{name}": value
            for figure, values in measured.items()
            for name, value in zip(BLOCKS, values, strict=True)
            if len(now[name])  # K_uu has no rows where a problem has no conditions
        }
        method.log_figures(named)
        for name, spectrum in zip(BLOCKS, spectra, strict=True):
            self.show_spectrum(method, f"ntk_spectrum_{name}", spectrum)


def plot(iterations: Array, drift: Array, spectra: dict[str, Array], method: Method) -> Figure:
    """The drift along the training, and the spectra at its start and end."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = {}
    for k, name in enumerate(BLOCKS):
        if not np.isnan(drift[:, k]).all():
            left.plot(iterations, drift[:, k], label=name, color=f"C{k}")
        for when, line in (("start", "--"), ("end", "-")):
            curves[f"{name}, {when}"] = spectra[f"spectrum_{when}_{name}"], {"color": f"C{k}", "linestyle": line}
    eigenvalues(right, curves)
    left.set(xlabel="iteration", ylabel="‖K(0) − K(t)‖₂ / ‖K(0)‖₂", ylim=(0, None))
    left.legend(frameon=False)
    right.legend(frameon=False, fontsize=8)
    figure.suptitle(title(method))
    return figure
