# %%
"""Preconditioning, step by step.

A discretised problem A u = b has the condition number (paper, Definition 2)

    cond = |A^-1| |b| / |u|,   after preconditioning with P = LU ~ A   |A^-1 P| |P^-1 b| / |u| ~ 1.

For u'' = -(a pi)^2 sin(a pi x) on [0, 1] with u = 0 at the ends, |A^-1| = 1 / pi^2 and |b| = (a pi)^2 |u|: cond = a^2.
The preconditioned loss is |P^-1 A u_theta - P^-1 b|^2 in the network's values at the nodes: no derivative with respect
to x is left in it, and its minimum is the discrete solution.
"""

import json
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
frequencies = (1, 2, 4, 8)
fixed: dict[str, Any] = {"pde": "poisson1d", "width": 20, "threads": 1, "compile": False}
steps = f"method.steps={size(2000, 200)}"
condition: list[float] = []
preconditioned: list[float] = []
errors: dict[str, list[float]] = {"adam": [], "pcpinn": []}
for a in frequencies:
    words = (f"pde.a={a}", steps, "method.adam.learning_rate=3e-3")
    plain = pinntk.train(*words, method="adam", **fixed)
    run = pinntk.train(*words, "callbacks=conditioning", method="pcpinn", **fixed)
    found = json.loads((run.folder / "conditioning.json").read_text())
    usable = [one for one in found["preconditioned"] if one["condition"] is not None]
    condition.append(found["plain"]["condition"])
    preconditioned.append(usable[-1]["condition"])
    errors["adam"].append(plain.result["l2re"])
    errors["pcpinn"].append(run.result["l2re"])
    print(f"a {a}: cond {condition[-1]:.4f} to {preconditioned[-1]:.4f}, L2RE {errors['adam'][-1]:.2e}"
          f" to {errors['pcpinn'][-1]:.2e}")  # fmt: skip

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.loglog(frequencies, condition, "o", label="of A")
left.loglog(frequencies, np.square(frequencies), "k:", label="a²")
left.loglog(frequencies, preconditioned, "s", label="of P$^{-1}$A")
left.set(xlabel="a", title="condition number")
left.legend()
for method, name in (("adam", "residuals"), ("pcpinn", "preconditioned")):
    right.loglog(frequencies, errors[method], "o-", label=name)
right.set(xlabel="a", title="L2RE, Adam on either loss")
right.legend()
figure.savefig("ex04.png", dpi=70)
