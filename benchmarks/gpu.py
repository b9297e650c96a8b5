"""Check and time everything on one GPU, within a budget of seconds; ``gpu.sh`` says what it needs.

    lease       two sweeps at the same time through ``hydra/launcher=gpus``: their trainings must not overlap
    agreement   every method on every problem (``budget=smoke``, double precision, not compiled) on the device against
                a processor, whose runs go on beside; what is allowed is derived from runs with perturbed starts
    whole       some whole runs of the command line's, compiled, with callbacks and files
    steps       seconds and memory of a training step, ours and nested autograd's

Every cell that fails is recorded as such, with its reason; one that would go beyond the budget is skipped, and the
record says so. Into ``results/gpu``: ``<device>.json``, written after every cell, and ``<device>.md``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pinntk import __version__
from pinntk.common.cores import available_cores, processor
from pinntk.common.errors import BadInput
from pinntk.common.files import write_json
from pinntk.launch.cli import compose, configuration_folder
from pinntk.runs.run import run

if TYPE_CHECKING:
    from benchmarks import gpu_cells, gpu_table
else:
    import gpu_cells
    import gpu_table

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("lease", "agreement", "whole", "steps")
PROBLEMS = ("poisson1d", "convection", "wave", "reaction", "burgers", "heat2d")
SHARES = {"lease": 0.2, "agreement": 0.5, "whole": 0.3, "steps": 1.0}
"""Of the seconds that are left, at most."""
NEEDED = {"evolve": ["network=hard"]}
"""Words without which a method is refused everywhere."""
SLOW = ("evolve", "gauss_newton")
PATIENCE = 40.0
"""Seconds that a cell waits for the processor's runs."""
STEP_SECONDS = 0.3
SEEDS = (0, 1, 2)
"""Of the perturbed starts; 0 is the start itself."""
LEASED = """
import sys
from pathlib import Path
from pinntk.launch import launchers
from pinntk.launch.devices import Device
lock = Path(sys.argv[1])  # now: Hydra changes the words
launchers.visible_devices = lambda: [Device("0", lock)]
from pinntk.launch.cli import main
sys.exit(main(sys.argv[2:]))
"""
"""Where a processor stands for the GPU."""


def methods() -> list[str]:
    """Those that need no further word; slow ones last."""
    found = [path.stem for path in (configuration_folder() / "method").glob("*.yaml") if path.stem != "plan"]
    return sorted(found, key=lambda name: (name in SLOW, name))


class Record:
    """What has been found, on disk after every cell.

    Args:
        path: of the JSON file.
        about: where it was found.
        seconds: that all may take.
    """

    def __init__(self, path: Path, about: dict[str, Any], seconds: float) -> None:
        self.path, self.seconds, self.begun = path, seconds, time.monotonic()
        self.content: dict[str, Any] = {"about": about, "parts": {}, "skipped": []}
        self._end = self.begun + seconds

    def begin(self, part: str) -> None:
        """From here on cells are of this part, which gets its share of what is left."""
        self.part = part
        self.content["parts"][part] = {}
        left = self.begun + self.seconds - time.monotonic()
        self._end = time.monotonic() + SHARES[part] * left

    @property
    def left(self) -> float:
        """Seconds of the part."""
        return self._end - time.monotonic()

    def cell(self, name: str, work: Callable[[], dict[str, Any]], expected: float = 0.0) -> dict[str, Any] | None:
        """Do a cell, unless it is expected to take more seconds than are left; None where it was not done or failed."""
        if self.left < expected or self.left <= 0:
            self.content["skipped"].append(f"{self.part}: {name}: {max(0.0, self.left):.0f} s were left")
            return self._save(None)
        started = time.monotonic()
        found: dict[str, Any] | None = None
        try:
            found = work()
            told = {"status": "done", **found}
        except BadInput as error:
            told = {"status": "refused", "reason": str(error).splitlines()[0][:300]}
        except Exception as error:  # whatever it is, the other cells have nothing to do with it
            told = {"status": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        told["cell_seconds"] = time.monotonic() - started
        self.content["parts"][self.part][name] = told
        print(f"{self.part}: {name}: {told['status']} {told.get('reason', '')}", flush=True)
        return self._save(found)

    def _save(self, found: dict[str, Any] | None) -> dict[str, Any] | None:
        self.content["seconds"] = time.monotonic() - self.begun
        write_json(self.path, self.content)
        return found


def lease(record: Record, options: argparse.Namespace) -> None:
    """Two sweeps of one job each, started together."""
    record.begin("lease")
    record.cell("two sweeps on one device", lambda: _two_sweeps(options, max(30.0, record.left)), expected=30.0)


def _two_sweeps(options: argparse.Namespace, timeout: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        accelerator = "gpu" if options.device == "cuda" else "cpu"
        words = ["-m", "pde=poisson1d", "method=adam", "budget=smoke", "compile=false", "logger=none", "threads=1"]
        words += [f"method.steps={options.lease_steps}", f"trainer.accelerator={accelerator}", "hydra/launcher=gpus"]
        words += ["+callbacks.watch._target_=gpu_watch.Watch", f"+callbacks.watch.folder={folder}"]
        start = [sys.executable, str(ROOT / "train.py")]
        if options.device == "cpu":
            start = [sys.executable, "-c", LEASED, f"{folder}/device.lock"]
        path = os.pathsep.join([str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")])
        both = [
            subprocess.Popen(
                [*start, *words, f"seed={seed}", f"runs_dir={folder}/{seed}"],
                env={**os.environ, "PYTHONPATH": path},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                cwd=ROOT,
            )
            for seed in (0, 1)
        ]
        try:
            said = [process.communicate(timeout=timeout)[0] for process in both]
        finally:
            for process in both:  # which tell their jobs
                process.terminate()
        if any(process.returncode for process in both):
            raise RuntimeError(f"a sweep failed: {' / '.join(text.strip().splitlines()[-1] for text in said if text)}")
        watched = [json.loads(file.read_text()) for file in Path(folder).glob("watched*.json")]
        first, second = sorted(watched, key=lambda one: float(one["start"]))
        gap = second["start"] - first["end"]
        if gap < 0:
            raise RuntimeError(f"two trainings on one device at a time, for {-gap:.2f} s")
        waited = sum("waits for a free GPU" in text for text in said)
        return {"trainings": [first, second], "seconds_between": gap, "waited": waited}


def agreement(record: Record, options: argparse.Namespace) -> None:
    """Every method on every problem, on the processor in other processes and on the device in this one."""
    record.begin("agreement")
    cells = [(pde, method) for method in options.methods for pde in options.problems]
    words = {
        (pde, method): [f"pde={pde}", f"method={method}", *NEEDED.get(method, []), *options.words]
        for pde, method in cells
    }
    pool = ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) if options.jobs else None
    beside: dict[tuple[str, str], list[Future[dict[str, Any]]]] = {}
    if pool is not None:
        beside = {c: [pool.submit(gpu_cells.trained, words[c], "cpu", seed) for seed in SEEDS] for c in cells}
    try:
        for cell in cells:

            def both(cell: tuple[str, str] = cell) -> dict[str, Any]:
                found = gpu_cells.trained(words[cell], options.device)
                if pool is None:
                    return gpu_cells.compared([gpu_cells.trained(words[cell], "cpu", seed) for seed in SEEDS], found)
                return gpu_cells.compared(
                    [f.result(timeout=max(1.0, min(PATIENCE, record.left))) for f in beside[cell]], found
                )

            record.cell(f"{cell[0]} {cell[1]}", both, expected=3.0 if options.device == "cuda" else 0.0)
    finally:
        if pool is not None:
            workers = list(pool._processes.values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in workers:  # none is to run beside what is timed next
                process.kill()


WHOLE = (
    ("compiled adam, kernel", "pde=burgers method=adam compile=true callbacks=ntk_drift"),
    ("compiled pinn_ntk, Hessian", "pde=convection method=pinn_ntk compile=true callbacks=hessian_norm"),
    ("compiled pcpinn", "pde=poisson1d method=pcpinn compile=true"),
    ("compiled ntk_ng, 32 bits", "pde=poisson1d method=ntk_ng compile=true precision=32-true"),
)


def whole(record: Record, options: argparse.Namespace) -> None:
    """Runs as the command line does them, into a folder."""
    record.begin("whole")
    accelerator = "gpu" if options.device == "cuda" else "cpu"
    for name, text in WHOLE[: options.whole]:

        def one(text: str = text) -> dict[str, Any]:
            with tempfile.TemporaryDirectory() as folder:
                words = [*text.split(), *options.words[:1], "threads=1", f"trainer.accelerator={accelerator}"]
                if (code := run(compose([*words, f"runs_dir={folder}"]))) != 0:
                    raise RuntimeError(f"exit code {code}")
                (path,) = Path(folder).glob("*/*/*/*/*/*/result.json")
                result = json.loads(path.read_text())
                files = sorted(file.name for file in path.parent.iterdir() if not file.name.startswith("."))
            return {"device": result["device"], "loss": result["loss"], "seconds": result["seconds"], "files": files}

        record.cell(name, one, expected=15.0 if options.device == "cuda" else 0.0)


def steps(record: Record, options: argparse.Namespace) -> None:
    """Step times, the small sizes first; compiled ones last, for compiling takes longer than all measurements."""
    record.begin("steps")
    starts: dict[tuple[int, int, str], dict[str, float]] = {}
    sizes = list(itertools.product(sorted(options.points), sorted(options.widths), options.precisions))
    for kind in options.kinds:
        for points, width, precision in sizes:

            def one(
                kind: str = kind, points: int = points, width: int = width, precision: str = precision
            ) -> dict[str, Any]:
                found = gpu_cells.stepped(kind, options.pde, width, points, precision, options.device, STEP_SECONDS)
                losses = found.pop("losses")
                expected = starts.setdefault((points, width, precision), losses)
                if not gpu_cells.alike(expected, losses, precision):
                    raise RuntimeError(f"other losses at the start than {options.kinds[0]}: {losses}, {expected}")
                return {**found, "kind": kind, "points": points, "width": width, "precision": precision}

            expected = {"compiled": 25.0}.get(kind, 3.0) if options.device == "cuda" else 0.0
            record.cell(f"{kind} {options.pde} 3 x {width}, {points:,} points, {precision}", one, expected=expected)


def name_of(device: str) -> str:
    """Of the device."""
    return torch.cuda.get_device_name() if device == "cuda" else processor()


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a processor in the GPU's place")
    parser.add_argument("--seconds", type=float, default=440.0, help="that all may take")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--problems", nargs="+", choices=PROBLEMS, default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", choices=methods(), default=methods())
    parser.add_argument("--words", nargs="+", default=["budget=smoke", "compile=false", "tuned=null"])
    parser.add_argument("--jobs", type=int, default=max(1, available_cores() - 2), help="processes; 0: in turn")
    parser.add_argument("--lease-steps", type=int, default=2000)
    parser.add_argument("--whole", type=int, default=len(WHOLE), help="how many of the whole runs")
    parser.add_argument("--pde", choices=PROBLEMS, default="burgers", help="whose step is timed")
    parser.add_argument("--widths", nargs="+", type=int, default=[50, 200, 500])
    parser.add_argument("--points", nargs="+", type=int, default=[10_000, 100_000])
    parser.add_argument("--precisions", nargs="+", default=["32-true", "64-true"])
    parser.add_argument("--kinds", nargs="+", default=["eager", "nested", "compiled"])
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "gpu")
    options = parser.parse_args(words)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("error: no CUDA device is available here; allowed here: --device cpu", file=sys.stderr)
        return 2
    device = name_of(options.device)
    about = {
        "device": device,
        "processor": processor(),
        "cores": available_cores(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if options.device == "cuda" else None,
        "pinntk": __version__,
        "factor": gpu_cells.FACTOR,
        "perturbation": gpu_cells.PERTURBATION,
    }
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}.json"
    record = Record(path, about, options.seconds)
    for part in (lease, agreement, whole, steps):
        if part.__name__ in options.parts:
            part(record, options)
    path.with_suffix(".md").write_text(gpu_table.table(record.content))
    print(f"{record.content['seconds']:.0f} s: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
