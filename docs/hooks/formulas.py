"""Formulas as MathML, made when the site is built: browsers show it by themselves, without scripts or a network."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
PRIMED = re.compile(r"<msup>(<mi>[^<]*</mi>)<mi>&#x02032;</mi></msup>")
"""A letter with a prime: the sign is small and high as it is, and hardly to be seen as an exponent."""


def as_mathml(page: str) -> str:
    r"""A page's formulas, which arithmatex has put between ``\(`` and ``\)`` or ``\[`` and ``\]``, as MathML.

    A formula of its own stands in a box that scrolls where the screen is narrower than it. Its LaTeX is kept as the
    title, which a browser shows under the pointer.
    """

    def made(match: re.Match[str]) -> str:
        tag, kind, latex = match.groups()
        latex = html.unescape(latex).strip()
        display = "inline" if kind == "(" else "block"
        shown = PRIMED.sub(r'<mrow>\1<mo lspace="0" rspace="0">&#x02032;</mo></mrow>', convert(latex, display=display))
        return f'<{tag} class="formula" title="{html.escape(latex, quote=True)}">{shown}</{tag}>'

    return FORMULA.sub(made, page)
