"""What ``gpu.py`` does in one cell: a short training on a device, or the time of a step there."""

from __future__ import annotations

import math
import re
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.methods.adam import AdamMethod
from pinntk.residual.points import PointSettings
from pinntk.runs.folder import RunFolder
from pinntk.runs.settings import RunSettings
from pinntk.runs.stopping import StopOnSignal
from pinntk.runs.trainer import fit, make_trainer, quiet_lightning

if TYPE_CHECKING:
    from benchmarks.nested import Nested
    from benchmarks.step import AGREEMENT, MANY, PDES, Case
else:
    from nested import Nested  # beside this script
    from step import AGREEMENT, MANY, PDES, Case

PERTURBATION = 1e-15
"""Relative change of the starting parameters, a few units in the last place, that shows what rounding comes to."""
FACTOR, FLOOR = 1e3, 1e-12
"""Allowed between devices: so many times what the perturbation came to, for rounding is another in every operation and
not at the start alone; and never less than the floor."""
DECIDED = 0.1
"""An allowed difference from which on rounding decides the path: then losses have to agree to a factor of `WITHIN`."""
WITHIN = 10.0


def trained(words: list[str], device: str, perturbed: int = 0) -> dict[str, Any]:
    """Train as the command line does, without a run folder's files.

    Args:
        words: of the command line.
        device: "cpu" or "cuda".
        perturbed: seed of the signs with which the starting parameters are perturbed; 0: not at all.

    Returns:
        ``loss`` at the end, with the fixed weights; ``parameters`` (P,) as a list; ``seconds`` of the training.
    """
    quiet_lightning()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    accelerator = "gpu" if device == "cuda" else "cpu"
    with tempfile.TemporaryDirectory() as folder:
        fixed = [f"runs_dir={folder}", f"trainer.accelerator={accelerator}", "threads=1", "logger=none"]
        settings = RunSettings.read(compose([*words, *fixed]))
        pl.seed_everything(settings.seed, verbose=False)
        method = settings.build()
        method.way = "fused_compiled" if settings.compile is True else "plain"
        if perturbed:
            generator = torch.Generator().manual_seed(perturbed)
            theta = method.network.vector()
            signs = (torch.randint(2, theta.shape, generator=generator) * 2 - 1).to(theta)
            method.network.assign(theta * (1 + PERTURBATION * signs))
        started = time.perf_counter()
        fit(make_trainer(settings, RunFolder(Path(folder)), [], []), method, StopOnSignal(), None)
        synchronise(device)
        seconds = time.perf_counter() - started
        where = str(next(method.network.parameters()).device.type)
        if where != device:
            raise RuntimeError(f"the network is on {where} after training on {device}")
        found = method.network.vector().cpu().tolist()
        return {"loss": method.losses()["loss"], "parameters": found, "seconds": seconds, "steps": method.iteration}


def differences(one: dict[str, Any], other: dict[str, Any]) -> tuple[float, float]:
    """Of the losses and of the parameters of two trainings, relative to the first.

    Example::

        >>> differences({"loss": 2.0, "parameters": [3.0, 4.0]}, {"loss": 3.0, "parameters": [3.0, 4.5]})
        (0.5, 0.1)
    """
    a, b = (torch.tensor(x["parameters"], dtype=torch.float64) for x in (one, other))
    loss = abs(one["loss"] - other["loss"]) / abs(one["loss"]) if one["loss"] else math.nan
    return loss, float((a - b).norm() / a.norm())


def compared(cpu: list[dict[str, Any]], found: dict[str, Any]) -> dict[str, Any]:
    """A training on the device against those on a processor.

    Args:
        cpu: unperturbed, then perturbed ones.
        found: on the device.
    """
    spread = [max(pair) for pair in zip(*(differences(cpu[0], other) for other in cpu[1:]), strict=True)]
    allowed = [max(FLOOR, FACTOR * value) for value in spread]
    difference = differences(cpu[0], found)
    decided = max(allowed) >= DECIDED
    if decided:
        ratio = found["loss"] / cpu[0]["loss"]
        agrees = 1 / WITHIN <= ratio <= WITHIN
    else:
        agrees = all(d <= a for d, a in zip(difference, allowed, strict=True))
    return {
        "status": "agrees" if agrees else "differs",
        "decided_by_rounding": decided,
        "loss_cpu": cpu[0]["loss"],
        "loss": found["loss"],
        "loss_difference": difference[0],
        "loss_allowed": allowed[0],
        "parameters_difference": difference[1],
        "parameters_allowed": allowed[1],
        "seconds_cpu": cpu[0]["seconds"],
        "seconds": found["seconds"],
        "steps": found["steps"],
    }


class DeviceCase(Case):
    """The points on a device."""

    device = "cpu"

    def tensor(self, region: str) -> Tensor:
        return super().tensor(region).to(self.device)


class Ours:
    """``AdamMethod`` on a device, the Trainer apart."""

    def __init__(self, case: DeviceCase, compile: bool) -> None:
        settings = AdamMethod.Settings.model_validate({"steps": MANY})
        self.method = AdamMethod(
            case.pde, case.shape, case.settings, settings, precision=case.precision, compile=compile
        )
        self.method.to(case.device)
        self.method.on_train_start()

    def first(self) -> dict[str, float]:
        self.run(1)
        return {name: value for name, value in self.method.latest.items() if name != "loss"}

    def run(self, steps: int) -> None:
        self.method.advance(self.method.iteration + steps)


def stepped(
    kind: str, pde: str, width: int, points: int, precision: str, device: str, seconds: float
) -> dict[str, Any]:
    """Seconds of a step, three times, and the peak of memory.

    Args:
        kind: "eager" or "compiled", which are ours, or "nested".
        pde: the problem's name.
        width: of three layers.
        points: in the interior.
        precision: "64-true" or "32-true".
        device: "cpu" or "cuda".
        seconds: of each of the three measurements.
    """
    torch.compiler.reset()
    boundary = 101 if "periodic" in PDES[pde]().regions() else 202
    case = DeviceCase(PDES[pde](), width, PointSettings(interior=points, boundary=boundary), precision)
    case.device = device
    begin_peak(device)
    contestant: Any
    if kind == "nested":
        contestant = Nested(case)
        contestant.network.to(device)
    else:
        contestant = Ours(case, compile=kind == "compiled")
    started = time.perf_counter()
    losses = contestant.first()
    synchronise(device)
    first = time.perf_counter() - started
    count, times = 1, []
    for _ in range(4):  # the first one warms up, and says how many steps fit into a measurement
        synchronise(device)
        started = time.perf_counter()
        contestant.run(count)
        synchronise(device)
        times.append((time.perf_counter() - started) / count)
        count = max(1, min(10_000, round(seconds / times[-1])))
    return {
        "seconds_per_step": statistics.median(times[1:]),
        "measured": times[1:],
        "first_step_seconds": first,
        "peak_bytes": peak(device),
        "losses": losses,
    }


def alike(one: dict[str, float], other: dict[str, float], precision: str) -> bool:
    """Whether two contestants have the same losses at the start."""
    allowed = AGREEMENT[precision]
    return one.keys() == other.keys() and all(abs(one[k] - other[k]) <= allowed * abs(one[k]) for k in one)


def synchronise(device: str) -> None:
    """Wait until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def begin_peak(device: str) -> None:
    """Let the peak of memory begin anew."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    elif (peaks := Path("/proc/self/clear_refs")).exists():
        peaks.write_text("5")


def peak(device: str) -> int:
    """Of the tensors on the device; on a processor of the process's resident memory; bytes."""
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+)", status.read_text()) if status.exists() else None
    return 1024 * int(found[1]) if found else 0
