"""Residual-gradient rows: the derivatives of an equation's residual along the coordinates, as terms of their own.

Where ``F(u, u_x, ..., f(x)) = 0`` everywhere, its derivatives vanish, too. Each is another residual of the same
points (gradient-enhanced PINNs: Yu, Lu, Meng, Karniadakis 2022), and by the chain rule it is linear in streams of one
order more::

    dF/dx  =  sum over streams s of  (dF/ds) s_x  +  sum over data f of  (dF/df) f_x

that is the derivative of the residual function in the direction of ``(s_x, f_x)``, by forward mode.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pinntk.network.derivatives import ORDER, Index, index_of, name_of
from pinntk.network.streams import Operator
from pinntk.residual.named import all_placed
from pinntk.residual.regions import Region
from pinntk.residual.terms import Problem, Term

TRIED = 3
"""Points at which it is tried whether a term's data have derivatives."""


def with_gradient(problem: Problem, terms: Sequence[Term]) -> tuple[Term, ...]:
    """The terms, each of the equation with its derivatives along all coordinates behind it.

    Args:
        problem: of which they are.
        terms: some of its terms.

    Returns:
        For a term "residual" in x and t also "residual_x" and "residual_t", in the same region, with `Term.along` set.

    Raises:
        ValueError: a term has no derivative that could be had, in one line.

    Example::

        >>> from pinntk.pdes.wave import Wave
        >>> pde = Wave()
        >>> for term in with_gradient(pde, pde.terms()[:2]):  # u_tt - 4 u_xx and the initial values
        ...     print(term.name, term.along, term.derivatives)
        residual None ('u_tt', 'u_xx')
        residual_x x ('u_tt', 'u_xx', 'u_xtt', 'u_xxx')
        residual_t t ('u_tt', 'u_xx', 'u_ttt', 'u_xxt')
        initial None ('u',)
    """
    regions = all_placed([term.region for term in terms], problem.domain)
    found: list[Term] = []
    for term in terms:
        found.append(term)
        if term.equation:
            _check(problem, term, regions[term.where])
            found += [derived(problem, term, c) for c in range(len(problem.coordinates))]
    names = [term.name for term in found]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{problem.name} has a term {name!r} already; allowed are names without a coordinate")
    return tuple(found)


def derived(problem: Problem, term: Term, c: int) -> Term:
    """A term's derivative along a coordinate.

    Args:
        problem: of which it is.
        term: whose residual is differentiated: a function of its streams and data at single points.
        c: number of the coordinate.

    Returns:
        A term with the streams, and data, of the first and with their derivatives.

    Raises:
        ValueError: a stream's derivative is not known, in one line.

    Example::

        >>> from pinntk.pdes.burgers import Burgers
        >>> from pinntk.residual.terms import Term
        >>> product = Term("r", "interior", ("u", "u_x"), lambda s, f: s["u"] * s["u_x"] - f, lambda x: (x[:, 0] ** 2,))
        >>> term = derived(Burgers(), product, 0)
        >>> data = term.fields(torch.tensor([[3.0, 0.0]]))
        >>> values = {"u": torch.tensor([2.0]), "u_x": torch.tensor([5.0]), "u_xx": torch.tensor([7.0])}
        >>> term.name, term.residual(values, *data).tolist()  # u_x^2 + u u_xx - 2 x
        ('r_x', [33.0])
    """
    slopes = {s if isinstance(s, str) else s.name: _along(problem, term, s, c) for s in term.streams}
    names = {name: s if s is None or isinstance(s, str) else s.name for name, s in slopes.items()}
    more = {s if isinstance(s, str) else s.name: s for s in slopes.values() if s is not None}

    def fields(x: Tensor) -> tuple[Tensor, ...]:
        data = _tensors(term, x)
        moving = [field.is_floating_point() for field in data]
        if not any(moving):
            return (*data, *map(torch.zeros_like, data))
        unit = torch.zeros_like(x)
        unit[:, c] = 1.0
        moved = iter(torch.func.jvp(lambda x: tuple(itertools.compress(_tensors(term, x), moving)), (x,), (unit,))[1])
        return (*data, *(next(moved) if moves else torch.zeros_like(f) for f, moves in zip(data, moving, strict=True)))

    def residual(values: Mapping[str, Tensor], *given: Tensor) -> Tensor:
        half = len(given) // 2
        data, of_data = given[:half], given[half:]
        moving = [k for k, field in enumerate(data) if field.is_floating_point()]

        def function(streams: dict[str, Tensor], moved: list[Tensor]) -> Tensor:
            whole = list(data)
            for k, field in zip(moving, moved, strict=True):
                whole[k] = field
            return term.residual(streams, *whole)

        streams = {name: values[name] for name in term.names}
        # No name is bound in it: dynamo does not know what to make of that, and breaks the graph.
        of_streams = {n: torch.zeros_like(values[n]) if s is None else values[s] for n, s in names.items()}
        primals = streams, [data[k] for k in moving]
        tangents = of_streams, [of_data[k] for k in moving]
        slope: Tensor = torch.func.jvp(function, primals, tangents)[1]
        return slope

    coordinate = problem.coordinates[c]
    return replace(
        term,
        name=f"{term.name}_{coordinate}",
        streams=(*term.streams, *(s for name, s in more.items() if name not in term.names)),
        residual=residual,
        fields=fields,
        along=coordinate,
    )


def _tensors(term: Term, x: Tensor) -> tuple[Tensor, ...]:
    """A term's data at points x, tables among them as tensors, too."""
    return tuple(torch.as_tensor(field, device=x.device) for field in term.fields(x))


def _check(problem: Problem, term: Term, region: Region) -> None:
    """Raise ValueError where a term's residual is no function of its own point, or its data have no derivative."""
    if region.pairs or type(region).data is not Region.data:
        kind = "pairs of points" if region.pairs else "data at its points alone"
        raise ValueError(f"term {term.name!r} of {problem.name} has {kind}, and so no derivative")
    low, high = (torch.tensor(side, dtype=torch.float64) for side in (problem.lower, problem.upper))
    x = low + (high - low) * torch.linspace(0.3, 0.6, TRIED, dtype=torch.float64)[:, None]
    try:
        derived(problem, term, 0).fields(x)
    except RuntimeError as error:  # of torch, where it meets what is none of its functions
        text = str(error).strip().split("\n")[0]
        raise ValueError(
            f"term {term.name!r} of {problem.name} has data that cannot be differentiated by forward mode:"
            f" {type(error).__name__}: {text}"
        ) from error


def _along(problem: Problem, term: Term, stream: str | Operator, c: int) -> str | Operator | None:
    """A stream's derivative along a coordinate; None: it is zero.

    Raises:
        ValueError: it is of an order that no stream has, or not known.
    """
    coordinate = problem.coordinates[c]
    if isinstance(stream, Operator):
        coefficients: dict[str, float] = {}
        for name, factor in stream.coefficients.items():
            one = _along(problem, term, name, c)
            if isinstance(one, str):
                coefficients[one] = coefficients.get(one, 0.0) + factor
        return Operator(f"d {stream.name} / d {coordinate}", coefficients)
    parsed = _parsed(problem, stream)
    if parsed is None:
        if stream in problem.coefficients():
            return None
        raise ValueError(f"term {term.name!r} of {problem.name} has {stream}, whose derivatives are not known")
    field, index = parsed
    if sum(index) == ORDER:
        raise ValueError(
            f"term {term.name!r} of {problem.name} has {stream}, whose derivatives would be of order {ORDER + 1}:"
            f" there are streams up to order {ORDER}"
        )
    return name_of(tuple(n + (k == c) for k, n in enumerate(index)), problem.coordinates, field)


def _parsed(problem: Problem, name: str) -> tuple[str, Index] | None:
    """Field and multi-index of a derivative's name; None: it is none."""
    for field in problem.fields:
        if name == field:
            return field, (0,) * len(problem.coordinates)
        letters = name.removeprefix(f"{field}_")
        if letters != name and (index := index_of(letters, problem.coordinates)) is not None:
            return field, index
    return None
