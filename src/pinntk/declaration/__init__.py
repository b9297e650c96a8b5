"""What a problem declares, checked before anything is trained or written: a line for every fault."""

from pinntk.declaration.problem import check
from pinntk.declaration.reference import reference_of

__all__ = ["check", "reference_of"]
