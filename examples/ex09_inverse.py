# %%
"""An inverse problem: a diffusivity from noisy measurements.

    u_t = nu u_xx,   u = 0 at both ends,   u(x, 0) = sin(pi x) + sin(3 pi x) / 2,   nu unknown.

Known are 200 measurements with noise of 1 % (made with nu = 0.1). nu is one more parameter of the least-squares problem
and found together with the network, from nu = 1 on. Near the minimum the parameters' covariance is that of nonlinear
least squares, s^2 (J^T J)^-1 with s from the measurements' misfit, from which comes nu's standard error.
"""

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
run = pinntk.train(
    f"points.interior={size(1000, 300)}",
    "points.initial=50",
    "points.boundary=50",
    "method.log_every=10",
    f"method.adam.steps={size(500, 100)}",
    f"method.ssbroyden.steps={size(200, 50)}",
    f"method.gauss_newton.steps={size(40, 20)}",
    pde="heat_inverse",
    method="gauss_newton",
    width=20,
    threads=1,
    compile=False,
)
found = run.result["estimates"]["nu"]
nu, error = found["value"], found["standard_error"]
print(f"nu {nu:.6f} +- {error:.6f}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
left.semilogy(run.history["iteration"], run.history["estimate_nu"], label="estimate")
left.axhline(0.1, color="black", linestyle=":", label="truth")
left.set(xlabel="iteration", title=f"ν = {nu:.5f} ± {error:.5f}")
left.legend()
data = run.pde.measurements()  # type: ignore[attr-defined]  # of this problem
misfit = run.predict(np.column_stack([data["x"], data["t"]])) - data["u"]
right.scatter(data["t"], misfit, s=8)
right.set(xlabel="t", title=f"network minus measurement, rms {np.sqrt(np.mean(misfit**2)):.4f}")
figure.savefig("ex09.png", dpi=70)
