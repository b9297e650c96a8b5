"""What a NysNewton-CG step costs in L-BFGS steps, and which of the two lowers the loss faster.

From one and the same state (after the Adam and L-BFGS phases of ``gdnd`` with its tuned settings, at ``--start``
iterations of L-BFGS) both go on for the same time, L-BFGS with its history. Times are of one process; the ratio of the
times per step does not depend on the machine's speed. ``--processor`` counts the seconds of the processor instead of
the clock's, for one thread on a machine with other work. Other words are settings, as for train.py.

    python benchmarks/second_order.py convection [--start 1000] [--seconds 60] [--threads 1] [method.nncg.rank=60]
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Iterator

import torch

from pinntk.launch.cli import compose
from pinntk.methods.gdnd import GDND
from pinntk.methods.phases.first_order import AdamPhase
from pinntk.methods.phases.lbfgs import LBFGSPhase
from pinntk.methods.phases.nncg import NNCGPhase
from pinntk.methods.plan import Phase
from pinntk.runs.settings import RunSettings


def steps(phase: Phase, seconds: float, clock: Callable[[], float]) -> Iterator[tuple[float, float]]:
    """Run a phase for some time: (seconds so far, the loss before the step)."""
    n, spent, reported = 0, 0.0, 0.0
    while spent < seconds and phase.reason is None:
        begun = clock()
        loss = float(phase.step(n)[0])
        spent += clock() - begun
        n += 1
        yield spent, loss
        if spent - reported > seconds / 8:
            reported = spent
            log = ", ".join(f"{k} {v:.3g}" for k, v in phase.log().items())
            print(f"  {phase.name} {n:6d} steps {spent:7.1f} s  loss {loss:.4e}  {log}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pde")
    parser.add_argument("--start", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processor", action="store_true")
    given, words = parser.parse_known_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.processor else time.perf_counter
    settings = RunSettings.read(compose([f"pde={given.pde}", "method=gdnd", *words]))
    method = settings.build()
    assert isinstance(method, GDND)
    method.start(None)
    adam, lbfgs, nncg = method.phases
    assert isinstance(adam, AdamPhase)
    assert isinstance(lbfgs, LBFGSPhase)
    assert isinstance(nncg, NNCGPhase)
    adam_steps = method.settings.adam.steps
    method.renew()
    if adam_steps:
        adam.start(None)
    for n in range(adam_steps):
        method.renew()
        adam.step(n)
        method.iteration += 1
    lbfgs.start(None)
    for n in range(given.start):
        if lbfgs.reason is not None:
            print(f"L-BFGS ended after {n} iterations: {lbfgs.reason}")
            break
        lbfgs.step(n)
    theta, state = method.network.vector(), copy.deepcopy(lbfgs.state())
    print(f"{given.pde}: {len(theta)} parameters, start after {adam_steps} Adam and {given.start} L-BFGS steps")
    means, ends = [], []
    for phase in (lbfgs, nncg):
        method.network.assign(theta)
        phase.reason = None
        phase.start(state if phase is lbfgs else None)
        curve = list(steps(phase, given.seconds, clock))
        means.append(curve[-1][0] / len(curve))
        ends.append(method.losses()["loss"])
        print(
            f"{phase.name}: {len(curve)} steps, {means[-1]:.4f} s each, loss {curve[0][1]:.3e} -> {ends[-1]:.3e}, "
            f"{math.log10(curve[0][1] / ends[-1]) / curve[-1][0] * 60:.2f} decades a minute"
            + (f"; ended: {phase.reason}" if phase.reason else "")
        )
    products = nncg.optimizer.hessian_products / max(nncg.optimizer.steps, 1)
    print(f"a NysNewton-CG step costs {means[1] / means[0]:.1f} L-BFGS steps ({products:.1f} products)")


if __name__ == "__main__":
    main()
