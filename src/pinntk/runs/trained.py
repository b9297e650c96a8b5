"""The trained network of a run folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from pinntk.common.arrays import Array
from pinntk.common.errors import BadInput, allowed
from pinntk.common.fingerprint import changes, fingerprint
from pinntk.methods import Method
from pinntk.methods.late import adopt
from pinntk.network.network import PREDICT_ELEMENTS, PREDICT_ROWS
from pinntk.pdes import PDE
from pinntk.residual.named import all_placed
from pinntk.residual.residuals import Residuals
from pinntk.runs.checkpoints import check_same_network, read_checkpoint
from pinntk.runs.folder import CHECKPOINT, CONFIG, RunFolder, read_yaml
from pinntk.runs.settings import RunSettings

UNWATCHED: dict[str, Any] = {"accept_edits": False, "callbacks": {}, "logger": {}}
"""What watched the training does not matter to its network, and need not be there; nor whether edits were accepted."""


@dataclass(frozen=True)
class TrainedRun:
    """The trained network of a run folder.

    Attributes:
        pde: the problem.
        result: what is in result.json; empty where the run has not ended.
        method: the method with the trained network in it.
    """

    pde: PDE
    result: dict[str, Any]
    method: Method

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
        everything = self.pde.terms()
        known = all_placed([term.region for term in everything], self.pde.domain)
        free = [name for name, one in known.items() if not one.pairs and not one.whole]
        if region not in free:
            why = ""
            if region in known:
                why = (
                    f" has {'pairs of points' if known[region].pairs else 'points of its own'}, no residuals at others"
                )
            raise ValueError(f"residuals: region {region!r}{why}; {allowed(region, free)}")
        residuals = Residuals(self.pde, self.method.network, [term for term in everything if term.where == region])

        def of(part: Tensor) -> dict[str, Tensor]:
            return residuals.of_region(region, residuals.prepare_region(region, part))

        found = self._in_blocks(x, residuals.names, len(residuals.streams_of[region]), of)
        for name, r in found.items():
            if r.shape != (len(x),):
                raise ValueError(f"residuals: term {name!r} has {r.shape} for {len(x)} points; allowed is one for each")
        return found

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


def load(path: str | os.PathLike[str]) -> TrainedRun:
    """See ``pinntk.load``."""
    folder = RunFolder(Path(path).expanduser())
    for file in (CONFIG, CHECKPOINT):
        if not (folder.path / file).is_file():
            raise FileNotFoundError(f"{folder.path / file} is not there; allowed: a run folder with a checkpoint")
    try:
        settings = RunSettings.read(read_yaml(folder.path / CONFIG) | UNWATCHED, training=False)
    except Exception as error:  # whatever a file that is not ours may cause
        text = "; ".join(str(error).splitlines()[:3])
        raise ValueError(f"{folder.path / CONFIG} cannot be read: {text}") from error
    method = settings.build()
    try:
        checkpoint = read_checkpoint(folder.checkpoint, "allowed: a checkpoint of this run")
        saved = checkpoint["state_dict"]
        check_same_network(saved, method, folder.checkpoint)
        result = folder.result() or {}
    except BadInput as error:
        raise ValueError(str(error)) from error
    method.reserve(saved)
    adopt(method, saved)
    then, now = checkpoint["pinntk"].get("fingerprint"), fingerprint(*settings.code)
    if edited := changes(then, now) if then and now else []:
        text = f"{folder.path}: this run is of other code, changed since: {', '.join(edited)}"
        warnings.warn(text, stacklevel=3)
    return TrainedRun(settings.pde, result, method.eval())
