"""The trained network of a run folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pinntk.callbacks import solution_picture
from pinntk.common.arrays import Array
from pinntk.common.errors import BadInput
from pinntk.common.fingerprint import changes, fingerprint
from pinntk.methods import Method
from pinntk.methods.late import absent, adopt
from pinntk.network.network import PREDICT_ELEMENTS, PREDICT_ROWS
from pinntk.pdes import PDE
from pinntk.pdes.declaration import reference_of
from pinntk.residual.residuals import Normalization, Residuals
from pinntk.runs import analysis, shown
from pinntk.runs.analysis import Kernel, LossCurvature
from pinntk.runs.checkpoints import check_same_network, read_checkpoint, start_from
from pinntk.runs.folder import CHECKPOINT, CONFIG, RunFolder, read_yaml
from pinntk.runs.settings import RunSettings
from pinntk.runs.surroundings import undisturbed

UNWATCHED: dict[str, Any] = {"accept_edits": False, "callbacks": {}, "logger": {}}
"""What watched the training does not matter to its network, and need not be there; nor whether edits were accepted."""
POINTS = 300
"""Of the equation, and of all conditions together, where kernel and Hessian are not asked for at others."""

Points = ArrayLike | Mapping[str, ArrayLike]


@dataclass(frozen=True, repr=False)
class Run:
    """The trained network of a run folder: what ``pinntk.load`` and ``pinntk.train`` give.

    Attributes:
        folder: the run folder.
        pde: the problem.
        result: what is in result.json; empty where the run has not ended.
        method: the method with the trained network in it, ``method.network``, a module of torch.
    """

    folder: Path
    pde: PDE
    result: dict[str, Any]
    method: Method

    def __repr__(self) -> str:
        rows = self._summary()
        return f"Run({rows['method']} on {rows['problem']}, {rows['status']}, L2RE {rows['L2RE']}: {self.folder})"

    def _repr_html_(self) -> str:
        """For notebooks: problem, method, error, seconds, folder, and the picture."""
        rows = [list(row) for row in self._summary().items()]
        return shown.grid([], rows) + shown.picture(self.folder)

    def _summary(self) -> dict[str, str]:
        found, error = self.result, self.result.get("l2re")
        values = ", ".join(f"{name} = {value}" for name, value in self.pde.parameters().items())
        return {
            "problem": f"{self.pde.name} ({values})" if values else self.pde.name,
            "method": self.method.name,
            "status": found.get("status", "not ended"),
            "L2RE": "not known" if error is None or np.isnan(error) else f"{error:.3e}",
            "seconds": f"{found['seconds']:.1f}" if "seconds" in found else "not known",
            "folder": str(self.folder),
        }

    def predict(self, points: ArrayLike) -> NDArray[np.float64]:
        """The network's values.

        Args:
            points: (n, d), in the order of ``pde.coordinates``.

        Returns:
            (n,), float64; of F fields (n, F), in the order of ``pde.fields``.

        Raises:
            ValueError: ``points`` has another shape.
        """
        return self.method.network.predict(self._points(points))

    def derivatives(self, points: ArrayLike, *names: str) -> dict[str, NDArray[np.float64]]:
        """Values and derivatives of the network with respect to its coordinates.

        Args:
            points: (n, d), in the order of ``pde.coordinates``.
            names: of streams, as a term names them: "u", "u_x", "v_xxt".

        Returns:
            By name, (n,), float64.

        Raises:
            ValueError: ``points`` has another shape, or there is no such derivative.

        Example::

            found = run.derivatives([[0.5, 1.0]], "u_x", "u_xx")
        """
        x = self._points(points)
        if not names:
            raise ValueError("derivatives: came no name; allowed is at least one, as 'u_x'")
        network = self.method.network
        streams = network.wanting(*names)

        def of(part: Tensor) -> dict[str, Tensor]:
            found = network.streams(part, streams)
            return {name: found[name] for name in names}

        return self._in_blocks(x, names, len(streams), of)

    @undisturbed()
    def residuals(self, points: ArrayLike, region: str = "interior") -> dict[str, NDArray[np.float64]]:
        """The residuals of a region's terms, without weights, at any points.

        Args:
            points: (n, d), in the order of ``pde.coordinates``. Nothing asks whether they lie in the region: the
                residual of a boundary term is that of its equation there.
            region: of the terms.

        Returns:
            By the term's name, (n,), float64.

        Raises:
            ValueError: ``points`` has another shape; the problem has no term in this region, or none that is a function
                of a single point, as the pairs of a periodic condition.

        Example::

            r = run.residuals(run.pde.evaluation_points())["residual"]
        """
        x = self._points(points)
        analysis.check_free("residuals", self.pde, region)
        terms = [term for term in self.pde.terms() if term.where == region]
        residuals = Residuals(self.pde, self.method.network, terms)

        def of(part: Tensor) -> dict[str, Tensor]:
            return residuals.of_region(region, residuals.prepare_region(region, part))

        found = self._in_blocks(x, residuals.names, len(residuals.streams_of[region]), of)
        for name, r in found.items():
            if r.shape != (len(x),):
                raise ValueError(f"residuals: term {name!r} has {r.shape} for {len(x)} points; allowed is one for each")
        return found

    @undisturbed()
    def ntk(
        self,
        points: Points | None = None,
        region: str = "interior",
        *,
        interior: int = POINTS,
        conditions: int = POINTS,
    ) -> Kernel:
        """The neural tangent kernel ``K = J J^T`` of the residuals, without weights, in float64.

        Of a training in slabs of time it is that of the last slab.

        Args:
            points: (n, d), in the order of ``pde.coordinates``; or such arrays by region. None: fixed ones in all
                regions, as ``callbacks=ntk_drift`` has them.
            region: of the points, where they are one array.
            interior, conditions: numbers of fixed points, of the equation and of all conditions together.

        Returns:
            K, (N, N), with its blocks by term and their spectra (`Kernel`); N rows are N^2 numbers.

        Raises:
            ValueError: ``points`` has another shape, or a region has no terms that are functions of a single point.

        Example::

            kernel = run.ntk({"interior": x, "initial": y})
            kernel.spectrum("residual").values, kernel.block("residual", "initial")
        """
        return analysis.kernel(
            self.method.problem, self.method.network, self._placed(points, region), interior, conditions
        )

    @undisturbed()
    def hessian(
        self,
        points: Points | None = None,
        region: str = "interior",
        *,
        interior: int = POINTS,
        conditions: int = POINTS,
        normalization: Normalization | None = None,
    ) -> LossCurvature:
        """The Hessian of the loss ``L = 1/2 |r|^2`` at these parameters, and its two parts, in float64.

        Args:
            points, region, interior, conditions: as for `ntk`.
            normalization: of the loss, "sum" or "mean"; None: the method's. Its fixed weights are the method's, too.

        Returns:
            Operators (P, P) ``hessian``, ``gauss_newton`` and ``remainder``, and their ``norms()`` (`LossCurvature`).

        Raises:
            ValueError: as for `ntk`.

        Example::

            run.hessian().norms().ratio  # what of the Hessian the kernel does not have
        """
        settings = self.method.settings
        loss = {"normalization": normalization or settings.normalization, "weights": settings.weights}
        where = self._placed(points, region)
        return analysis.curvature(self.method.problem, self.method.network, where, interior, conditions, **loss)

    @undisturbed()
    def initial(self) -> Run:
        """The run as it was before its first iteration: the network made anew, from the settings and their seed or from
        what ``init_from`` names. Its ``result`` is empty.

        Raises:
            BadInput: config.yaml, or what ``init_from`` names, cannot be read.
            ValueError: the method makes its networks in the training (slabs of time, ``evolve``).

        Example::

            start, end = run.initial().ntk().matrix, run.ntk().matrix  # K(0) and K(t) at the same points
        """
        settings = _settings(RunFolder(self.folder))
        method = settings.build()
        if late := absent(method, self.method.state_dict()):
            first = sorted(late)[0]
            made = f"initial: {method.name} has made {first} in its training"
            raise ValueError(f"{made}; allowed is a method whose networks are there before")
        start_from(settings, method)
        return Run(self.folder, self.pde, {}, method.eval())

    @property
    def history(self) -> Any:
        """metrics.csv by column, ``iteration`` first: a pandas DataFrame where pandas is installed, else a dictionary
        of arrays (n,). Losses by term, L2RE where it was measured, nan elsewhere.

        Example::

            run.history.plot(x="iteration", y=["loss", "l2re"], logy=True)
        """
        return shown.frame(shown.history(self.folder))

    @undisturbed()
    def plot(self) -> Figure:
        """Prediction, reference and error at the evaluation points, as in solution.png.

        Returns:
            A figure of matplotlib, which notebooks show; ``figure.savefig("u.pdf")`` writes it.
        """
        prediction, reference = self.predict(self.pde.evaluation_points()), reference_of(self.pde)
        values = None if reference is None else reference.values
        return solution_picture.plot(self.pde, prediction, values, self.method.name)

    def _placed(self, points: Points | None, region: str) -> dict[str, Array] | None:
        if points is None:
            return None
        by_region = points if isinstance(points, Mapping) else {region: points}
        return {name: self._points(x) for name, x in by_region.items()}

    def _points(self, points: ArrayLike) -> Array:
        x = np.asarray(points, dtype=np.float64)
        names = ", ".join(self.pde.coordinates)
        d = len(self.pde.coordinates)
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(f"points: must have shape (n, {d}), columns {names}; came {x.shape}")
        return x

    def _in_blocks(
        self, x: Array, names: Iterable[str], streams: int, of: Callable[[Tensor], dict[str, Tensor]]
    ) -> dict[str, Array]:
        """What ``of`` gives for the points, (n, d), by name, as much at a time as memory is bounded by."""
        network = self.method.network
        rows = max(1, min(PREDICT_ROWS, PREDICT_ELEMENTS // (network.width * streams)))
        with torch.no_grad():
            parts = torch.from_numpy(x.copy()).to(next(network.parameters())).split(rows)
            found = [of(part) for part in parts]
        return {name: torch.cat([one[name] for one in found]).double().cpu().numpy() for name in names}


def load(folder: str | os.PathLike[str]) -> Run:
    """Load the trained network of a run folder.

    A problem or method that was defined in a notebook or a script has to be defined in this one, too.

    Args:
        folder: a run folder, ``runs/<pde>/<method>/<width>/<budget>/<settings hash>/seed<k>``.

    Raises:
        FileNotFoundError: the folder has no configuration or no checkpoint.
        BadInput: one of them cannot be read; a ValueError.

    Example::

        run = pinntk.load("runs/burgers/adam/w50/laptop/0123456789ab/seed0")
        u = run.predict(np.array([[0.5, 1.0]]))  # at x = 0.5, t = 1
    """
    of_run = RunFolder(Path(folder).expanduser())
    for file in (CONFIG, CHECKPOINT):
        if not (of_run.path / file).is_file():
            raise FileNotFoundError(f"{of_run.path / file} is not there; allowed: a run folder with a checkpoint")
    with undisturbed():
        run, edited = _read(of_run)
    if edited:
        text = f"{of_run.path}: this run is of other code, changed since: {', '.join(edited)}"
        warnings.warn(text, stacklevel=2)
    return run


def _read(folder: RunFolder) -> tuple[Run, list[str]]:
    """The run, and what of its code has been edited since."""
    settings = _settings(folder)
    method = settings.build()
    checkpoint = read_checkpoint(folder.checkpoint, "allowed: a checkpoint of this run")
    saved = checkpoint["state_dict"]
    check_same_network(saved, method, folder.checkpoint)
    result = folder.result() or {}
    method.reserve(saved)
    adopt(method, saved)
    then, now = checkpoint["pinntk"].get("fingerprint"), fingerprint(*settings.code)
    edited = changes(then, now) if then and now else []
    return Run(folder.path, settings.pde, result, method.eval()), edited


def _settings(folder: RunFolder) -> RunSettings:
    try:
        return RunSettings.read(read_yaml(folder.path / CONFIG) | UNWATCHED, training=False)
    except Exception as error:  # whatever a file that is not ours may cause
        text = "; ".join(str(error).splitlines()[:3])
        raise BadInput(f"{folder.path / CONFIG} cannot be read: {text}") from error
