"""Forked processes: they can compile where their parent has, and they end."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from conftest import Child
from torch import Tensor

from pinntk.network import Inputs
from pinntk.residual.residuals import Batch
from pinntk.residual.traced import Traced


def compiled(factor: float) -> Tensor:
    """``factor * sin(x)`` of two points, compiled; the compiler has not seen the factor."""
    x = torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    block = Batch(x, Inputs(x[None]), ((x[:, 0],),))
    traced = Traced(lambda block: (factor * torch.sin(block.fields[0][0]),), block)
    (found,) = traced(block)
    assert traced.recorded
    return found


@pytest.mark.slow  # torch compiles twice
def test_it_compiles_where_its_parent_has(tmp_path: Path) -> None:
    never_seen = time.time_ns() / 1e18
    compiled(never_seen)

    def body(words: list[str]) -> int:
        print(*compiled(never_seen + 1.0).tolist())
        return 0

    ended = Child(tmp_path, [], body=body, seconds=100).wait()
    assert ended.code == 0, ended.err
    one, two = map(float, ended.out.split())
    assert one == pytest.approx((never_seen + 1) * 0.8414709848078965, rel=1e-14)
    assert two == pytest.approx((never_seen + 1) * 0.9092974268256817, rel=1e-14)


def test_one_that_does_not_end_says_what_it_is_at(tmp_path: Path) -> None:
    def body(words: list[str]) -> int:
        time.sleep(60)
        return 0

    started = time.monotonic()
    ended = Child(tmp_path, [], body=body, seconds=0.2).wait()
    assert time.monotonic() - started < 30
    assert ended.code == 1
    assert ended.err.startswith("Timeout")
    assert "test_forked.py" in ended.err
    assert "in body" in ended.err
