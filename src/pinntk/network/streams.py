"""The network's values and input derivatives, carried through its layers together.

A *stream* is a value or a derivative with respect to the inputs, carried through the layers together with all the
others (Taylor mode). With ``z = W h + b`` and ``a = sigma(z)`` a layer maps::

    value             sigma(z)
    d^alpha           sum over partitions pi of alpha:  sigma^(|pi|)(z)  prod over B in pi of  d^B z
    L = sum c d^alpha the same sum of these

so one matrix product per layer serves every stream, and one ordinary backward pass gives the gradient of any residual
with respect to the parameters. In ``L z`` stand all terms of one block, ``sigma'(z) L z``: a linear operator is one
stream, besides the derivatives below its own. Nested automatic differentiation, the usual way, builds a graph per
derivative instead. Streams are stacked in one tensor of shape (S, N, width): stream, point, neuron.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from pinntk.network.derivatives import ORDER, Index, below, index_of, name_of, partitions
from pinntk.network.readout import Readout


@dataclass(frozen=True)
class Operator:
    """A linear differential operator, carried as one stream.

    ``L u = sum over names of c * derivative``, for example ``Operator("L", {"u_t": 1.0, "u_xx": -nu})``; values and
    derivatives of several fields may stand in it. A residual that needs its terms only in this combination costs one
    stream instead of one for each.

    Example::

        >>> heat = Operator("L", {"u_t": 1.0, "u_xx": -0.5})
        >>> heat.of({"u_t": torch.tensor([3.0]), "u_xx": torch.tensor([4.0])}).tolist()  # 3 - 4/2
        [1.0]
    """

    name: str
    coefficients: Mapping[str, float]
    """By the derivative's name, ``u``, ``u_x``, ``u_xxt``, ``v_x`` ..."""

    def of(self, values: Mapping[str, Tensor]) -> Tensor:
        """L u from the derivatives themselves."""
        return torch.stack([factor * values[name] for name, factor in self.coefficients.items()]).sum(0)


Differential = tuple[tuple[Index, float], ...]
"""``sum of c d^alpha``, a pair for each term; those of order one first."""


@dataclass(frozen=True)
class Part:
    """A summand of an output: a factor times one carried stream of one field."""

    field: int
    stream: int
    factor: float


@dataclass(frozen=True)
class Output:
    """What a residual gets by name: a value or derivative, an operator, a normal derivative or a coefficient.

    Attributes:
        name: its name.
        parts: whose sum it is; of a normal derivative those of the derivative in each coordinate, in their order, for
            which the normal's components are the factors.
        normal: whether it is one.
    """

    name: str
    parts: tuple[Part, ...]
    normal: bool = False


class Streams:
    """Which derivatives are wanted, and what has to be carried through the layers for them.

    Names are a field's, ``u``, with ``_`` and the coordinates of a derivative up to order four behind it, ``u_x``,
    ``v_xxt``, ``p_xxyy``; ``u_n``, the derivative along the outward normal; those of operators, and of coefficients.
    Carried are the value, what stands below a wanted derivative, and what is wanted, in this order.

    Args:
        wanted: names, or operators.
        coordinates: names of the inputs, in order.
        fields: names of the network's outputs.
        coefficients: names of the numbers that are given besides.
        hard: whether a wanted stream is made of several carried ones (`pinntk.network.ansatz`).

    Attributes:
        carried: what is carried, by its terms.
        names: of the outputs: of one field all that is carried, else those wanted.
        outputs: by which they are made.
        coefficients: those of the wanted that are coefficients; they come last.

    Raises:
        ValueError: a name, or one in an operator, is not known, or two operators have the same name.

    Example::

        >>> Streams(["u_xx"], ["x", "t"]).names  # u_xx needs u_x below it
        ('u', 'u_x', 'u_xx')
        >>> Streams(["u_t", Operator("L", {"u_t": 1.0, "u_xx": -0.5})], ["x", "t"]).names
        ('u', 'u_x', 'u_t', 'L')
        >>> streams = Streams(["v_xy", "u"], ["x", "y"], ["u", "v"])
        >>> streams.names, len(streams)  # carried: value, x, y, xy
        (('v_xy', 'u'), 4)
        >>> Streams(["u_xz"], ["x", "t"])
        Traceback (most recent call last):
            ...
        ValueError: stream 'u_xz': allowed are u, and derivatives up to order 4 in x, t: u_x, u_t, u_xx, u_xt, u_tt ...
    """

    def __init__(
        self,
        wanted: Iterable[str | Operator],
        coordinates: Sequence[str],
        fields: Sequence[str] = ("u",),
        coefficients: Sequence[str] = (),
        *,
        hard: bool = False,
    ) -> None:
        self.coordinates, self.fields = tuple(coordinates), tuple(fields)
        asked: dict[str, str | Operator] = {}
        for one in wanted:
            name = one if isinstance(one, str) else one.name
            before = asked.setdefault(name, one)
            if _operator(before) != _operator(one):
                raise ValueError(f"stream {name!r}: two operators have this name; allowed are names that differ")
        # An operator is one whatever its name, and a derivative is no coefficient.
        numbers = [name for name, one in asked.items() if isinstance(one, str) and name in coefficients]
        self.coefficients = tuple(name for name in numbers if not self.is_derivative(name))
        self._numbers = tuple(coefficients)
        made = {name: self._terms(one) for name, one in asked.items() if name not in self.coefficients}
        self.carried = self._carried(made, {name for name, one in asked.items() if isinstance(one, str)})
        self.bends = [self._bends(differential) for differential in self.carried[1:]]
        """Of every stream but the value: the products of lower streams in it, with their factors."""
        self.order = max((len(product) for bends in self.bends for product, _ in bends), default=1)
        """The highest derivative of the activation that the streams need."""
        outputs = [self._output(name, by_field) for name, by_field in made.items()]
        if len(self.fields) == 1 and not hard:
            outputs = self._all_of_one(outputs)
        elif not outputs:
            outputs = [Output(self.fields[0], (Part(0, 0, 1.0),))]
        self.outputs: tuple[Output, ...] = tuple(outputs)
        self.names = (*(output.name for output in self.outputs), *self.coefficients)
        self.hard = hard
        self.readout = Readout(self)
        same = [(Part(0, s, 1.0),) for s in range(len(self.carried))]
        self.plain = not hard and len(self.fields) == 1 and [output.parts for output in outputs] == same
        """Whether the outputs are the carried streams themselves."""

    def __len__(self) -> int:
        """How many are carried."""
        return len(self.carried)

    def _carried(self, made: Mapping[str, Mapping[int, Differential]], named: set[str]) -> tuple[Differential, ...]:
        everything = [(name, terms) for name, by_field in made.items() for terms in by_field.values()]
        under = {beta for _, terms in everything for alpha, _ in terms for beta in below(alpha)}
        single, whole = set(under), []  # derivatives that are needed by themselves, and the rest as it was asked for
        for name, terms in everything:
            if self._is_normal(name) or (name in named and sum(terms[0][0]) == 1):
                single |= {alpha for alpha, _ in terms}
            elif beyond := _beyond(terms):
                whole.append(beyond)
        # First derivatives that enter a second one stand in front.
        ordered = sorted(single, key=lambda index: (sum(index), index not in under, [-n for n in index]))
        value = (0,) * len(self.coordinates)
        return tuple(dict.fromkeys([*(((index, 1.0),) for index in (value, *ordered)), *whole]))

    def _all_of_one(self, outputs: list[Output]) -> list[Output]:
        """All that is carried, in the place of what was asked for, where everything carried has a name."""
        names: dict[int, str] = {}
        for s, terms in enumerate(self.carried):
            if len(terms) == 1 and terms[0][1] == 1.0:
                names[s] = name_of(terms[0][0], self.coordinates, self.fields[0])
        for output in outputs:
            if output.parts and output.parts[0].stream not in names and output.parts[1:] == () and not output.normal:
                names[output.parts[0].stream] = output.name
        if len(names) < len(self.carried):
            return outputs
        every = [Output(names[s], (Part(0, s, 1.0),)) for s in range(len(self.carried))]
        return every + [output for output in outputs if output.name not in names.values()]

    def is_derivative(self, name: str) -> bool:
        """Whether it names a field, a derivative of one, or one along the normal."""
        try:
            self._parsed(name)
        except ValueError:
            return self._is_normal(name)
        return True

    def _is_normal(self, name: str) -> bool:
        return "n" not in self.coordinates and name in [f"{field}_n" for field in self.fields]

    def _terms(self, wanted: str | Operator) -> dict[int, Differential]:
        """Of every field, the terms of a wanted stream."""
        if isinstance(wanted, str) and self._is_normal(wanted):
            unit = [tuple(int(c == k) for k in range(len(self.coordinates))) for c in range(len(self.coordinates))]
            return {self.fields.index(wanted[:-2]): tuple((index, 1.0) for index in unit)}
        found: dict[int, dict[Index, float]] = {}
        for name, factor in _operator(wanted).coefficients.items():
            field, index = self._parsed(name, () if isinstance(wanted, Operator) else self._numbers)
            terms = found.setdefault(field, {})
            terms[index] = terms.get(index, 0.0) + factor
        order = {
            field: sorted(terms.items(), key=lambda t: (sum(t[0]), [-n for n in t[0]]))
            for field, terms in found.items()
        }
        return {field: tuple(terms) for field, terms in order.items()}

    def _parsed(self, name: str, numbers: Sequence[str] = ()) -> tuple[int, Index]:
        """Field and multi-index of a name; ``numbers`` are what else it might have been."""
        for f, field in enumerate(self.fields):
            if name == field:
                return f, (0,) * len(self.coordinates)
            letters = name.removeprefix(f"{field}_")
            if letters != name and (index := index_of(letters, self.coordinates)) is not None:
                return f, index
        some = [c for n in (1, 2) for c in combinations_with_replacement(range(len(self.coordinates)), n)]
        examples = ", ".join(
            name_of(tuple(c.count(k) for k in range(len(self.coordinates))), self.coordinates, self.fields[0])
            for c in some
        )
        raise ValueError(
            f"stream {name!r}: allowed are {', '.join(self.fields)}, and derivatives up to order {ORDER} in"
            f" {', '.join(self.coordinates)}: {examples} ..."
            + (f"; and coefficients: {', '.join(numbers)}" if numbers else "")
        )

    def _bends(self, differential: Differential) -> list[tuple[tuple[int, ...], float]]:
        """The products of two and more streams in ``L sigma(z)``, by their numbers, and the factor of each."""
        found: dict[tuple[int, ...], float] = {}
        for alpha, factor in differential:
            for count, blocks in partitions(alpha):
                if len(blocks) > 1:
                    product = tuple(sorted(self.carried.index(((block, 1.0),)) for block in blocks))
                    found[product] = found.get(product, 0.0) + count * factor
        return [(product, factor) for product, factor in found.items() if factor]

    def _output(self, name: str, by_field: Mapping[int, Differential]) -> Output:
        parts: list[Part] = []
        for field, terms in by_field.items():
            if self._is_normal(name):
                return Output(name, tuple(Part(field, self.carried.index((term,)), 1.0) for term in terms), normal=True)
            parts += [Part(field, 0, factor) for alpha, factor in terms if not any(alpha)]
            if beyond := _beyond(terms):
                parts.append(Part(field, self.carried.index(beyond), 1.0))
        return Output(name, tuple(parts))


def _operator(wanted: str | Operator) -> Operator:
    return wanted if isinstance(wanted, Operator) else Operator(wanted, {wanted: 1.0})


def _beyond(terms: Differential) -> Differential:
    """The terms of order one and higher: a value takes the bias along, which a derivative does not."""
    return tuple((alpha, factor) for alpha, factor in terms if any(alpha) and factor)
