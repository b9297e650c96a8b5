"""What a run records of itself: the content of result.json, and the last lines on the terminal."""

from __future__ import annotations

import math
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pinntk import __version__
from pinntk.common.cores import processor
from pinntk.common.fingerprint import fingerprint
from pinntk.methods import Method
from pinntk.pdes import PDE, PartialReference
from pinntk.pdes.references import Reference
from pinntk.residual.exact import sizes_of
from pinntk.residual.form import ResidualForm
from pinntk.residual.uncertainty import standard_errors
from pinntk.runs.alarms import alarms
from pinntk.runs.alarms import lines as alarm_lines
from pinntk.runs.published import METHODS, TABLE_2
from pinntk.runs.settings import RunSettings

FORMS = {
    "direct": "direct: P^-1 R(u) differentiated at every step",
    "applied": "applied: P^-1 applied once per target",
    "solved": "solved: fitted to the discrete solution",
}
"""Of the preconditioned loss, in words."""
PACKAGES = ("torch", "pytorch_lightning", "numpy", "scipy")


def describe(
    settings: RunSettings, method: Method, reference: Reference | None, *, status: str, reason: str | None
) -> dict[str, Any]:
    """The content of result.json, except for what was measured while training.

    Args:
        settings: of the run.
        method: as training left it.
        reference: what the error was measured against; None: none is known.
        status: completed, failed or interrupted.
        reason: why it failed.
    """
    losses = method.losses()
    total = losses.pop("loss")
    return {
        "status": status,
        "reason": reason,
        "pde": settings.pde.name,
        "pde_parameters": settings.pde.parameters(),
        "method": settings.method_class.name,
        "width": settings.network.width,
        "depth": settings.network.depth,
        "budget": settings.budget.name,
        "seed": settings.seed,
        "settings_hash": settings.settings_hash(),
        "normalization": settings.method.normalization,
        "l2re": None,
        "l2re_at_lowest_loss": None,
        "loss": total,
        "terms": losses,
        "fresh_loss": None,
        "alarms": alarms(method) if status == "completed" else {},
        "reference_known": reference is not None,
        "reference_accuracy": None if reference is None else reference.accuracy,
        "steps": method.iteration,
        "function_evaluations": method.function_evaluations,
        "parameters": method.parameters_count,
        "seconds": method.seconds,
        "seconds_per_phase": dict(method.seconds_per_phase),
        "device": torch.cuda.get_device_name() if settings.accelerator == "gpu" else "cpu",
        "processor": processor(),
        "precision": settings.precision,
        "threads": settings.cores,
        **({"devices": settings.trainer.devices} if settings.trainer.devices > 1 else {}),
        "compiled": method.objective.way in ("fused_compiled", "compiled"),
        "step": method.objective.way,
        **({"step_reason": method.objective.reason} if method.objective.reason else {}),
        "versions": versions(),
        "git": git_revision(),
        "fingerprint": fingerprint(*settings.code),
        "method_figures": figures(method, reference) if status == "completed" else {},
        **(
            {"estimates": estimates(method, completed=status == "completed")}
            if method.network.coefficients.unknown
            else {}
        ),
        **({"exact_terms": exact_terms(method)} if method.network.ansatz is not None else {}),
    }


def exact_terms(method: Method) -> dict[str, float]:
    """Largest residual of the terms that the network satisfies exactly, at points drawn for this alone."""
    trained = method.residuals.names
    terms = [term for term in method.pde.terms() if term.name not in trained]
    sizes = sizes_of(method.pde, method.network, terms, method.seed, draw=1)
    return {name: size for name, (size, _) in sizes.items()}


def estimates(method: Method, *, completed: bool) -> dict[str, dict[str, Any]]:
    """The unknown coefficients by name: value and standard error, null with a reason where there is none."""
    values = method.network.coefficients.estimates()
    found: dict[str, dict[str, Any]] = {n: {"value": value, "standard_error": None} for n, value in values.items()}
    residuals = method.residuals
    measured = [term.name for term in residuals.terms if residuals.region_of[term.where].whole]
    try:
        if not completed:
            raise ValueError("the training has not come to its end")
        if not isinstance(method.objective, ResidualForm):
            raise ValueError("not a loss of residuals")
        for name, error in standard_errors(method.objective, measured).items():
            if math.isfinite(error):
                found[name]["standard_error"] = error
            else:
                found[name]["reason"] = "the residuals do not determine it"
    except (RuntimeError, ValueError) as error:
        for one in found.values():
            one["reason"] = str(error).strip().split("\n")[0]
    return found


def figures(method: Method, reference: Reference | None) -> dict[str, Any]:
    """The method's own figures. One that cannot be had is no reason to lose a trained network."""
    try:
        if reference is None:
            shape = (len(method.pde.evaluation_points()), len(method.pde.fields))
            reference = PartialReference(np.full(shape if shape[1] > 1 else shape[:1], np.nan))
        return method.figures(reference)
    except (RuntimeError, ValueError) as error:
        return {"error": str(error)}


def versions() -> dict[str, str]:
    """Versions of what the result depends on."""
    found = {"python": platform.python_version(), "pinntk": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def git_revision() -> str | None:
    """The commit of the checkout that this package runs from, ``-dirty`` with changed files; None outside of one."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():  # an environment that happens to lie inside some other repository
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def last_lines(result: dict[str, Any], pde: PDE, folder: Path) -> str:
    """What a finished run says last: error, published errors, time, files."""
    unknown = "not measured" if result.get("reference_known", True) else "not known (the problem has no reference)"
    lines = [f"L2RE        {_error(result['l2re'], unknown)}"]
    if by_field := result.get("l2re_by_field"):
        each = ", ".join(f"{name} {_error(error, 'not known')}" for name, error in by_field.items())
        lines.append(f"{'':<12}{each}")
    for name, found in result.get("estimates", {}).items():
        deviation, why = found["standard_error"], found.get("reason", "no standard error")
        spread = f"({why})" if deviation is None else f"± {deviation:.2g} (standard error)"
        lines.append(f"{name:<12}{found['value']:.6g} {spread}")
    lines += _published(pde)
    found = result["method_figures"]
    if "discrete_l2re" in found:
        floor = _error(found["discrete_l2re"], "not known")
        lines.append(f"discrete    {floor} (error of the discrete solution itself)")
    if "form" in found:
        lines.append(f"form        {FORMS[found['form']]}, {found['applications']:.4g} applications of P^-1")
        lines += [f"warning     {warning}" for warning in found["warnings"]]
    lines += alarm_lines(result)
    lines += [f"time        {result['seconds']:.1f} s of training", f"files       {folder}"]
    return "\n".join(lines)


def _error(value: float | None, unknown: str) -> str:
    """An error as text; NaN and None are not known."""
    return unknown if value is None or math.isnan(value) else f"{value:.3e}"


def _published(pde: PDE) -> list[str]:
    """The published errors of the problem, no line where there are none; those for other coefficients say so."""
    lines = []
    for row in (row for row in TABLE_2 if row.pde == pde.name):
        figures = ", ".join(f"{METHODS[name]} {value:.2e}" for name, value in row.l2re.items())
        values = ", ".join(f"{name}={value:g}" for name, value in row.parameters.items())
        lines.append(figures if row.fits(pde.name, pde.parameters()) else f"for {values}: {figures}")
        if row.note:
            lines.append(f"({row.note})")
    return [f"{'' if k else 'published':<12}{line}" for k, line in enumerate(lines)]
