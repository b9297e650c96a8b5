# %%
"""A first network: the one-dimensional Poisson equation.

    u'' = -(4 pi)^2 sin(4 pi x),   u(0) = u(1) = 0,   solution sin(4 pi x).

The network is trained on the residuals r alone, L = 1/2 |r|^2 with the mean over the points of each term, first by
Adam, then by L-BFGS. The error is measured beside it and never used:

    L2RE = |u_theta - u|_2 / |u|_2   on a fixed grid.
"""

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
run = pinntk.train(
    f"method.adam.steps={size(1000, 300)}",
    "method.adam.learning_rate=3e-3",
    f"method.lbfgs.steps={size(2000, 300)}",
    f"evaluate_every={size(100, 50)}",
    pde="poisson1d",
    method="adam_lbfgs",
    width=20,
    threads=1,
    compile=False,
)
print(run)

# %% Values and derivatives anywhere, and what is left of the equation there.
x = np.linspace(0, 1, 401)
u = run.predict(x[:, None])
slope = run.derivatives(x[:, None], "u_x")["u_x"]
residual = run.residuals(x[:, None])["residual"]
error = np.linalg.norm(u - np.sin(4 * np.pi * x)) / np.linalg.norm(np.sin(4 * np.pi * x))
print(f"L2RE {error:.2e}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
left.plot(x, u, label="u")
left.plot(x, slope / (4 * np.pi), label="u' / 4π")
left.plot(x, np.sin(4 * np.pi * x), "k:", label="sin 4πx")
left.set(xlabel="x", title="the network")
left.legend()
middle.semilogy(x, np.abs(u - np.sin(4 * np.pi * x)), label="|u - sin 4πx|")
middle.semilogy(x, np.abs(residual) / (4 * np.pi) ** 2, label="|residual| / (4π)²")
middle.set(xlabel="x", title="what is left")
middle.legend()
history = {name: np.asarray(run.history[name]) for name in ("iteration", "loss", "l2re")}
for name in ("loss", "l2re"):
    known = np.isfinite(history[name])
    right.semilogy(history["iteration"][known], history[name][known], label=name)
right.set(xlabel="iteration", title="the training")
right.legend()
figure.savefig("ex01.png", dpi=70)
