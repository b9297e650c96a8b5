"""What does not fit into memory is refused before anything is written; and the formulas against measured peaks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import Cli

from pinntk.common.errors import BadInput
from pinntk.common.memory import in_words, largest, machine_memory
from pinntk.launch.cli import compose
from pinntk.network import Network, NetworkSettings
from pinntk.pdes.convection import Convection
from pinntk.residual.extent import Extent
from pinntk.residual.factors import LayerFactors
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Residuals
from pinntk.runs import room
from pinntk.runs.folder import RunFolder
from pinntk.runs.settings import RunSettings
from pinntk.runs.trainer import measurements

FACTOR = 1.5
"""Within which a formula's bytes are those that were measured."""
WORDS = "budget=smoke threads=1 tuned=null logger=none".split()
GB = 10**9


def settings_of(*words: str) -> RunSettings:
    return RunSettings.read(compose([*WORDS, *words]))


def refused(cli: Cli, monkeypatch: pytest.MonkeyPatch, memory: int | None, *words: str) -> str:
    """What is said of a run that does not begin: a line for each thing that does not fit."""
    monkeypatch.setattr(room, "machine_memory", lambda: memory)
    ended = cli(*WORDS, *words)
    assert ended.code == 2, ended.err
    assert not (cli.folder / "runs").exists()
    assert all(line.startswith("error: ") for line in ended.err.splitlines())
    return ended.err.rstrip()


def test_self_scaled_broyden_names_the_width_that_fits(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "pde=wave", "method=ssbroyden", "width=500"
    line = refused(cli, monkeypatch, 24 * GB, *words)
    assert line == (
        "error: network.width=500: self-scaled Broyden keeps a matrix of 503,001^2 numbers, and copies it to save it,"
        " 4.0 TB; this machine has 24 GB; network.width of up to 136 fits"
    )
    parameters = [2 * m**2 + 6 * m + 1 for m in (136, 137)]
    assert 16 * parameters[0] ** 2 <= 24 * GB - room.PROCESS < 16 * parameters[1] ** 2


@pytest.mark.parametrize(
    ("memory", "words", "line"),
    [
        (
            2 * GB,
            "method=ntk_ng points.interior=50000 method.natural_gradient.solver=kernel",
            r"points\.interior=50000:",
        ),
        (
            2 * GB,
            "method=ntk_ng width=200 method.natural_gradient.solver=parameters",
            "or method.natural_gradient.solver=",
        ),
        (2 * GB, "method=gdnd width=3000", "network.width=3000: L-BFGS keeps 100 pairs"),
        (1 * GB, "method=gdnd_theory width=68 network.depth=2", "an exact Newton step takes four matrices of"),
        (1 * GB, "method=adam width=6000", r"8 numbers each, .*; network.width of up to \d,\d+ fits"),
        (
            2 * GB,
            "method=adam callbacks=ntk_drift callbacks.ntk_drift.interior=20000",
            r"callbacks\.ntk_drift\.interior=",
        ),
        (2 * GB, "method=adam callbacks=ntk_forecast callbacks.ntk_forecast.interior=20000", "four kernels of 20,100"),
        (1 * GB, "method=adam callbacks=hessian_norm width=2000", "30 vectors of 8,012,001 numbers"),
        (510_000_000, "method=adam callbacks=conditioning", r"discretization=\{cells: ...\}: factors of 201 levels"),
        (2 * GB, "method=pcpinn_ng method.form=direct width=40", "a Jacobian of 25,929 by 3,441 numbers"),
    ],
)
def test_what_does_not_fit_is_refused(
    memory: int, words: str, line: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = refused(cli, monkeypatch, memory, "pde=burgers", *words.split())
    assert re.search(line, said), said
    assert f"this machine has {in_words(memory)}; " in said


def test_what_fits_begins_and_a_refusal_changes_nothing(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "pde=poisson1d", "method=ssbroyden", "width=5", "method.adam.steps=2", "method.ssbroyden.steps=2"
    hashes = set()
    for memory in (10 * GB, None, 100_000):
        monkeypatch.setattr(room, "machine_memory", lambda memory=memory: memory)
        hashes.add(settings_of(*words).settings_hash())
        ended = cli(*WORDS, *words, f"seed={0 if memory is None else memory // 10_000}")
        assert ended.code == (2 if memory == 100_000 else 0), ended.err
    assert len(hashes) == 1
    assert len(cli.run_folders()) == 2
    # A run that has ended is told, whatever there is; a callback that is new to it is looked at.
    assert cli(*WORDS, *words, "seed=0").code == 0
    assert cli(*WORDS, *words, "seed=0", "callbacks=ntk_drift").code == 2


def test_on_a_gpu_its_memory_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda k: SimpleNamespace(total_memory=3 * GB))
    monkeypatch.setattr(room, "machine_memory", lambda: 100 * GB)
    settings = settings_of("pde=burgers", "method=ssbroyden", "width=120", "trainer.accelerator=gpu")
    with pytest.raises(BadInput, match=r"this GPU has 3.0 GB; network.width of up to 7. fits"):
        room.check(settings, {})


@pytest.mark.parametrize(("interior", "boundary"), [(40, 7), (11, 2)])
def test_an_extent_is_that_of_the_jacobian(interior: int, boundary: int) -> None:
    """Rows, parameters and the elements of the factors, counted in the factors themselves."""
    pde, shape = Convection(), NetworkSettings(width=6, depth=3)
    points = PointSettings(interior=interior, initial=5, boundary=boundary)
    network = Network.of(pde, shape)
    residuals = Residuals(pde, network)
    drawn = sample(points, pde.coordinates, pde.lower, pde.upper, pde.regions(), seed=0)
    jacobian = FactoredJacobian.of(residuals, residuals.prepare({k: torch.from_numpy(x) for k, x in drawn.items()}))
    extent = Extent.trained(pde, shape, points)
    assert (extent.rows, extent.parameters) == jacobian.shape
    first = [blocks[0] for blocks in jacobian.factors.values()]
    assert extent.by_term == sum(block.cotangents.numel() for block in first if isinstance(block, LayerFactors))
    assert extent.elements == extent.by_term  # a term in each region
    assert extent.streams == max(len(streams) for streams in residuals.streams_of.values())
    assert extent.dense == jacobian.dense().nbytes


def test_the_memory_of_a_control_group_counts(tmp_path: Path) -> None:
    whole = machine_memory(tmp_path)
    assert whole is None or whole > 2**28
    (tmp_path / "proc/self").mkdir(parents=True)
    for number, name, folder in (
        (0, "memory.max", "sys/fs/cgroup"),
        (4, "memory.limit_in_bytes", "sys/fs/cgroup/memory"),
    ):
        (tmp_path / "proc/self/cgroup").write_text(f"{number}:{'memory' if number else ''}:/job/step\n")
        inner = tmp_path / folder / "job/step"
        inner.mkdir(parents=True)
        (inner / name).write_text("max\n" if number == 0 else "9223372036854771712\n")
        assert machine_memory(tmp_path) == whole
        (inner.parent / name).write_text("300000\n")  # of the group around it
        assert machine_memory(tmp_path) == 300_000
        (inner / name).write_text("200000\n")
        assert machine_memory(tmp_path) == 200_000


def test_the_largest_that_fits() -> None:
    assert [largest(most.__ge__, 10) for most in (-1, 0, 1, 7, 9, 99)] == [0, 0, 1, 7, 9, 9]


CHILD = """
import re, sys
from pathlib import Path
from pinntk.launch.cli import compose
from pinntk.runs.run import run
from pinntk.runs.settings import RunSettings
from pinntk.runs.trainer import measurements

def status(key):
    return 1024 * int(re.search(key + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

def begun(*arguments, **more):
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    begun.before = status("VmRSS")

from pinntk.methods import Method
make = Method.__init__
Method.__init__ = lambda self, *arguments, **more: (make(self, *arguments, **more), begun())[0]
assert run(compose(sys.argv[1:])) == 0
print("peak", status("VmHWM") - begun.before)
"""

NG = "method=ntk_ng budget.steps.ntk_ng={adam:2,natural_gradient:2} method.natural_gradient.solver"
NNCG = "method=plan method.phases=[{nncg:{steps:1,rank:8,max_cg:3"
MEASURED = {
    "parameters": f"{NG}=parameters width=40 points.interior=8000 points.initial=10 points.boundary=10",
    "nncg_hessian": f"{NNCG},curvature:hessian}}}}] width=60 points.interior=20000",
}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux, which tells a process's peak")
@pytest.mark.parametrize("name", MEASURED)
def test_the_formulas_are_what_is_measured(name: str, tmp_path: Path) -> None:
    pde = [] if "pde=" in MEASURED[name] else ["pde=burgers"]
    words = [*WORDS, *pde, "compile=false", f"runs_dir={tmp_path}", *MEASURED[name].split()]
    settings = RunSettings.read(compose(words))
    needs = list(room.needs_of(settings).values())
    callbacks = measurements(settings, RunFolder(settings.folder())).values()
    needs += [n for c in callbacks if (n := c.need(settings.pde, settings.network, settings.discretization))]
    expected = max(need.bytes for need in needs)
    assert expected > 2e8  # or it is not this that is measured
    command = [sys.executable, "-c", CHILD, *words]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}  # what has been freed is given back
    ended = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False, env=environment)
    assert ended.returncode == 0, ended.stderr
    peak = float(ended.stdout.split("peak")[-1])
    assert 1 / FACTOR <= peak / expected <= FACTOR, f"{name}: {peak / 1e9:.2f} GB, formula {expected / 1e9:.2f} GB"
