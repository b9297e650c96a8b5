"""Small rounds of torture; ``python tests/torture`` does the whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rounds import ROUNDS, run


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", ROUNDS)
def test_nothing_is_lost_and_nothing_wrong(name: str, tmp_path: Path) -> None:
    trials = int(os.environ.get("PINNTK_TORTURE", 0)) or ROUNDS[name].small
    for tally in run(name, trials, 0, tmp_path):
        assert tally.lost == []
        assert tally.wrong == []
