"""From run folders to tables, figures and one page: ``python -m pinntk.report runs``. Reads files only.

``table`` sorts the runs into the paper's Table 2, ``text`` writes it as Markdown, CSV and LaTeX; ``kernel``,
``hessian``, ``curves`` and ``steps`` draw, ``pictures`` says what is drawn; ``page`` puts everything into index.html.
"""

from pinntk.report.write import write_report

__all__ = ["write_report"]
