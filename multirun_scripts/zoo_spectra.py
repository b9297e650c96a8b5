"""What may predict which method does well on a problem: kernel, Hessian and discrete form, one JSON file per problem.

    python multirun_scripts/zoo_spectra.py --out results/zoo/spectra            # of short runs of adam, made first
    python multirun_scripts/zoo_spectra.py --out spectra --runs runs/zoo        # of what adam has trained there
    python multirun_scripts/zoo_pictures.py results/zoo/spectra --png spectra.png

On fixed points, for the network at initialisation (``start``) and after training (``end``): the eigenvalues of the
kernel K and of its blocks K_uu (conditions) and K_rr (equation); how far K has gone, ``|K(end) - K(start)| /
|K(start)|``; the remainder's share of the Hessian, ``|H - J^T J| / |H|``, of the equation's loss L_r and of the whole
loss L. Where the problem has a discrete form, on a coarser grid, condition numbers of A and of P^-1 A. In float64.
``along``: drift and shares at each tenth of a short run, which is trained with the callbacks that measure them.

``predictors`` are the scalars of it that `zoo_lessons.py` compares with errors; null where there is none.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pinntk import load
from pinntk.callbacks import HessianNorm, NTKDrift
from pinntk.common.cores import processor
from pinntk.common.errors import BadInput
from pinntk.common.files import write_json
from pinntk.discrete.conditioning import ConditionNumbers
from pinntk.discrete.discretization import UnsolvedError
from pinntk.discrete.preconditioner import PreconditionerError
from pinntk.launch.cli import main as command_line
from pinntk.methods import Method
from pinntk.pdes import PDE
from pinntk.report.reading import Run, distinct, find_runs
from pinntk.report.table import title_of
from pinntk.residual.hessian import Split
from pinntk.residual.spectra import Spectrum, spectral_norm

SHORT = Path("runs/zoo_spectra")
PROBLEMS = (
    *("allen_cahn kdv kuramoto_sivashinsky schroedinger gray_scott kovasznay taylor_green cavity helmholtz2d").split(),
    *("poisson2d_multiscale", "poisson_nd", "poisson_nd pde.dim=10", "poisson_nd pde.dim=10 pde.kind=products"),
    *("heat_inverse", "burgers pde.nu=1e-3", "convection pde.beta=100"),
)
"""Those of `zoo.sh`, as words after ``pde=``."""
COARSE: dict[str, dict[str, Any]] = {
    "allen_cahn": {"cells": 96, "time_steps": 50},
    "kdv": {"cells": 64, "time_steps": 50},
    "burgers": {"cells": 64, "time_steps": 50},
    "convection": {"cells": 32, "time_steps": 200},
    "helmholtz2d": {"cells": 32, "space": "order4"},
    "poisson2d_multiscale": {"cells": 102, "space": "order4"},
}
"""Grids for condition numbers; exact factors of every level are kept."""
MOMENTS = 10
"""At which a short run is measured, besides its start."""
DROP = 1e-2
"""Tolerance of the incomplete factors."""
BLOCKS = ("K", "K_uu", "K_rr")
DIGITS = 6


def rounded(value: float) -> float | None:
    """To `DIGITS` digits; None where it is not finite."""
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def of_kernels(start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, float]]:
    """Eigenvalues by moment and block, the largest first; and the kernels' predictors."""
    spectra = {
        when: {name: Spectrum.of(one[name]) for name in BLOCKS} for when, one in (("start", start), ("end", end))
    }
    values = {
        when: {name: [rounded(x) for x in s.values.tolist()] for name, s in named.items()}
        for when, named in spectra.items()
    }
    found: dict[str, float] = {}
    for name, spectrum in spectra["start"].items():
        found[f"norm {name}"] = spectrum.largest
        found[f"effective rank {name}"] = spectrum.effective_rank
        if len(spectrum.values):
            # Of a quarter of the directions: the smallest ones are rounding.
            found[f"decay {name}"] = float(spectrum.values[0] / spectrum.values[len(spectrum.values) // 4])
            found[f"drift {name}"] = spectral_norm(end[name] - start[name]) / spectrum.largest
    found["norm K_rr over K_uu"] = found["norm K_rr"] / found["norm K_uu"]
    return values, found


def of_hessians(method: Method, points: int, when: str) -> dict[str, float]:
    """The remainder's share of the Hessian of either loss."""
    losses = HessianNorm(".", interior=points, conditions=points).losses(method)
    return {f"remainder {name} {when}": Split.of(loss.curvature, 1e-3).ratio for name, loss in losses.items()}


def of_grid(pde: PDE) -> dict[str, Any]:
    """Condition numbers of the discrete form on a coarse grid; with ``reason`` where there are none."""
    if pde.Discretization is None:
        return {"reason": "no discrete form"}
    settings = pde.Discretization.model_validate(COARSE.get(pde.name, {}))
    record: dict[str, Any] = {"discretization": settings.model_dump(), "drop_tolerance": DROP}
    try:
        problem = pde.discretize(settings)
        numbers = ConditionNumbers(problem, problem.solve())
        plain, with_p = numbers.plain(), numbers.preconditioned("levels", DROP)
    except (PreconditionerError, UnsolvedError) as error:
        return record | {"reason": str(error)}
    found = {"condition A": plain.condition, "kappa A": plain.kappa}
    found |= {"condition P^-1 A": with_p.condition, "kappa P^-1 A": with_p.kappa}
    return record | {"unknowns": plain.unknowns, "numbers": found, "reason": with_p.reason}


def along(folder: Path) -> dict[str, Any] | None:
    """What the callbacks of a run have measured on its way: by kernel the drift, by loss the remainder's share; None
    where they did not."""
    files = folder / NTKDrift.file, folder / HessianNorm.file
    if not all(file.is_file() for file in files):
        return None
    kernels, hessians = (np.load(file) for file in files)
    drift = dict(zip(BLOCKS, kernels["drift"].T.tolist(), strict=True))
    shares = dict(zip(hessians["loss"].tolist(), hessians["ratio"].T.tolist(), strict=True))
    return {
        "iteration": kernels["iteration"].tolist(),
        "drift": {name: [rounded(value) for value in values] for name, values in drift.items()},
        "hessian_iteration": hessians["iteration"].tolist(),
        "remainder": {name: [rounded(value) for value in values] for name, values in shares.items()},
    }


def measure(run: Run, points: int) -> dict[str, Any]:
    """The record of a run's problem, from its network at initialisation and as it was trained."""
    begin = time.perf_counter()
    method = load(run.folder).method
    method.double()
    drift = NTKDrift(".", interior=points, conditions=points)
    end, hessians = drift.kernel(method), of_hessians(method, points, "end")
    method.network.assign(method.initial_network().vector())
    start = drift.kernel(method)
    hessians |= of_hessians(method, points, "start")
    values, kernels = of_kernels(start, end)
    grid = of_grid(method.pde)
    predictors = {**kernels, **hessians, **grid.get("numbers", {})}
    return {
        "problem": title_of(run),
        "pde": run.pde,
        "pde_parameters": dict(run.parameters),
        "method": run.method,
        "steps": run.steps,
        "settings_hash": run.settings_hash,
        "seed": run.seed,
        "l2re": run.l2re,
        "width": run.width,
        "depth": run.depth,
        "points": points,
        "predictors": {name: None if value is None else rounded(value) for name, value in predictors.items()},
        "discrete": grid,
        "along": along(run.folder),
        "eigenvalues": values,
        "processor": processor(),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def train(words: str, steps: int, points: int, folder: Path) -> int:
    """A short run of adam without settings of its own; none where it is there already. 1 where it did not complete."""
    own = [f"method.steps={steps}", "tuned=null", "threads=1", "logger=none", f"evaluate_every={steps}"]
    own += ["callbacks=[ntk_drift,hessian_norm]", "callbacks.hessian_norm.dense_limit=0"]
    own += ["callbacks.hessian_norm.tolerance=1e-3", f"method.log_every={max(1, steps // MOMENTS)}"]
    for name in ("ntk_drift", "hessian_norm"):
        sizes = {"every": max(1, steps // MOMENTS), "interior": points, "conditions": points}
        own += [f"callbacks.{name}.{key}={value}" for key, value in sizes.items()]
    code = command_line([*f"pde={words}".split(), "method=adam", *own, f"runs_dir={folder}"])
    if code:
        print(f"pde={words}: training ended with exit code {code}", file=sys.stderr)
    return int(code > 0)


def chosen(folder: Path) -> Iterator[Run]:
    """One completed run of adam per problem, the first."""
    seen: set[str] = set()
    for run in distinct(find_runs(folder)[0]):
        if run.method == "adam" and run.status == "completed" and title_of(run) not in seen:
            seen.add(title_of(run))
            yield run


def write(folder: Path, out: Path, points: int, seen: set[str]) -> int:
    """A file for each problem in a folder of runs that has not been ``seen``; 1 where one could not be measured."""
    code = 0
    try:
        runs = [run for run in chosen(folder) if title_of(run) not in seen]
    except BadInput as error:
        sys.exit(str(error))
    for run in runs:
        seen.add(title_of(run))
        try:
            record = measure(run, points)
        except (ValueError, RuntimeError) as error:
            code = 1
            print(f"{title_of(run)}: {error}", file=sys.stderr)
            continue
        out.mkdir(parents=True, exist_ok=True)
        plain = (f"{name}{value}" for name, value in run.parameters.items() if not isinstance(value, Mapping))
        write_json(out / f"{'_'.join([run.pde, *plain])}.json", record)
        print(f"{record['problem']}: {record['seconds']} s", flush=True)
    return code


def main() -> int:
    """Write the files; the exit code is 1 where a problem has none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--runs", type=Path, help="trained runs of adam, instead of short ones made here")
    parser.add_argument("--steps", type=int, default=500, help="of the short ones (default: 500)")
    parser.add_argument("--points", type=int, default=150, help="of the equation, and of the conditions (default: 150)")
    parser.add_argument("--problems", nargs="*", default=list(PROBLEMS), help="of the short runs, words after pde=")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.runs is not None:
        return write(options.runs, options.out, options.points, set())
    folder, seen, code = SHORT / f"steps{options.steps}", set[str](), 0
    for words in options.problems:
        code |= train(words, options.steps, options.points, folder) or write(folder, options.out, options.points, seen)
    return code


if __name__ == "__main__":
    sys.exit(main())
