"""Derivatives as multi-indices: their names, what lies below them, and their partitions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import product

Index = tuple[int, ...]
"""How often each coordinate is differentiated: (1, 2) is ``u_xtt`` in the coordinates x, t."""

ORDER = 4
"""The highest order of a derivative."""


def index_of(letters: str, coordinates: Sequence[str]) -> Index | None:
    """The multi-index of what stands behind ``u_``; None where that is no derivative.

    Raises:
        ValueError: it can be read in two ways, as coordinates with names of several letters allow.

    Example::

        >>> index_of("txt", ("x", "t")), index_of("xz", ("x", "t")), index_of("xxxxx", ("x",))
        ((1, 2), None, None)
    """
    found = set(_readings(letters, tuple(coordinates), ORDER))
    if len(found) > 1:
        raise ValueError(
            f"derivative {letters!r} of {', '.join(coordinates)} has two meanings; allowed are names with one"
        )
    return found.pop() if found else None


def _readings(letters: str, coordinates: tuple[str, ...], order: int) -> Iterator[Index]:
    for c, name in enumerate(coordinates):
        if order and letters.startswith(name):
            rest = letters[len(name) :]
            for index in _readings(rest, coordinates, order - 1) if rest else [(0,) * len(coordinates)]:
                yield tuple(n + (c == k) for k, n in enumerate(index))


def name_of(index: Index, coordinates: Sequence[str], field: str = "u") -> str:
    """The derivative's name, its coordinates in their order.

    Example::

        >>> name_of((1, 2), ("x", "t")), name_of((0, 0), ("x", "t"), "p")
        ('u_xtt', 'p')
    """
    letters = "".join(name * n for name, n in zip(coordinates, index, strict=True))
    return f"{field}_{letters}" if letters else field


def below(index: Index) -> list[Index]:
    """The proper derivatives of which it is one: ``0 < beta < index``, by order, those in the first coordinates first.

    Example::

        >>> below((2, 1))
        [(1, 0), (0, 1), (2, 0), (1, 1)]
    """
    found = [beta for beta in product(*(range(n + 1) for n in index)) if any(beta) and beta != index]
    return sorted(found, key=lambda beta: (sum(beta), [-n for n in beta]))


@cache
def partitions(index: Index) -> tuple[tuple[int, tuple[Index, ...]], ...]:
    """The partitions of a multi-index and how often each occurs (the formula of Faa di Bruno)::

        d^alpha sigma(z) = sum over pi of n_pi sigma^(|pi|)(z) prod over B in pi of d^B z

    Example::

        >>> partitions((2, 1))  # sigma' z_xxt + sigma'' (2 z_x z_xt + z_t z_xx) + sigma''' z_t z_x^2
        ((1, ((2, 1),)), (2, ((1, 0), (1, 1))), (1, ((0, 1), (2, 0))), (1, ((0, 1), (1, 0), (1, 0))))
    """
    letters = [c for c, n in enumerate(index) for _ in range(n)]
    found: Counter[tuple[Index, ...]] = Counter()
    for blocks in _set_partitions(letters):
        found[tuple(sorted(tuple(block.count(c) for c in range(len(index))) for block in blocks))] += 1
    return tuple(
        (n, pi) for pi, n in sorted(found.items(), key=lambda item: (len(item[0]), [-n for b in item[0] for n in b]))
    )


def _set_partitions(letters: Sequence[int]) -> Iterator[list[list[int]]]:
    if not letters:
        yield []
        return
    first, rest = letters[0], letters[1:]
    for blocks in _set_partitions(rest):
        yield [[first], *blocks]
        for i, block in enumerate(blocks):
            yield [*blocks[:i], [first, *block], *blocks[i + 1 :]]
