"""What an iteration of self-scaled Broyden costs in gradient evaluations, by the number of parameters.

The network of three hidden layers is widened, the points are those of the budget. Two optimisers go on in turn from one
state: the one of the package, and one that multiplies with a dense matrix twice per iteration and updates all of it
every time. ``evaluations`` are those of the line search, per iteration; ``iteration`` is the time of one over that of
one evaluation; ``per evaluation`` the same over the time of its evaluations; ``beyond`` what it takes besides them, in
evaluations. Medians of the rounds. ``--processor`` counts the seconds of the processor instead of the clock's, for one
thread on a machine with other work. Other words are settings, as for train.py.

    python benchmarks/broyden.py burgers [--widths 15 21 30 43] [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from pinntk.launch.cli import compose
from pinntk.methods.ssbroyden import SSBroydenMethod
from pinntk.optim.ssbroyden import SSBroyden, SSBroydenSettings
from pinntk.optim.updated import Update, UpdatedMatrix
from pinntk.runs.settings import RunSettings

Clock = Callable[[], float]
WARM = 40
"""Iterations before the first round."""


class Dense(UpdatedMatrix):
    """Every update goes into the matrix at once."""

    def __matmul__(self, v: Tensor) -> Tensor:
        return self.base @ v

    def add(self, update: Update) -> None:
        self.base.addmm_(update.left.T, update.right, beta=1 / update.divisor)


class Densely(SSBroyden):
    """Knows no product from one iteration to the next."""

    def step(self) -> Tensor:
        if self.inverse is not None and not isinstance(self.inverse, Dense):
            self.inverse = Dense(self.inverse.dense())
        self._product = None
        return super().step()


class Timed:
    """An objective's gradient, timed."""

    def __init__(self, gradient: Callable[[], tuple[Tensor, Tensor]], clock: Clock) -> None:
        self.function, self.clock, self.calls, self.seconds = gradient, clock, 0, 0.0

    def __call__(self) -> tuple[Tensor, Tensor]:
        begun = self.clock()
        found = self.function()
        self.seconds += self.clock() - begun
        self.calls += 1
        return found


def _words(pde: str, width: int, words: list[str]) -> list[str]:
    return [f"pde={pde}", "method=ssbroyden", f"network.width={width}", "network.depth=3", *words]


def measure(pde: str, width: int, rounds: int, iterations: int, clock: Clock, words: list[str]) -> None:
    """One number of parameters: two lines."""
    method = RunSettings.read(compose(_words(pde, width, words))).build()
    assert isinstance(method, SSBroydenMethod)
    method.start(None)
    method.renew()
    objective = method.objective
    timed = Timed(objective.gradient, clock)
    objective.gradient = timed  # type: ignore[method-assign]
    warm = SSBroyden(objective, SSBroydenSettings())
    for _ in range(WARM):
        warm.step()
    theta, state = objective.parameters(), warm.state_dict()
    makers = {"dense": Densely, "ours": SSBroyden}
    optimizers = {}
    for name, make in makers.items():
        optimizers[name] = make(objective, SSBroydenSettings())
        optimizers[name].load_state_dict(copy.deepcopy(state))
    places = dict.fromkeys(makers, theta)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in makers}
    for _ in range(rounds):
        for name, optimizer in optimizers.items():
            objective.assign(places[name])
            timed.calls, timed.seconds = 0, 0.0
            begun = clock()
            for _ in range(iterations):
                optimizer.step()
            spent = clock() - begun
            places[name] = objective.parameters()
            one = timed.seconds / timed.calls
            beyond = (spent - timed.seconds) / iterations
            found[name].append(
                (1e3 * one, timed.calls / iterations, spent / iterations / one, spent / timed.seconds, beyond / one)
            )
    for name, values in found.items():
        one, calls, whole, per, beyond = (statistics.median(column) for column in zip(*values, strict=True))
        worst = max(row[3] for row in values)
        print(
            f"{pde:10s} {len(theta):5d} parameters  {name:5s}  gradient {one:7.2f} ms  evaluations {calls:.2f}  "
            f"iteration {whole:.2f}  per evaluation {per:.3f} (at most {worst:.3f})  beyond {beyond:.3f}",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pde")
    parser.add_argument("--widths", type=int, nargs="+", default=[15, 21, 30, 43])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=32, help="of each optimiser per round")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor", action="store_true")
    given, words = parser.parse_known_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.processor else time.perf_counter
    for width in given.widths:
        measure(given.pde, width, given.rounds, given.iterations, clock, words)


if __name__ == "__main__":
    main()
