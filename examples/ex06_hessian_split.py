# %%
"""What of the Hessian the kernel does not have.

For L = 1/2 |r|^2 the second derivative has two parts,

    H = J^T J + sum_i r_i (second derivative of r_i).

The first has the eigenvalues of the kernel K = J J^T, zeros apart; the second is what a nonlinear equation adds, of
which the paper's Theorem 3 says that it is not sparse. It is multiplied by the residuals: how much it counts near a
solution is measured here, as the share of norms |remainder| / |H| along a training on Burgers' equation.
"""

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk

# %% One training in pieces, each from where the last one ended; the split between them, at fixed points.
counts = size((1, 300, 1000, 1000), (1, 100))
figures: list[tuple[int, float, float, float]] = []
steps, folder = 0, None
for count in counts:
    run = pinntk.train(
        f"method.steps={count}", "points.interior=1000", "method.adam.learning_rate=3e-3",
        pde="burgers", method="adam", width=20, threads=1, compile=False, init_from=folder,
    )  # fmt: skip
    steps, folder = steps + count, str(run.folder)
    split = run.hessian(interior=size(200, 50), conditions=size(100, 30))
    norms = split.norms(tolerance=1e-3)
    figures.append((steps, norms.gauss_newton, norms.remainder, norms.ratio))
    print(f"iteration {steps}: share {norms.ratio:.3f}, loss {run.result['loss']:.2e}")

# %% At the end all eigenvalues: H has negative ones, which J^T J cannot have.
dense = split.hessian.dense().numpy(), split.gauss_newton.dense().numpy()
values = [np.sort(np.linalg.eigvalsh(matrix))[::-1] for matrix in dense]
print(f"negative eigenvalues of H: {int((values[0] < 0).sum())} of {len(values[0])}")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
at, gauss_newton, remainder, share = np.array(figures).T
left.loglog(at, gauss_newton, "o-", label="|J$^T$J|")
left.loglog(at, remainder, "o-", label="|remainder|")
left.loglog(at, share, "o:", label="|remainder| / |H|")
left.set(xlabel="iteration of Adam", title="spectral norms")
left.legend()
for spectrum, name in zip(values, ("H", "J$^T$J"), strict=True):
    right.plot(np.arange(1, 1 + len(spectrum)), spectrum, label=name)
right.set_yscale("symlog", linthresh=1e-4)
right.set(xlabel="number", title="eigenvalues at the end")
right.legend()
figure.savefig("ex06.png", dpi=70)
