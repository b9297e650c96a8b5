"""Modules under the names that they had before."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from pinntk.common.moved import MOVED


@pytest.mark.parametrize("former", sorted(MOVED))
def test_a_former_name_is_the_module_that_it_is_now(former: str) -> None:
    now = importlib.import_module(f"pinntk.{MOVED[former]}")
    assert importlib.import_module(f"pinntk.{former}") is now
    assert now.__spec__ is not None
    assert now.__spec__.name == now.__name__


def test_a_users_file_of_before() -> None:
    text = """
from pinntk.pdes.base import ExactPDE, Term, vanishing
from pinntk.streams import Operator
from pinntk.network import Network, NetworkSettings
import pinntk.ntk
import pinntk.residual.ntk, pinntk.residual.terms
assert pinntk.ntk.FactoredJacobian is pinntk.residual.ntk.FactoredJacobian
assert Term is pinntk.residual.terms.Term
import pinntk.declaration.terms, pinntk.pdes.declaration.terms
assert pinntk.declaration.terms is pinntk.pdes.declaration.terms
"""
    subprocess.run([sys.executable, "-c", text], check=True)


def test_a_name_that_never_was() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pinntk\.nothing"):
        importlib.import_module("pinntk.nothing")
