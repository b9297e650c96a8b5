"""Seconds per training step of ``adam``, against other ways of training the same network on the same problem.

A step is forward pass, loss, backward pass and Adam's update, on the same points, from the same parameters, with the
same loss. The contestants:

    ours     ``AdamMethod``, by fused kernels, through ``start`` and ``advance``, as a run uses it
    nested   plain PyTorch as people write it by hand: derivatives by nested ``torch.autograd.grad``
    deepxde  DeepXDE with its PyTorch backend
    pina     PINA
    jax      JAX, the step under jit, in nested or Taylor mode, whichever is the faster
    pinn_ntk our ``PINNNTK``, which also computes the kernel's traces: not a contestant
    matmul   nothing but the matrix products of the streams formulation: a floor, not a contestant

Each makes its first step before anything is timed, and the losses that it then reports must agree term by term: that
shows that all compute the same. Then come rounds in which every contestant runs a chunk of steps in turn, who goes
first changing from round to round; ratios are taken round by round, so that what else the machine does hits both.

    pip install ".[benchmarks]"
    python benchmarks/step.py [--pdes burgers heat2d] [--widths 50 200] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pinntk.common.arrays import Array
from pinntk.common.cores import processor
from pinntk.methods.adam import AdamMethod
from pinntk.methods.base import Method
from pinntk.methods.pinn_ntk import PINNNTK
from pinntk.network import DTYPES, Network, NetworkSettings
from pinntk.pdes.base import PDE
from pinntk.pdes.burgers import Burgers
from pinntk.pdes.convection import Convection
from pinntk.pdes.heat2d import Heat2D
from pinntk.pdes.poisson1d import Poisson1D
from pinntk.pdes.reaction import Reaction
from pinntk.pdes.wave import Wave
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Residuals

if TYPE_CHECKING:
    from benchmarks import jax_way, nested, peers
else:
    import jax_way  # beside this script
    import nested
    import peers

PDES: dict[str, type[PDE]] = {p.name: p for p in (Convection, Wave, Reaction, Burgers, Heat2D, Poisson1D)}
DEPTH, MANY = 3, 1_000_000_000
AGREEMENT = {"32-true": 1e-4, "64-true": 1e-9}
"""Relative difference allowed between the losses of two contestants before the first step."""


class Contestant(Protocol):
    """One way of training."""

    def first(self) -> dict[str, float]:
        """Make the first step and return the loss of every term before it; none where nothing is computed."""

    def run(self, steps: int) -> float:
        """Make that many steps and return the seconds that they took."""


class Case:
    """What all contestants have in common: the problem, its points (N, d) by region, and the network at the start."""

    learning_rate = 1e-3  # the default of our methods

    def __init__(self, pde: PDE, width: int, points: PointSettings, precision: str) -> None:
        self.pde, self.width, self.settings, self.precision = pde, width, points, precision
        self.shape = NetworkSettings(width=width, depth=DEPTH, normalize=False)
        self.dtype = DTYPES[precision]
        self.points: dict[str, Array] = sample(points, pde.coordinates, pde.lower, pde.upper, pde.regions(), seed=0)
        self.sizes = [len(pde.coordinates), *[width] * DEPTH, 1]
        self.network = Network(self.shape, pde.coordinates, pde.lower, pde.upper, seed=0, dtype=self.dtype)
        """Read its parameters, do not train it."""

    def tensor(self, region: str) -> Tensor:
        """The points of a region in the run's precision."""
        return torch.from_numpy(self.points[region]).to(self.dtype)

    def load(self, layers: list[nn.Linear]) -> None:
        """Give another network's linear layers the initial parameters."""
        with torch.no_grad():
            for mine, other in zip(self.network.layers, layers, strict=True):
                assert isinstance(mine, nn.Linear)
                other.weight.copy_(mine.weight)
                other.bias.copy_(mine.bias)


class Ours:
    """``AdamMethod`` as a run uses it, the Trainer apart."""

    kind: type[Method] = AdamMethod

    def __init__(self, case: Case) -> None:
        torch.compiler.reset()  # as before every run: a process keeps eight compiled versions of a function
        self.method = self.kind(
            case.pde,
            case.shape,
            case.settings,
            self.kind.Settings.model_validate({"steps": MANY}),
            precision=case.precision,
            compile=True,
        )
        self.method.objective.place("fused_compiled")  # what Lightning's hook does in a run
        self.method.start(None)

    def first(self) -> dict[str, float]:
        self.run(1)
        return {name: value for name, value in self.method.latest.items() if name != "loss"}

    def run(self, steps: int) -> float:
        started = time.perf_counter()
        self.method.advance(self.method.iteration + steps)
        return time.perf_counter() - started


class Weighted(Ours):
    """``PINNNTK``: the same points, with the kernel's traces in every step."""

    kind = PINNNTK


class Product(NamedTuple):
    """One linear layer on the rows of one region: what goes in and out, forward and backward."""

    rows: Tensor
    weight: Tensor
    out: Tensor
    weight_gradient: Tensor
    rows_gradient: Tensor | None


class Matmul:
    """The products that no formulation with streams can do without, written into memory that is there already.

    Between hidden layers every stream is multiplied by the weights, and backward once more by their transpose and once
    to give their gradient. Into the first layer goes the value alone, whose derivatives are constants, and nothing
    comes back through it. The last layer has a single row and counts as nothing.
    """

    def __init__(self, case: Case) -> None:
        residuals = Residuals(case.pde, case.network)
        self.products: list[Product] = []
        for region, streams in residuals.streams_of.items():
            n = len(case.points[region])
            for i, layer in enumerate(list(case.network.layers)[:-1]):
                assert isinstance(layer, nn.Linear)
                rows = torch.rand(n * (len(streams) if i else 1), layer.in_features, dtype=case.dtype)
                out = torch.rand(len(rows), layer.out_features, dtype=case.dtype)
                weight = layer.weight.detach().clone()
                back = torch.empty_like(rows) if i else None
                self.products.append(Product(rows, weight, out, torch.empty_like(weight), back))

    def first(self) -> dict[str, float]:
        self.run(1)
        return {}

    def run(self, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            for p in self.products:
                torch.mm(p.rows, p.weight.t(), out=p.out)
            for p in reversed(self.products):
                torch.mm(p.out.t(), p.rows, out=p.weight_gradient)
                if p.rows_gradient is not None:
                    torch.mm(p.out, p.weight, out=p.rows_gradient)
        return time.perf_counter() - started


CONTESTANTS: dict[str, Callable[[Case], Contestant]] = {
    "ours": Ours,
    "pinn_ntk": Weighted,
    "nested": nested.Nested,
    "deepxde": peers.DeepXDE,
    "pina": peers.Pina,
    "jax": jax_way.Jax,
    "matmul": Matmul,
}


def check(name: str, losses: dict[str, float], expected: dict[str, float], allowed: float) -> None:
    """Stop where a contestant computes something else than ours does."""
    if losses and losses.keys() != expected.keys():
        raise SystemExit(f"{name} has the terms {', '.join(losses)}; ours are {', '.join(expected)}")
    for term, value in losses.items():
        if abs(value - expected[term]) > allowed * abs(expected[term]):
            raise SystemExit(f"{name}: the loss of {term!r} starts at {value:.8g}; ours at {expected[term]:.8g}")


def measure(case: Case, names: list[str], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds per step of each contestant, one number per round."""
    contestants: dict[str, Contestant] = {}
    expected: dict[str, float] = {}
    for name in names:
        contestants[name] = CONTESTANTS[name](case)
        losses = contestants[name].first()
        expected = expected or losses
        check(name, losses, expected, AGREEMENT[case.precision])
    chunk: dict[str, int] = {}
    for name, contestant in contestants.items():
        contestant.run(3)
        chunk[name] = max(3, round(seconds / (contestant.run(3) / 3)))
    times: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        order = names[i % len(names) :] + names[: i % len(names)]
        for name in order:
            times[name].append(contestants[name].run(chunk[name]) / chunk[name])
    return times


def spread(values: list[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def row(times: dict[str, list[float]]) -> list[str]:
    """The cells of one problem and width: ours in milliseconds, then a ratio per contestant."""
    ours = times["ours"]
    cells = [spread([1e3 * t for t in ours])]
    for name, theirs in times.items():
        if name != "ours":
            pairs = zip(theirs, ours, strict=True)
            cells.append(spread([o / t if name == "matmul" else t / o for t, o in pairs]))
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--pdes", nargs="+", choices=list(PDES), default=list(PDES))
    parser.add_argument("--widths", nargs="+", type=int, default=[50, 200])
    parser.add_argument("--points", type=int, default=10_000, help="interior points")
    parser.add_argument("--contestants", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each contestant's chunk of steps in a round")
    parser.add_argument("--precision", choices=list(DTYPES), default="32-true")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="file for all times of all rounds")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")

    names = ["ours", *[name for name in CONTESTANTS if name in options.contestants and name != "ours"]]
    for name, module in peers.MODULES.items():
        if name in names and importlib.util.find_spec(module) is None:
            names.remove(name)
            print(f"{name} is left out: pip install {peers.PACKAGES[name]}\n")
    versions = {p: version(p) for p in ["torch", *(p for name, p in peers.PACKAGES.items() if name in names)]}
    used = ", ".join(f"{package} {number}" for package, number in versions.items())
    print(f"{processor()}, threads: {options.threads}, precision: {options.precision}, {used}\n")
    heads = [f"{name} / ours" if name != "matmul" else "ours / matmul" for name in names[1:]]
    print("| " + " | ".join(["problem", "width", "ours, ms", *heads]) + " |")
    print("|" + "---|" * (3 + len(heads)), flush=True)
    results: list[dict[str, Any]] = []
    for pde in options.pdes:
        for width in options.widths:
            points = PointSettings(
                interior=options.points, boundary=101 if "periodic" in PDES[pde]().regions() else 202
            )
            times = measure(Case(PDES[pde](), width, points, options.precision), names, options.rounds, options.seconds)
            print("| " + " | ".join([pde, str(width), *row(times)]) + " |", flush=True)
            results.append({"pde": pde, "width": width, "seconds_per_step": times})
    if options.json is not None:
        settings = {k: v for k, v in vars(options).items() if k != "json"}
        about = {"settings": settings, "processor": processor(), "versions": versions}
        options.json.write_text(json.dumps({**about, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
