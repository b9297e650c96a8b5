"""One file per problem. A problem is a pydantic model whose fields are its coefficients."""

from pinntk.network.coefficients import Coefficient, Unknown
from pinntk.network.streams import Operator
from pinntk.pdes.base import PDE, ExactPDE
from pinntk.pdes.reference_file import PartialReference
from pinntk.pdes.references import Reference
from pinntk.residual.measurements import Measurements, measured
from pinntk.residual.regions import Points
from pinntk.residual.shapes import Disc, Polygon
from pinntk.residual.terms import Term, jump, prescribed, zero

__all__ = [
    "PDE",
    "Coefficient",
    "Disc",
    "ExactPDE",
    "Measurements",
    "Operator",
    "PartialReference",
    "Points",
    "Polygon",
    "Reference",
    "Term",
    "Unknown",
    "jump",
    "measured",
    "prescribed",
    "zero",
]
