"""Seconds and memory of the expensive parts, against the number of points and of parameters, with fitted exponents.

    step     one training step of ``adam``, by the fused kernel where one can be built: loss, gradient, update
    kernel   ``J J^T`` from the factored Jacobian
    newton   one Gauss-Newton step: the Jacobian's rows, ``J^T J`` and its Cholesky factors
    broyden  one step of self-scaled Broyden on a quadratic: its matrix alone, for which points do not count

On burgers, three hidden layers, double precision. Along one axis the other stays: `POINTS`, `WIDTH`.
Every cell is a process of its own, so that its peak is its own; memory is that peak less what the process had before.
The shortest of as many repetitions as fit into a few seconds counts, on one thread in seconds of the processor. A cell
that the cells before it foretell to take more than ``--seconds`` or ``--memory`` is not run, and what it would need is
said instead.

    python benchmarks/growth.py                       # what is missing in results/growth/growth.json; table and picture
    python benchmarks/growth.py --stop-after 170      # no new cell after so many seconds; the same command goes on
    python benchmarks/growth.py --again --only kernel
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from pinntk.common.cores import processor
from pinntk.common.files import write_atomically, write_json
from pinntk.common.memory import in_words
from pinntk.methods.adam import AdamMethod
from pinntk.network import NetworkSettings
from pinntk.network.network import count_parameters
from pinntk.optim.natural_gradient import ParameterSolver
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings
from pinntk.pdes.burgers import Burgers
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings

FOLDER = Path(__file__).parents[1] / "results" / "growth"
SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
POINTS, WIDTH, DEPTH = 1_000, 30, 3
"""Of the axis that stays: points in the interior, and neurons in a layer."""
QUANTITIES = ("step", "kernel", "newton", "broyden")
AXES = ("points", "parameters")
ENOUGH, MOST = 2.0, 50
"""Seconds and repetitions after which a cell has been measured."""
START = 30.0
"""Seconds that a cell's process may take beside its measurement."""


class Cell(NamedTuple):
    """One measurement."""

    quantity: str
    axis: str
    size: int

    @property
    def key(self) -> str:
        return f"{self.quantity}/{self.axis}/{self.size}"


class Quadratic:
    """``1/2 sum d_i x_i^2``, an objective whose every evaluation takes next to nothing.

    Args:
        size: number of parameters.
    """

    def __init__(self, size: int) -> None:
        self.diagonal = torch.linspace(1.0, 100.0, size, dtype=torch.float64)
        self.theta = torch.ones(size, dtype=torch.float64)

    def parameters(self) -> Tensor:
        return self.theta

    def assign(self, theta: Tensor) -> None:
        self.theta = theta

    def gradient(self) -> tuple[Tensor, Tensor]:
        gradient = self.diagonal * self.theta
        return (self.theta @ gradient / 2).repeat(2), gradient

    def loss(self) -> Tensor:
        return self.gradient()[0][0]

    def residuals(self) -> Tensor:
        raise NotImplementedError("self-scaled Broyden does not ask for it")

    def jacobian(self) -> Any:
        raise NotImplementedError("self-scaled Broyden does not ask for it")

    def curvature(self, kind: str) -> Any:
        raise NotImplementedError("self-scaled Broyden does not ask for it")


def width_of(parameters: int) -> int:
    """The width with the number of parameters that is nearest."""
    pde = Burgers()
    return min(
        range(1, 2 + math.isqrt(parameters)),
        key=lambda m: abs(count_parameters(NetworkSettings(width=m, depth=DEPTH), pde) - parameters),
    )


def work_of(cell: Cell) -> tuple[Callable[[], object], int, int]:
    """What is measured; the number of its residuals (or of none), and of its parameters."""
    if cell.quantity == "broyden":
        parameters = cell.size if cell.axis == "parameters" else 1
        optimizer = SSBroyden(Quadratic(parameters), SSBroydenSettings())
        return optimizer.step, 0, parameters
    points, width = (cell.size, WIDTH) if cell.axis == "points" else (POINTS, width_of(cell.size))
    counts = PointSettings(interior=points, initial=points // 10, boundary=points // 10)
    shape = NetworkSettings(width=width, depth=DEPTH)
    method = AdamMethod(Burgers(), shape, counts, AdamMethod.Settings(steps=10**9, log_every=1), compile=False)
    method.objective.place("fused")
    method.start(None)
    batches, rows = method.batches(), points + 2 * (points // 10)

    def step() -> None:
        method.advance(method.iteration + 1)

    def kernel() -> None:
        FactoredJacobian.of(method.residuals, batches).gram()

    def newton() -> None:
        _, r, jacobian = method.objective.jacobian()
        assert ParameterSolver(r, jacobian).direction(1e-2) is not None

    return {"step": step, "kernel": kernel, "newton": newton}[cell.quantity], rows, method.parameters_count


def measure(cell: Cell, threads: int) -> dict[str, Any]:
    """One cell, in this process."""
    torch.set_num_threads(threads)
    work, rows, parameters = work_of(cell)
    if cell.quantity == "broyden":
        work()  # after which there is a matrix
    before = resident("VmRSS")
    forget_peak()
    # One thread's own seconds, whatever else the machine does; of several the clock's.
    clock = time.process_time if threads == 1 else time.perf_counter
    times: list[float] = []
    while len(times) < MOST and sum(times) < ENOUGH:
        started = clock()
        work()
        times.append(clock() - started)
    peak = resident("VmHWM")
    kept = 8 * parameters**2 if cell.quantity == "broyden" else 0  # was there before
    return {
        "rows": rows,
        "parameters": parameters,
        "seconds": min(times),
        "repetitions": len(times),
        "bytes": max(0, peak - before) + kept,
        "peak_bytes": peak,
    }


def resident(key: str) -> int:
    """``VmRSS`` or ``VmHWM`` of this process, bytes."""
    found = re.search(key + r":\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


def forget_peak() -> None:
    """Let ``VmHWM`` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


class Fit(NamedTuple):
    """``y = factor x^exponent``, least squares in logarithms, on the upper half of the measured sizes."""

    exponent: float
    factor: float
    spread: float
    """Root mean square of the residuals, as a factor: 1.05 is 5 %."""
    cells: int

    @classmethod
    def of(cls, x: Sequence[float], y: Sequence[float]) -> Fit | None:
        """None of fewer than two sizes, or where something is 0.

        Example::

            >>> Fit.of([1.0, 10.0, 100.0, 1000.0], [9.0, 8.0, 200.0, 20000.0])
            Fit(exponent=2.0, factor=0.02, spread=1.0, cells=2)
        """
        half = max(2, math.ceil(len(x) / 2))
        if len(x) < 2 or min(y[-half:]) <= 0:
            return None
        a, b = np.log(x[-half:]), np.log(y[-half:])
        exponent, constant = np.polyfit(a, b, 1)
        left = float(np.sqrt(np.mean(np.square(b - exponent * a - constant))))
        return cls(round(float(exponent), 6), round(math.exp(constant), 18), round(math.exp(left), 6), half)

    def at(self, x: float) -> float:
        """y there."""
        return float(self.factor * x**self.exponent)


def curve(cells: dict[str, Any], quantity: str, axis: str) -> tuple[list[float], list[dict[str, Any]]]:
    """The measured cells of a quantity along an axis: sizes, and what was found."""
    found = [
        (int(key.split("/")[2]), cell)
        for key, cell in cells.items()
        if key.startswith(f"{quantity}/{axis}/") and cell["status"] == "measured"
    ]
    found.sort(key=lambda pair: pair[0])
    x = [cell["rows"] if axis == "points" else cell["parameters"] for _, cell in found]
    return x, [cell for _, cell in found]


def fits(cells: dict[str, Any], quantity: str, axis: str) -> dict[str, Fit | None]:
    """Of seconds and bytes."""
    x, found = curve(cells, quantity, axis)
    return {name: Fit.of(x, [cell[name] for cell in found]) for name in ("seconds", "bytes")}


def foretold(cells: dict[str, Any], cell: Cell) -> dict[str, float] | None:
    """Seconds and bytes of a cell by those before it; None where they are fewer than two."""
    x, _ = curve(cells, cell.quantity, cell.axis)
    found = fits(cells, cell.quantity, cell.axis)
    size = cell.size * (1.2 if cell.axis == "points" else 1.0)
    if len(x) < 2 or found["seconds"] is None:
        return None
    memory = found["bytes"]
    return {"seconds": found["seconds"].at(size), "bytes": memory.at(size) if memory else 0.0}


def in_child(cell: Cell, options: argparse.Namespace) -> dict[str, Any]:
    """One cell in a process of its own, with its limits."""
    command = [sys.executable, __file__, "--cell", *map(str, cell), "--threads", str(options.threads)]

    def limit() -> None:
        import resource

        most = int(options.memory * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))

    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=START + 3 * options.seconds,
            check=False,
            preexec_fn=limit,
            env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
        )
    except subprocess.TimeoutExpired:
        return {"status": "failed", "reason": f"took more than {START + 3 * options.seconds:.0f} s"}
    if ended.returncode:
        lines = ended.stderr.strip().splitlines()
        return {"status": "failed", "reason": lines[-1][:200] if lines else f"exit code {ended.returncode}"}
    return {"status": "measured", **json.loads(ended.stdout.splitlines()[-1])}


def fill(cells: dict[str, Any], options: argparse.Namespace, save: Callable[[], None]) -> bool:
    """Measure what is missing, small sizes first; whether all is there."""
    started = time.monotonic()
    for quantity in options.only:
        for axis in AXES:
            if quantity == "broyden" and axis == "points":
                continue
            for size in sorted(options.sizes):
                cell = Cell(quantity, axis, size)
                if cells.get(cell.key, {}).get("status") == "measured":
                    continue
                if time.monotonic() - started > options.stop_after:
                    return False
                expected = foretold(cells, cell)
                if expected and (expected["seconds"] > options.seconds or expected["bytes"] > options.memory * 2**30):
                    needs = f"{in_words(expected['bytes'])} / {expected['seconds']:,.0f} s"
                    cells[cell.key] = {"status": "not run", "reason": f"needs {needs}", **expected}
                else:
                    cells[cell.key] = in_child(cell, options)
                print(f"{cell.key}: {told(cells[cell.key])}", flush=True)
                save()
    return True


def told(cell: dict[str, Any]) -> str:
    """A cell in words."""
    if cell["status"] != "measured":
        return f"{cell['status']}: {cell['reason']}"
    return f"{cell['seconds']:.3g} s, {in_words(cell['bytes'])}"


def table(record: dict[str, Any]) -> str:
    """The cells and their exponents in Markdown."""
    cells, about = record["cells"], record["about"]
    lines = [
        "# Growth with points and parameters",
        "",
        "    python benchmarks/growth.py",
        "",
        f"{about['processor']}, {about['threads']} thread(s), torch {about['torch']}.",
        f"Burgers, {DEPTH} hidden layers, double precision; against points with width {WIDTH}, against",
        f"parameters with {POINTS:,} interior points (and a tenth as many initial, and on the boundary). Memory: the",
        "peak of a cell's own process less what it had before.",
        "",
        "| | | exponent of seconds (spread) | exponent of memory (spread) |",
        "|---|---|---|---|",
    ]
    for quantity in QUANTITIES:
        for axis in AXES:
            found = fits(cells, quantity, axis)
            if any(found.values()):
                told_fits = [f"{fit.exponent:.2f} (×{fit.spread:.2f})" if fit else "–" for fit in found.values()]
                lines.append(f"| {quantity} | {axis} | {' | '.join(told_fits)} |")
    for axis in AXES:
        sizes = sorted({int(key.split("/")[2]) for key in cells if f"/{axis}/" in key})
        lines += ["", f"| {axis} | {' | '.join(QUANTITIES)} |", "|---|" + "---|" * len(QUANTITIES)]
        for size in sizes:
            row = [cells.get(Cell(quantity, axis, size).key) for quantity in QUANTITIES]
            lines.append(f"| {size:,} | " + " | ".join("" if cell is None else told(cell) for cell in row) + " |")
    lines += ["", "![Seconds and memory against points and parameters](growth.png)", ""]
    return "\n".join(lines)


def picture(cells: dict[str, Any]) -> Figure:
    """Seconds and memory against both axes; lines are the fits, dotted where nothing was run."""
    figure = Figure(figsize=(11, 8), layout="constrained")
    panels = figure.subplots(2, 2, sharex="col")
    for k, axis in enumerate(AXES):
        for panel, name, unit in zip(panels[:, k], ("seconds", "bytes"), (1.0, 1e9), strict=True):
            for n, quantity in enumerate(QUANTITIES):
                x, found = curve(cells, quantity, axis)
                if not found:
                    continue
                fit = fits(cells, quantity, axis)[name]
                label = quantity if fit is None else f"{quantity}, exponent {fit.exponent:.2f}"
                panel.plot(
                    x,
                    [max(cell[name], 1e3 * (name == "bytes")) / unit for cell in found],
                    "o",
                    color=f"C{n}",
                    label=label,
                )
                if fit is not None:
                    for ends, style in (([x[-fit.cells], x[-1]], "-"), ([x[-1], 1e6], ":")):
                        panel.plot(ends, [fit.at(end) / unit for end in ends], style, color=f"C{n}")
            panel.set(xscale="log", yscale="log", ylabel="seconds" if name == "seconds" else "memory, GB")
            if panel.lines:
                panel.legend(frameon=False, fontsize=8)
        panels[1, k].set_xlabel({"points": "residuals N", "parameters": "parameters P"}[axis])
    return figure


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES))
    parser.add_argument("--only", nargs="+", choices=QUANTITIES, default=list(QUANTITIES))
    parser.add_argument("--seconds", type=float, default=60.0, help="limit of one repetition of a cell")
    parser.add_argument("--memory", type=float, default=16.0, help="limit of a cell, GiB")
    parser.add_argument("--stop-after", type=float, default=math.inf, help="seconds after which no new cell begins")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="measure what has been measured, too")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--cell", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    if options.cell:
        quantity, axis, size = options.cell
        print(json.dumps(measure(Cell(quantity, axis, int(size)), options.threads)))
        return 0
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / "growth.json"
    record = json.loads(path.read_text()) if path.exists() else {"cells": {}}
    about = {"processor": processor(), "threads": options.threads, "torch": torch.__version__}
    if record["cells"] and record.get("about") != about and not options.again:
        raise SystemExit(f"{path}: measured with {record.get('about')}; here are {about}; --again measures all anew")
    kept = {} if options.again else record["cells"]
    if options.again:
        kept = {key: cell for key, cell in record["cells"].items() if key.split("/")[0] not in options.only}
    record = {"about": about, "limits": {"seconds": options.seconds, "GiB": options.memory}, "cells": kept}

    def save() -> None:
        write_json(path, record)

    whole = fill(record["cells"], options, save)
    save()
    (options.folder / "growth.md").write_text(table(record))
    write_atomically(
        options.folder / "growth.png", lambda unfinished: picture(record["cells"]).savefig(unfinished, dpi=110)
    )
    if not whole:
        print("stopped; the same command goes on")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
