# %%
"""Preconditioning, step by step.

The condition number of a problem (Definition 2) bounds its kernel from below (Theorem 1). On a grid the wave
equation is a linear system A u = b, and

    cond ~ |A^-1| |b| / |u|;   with P = LU ~ A, incomplete factors:   |A^-1 P| |P^-1 b| / |u| ~ 1.

The network's values u_theta at the nodes have the kernel K_uu; the residual A u_theta - b has A K_uu A^T, and the
preconditioned P^-1 A u_theta - P^-1 b has (P^-1 A) K_uu (P^-1 A)^T. With the kernel of the start held, as in Lemma 2,
r(t) = exp(-K t) r(0) foretells the error of gradient flow on either. PCPINN trains on the second one's square, L_PC.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk
from pinntk.discrete.preconditioner import BlockTriangular
from pinntk.pdes.wave import Wave, WaveDiscretization

# %% The system: 51 levels in time of 17 nodes; A, b and u. Then P for three drop tolerances.
discrete = Wave(a=2).discretize(WaveDiscretization(cells=16, time_steps=50))
u = discrete.solve()
A = discrete.jacobian(u).whole().toarray()
b = A @ u.ravel()
print(f"A: condition {np.linalg.norm(np.linalg.inv(A), 2) * np.linalg.norm(b) / np.linalg.norm(u):.4f}")

matrices = {"A": A}
for drop in (1e-1, 1e-2, 1e-3):
    P = BlockTriangular(discrete.jacobian(u), drop_tolerance=drop, fill_factor=10)
    PA = P.solve(A.reshape(*u.shape, u.size)).reshape(A.shape)
    once = P.solve(b.reshape(u.shape))
    condition = np.linalg.norm(np.linalg.inv(PA), 2) * np.linalg.norm(once) / np.linalg.norm(u)
    off = np.linalg.norm(once - u) / np.linalg.norm(u)
    print(f"drop tolerance {drop:g}: condition {condition:.4f}, |P^-1 b - u| / |u| {off:.1e}")
    matrices[f"P⁻¹A, {drop:g}"] = PA

# %% The two trainings from the same start: on the equation, and on L_PC with the second of these P.
fixed: dict[str, Any] = {"pde": "wave", "width": 30, "threads": 1, "compile": False}
words = ["pde.a=2", "network=plain", "tuned=null", "network.depth=2", "evaluate_every=100", "method.log_every=50"]
words += [f"method.steps={size(1500, 100)}", "method.adam.learning_rate=3e-3", "method.adam.schedule.kind=cosine"]
strong = ("points.interior=300", "points.initial=50", "points.boundary=50")
grid = ("discretization.cells=16", "discretization.time_steps=50", "discretization.drop_tolerance=1e-2")
runs = {
    "adam": pinntk.train(*words, *strong, method="adam", **fixed),
    "pcpinn": pinntk.train(*words, *grid, "method.form=direct", method="pcpinn", **fixed),
}
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
start = runs["adam"].initial()
K = start.ntk(discrete.nodes, "initial").block("initial")
wrong = start.predict(discrete.nodes) - u.ravel()
times = np.geomspace(1, 1e6, 61)
for name, M in matrices.items():
    left.semilogy(np.linalg.svd(M, compute_uv=False), label=name)
    values, vectors = np.linalg.eigh(M @ K @ M.T)
    parts = np.exp(-np.outer(times, np.clip(values / values[-1], 0, 1))) * (vectors.T @ M @ wrong)
    left_over = np.linalg.solve(M, vectors @ parts.T)
    middle.loglog(times, np.linalg.norm(left_over, axis=0) / np.linalg.norm(u), label=name)
for name, run in runs.items():
    print(f"{name}: L2RE {run.result['l2re']:.2e}")
    iteration, error = np.asarray(run.history["iteration"]), np.asarray(run.history["l2re"])
    right.semilogy(iteration[np.isfinite(error)], error[np.isfinite(error)], label=name)
left.set(xlabel="number", title="singular values")
middle.set(xlabel="steps of 1 / largest eigenvalue", title="L2RE that the kernel foretells")
right.set(xlabel="iteration", title="L2RE")
for axes in (left, middle, right):
    axes.legend(fontsize=8)
figure.savefig("ex04.png", dpi=70)
