"""Badly conditioned least squares problems, and their solutions in 60 digits."""

from __future__ import annotations

import mpmath  # type: ignore[import-untyped]
import torch
from objectives import random
from torch import Tensor


def with_condition(rows: int, columns: int, condition: float, seed: int = 0) -> Tensor:
    """Singular values from 1 down to 1/condition, equally spaced in their logarithms."""
    k = min(rows, columns)
    left = torch.linalg.qr(random(rows, k, seed=seed)).Q
    right = torch.linalg.qr(random(columns, k, seed=seed + 1)).Q
    made: Tensor = left * torch.logspace(0, -1, k, base=condition, dtype=torch.float64) @ right.T
    return made


def exactly(J: Tensor, r: Tensor, damping: float) -> Tensor:
    """By the normal equations of these very matrices in 60 digits; with N < P in kernel space."""
    with mpmath.workdps(60):
        A, b = mpmath.matrix(J.tolist()), mpmath.matrix(r.tolist())
        wide = A.rows < A.cols
        gram = A * A.T if wide else A.T * A
        for i in range(gram.rows):
            gram[i, i] += mpmath.mpf(damping)
        found = -A.T * mpmath.lu_solve(gram, b) if wide else -mpmath.lu_solve(gram, A.T * b)
        return torch.tensor([float(x) for x in found], dtype=torch.float64)


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
