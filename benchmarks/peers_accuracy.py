"""What DeepXDE reaches on the rows of the strong form, with its own second-order optimisers, in equal processor time.

Problem, number of points, width, depth and activation are those of ``method=ssbroyden`` (``conf/tuned``), float64, one
thread; the error is that of our evaluation. DeepXDE's are the network (``FNN``, Glorot normal, of the coordinates as
they are; of heat2d's scaled to [-1, 1], for t goes to 100), derivatives and loop. ``soft`` conditions are terms of the
loss, all weights 1; ``hard`` ones an output transform, u = lift + factor N, with the problem's lift and factor.

    lbfgs   1,000 steps of Adam, then L-BFGS, on new interior points after 1,000 iterations, 1,300 more, and so on
    nncg    the same for half of the time, then NNCG with the options of DeepXDE's example, on the last points

Both share their first half: where both are asked for it is run once. Only training counts, by the time of the process.

    OMP_NUM_THREADS=1 python benchmarks/peers_accuracy.py --problems convection --optimisers lbfgs nncg
    python benchmarks/peers_accuracy.py --table
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from pinntk.common.arrays import Array, l2re
from pinntk.common.cores import processor
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.residual.points import PointSettings, sample

if TYPE_CHECKING:
    from benchmarks import peers
    from benchmarks.step import PDES
else:
    import peers  # beside this script
    from step import PDES

ROOT = Path(__file__).parents[1]
ROWS: dict[str, PDE] = {
    **{name: PDES[name]() for name in ("convection", "reaction", "burgers")},
    **{f"wave_a{a}": PDES["wave"].model_validate({"a": a}) for a in (4, 5)},
    **{name: PDES[name]() for name in ("poisson1d", "heat2d")},
}
SECONDS = {name: 170.0 if name == "poisson1d" else 600.0 for name in ROWS}
OPTIMISERS = ("lbfgs", "nncg")
CONDITIONS = {"soft": "", "hard": "_hard"}  # how the folders of their runs end
ADAM = {"iterations": 1000, "lr": 1e-3}
LBFGS = {"maxcor": 100, "ftol": 0, "gtol": 0, "maxls": 50}
NNCG = {"rank": 50, "mu": 1e-1}  # as in DeepXDE's example of Burgers' equation; the rest are its defaults
ATTEMPTS = 5  # at NNCG, which ends with an error where the Cholesky factor of its preconditioner does not exist
CHUNK = 50  # iterations of L-BFGS between looks at the clock; torch's optimiser goes on with its history
FIRST, GROWTH, MOMENTS = 1000, 1.3, 20


class OutOfTime(Exception):
    """The seconds are spent; the parameters are those of the last step."""


class Row:
    """A row's problem, settings and points, as `peers.DeepXDE` wants its case; network and counts are those of ours."""

    dtype = torch.float64

    def __init__(self, name: str, seed: int) -> None:
        self.pde, self.seed = ROWS[name], seed
        tuned = yaml.safe_load((ROOT / f"conf/tuned/ssbroyden/{self.pde.name}/laptop.yaml").read_text())
        budget = yaml.safe_load((ROOT / "conf/budget/laptop.yaml").read_text())
        ours = {"sampling": "sobol", "resample_every": None, "by_residual": 0.0}
        self.settings = PointSettings(**{**budget["points"], **tuned["points"], **ours})
        network = tuned["network"]
        self.sizes = [len(self.pde.coordinates), *[network["width"]] * network.get("depth", 3), 1]
        self.activation = network.get("activation", "tanh")
        self.points = self.drawn(0)

    def drawn(self, number: int) -> dict[str, Array]:
        """The points of a draw by region."""
        box = self.pde.coordinates, self.pde.lower, self.pde.upper, self.pde.regions()
        return sample(self.settings, *box, seed=self.seed, draw=number)

    def tensor(self, region: str) -> Tensor:
        return torch.from_numpy(self.points[region])


class Training(peers.DeepXDE):
    """DeepXDE's model of a row, its clock, and its error at some twenty moments."""

    def __init__(self, name: str, seconds: float, seed: int, conditions: str) -> None:
        os.environ["DDE_BACKEND"] = "pytorch"  # otherwise it asks, or takes the user's file
        with peers.contained():
            self.dde: Any = importlib.import_module("deepxde")
        torch.set_default_device(None)  # one that is set slows every call down
        self.dde.config.set_default_float("float64")
        self.dde.config.set_random_seed(seed)
        self.row, self.seconds, self.seed = Row(name, seed), seconds, seed
        pde = self.row.pde
        self.gradients: Any = self.dde.grad
        self.coordinates = pde.coordinates
        (interior,) = [term for term in pde.terms() if term.equation]
        others = [term for term in pde.terms() if not term.equation] if conditions == "soft" else []

        def equation(x: Tensor, u: Tensor) -> Tensor:
            return interior.of_derivatives(self.derivatives(x, u, interior), *[f[:, None] for f in interior.fields(x)])

        geometry = self.geometry(self.dde, self.row)  # type: ignore[arg-type]
        conditioned = [self.condition(self.dde, self.row, geometry, term) for term in others]  # type: ignore[arg-type]
        kind = self.dde.data.TimePDE if "t" in self.coordinates else self.dde.data.PDE
        self.data = kind(geometry, equation, conditioned, anchors=self.row.points["interior"])
        self.network: Any = self.dde.nn.FNN(self.row.sizes, self.row.activation, "Glorot normal")
        if pde.name == "heat2d":
            low, high = torch.tensor(pde.lower), torch.tensor(pde.upper)
            self.network.apply_feature_transform(lambda x: 2 * (x - low) / (high - low) - 1)
        if conditions == "hard":
            self.network.apply_output_transform(lambda x, n: pde.lift(x)[:, None] + pde.factor(x)[:, None] * n)
        self.model = self.dde.Model(self.data, self.network)
        self.model._test = lambda verbose=0: None  # its periodic tests, which would count
        self.grid, found = pde.evaluation_points(), pde.reference()
        assert found is not None
        self.reference = found.values
        self.spent, self.since, self.end = 0.0, time.process_time(), seconds
        self.phase, self.ended, self.draws, self.step = "start", "time", 1, 0
        self.curve: list[dict[str, Any]] = []
        self.counts: dict[str, int] = {}
        self.middle: dict[str, Any] = {}
        self.watch: Any = self.dde.callbacks.Callback()
        self.watch.on_epoch_end = self.look

    def now(self) -> float:
        """Seconds of training so far."""
        return self.spent + time.process_time() - self.since

    def look(self) -> None:
        """Measure the error where it is time to, and stop where the time is spent."""
        now, step = self.now(), self.model.train_state.step
        self.counts[self.phase] = self.counts.get(self.phase, 0) + step - self.step
        self.step = step
        marks = self.seconds / MOMENTS
        if not self.curve or now // marks > self.curve[-1]["seconds"] // marks:
            self.measure()
        if not self.middle and now >= self.seconds / 2:
            self.middle = copy.deepcopy({key: getattr(self, key) for key in ("spent", "curve", "counts", "draws")})
            self.parameters = copy.deepcopy(self.network.state_dict())
        if now >= self.end:
            raise OutOfTime
        if self.phase == "L-BFGS" and self.counts["L-BFGS"] >= FIRST * sum(GROWTH**k for k in range(self.draws)):
            self.data.replace_with_anchors(self.row.drawn(self.draws)["interior"])  # those of the conditions stay
            self.draws += 1

    def measure(self) -> None:
        """Error and loss, outside of the clock."""
        self.spent, self.since = self.now(), time.process_time()
        with torch.no_grad():
            values = self.network(torch.from_numpy(self.grid)).numpy()[:, 0]
        state = self.model.train_state
        losses = self.model._outputs_losses(True, state.X_train, state.y_train, state.train_aux_vars)[1]
        error, loss = l2re(values, self.reference), float(losses.sum())
        self.curve.append({"seconds": round(self.spent, 2), "l2re": error, "loss": loss, "phase": self.phase})
        print(f"  {self.phase:5s} {self.spent:7.1f} s  L2RE {error:.3e}  loss {loss:.3e}", flush=True)
        if not math.isfinite(loss + error):
            self.ended, self.end = "diverged", 0.0
        self.since = time.process_time()

    def train(self, **words: Any) -> None:
        """DeepXDE's loop with the clock; its own output and tests are off."""
        self.step = self.model.train_state.step
        self.model.train(callbacks=[self.watch], display_every=10**9, verbose=0, **words)

    def adam(self) -> None:
        """Steps of Adam."""
        self.phase = "Adam"
        self.model.compile("adam", lr=ADAM["lr"], verbose=0)
        self.train(iterations=ADAM["iterations"])

    def lbfgs(self) -> None:
        """L-BFGS, whose history is kept over a draw, as by DeepXDE's ``PDEPointResampler``."""
        self.phase, idle = "L-BFGS", 0
        self.dde.optimizers.set_LBFGS_options(maxiter=10**9, **LBFGS)
        self.dde.optimizers.config.LBFGS_options.update({"iter_per_step": CHUNK, "fun_per_step": 2 * CHUNK})
        while idle < 3:  # then it has stopped by itself: three times in a row it found nothing
            before = self.model.train_state.step
            self.model.compile("L-BFGS", verbose=0)
            self.train()
            idle = idle + 1 if self.model.train_state.step - before < CHUNK else 0
        self.ended = "stopped by itself"

    def nncg(self) -> None:
        """NNCG on the points that are there; a step, which may take minutes, is broken off where the time is spent."""
        self.phase = "NNCG"
        self.dde.optimizers.set_NNCG_options(**NNCG)
        for _ in range(ATTEMPTS):
            self.model.compile("NNCG", verbose=0)
            product = self.model.opt._hvp

            def watched(*given: Any, product: Callable[..., Tensor] = product) -> Tensor:
                if self.now() >= self.end:
                    raise OutOfTime  # the parameters do not move before the line search
                return product(*given)

            self.model.opt._hvp = watched
            with contextlib.suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
                self.train(iterations=10**6)
        self.ended = "its Cholesky factorisation failed"

    def go(self, end: float, *phases: Callable[[], None]) -> None:
        """Phases until so many seconds are spent in all; the state at the end is measured."""
        self.end, self.ended, self.since = end, "time", time.process_time()
        with contextlib.suppress(OutOfTime):
            for phase in phases:
                phase()
        if self.now() > self.curve[-1]["seconds"] + 0.01:
            self.measure()

    def record(self, name: str, optimiser: str, conditions: str, folder: Path) -> None:
        """One JSON file of the run."""
        row, last = self.row, self.curve[-1]
        network = {"layers": row.sizes, "activation": row.activation, "conditions": conditions, "weights": 1}
        draws = {"first_draw": FIRST, "draw_growth": GROWTH, "history": "kept"}
        steps: dict[str, Any] = {"adam": ADAM, "lbfgs": {**LBFGS, **draws}}
        if optimiser == "nncg":
            steps["nncg"] = {**NNCG, "from_seconds": self.seconds / 2}
        points = {region: len(points) for region, points in row.points.items()}
        found = {"row": name, "coefficients": row.pde.parameters(), "optimiser": optimiser, "seed": self.seed}
        found |= {"l2re": last["l2re"], "loss": last["loss"], "seconds": last["seconds"], "ended": self.ended}
        found |= {"settings": {**network, "points": points, "seconds": self.seconds, **steps}}
        found |= {"iterations": self.counts, "draws": self.draws, "threads": 1, "processor": processor()}
        found |= {"versions": {package: version(package) for package in ("deepxde", "torch")}, "curve": self.curve}
        file = folder / name / (optimiser + CONDITIONS[conditions]) / f"seed{self.seed}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1) + "\n")


def race(name: str, optimisers: Sequence[str], seconds: float, seed: int, conditions: str, folder: Path) -> None:
    """The runs of a row; both optimisers go on from the same first half."""
    training = Training(name, seconds, seed, conditions)
    training.go(seconds if "lbfgs" in optimisers else seconds / 2, training.adam, training.lbfgs)
    if "lbfgs" in optimisers:
        training.record(name, "lbfgs", conditions, folder)
    if "nncg" in optimisers:
        for key, value in training.middle.items():
            setattr(training, key, value)
        training.network.load_state_dict(training.parameters)
        training.data.replace_with_anchors(training.row.drawn(training.draws - 1)["interior"])
        training.go(seconds, training.nncg)
        training.record(name, "nncg", conditions, folder)


def table(folder: Path) -> None:
    """Print what the files say: the error at the end, the seconds and what ended it."""
    print("| problem | conditions | DeepXDE L-BFGS | DeepXDE NNCG |\n|---|---|---|---|")
    for name, conditions in itertools.product(ROWS, CONDITIONS):
        cells = []
        for optimiser in OPTIMISERS:
            files = sorted((folder / name).glob(f"{optimiser}{CONDITIONS[conditions]}/*.json"))
            runs = [json.loads(file.read_text()) for file in files]
            cells.append(", ".join(f"{r['l2re']:.1e} ({r['seconds']:.0f} s: {r['ended']})" for r in runs))
        if any(cells):
            print(f"| {name} | {conditions} | {' | '.join(cell or '–' for cell in cells)} |")


def check() -> None:
    """Print the losses of the closed forms in the place of the network, which are zero but for rounding."""
    for name, pde in ROWS.items():
        if isinstance(pde, ExactPDE):
            training = Training(name, 0.0, 0, "soft")
            training.network.apply_output_transform(lambda x, n, pde=pde: pde.solution(x)[:, None] + 0 * n)
            training.model.compile("adam", lr=1e-3, verbose=0)
            losses = training.model._outputs_losses(True, *training.data.train_next_batch())[1]
            print(name, " ".join(f"{loss:.1e}" for loss in losses))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--optimisers", nargs="+", choices=OPTIMISERS, default=list(OPTIMISERS))
    parser.add_argument("--seconds", type=float, help="of the processor, per run; default: 600, of poisson1d 170")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--conditions", choices=list(CONDITIONS), default="soft")
    parser.add_argument("--folder", type=Path, default=ROOT / "results/strong_form/deepxde")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and run nothing")
    parser.add_argument("--check", action="store_true", help="print the losses of the closed forms, and run nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.table or given.check:
        return table(given.folder) if given.table else check()
    for name in given.problems:
        seconds = given.seconds or SECONDS[name]
        race(name, given.optimisers, seconds, given.seed, given.conditions, given.folder)


if __name__ == "__main__":
    main()
