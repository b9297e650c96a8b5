"""Seconds for the neural tangent kernel: factored (``pinntk.residual.ntk``) against ``vmap(jacrev)`` and its product.

Both compute the kernel of convection's residuals at the same points, in one process, in turn; the ratio is taken pair
by pair, and the kernels must agree. Also printed: the largest memory of this process while 2,000 points are computed.

    python benchmarks/kernel.py [--points 300] [--repeats 5] [--threads 2]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap

from pinntk.network import Network, NetworkSettings
from pinntk.pdes.convection import Convection
from pinntk.residual.ntk import FactoredJacobian
from pinntk.residual.points import PointSettings, sample
from pinntk.residual.residuals import Batch, Residuals

CASES = ((500, 3), (10_000, 1))
"""Width and depth."""


def make(width: int, depth: int, points: int, dtype: torch.dtype) -> tuple[Residuals, dict[str, Batch]]:
    """Residuals of a plain network at that many interior points, and a quarter as many elsewhere."""
    pde = Convection()
    network = Network(NetworkSettings(width=width, depth=depth), pde.coordinates, pde.lower, pde.upper, dtype=dtype)
    residuals = Residuals(pde, network)
    counts = PointSettings(interior=points, initial=max(1, points // 4), boundary=max(1, points // 4))
    drawn = sample(counts, pde.coordinates, pde.lower, pde.upper, residuals.regions, seed=0)
    return residuals, residuals.prepare({region: torch.from_numpy(x).to(dtype) for region, x in drawn.items()})


def dense(residuals: Residuals, batches: dict[str, Batch]) -> Tensor:
    """``J J^T`` with J by one ``vmap(jacrev)`` per term over its points, as PyTorch's tutorial on kernels does."""
    network = residuals.network
    now = {name: p.detach() for name, p in network.named_parameters()}

    def value(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        u: Tensor = functional_call(network, parameters, (x[None],))
        return u[0]

    def equation(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        gradient: Tensor = torch.func.grad(value, argnums=1)(parameters, x)
        return gradient[1] + 40.0 * gradient[0]

    def periodic(parameters: dict[str, Tensor], pair: Tensor) -> Tensor:
        return value(parameters, pair[0]) - value(parameters, pair[1])

    lower, upper = batches["periodic"].points.chunk(2)
    rows = []
    for function, x in (
        (equation, batches["interior"].points),
        (value, batches["initial"].points),
        (periodic, torch.stack([lower, upper], dim=1)),
    ):
        parts = vmap(jacrev(function), (None, 0))(now, x)
        rows.append(torch.cat([parts[name].flatten(1) for name in now], dim=1))
    jacobian = torch.cat(rows)
    kernel: Tensor = jacobian @ jacobian.T
    return kernel


def factored(residuals: Residuals, batches: dict[str, Batch]) -> Tensor:
    """``J J^T`` from the factored Jacobian."""
    return FactoredJacobian.of(residuals, batches).gram()


def seconds(
    compute: Callable[[Residuals, dict[str, Batch]], Tensor], residuals: Residuals, batches: dict[str, Batch]
) -> tuple[float, Tensor]:
    """Time of one call, and what it returns."""
    started = time.perf_counter()
    result = compute(residuals, batches)
    return time.perf_counter() - started, result


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--points", type=int, default=300, help="interior points; half as many more on the faces")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    # Memory first: it is the largest of the whole process.
    residuals, batches = make(500, 3, 2000, torch.float32)
    took, _ = seconds(factored, residuals, batches)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"2,000 + 1,000 points at 3 x 500: {took:.2f} s, at most {peak:.2f} GiB")

    for width, depth in CASES:
        residuals, batches = make(width, depth, options.points, torch.float32)
        ours, theirs = [], []
        for repeat in range(-1, options.repeats):  # the first warms up
            a, kernel = seconds(factored, residuals, batches)
            b, expected = seconds(dense, residuals, batches)
            error = float((kernel - expected).abs().max() / expected.abs().max())
            assert error < 1e-4, f"the two kernels differ by {error:.1e}"
            if repeat >= 0:
                ours.append(a)
                theirs.append(b)
        ratio = [b / a for a, b in zip(ours, theirs, strict=True)]
        spread = f"{statistics.median(ratio):.1f} ({min(ratio):.1f}-{max(ratio):.1f})"
        a, b = statistics.median(ours), statistics.median(theirs)
        print(f"{depth} x {width}, {options.points} points: ours {a:.3f} s, vmap(jacrev) {b:.3f} s, ratio {spread}")


if __name__ == "__main__":
    main()
