# %%
"""A problem of your own, in the script: a boundary layer.

    -eps u'' + u' = 1,   u(0) = u(1) = 0,

    u = x - (exp((x - 1) / eps) - exp(-1 / eps)) / (1 - exp(-1 / eps)).

The layer at x = 1 is about eps wide. The class says which derivatives the equation needs; everything else (kernel,
Hessian, every method on the residuals) follows from it. A step of Gauss-Newton solves the linearised residuals in the
least-squares sense, (J^T J + lambda I) d = -J^T r, with lambda tried over a range in each step.
"""

import numpy as np
import torch
from matplotlib import pyplot as plt
from sizes import size
from torch import Tensor

import pinntk
from pinntk.pdes import ExactPDE, Term, zero


# %%
class Layer(ExactPDE):
    """``-eps u_xx + u_x = 1`` on [0, 1], zero at both ends."""

    name = "layer"
    coordinates = ("x",)
    lower, upper = (0.0,), (1.0,)
    evaluation_shape = (1001,)

    eps: float = 0.05

    def terms(self) -> tuple[Term, ...]:
        inside = Term("residual", "interior", ("u_x", "u_xx"), lambda s: s["u_x"] - self.eps * s["u_xx"] - 1)
        return inside, Term("boundary", "boundary", ("u",), zero("u"))

    def solution(self, x: Tensor) -> Tensor:
        shift = float(np.exp(-1 / self.eps))
        return x[:, 0] - (torch.exp((x[:, 0] - 1) / self.eps) - shift) / (1 - shift)


# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
x = np.linspace(0, 1, 801)
for eps in (0.2, 0.05):
    run = pinntk.train(
        "points.interior=400", "method.log_every=10", "evaluate_every=10",
        "method.adam.steps=200", "method.ssbroyden.steps=0", f"method.gauss_newton.steps={size(60, 30)}",
        pde=Layer(eps=eps), method="gauss_newton", width=15, threads=1, compile=False,
    )  # fmt: skip
    print(f"eps {eps}: L2RE {run.result['l2re']:.2e}")
    left.plot(x, run.predict(x[:, None]), label=f"ε = {eps}")
    iteration, error = np.asarray(run.history["iteration"]), np.asarray(run.history["l2re"])
    known = np.isfinite(error)
    right.semilogy(iteration[known], error[known], label=f"ε = {eps}")
left.set(xlabel="x", title="u")
right.set(xlabel="iteration (200 of Adam, then Gauss-Newton)", title="L2RE")
left.legend()
right.legend()
figure.savefig("ex13.png", dpi=70)
