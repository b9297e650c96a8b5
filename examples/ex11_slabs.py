# %%
"""Slabs: the time in parts, one after the other.

    u_t + 40 u_x = 0,   u(x, 0) = sin x,   periodic in x.

A network that is trained at all times at once may satisfy the equation late before it knows what comes early, and what
it has then is another solution of the equation. ``method.slabs`` cuts the time into equal parts; each is trained by the
whole plan, with the end of the one before as its initial values and its parameters to begin with, and one ``predict``
answers at all times.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %% The same number of iterations in all.
slabs, adam, broyden = size((1, 5), (1, 2)), size(500, 100), size(1500, 200)
fixed: dict[str, Any] = {"pde": "convection", "method": "ssbroyden", "width": 15, "threads": 1, "compile": False}
words = ["pde.beta=40", "network=plain", "tuned=null", "network.depth=2", "points.sampling=sobol"]
words += ["points.interior=400", "points.initial=60", "points.boundary=60", "points.resample_every=null"]
runs = {}
for count in slabs:
    steps = (f"method.adam.steps={adam // count}", f"method.ssbroyden.steps={broyden // count}", "method.log_every=50")
    runs[count] = pinntk.train(*words, *steps, f"method.slabs={count}", "evaluate_every=50", **fixed)

# %%
t = np.linspace(0, 1, 401)
x = np.linspace(0, 2 * np.pi, 101)
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for count, run in runs.items():
    name = f"{count} slab{'s' * (count > 1)}"
    grid = np.stack(np.meshgrid(x, t, indexing="ij"), axis=-1).reshape(-1, 2)
    wrong = run.predict(grid) - np.sin(grid[:, 0] - 40 * grid[:, 1])
    size_of = np.sqrt(np.mean(wrong.reshape(len(x), len(t)) ** 2, axis=0))
    own = np.linalg.norm(wrong) / np.linalg.norm(np.sin(grid[:, 0] - 40 * grid[:, 1]))
    print(f"{name}: L2RE {run.result['l2re']:.2e}, by this grid {own:.2e}; {run.result['steps']} iterations")
    left.plot(t, run.predict(np.column_stack([np.full_like(t, np.pi / 2), t])), label=name)
    middle.semilogy(t, size_of, label=name)
    iteration, error = np.asarray(run.history["iteration"]), np.asarray(run.history["l2re"])
    right.semilogy(iteration[np.isfinite(error)], error[np.isfinite(error)], label=name)
left.plot(t, np.sin(np.pi / 2 - 40 * t), "k:", label="solution")
left.set(xlabel="t", title="u(π/2, t)")
middle.set(xlabel="t", title="root mean square of the error")
right.set(xlabel="iteration", title="L2RE, of the times trained so far")
for axes in (left, middle, right):
    axes.legend(fontsize=8)
figure.savefig("ex11.png", dpi=70)
