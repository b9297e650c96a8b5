"""A damped Gauss-Newton step by QR of J against one by a Cholesky factor of ``J^T J`` or ``J J^T``.

Random matrices in float64. QR is what ``method=ntk_ng`` does; by Cholesky (``solver=kernel`` and ``parameters``) it is
a product of matrices, and for every damping a factorisation. Both from a J that is there, in turn, seconds of this
process's processor time with one thread, by the clock with more; medians of the rounds, ratios within a round (least to
most). ``3 dampings``: from one J.

    python benchmarks/least_squares.py [--rounds 5] [--threads 1]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor

from pinntk.optim.least_squares import DampedLeastSquares

SHAPES = ((3000, 1000), (3000, 2000), (1500, 3000))
DAMPINGS = (1e-2, 1e-3, 1e-4)


def by_cholesky(J: Tensor, r: Tensor, dampings: tuple[float, ...]) -> Tensor:
    """The last of the steps."""
    wide = J.shape[0] < J.shape[1]
    gram = J @ J.T if wide else J.T @ J
    right = r if wide else J.T @ r
    for damping in dampings:
        damped = gram.clone()
        damped.diagonal().add_(damping)
        solved = torch.cholesky_solve(right[:, None], torch.linalg.cholesky(damped))[:, 0]
        d = -J.T @ solved if wide else -solved
    return d


def by_qr(J: Tensor, r: Tensor, dampings: tuple[float, ...]) -> Tensor:
    """The last of the steps."""
    problem = DampedLeastSquares(J, r)
    for damping in dampings:
        d = problem.solve(damping)
    return d


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clock = time.process_time if given.threads == 1 else time.perf_counter

    generator = torch.Generator().manual_seed(0)
    for rows, parameters in SHAPES:
        J = torch.randn(rows, parameters, generator=generator, dtype=torch.float64)
        r = torch.randn(rows, generator=generator, dtype=torch.float64)
        for dampings in (DAMPINGS[:1], DAMPINGS):
            difference = by_qr(J, r, dampings) - by_cholesky(J, r, dampings)
            assert float(difference.abs().max()) < 1e-9
            pairs = []
            for _ in range(given.rounds):
                begun = clock()
                by_cholesky(J, r, dampings)
                between = clock()
                by_qr(J, r, dampings)
                pairs.append((between - begun, clock() - between))
            cholesky, qr = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratios = sorted(b / a for a, b in pairs)
            print(
                f"N={rows} P={parameters} dampings={len(dampings)}  Cholesky {cholesky:.3f} s  QR {qr:.3f} s  "
                f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})",
                flush=True,
            )


if __name__ == "__main__":
    main()
