# %%
"""L-BFGS against NysNewton-CG, from the same state.

GDND, as the paper's Table 2 has it, is Adam, then L-BFGS, then NNCG: damped Newton steps

    (H + mu I) d = -grad L,   H = J^T J here,

solved by conjugate gradients behind a Nystroem preconditioner from products of H with a few vectors. The theory behind
it (Algorithm 2, Theorem 4): gradient descent, then damped Newton steps shrink the loss by 2/3 each under PL*. Here both
start from one network that Adam has trained, ``init_from``; a step of NNCG costs many of L-BFGS, so that the fair axis
is time.
"""

from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %%
fixed: dict[str, Any] = {"pde": "reaction", "method": "gdnd", "width": 20, "threads": 1, "compile": False}
points = (f"points.interior={size(1000, 200)}", "points.initial=50", "method.log_every=5", "evaluate_every=5")


def plan(adam: int, lbfgs: int, nncg: int) -> list[str]:
    """The words for so many steps of each phase."""
    return [f"method.adam.steps={adam}", f"method.lbfgs.steps={lbfgs}", f"method.nncg.steps={nncg}", *points]


state = pinntk.train(*plan(size(1000, 200), 0, 0), **fixed)
print(f"Adam: loss {state.result['loss']:.2e}, L2RE {state.result['l2re']:.2e}")
runs = {
    "L-BFGS": pinntk.train(*plan(0, size(600, 60), 0), init_from=str(state.folder), **fixed),
    "NNCG": pinntk.train(*plan(0, 0, size(40, 10)), init_from=str(state.folder), **fixed),
}

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
for name, run in runs.items():
    seconds, iteration, loss = (np.asarray(run.history[key]) for key in ("seconds", "iteration", "loss"))
    known = np.isfinite(seconds) & np.isfinite(loss)
    left.loglog(iteration[known], loss[known], ".-", label=name)
    right.semilogy(seconds[known], loss[known], ".-", label=name)
    print(f"{name}: loss {loss[np.isfinite(loss)][-1]:.2e}, L2RE {run.result['l2re']:.2e}")
left.set(xlabel="iteration after Adam", title="loss")
right.set(xlabel="seconds after Adam", title="loss")
left.legend()
right.legend()
figure.savefig("ex05.png", dpi=70)
