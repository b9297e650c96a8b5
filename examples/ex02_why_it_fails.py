# %%
"""Why training fails on convection: the spectrum of the kernel.

    u_t + beta u_x = 0,   u(x, 0) = sin x,   u(0, t) = u(2 pi, t),   solution sin(x - beta t).

Under gradient flow the residuals obey (Lemma 1, any network and operator)

    dr/dt = -K r,   K = J J^T,   with blocks K_uu of the conditions and K_rr of the equation (Definition 1),

so that a part of r along an eigenvector fades at the rate of its eigenvalue. Remark 2: the scales of K_uu and K_rr set
the rates of L_b and L_r. Here r of the equation is u_t + beta u_x: Tr K_rr is a polynomial of degree two in beta, and
K_uu does not know of beta. The larger beta, the later the network learns where it has to start from.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %% The same network, before and after so many steps of Adam on four problems.
fixed: dict[str, Any] = {"pde": "convection", "method": "adam", "width": 20, "threads": 1, "compile": False}
words = ["network=plain", "tuned=null", "network.depth=2", "evaluate_every=100", "method.adam.learning_rate=3e-3"]
words += ["points.interior=300", "points.initial=60", "points.boundary=60"]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for beta in (1, 10, 20, 40):
    run = pinntk.train(f"pde.beta={beta}", f"method.steps={size(1500, 100)}", *words, **fixed)
    kernel = run.initial().ntk(interior=200, conditions=200)
    spectra = {"K_rr": kernel.spectrum("residual"), "K_uu": kernel.spectrum("initial", "periodic")}
    traces = [float(spectrum.values.sum()) for spectrum in spectra.values()]
    print(f"beta {beta}: Tr K_rr {traces[0]:.6e}, Tr K_uu {traces[1]:.6e}, L2RE {run.result['l2re']:.2e}")
    left.semilogy(spectra["K_rr"].values[:40], label=f"K_rr, β = {beta}")
    iteration, error = np.asarray(run.history["iteration"]), np.asarray(run.history["l2re"])
    middle.semilogy(iteration[np.isfinite(error)], error[np.isfinite(error)], label=f"β = {beta}")

left.semilogy(spectra["K_uu"].values[:40], "k--", label="K_uu, all β")

# %% What the last of them, beta = 40, has become: at one place, along the time.
t = np.linspace(0, 1, 401)
points = np.column_stack([np.full_like(t, np.pi / 2), t])
right.plot(t, run.predict(points), label="network, β = 40")
right.plot(t, np.sin(points[:, 0] - 40 * t), "k:", label="solution")
left.set(xlabel="number", title="eigenvalues at the start", ylim=(1e-6, None))
middle.set(xlabel="iteration", title="L2RE")
right.set(xlabel="t", title="u(π/2, t)")
for axes in (left, middle, right):
    axes.legend(loc="lower left" if axes is not left else "best", fontsize=8)
figure.savefig("ex02.png", dpi=70)
