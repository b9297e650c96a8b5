"""Condition numbers before and after preconditioning, and Theorem 1 along the training."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.figure import Figure
from pydantic import ValidationError

from pinntk.callbacks.files import write_figure
from pinntk.conditioning import ConditionNumbers
from pinntk.declaration import reference_of
from pinntk.discretization import PreconditionerError, UnsolvedError
from pinntk.errors import BadInput
from pinntk.methods import Method
from pinntk.preconditioner import FACTORS
from pinntk.theorem1 import Theorem1


class Conditioning(pl.Callback):
    """Condition numbers of the problem's discrete form, for several drop tolerances: Definition 2 and section 3.

    They do not depend on the network: they are measured once, when training starts, and written to
    ``conditioning.json`` and ``conditioning.png``. Where neither u nor f vanishes (poisson1d), both sides of Theorem 1
    are measured along the training as well.

    Args:
        folder: where to write.
        drop_tolerances: of the incomplete factors.
        discretization: settings that replace those of the run here, a coarser grid for example: exact factors of every
            level are kept in memory.
        every: iterations between two measurements of Theorem 1; rounded up to the method's blocks.

    Raises:
        ValueError: an argument is not allowed.
        BadInput: when training starts: the problem has no discrete form, or its settings are not allowed.
    """

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
        self.folder = Path(folder)
        self.drop_tolerances = tuple(drop_tolerances)
        self.overrides = dict(discretization or {})
        self.every = every
        self.record: dict[str, Any] = {}
        self._measured = -1
        self._theorem1: Theorem1 | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        if not self.record:
            self.record = self._numbers(pl_module)
        plain = self.record.get("plain")
        try:
            if plain is not None:
                reference = reference_of(pl_module.pde).values
                self._theorem1 = Theorem1(pl_module.pde, reference, plain["condition"])
        except ValueError as error:
            self.record["theorem1_undefined"] = str(error)
        if self._measured < 0:  # not where a run goes on
            self._follow(pl_module)
        self._write(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, Method)
        if pl_module.due(self.every, self._measured):
            self._follow(pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, Method)
        self._write(pl_module)

    def _numbers(self, method: Method) -> dict[str, Any]:
        kind = method.pde.Discretization
        if kind is None:
            raise BadInput(f"callbacks.conditioning: pde={method.pde.name} has no discrete form")
        given = {} if method.discretization is None else method.discretization.model_dump()
        key = "callbacks.conditioning.discretization"
        try:
            settings = kind.model_validate(given | self.overrides)
            problem = method.pde.discretize(settings)
        except ValidationError as error:
            found = error.errors(include_url=False)
            raise BadInput(
                *[f"{key}.{'.'.join(map(str, e['loc']))}={e['input']}: {e['msg']}" for e in found]
            ) from error
        except ValueError as error:
            raise BadInput(f"{key}: {error}") from error
        record: dict[str, Any] = {
            "pde": method.pde.name,
            "pde_parameters": method.pde.parameters(),
            "discretization": settings.model_dump(),
            "grid": list(problem.shape),
        }
        try:
            numbers = ConditionNumbers(problem, problem.solve())
        except (PreconditionerError, UnsolvedError) as error:
            return record | {"reason": str(error)}
        record["plain"] = asdict(numbers.plain())
        kinds = list(FACTORS) if problem.shape[0] > 1 else list(FACTORS)[:1]
        tried = [numbers.preconditioned(factor, drop) for factor in kinds for drop in self.drop_tolerances]
        record["preconditioned"] = [asdict(one) for one in tried]
        record["theorem1"] = {"iteration": [], "left": [], "right": []}
        return record

    def _follow(self, method: Method) -> None:
        if self._theorem1 is None or method.iteration == self._measured:
            return
        self._measured = method.iteration
        sides = self._theorem1.sides(method.residuals, method.batches())
        series = self.record["theorem1"]
        for name, value in (("iteration", method.iteration), ("left", sides.left), ("right", sides.right)):
            series[name].append(value)
        for logger in method.loggers:
            logger.log_metrics({"theorem1_left": sides.left, "theorem1_right": sides.right}, step=method.iteration)

    def _write(self, method: Method) -> None:
        path = self.folder / "conditioning.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(self.record, indent=1) + "\n")
        os.replace(part, path)
        if "plain" in self.record:
            write_figure(self.folder / "conditioning.png", draw(self.record))

    def state_dict(self) -> dict[str, Any]:
        return {"record": self.record, "measured": self._measured}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.record, self._measured = state_dict["record"], state_dict["measured"]


def draw(record: Mapping[str, Any]) -> Figure:
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
