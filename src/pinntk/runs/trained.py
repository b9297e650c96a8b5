"""The trained network of a run folder."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pinntk.common.errors import BadInput
from pinntk.common.fingerprint import changes, fingerprint
from pinntk.methods import Method
from pinntk.methods.late import adopt
from pinntk.pdes import PDE
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
            (n,), float64.

        Raises:
            ValueError: ``points`` has another shape.
        """
        x = np.asarray(points, dtype=np.float64)
        names = ", ".join(self.pde.coordinates)
        d = len(self.pde.coordinates)
        if x.ndim != 2 or x.shape[1] != d:
            raise ValueError(f"points: must have shape (n, {d}), columns {names}; came {x.shape}")
        return self.method.network.predict(x)


def load(path: str | os.PathLike[str]) -> TrainedRun:
    """See ``pinntk.load``."""
    folder = RunFolder(Path(path).expanduser())
    for file in (CONFIG, CHECKPOINT):
        if not (folder.path / file).is_file():
            raise FileNotFoundError(f"{folder.path / file} is not there; allowed: a run folder with a checkpoint")
    try:
        settings = RunSettings.read(read_yaml(folder.path / CONFIG) | UNWATCHED, training=False)
    except Exception as error:  # whatever a file that is not ours may cause
        raise ValueError(f"{folder.path / CONFIG} cannot be read: {error}") from error
    method = settings.build()
    try:
        checkpoint = read_checkpoint(folder.checkpoint, "allowed: a checkpoint of this run")
        saved = checkpoint["state_dict"]
        check_same_network(saved, method, folder.checkpoint)
        result = folder.result() or {}
    except BadInput as error:
        raise ValueError(str(error)) from error
    adopt(method, saved)
    then, now = checkpoint["pinntk"].get("fingerprint"), fingerprint(type(settings.pde), settings.method_class)
    if edited := changes(then, now) if then and now else []:
        text = f"{folder.path}: this run is of other code, changed since: {', '.join(edited)}"
        warnings.warn(text, stacklevel=3)
    return TrainedRun(settings.pde, result, method.eval())
