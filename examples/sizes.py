"""How large the examples are: ``PINNTK_EXAMPLES=small`` makes each end in seconds, which is how they are tested."""

import os
from typing import TypeVar

T = TypeVar("T")


def size(full: T, small: T) -> T:
    """The first; the second where the environment says ``PINNTK_EXAMPLES=small``."""
    return small if os.environ.get("PINNTK_EXAMPLES") == "small" else full
