"""What a problem declares, checked before anything is trained or written: a line for every fault."""

from pinntk.pdes.declaration.problem import check
from pinntk.pdes.declaration.reference import reference_of

__all__ = ["check", "reference_of"]
