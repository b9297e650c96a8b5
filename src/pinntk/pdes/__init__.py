"""One file per problem. A problem is a pydantic model whose fields are its coefficients."""

from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.pdes.reference_file import PartialReference
from pinntk.pdes.references import Reference
from pinntk.residual.terms import Term

__all__ = ["PDE", "ExactPDE", "Operator", "PartialReference", "Reference", "Term"]
