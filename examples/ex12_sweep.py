# %%
"""A sweep, and its report.

Whether one method is better than another is a question about distributions: the error depends on the seed. A sweep
trains every combination of what is given as a list; what is finished is not run again, and a job that fails leaves the
others alone. The report sorts all runs below a folder into a table of medians, one column for each method, as the
paper's Table 2 is (which has the lowest of ten trials), with curves and a page to click through.
"""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from sizes import size

import pinntk
from pinntk.report import write_report

# %% Three methods, three seeds, on the same network and points; beside each other with "hydra/launcher=local".
n = size(1200, 60)
sweep = pinntk.sweep(
    "network=plain", "tuned=null", "network.depth=2", "points.interior=300", "points.initial=60", "points.boundary=30",
    "points.resample_every=null", "method.log_every=20", "evaluate_every=60", "method.weights={initial: 10}",
    f"budget.steps.adam={n}", f"budget.steps.adam_lbfgs={{adam: {n // 4}, lbfgs: {n // 4}}}",
    f"budget.steps.gdnd={{adam: {n // 4}, lbfgs: {n // 8}, nncg: {n // 20}}}",
    pde="reaction", method=["adam", "adam_lbfgs", "gdnd"], seed=range(3), width=15, threads=1, compile=False,
    runs_dir="runs/ex12",
)  # fmt: skip

# %% Tables (Markdown, CSV, LaTeX), pictures and a page from all runs below the folder.
print("\n".join(write_report(Path("runs/ex12"), Path("report"))))
(row,) = [line for line in Path("report/table2.md").read_text().splitlines() if line.startswith("| reaction")]
print(row.replace("<br>", ", "))

# %% The same from Python: errors by method, and the curves of every run.
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
errors: dict[str, list[float]] = {}
for run in sweep.runs:
    found = errors.setdefault(run.method.name, [])
    found.append(run.result["l2re"])
    iteration, error = np.asarray(run.history["iteration"]), np.asarray(run.history["l2re"])
    colour, label = f"C{len(errors) - 1}", run.method.name if len(found) == 1 else None
    right.semilogy(iteration[np.isfinite(error)], error[np.isfinite(error)], colour, label=label)
for k, found in enumerate(errors.values()):
    left.semilogy([k] * len(found), found, f"C{k}o", mfc="none")
    left.semilogy([k - 0.2, k + 0.2], [np.median(found)] * 2, f"C{k}")
left.set_xticks(range(len(errors)), list(errors))
left.set(title="L2RE: three seeds and their median")
right.set(xlabel="iteration", title="L2RE")
right.legend()
figure.savefig("ex12.png", dpi=70)
