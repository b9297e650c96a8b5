# %%
"""The Hessian's two parts, and what is sparse in it.

    Hessian of L  =  J^T J  +  sum_i r_i (second derivative of r_i)  =  Gauss-Newton  +  remainder.

The kernel knows the first part alone. With one hidden layer the second derivatives of u and of all that is linear in u
couple the parameters of one neuron only: of two inputs 15 entries for each of m neurons. If F is a polynomial of
degree two in u and its derivatives, products of first derivatives come in, and nothing of it is sparse (Theorem 3).
Remark 3 takes this as a reason for second-order methods; how large the remainder is depends on the residuals.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk
from pinntk.residual.spectra import share_of_entries

# %%
fixed: dict[str, Any] = {"method": "adam_lbfgs", "width": size(20, 10), "threads": 1, "compile": False}
words = ["network=plain", "tuned=null", "network.depth=1", "points.resample_every=null", "method.log_every=100"]
words += ["points.interior=300", "points.initial=60", "points.boundary=60", f"method.adam.steps={size(300, 30)}"]
problems = {"convection": ("linear", "pde.beta=5"), "burgers": ("of degree two", "pde.nu=0.1")}

figure, axes = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
for picture, (problem, (kind, coefficient)) in zip(axes, problems.items(), strict=False):
    longer = [f"method.lbfgs.steps={steps}" for steps in size((0, 300, 3000), (0, 50))]
    runs = [pinntk.train(*words, coefficient, steps, pde=problem, **fixed) for steps in longer]
    states = {0: runs[0].initial()} | {run.result["steps"]: run for run in runs}

    # The remainder of L_r at the start, all of its entries.
    inside = np.random.default_rng(0).uniform(runs[0].pde.lower, runs[0].pde.upper, (300, 2))
    remainder = states[0].hessian(inside).remainder.dense()
    print(f"{problem}: {share_of_entries(remainder, 1e-10):.6f} of the remainder's entries are not zero")
    entries = np.abs(remainder.numpy()) / float(remainder.abs().max())
    shown = picture.imshow(
        np.log10(entries + 1e-6), cmap=plt.get_cmap("magma", 6), vmin=-6, vmax=0, interpolation="nearest"
    )
    picture.set(title=f"remainder of L_r, {problem} ({kind})", xlabel="parameter", ylabel="parameter")

    # Its size beside the Hessian's, for the whole loss, along the training.
    ratios = [state.hessian().norms(1e-4).ratio for state in states.values()]
    axes[2].semilogy([str(steps) for steps in states], ratios, "o-", label=problem)
    for (steps, state), ratio in zip(states.items(), ratios, strict=True):
        print(f"{problem} after {steps}: remainder / Hessian {ratio:.3e}, L2RE {state.result.get('l2re', 1.0):.2e}")
figure.colorbar(shown, ax=axes[1], label="log₁₀ |entry| / largest", shrink=0.85)
axes[2].set(xlabel="iteration", title="‖remainder‖₂ / ‖Hessian‖₂")
axes[2].legend()
figure.savefig("ex06.png", dpi=70)
