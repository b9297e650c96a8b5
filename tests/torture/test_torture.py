"""Small rounds of torture; ``python tests/torture`` does the whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rounds import ROUNDS, run

TRIALS = int(os.environ.get("PINNTK_TORTURE", 0))
"""Of each round; 0: its small number."""


@pytest.mark.slow
@pytest.mark.timeout(max(900, 90 * TRIALS))
@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_lost_and_nothing_wrong(name: str, tmp_path: Path) -> None:
    for tally in run(name, TRIALS or ROUNDS[name].small, 0, tmp_path):
        assert tally.lost == []
        assert tally.wrong == []
