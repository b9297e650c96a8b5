"""Formulas as MathML, made when the site is built: browsers show it by themselves, without scripts or a network."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def as_mathml(page: str) -> str:
    r"""A page's formulas, which arithmatex has put between ``\(`` and ``\)`` or ``\[`` and ``\]``, as MathML.

    A formula of its own stands in a box that scrolls where the screen is narrower than it. Its LaTeX is kept as the
    title, which a browser shows under the pointer.
    """

    def made(match: re.Match[str]) -> str:
        tag, kind, latex = match.groups()
        latex = html.unescape(latex).strip()
        display = "inline" if kind == "(" else "block"
        shown = convert(latex, display=display)
        return f'<{tag} class="formula" title="{html.escape(latex, quote=True)}">{shown}</{tag}>'

    return FORMULA.sub(made, page)
