"""Deliberate mistakes (signs, factors, transpositions, lost state), one at a time, and whether the tests notice.

Each is made in a copy of ``src``; the named test files, without the slow tests, must fail with it. Prints a table and
ends with exit code 1 where a mistake goes unnoticed. Other words choose mistakes by their file.

    python tests/mutants.py [optim/ssbroyden ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Mutant:
    """One mistake: ``old``, which stands once in the file, becomes ``new``."""

    file: str
    old: str
    new: str
    tests: str


MUTANTS = [
    Mutant("network/activations", "found.append(-2 * a * slope)", "found.append(2 * a * slope)", "network ntk"),
    Mutant("network/activations", "2 * slope * (3 * a * a - 1)", "2 * slope * (3 * a * a + 1)", "any_streams"),
    Mutant("network/activations", "n * of_s[n - 1]", "of_s[n - 1]", "any_streams"),
    Mutant("network/propagation", "product.count(i) * factor", "factor", "any_streams operators"),
    Mutant("network/propagation", "d[order + 1] * _sum(products)", "d[order] * _sum(products)", "operators"),
    Mutant("network/derivatives", "[first, *block]", "block", "any_streams doctests"),
    Mutant("network/ansatz", "math.comb(n, k)", "1", "any_streams"),
    Mutant("network/readout", "scale * number * lift[alpha]", "lift[alpha]", "any_streams"),
    Mutant("network/readout", "normals[:, c].double()", "1.0", "normals any_streams"),
    Mutant("network/coefficients", "of[name] * self.slope(name)", "of[name]", "any_kernel"),
    Mutant("network/network", 'self.slopes["hidden"][i - 1] * here', "here", "any_kernel"),
    Mutant("network/features", "(-self.decay_a) ** order", "self.decay_a**order", "streams network doctests"),
    Mutant("network/features", "-middle / half, 1", "middle / half, 1", "network"),
    Mutant("network/features", "count * self.power_a[k] ** order", "count * self.power_a[k]", "any_streams"),
    Mutant("residual/exact", "size <= ROUNDING * scale", "size <= 1e-2 * scale", "hard any_kernel"),
    Mutant("residual/uncertainty", "len(misfit) - used", "len(misfit) + used", "uncertainty"),
    Mutant("residual/uncertainty", "(gain.T @ known.T)", "(picked.T @ known.T)", "uncertainty"),
    Mutant("network/network", "1 / math.sqrt(m) if ntk", "math.sqrt(m) if ntk", "network"),
    Mutant("residual/factors", "twice = 1 if s == t else 2", "twice = 1", "ntk"),
    Mutant("residual/ntk", "gram[columns, rows] = block.T", "gram[columns, rows] = 2 * block.T", "ntk"),
    Mutant(
        "residual/factors", "return self.scale * along + self.bias @ bias", "return along + self.bias @ bias", "ntk"
    ),
    Mutant("residual/loss", "2 * share / len(r) * r, share", "share / len(r) * r, share", "loss"),
    Mutant("residual/residuals", "r.square().sum() / 2", "r.square().sum()", "loss methods"),
    Mutant("residual/named", "-1.0), (len(points) // 2, 1))", "1.0), (len(points) // 2, 1))", "regions"),
    Mutant("residual/named", "[gaps.argmin(axis=0)]", "[gaps.argmax(axis=0)]", "regions"),
    Mutant("residual/named", "super().count(counts) // faces", "super().count(counts)", "regions"),
    Mutant("residual/shapes", "column_stack([dy, -dx])", "column_stack([-dy, dx])", "shapes"),
    Mutant("residual/shapes", "u[:, 0] * ends[-1]", "u[:, 0] * ends[0]", "shapes"),
    Mutant("residual/measurements", "weight.sqrt() * (values", "weight * (values", "measurements"),
    Mutant(
        "residual/measurements",
        "table[name][has] for name in columns",
        "table[name] for name in columns",
        "measurements",
    ),
    Mutant("residual/weighting", "traces[~interior].sum()", "traces.sum()", "pinn_ntk plan"),
    Mutant("residual/weighting", "return traces.sum() / traces", "return traces / traces.sum()", "pinn_ntk"),
    Mutant("residual/form", "(2.0 / len(r) if mean else 1.0) * r", "(1.0 / len(r) if mean else 1.0) * r", "hessian"),
    Mutant("residual/form", '"draw": self.draw, "traces"', '"draw": None, "traces"', "plan ntk_ng"),
    Mutant("residual/objective", "w * (2.0 / n) if mean else w", "w * (1.0 / n) if mean else w", "hessian ntk_ng"),
    Mutant("residual/objective", '"lambdas": self.lambdas, "way"', '"lambdas": None, "way"', "plan pinn_ntk"),
    Mutant("residual/objective", "trace / n if mean else trace", "trace", "ntk_ng plan"),
    Mutant("residual/spectra", ".clamp(min=0))", ".clamp(min=1))", "ntk"),
    Mutant(
        "discrete/preconditioner", "right -= pair[0] @ y[n - lag]", "right += pair[0] @ y[n - lag]", "preconditioner"
    ),
    Mutant(
        "discrete/preconditioner", "right -= pair[1] @ y[n + lag]", "right -= pair[0] @ y[n + lag]", "preconditioner"
    ),
    Mutant(
        "discrete/discretization",
        "not ctx.transposed), None",
        "ctx.transposed), None",
        "preconditioner",
    ),
    Mutant(
        "discrete/line",
        "self.step**2 / 12 * self.acceleration",
        "self.step**2 / 6 * self.acceleration",
        "line_accuracy",
    ),
    Mutant("discrete/line", "- half - bend)", "- half + bend)", "line_discrete"),
    Mutant("discrete/difference", "np.asarray(-(sines * (math.pi", "np.asarray((sines * (math.pi", "difference"),
    Mutant("discrete/objective", "return values - self.base", "return values + self.base", "pcpinn"),
    Mutant("discrete/objective", '"refreshes": self.refreshes}', '"refreshes": []}', "pcpinn"),
    Mutant("discrete/direct", "right = (a if self.scales is None else a * self.scales)", "right = a", "pcpinn_phases"),
    Mutant("discrete/direct", "(2 / len(y) * y.detach() * y)", "(1 / len(y) * y.detach() * y)", "pcpinn_phases"),
    Mutant("discrete/direct", '"draw": self._draw', '"draw": 0', "pcpinn_phases"),
    Mutant("methods/plan", "self.objective.fixed @ losses[1:]", "losses[0]", "plan"),
    Mutant("discrete/nodes", "field = signs * self.target", "field = self.target", "pcpinn"),
    Mutant("optim/cg", "length = rz / pAp", "length = rz / (2 * pAp)", "cg"),
    Mutant("optim/cg", "p = z + (rz / before) * p", "p = z - (rz / before) * p", "cg"),
    Mutant("optim/nystrom", "(last / (self.eigenvalues + mu) - 1)", "(last / (self.eigenvalues - mu) - 1)", "nystrom"),
    Mutant(
        "optim/nncg", "(damped - self.damping * float(d @ d)) / 2", "(damped + self.damping * float(d @ d)) / 2", "nncg"
    ),
    Mutant(
        "optim/nncg",
        '*("cg_iterations", "step_length", "gain_ratio", "failures", "reason")',
        '*("cg_iterations", "step_length", "gain_ratio", "reason")',
        "nncg_state",
    ),
    Mutant(
        "optim/natural_gradient",
        "1 - (2 * self.gain_ratio - 1) ** 3",
        "1 - (self.gain_ratio - 1) ** 3",
        "natural_gradient",
    ),
    Mutant(
        "optim/natural_gradient", "-self.jacobian.rmatvec(solved)", "self.jacobian.rmatvec(solved)", "natural_gradient"
    ),
    Mutant("optim/ssbroyden", "scale = min(1.0, 1 / b)", "scale = min(1.0, h)", "ssbroyden"),
    Mutant("optim/ssbroyden", "(phi - 1) / tau / yHy", "(phi - 1) / yHy", "ssbroyden"),
    Mutant("optim/ssbroyden", "of_both = -phi", "of_both = phi", "ssbroyden"),
    Mutant("optim/ssbroyden", '"product": self._product', '"product": None', "ssbroyden"),
    Mutant("optim/updated", "self._left[: self._used] /= update.divisor", "pass", "ssbroyden"),
    Mutant("optim/updated", '"scale": self.scale', '"scale": 1.0', "ssbroyden"),
    Mutant("optim/updated", "right, beta=self.scale", "right", "ssbroyden"),
    Mutant("optim/ssbroyden", '"_before", "_multiple", "_restarted")', '"_multiple", "_restarted")', "ssbroyden"),
    Mutant("optim/least_squares", "math.sqrt(damping)", "damping", "least_squares"),
    Mutant("optim/least_squares", "padded = torch.cat([e.flip(0)", "padded = torch.cat([e", "least_squares"),
    Mutant("optim/least_squares", "(V.T @ V).triu(1)", "(V.T @ V).triu(1) / 2", "least_squares"),
    Mutant("optim/least_squares", "Tensor = -torch", "Tensor = torch", "natural_gradient least_squares"),
    Mutant("optim/least_squares", "self._s.square() + damping", "self._s.square() - damping", "gauss_newton"),
    Mutant("optim/stepping", "if not self._kept:", "if self._kept:", "natural_gradient nncg gauss_newton"),
    Mutant("optim/gauss_newton", "after = roots * self.objective", "after = self.objective", "gauss_newton"),
    Mutant("optim/damped_newton", "- eta * direction", "+ eta * direction", "damped_newton"),
    Mutant("methods/phases/lbfgs", '"scale": self._scale', '"scale": None', "adam_lbfgs"),
    Mutant("methods/phases/ssbroyden", "self.optimizer.renew()", "pass", "ssbroyden"),
    Mutant("methods/schedule", "(1 + math.cos(math.pi * n", "(1 - math.cos(math.pi * n", "schedule"),
    Mutant("methods/plan", '"first_draw": self._first_draw', '"first_draw": 0', "adam_lbfgs gdnd"),
    Mutant("pdes/burgers", '"u_xx": -self.nu', '"u_xx": self.nu', "residuals"),
    Mutant("pdes/reaction", 'self.rho * s["u"] * (1 - s["u"])', 'self.rho * s["u"] * (1 + s["u"])', "residuals"),
    Mutant("common/arrays", "np.linalg.norm(reference))", "np.linalg.norm(prediction))", "callbacks doctests"),
]


def noticed(mutant: Mutant, folder: Path) -> bool:
    """Whether one of the tests fails."""
    source = folder / "src"
    shutil.copytree(ROOT / "src", source)
    path = source / "pinntk" / f"{mutant.file}.py"
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.file}: {mutant.old!r} stands there {text.count(mutant.old)} times"
    path.write_text(text.replace(mutant.old, mutant.new))
    tests = [f"tests/test_{name}.py" for name in mutant.tests.split()]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    code = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False).returncode
    assert code in (0, 1), f"{mutant.file}: pytest ended with {code}"
    return code == 1


def main() -> int:
    """Make them all and print what happens."""
    chosen = [m for m in MUTANTS if not sys.argv[1:] or m.file in sys.argv[1:]]
    missed = 0
    for mutant in chosen:
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            caught = noticed(mutant, Path(folder))
        missed += not caught
        word = "noticed" if caught else "MISSED"
        seconds = time.perf_counter() - began
        print(f"{word:<8} {seconds:5.0f} s  {mutant.file}: {mutant.old}  ->  {mutant.new}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} noticed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
