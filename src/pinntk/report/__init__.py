"""From run folders to tables, figures and one page: ``python -m pinntk.report runs``. Reads files only.

``table`` sorts the runs into the paper's Table 2, ``text`` writes it as Markdown, CSV and LaTeX, ``readme`` into a
README; ``kernel``, ``hessian``, ``curves`` and ``steps`` draw, ``pictures`` says what is drawn. ``page`` puts all of
it into index.html: ``cells`` is its main table, ``plots`` and ``slices`` give it what plotly draws, page.css and
page.js are its looks and what it does.
"""

from pinntk.report.write import write_report

__all__ = ["write_report"]
