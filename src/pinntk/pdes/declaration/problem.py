"""A problem's box, its evaluation points and the names of its terms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pinntk.common.errors import BadInput
from pinntk.network import Unknown
from pinntk.network.streams import Streams
from pinntk.pdes.base import PDE, ExactPDE, Term
from pinntk.pdes.declaration.conditions import condition_faults
from pinntk.pdes.declaration.faults import Fault, called, kind, listed, number, one_line
from pinntk.pdes.declaration.regions import outside, placed_terms, shape_faults
from pinntk.pdes.declaration.terms import term_faults

METRICS = (
    "iteration loss l2re seconds learning_rate damping gain_ratio trials cg_iterations step_length resets loss_ratio"
    " two_thirds fresh_loss pl_quotient smallest_eigenvalue theorem1_left theorem1_right radius least_ratio time"
    " step_size rejected"
).split()
RESULTS = (
    "status reason pde pde_parameters problem coefficients method method_figures width depth budget seed settings_hash"
    " normalization l2re_at_lowest_loss terms reference_accuracy steps function_evaluations parameters"
    " seconds_per_phase wall_seconds device devices processor precision threads compiled versions git result prediction"
    " run step step_reason fingerprint callbacks loggers exact_terms reference_known estimates alarms"
).split()
RESERVED = frozenset([*METRICS, *RESULTS])
"""Names under which a run's metrics and results stand, beside those of its terms."""
RESERVED_BEGINNINGS = ("lambda_", "trace_", "balance_", "ntk_", "hessian_", "l2re_", "estimate_")


def check(pde: PDE, dtype: torch.dtype = torch.float64, device: torch.device | str = "cpu") -> None:
    """Check everything but the reference, which may take long to compute.

    Args:
        pde: the problem.
        dtype, device: of the run.

    Raises:
        BadInput: a line per fault, each with the problem, the term, what came and what is allowed.
    """
    name = getattr(pde, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name):
        what = "letters, digits and . _ - (it names the run's folder)"
        raise BadInput(f"pde: {type(pde).__qualname__}.name={name!r}; allowed are {what}")
    try:
        faults = list(_box(pde)) or list(_names(pde)) or list(shape_faults(pde))
        if not faults:  # all else needs the box
            faults = [*_evaluation(pde), *_terms(pde, dtype, device)]
    except ValueError as error:  # the problem's own, about its coefficients
        raise BadInput(str(error)) from error
    if faults:
        raise BadInput(*(one_line(f"pde={name}: {fault}") for fault in faults))


def _box(pde: PDE) -> Iterator[str]:
    names: Any = getattr(pde, "coordinates", None)
    if not listed(names) or not names or not all(isinstance(c, str) and c.isidentifier() for c in names):
        yield f'coordinates={names!r}; allowed is a tuple of names, as ("x", "t")'
        return
    streams = [f"u_{c * n}" for c in names for n in (1, 2)]
    if len(set(streams)) < len(streams):
        yield f"coordinates={tuple(names)}: two of them, or of their derivatives, have one name; allowed are others"
        return
    d, ends = len(names), {}
    for key in ("lower", "upper"):
        values: Any = getattr(pde, key, None)
        if not listed(values) or len(values) != d or not all(map(number, values)):
            yield f"{key}={values!r}; allowed is a tuple of finite numbers, {d} of them, for {', '.join(names)}"
            return
        ends[key] = values
    for c, low, high in zip(names, ends["lower"], ends["upper"], strict=True):
        if not low < high:
            yield f"lower={low:g}, upper={high:g} in {c}; allowed is lower < upper"
    if pde.Discretization is not None and "t" in names[:-1]:
        yield f"coordinates={tuple(names)}; allowed in a problem with a discrete form is t as the last"


def _names(pde: PDE) -> Iterator[str]:
    """Fields, coefficients and derivatives stand by name in the streams of a term: what has two meanings."""
    fields: Any = getattr(pde, "fields", None)
    if not listed(fields) or not fields or not all(isinstance(f, str) and f.isidentifier() for f in fields):
        yield f'fields={fields!r}; allowed is a tuple of names, as ("u", "v")'
        return
    if len(set(fields)) < len(fields):
        yield f"fields={tuple(fields)}: two of them have one name; allowed are names that differ"
        return
    for name in fields:
        others = [other for other in fields if other != name]
        if name in pde.coordinates:
            yield f"fields={tuple(fields)}: a coordinate has the name {name!r}; allowed are others"
        elif others and Streams([], pde.coordinates, others).is_derivative(name):
            yield f"fields={tuple(fields)}: {name!r} is a derivative, too; allowed are others"
    known = Streams([], pde.coordinates, fields)
    for name in pde.coefficients():
        if known.is_derivative(name):
            what = "field" if name in fields else "derivative"
            yield f"coefficient {name!r}: a {what} has this name; allowed are others"


def _evaluation(pde: PDE) -> Iterator[str]:
    d, cls = len(pde.coordinates), type(pde)
    file: Any = cls.reference_file
    if file is not None:
        if not isinstance(file, str | Path):
            yield f'reference_file={file!r}; allowed is the name of a file, as "known.csv" or "known.npz"'
            return
        if isinstance(pde, ExactPDE):
            yield f"reference_file={file}: the problem has a solution() in closed form; allowed is one of the two"
            return
        try:
            pde.reference_table()
        except ValueError as error:
            yield str(error)
            return
    elif cls.evaluation_points is PDE.evaluation_points and cls.evaluation_axes is PDE.evaluation_axes:
        shape: Any = pde.evaluation_shape
        if not listed(shape) or len(shape) != d or not all(isinstance(n, int) and n > 1 for n in shape):
            default = " (the default)" if shape is PDE.evaluation_shape else ""
            along = ", ".join(pde.coordinates)
            yield f"evaluation_shape={shape!r}{default}; allowed is a tuple of whole numbers from 2, {d} for {along}"
            return
    try:
        points, again = (
            np.asarray(called(pde, "evaluation_points()", pde.evaluation_points), dtype=np.float64) for _ in range(2)
        )
    except (Fault, TypeError) as error:
        yield str(error)
        return
    if points.ndim != 2 or points.shape[1] != d or not len(points):
        along = ", ".join(pde.coordinates)
        yield f"evaluation_points() came with shape {points.shape}; allowed is (n, {d}), for {along}"
    elif not np.array_equal(points, again):
        yield "evaluation_points() came with other points when asked again; allowed are always the same"
    else:
        if len(far := outside(pde, points)):
            yield f"evaluation_points() came with {far[0].tolist()}; allowed are points of the box"


def _terms(pde: PDE, dtype: torch.dtype, device: torch.device | str) -> Iterator[str]:
    try:
        terms: Any = called(pde, "terms()", pde.terms)
    except Fault as fault:
        yield str(fault)
        return
    if not listed(terms) or not terms or not all(isinstance(term, Term) for term in terms):
        yield f"terms() came as {kind(terms)}; allowed is a tuple of at least one Term"
        return
    for k, term in enumerate(terms):
        if not isinstance(term.name, str) or not re.fullmatch(r"[\w-]+", term.name):
            yield f"term {term.name!r}; allowed in a term's name are letters, digits and _ -"
        elif term.name in RESERVED or term.name.startswith(RESERVED_BEGINNINGS):
            yield f"term {term.name!r}: a figure of every run's own has this name; allowed are others"
        elif term.name in [other.name for other in terms[:k]]:
            yield f"term {term.name!r}: two terms have this name; allowed are names that differ"
    faults: list[str] = []
    placed, regions = placed_terms(pde, terms, faults)
    yield from faults
    if len(placed) == len(terms) and not any(term.equation for term in terms):
        yield "terms() has none in the region 'interior' or another of the equation; allowed is at least one"
    wrong = list(term_faults(pde, placed, regions, dtype, device))
    yield from wrong
    if wrong or len(placed) < len(terms):  # all else needs the streams and the regions of all of them
        return
    for name, value in pde.coefficients().items():
        if isinstance(value, Unknown) and not any(name in term.streams for term in terms):
            yield f"{name}=unknown: no term has it among its streams; allowed is a number, or a term with {name!r}"
    yield from condition_faults(pde, terms, regions, device)
