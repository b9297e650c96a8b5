# %%
"""Algorithm 1: weights from the kernel.

    u'' = -(4 pi)^2 sin(4 pi x),   u(0) = u(1) = 0,   one hidden layer.

Remark 2: K_rr, here of u'', is much larger than K_uu, so that training sees to the equation and leaves the conditions
for later. PINN-NTK weighs the two losses in every step with

    lambda_b = Tr K / Tr K_uu,   lambda_r = Tr K / Tr K_rr,   step on lambda_b L_b + lambda_r L_r   (Algorithm 1),

and since Tr K = Tr K_uu + Tr K_rr, the inverses of the two weights have the sum one. ``method=pinn_ntk`` does so, with
Adam for the step as in the paper's experiments.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
fixed: dict[str, Any] = {"pde": "poisson1d", "width": 100, "threads": 1, "compile": False}
words = ["network=plain", "tuned=null", "network.depth=1", "points.interior=100", "points.resample_every=null"]
words += [f"method.steps={size(5000, 300)}", "method.adam.schedule.kind=constant", "evaluate_every=100"]
runs = {name: pinntk.train(*words, method=name, **fixed) for name in ("adam", "pinn_ntk")}

# %% The weights from the kernel at points of ours. The losses are means, so a block's trace counts over its points.
points = {"interior": np.linspace(0, 1, 102)[1:-1, None], "boundary": np.array([[0.0], [1.0]])}
for name, run in runs.items():
    kernel = run.ntk(points)
    conditions, equation = (float(np.diag(kernel.block(term)).mean()) for term in ("boundary", "residual"))
    weights = [(conditions + equation) / one for one in (conditions, equation)]
    print(f"{name}: L2RE {run.result['l2re']:.2e}; from K lambda_b {weights[0]:.3f}, lambda_r {weights[1]:.6f}")
print(f"the training's last lambda_b: {np.asarray(runs['pinn_ntk'].history['lambda_boundary'])[-1]:.3f}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for (name, run), line in zip(runs.items(), ("--", "-"), strict=True):
    history = {key: np.asarray(run.history[key]) for key in run.history}
    for k, key in enumerate(("residual", "boundary")):
        left.loglog(history["iteration"], history[key], f"C{k}{line}", label=f"{key}, {name}")
    known = np.isfinite(history["l2re"])
    right.semilogy(history["iteration"][known], history["l2re"][known], f"k{line}", label=name)
for k, key in enumerate(("residual", "boundary")):
    middle.semilogy(history["iteration"], history[f"lambda_{key}"], f"C{k}", label=f"λ of {key}")
left.set(xlabel="iteration", title="losses, without weights")
middle.set(xlabel="iteration", title="Algorithm 1's weights")
right.set(xlabel="iteration", title="L2RE")
for axes in (left, middle, right):
    axes.legend(fontsize=8)
figure.savefig("ex03.png", dpi=70)
