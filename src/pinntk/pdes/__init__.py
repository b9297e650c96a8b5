"""One file per problem. A problem is a pydantic model whose fields are its coefficients."""

from pinntk.pdes.base import PDE, Term

__all__ = ["PDE", "Term"]
