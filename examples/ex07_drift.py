# %%
"""How far the kernel moves, against the width.

Lemma 2: for the one-dimensional Poisson equation, in the limit of infinite width and with the network

    u(x) = W1 tanh(W0 x + b0) / sqrt(m) + b1,   theta(0) ~ N(0, 1)                                         (1)

the kernel at the start is deterministic and stays as it is. Theorem 2: for a nonlinear operator it is random, and
almost surely not constant. Two figures say how much of this holds at a finite width m, over S seeds,

    spread of K(0) = sqrt(sum_s |K_s - mean|^2 / (S - 1)) / |mean|,   drift = |K(0) - K(t)| / |K(0)|.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk
from pinntk.pdes.poisson1d import Poisson1D

# %% Gradient descent with the step 0.5 / (largest eigenvalue of K at the start).
problems: dict[str, Any] = {"poisson1d": Poisson1D(a=1), "convection": "convection", "reaction": "reaction"}
widths, seeds = size((30, 120, 480, 1920), (10, 320)), range(3)
words = [f"method.descent.steps={size(200, 40)}", "method.descent.rate=0.5", "method.newton.steps=0"]
words += ["network=plain", "tuned=null", "network.depth=1", "network.parametrization=ntk", "network.normalize=false"]
words += ["points.interior=100", "points.resample_every=null", "method.normalization=sum", "evaluate_every=1000"]
fixed: dict[str, Any] = {"method": "gdnd_theory", "width": list(widths), "seed": seeds, "threads": 1, "compile": False}
sweeps = {name: pinntk.sweep(*words, pde=pde, **fixed) for name, pde in problems.items()}


# %%
def norm(matrix: np.ndarray) -> float:
    return float(np.linalg.norm(matrix, 2))


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for problem, sweep in sweeps.items():
    spreads, drifts = [], []
    for width in widths:
        runs = [run for run in sweep.runs if run.method.network.width == width]
        start = [run.initial().ntk(interior=100, conditions=50).matrix for run in runs]
        end = [run.ntk(interior=100, conditions=50).matrix for run in runs]
        mean = np.mean(start, axis=0)
        spreads.append(np.sqrt(sum(norm(K - mean) ** 2 for K in start) / (len(start) - 1)) / norm(mean))
        drifts.append(np.mean([norm(K - k) / norm(K) for K, k in zip(start, end, strict=True)]))
        print(f"{problem}, width {width}: spread {spreads[-1]:.3f}, drift {drifts[-1]:.3f}")
    left.loglog(widths, spreads, "o-", label=problem)
    right.loglog(widths, drifts, "o-", label=problem)
left.set(xlabel="width", title="spread of K(0) over seeds")
right.set(xlabel="width", title=f"drift of K in {size(200, 40)} steps")
left.legend()
right.legend()
figure.savefig("ex07.png", dpi=70)
