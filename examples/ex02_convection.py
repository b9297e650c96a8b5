# %%
"""Why convection is hard: the spectra of the kernel.

    u_t + beta u_x = 0,   u(x, 0) = sin x,   periodic in x.

Under gradient flow the residuals obey dr/dt = -K r with the kernel K = J J^T (paper, Definition 1 and Lemma 1). Its
blocks are K_rr, of the equation, and K_uu, of the conditions: parts of r along large eigenvalues vanish first, and
where those of K_rr are much the larger, the equation is learnt before its conditions (Remark 2). The equation alone has
u = const among its solutions. beta enters K_rr by its square.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %% The kernel where training starts (after one iteration), at the same points for both.
rng = np.random.default_rng(0)
inside = rng.uniform([0, 0], [2 * np.pi, 1], size=(size(300, 60), 2))
start = np.column_stack([rng.uniform(0, 2 * np.pi, size(100, 30)), np.zeros(size(100, 30))])
fixed: dict[str, Any] = {"pde": "convection", "method": "adam", "width": 20, "threads": 1, "compile": False}
points = f"points.interior={size(1000, 100)}"

# %%
figure, panels = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for panel, beta in zip(panels, (1, 40), strict=False):
    untrained = pinntk.train(f"pde.beta={beta}", "method.steps=1", points, **fixed)
    trained = pinntk.train(
        f"pde.beta={beta}", f"method.steps={size(3000, 300)}", "evaluate_every=100", "method.adam.learning_rate=3e-3",
        points, **fixed,
    )  # fmt: skip
    kernel = untrained.ntk({"interior": inside, "initial": start})
    traces = [np.trace(kernel.block(term)) / len(kernel.block(term)) for term in ("residual", "initial")]
    print(f"beta {beta}: trace ratio {traces[0] / traces[1]:.1f}, L2RE {trained.result['l2re']:.2e}")
    for term, name in (("residual", "K_rr"), ("initial", "K_uu")):
        values = kernel.spectrum(term).values.numpy()
        panel.semilogy(np.arange(1, 1 + len(values)), values / len(values), label=f"{name} / N")
    panel.set(ylim=(1e-9, 1e5), xscale="log", xlabel="number of the eigenvalue", title=f"eigenvalues, β = {beta}")
    panel.legend()
    iteration, error = np.asarray(trained.history["iteration"]), np.asarray(trained.history["l2re"])
    known = np.isfinite(error)
    panels[2].semilogy(iteration[known], error[known], label=f"β = {beta}")
panels[2].set(xlabel="iteration of Adam", title="L2RE")
panels[2].legend()
figure.savefig("ex02.png", dpi=70)
