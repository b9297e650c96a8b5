# %%
"""A system: Kovasznay's flow behind a grid, Navier-Stokes in three fields.

    u u_x + v u_y + p_x = (u_xx + u_yy) / Re,   u v_x + v v_y + p_y = (v_xx + v_yy) / Re,   u_x + v_y = 0,   Re = 40,

u and v given on the sides, p at the outflow. One network has three outputs; a term says which derivatives of which
field it needs ("v_yy", "p_x"), and everything else (kernel, Hessian, every method) follows from the terms. The network
is trained by Adam, then by self-scaled Broyden, a quasi-Newton method with the whole inverse Hessian.
"""

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
run = pinntk.train(
    "network=plain", "tuned=null", "network.depth=2", "points.interior=600", "points.boundary=160",
    "points.sampling=sobol", "points.resample_every=null", "evaluate_every=100", "method.log_every=50",
    f"method.adam.steps={size(300, 100)}", f"method.ssbroyden.steps={size(1200, 300)}",
    pde="kovasznay", method="ssbroyden", width=25, threads=1, compile=False,
)  # fmt: skip
print(f"loss {run.result['loss']:.2e}, L2RE by field {run.result['l2re_by_field']}")

# %% Values of all fields, derivatives by name, and the vorticity v_x - u_y beside that of the solution.
x, y = np.meshgrid(np.linspace(-0.5, 1, 76), np.linspace(-0.5, 1.5, 101))
points = np.column_stack([x.ravel(), y.ravel()])
u, v, p = run.predict(points).T.reshape(3, *x.shape)
slope = run.derivatives(points, "u_x", "u_y", "v_x", "v_y")
q = 20 - np.sqrt(400 + 4 * np.pi**2)
vorticity = slope["v_x"] - slope["u_y"]
exact = (q**2 / (2 * np.pi) - 2 * np.pi) * np.exp(q * x) * np.sin(2 * np.pi * y)
wrong = np.linalg.norm(vorticity - exact.ravel()) / np.linalg.norm(exact)
divergence = np.max(np.abs(slope["u_x"] + slope["v_y"]))
print(f"vorticity: error {wrong:.2e}; divergence: at most {divergence:.2e}")

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.9), layout="constrained")
shown = left.contourf(x, y, p, levels=20)
left.streamplot(x[0], y[:, 0], u, v, color="white", linewidth=0.6, density=0.9, arrowsize=0.7)
figure.colorbar(shown, ax=left, label="p")
shown = middle.contourf(x, y, vorticity.reshape(x.shape), levels=20, cmap="RdBu")
figure.colorbar(shown, ax=middle, label="v_x - u_y")
history = {name: np.asarray(run.history[name]) for name in run.history}
for name in ("momentum_x", "continuity", "boundary_u", "outflow_p", "l2re"):
    known = np.isfinite(history[name])
    right.semilogy(history["iteration"][known], history[name][known], "k" if name == "l2re" else "", label=name)
left.set(xlabel="x", ylabel="y", title="streamlines on the pressure")
middle.set(xlabel="x", title="vorticity")
right.set(xlabel="iteration", title="losses and L2RE")
right.legend(fontsize=8)
figure.savefig("ex08.png", dpi=70)
